"""Lateness: how far behind the watermark rows came, and the lookback that would have caught them.

Measured from what is there: a physical row of an incremental run whose watermark lies before the run's first mark came late by
the difference. Rows later than the lookback are only seen by a sweep or a full run; so a table without a sweep is measured
within its lookback alone, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.hermes.status import duration
from workbench.hermes.tables import TableJob
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_table

__all__ = ["LookbackAdvice", "TableLateness", "read_advice"]

_DAYS = 30
_STEPS_S = (0, 1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 604800)
_WANTED = 0.9999


@dataclass(frozen=True)
class TableLateness:
    """One table over the last 30 days: rows that came, those that came late, the latest of them, and the proposal.

    Seconds for a watermark that is a time, plain amounts for a number. `missed` is the share of the rows that a lookback of
    `proposed` would not have caught.
    """

    table: str
    is_time: bool
    rows: int
    late: int
    latest: float
    lookback: float
    missed_now: float
    proposed: float
    missed: float
    is_swept: bool

    def to_dict(self) -> dict[str, Any]:
        """The figures."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class LookbackAdvice(Answer):
    """Every table with a watermark."""

    tables: tuple[TableLateness, ...]

    def to_dict(self) -> Any:
        """A row per table."""
        return [t.to_dict() for t in self.tables]

    def blocks(self) -> Iterator[Block]:
        """A grid, and what it cannot know."""

        def amount(t: TableLateness, value: float) -> str:
            return (duration(value) or "0 s") if t.is_time else f"{value:g}"

        yield Grid(
            ["table", "rows in 30 days", "late", "latest", "lookback", "misses", "proposed", "would miss"],
            [
                [
                    t.table, t.rows, t.late, amount(t, t.latest), amount(t, t.lookback), f"{t.missed_now:.4%}", amount(t, t.proposed),
                    f"{t.missed:.4%}",
                ]
                for t in self.tables
            ],
            empty="no table with a watermark has been synced yet",
        )  # fmt: skip
        blind = [t.table for t in self.tables if not t.is_swept and t.rows]
        if blind:
            yield Note(f"{', '.join(blind)}: not swept, so a row later than the lookback was never seen, nor counted here", "quiet")


def read_advice(lake: Lake, jobs: Sequence[TableJob]) -> LookbackAdvice:
    """Measure these tables, in the engine."""
    return LookbackAdvice(tuple(_measure(lake, job) for job in jobs))


def _measure(lake: Lake, job: TableJob) -> TableLateness:
    type_ = lake.columns(job.raw).get(job.watermark, "")
    name = f"r.{quote(job.watermark)}"
    if "Date" in type_:
        behind = f"dateDiff('microsecond', toDateTime64({name}, 6, 'UTC'), toDateTime64(s.mark, 6, 'UTC')) / 1e6"
    elif "Int" in type_:
        behind = f"toFloat64(toInt64OrZero(s.mark)) - toFloat64({name})"
    else:
        return TableLateness(job.table, False, 0, 0, 0, job.lookback, 0, job.lookback, 0, job.deletes == "sweep")
    steps = [s for s in _STEPS_S if s > 0] if "Date" in type_ else [1, 10, 100, 1000, 10_000, 100_000]
    missed = ", ".join(f"countIf(late > {float(s)}) as m{n}" for n, s in enumerate((0, *steps, job.lookback)))
    (found,) = lake.rows(
        f"select count(), max(late), {missed} from (\n"
        f"select greatest(0, {behind}) as late from {quote_table(job.raw)} as r\n"
        "inner join (select run_id, watermark_from as mark from skygraph.sync_runs final where table = {t:String} and status = 'ok' "
        f"and mode = 'incremental' and watermark_from != '' and finished_at > now() - toIntervalDay({_DAYS})) as s "
        "on r._run_id = s.run_id\n"
        f"where r._deleted = 0 and {name} is not null)",
        {"t": job.table},
        history=True,
    )
    rows, latest, *counts = found.values()
    if not rows:
        return TableLateness(job.table, "Date" in type_, 0, 0, 0, job.lookback, 0, job.lookback, 0, job.deletes == "sweep")
    shares = [c / rows for c in counts]
    ladder = [0.0, *map(float, steps)]
    proposed, share = next(((s, m) for s, m in zip(ladder, shares, strict=False) if m <= 1 - _WANTED), (float(math.ceil(latest)), 0.0))
    return TableLateness(
        job.table, "Date" in type_, rows, counts[0], float(latest), job.lookback, shares[-1], proposed, share, job.deletes == "sweep"
    )
