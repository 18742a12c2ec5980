"""The life of a key across merges: `skygraph.key_history` keeps the versions that a run replaces, before it replaces them.

A merge destroys a row only after a newer one of its key has landed. So the newest rows of the keys that a run is about to write are copied
first, inside the engine, by one statement beside each that writes; the first load of a table replaces nothing and copies nothing. A run
that ends between the copy and the landing leaves a copy of what is still current, which the next run's copy falls together with. What is
kept is bounded: by age (the engine's TTL), by versions of a key, and by rows of a run.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.answer import Answer, Block, Grid, Heading, Note, cell_text
from workbench.errors import QueryError
from workbench.hermes.connector import SourceColumn
from workbench.hermes.ledger import RUNS_TABLE
from workbench.hermes.retention import parse_retention
from workbench.hermes.tables import TableJob
from workbench.lake import Lake
from workbench.lake.inspect import TableShape, is_nested, key_kinds, key_values, key_versions, read_shape, unknown_key, without_null
from workbench.lake.sql import RAW_COLUMNS, Column, create_replacing, quote, quote_table, quote_text, row_hash

__all__ = ["Biography", "KeyLife", "read_life"]

TABLE = "skygraph.key_history"
_COLUMNS = (
    Column("table", "LowCardinality(String)"),
    Column("key", "String"),  # a JSON array of its values as texts
    Column("version", "UInt64"),
    Column("deleted", "UInt8"),
    Column("synced_at", "DateTime64(3, 'UTC')"),
    Column("run_id", "String"),
    Column("part", "String"),
    Column("row", "String CODEC(ZSTD(3))"),  # a JSON object of the source's columns
    Column("replaced_by", "String"),
    Column("captured_at", "DateTime64(3, 'UTC')"),
    Column("expires_at", "DateTime('UTC')"),
)
_MISSING = (60, 81)  # ClickHouse: unknown table, unknown database
_PRUNE_ONE_IN = 64  # runs that look whether a key has too many versions
_EXACT = "output_format_json_quote_decimals = 1, output_format_json_quote_denormals = 1"
_OURS = tuple(c.name for c in RAW_COLUMNS)
_READ_FOR_ONE = 10  # rows of the raw table that may be read for each row that a run may keep
_TOO_MANY = "replaced versions were not kept"


class Biography:
    """What one run of one table keeps of the rows that it replaces, as `history:` of the table says, or the setting."""

    def __init__(self, lake: Lake, job: TableJob, run_id: str) -> None:
        self.lake, self.job, self.run_id = lake, job, run_id
        self.most = (
            parse_retention(job.history, parse_retention(lake.settings.history)) if job.history else parse_retention(lake.settings.history)
        )
        self.kept = 0
        self.passed_over = ""  # why the rows of this run are not kept

    def keep(
        self, keys: str, columns: Sequence[SourceColumn], physical: int, *, unless: str = "", staged: int = 0, tag: str = ""
    ) -> int | None:
        """Copy the newest physical row of each key of `keys`, a SELECT; not those whose key and `row_hash` are in `unless`, another.

        `columns` are the source's, with their types in the raw table, which has `physical` rows; `staged` is how many rows the run has
        brought. A tombstone is copied whatever its values are. Returns how many were copied; None when they may not be all.
        """
        if not self.most.seconds:
            return None
        if staged > self.most.rows:
            self.passed_over = f"the run brought {staged:,} rows, history is of runs of up to {self.most.rows:,}"
            return None
        # what is deleted is few, and to list it is to read the table already
        if staged and (read := self._read(keys, physical)) > _READ_FOR_ONE * self.most.rows:
            self.passed_over = (
                f"they lie scattered among {read:,} rows of the table, history reads up to {_READ_FOR_ONE * self.most.rows:,} a run"
            )
            return None
        key = ", ".join(map(quote, self.job.key))
        texts = ", ".join(f"toString({quote(k)})" for k in self.job.key)
        # a tuple with names, so that the engine writes an object; without aliases, as any word may be the name of a column
        kinds = ", ".join(f"{quote(c.name)} {c.type}" for c in columns)
        values = ", ".join(quote(c.name) for c in columns)
        row = f"toJSONString(cast(tuple({values}), {quote_text(f'Tuple({kinds})')}))"
        newest = (
            f"select *, _part from {quote_table(self.job.raw)} where ({key}) in ({keys}) "
            f"order by {key}, _version desc limit 1 by {key} limit {self.most.rows + 1}"
        )
        # told by the values of the newest rows alone, so that nothing is compared with the whole table a second time
        changed = f" where _deleted = 1 or ({key}, {row_hash([c.name for c in columns])}) not in ({unless})" if unless else ""
        sql = (
            f"insert into {TABLE} ({', '.join(quote(c.name) for c in _COLUMNS)})\n"
            f"select {{table:String}}, toJSONString([{texts}]), _version, _deleted, _synced_at, _run_id, _part, {row}, {{run:String}}, "
            f"now64(3), now() + {self.most.seconds} from ({newest}){changed} settings {_EXACT}"
        )
        bound = {"table": self.job.raw, "run": self.run_id}
        try:
            kept = self.lake.fill(sql, bound, tag=tag, history=True)[0]
        except QueryError as error:
            if error.code not in _MISSING:
                raise
            _make(self.lake)
            kept = self.lake.fill(sql, bound, tag=tag, history=True)[0]
        self.kept += kept
        return kept if kept <= self.most.rows else None

    def _read(self, keys: str, physical: int) -> int:
        """How many rows of the raw table are read to find these keys; at most, while the table is small."""
        if physical <= _READ_FOR_ONE * self.most.rows:
            return physical
        key = ", ".join(map(quote, self.job.key))
        told = self.lake.facts(f"explain estimate select 1 from {quote_table(self.job.raw)} where ({key}) in ({keys})", history=True)
        return sum(int(row[3]) for row in told)

    def finish(self, *, replaced: bool) -> str:
        """After the last statement: now and then, what is too much of a key goes. Returns a note for the run's receipt, or ''."""
        if self.kept and int(self.run_id[:8], 16) % _PRUNE_ONE_IN == 0:
            prune(self.lake, self.job.raw, self.most.versions)
        if self.passed_over and replaced:
            return f"{_TOO_MANY}: {self.passed_over}"
        return ""


def _make(lake: Lake) -> None:
    lake.create_database("skygraph")
    made = create_replacing(
        TABLE, _COLUMNS, key=["table", "key", "version"], version="captured_at", placement=lake.placement, expires="expires_at"
    )
    lake.command(made, retry=True)


def prune(lake: Lake, table: str, versions: int) -> None:
    """Delete all but the newest versions of each key of a table."""
    ranked = (
        f"select key, version, row_number() over (partition by key order by version desc) as place from {TABLE} where table = {{t:String}}"
    )
    lake.command(
        f"delete from {TABLE}{lake.placement.on_cluster} where table = {{t:String}} and (key, version) in "
        f"(select key, version from ({ranked}) where place > {{n:UInt64}})",
        {"t": table, "n": versions},
        retry=True,
    )


# --- reading it


@dataclass(frozen=True)
class Version:
    """One version of a key, as it was written at `at` by the sync run `run_id`.

    `state` is `current`, `deleted` (the newest, a tombstone), `superseded` (a newer one is there, and a merge may take it), or `merged`:
    only the history has it, until `expires_at`. `part` is where it lies, or lay when it was copied. `values` are the table's columns,
    `missing` those that it had not yet. `changes` are `column`, `old`, `new` against the version before. `mode` and `status` are of its
    run, '' when the ledger has none.
    """

    number: int | None
    state: str
    at: dt.datetime | None
    run_id: str
    mode: str
    status: str
    part: str
    is_tombstone: bool
    values: dict[str, Any]
    missing: tuple[str, ...] = ()
    changes: tuple[dict[str, Any], ...] = ()
    expires_at: dt.datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """The columns as they are, and beside them what begins with `_`: `_state`, `_part`, `_run`, `_changes`, `_expires_at`."""
        run = {"run_id": self.run_id, "mode": self.mode, "status": self.status} if self.run_id else None
        return {
            **self.values, "_state": self.state, "_part": self.part, "_run": run, "_changes": list(self.changes),
            "_expires_at": self.expires_at,
        }  # fmt: skip


@dataclass(frozen=True)
class KeyLife(Answer):
    """What is known of one key, oldest version first.

    `gaps` counts the runs, after the first version, whose replaced rows were not kept.
    """

    table: str
    key: str
    columns: tuple[str, ...]
    versions: tuple[Version, ...]
    gaps: int = 0

    def to_dict(self) -> Any:
        """`versions` as rows with the table's columns, oldest first."""
        return {
            "table": self.table, "key": self.key, "columns": list(self.columns), "versions": [v.to_dict() for v in self.versions],
            "gaps": self.gaps,
        }  # fmt: skip

    def blocks(self) -> Iterator[Block]:
        """A line per version with what changed in it; then the values, of columns that changed."""
        merged = sum(v.state == "merged" for v in self.versions)
        tail = f", {merged} of them out of the history" if merged else ""
        yield Heading(f"{self.table}, key {self.key}: {len(self.versions)} version(s){tail}")
        lines = [[v.state, v.at, f"{v.mode} {v.run_id[:8]}".strip(), v.part, self._said(n, v)] for n, v in enumerate(self.versions)]
        yield Grid(["state", "written at", "run", "part", "what changed"], lines)
        names = [c for c in self.columns if not c.startswith("_")]
        changed = {change["column"] for v in self.versions for change in v.changes}
        shown = [n for n in names if n in changed] if len(self.versions) > 1 else names
        if shown:
            yield Grid([*shown, "_version"], [[*(v.values.get(c) for c in shown), v.number] for v in self.versions])
        if len(shown) < len(names):
            yield Note(f"the other {len(names) - len(shown)} columns are the same in all versions", "quiet")
        if self.gaps:
            yield Note(f"{self.gaps} run(s) since the first of these replaced too many rows to keep them: versions may be missing", "bad")

    def _said(self, n: int, version: Version) -> str:
        if not n:
            return "the first that is known"
        words = [f"{c['column']}: {_side(c['column'], c['old'])} → {_side(c['column'], c['new'])}" for c in version.changes]
        if version.is_tombstone != self.versions[n - 1].is_tombstone:
            words.insert(0, "deleted" if version.is_tombstone else "there again")
        return "; ".join(words) or "written again, with the same values"


def _side(column: str, value: Any) -> str:
    text = "nothing" if value is None else cell_text(column, value) or "''"
    return text if len(text) <= 40 else f"{text[:39]}…"


def read_life(lake: Lake, table: str, key: str) -> KeyLife:
    """The versions of a key: those that are in the table, and those that merges took, out of the history. Writes nothing.

    Raises:
        UnknownName: neither has that key; names near ones.
        UsageError: the key has another number of parts, or the table keeps no versions.
    """
    shape = read_shape(lake, table)
    values = key_values(shape, key)
    kinds = key_kinds(lake, shape)
    here = key_versions(lake, table, key, shape=shape, kinds=kinds, strict=False)
    found = [_physical(shape, row, part) for row, part in zip(here.rows, here.parts, strict=True)]
    known = {v.number for v in found}
    names = [n for n in shape.names if n not in _OURS]
    if table.startswith("raw."):
        past = _past(lake, shape, names, kinds, values)
        found = [v for v in past if v.number not in known] + found
    if not found:
        raise unknown_key(lake, shape, key, values)
    if shape.version:
        found.sort(key=lambda v: v.number or 0)
    runs = _runs(lake, {v.run_id for v in found if v.run_id})
    versions = []
    for n, v in enumerate(found):
        run = runs.get(v.run_id, {})
        changes = _changes(found[n - 1], v, names) if n else ()
        state = v.state
        if state != "merged":
            state = "superseded" if n < len(found) - 1 else "deleted" if v.is_tombstone else "current"
        versions.append(dataclasses.replace(v, state=state, mode=run.get("mode", ""), status=run.get("status", ""), changes=changes))
    gaps = _gaps(lake, table, versions[0].at) if table.startswith("raw.") else 0
    return KeyLife(table, key, tuple(shape.names), tuple(versions), gaps)


def _physical(shape: TableShape, row: dict[str, Any], part: str) -> Version:
    number = row.get(shape.version) if shape.version else None
    return Version(
        number if isinstance(number, int) else None, "superseded", row.get("_synced_at"), str(row.get("_run_id") or ""), "", "", part,
        bool(shape.deleted and row.get(shape.deleted)), row,
    )  # fmt: skip


def _changes(before: Version, after: Version, names: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """The columns whose values differ. A column that the older one had not yet was nothing."""
    return tuple(
        {"column": name, "old": old, "new": new}
        for name in names
        if repr(old := before.values.get(name)) != repr(new := after.values.get(name))  # by its text: NaN is not NaN
    )


def _past(lake: Lake, shape: TableShape, names: Sequence[str], kinds: Sequence[str], values: Sequence[str]) -> list[Version]:
    """The versions that the history has. Values come back in the types that their columns have now."""
    texts, bound = [], {"t": shape.table}
    for n, (kind, value) in enumerate(zip(kinds, values, strict=True)):
        bound[f"k{n}"] = value
        text = f"{{k{n}:String}}"  # 007 is 7, as the table has it
        texts.append(text if is_nested(kind) else f"ifNull(toString(accurateCastOrNull({text}, {quote_text(without_null(kind))})), {text})")
    types = {c["name"]: str(c["type"]) for c in shape.columns}
    picked = ", ".join(_out_of_json(name, types[name]) for name in names)
    found = _rows_if_there(
        lake,
        "select version as `skygraph version`, deleted as `skygraph deleted`, synced_at as `skygraph at`, run_id as `skygraph run`, "
        "part as `skygraph part`, toDateTime64(expires_at, 3, 'UTC') as `skygraph until`, JSONExtractKeys(row) as `skygraph names`, "
        f"{picked} from {TABLE} where table = {{t:String}} and key = toJSONString([{', '.join(texts)}]) "
        "and expires_at > now() order by version",
        bound,
    )
    versions = []
    for row in found:
        had = set(row["skygraph names"])
        shown = {name: row[name] if name in had else None for name in names}
        ours = {
            "_version": row["skygraph version"],
            "_deleted": row["skygraph deleted"],
            "_synced_at": row["skygraph at"],
            "_run_id": row["skygraph run"],
        }
        versions.append(Version(
            int(row["skygraph version"]), "merged", row["skygraph at"], row["skygraph run"], "", "", row["skygraph part"],
            bool(row["skygraph deleted"]), {**shown, **ours}, tuple(n for n in names if n not in had), expires_at=row["skygraph until"],
        ))  # fmt: skip
    return versions


def _out_of_json(name: str, kind: str) -> str:
    text = f"JSONExtract(row, {quote_text(name)}, 'Nullable(String)')"
    if is_nested(kind):
        return f"JSONExtract(row, {quote_text(name)}, {quote_text(kind)}) as {quote(name)}"
    return f"accurateCastOrNull({text}, {quote_text(without_null(kind))}) as {quote(name)}"


def _runs(lake: Lake, ids: set[str]) -> dict[str, dict[str, Any]]:
    """Mode and status of runs, by id; of those that the ledger has."""
    if not ids:
        return {}
    found = _rows_if_there(
        lake,
        f"select run_id, any(mode) as mode, any(status) as status from {RUNS_TABLE} where run_id in {{ids:Array(String)}} group by run_id",
        {"ids": sorted(ids)},
    )
    return {row["run_id"]: row for row in found}


def _gaps(lake: Lake, table: str, since: dt.datetime | None) -> int:
    """Runs of a table since then that replaced rows without keeping them."""
    found = _rows_if_there(
        lake,
        f"select count() as runs from {RUNS_TABLE} where table = {{t:String}} and position(note, {{said:String}}) > 0 "
        "and started_at > {at:DateTime64(3, 'UTC')}",
        {"t": table.removeprefix("raw."), "said": _TOO_MANY, "at": since or dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)},
    )
    return int(found[0]["runs"]) if found else 0


def _rows_if_there(lake: Lake, sql: str, bound: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a SELECT; none when its table is not there."""
    try:
        return lake.rows(sql, bound)
    except QueryError as error:
        if error.code in _MISSING:
            return []
        raise
