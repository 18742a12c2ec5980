"""Which snapshots are kept, and what the history weighs.

`parse_keep` and `chosen` are pure; the rest is what `Eidolon.prune` and `Eidolon.size` do in the lake. A version that no kept snapshot
shows is deleted by the engine; of the others nothing is written again, so a snapshot that is kept reads exactly as before.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.eidolon.history import OPEN, Layout, Part
from workbench.errors import UsageError
from workbench.lake import Lake

__all__ = ["KEEP", "HistorySize", "PruneReport", "chosen", "delete_unseen", "parse_keep", "read_size"]

KEEP = "all for 7 days, daily for 90 days, monthly"

_PERIODS = {"hourly": "%Y-%m-%d %H", "daily": "%Y-%m-%d", "weekly": "%G-%V", "monthly": "%Y-%m", "yearly": "%Y"}
_UNITS = {"hour": 1 / 24, "day": 1, "week": 7, "month": 30.44, "year": 365.25}
_RULE = re.compile(r"(all|hourly|daily|weekly|monthly|yearly)(?:\s+for\s+(\d{1,5})\s+(hour|day|week|month|year)s?)?")


@dataclass(frozen=True)
class _Rule:
    period: str  # "" keeps every one
    length: dt.timedelta | None  # None: without end


def parse_keep(text: str) -> tuple[_Rule, ...]:
    """Keep rules as written: `all for 7 days, daily for 90 days, monthly`. Each holds for so long after the one before.

    >>> [(r.period, r.length and r.length.days) for r in parse_keep("all for 7 days, daily for 2 weeks, monthly")]
    [('', 7), ('daily', 14), ('monthly', None)]

    Raises:
        UsageError: says which part is wrong.
    """
    rules: list[_Rule] = []
    for words in text.casefold().split(","):
        found = _RULE.fullmatch(" ".join(words.split()))
        if found is None:
            raise UsageError(f"{words.strip()!r} is not a rule of what to keep", hint=f"write for example: {KEEP}")
        if rules and rules[-1].length is None:
            raise UsageError(f"{words.strip()!r} comes after a rule without an end", hint="give the one before an end: `daily for 90 days`")
        length = dt.timedelta(days=int(found[2]) * _UNITS[found[3]]) if found[2] else None
        rules.append(_Rule("" if found[1] == "all" else found[1], length))
    return tuple(rules)


def chosen(rules: Sequence[_Rule], taken: Sequence[tuple[int, dt.datetime]], now: dt.datetime) -> list[int]:
    """The numbers of the snapshots (oldest first) to keep: of each period the last one, and the newest of all always.

    >>> days = [(n, dt.datetime(2026, 1, 1, n)) for n in range(1, 4)]
    >>> chosen(parse_keep("daily"), days, dt.datetime(2026, 1, 9)), chosen(parse_keep("all for 1 day"), days, dt.datetime(2026, 1, 9))
    ([3], [3])
    """
    kept: dict[int, None] = {}
    last: dict[tuple[int, str], int] = {}
    for seq, at in taken:
        age, place = now - at, 0
        while place < len(rules) and (length := rules[place].length) is not None and age > length:
            age, place = age - length, place + 1
        if place == len(rules):
            continue
        period = rules[place].period
        if not period:
            kept[seq] = None
        else:
            last[place, at.strftime(_PERIODS[period])] = seq
    newest = [taken[-1][0]] if taken else []
    return sorted({*kept, *last.values(), *newest})


@dataclass(frozen=True)
class PruneReport(Answer):
    """Which snapshots went, and what that freed. With `is_plan` nothing was deleted."""

    keep: str
    removed: tuple[int, ...]
    kept: int
    versions: int
    is_plan: bool = False

    def to_dict(self) -> dict[str, Any]:
        """`keep`, `removed` (numbers), `kept` (how many), `versions` (deleted rows of history), `is_plan`."""
        return {**self.__dict__, "removed": list(self.removed)}

    def blocks(self) -> Iterator[Block]:
        """One line."""
        if not self.removed:
            yield Note(f"nothing to delete: all {self.kept:,} snapshots are kept by {self.keep!r}", "good")
        elif self.is_plan:
            yield Note(f"would delete {len(self.removed):,} snapshots and keep {self.kept:,}: {self.keep}", "quiet")
        else:
            yield Note(f"deleted {len(self.removed):,} snapshots and {self.versions:,} versions; kept {self.kept:,}: {self.keep}", "good")


def delete_unseen(lake: Lake, layouts: Sequence[Layout], kept: Sequence[int]) -> int:
    """Delete every version that none of these snapshots shows; how many they were. It can run again."""
    deleted, last = 0, kept[-1]
    # a version is unseen when the first kept number from its first one on is not before its end
    for layout in layouts:
        firsts = [row["f"] for row in lake.rows(f"select distinct _from as f from {layout.table} where _to <= {last}")]
        if not firsts:
            continue
        following = [next((k for k in kept if k >= f), OPEN) for f in firsts]
        after = f"transform(_from, {firsts}, {following}, toUInt32({OPEN}))"
        unseen = f"_to <= {last} and {after} >= _to"
        count = int(lake.scalar(f"select count() from {layout.table} where {unseen}") or 0)
        if count:
            lake.command(
                f"delete from {layout.table}{lake.placement.on_cluster} where {unseen}",
                settings={"lightweight_deletes_sync": 2, "mutations_sync": 2}, retry=True,
            )  # fmt: skip
            lake.command(f"optimize table {layout.table}{lake.placement.on_cluster} final", retry=True)
            deleted += count
    return deleted


@dataclass(frozen=True)
class HistorySize(Answer):
    """What the history weighs, by part: objects now, versions in all, bytes on disk."""

    rows: tuple[tuple[str, int, int, int], ...]
    snapshots: int
    snapshot_bytes: int

    @property
    def bytes(self) -> int:
        """On disk, all of it."""
        return sum(r[3] for r in self.rows) + self.snapshot_bytes

    def to_dict(self) -> dict[str, Any]:
        """`parts` with `name`, `objects`, `versions`, `bytes`, `bytes_per_version`; `snapshots`, `snapshot_bytes`, `bytes`."""
        parts = [
            {"name": n, "objects": now, "versions": v, "bytes": size, "bytes_per_version": round(size / v, 1) if v else None}
            for n, now, v, size in self.rows
        ]
        return {"parts": parts, "snapshots": self.snapshots, "snapshot_bytes": self.snapshot_bytes, "bytes": self.bytes}

    def blocks(self) -> Iterator[Block]:
        """A row per part, and the sum."""
        yield Grid(
            ["part", "objects", "versions", "bytes", "bytes a version"],
            [[n, now, v, size, round(size / v, 1) if v else None] for n, now, v, size in self.rows],
            empty="no history yet",
        )
        yield Note(f"{self.snapshots:,} snapshots, {self.bytes / 1e6:,.1f} MB on disk", "quiet")


def read_size(lake: Lake, layouts: Mapping[Part, Layout], snapshots: int) -> HistorySize:
    """What the history weighs now. Reads the engine's own counts, and `_to`."""
    sizes = {
        row["table"]: int(row["size"])
        for row in lake.rows(
            "select table, sum(bytes_on_disk) as size from system.parts where database = 'eidolon' and active group by table"
        )
    }
    looks = [
        f"select {i} as place, countIf(_to = {OPEN}) as open, countIf(_to > _from) as versions from {layout.table}"
        for i, layout in enumerate(layouts.values())
    ]
    counts = {row["place"]: row for row in lake.rows(" union all ".join(looks))} if looks else {}
    rows = [
        (str(part), int(counts[i]["open"]), int(counts[i]["versions"]), sizes.get(part.table.partition(".")[2], 0))
        for i, part in enumerate(layouts)
    ]
    return HistorySize(tuple(rows), snapshots, sizes.get("snapshots", 0))
