"""A small shop in the lake: items, tags, and which item has which tag; and its twin."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from workbench.eidolon import Eidolon
from workbench.lake import Lake
from workbench.ontology.model import LinkType, ObjectType, Ontology, Property, Via

TABLES = {
    "items": "item_id Int64, name Nullable(String), note LowCardinality(String), price Nullable(Decimal(10, 2)), title Nullable(Float64), "
    "is_new Nullable(Bool), seen_at Nullable(DateTime64(3, 'America/New_York'))",
    "tags": "tag String, colour Nullable(String)",
    "item_tags": "item Nullable(Int64), tag Nullable(String)",
}
_ARROW = {
    "items": pa.schema([("item_id", pa.int64()), ("name", pa.string()), ("note", pa.string()), ("price", pa.decimal128(10, 2)),
                        ("title", pa.float64()), ("is_new", pa.bool_()), ("seen_at", pa.timestamp("ms", "UTC"))]),
    "tags": pa.schema([("tag", pa.string()), ("colour", pa.string())]),
    "item_tags": pa.schema([("item", pa.int64()), ("tag", pa.string())]),
}  # fmt: skip


def object_type(name: str, model: str, key: str, shown: str, /, **properties: str) -> ObjectType:
    return ObjectType(name, "", model, key, shown, {n: Property(n, t) for n, t in properties.items()})


# one property is called `title`, like a column of the history
ITEM = object_type("Item", "items", "item_id", "name", item_id="integer", name="string", note="string", price="decimal",
                   title="number", is_new="boolean", seen_at="timestamp")  # fmt: skip
TAG = object_type("Tag", "tags", "tag", "tag", tag="string", colour="string")
TAGGED = LinkType("tagged", "", "Item", "Tag", "many_to_many", {}, Via("item_tags", {"item_id": "item"}, {"tag": "tag"}), "items")
ONTOLOGY = Ontology({"Item": ITEM, "Tag": TAG}, {"tagged": TAGGED})


@dataclass
class Shop:
    """The models of the shop as tables that a test fills, and the twin that watches them."""

    lake: Lake
    twin: Eidolon
    ontology: Ontology
    missing: set[str]

    def fill(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Put these rows in place of all rows of a table."""
        self.lake.command(f"truncate table shop.{table}")
        self.lake.insert(f"shop.{table}", pa.Table.from_pylist([dict(r) for r in rows], schema=_ARROW[table]))

    def history_rows(self) -> int:
        """Rows of the tables of all parts: one for each object or pair in each snapshot in which it changed."""
        return sum(
            int(self.lake.scalar(f"select count() from eidolon.`{t}`"))
            for t in self.lake.tables("eidolon")
            if t.startswith(("object_", "link_"))
        )


@pytest.fixture
def shop(lake: Lake, tmp_path: Path) -> Shop:
    lake.create_database("shop")
    for table, columns in TABLES.items():
        lake.command(f"create table shop.{table} ({columns}) engine = MergeTree order by tuple()")
    missing: set[str] = set()

    def relations() -> dict[str, str]:
        # one of them is a SELECT, as it is for a model that dbt does not keep as a table
        found = {"items": "`shop`.`items`", "tags": "(select * from `shop`.`tags`)", "item_tags": "`shop`.`item_tags`"}
        return {model: relation for model, relation in found.items() if model not in missing}

    made = Shop(lake, None, ONTOLOGY, missing)  # type: ignore[arg-type]
    made.twin = Eidolon(lake, lambda: made.ontology, relations, tmp_path)
    return made


def item(item_id: int, **values: Any) -> dict[str, Any]:
    """An item row; what is not given is empty."""
    return {"item_id": item_id, "name": None, "note": "", "price": None, "title": None, "is_new": None, "seen_at": None, **values}


def text(value: Any) -> str | None:
    """A value as the twin keeps it, written without looking at how the twin does it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        seconds = value.astimezone(dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
        return seconds + (f".{value.microsecond // 1000:03d}".rstrip("0") if value.microsecond else "")
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    return str(value)


def state(
    items: Sequence[Mapping[str, Any]] = (), tags: Sequence[Mapping[str, Any]] = (), pairs: Iterable[tuple[Any, Any]] = ()
) -> dict[tuple[bool, str, str], dict[str, str]]:
    """The state that a snapshot of these rows should have."""
    found: dict[tuple[bool, str, str], dict[str, str]] = {}
    for type, key, rows in (("Item", "item_id", items), ("Tag", "tag", tags)):
        for row in rows:
            texts = {n: text(v) for n, v in row.items()}
            found[False, type, str(row[key])] = {n: t for n, t in texts.items() if t is not None}
    for a, b in pairs:
        if a is not None and b is not None:
            found[True, "tagged", f"{a}|{b}"] = {"from": str(a), "to": str(b)}
    return found
