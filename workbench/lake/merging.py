"""Merging a table on demand, so that reading its current rows costs next to nothing; with progress, and ended when interrupted."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from workbench.answer import Answer, Block, Note
from workbench.errors import UsageError
from workbench.lake.client import Lake
from workbench.lake.price import overlap_of
from workbench.lake.reads import table_facts
from workbench.lake.sql import MERGED_WHEN_IDLE, quote_table

__all__ = ["MergeReport", "optimize"]

_LOOK_S = 0.3  # between two looks at how far the merge is
_STOP_S = 30  # the longest wait for a merge that was told to end


@dataclass(frozen=True)
class MergeReport(Answer):
    """What a merge did: parts and the share of rows in key ranges of several parts, before and after; bytes on disk; seconds."""

    table: str
    parts_before: int
    parts_after: int
    share_before: float
    share_after: float
    rows_before: int
    rows_after: int
    bytes_after: int
    seconds: float

    def to_dict(self) -> Any:
        """The figures."""
        return {**self.__dict__, "seconds": round(self.seconds, 3), "share_before": round(self.share_before, 4),
                "share_after": round(self.share_after, 4)}  # fmt: skip

    def blocks(self) -> Iterator[Block]:
        """One line, and what it means for readers."""
        yield Note(
            f"{self.table}: {self.parts_before} part(s) to {self.parts_after}, {self.rows_before:,} physical rows to {self.rows_after:,}, "
            f"{self.bytes_after:,} bytes, {self.seconds:.1f} s",
            "good",
        )
        yield Note(f"rows whose versions are merged while reading: {self.share_before:.0%} before, {self.share_after:.0%} now", "quiet")


def optimize(
    lake: Lake, table: str, *, step: bool = False, progress: Callable[[str, int, int], None] = lambda message, done, total: None
) -> MergeReport:
    """Merge all parts of a table into one a partition; with `step` only the merge that the engine would do next by itself.

    Superseded rows are gone from the disk afterwards; the newest version of a deleted key stays. Current rows are what they were. The
    table is also set to be merged by itself when it is idle, if it was made before tables were. An interrupt ends the merge, and changes
    nothing.

    Raises:
        UnknownName: there is no such table; names the nearest.
        UsageError: it keeps no versions, or the lake is read-only.
        QueryError: the engine refused: no space left, most often.
    """
    if not lake.columns(table):
        raise lake.unknown_table(table)
    before = overlap_of(lake, table)
    if before is None:
        raise UsageError(f"{table} keeps no versions of its rows, so there is nothing to merge", hint="merge a table of raw")
    started = time.monotonic()
    where = lake.placement.on_cluster
    if "min_age_to_force_merge_seconds" not in table_facts(lake, table)["engine_full"]:
        lake.command(f"alter table {quote_table(table)}{where} modify setting {MERGED_WHEN_IDLE}")
    tag = f"optimize-{uuid.uuid4()}-"
    failed: list[BaseException] = []

    def merge() -> None:
        try:
            final = "" if step else " final"
            lake.fill(f"optimize table {quote_table(table)}{where}{final} settings optimize_throw_if_noop = 0", tag=tag)
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=merge, daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(_LOOK_S)
            done, rows = _progress(lake, table)
            progress(f"merging {table}: {rows:,} rows", min(int(done * 100), 99), 100)
    except KeyboardInterrupt:
        # a killed OPTIMIZE goes on to its end; this ends it within a second
        try:
            lake.command(f"system stop merges{where} {quote_table(table)}")
            worker.join(_STOP_S)
        finally:
            lake.command(f"system start merges{where} {quote_table(table)}")
        raise
    finally:
        progress("", 0, 0)
    if failed:
        raise failed[0]
    after = overlap_of(lake, table)
    assert after is not None
    return MergeReport(
        table, before.parts, after.parts, before.share, after.share, before.rows, after.rows, after.bytes_on_disk,
        time.monotonic() - started,
    )  # fmt: skip


def _progress(lake: Lake, table: str) -> tuple[float, int]:
    """Of the merges of a table that run: the share done and the rows read."""
    database, _, name = table.partition(".")
    found = lake.rows(
        "select max(progress) as done, sum(rows_read) as rows from system.merges where database = {d:String} and table = {t:String}",
        {"d": database, "t": name},
    )[0]
    return float(found["done"] or 0), int(found["rows"] or 0)
