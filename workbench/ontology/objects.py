"""Objects as people hold them: a lazy set that is narrowed, sorted and walked, and the card of one object.

A set asks the lake when it is looked at, each time anew, and always for current rows. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.answer import Answer, Block, Grid, Heading, Note, format_value, render_html, render_text
from workbench.errors import LakeError, QueryError, UnknownName, UsageError
from workbench.lake.sql import quote
from workbench.ontology.model import LinkEnd, ObjectType, Ontology
from workbench.ontology.query import (
    Condition,
    Hop,
    ObjectQuery,
    Statement,
    compile_count,
    compile_exists,
    compile_link_counts,
    compile_query,
    conditions_from_keywords,
    missing_model,
    parse_condition,
    parse_sort,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from workbench.lake import Lake

__all__ = ["ObjectCard", "ObjectSet", "Store"]

_SHOWN = 50  # rows a set shows of itself
_LOOKED_AT = 100_000  # rows searched for keys near a wrong one


@dataclass(frozen=True)
class Store:
    """Where objects are read: the lake, one model of what is in it, and what stands for each dbt model after FROM.

    `relations` is model -> quoted table, or a SELECT in parentheses; only the models that have a table.
    """

    lake: Lake
    ontology: Ontology
    relations: Mapping[str, str]

    def objects(self, type_name: str) -> ObjectSet:
        """All objects of a type; `UnknownName` with the nearest types."""
        return ObjectSet(self, ObjectQuery(self.ontology.object_type(type_name).name))

    def object(self, type_name: str, key: Any) -> ObjectCard:
        """One object by its key, as text or value; `UnknownName` with near keys when there is none."""
        object_type = self.ontology.object_type(type_name)
        try:
            parsed = object_type.parse(object_type.key, key)
        except UsageError:
            raise self._no_such(object_type, key) from None
        one = ObjectQuery(type_name, (Condition(object_type.key, "=", parsed),), limit=1)
        rows = self.read(compile_query(one, self.ontology, self.relations), one).to_pylist()
        if not rows:
            raise self._no_such(object_type, key)
        counts = self.read(compile_link_counts(type_name, parsed, self.ontology, self.relations), one).to_pylist()[0]
        links = tuple((end, counts.get(end.name)) for end in self.ontology.links_of(type_name))
        return ObjectCard(object_type, rows[0], links)

    def read(self, statement: Statement, query: ObjectQuery) -> pa.Table:
        """The answer to a statement compiled from `query`; a table or column that is gone is said in its words."""
        try:
            return self.lake.query(statement.sql, statement.parameters)
        except QueryError as error:
            raise self._in_words(error, query) or error from error

    def _in_words(self, error: QueryError, query: ObjectQuery) -> LakeError | None:
        object_type = self.ontology.object_type(query.type)
        if error.code in (60, 81):  # unknown table, unknown database
            behind = {t.model: t for t in self.ontology.object_types.values()}
            for model in sorted(self.relations, key=len, reverse=True):
                if model in error.message:
                    return missing_model(behind.get(model, object_type), model)
            return missing_model(object_type, object_type.model)
        if error.code == 47:  # unknown identifier
            return QueryError(
                f"{object_type.name}: a property has no column in the lake: {error.message}",
                code=error.code,
                hint="run skygraph ontology check",
            )
        return None

    def _no_such(self, object_type: ObjectType, key: Any) -> UnknownName:
        """The error for a key that no object has, naming keys near it, or keys of objects with a title near it."""
        near = [(str(row["key"]), format_value(row["title"])) for row in self._near(object_type, key)]
        named = [k if object_type.title == object_type.key or not t else f"{k} ({t})" for k, t in near]
        hint = f"near it: {', '.join(named)}" if named else f"there is no {object_type.name} yet"
        return UnknownName(object_type.name, str(key), [k for k, _ in near], hint=hint)

    def _near(self, object_type: ObjectType, key: Any) -> list[dict[str, Any]]:
        relation = self.relations.get(object_type.model)
        if relation is None:
            raise missing_model(object_type, object_type.model)
        key_column, title = quote(object_type.key), quote(object_type.title)
        kind = object_type.property(object_type.key).kind
        try:
            if kind.group != "number":
                raise ValueError
            wanted: Any = float(kind.parse(key))
            distance = "abs(toFloat64(key) - {key:Float64})"
        except ValueError:
            wanted = str(key)[:100].casefold()
            distance = (
                "least("
                + ", ".join(
                    f"editDistanceUTF8(lowerUTF8(substringUTF8(ifNull(toString({part}), ''), 1, 100)), {{key:String}})"
                    for part in ("key", "title")
                )
                + ")"
            )
        sql = (
            "select key, title\n"
            f"from (select {key_column} as key, {title} as title from {relation} limit {_LOOKED_AT})\n"
            f"where key is not null\norder by {distance}, key\nlimit 3"
        )
        rows: list[dict[str, Any]] = self.read(Statement(sql, {"key": wanted}), ObjectQuery(object_type.name)).to_pylist()
        return rows


class ObjectSet(Answer):
    """Objects of one type. Immutable: narrowing, sorting and walking give new sets; looking asks the lake."""

    def __init__(self, store: Store, query: ObjectQuery) -> None:
        self.store = store
        self.query = query

    @property
    def object_type(self) -> ObjectType:
        """The type of these objects."""
        return self.store.ontology.object_type(self.query.type)

    def _with(self, **changes: Any) -> ObjectSet:
        return ObjectSet(self.store, replace(self.query, **changes))

    def where(self, *texts: str, **keywords: Any) -> ObjectSet:
        """Only the objects that meet every condition: `where("total>10", country="Brazil", city__in=[...])`.

        Texts as on the command line (`parse_condition`), keywords as in `conditions_from_keywords`. On a limited set
        this is still a condition on all objects: the limit is applied last.
        """
        written = tuple(parse_condition(text, self.object_type) for text in texts)
        added = conditions_from_keywords(self.object_type, **keywords)
        return self._with(conditions=(*self.query.conditions, *written, *added))

    def sort(self, by: str) -> ObjectSet:
        """In the order of a property, `-total` for the largest first; objects without a value last, ties by key."""
        return self._with(sort=parse_sort(by, self.object_type))

    def limit(self, count: int) -> ObjectSet:
        """The first objects of the order."""
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise UsageError(f"a limit is a whole number from 0, not {count!r}")
        return self._with(limit=count)

    def after(self, key: Any) -> ObjectSet:
        """What follows the object with this key in the order: the next page. Its cost does not grow with the page."""
        return self._with(after=None if key is None else self.object_type.parse(self.object_type.key, key))

    def linked(self, link: str) -> ObjectSet:
        """The objects one hop away from any of these (from the limited ones, when there is a limit), each once."""
        end = self.store.ontology.link_end(self.query.type, link)
        return ObjectSet(self.store, ObjectQuery(end.to_type, source=Hop(self.query, end.name)))

    def sql(self) -> str:
        """The statement that reads the set, for people: its parameters follow as comments."""
        return str(compile_query(self.query, self.store.ontology, self.store.relations))

    def count(self) -> int:
        """How many objects the set has now."""
        return self._count(self.query)

    def to_arrow(self) -> pa.Table:
        """The objects in order: one column per property, typed as in the lake, in the order of the YAML."""
        table = self.store.read(compile_query(self.query, self.store.ontology, self.store.relations), self.query)
        query, object_type = self.query, self.object_type
        if not table.num_rows and query.after is not None and query.sort and query.limit != 0:
            exists = compile_exists(query.type, query.after, self.store.ontology, self.store.relations)
            if query.sort.property != object_type.key and not self._scalar(exists):
                hint = "it is gone; start again from the first page"
                raise UnknownName(object_type.name, str(query.after), (), hint=hint)
        return table

    def to_pandas(self) -> pd.DataFrame:
        """`to_arrow` as a DataFrame."""
        return self.to_arrow().to_pandas()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.to_arrow().to_batches(max_chunksize=10_000):
            yield from batch.to_pylist()

    def to_dict(self) -> dict[str, Any]:
        """`type`, `total` (objects without limit and page), `rows`, and `next`: the key to go on after, or None."""
        rows, following = self._page(self.query.limit)
        return {"type": self.query.type, "total": self._count(self.query.whole), "rows": rows, "next": following}

    def blocks(self) -> Iterator[Block]:
        """The first rows, and how many there are."""
        limit = self.query.limit
        rows, _ = self._page(_SHOWN if limit is None else min(limit, _SHOWN))
        total = self._count(self.query.whole)
        columns = list(self.object_type.properties)
        if self.query.after is not None:
            note = f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'} after {self.query.after}, of {total:,}"
        else:
            note = f"rows 1-{len(rows):,} of {total:,}"
        yield Heading(f"{self.query.type}: {total:,} {'object' if total == 1 else 'objects'}")
        yield Grid(columns, [[row[c] for c in columns] for row in rows], empty="no object", note=note)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        blocks = list(self.blocks())  # asked once for both looks
        return {"text/plain": render_text(blocks), "text/html": render_html(blocks)}

    def __repr__(self) -> str:
        return f"<ObjectSet of {self.query.type}>"

    def _page(self, limit: int | None) -> tuple[list[dict[str, Any]], Any]:
        """The rows within a limit and, when there are more, the key of the last one."""
        if not limit:
            return ([] if limit == 0 else list(self)), None
        rows = list(self._with(limit=limit + 1))  # one more tells whether there is a next page
        return rows[:limit], rows[limit - 1][self.object_type.key] if len(rows) > limit else None

    def _count(self, query: ObjectQuery) -> int:
        return self._scalar(compile_count(query, self.store.ontology, self.store.relations))

    def _scalar(self, statement: Statement) -> int:
        return int(self.store.read(statement, self.query).column(0)[0].as_py())


@dataclass(frozen=True, repr=False)
class ObjectCard(Answer):
    """One object: its properties and, per link, how many objects it leads to (None: the link's model is not built)."""

    object_type: ObjectType
    values: Mapping[str, Any]
    links: tuple[tuple[LinkEnd, int | None], ...]

    @property
    def key(self) -> Any:
        """The value of the key."""
        return self.values[self.object_type.key]

    @property
    def title(self) -> str:
        """What the object is called: the value of its title property, or of its key when it has none."""
        title = self.values[self.object_type.title]
        return str(self.key) if title is None or title == "" else str(title)

    def to_dict(self) -> dict[str, Any]:
        """`type`, `key`, `title`, `properties` by name, and `links` with `name`, `type`, `many` and `count`."""
        return {
            "type": self.object_type.name,
            "key": self.key,
            "title": self.title,
            "properties": dict(self.values),
            "links": [{"name": e.name, "type": e.to_type, "many": e.many, "count": count} for e, count in self.links],
        }

    def blocks(self) -> Iterator[Block]:
        """The title, the properties with their units, the links."""
        title = f": {self.title}" if self.title != str(self.key) else ""
        yield Heading(f"{self.object_type.name} {self.key}{title}")
        yield Grid(
            ["property", "value", "unit"],
            # as text: a column of its own kind each would not fit one grid
            [[p.name, _shown(p.name, self.values[p.name], self.object_type), p.unit] for p in self.object_type.properties.values()],
        )
        if self.links:
            yield Grid(["link", "leads to", "objects"], [[e.name, e.to_type, count] for e, count in self.links])
        if any(count is None for _, count in self.links):
            yield Note("links without a number: their models have no table yet; run skygraph dbt run", "quiet")

    def __repr__(self) -> str:
        return f"<ObjectCard {self.object_type.name} {self.key!r}>"


def _shown(name: str, value: Any, object_type: ObjectType) -> str:
    """A number that names something (a key, a reference) is not an amount: no thousands separator."""
    names = name == object_type.key or name.endswith("_id")
    return str(value) if names and value is not None else format_value(value)
