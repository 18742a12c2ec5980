"""Objects as people hold them: a lazy set that is narrowed, sorted and walked, and the card of one object.

A set asks the lake when it is looked at, each time anew, and always for current rows. Nothing here writes.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from workbench.answer import Answer, Block, Grid, Heading, Note, format_value, render_html, render_text
from workbench.errors import LakeError, QueryError, UnknownName, UsageError
from workbench.lake.files import FORMATS, Format, format_of, write_file
from workbench.lake.sql import key_names, quote
from workbench.ontology.groups import Facet, Facets, Groups
from workbench.ontology.model import LinkEnd, ObjectType, Ontology
from workbench.ontology.path import parse_after, parse_path, parse_test, write_path, write_words
from workbench.ontology.query import (
    PERIOD_SETTINGS,
    PERIODS,
    AllOf,
    Compiler,
    Condition,
    Cursor,
    Hop,
    Linked,
    NotOf,
    ObjectQuery,
    Statement,
    Test,
    cursor_after,
    keyword_tests,
    missing_column,
    missing_model,
    parse_sort,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from workbench.lake import Lake

__all__ = ["AsOf", "Format", "ObjectCard", "ObjectSet", "Page", "Store"]

_SHOWN = 50  # rows a set shows of itself
_LOOKED_AT = 100_000  # rows searched for keys near a wrong one
_FEW = 50  # objects in a sample, below which it is not one
_KEYS, _STRETCHES = 2048, 64  # a sample: of so many keys at random, in order, what lies between so many and the next
_TABLE = re.compile(r"`(?:[^`\\]|\\.)+`\.`(?:[^`\\]|\\.)+`", re.DOTALL)
_TABLE_GONE, _COLUMN_GONE, _TOO_LONG = (60, 81, 218), (16, 47), (159, 160)
_ESCAPED = b"skygraph escaped"  # in the metadata of an answer: where bytes stood that are not UTF-8, as column/row
_T = TypeVar("_T")


@dataclass(frozen=True)
class AsOf:
    """The point that the objects of a store are of: a snapshot by its number, with its label and its time."""

    seq: int
    label: str
    taken_at: dt.datetime

    def __str__(self) -> str:
        return f"#{self.seq}{f' {self.label}' if self.label else ''} of {self.taken_at:%Y-%m-%d %H:%M:%S} UTC"

    def to_dict(self) -> dict[str, Any]:
        """`seq`, `label`, `taken_at`."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Store:
    """Where objects are read: the lake, one model of what is in it, and what stands for each dbt model after FROM.

    `relations` is model -> quoted table, or a SELECT in parentheses; only the models that have a table. The columns of a model are
    looked up when it is first asked about, and again when an answer shows that they changed. `past` gives a store like it as of a
    point; `as_of` is that point, None for the present, and `now` then the store of the present. `sizes` has how many objects a type has,
    where that is known without counting.
    """

    lake: Lake
    ontology: Ontology
    relations: Mapping[str, str]
    past: Callable[[Any, Store], Store] | None = field(default=None, repr=False, compare=False)
    as_of: AsOf | None = None
    now: Store | None = field(default=None, repr=False, compare=False)
    sizes: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)
    _columns: dict[str, Mapping[str, str]] = field(default_factory=dict, repr=False, compare=False)

    def objects(self, type_name: str) -> ObjectSet:
        """All objects of a type; `UnknownName` with the nearest types."""
        return ObjectSet(self, ObjectQuery(self.ontology.object_type(type_name).name, as_of=self._point))

    def at(self, text: str) -> ObjectSet:
        """The objects that a short text stands for: `Customer[country=Brazil]/invoices[total>10] sort=-total search="ann" limit=5`.

        Raises:
            UsageError, UnknownName: a mistake in the text; says what and where.
        """
        query = parse_path(text, self.ontology)
        return ObjectSet(self.at_point(query.as_of), query) if query.as_of else ObjectSet(self, replace(query, as_of=self._point))

    def at_point(self, point: Any) -> Store:
        """This store as it was at a point: a snapshot (number, label, id), or a time (`yesterday 18:00`, `2 hours ago`).

        Raises:
            UnknownName, UsageError: there is no such snapshot, or the time is outside of them; says from when to when there are any.
        """
        if self.past is None:
            raise UsageError("these objects have no past: nothing keeps their history")
        return self.past(point, self.now or self)

    @property
    def _point(self) -> str:
        """The point of this store as a query has it."""
        return str(self.as_of.seq) if self.as_of else ""

    def object(self, type_name: str, key: Any) -> ObjectCard:
        """One object by its key, as text or value; `UnknownName` with near keys when there is none."""
        object_type = self.ontology.object_type(type_name)
        try:
            parsed = object_type.parse(object_type.key, key)
        except UsageError:
            raise self._no_such(object_type, key) from None
        one = ObjectQuery(object_type.name, (Condition(object_type.key, "=", parsed),), limit=100)
        rows = self.read(lambda compiler: compiler.objects(one), one).to_pylist()
        if not rows:
            raise self._no_such(object_type, key)
        counts = self.read(lambda compiler: compiler.link_counts(object_type.name, parsed), one).to_pylist()[0]
        links = tuple((end, counts.get(end.name)) for end in self.ontology.links_of(object_type.name))
        warnings = self.warnings_of(object_type.name)
        if len(rows) > 1:
            said = f"{len(rows)}{' or more' if len(rows) == 100 else ''} rows of {object_type.model} have the key {parsed}"
            warnings = [f"{said}; this is one of them", *warnings]
        return ObjectCard(object_type, rows[0], links, tuple(warnings), self.as_of)

    @property
    def missing(self) -> dict[str, frozenset[str]]:
        """Type -> the properties whose column is gone from the model's table; only types that lack some."""
        self._look_up()
        found = {}
        for object_type in self.ontology.object_types.values():
            known = self.columns(object_type.model)
            gone = frozenset(p.name for p in object_type.stored if known is not None and p.name not in known)
            if gone:
                found[object_type.name] = gone
        return found

    @property
    def warnings(self) -> list[str]:
        """What people should know before they trust the answers: models without a table, properties without a column."""
        self._look_up()
        return [text for name in self.ontology.object_types for text in self.warnings_of(name)]

    def warnings_of(self, type_name: str) -> list[str]:
        """The warnings about one type."""
        object_type = self.ontology.object_type(type_name)
        if object_type.model not in self.relations and self.as_of:
            return [f"{type_name}: it is not known as of {self.as_of}"]
        if object_type.model not in self.relations:
            return [str(missing_model(object_type, object_type.model))]
        known = self.columns(object_type.model)
        if known is None:
            return []
        gone = [p.name for p in object_type.stored if p.name not in known]
        said = []
        if gone:
            are = "have no column" if len(gone) > 1 else "has no column"
            said.append(f"{object_type.name}: {', '.join(gone)} {are} in {object_type.model} any more, so reads as empty; "
                        "run skygraph ontology check")  # fmt: skip
        if "Nullable(" in known.get(object_type.key, ""):
            said.append(f"{object_type.name}: rows of {object_type.model} without {object_type.key} are no objects and are left out")
        return said

    def duplicates(self, type_name: str) -> tuple[int, int, int]:
        """How many keys stand in more than one row, how many rows these are, and how many rows have no key. Reads every key."""
        query = ObjectQuery(self.ontology.object_type(type_name).name)
        row = self.read(lambda compiler: compiler.duplicates(type_name), query).to_pylist()[0]
        keys, rows, without = (int(n or 0) for n in row.values())
        return keys, rows, without

    def columns(self, model: str) -> Mapping[str, str] | None:
        """The columns of a model as the lake has them, name to ClickHouse type; None when the model has no table."""
        held = self._columns.get(model)
        relation = self.relations.get(model)
        if held is not None or relation is None:
            return held
        try:
            found = self.lake.query(f"describe {'table ' if relation[:1] != '(' else ''}{relation}")
        except QueryError as error:
            if error.code in _TABLE_GONE:
                return None
            raise
        names, types = (found.column(name).to_pylist() for name in ("name", "type"))
        # other threads may read, and forget, at the same time
        return self._columns.setdefault(model, dict(zip(names, types, strict=True)))

    def _look_up(self) -> None:
        """The columns of every type's model that is a table, in one question."""
        tables: dict[tuple[str, ...], str] = {}
        for model in {t.model for t in self.ontology.object_types.values()} - self._columns.keys():
            if _TABLE.fullmatch(relation := self.relations.get(model, "")):
                tables[tuple(key_names(relation))] = model
        if not tables:
            return
        rows = self.lake.query(
            "select database, table, name, type from system.columns where concat(database, '.', table) in {tables:Array(String)} "
            "order by database, table, position",
            {"tables": [".".join(parts) for parts in tables]},
        ).to_pylist()
        found: dict[str, dict[str, str]] = {}
        for row in rows:
            if model := tables.get((row["database"], row["table"]), ""):
                found.setdefault(model, {})[row["name"]] = row["type"]
        self._columns.update(found)

    @property
    def compiler(self) -> Compiler:
        """What makes statements over these relations."""
        return Compiler(self.ontology, self.relations, self.columns)

    def read(self, compile: Callable[[Compiler], Statement], query: ObjectQuery, *, settings: Mapping[str, Any] | None = None) -> pa.Table:
        """The answer to a statement compiled for `query`; what is gone is said in its words.

        A model that is rebuilt right now may be gone for a moment, or have other columns than a moment ago: then once more.
        """
        if self.as_of and not (query.conditions or query.search or query.source):
            # of the past nearly every row is true: to leave the others out while reading costs more than to do so afterwards
            settings = {"optimize_move_to_prewhere": 0, **(settings or {})}
        return _readable(self.asking(lambda s: self.lake.query(s.sql, s.parameters, settings=settings), compile, query))

    def asking(self, ask: Callable[[Statement], _T], compile: Callable[[Compiler], Statement], query: ObjectQuery) -> _T:
        """What `ask` gives for a statement, errors in words; once more when a table or column went away meanwhile."""
        try:
            return ask(compile(self.compiler))
        except QueryError as error:
            if error.code not in (*_TABLE_GONE, *_COLUMN_GONE):
                raise
        self._columns.clear()
        try:
            return ask(compile(self.compiler))
        except QueryError as error:
            raise self._in_words(error, query) or error from error

    def _in_words(self, error: QueryError, query: ObjectQuery) -> LakeError | None:
        object_type = self.ontology.object_type(query.type)
        if error.code in _TABLE_GONE:
            behind = {t.model: t for t in self.ontology.object_types.values()}
            for model in sorted(self.relations, key=len, reverse=True):
                if model in error.message:
                    return missing_model(behind.get(model, object_type), model)
            return missing_model(object_type, object_type.model)
        if error.code in _COLUMN_GONE and "run skygraph ontology check" not in str(error):
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
        known = self.columns(object_type.model)
        if known is not None and object_type.key not in known:
            raise missing_column(object_type, object_type.key)

        def column(name: str) -> str:
            return quote(name) if known is None or name in known else "cast(null as Nullable(String))"

        key_column, title = column(object_type.key), object_type.sql(object_type.title, column)
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
        statement = Statement(sql, {"key": wanted})
        rows: list[dict[str, Any]] = self.read(lambda _: statement, ObjectQuery(object_type.name)).to_pylist()
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

    def as_of(self, point: Any) -> ObjectSet:
        """The same set as it was at a point: a snapshot by number, label or id, or a time such as `yesterday 18:00`; None is now.

        Links, conditions on linked objects, facets, groups, counts and pages are all of that point. Times are in UTC.

        Raises:
            UnknownName, UsageError: there is no such snapshot, or the time is outside of them; says from when to when there are any.
        """
        if point is None:
            return ObjectSet(self.store.now or self.store, replace(self.query, as_of=""))
        text = point.isoformat() if hasattr(point, "isoformat") else str(getattr(point, "seq", point))
        return ObjectSet(self.store.at_point(text), replace(self.query, as_of=text))

    def where(self, *texts: str, **keywords: Any) -> ObjectSet:
        """Only the objects that meet every condition: `where("total>10 or vip=yes", country="Brazil", city__in=[...])`.

        Texts as on the command line (`parse_test`), keywords as in `keyword_tests`. On a limited set this is still a condition
        on all objects: the limit is applied last.
        """
        added: list[Test] = []
        for text in texts:
            test = parse_test(text, self.object_type, self.store.ontology)
            added += test.tests if isinstance(test, AllOf) else (test,)
        added += keyword_tests(self.store.ontology, self.object_type, **keywords)
        return self._with(conditions=(*self.query.conditions, *added))

    def search(self, text: str) -> ObjectSet:
        """Only the objects whose title has every word of the text, in any case; in title order unless sorted. '' searches nothing."""
        return self._with(search=" ".join([*self.query.search.split(), *text.split()]))

    def sort(self, by: str) -> ObjectSet:
        """In the order of a property, `-total` for the largest first; objects without a value last, ties by key."""
        return self._with(sort=parse_sort(by, self.object_type))

    def limit(self, count: int) -> ObjectSet:
        """The first objects of the order."""
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise UsageError(f"a limit is a whole number from 0, not {count!r}")
        return self._with(limit=count)

    def after(self, place: Any) -> ObjectSet:
        """What follows a place in the order: the `next` of a page, or the key of an object. The cost does not grow with the page."""
        return self._with(after=None if place is None else parse_after(place, self.object_type))

    def linked(self, link: str) -> ObjectSet:
        """The objects one hop away from any of these (from the limited ones, when there is a limit), each once."""
        end = self.store.ontology.link_end(self.query.type, link)
        source = Hop(replace(self.query, as_of=""), end.name)
        return ObjectSet(self.store, ObjectQuery(end.to_type, source=source, as_of=self.query.as_of))

    @property
    def whole(self) -> ObjectSet:
        """The same set without its limit and its place."""
        return ObjectSet(self.store, self.query.whole)

    @property
    def text(self) -> str:
        """The short text of the set: `Store.at` makes the same set out of it."""
        return write_path(self.query)

    @property
    def words(self) -> list[str]:
        """The words after `skygraph objects` that ask the same."""
        return write_words(self.query)

    @property
    def warnings(self) -> list[str]:
        """What people should know about the types on the way: properties without a column, ..."""
        types, query = [self.query.type], self.query
        while query.source:
            query = query.source.query
            types.append(query.type)
        return [text for name in dict.fromkeys(reversed(types)) for text in self.store.warnings_of(name)]

    def sql(self) -> str:
        """The statement that reads the set, for people: its parameters follow as comments."""
        return str(self.store.compiler.objects(self.query))

    def hops(self) -> list[tuple[str, str]]:
        """Per step of the path, from its first: the short text up to there, and the one SELECT that reads those objects."""
        steps = [self.query]
        while source := steps[-1].source:
            steps.append(source.query)
        return [(write_path(query), str(self.store.compiler.objects(query))) for query in reversed(steps)]

    def count(self) -> int:
        """How many objects the set has now."""
        return self._count(self.query)

    def dangling(self, link: str, *, with_value: bool = False) -> int:
        """How many of these objects the link leads nowhere from; `with_value`: only those that have what the link joins by."""
        end = self.store.ontology.link_end(self.query.type, link)
        via = end.link.via
        near: Sequence[str] = list(via.from_columns if via else end.link.join)
        if end.reverse:
            near = list(via.to_columns if via else end.link.join.values())
        tests: tuple[Test, ...] = (NotOf(Linked(end.name)),)
        if with_value:
            tests += tuple(Condition(name, "is not null") for name in near)
        return self._count(replace(self.query.whole, conditions=(*self.query.conditions, *tests)))

    def to_arrow(self) -> pa.Table:
        """The objects in order: one column per property, typed as in the lake, in the order of the YAML."""
        table = self.store.read(lambda compiler: compiler.objects(self.query), self.query)
        query, object_type = self.query, self.object_type
        sort = query.order(object_type)
        looked_up = query.after is not None and not isinstance(query.after, Cursor) and sort and sort.property != object_type.key
        if looked_up and not table.num_rows and query.limit != 0:
            if self._scalar(lambda compiler: compiler.exists(query.type, query.after)):
                return table
            raise UnknownName(object_type.name, str(query.after), (), hint="it is gone; start again from the first page")
        return table

    def to_pandas(self) -> pd.DataFrame:
        """`to_arrow` as a DataFrame."""
        return self.to_arrow().to_pandas()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.to_arrow().to_batches(max_chunksize=10_000):
            yield from batch.to_pylist()

    def page(self, size: int, after: str | None = None) -> Page:
        """So many objects of the order, and where the next page begins. `after` is the `next` of the page before.

        The place is the sort value and the key of the last object, so every page costs the same, and whatever is added or changed
        before it moves nothing. A page is longer than asked only where several rows have one key. A limit of the set is not looked at.
        """
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise UsageError(f"the size of a page is a whole number from 1, not {size!r}")
        start = self.query.after
        if after is not None:
            start = Cursor.parse(after) if isinstance(after, str) else None
            if start is None:
                raise UsageError(f"{str(after)[:80]!r} is not the place of a page", hint="pass the `next` of the page before")
        asked, key = size, self.object_type.key
        while True:
            # one more tells whether there is a next page, and whether it would begin with the same key
            table = self._with(limit=asked + 1, after=start).to_arrow()
            if table.num_rows <= asked:
                return Page(table, None)
            keys = table.column(key)
            if keys[asked - 1] != keys[asked]:
                return Page(table.slice(0, asked), self._cursor(table, asked - 1))
            asked *= 2

    def group_by(self, property: str, sums: Sequence[str] = (), limit: int = 50, by: str = "") -> Groups:
        """How many objects have each value, and the sums of other properties over them: the `limit` largest groups, largest first.

        Dates and times can be grouped `by` year, quarter, month, week (from Monday), day, times by hour also: `group_by("seen_at",
        by="month")` or `"seen_at by month"`; these come in order of time. The limit of the set counts: of `limit(10)`, ten objects are
        grouped.
        """
        name, _, period = property.partition(" by ")
        found, by = self.object_type.property(name.strip()), by or period.strip()
        sums = [sums] if isinstance(sums, str) else sums
        added = [self.object_type.property(s) for s in sums]
        if by and by not in PERIODS:
            raise UnknownName("period", by, PERIODS)
        if by and (found.type not in ("date", "timestamp") or (by == "hour" and found.type == "date")):
            raise UsageError(f"{self.query.type}.{found.name} is {found.type}: it has no {by} to group by")
        for other in added:
            if other.kind.group != "number":
                raise UsageError(f"{self.query.type}.{other.name} is {other.type}: only numbers can be summed")
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise UsageError(f"a limit of groups is a whole number from 1, not {limit!r}")
        names = tuple(p.name for p in added)
        table = self.store.read(
            lambda compiler: compiler.groups(self.query, found.name, by=by, sums=names, limit=limit + 1),
            self.query,
            settings=PERIOD_SETTINGS,
        )
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
        shown = rows[:limit]
        if by:
            shown.sort(key=lambda row: (row[0] is None, row[0]))
        return Groups(self.query.type, found.name, by, names, tuple(shown), len(rows) > limit)

    def facets(self, *properties: str, budget_s: float = 0.5, top: int = 10) -> Facets:
        """The most frequent values of each property, counted in one reading of the objects.

        Without properties: of all but the key, and those whose every value stands for one object are left out.
        Exact when that takes no longer than the budget, else counted in a sample of stretches of keys, and said so. Where the sample
        has next to nothing, for the set is small and hard to find, up to ten budgets are spent on all of it.
        """
        started = time.perf_counter()
        names = [self.object_type.property(p).name for p in properties]
        known = self.store.columns(self.object_type.model)
        if not names:
            names = [
                p.name for p in self.object_type.properties.values()
                if p.name != self.object_type.key and (p.is_computed or known is None or p.name in known)
            ]  # fmt: skip
        names = list(dict.fromkeys(names))
        if not 1 <= top <= 1000:
            raise UsageError(f"the top of a facet is a whole number from 1 to 1000, not {top!r}")
        if not names:
            return Facets(self.query.type, (), self.count(), False, 1.0, time.perf_counter() - started)

        def counted(ranges: Sequence[tuple[Any, Any]], seconds: float) -> list[dict[str, Any]] | None:
            """The rows, or None when they take longer (0: however long)."""
            # the engine's guess is in whole seconds, made after a tenth of one: what will take far too long ends then
            limits = {
                "max_execution_time": seconds,
                "timeout_overflow_mode": "throw",
                "max_estimated_execution_time": math.ceil(seconds),
                "timeout_before_checking_execution_speed": min(seconds, 0.1),
            }
            try:
                rows: list[dict[str, Any]] = self.store.read(
                    lambda compiler: compiler.facets(self.query, names, top=top, ranges=ranges),
                    self.query,
                    settings=limits if seconds else {},
                ).to_pylist()
            except QueryError as error:
                if error.code not in _TOO_LONG or not seconds:
                    raise
                return None
            return rows

        share, rows = 1.0, counted((), max(budget_s, 0.001))
        if rows is None:
            ranges, share = self._sample()
            rows = counted(ranges, 0) or []
            if max((int(row["_total"]) for row in rows), default=0) < _FEW:
                # so few say nothing: they are worth a longer look, once
                whole = counted((), 10 * budget_s)
                share, rows = (share, rows) if whole is None else (1.0, whole)
        by_place = {int(row["_place"]) - 1: row for row in rows}
        facets = tuple(_facet(name, i, by_place.get(i), is_sampled=share < 1) for i, name in enumerate(names))
        if not properties:
            facets = tuple(f for f in facets if f.distinct <= top or any(count > 1 for _, count in f.values))
        total = max((int(row["_total"]) for row in rows), default=0)
        return Facets(self.query.type, facets, total, share < 1, share, time.perf_counter() - started)

    def _sample(self) -> tuple[list[tuple[Any, Any]], float]:
        """Stretches of keys spread evenly over all of them, and which part of the objects is about in them; none when there are few.

        Objects picked one by one would make the engine read and merge every part of the table, stretches only those parts of it.
        """
        statement = self.store.compiler.sample_keys(self.query.type, _KEYS)
        row = self.store.lake.query_history(statement.sql, statement.parameters).column(0)[0]
        keys = [_plain(key) for key in row]
        if len(keys) < 2 * _STRETCHES:
            return [], 1.0
        step = (len(keys) - 1) / _STRETCHES
        starts = [int(i * step) for i in range(_STRETCHES)]
        return [(keys[i], keys[i + 1]) for i in starts], _STRETCHES / len(keys)

    def stream(self, format: Format) -> Iterator[bytes]:
        """The objects in order, as a file's bytes, written by the server: no row passes through Python.

        csv with a line of names, times in ISO 8601; jsonl has decimals as texts; arrow is Arrow's file format.
        """
        if format not in FORMATS:
            raise UnknownName("format", str(format), FORMATS)
        return self.store.asking(
            lambda statement: self.store.lake.stream(statement.sql, statement.parameters, FORMATS[format]),
            lambda compiler: compiler.objects(self.query),
            self.query,
        )

    def write(self, path: str | Path, format: Format | None = None) -> int:
        """Write the objects to a file, whole or not at all; the bytes written. Without a format, the file's suffix says it."""
        target = Path(path).expanduser()
        return write_file(target, self.stream(format_of(target, format)))  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """`type`, `text`, `total` (objects without limit and page), `rows`, and `next`: the place to go on after, or None."""
        page = self._first(self.query.limit)
        return {
            "type": self.query.type,
            "text": self.text,
            "total": self._count(self.query.whole),
            "rows": page.rows.to_pylist(),
            "next": page.next,
            **({"as_of": self.store.as_of.to_dict()} if self.store.as_of else {}),
            **({"warnings": said} if (said := self.warnings) else {}),
        }

    def blocks(self) -> Iterator[Block]:
        """The first rows, and how many there are."""
        limit = self.query.limit
        rows = self._first(_SHOWN if limit is None else min(limit, _SHOWN)).rows.to_pylist()
        total = self._count(self.query.whole)
        columns = list(self.object_type.properties)
        if self.query.after is not None:
            where = "the page before" if isinstance(self.query.after, Cursor) else self.query.after
            note = f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'} after {where}, of {total:,}"
        else:
            note = f"rows 1-{len(rows):,} of {total:,}"
        yield Heading(f"{self.query.type}: {total:,} {'object' if total == 1 else 'objects'}")
        if self.store.as_of:
            yield Note(f"as of {self.store.as_of}", "quiet")
        yield from (Note(text, "bad") for text in self.warnings)
        yield Grid(columns, [[row[c] for c in columns] for row in rows], empty="no object", note=note)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        blocks = list(self.blocks())  # asked once for both looks
        opens = Note(f"bench.explorer({self.text!r}) opens these", "quiet")
        return {"text/plain": render_text(blocks), "text/html": render_html([*blocks, opens])}

    def __repr__(self) -> str:
        return f"<ObjectSet of {self.query.type}>"

    def _first(self, limit: int | None) -> Page:
        """The rows within a limit and, when there are more, where the next ones begin."""
        return self.page(limit) if limit else Page(self.to_arrow(), None)

    def _cursor(self, table: pa.Table, row: int) -> str:
        """The place right after a row of an answer."""
        sort = self.query.order(self.object_type)
        for name in (self.object_type.key, *([sort.property] if sort else [])):
            if f"{name}/{row}".encode() in (table.schema.metadata or {}).get(_ESCAPED, b"").split():
                raise QueryError(
                    f"{self.query.type}.{name} holds bytes that are not UTF-8, so nobody can say where the next page begins",
                    code=0,
                    hint=f"write toValidUTF8({name}) in the model {self.object_type.model}",
                )
        key = table.column(self.object_type.key)[row]
        value = table.column(sort.property)[row] if sort else None
        return str(cursor_after(self.object_type, sort, _plain(key), None if value is None else _plain(value)))

    def _count(self, query: ObjectQuery) -> int:
        if query.type in self.store.sizes and replace(query, sort=None) == ObjectQuery(query.type, as_of=query.as_of):
            return self.store.sizes[query.type]
        return self._scalar(lambda compiler: compiler.count(query))

    def _scalar(self, compile: Callable[[Compiler], Statement]) -> int:
        return int(self.store.read(compile, self.query).column(0)[0].as_py())


@dataclass(frozen=True)
class Page:
    """Some objects in order, and where the next ones begin: a text for `ObjectSet.page` and `after`; None at the end."""

    rows: pa.Table
    next: str | None


def _readable(table: pa.Table) -> pa.Table:
    """The table with every text in UTF-8: of others the wrong bytes are written as \\xff. The metadata names their places."""
    import pyarrow as pa

    def raw(type_: Any) -> Any:
        if pa.types.is_list(type_):
            return pa.list_(raw(type_.value_type))
        if pa.types.is_struct(type_):
            return pa.struct([(f.name, raw(f.type)) for f in type_])
        return pa.binary() if pa.types.is_string(type_) else type_

    def escaped(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: escaped(part) for name, part in value.items()}
        if isinstance(value, list):
            return [escaped(part) for part in value]
        return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value

    wrong: list[str] = []
    for i, column in enumerate(table.columns):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            values = column.cast(raw(column.type)).to_pylist()
            written = [escaped(v) for v in values]
            wrong += [
                f"{table.column_names[i]}/{n}" for n, v in enumerate(values) if isinstance(v, bytes) and v != written[n].encode("utf-8")
            ]
            table = table.set_column(i, table.schema.field(i), pa.array(written, column.type))
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _ESCAPED: " ".join(wrong).encode()}) if wrong else table


def _plain(scalar: Any) -> Any:
    """An Arrow value for a cursor: exact, so a time is text in all its digits."""
    import pyarrow as pa

    if not pa.types.is_timestamp(scalar.type) or not scalar.is_valid:
        return scalar.as_py()
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[scalar.type.unit]
    seconds, rest = divmod(scalar.value, 10**digits)
    day = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)
    return f"{day:%Y-%m-%d %H:%M:%S}" + (f".{rest:0{digits}d}" if digits else "")


def _facet(property: str, place: int, row: Mapping[str, Any] | None, *, is_sampled: bool) -> Facet:
    if row is None:
        return Facet(property, (), 0, 0, 0, is_sampled)
    entries = [list(entry.values()) for entry in row["_top"]]
    values = tuple((entry[place + 1], -int(entry[0])) for entry in entries)
    total, nulls = int(row["_total"]), int(row["_nulls"])
    return Facet(property, values, total - nulls - sum(n for _, n in values), nulls, int(row["_distinct"]), is_sampled)


@dataclass(frozen=True, repr=False)
class ObjectCard(Answer):
    """One object: its properties and, per link, how many objects it leads to (None: the link's model is not built)."""

    object_type: ObjectType
    values: Mapping[str, Any]
    links: tuple[tuple[LinkEnd, int | None], ...]
    warnings: tuple[str, ...] = ()
    as_of: AsOf | None = None

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
            **({"as_of": self.as_of.to_dict()} if self.as_of else {}),
            **({"warnings": list(self.warnings)} if self.warnings else {}),
        }

    def blocks(self) -> Iterator[Block]:
        """The title, the properties with their units, the links."""
        title = f": {self.title}" if self.title != str(self.key) else ""
        yield Heading(f"{self.object_type.name} {self.key}{title}")
        if self.as_of:
            yield Note(f"as of {self.as_of}", "quiet")
        yield from (Note(text, "bad") for text in self.warnings)
        yield Grid(
            ["property", "value", "unit"],
            # as text: a column of its own kind each would not fit one grid
            [[p.name, _shown(p.name, self.values[p.name], self.object_type), p.unit] for p in self.object_type.properties.values()],
        )
        if self.links:
            yield Grid(["link", "leads to", "objects"], [[e.name, e.to_type, count] for e, count in self.links])
        if any(count is None for _, count in self.links):
            yield Note("links without a number: their models have no table or column yet; run skygraph dbt run", "quiet")

    def __repr__(self) -> str:
        return f"<ObjectCard {self.object_type.name} {self.key!r}>"


def _shown(name: str, value: Any, object_type: ObjectType) -> str:
    """A value by the format of its property. A number that names something (a key, a reference) is not an amount: no thousands
    separator."""
    property = object_type.properties[name]
    if property.format and value is not None:
        return property.show(value)
    names = name == object_type.key or name.endswith("_id")
    return str(value) if names and value is not None else format_value(value)
