"""Where each synced table stands: watermark, lag and last run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.hermes.ledger import SyncRun, TableState
from workbench.hermes.tables import SyncPlan
from workbench.hermes.watermark import short_mark

__all__ = ["SyncStatus", "TableStatus", "read_status"]


@dataclass(frozen=True)
class TableStatus:
    """One table. `lag_s` is the seconds since the last good run ended: what changed at the source after it is not here yet."""

    table: str
    source: str
    watermark: str
    every_s: float | None
    lag_s: float | None
    last_status: str
    last_finished_at: dt.datetime | None
    rows_current: int | None
    error: str

    @property
    def overdue(self) -> bool:
        """Whether the table's interval has passed, or it was never synced."""
        return self.lag_s is None or (self.every_s is not None and self.lag_s > self.every_s)

    def to_dict(self) -> dict[str, Any]:
        """The status as data; times in seconds."""
        return {**self.__dict__, "overdue": self.overdue}


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
                t.last_status,
                t.rows_current,
            ]  # fmt: skip
            for t in self.tables
        ]
        columns = ["table", "source", "watermark", "lag", "every", "last run", "current rows"]
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


def read_status(
    plan: SyncPlan, states: Mapping[str, TableState], runs: Mapping[str, SyncRun], rows: Mapping[str, int], *, now: dt.datetime
) -> SyncStatus:
    """Put the pieces together, in the order of the plan. Pure: `now` is the caller's clock."""
    found = []
    for job in plan.tables.values():
        state, run = states.get(job.table), runs.get(job.table)
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
            )  # fmt: skip
        )
    return SyncStatus(tuple(found))
