"""Proof that the lake holds what the source holds: current rows against the source, and the receipt of a run replayed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.errors import LakeError, SkyGraphError
from workbench.hermes.connector import SourceTable, Span, Stage
from workbench.hermes.ledger import SyncRun
from workbench.hermes.run import at_or_past, is_misfit
from workbench.hermes.watermark import Watermark, short_mark
from workbench.lake.sql import current, quote_table, rows_checksum

if TYPE_CHECKING:
    import pyarrow as pa

    from workbench.hermes.run import TableRun

__all__ = ["Comparison", "Proof", "TableComparison", "compare_table", "verify_table"]


@dataclass(frozen=True)
class TableComparison:
    """Current rows of one table against its source: counts and a checksum over all columns of all rows, on both sides.

    Rows of the source that do not fit are counted apart, as `quarantined`.
    """

    table: str
    source_rows: int
    current_rows: int
    physical_rows: int
    source_checksum: str
    current_checksum: str
    quarantined: int = 0

    @property
    def equal(self) -> bool:
        """Whether both sides hold the same rows."""
        return (self.source_rows, self.source_checksum) == (self.current_rows, self.current_checksum)


@dataclass(frozen=True)
class Comparison(Answer):
    """Current rows against the sources, table by table."""

    tables: tuple[TableComparison, ...]

    @property
    def failed(self) -> bool:
        """Whether any table differs from its source."""
        return not all(t.equal for t in self.tables)

    def to_dict(self) -> Any:
        """A row per table, with `equal`."""
        return [{**t.__dict__, "equal": t.equal} for t in self.tables]

    def blocks(self) -> Iterator[Block]:
        """A grid: both sides of every table."""
        columns = ["table", "source rows", "current rows", "physical rows", "source checksum", "current checksum", "quarantined", "equal"]
        yield Grid(columns, [[*t.__dict__.values(), t.equal] for t in self.tables], empty="no table to compare")


@dataclass(frozen=True)
class Proof(Answer):
    """The rows that a run read: counted and summed by its receipt, at the source now, and in the lake now.

    `span` says which rows. Sides are (rows, checksum); the receipt has none when the first rows were loaded straight.
    """

    table: str
    run: SyncRun
    span: str
    source_rows: int
    source_checksum: str
    lake_rows: int
    lake_checksum: str

    @property
    def failed(self) -> bool:
        """Whether source and lake differ now."""
        return (self.source_rows, self.source_checksum) != (self.lake_rows, self.lake_checksum)

    def to_dict(self) -> Any:
        """Both sides now, the run's receipt, and `equal`."""
        return {
            "table": self.table, "span": self.span, "equal": not self.failed, "source_rows": self.source_rows,
            "source_checksum": self.source_checksum, "lake_rows": self.lake_rows, "lake_checksum": self.lake_checksum,
            "receipt": self.run.to_dict(),
        }  # fmt: skip

    def blocks(self) -> Iterator[Block]:
        """The receipt and both sides, then the verdict."""
        run = self.run
        yield Grid(
            ["", "rows", "checksum"],
            [
                [f"read by the run of {run.finished_at:%Y-%m-%d %H:%M:%S}", run.rows_read, run.source_checksum],
                ["in the lake after it", run.rows_read - run.quarantined, run.lake_checksum],
                ["at the source now", self.source_rows, self.source_checksum],
                ["in the lake now", self.lake_rows, self.lake_checksum],
            ],
        )
        if self.failed:
            yield Note(f"{self.table}, {self.span}: the source and the lake differ; `skygraph sync {self.table}` mends it", "bad")
        else:
            yield Note(f"{self.table}, {self.span}: the lake holds exactly what the source holds", "good")


def compare_table(this: TableRun) -> TableComparison:
    """Compare one table with its source, whole. Writes nothing to the raw table."""
    source = _described(this)
    names = [c.name for c in source.columns]
    fold = f"select count(), lower(hex({rows_checksum(names)}))"
    read, apart = _read(this, source, fold, None, "true")
    here = this.lake.query(f"{fold} from {current(this.job.raw)}")
    physical = this.lake.query_history(f"select count() from {quote_table(this.job.raw)}")
    return TableComparison(
        this.job.table, read.column(0)[0].as_py(), here.column(0)[0].as_py(), physical.column(0)[0].as_py(),
        read.column(1)[0].as_py(), here.column(1)[0].as_py(), apart,
    )  # fmt: skip


def verify_table(this: TableRun, run: SyncRun | None) -> Proof:
    """Count and sum the rows of a run's span on both sides."""
    source = _described(this)
    if run is None:
        raise LakeError(f"{this.job.table} has no run to verify yet", hint=f"run `skygraph sync {this.job.table}`")
    names = [c.name for c in source.columns]
    within, condition, span = None, "true", "all rows"
    state = this.ledger.states().get(this.job.table)
    if run.mode != "full" and run.watermark_from and state and state.watermark:
        column = source.column(this.job.watermark)
        low = Watermark.parse(state.watermark.kind, run.watermark_from)
        low = low if run.mode == "backfill" else low.back(this.job.lookback)
        high = Watermark.parse(state.watermark.kind, run.watermark_to) if run.watermark_to else None
        condition = at_or_past(column, low, high, with_high=run.mode != "backfill")
        within = Span(column.name, low)
        span = f"{column.name} from {short_mark(low.text())} to {short_mark(run.watermark_to)}"
    fold = f"select count(), lower(hex({rows_checksum(names)}))"
    there, _ = _read(this, source, fold, within, condition)
    here = this.lake.query(f"{fold} from {current(this.job.raw)} where {condition}")
    return Proof(
        this.job.table, run, span, there.column(0)[0].as_py(), there.column(1)[0].as_py(), here.column(0)[0].as_py(),
        here.column(1)[0].as_py(),
    )  # fmt: skip


def _read(this: TableRun, source: SourceTable, fold: str, within: Span | None, condition: str) -> tuple[pa.Table, int]:
    """A fold over rows of the source as they land, and how many of them do not fit."""
    names = [c.name for c in source.columns]
    where = f"where {condition}" + (f" and not ({this.flag})" if this.job.deleted_column else "")
    try:
        with this.connector.rows(source, names, within=within) as select:
            return this.lake.query(f"{fold} from (\n{select}\n) {where}"), 0
    except SkyGraphError as error:
        if not is_misfit(error):
            raise
    stage = Stage(this.lake, source.columns)
    try:
        with this.connector.rows(source, names, within=within, as_text=True) as select:
            this.quarantine.sort_out(select, stage, source, where="", tag=this.tag)
        return this.lake.query(f"{fold} from {quote_table(stage.table)} {where}"), this.quarantine.set_apart
    finally:
        stage.drop()


def _described(this: TableRun) -> SourceTable:
    """The table at the source, whose columns are those of the raw table."""
    here = this.lake.columns(this.job.raw)
    if not here:
        raise LakeError(f"{this.job.raw} has not been synced yet", hint=f"run `skygraph sync {this.job.table}`")
    source = this.describe()
    if changed := [c.name for c in source.columns if here.get(c.name) != c.type]:
        raise LakeError(
            f"{this.job.raw} has not been synced since {changed[0]} changed at the source", hint=f"run `skygraph sync {this.job.table}`"
        )
    return source
