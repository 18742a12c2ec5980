"""Where a table's rows lie: its parts, the merges that go on, and how the ranges of their keys overlap.

Reads catalogues and the index of marks (one key for each 8,192 rows), never rows: milliseconds for any table.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from workbench.answer import Answer, Block, Grid, Heading, Note
from workbench.errors import QueryError
from workbench.lake.client import Lake
from workbench.lake.sql import join_key, quote

__all__ = ["KeyMap", "Part", "Parts", "read_key_map", "read_parts"]

_MOST_PARTS = 1_000  # parts that are listed and drawn: the largest ones
_BUCKETS = 240  # steps of the drawn key axis
_NO_INDEX = (36, 44)  # ClickHouse: no table of the MergeTree family; a column of its key is called as one of the index


@dataclass(frozen=True)
class Part:
    """One active part. `level` is how often its rows were merged; `age_s` since it was written; sizes in bytes."""

    name: str
    partition: str
    level: int
    rows: int
    bytes_on_disk: int
    bytes_uncompressed: int
    age_s: float


@dataclass(frozen=True)
class Parts(Answer):
    """A table's parts, largest first, at most 1,000 of them, and its merges.

    The totals are of all parts. A merge has `result_part`, `progress` (0 to 1), `elapsed_s`, `parts`, `rows_read`, `rows_written`,
    `bytes`, and `is_mutation`.
    """

    table: str
    total: int
    rows: int
    bytes_on_disk: int
    parts: tuple[Part, ...]
    merges: tuple[dict[str, Any], ...]

    def to_dict(self) -> Any:
        """The totals, `parts` and `merges`; sizes in bytes, times in seconds."""
        return {**self.__dict__, "parts": [p.__dict__ for p in self.parts], "merges": list(self.merges)}

    def blocks(self) -> Iterator[Block]:
        """A grid of the largest parts, and one of the merges."""
        yield Heading(f"{self.total:,} part(s), {self.rows:,} rows, {self.bytes_on_disk:,} bytes on disk")
        most = 12
        yield Grid(
            ["part", "level", "rows", "bytes", "age (s)"],
            [[p.name, p.level, p.rows, p.bytes_on_disk, round(p.age_s)] for p in self.parts[:most]],
            empty="no part: the table has no row",
            note=f"and {self.total - most:,} smaller one(s)" if self.total > most else "",
        )
        if self.merges:
            yield Grid(
                ["merging into", "done", "parts", "rows read", "seconds"],
                [[m["result_part"], f"{m['progress']:.0%}", m["parts"], m["rows_read"], round(m["elapsed_s"], 1)] for m in self.merges],
            )
        else:
            yield Note("no merge is running", "quiet")


def read_parts(lake: Lake, table: str) -> Parts:
    """The parts of a table of the MergeTree family, and its merges; no parts for anything else. Two catalogue reads."""
    database, _, name = table.partition(".")
    bound = {"d": database, "t": name}
    found = lake.rows(
        "select name, partition, level, rows, bytes_on_disk, data_uncompressed_bytes as bytes_uncompressed, "
        "toFloat64(now64(3)) - toFloat64(toUnixTimestamp(modification_time)) as age_s, count() over () as total, "
        "sum(rows) over () as all_rows, sum(bytes_on_disk) over () as all_bytes "
        "from system.parts where database = {d:String} and table = {t:String} and active "
        f"order by system.parts.rows desc, name limit {_MOST_PARTS}",
        bound,
    )
    merges = lake.rows(
        "select result_part_name as result_part, progress, elapsed as elapsed_s, num_parts as parts, rows_read, rows_written, "
        "total_size_bytes_compressed as bytes, toBool(is_mutation) as is_mutation "
        "from system.merges where database = {d:String} and table = {t:String} order by elapsed desc limit 50",
        bound,
    )
    first = found[0] if found else {"total": 0, "all_rows": 0, "all_bytes": 0}
    fields = ("name", "partition", "level", "rows", "bytes_on_disk", "bytes_uncompressed", "age_s")
    parts = tuple(Part(**{f: max(row[f], 0.0) if f == "age_s" else row[f] for f in fields}) for row in found)
    return Parts(table, int(first["total"]), int(first["all_rows"]), int(first["all_bytes"]), parts, tuple(merges))


@dataclass(frozen=True)
class KeyMap(Answer):
    """Which keys each part covers, on an axis of `buckets` steps from the least key to the greatest.

    The axis is in the order of the keys, and as long as there are keys in the index. Each of `parts` has `name`, `lo` and `hi` (steps),
    `first` and `last` (its keys, as texts), `rows`, and `cells`: pairs of a step and the rows that begin there. `depth` is, for each
    step, how many parts cover it: where it is 1, FINAL has nothing to merge, unless the part was never merged. `rows_overlapping` counts,
    of `rows`, those in steps that two parts or more cover, and those of parts that were never merged. `seconds` is what the reading took.
    """

    table: str
    key: tuple[str, ...]
    buckets: int
    total: int
    rows: int
    rows_overlapping: int
    first: str
    last: str
    depth: tuple[int, ...]
    parts: tuple[dict[str, Any], ...]
    seconds: float

    def to_dict(self) -> Any:
        """All of it."""
        return {**self.__dict__, "key": list(self.key), "depth": list(self.depth), "parts": list(self.parts)}

    def blocks(self) -> Iterator[Block]:
        """A line of signs per part, and in words what overlaps."""
        if not self.parts:
            yield Note("no key ranges: the table has no row, or no key", "quiet")
            return
        yield Heading(f"keys that each part covers, from {self.first[:40]} to {self.last[:40]}")
        width, most = 56, 16
        lines: list[list[Any]] = [[p["name"], _strip(p, width), p["rows"]] for p in self.parts[:most]]
        depth = [max(self.depth[i * _BUCKETS // width : (i + 1) * _BUCKETS // width]) for i in range(width)]
        lines.append(["parts over it", "".join(str(d) if d < 10 else "+" for d in depth), None])
        yield Grid(
            ["part", "least key to greatest", "rows"],
            lines,
            note=f"and {self.total - most:,} smaller one(s)" if self.total > most else "",
        )
        if self.rows_overlapping:
            share = self.rows_overlapping / self.rows if self.rows else 0
            yield Note(f"about {share:.0%} of the rows lie where parts overlap, or in parts never merged: those FINAL has to merge")
        else:
            yield Note("no two parts overlap: FINAL has nothing to merge", "good")


def read_key_map(lake: Lake, table: str) -> KeyMap:
    """The key ranges of the largest 1,000 parts, out of the index of marks; without parts for a view, or a table without a key."""
    database, _, name = table.partition(".")
    started = time.perf_counter()
    try:
        index = f"mergeTreeIndex({quote(database)}, {quote(name)})"
        columns = [str(c) for c in lake.query(f"describe table {index}").column("name").to_pylist()][3:]
        if not columns:
            return KeyMap(table, (), _BUCKETS, 0, 0, 0, "", "", (), (), time.perf_counter() - started)
        # by place, not by name: a column of a key may be called anything
        places = [f"c{n}" for n in range(len(columns))]
        picked = ", ".join(f"{quote(c)} as {p}" for c, p in zip(columns, places, strict=True))
        key, texts = ", ".join(places), ", ".join(f"ifNull(toString({p}), 'NULL')" for p in places)
        found = lake.query_history(
            f"select part, min(r) as lo, max(r) as hi, argMin(texts, mark) as first, argMax(texts, mark) as last, sum(n) as rows, "
            f"sumMap([intDiv(r * {_BUCKETS - 1}, greatest(top, 1))], [n]) as cells, any(top) as most, count() over () as total from (\n"
            f"select part, mark, n, texts, r, max(r) over () as top from (\n"
            f"select part_name as part, mark_number as mark, rows_in_granule as n, [{texts}] as texts, "
            f"toInt64(dense_rank() over (order by {key})) - 1 as r "
            f"from (select part_name, mark_number, rows_in_granule, {picked} from {index})"
            f"))\ngroup by part order by rows desc, part limit {_MOST_PARTS}"
        ).to_pylist()
    except QueryError as error:
        if error.code not in _NO_INDEX:
            raise
        return KeyMap(table, (), _BUCKETS, 0, 0, 0, "", "", (), (), time.perf_counter() - started)
    parts = tuple(_ranged(row) for row in found)
    depth = _depth(parts)
    overlapping = sum(p["rows"] if _is_fresh(p["name"]) else sum(n for b, n in p["cells"] if depth[b] > 1) for p in parts)
    total = int(found[0]["total"]) if found else 0
    first = next((p["first"] for p in parts if not p["lo"]), "")
    last = next((p["last"] for p in parts if p["hi"] == max(q["hi"] for q in parts)), "")
    seconds = time.perf_counter() - started
    return KeyMap(
        table, tuple(columns), _BUCKETS, total, sum(p["rows"] for p in parts), overlapping, first, last, depth, parts, seconds
    )  # fmt: skip


def _ranged(row: dict[str, Any]) -> dict[str, Any]:
    """A part with its range in steps of the axis."""
    top = max(int(row["most"]), 1)
    lo, hi = (int(row[end]) * (_BUCKETS - 1) // top for end in ("lo", "hi"))
    cells = [(int(b), int(n)) for b, n in zip(row["cells"]["1"], row["cells"]["2"], strict=True) if n]
    first, last = join_key(row["first"]), join_key(row["last"])
    return {"name": row["part"], "lo": lo, "hi": hi, "first": first, "last": last, "rows": int(row["rows"]), "cells": cells}


def _is_fresh(name: str) -> bool:
    """Whether a part was never merged, so that FINAL looks for versions within it: by the level in its name.

    >>> _is_fresh("all_1_1_0"), _is_fresh("all_1_5_1_7")
    (True, False)
    """
    return re.search(r"_\d+_\d+_0(?:_\d+)?$", name) is not None


def _depth(parts: Sequence[dict[str, Any]]) -> tuple[int, ...]:
    """For each step of the axis, how many parts cover it.

    >>> _depth([{"lo": 0, "hi": 239}, {"lo": 3, "hi": 3}])[2:5]
    (1, 2, 1)
    """
    change = [0] * (_BUCKETS + 1)
    for part in parts:
        change[part["lo"]] += 1
        change[part["hi"] + 1] -= 1
    return tuple(accumulate(change))[:_BUCKETS]


def _strip(part: dict[str, Any], width: int) -> str:
    """A part's range as signs, darker where more of its rows are."""
    rows = [0] * width
    for bucket, count in part["cells"]:
        rows[bucket * width // _BUCKETS] += count
    most = max(rows) or 1
    lo, hi = part["lo"] * width // _BUCKETS, part["hi"] * width // _BUCKETS
    shades = "░▒▓█"
    return "".join(shades[min(3, 4 * rows[i] // (most + 1))] if lo <= i <= hi else " " for i in range(width)).rstrip()
