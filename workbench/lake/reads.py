"""What the engine would read for a statement: the tables, their parts and granules, and whether each is read FINAL.

The engine says it itself, by EXPLAIN: nothing is guessed from the text. Nothing of the statement is run, but for scalar subqueries and
the small sets of an IN, which the engine needs to make its plan.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.errors import QueryError
from workbench.lake.client import Lake

__all__ = ["Read", "VERSIONED_ENGINES", "plan_reads", "table_facts"]

# engines whose rows are of several versions until they are merged, and which FINAL reads as if they were
_KINDS = ("Replacing", "Collapsing", "VersionedCollapsing", "Summing", "Aggregating", "Coalescing", "Graphite")
VERSIONED_ENGINES = tuple(f"{prefix}{kind}MergeTree" for prefix in ("", "Replicated", "Shared") for kind in _KINDS)


@dataclass(frozen=True)
class Read:
    """One reading of a MergeTree table in a plan.

    `columns` are those it reads before the rest of the statement, `lazy` those that are fetched at the end for the rows that are left.
    `granules` are what the key index leaves of `all_granules`; with `is_point` it looks for single keys. With `limit` rows come in key
    order and end early. `steps` are what is done with the rows: Aggregating, Sorting, ...
    """

    table: str
    columns: tuple[str, ...]
    lazy: tuple[str, ...]
    parts: int
    granules: int
    all_granules: int
    is_final: bool
    is_point: bool
    limit: int | None
    steps: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The reading as data."""
        return {**self.__dict__, "columns": list(self.columns), "lazy": list(self.lazy), "steps": list(self.steps)}


def plan_reads(lake: Lake, sql: str, parameters: Mapping[str, Any] | None = None, *, raw: bool = False) -> tuple[Read, ...]:
    """The readings of MergeTree tables in the engine's plan of a SELECT over current rows, or with `raw` over all physical ones.

    Empty for a statement that has no plan (SHOW, DESCRIBE) or that reads no table of parts.

    Raises:
        UsageError, QueryError, LakeUnavailable: as `Lake.query`.
    """
    asked = f"explain plan json = 1, indexes = 1, header = 1, actions = 1\n{sql.strip().rstrip(';')}"
    try:
        found = (lake.query_history if raw else lake.query)(asked, parameters)
    except QueryError as error:
        first = sql.lstrip(" \t\r\n(").split(None, 1)[0].lower() if sql.strip() else ""
        if error.code == 62 and first in ("show", "describe", "desc", "explain", "exists"):
            return ()  # it has no plan
        raise
    text = found.column(0)[0].as_py() if found.num_rows else "[]"
    return tuple(read for tree in json.loads(text) for read in _reads(tree["Plan"], (), None, ()))


def table_facts(lake: Lake, table: str) -> dict[str, Any]:
    """A table as the engine's catalogue has it: `engine`, `engine_full`, `sorting_key`, `total_rows`, `as_select`.

    Raises:
        UnknownName: there is no such table; names the nearest.
    """
    database, _, name = table.partition(".")
    found = lake.rows(
        "select engine, engine_full, sorting_key, total_rows, as_select from system.tables "
        "where database = {d:String} and name = {t:String}",
        {"d": database, "t": name},
    )
    if not found:
        raise lake.unknown_table(table)
    return found[0]


def _reads(node: Mapping[str, Any], above: tuple[str, ...], limit: int | None, lazy: tuple[str, ...]) -> Iterator[Read]:
    kind = node["Node Type"]
    inner = node.get("Plans", [])
    if kind == "Limit":
        limit = int(node["Limit"]) + int(node.get("Offset", 0))
    elif kind in ("Aggregating", "Window", "Distinct", "Join", "LimitBy") or kind.startswith("Join") and kind != "JoinLazyColumnsStep":
        limit = None
    if kind == "JoinLazyColumnsStep":
        lazy = tuple(c for n in inner if n["Node Type"].startswith("Lazily") for c in n.get("Lazily read columns", []))
    if kind == "ReadFromMergeTree":
        indexes = node.get("Indexes", [])
        parts, granules = node.get("Parts"), node.get("Granules")
        if indexes:
            parts = indexes[-1]["Selected Parts"] if parts is None else parts
            granules = indexes[-1]["Selected Granules"] if granules is None else granules
        everything = int(indexes[0]["Initial Granules"]) if indexes else int(granules or 0)
        ranges = re.findall(r"\bin (\[[^\]]*\]|\d+-element set)", str(indexes[0].get("Condition", ""))) if indexes else []
        points = [r for r in ranges if "element" in r or len(set(r[1:-1].split(", "))) == 1]
        in_order = str(node.get("Read Type", "")).startswith("In")
        yield Read(
            str(node.get("Description", "")), tuple(c["Name"] for c in node.get("Header", [])), lazy, int(parts or 0), int(granules or 0),
            everything, bool(node.get("FINAL")), bool(ranges) and len(points) == len(ranges), limit if in_order else None, above,
        )  # fmt: skip
    for child in inner:
        yield from _reads(child, (*above, kind), limit, lazy)
