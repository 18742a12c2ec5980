"""The catalog: every table and object type of the workspace, what it holds, where it comes from, and how old it is.

It joins what the parts know: tables of sync_jobs and their watermarks, dbt's models with their docs and what they are made of,
object types, and the lake's own tables. It only reads. Counting is bounded: a table whose rows cannot be counted in time has none.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from workbench.answer import Answer, Block, Grid, Heading, Note
from workbench.errors import LakeUnavailable, QueryError, SkyGraphError, UnknownName, nearest
from workbench.hermes.status import TableStatus, duration
from workbench.hermes.watermark import short_mark
from workbench.lake.sql import OWN_TABLES, RAW_COLUMNS, quote, quote_table

if TYPE_CHECKING:
    from workbench.hermes.tables import SyncPlan
    from workbench.lake import Lake
    from workbench.ontology import Ontology
    from workbench.transforms import Model, Transforms

__all__ = ["Catalog", "CatalogEntry", "Lineage", "read_catalog", "read_freshness", "read_lineage"]

_COUNTING_S = 2.0  # for one table
_AT_ONCE = 4
_SAMPLE = 5
_DETAILED = 3  # so few entries are shown with their columns and sample rows
_OURS = {c.name for c in RAW_COLUMNS}


@dataclass(frozen=True)
class CatalogEntry:
    """A table or an object type. `kind` is raw, staging, mart (or another folder of dbt's models) or object type.

    `table` is where its rows are; `columns` are (name, type, description); `rows` are current ones, None when they were not counted;
    `age_s` is how old its data is: seconds since the last good sync, or since dbt last made the table; None when it is not there.
    `comes_from` names what it is made of.
    """

    kind: str
    name: str
    table: str
    description: str = ""
    columns: tuple[tuple[str, str, str], ...] = ()
    rows: int | None = None
    age_s: float | None = None
    comes_from: tuple[str, ...] = ()
    is_there: bool = True
    sample: tuple[Mapping[str, Any], ...] = ()

    def matches(self, words: Sequence[str]) -> int:
        """How well all the words fit: 0 not at all, the most for its own name; case does not count."""
        places = (self.name, self.table, " ".join(c[0] for c in self.columns), self.description, " ".join(c[2] for c in self.columns))
        texts = [text.casefold() for text in places]
        score = 0
        for word in words:
            found = [len(texts) - n for n, text in enumerate(texts) if word in text]
            if not found:
                return 0
            score += found[0] + 10 * (word in (texts[0], texts[1]))
        return score

    def to_dict(self) -> dict[str, Any]:
        """The entry as data; columns as objects."""
        columns = [{"name": n, "type": t, "description": d} for n, t, d in self.columns]
        return {**self.__dict__, "columns": columns, "comes_from": list(self.comes_from), "sample": list(self.sample)}


@dataclass(frozen=True)
class Catalog(Answer):
    """Entries of the catalog, all of them or those that fit `text`, best first."""

    entries: tuple[CatalogEntry, ...]
    text: str = ""
    near: tuple[str, ...] = ()

    @property
    def is_detailed(self) -> bool:
        """Whether there are so few entries that each is shown whole."""
        return bool(self.text) and 0 < len(self.entries) <= _DETAILED

    def to_dict(self) -> Any:
        """A row per entry."""
        return [e.to_dict() for e in self.entries]

    def blocks(self) -> Iterator[Block]:
        """A grid of the entries; of a few that were searched for, each with its columns and sample rows."""
        if not self.entries:
            tail = f"; did you mean {', '.join(self.near)}?" if self.near else ""
            empty = f"nothing is called or described like {self.text!r}{tail}" if self.text else "the lake is empty: run `skygraph sync`"
            yield Note(empty, "quiet")
            return
        if self.is_detailed:
            for entry in self.entries:
                yield from _whole(entry)
            return
        yield Grid(
            ["kind", "name", "rows", "age", "columns", "description"],
            [[e.kind, e.name, e.rows, _age(e), len(e.columns), e.description] for e in self.entries],
        )
        yield Note("`catalog NAME` shows one with its columns and sample rows; any words search names, columns and descriptions", "quiet")


def _age(entry: CatalogEntry) -> str:
    return duration(entry.age_s) if entry.is_there else "not built" if entry.kind != "raw" else "never synced"


def _whole(entry: CatalogEntry) -> Iterator[Block]:
    yield Heading(f"{entry.name} ({entry.kind})" + (f": {entry.description}" if entry.description else ""))
    facts = [f"table {entry.table}"] if entry.table != entry.name else []
    facts += [f"{entry.rows:,} current rows"] if entry.rows is not None else []
    facts += [
        f"{'as of' if entry.is_there and entry.age_s is not None else ''} {_age(entry)}{' ago' if entry.age_s is not None else ''}".strip()
    ]
    facts += [f"from {', '.join(entry.comes_from)}"] if entry.comes_from else []
    yield Note(" · ".join(filter(None, facts)), "quiet")
    yield Grid(["column", "type", "description"], [list(c) for c in entry.columns], empty="no column known yet")
    if entry.sample:
        names = list(entry.sample[0])
        yield Grid(names, [[row[n] for n in names] for row in entry.sample], note=f"{len(entry.sample)} sample rows")


# --- lineage


@dataclass(frozen=True)
class Lineage(Answer):
    """Where an object type's data comes from: its mart, the models under it, nearest first, and the raw tables with their state.

    Each of `raw` has `table`, `source` (its table at the source), `connector`, `watermark`, `lag_s`, `last_run`, `error`.
    """

    type: str
    mart: str
    mart_age_s: float | None
    staging: tuple[str, ...]
    raw: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """As the fields are."""
        return {"type": self.type, "mart": self.mart, "mart_age_s": self.mart_age_s, "staging": list(self.staging), "raw": list(self.raw)}

    def blocks(self) -> Iterator[Block]:
        """A row per table, from the mart to the source."""
        rows: list[list[Any]] = [["mart", self.mart, duration(self.mart_age_s), "", ""]]
        rows += [["staging", table, "", "", ""] for table in self.staging]
        for raw in self.raw:
            rows.append(["raw", raw["table"], duration(raw["lag_s"]), short_mark(raw["watermark"]), raw["source"]])
        yield Grid(["layer", "table", "age", "watermark", "source"], rows)
        for raw in self.raw:
            if raw["error"]:
                yield Note(f"{raw['table']}: {raw['error']}", "bad")


def read_lineage(
    type: str, model: str, transforms: Transforms, plan: SyncPlan | None, states: Sequence[TableStatus], ages: Mapping[str, float]
) -> Lineage:
    """The lineage of a type over a model, as dbt last parsed the project."""
    models, sources = transforms.upstream(model)
    known = transforms.models()
    table = known[model].table if model in known else model
    found = []
    by_table = {f"raw.{s.table}": s for s in states}
    for name in sources:
        state, job = by_table.get(name), plan.tables.get(name.removeprefix("raw.")) if plan else None
        found.append({
            "table": name,
            "source": f"{job.source}: {job.from_}" if job else "",
            "connector": plan.sources[job.source].connector if plan and job else "",
            "watermark": state.watermark if state else "",
            "lag_s": state.lag_s if state else None,
            "last_run": state.last_status if state else "",
            "error": state.error if state else "",
        })  # fmt: skip
    return Lineage(type, table, ages.get(table), tuple(m.table for m in models), tuple(found))


# --- freshness


def read_freshness(
    reads: Sequence[str], lake: Lake, transforms: Transforms, plan: SyncPlan | None, states: Sequence[TableStatus]
) -> dict[str, Any]:
    """How old the oldest data behind some marts is, `marts.NAME` or `NAME` each; behind everything when none is named.

    `age_s` is the seconds since the last good sync of the raw table that was synced longest ago, `table`, at `at`; all None when none of
    them was ever synced, and `never` counts those that were not. `built_at` is when dbt made the oldest of the marts. A mart that dbt has
    not parsed counts as made of every table.

    Raises:
        UnknownName: no such mart; names the nearest.
    """
    models = transforms.models()
    names = [name.rsplit(".", 1)[-1] for name in reads]
    for name in names:
        if name not in models:
            raise UnknownName("mart", name, models)
    sources = {table for name in names for table in transforms.upstream(name)[1]}
    known = [s for s in states if not sources or f"raw.{s.table}" in sources]
    synced = [s for s in known if s.lag_s is not None]
    oldest = max(synced, key=lambda s: s.lag_s or 0.0, default=None)
    now = dt.datetime.now(dt.timezone.utc)
    ages = table_ages(lake) if names else {}
    built = max((ages[models[name].table] for name in names if models[name].table in ages), default=None)
    return {
        "age_s": oldest.lag_s if oldest else None,
        "at": now - dt.timedelta(seconds=oldest.lag_s or 0) if oldest else None,
        "table": f"raw.{oldest.table}" if oldest else "",
        "watermark": short_mark(oldest.watermark) if oldest else "",
        "every_s": oldest.every_s if oldest else None,
        "built_at": now - dt.timedelta(seconds=built) if built is not None else None,
        "never": len(known) - len(synced),
    }


# --- reading


def table_ages(lake: Lake) -> dict[str, float]:
    """Seconds since each table of the lake was made or altered, by its full name: how old what dbt built is. Views have none."""
    found = lake.query(
        "select concat(database, '.', name) as name, dateDiff('second', metadata_modification_time, now()) as age from system.tables "
        "where database not in ('system', 'information_schema', 'INFORMATION_SCHEMA') and not engine like '%View'"
    )
    return {str(row["name"]): float(row["age"]) for row in found.to_pylist()}


def read_catalog(
    text: str, lake: Lake, transforms: Transforms, ontology: Ontology, plan: SyncPlan | None, states: Sequence[TableStatus]
) -> Catalog:
    """The entries that fit the text, or all. Rows are counted and sampled only of those that are shown."""
    types, ages = _column_types(lake), table_ages(lake)
    entries = [
        *_type_entries(ontology, transforms, types, ages),
        *_model_entries(transforms, types, ages),
        *_raw_entries(transforms, plan, states, types),
    ]
    words = text.casefold().split()
    if words:
        scored = sorted(((e.matches(words), n) for n, e in enumerate(entries)), key=lambda pair: (-pair[0], pair[1]))
        named = [n for _, n in scored if entries[n].name.casefold() == text.casefold() or entries[n].table.casefold() == text.casefold()]
        shown = [entries[n] for n in named] or [entries[n] for score, n in scored if score]
    else:
        shown = entries
    catalog = Catalog(tuple(_count(lake, shown)), text)
    if catalog.is_detailed:
        return replace(catalog, entries=tuple(_sample(lake, e) for e in catalog.entries))
    return replace(catalog, near=tuple(nearest(text, [e.name for e in entries]))) if not shown else catalog


def _column_types(lake: Lake) -> dict[str, dict[str, str]]:
    found = lake.query(
        "select concat(database, '.', table) as t, groupArray((name, type)) as c from (\n"
        "select database, table, name, type from system.columns\n"
        "where database not in ('system', 'information_schema', 'INFORMATION_SCHEMA')\n"
        "order by database, table, position) group by t"
    )
    return {str(row["t"]): {c["1"]: c["2"] for c in row["c"]} for row in found.to_pylist()}


def _raw_entries(
    transforms: Transforms, plan: SyncPlan | None, states: Sequence[TableStatus], types: Mapping[str, Mapping[str, str]]
) -> Iterator[CatalogEntry]:
    docs = transforms.source_docs()
    by_table = {s.table: s for s in states}
    planned = plan.tables if plan else {}
    here = [t.removeprefix("raw.") for t in types if t.startswith("raw.") and t not in OWN_TABLES]
    for name in dict.fromkeys([*planned, *sorted(here)]):
        table, state, job = f"raw.{name}", by_table.get(name), planned.get(name)
        text, columns = docs.get(table, ("", {}))
        yield CatalogEntry(
            "raw", table, table, text,
            tuple((c, t, columns.get(c, "")) for c, t in types.get(table, {}).items() if c not in _OURS),
            state.rows_current if state else None, state.lag_s if state else None,
            (f"{job.source}: {job.from_}",) if job else (), table in types,
        )  # fmt: skip


def _model_entries(transforms: Transforms, types: Mapping[str, Mapping[str, str]], ages: Mapping[str, float]) -> Iterator[CatalogEntry]:
    for model in transforms.models().values():
        models, sources = transforms.parents(model.name)
        yield CatalogEntry(
            "mart" if model.layer == "marts" else model.layer, model.name, model.table, model.description, _columns(model, types),
            age_s=ages.get(model.table), comes_from=(*(m.table for m in models), *sources), is_there=model.table in types,
        )  # fmt: skip


def _columns(model: Model, types: Mapping[str, Mapping[str, str]]) -> tuple[tuple[str, str, str], ...]:
    here = types.get(model.table, {})
    return tuple((name, here.get(name, ""), model.columns.get(name, "")) for name in (here or model.columns))


def _type_entries(
    ontology: Ontology, transforms: Transforms, types: Mapping[str, Mapping[str, str]], ages: Mapping[str, float]
) -> Iterator[CatalogEntry]:
    models = transforms.models()
    for kind in ontology.object_types.values():
        model = models.get(kind.model)
        table, docs = (model.table, model.columns) if model else (kind.model, {})
        columns = tuple(
            (p.name, p.type + (f", {p.unit}" if p.unit else ""), p.description or docs.get(p.name, "")) for p in kind.properties.values()
        )
        yield CatalogEntry(
            "object type", kind.name, table, kind.description, columns, age_s=ages.get(table), comes_from=(table,), is_there=table in types
        )


def _count(lake: Lake, entries: Sequence[CatalogEntry]) -> list[CatalogEntry]:
    """The entries with the rows of their tables; each table is counted once."""
    tables = sorted({e.table for e in entries if e.is_there and e.rows is None})

    def count(table: str) -> int | None:
        try:
            found = lake.query(f"select count() from {quote_table(table)}", settings={"max_execution_time": _COUNTING_S})
        except LakeUnavailable:
            raise
        except QueryError:  # not in time, or it is being made anew: then nobody knows
            return None
        return int(found.column(0)[0].as_py())

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        rows = dict(zip(tables, pool.map(count, tables), strict=True))
    return [replace(e, rows=rows.get(e.table)) if e.rows is None else e for e in entries]


def _sample(lake: Lake, entry: CatalogEntry) -> CatalogEntry:
    """The entry with some of its rows, without the columns that SkyGraph adds."""
    names = [name for name, type_, _ in entry.columns if entry.kind != "object type" or type_]
    if not entry.is_there or not names:
        return entry
    here = lake.columns(entry.table)
    listed = ", ".join(f"{_readable(n, here[n])} as {quote(n)}" for n in names if n in here)
    try:
        found = lake.query(f"select {listed} from {quote_table(entry.table)} limit {_SAMPLE}", settings={"max_execution_time": _COUNTING_S})
    except LakeUnavailable:
        raise
    except SkyGraphError:
        return entry
    return replace(entry, sample=tuple(found.to_pylist()))


def _readable(name: str, type: str) -> str:
    """The SQL of a column for people: a time as a time, text with what is not UTF-8 replaced."""
    from workbench.ontology.values import PROPERTY_TYPES, bare_type

    bare = bare_type(type)
    text = PROPERTY_TYPES["timestamp" if bare.startswith("DateTime") else "string"].readable(bare, quote(name))
    return f"toValidUTF8({text})" if bare == "String" or bare.startswith("FixedString") else text
