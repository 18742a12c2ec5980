"""The explorer as of a snapshot, and what it marks beside another one: over the real lake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.eidolon.conftest import TABLES, Shop, item
from workbench.errors import UnknownName, UsageError
from workbench.lake import Lake
from workbench.times import Times

ITEMS = [item(1, name="Pen", price=Decimal("1.90")), item(2, name="Ink", note="blue"), item(10, name="Pad")]


@pytest.fixture
def times(shop: Shop, lake: Lake) -> Iterator[Times]:
    """Two snapshots, and then a lake in which nothing is as it was: 1 has another price, 2 is gone, 3 came; 1 lost `new` and got `old`."""
    shop.fill("items", ITEMS)
    shop.fill("tags", [{"tag": "new", "colour": None}, {"tag": "old", "colour": "grey"}])
    shop.fill("item_tags", [{"item": 1, "tag": "new"}, {"item": 2, "tag": "old"}, {"item": 10, "tag": "old"}])
    shop.twin.take(label="before")
    shop.fill("items", [item(1, name="Pen", price=Decimal("2.10")), item(10, name="Pad"), item(3, name="Cap")])
    shop.fill("item_tags", [{"item": 1, "tag": "old"}, {"item": 10, "tag": "old"}])
    shop.twin.take(label="after")
    for table in TABLES:
        shop.fill(table, [])
    made = Times(shop.twin, lambda: Lake(lake.settings))
    yield made
    made.close()


def keys(page: dict[str, Any]) -> dict[str, Any]:
    return {row["key"]: row.get("mark") for row in page["rows"]}


def test_each_time_has_its_own_objects_links_and_values(times: Times) -> None:
    before, after = times.browse("at", "1", None), times.browse("at", "2", None)
    assert keys(before.open("Item")["page"]) == {"1": None, "2": None, "10": None}
    assert keys(after.open("Item")["page"]) == {"1": None, "3": None, "10": None}
    assert before.counts() == after.counts() == {"counts": {"Item": 3, "Tag": 2}}
    assert [b.count("Item[price>2]")["count"] for b in (before, after)] == [0, 1]
    assert [b.count("Tag[tag=old]/items")["count"] for b in (before, after)] == [2, 2]
    assert [o["key"] for o in after.near("Item", "1", "tagged", 5)["objects"]] == ["old"]
    assert [o["key"] for o in before.near("Item", "1", "tagged", 5)["objects"]] == ["new"]
    values = {p["name"]: p["value"] for p in before.card("Item", "1")["properties"]}
    assert (values["name"], values["price"]) == ("Pen", "1.90")
    assert before.open("Item[price>1]")["command"] == "%skygraph objects 'Item[price>1]' --as-of 1"
    assert after.card("Item", "1")["command"] == "%skygraph object Item 1 --as-of 2"
    assert after.card("Item", "1")["python"] == "bench.twin('Item[item_id=1]', at='2')"


def test_what_differs_is_marked_on_both_sides(times: Times) -> None:
    at, was = times.browse("at", "2", "1"), times.browse("from", "1", "2")
    page = at.open("Item")
    assert keys(page["page"]) == {"1": "changed", "3": "added", "10": None}
    assert [column["name"] for column in page["columns"]][:2] == ["name", "price"], "what changed comes first"
    assert page["page"]["rows"][0]["cells"][:2] == ["Pen", "2.10"]
    assert page["page"]["rows"][0]["was"] == {"1": "1.90"}
    assert at.page("Item", None, 2)["rows"] == page["page"]["rows"][:2]
    assert keys(was.open("Item")["page"]) == {"1": "changed", "2": "removed", "10": None}
    card = at.card("Item", "1")
    assert card["mark"] == "changed"
    assert {p["name"]: p["was"] for p in card["properties"] if "was" in p} == {"price": "1.90"}
    assert at.card("Item", "3")["mark"] == "added"
    assert was.card("Item", "2")["mark"] == "removed"
    gone = at.card("Item", "2")
    assert (gone["absent"], gone["mark"], gone["title"]) == (True, "removed", "Ink")
    assert at.card("Item", "77")["absent"] is True
    assert at.links_of("Item", "77") == {"text": "", "links": []}


def test_links_gained_and_lost_are_in_the_graph(times: Times) -> None:
    near = times.browse("at", "2", "1").near("Item", "1", "tagged", 5)
    assert near == {"objects": [{"key": "old", "title": "old", "mark": "gained"}], "lost": [{"key": "new", "title": "new", "mark": "lost"}]}
    near = times.browse("from", "1", "2").near("Item", "1", "tagged", 5)
    assert near == {"objects": [{"key": "new", "title": "new", "mark": "lost"}], "lost": [{"key": "old", "title": "old", "mark": "gained"}]}
    # of an object along an unchanged link, its own mark
    assert times.browse("at", "2", "1").near("Tag", "old", "items", 5)["objects"] == [
        {"key": "1", "title": "Pen", "mark": "changed"},
        {"key": "10", "title": "Pad"},
    ]


def test_a_time_beside_itself_marks_nothing(times: Times) -> None:
    same = times.browse("at", "2", "2")
    assert set(keys(same.open("Item")["page"]).values()) == {None}
    assert "mark" not in same.card("Item", "1")
    assert times.changes("2", "2", "")["total"] == 0


def test_changes_and_the_life_of_an_object(times: Times) -> None:
    found = times.changes("1", "2", "Item")
    assert [(c["kind"], c["key"]) for c in found["changes"] if not c["link"]] == [("added", "3"), ("removed", "2"), ("changed", "1")]
    assert times.changes("1", "2", "")["total"] == 6
    life = times.life("Item", "1")["versions"]
    assert [(v["label"], v["kind"]) for v in life] == [("after", "changed"), ("before", "added")]
    assert life[0]["properties"] == [{"name": "price", "old": "1.90", "new": "2.10"}]
    assert times.life("Item", "77") == {"versions": [], "more": 0}
    assert [m["label"] for m in times.moments("")["moments"]] == ["before", "after"]
    assert [(m["value"], m["count"]) for m in times.moments("1")["moments"]] == [("2", 6)]


@pytest.mark.parametrize("value", ["", "x", "-1", "1; drop table x", "٣", "9" * 30])
def test_a_time_that_is_none_is_refused(times: Times, value: str) -> None:
    for ask in (lambda: times.browse("at", value, None), lambda: times.browse("at", "1", value), lambda: times.changes("1", value, "")):
        with pytest.raises(UsageError):
            ask()


def test_an_unknown_time_and_an_unknown_type_are_named(times: Times) -> None:
    with pytest.raises(UnknownName):
        times.browse("at", "99", None)
    with pytest.raises(UnknownName):
        times.changes("1", "2", "Itme")


def test_a_type_that_a_snapshot_does_not_cover_is_not_built_there(shop: Shop, lake: Lake) -> None:
    shop.fill("items", ITEMS)
    shop.fill("tags", [{"tag": "new", "colour": None}])
    shop.fill("item_tags", [])
    shop.twin.take(["Tag"])
    shop.twin.take()
    times = Times(shop.twin, lambda: Lake(lake.settings))
    early, late = times.browse("from", "1", "2"), times.browse("at", "2", "1")
    assert {t["name"]: t["built"] for t in early.types()["types"]} == {"Item": False, "Tag": True}
    assert early.open("Item")["page"]["rows"] == []
    assert set(keys(late.open("Item")["page"]).values()) == {None}, "nothing is known of the other time"
    assert "mark" not in late.card("Item", "1")
    times.close()


def test_connections_are_shared_by_a_side_and_closed(times: Times, until: Callable[..., None]) -> None:
    times.browse("at", "1", None).count("Item")
    times.browse("at", "2", None).count("Item")
    assert len(times._lakes["at"]) == 1
    times.stop("at", "count")
    times.stop("nobody", "count")
    times.close()
    assert times._lakes == {"at": {}, "from": {}}
