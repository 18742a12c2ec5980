"""Where each synced table stands: watermark, lag and last run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.hermes.ledger import SyncRun, TableState
from workbench.hermes.tables import SyncPlan
from workbench.hermes.watermark import short_mark

__all__ = ["SyncStatus", "TableStatus", "read_status"]


@dataclass(frozen=True)
class TableStatus:
    """One table. `moved_by` is who moved the watermark last: `sync`, or a person. `runs` are the last ones, oldest first.

    `lag_s` is the seconds since the last good run ended: what changed at the source after it is not here yet.
    """

    table: str
    source: str
    watermark: str
    every_s: float | None
    lag_s: float | None
    last_status: str
    last_finished_at: dt.datetime | None
    rows_current: int | None
    error: str
    moved_by: str = ""
    quarantined: int = 0
    runs: tuple[Mapping[str, Any], ...] = ()

    @property
    def overdue(self) -> bool:
        """Whether the table's interval has passed, or it was never synced."""
        return self.lag_s is None or (self.every_s is not None and self.lag_s > self.every_s)

    def to_dict(self) -> dict[str, Any]:
        """The status as data; times in seconds."""
        return {**self.__dict__, "runs": list(self.runs), "overdue": self.overdue}


@dataclass(frozen=True)
class SyncStatus(Answer):
    """All tables of the plan."""

    tables: tuple[TableStatus, ...]

    def to_dict(self) -> Any:
        """A row per table."""
        return [t.to_dict() for t in self.tables]

    def blocks(self) -> Iterator[Block]:
        """A grid, then every error in full."""
        rows = [
            [
                t.table,
                t.source,
                short_mark(t.watermark),
                duration(t.lag_s),
                duration(t.every_s),
                t.moved_by,
                t.last_status,
                t.rows_current,
                t.quarantined or None,
            ]
            for t in self.tables
        ]
        columns = ["table", "source", "watermark", "lag", "every", "moved by", "last run", "current rows", "quarantined"]
        yield Grid(columns, rows, empty="no table yet; add one to sync_jobs/tables.yml")
        for t in self.tables:
            if t.error:
                yield Note(f"{t.table}: {t.error}", "bad")


def duration(seconds: float | None) -> str:
    """Seconds in words of one unit; empty for None.

    >>> duration(4), duration(300), duration(7200), duration(None)
    ('4 s', '5 min', '2 h', '')
    """
    if seconds is None:
        return ""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _point(run: SyncRun) -> dict[str, Any]:
    return {
        "mode": run.mode, "status": run.status, "finished_at": run.finished_at, "rows_read": run.rows_read,
        "inserted": run.inserted, "deleted": run.deleted, "seconds": round(run.seconds, 3),
    }  # fmt: skip


def read_status(
    plan: SyncPlan,
    states: Mapping[str, TableState],
    runs: Mapping[str, Sequence[SyncRun]],
    rows: Mapping[str, int],
    quarantined: Mapping[str, int],
    *,
    now: dt.datetime,
) -> SyncStatus:
    """Put the pieces together, in the order of the plan. Pure: `now` is the caller's clock."""
    found = []
    for job in plan.tables.values():
        state, last = states.get(job.table), list(runs.get(job.table, ()))
        run = last[0] if last else None
        found.append(
            TableStatus(
                job.table,
                job.source,
                state.watermark.text() if state and state.watermark else "",
                job.every_s,
                (now - state.synced_at).total_seconds() if state else None,
                run.status if run else "never",
                run.finished_at if run else None,
                rows.get(job.table),
                run.error if run else "",
                state.moved_by if state else "",
                quarantined.get(job.table, 0),
                tuple(_point(r) for r in reversed(last)),
            )
        )
    return SyncStatus(tuple(found))
