"""What Hermes remembers, in the lake: `skygraph.sync_state` (one watermark row per table) and `skygraph.sync_runs`.

Both are ReplacingMergeTree and read as current rows. `sync_state` moves only after the rows are in.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields
from typing import Any

from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import Column, create_replacing

__all__ = ["Ledger", "SyncRun", "TableState"]

STATE_TABLE = "skygraph.sync_state"
RUNS_TABLE = "skygraph.sync_runs"

_STATE_COLUMNS = (
    Column("table", "String"),
    Column("source", "String"),
    Column("from", "String"),
    Column("watermark_column", "String"),
    Column("watermark", "String"),
    Column("watermark_kind", "LowCardinality(String)"),
    Column("run_id", "String"),
    Column("synced_at", "DateTime64(3, 'UTC')"),
    Column("_version", "UInt64"),
)
_RUN_COLUMNS = (
    Column("run_id", "String"),
    Column("table", "String"),
    Column("source", "String"),
    Column("mode", "LowCardinality(String)"),
    Column("status", "LowCardinality(String)"),
    Column("started_at", "DateTime64(3, 'UTC')"),
    Column("finished_at", "DateTime64(3, 'UTC')"),
    Column("watermark_from", "String"),
    Column("watermark_to", "String"),
    Column("inserted", "UInt64"),
    Column("deleted", "UInt64"),
    Column("error", "String"),
    Column("_version", "UInt64"),
)


@dataclass(frozen=True)
class TableState:
    """How far a table has been read, by which run, and when that run ended.

    The watermark is one of `watermark_column` in the table `from_` of the source, and says nothing about any other.
    """

    table: str
    source: str
    watermark: Watermark | None
    run_id: str
    synced_at: dt.datetime
    version: int
    from_: str = ""
    watermark_column: str = ""


@dataclass(frozen=True)
class SyncRun:
    """One run of one table. `mode` is incremental (from the watermark) or full (every row compared); `status` is ok or failed.

    Counts are rows: `inserted` counts new and changed rows, `deleted` the tombstones written for keys gone at the source.
    """

    run_id: str
    table: str
    source: str
    mode: str
    status: str
    started_at: dt.datetime
    finished_at: dt.datetime
    watermark_from: str = ""
    watermark_to: str = ""
    inserted: int = 0
    deleted: int = 0
    error: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """The run as data."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"seconds": round(self.seconds, 3)}


class Ledger:
    """Reads and writes both tables; makes them when they are not there."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._ready = False

    def prepare(self) -> None:
        """Make the databases and tables; does nothing the second time."""
        if self._ready:
            return
        for database in ("raw", "skygraph"):
            self.lake.create_database(database)
        runs_key = ["table", "started_at", "run_id"]
        for table, columns, key in ((STATE_TABLE, _STATE_COLUMNS, ["table"]), (RUNS_TABLE, _RUN_COLUMNS, runs_key)):
            ddl = create_replacing(table, columns, key=key, version="_version", placement=self.lake.placement)
            self.lake.command(ddl, retry=True)
        self._ready = True

    def states(self) -> dict[str, TableState]:
        """The state of every table that has been synced, by name."""
        self.prepare()
        found = {}
        for row in self.lake.current(STATE_TABLE).to_pylist():
            kind = row["watermark_kind"]
            mark = Watermark.parse(kind, row["watermark"]) if kind else None
            found[row["table"]] = TableState(row["table"], row["source"], mark, row["run_id"], row["synced_at"], row["_version"],
                                             row["from"], row["watermark_column"])  # fmt: skip
        return found

    def move_mark(self, state: TableState) -> None:
        """Write a table's state: the last step of a sync."""
        mark = state.watermark
        self._write(STATE_TABLE, {
            "table": state.table, "source": state.source, "from": state.from_,
            "watermark_column": state.watermark_column, "watermark": mark.text() if mark else "",
            "watermark_kind": mark.kind if mark else "", "run_id": state.run_id, "synced_at": state.synced_at,
            "_version": state.version,
        })  # fmt: skip

    def record(self, run: SyncRun, *, version: int) -> None:
        """Write the row of a run."""
        self.prepare()
        row = run.to_dict()
        row.pop("seconds")
        self._write(RUNS_TABLE, {**row, "_version": version})

    def runs(self, *, table: str = "", limit: int = 100) -> list[SyncRun]:
        """Past runs, newest first, of one table or of all."""
        self.prepare()
        where = "where table = {t:String} " if table else ""
        found = self.lake.query(
            f"select * except _version from {RUNS_TABLE} {where}order by started_at desc, table limit {{n:UInt32}}",
            {"t": table, "n": limit},
        )
        return [SyncRun(**row) for row in found.to_pylist()]

    def last_runs(self) -> dict[str, SyncRun]:
        """The newest run of each table, by name."""
        self.prepare()
        found = self.lake.query(f"select * except _version from {RUNS_TABLE} order by started_at desc limit 1 by table")
        return {row["table"]: SyncRun(**row) for row in found.to_pylist()}

    def runs_between(self, start: dt.datetime, end: dt.datetime) -> list[SyncRun]:
        """Runs that began in `start` <= t < `end`, in order."""
        self.prepare()
        found = self.lake.query(
            f"select * except _version from {RUNS_TABLE} where started_at >= {{a:DateTime64(3, 'UTC')}} "
            "and started_at < {b:DateTime64(3, 'UTC')} order by started_at, table",
            {"a": start, "b": end},
        )
        return [SyncRun(**row) for row in found.to_pylist()]

    def _write(self, table: str, row: dict[str, Any]) -> None:
        import pyarrow as pa

        arrays = {}
        for name, value in row.items():
            if isinstance(value, dt.datetime):
                arrays[name] = pa.array([value], pa.timestamp("ms", tz="UTC"))
            elif name == "_version" or isinstance(value, int):
                arrays[name] = pa.array([value], pa.uint64())
            else:
                arrays[name] = pa.array([str(value)], pa.string())
        self.lake.insert(table, pa.table(arrays))
