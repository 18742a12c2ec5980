"""Objects, links, facets and groups as of a point, beside a copy kept aside at that time."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.eidolon.conftest import ITEM, ONTOLOGY, Shop, item
from workbench.errors import LakeError, UnknownName, UsageError
from workbench.ontology import Store
from workbench.ontology.model import LinkType, Ontology, Property

LINKED = Ontology(
    {
        "Item": replace(ITEM, properties={**ITEM.properties, "loud": Property("loud", "string", expression="upper(name)")}),
        "Tag": ONTOLOGY.object_types["Tag"],
    },
    {**ONTOLOGY.link_types, "noted": LinkType("noted", "", "Item", "Tag", "many_to_one", {"note": "tag"}, None, "notes_of")},
)


def store(shop: Shop) -> Store:
    """The store of the present, over the model that the twin has."""
    return Store(shop.lake, shop.ontology, shop.twin.relations(), past=shop.twin.past)


def look(found: Store) -> dict[str, Any]:
    """Everything that people ask of the shop."""
    items = found.objects("Item")
    return {
        "rows": [{**row, "seen_at": str(row["seen_at"])} for row in items],
        "tags": list(found.objects("Tag").sort("-colour")),
        "count": items.count(),
        "where": [row["item_id"] for row in items.where("loud~PEN or price>1")],
        "pairs": [row["tag"] for row in items.where("item_id<3").linked("tagged")],
        "back": [row["item_id"] for row in found.objects("Tag").where(tag="new").linked("items")],
        "join": [row["tag"] for row in items.linked("noted")],
        "has": [row["item_id"] for row in items.where("tagged.colour=red or has noted")],
        "facets": [(f.property, f.values, f.null_count) for f in items.facets("note", "is_new", budget_s=60)],
        "groups": items.group_by("note", sums=["price"]).rows,
        "months": items.where("seen_at is not null").group_by("seen_at by month").rows,
        "page": items.sort("-price").page(2).rows.column("item_id").to_pylist(),
        "card": [(e.name, n) for e, n in found.object("Item", 1).links],
    }


AT = dt.datetime(2026, 11, 20, 12, tzinfo=dt.timezone.utc)


@pytest.fixture
def lived(shop: Shop) -> tuple[Shop, list[dict[str, Any]]]:
    """Three days of the shop, a snapshot at noon of each, and what it looked like each time."""
    shop.ontology = LINKED
    shop.fill("tags", [{"tag": "new", "colour": "red"}, {"tag": "old", "colour": None}])
    days: list[tuple[list[dict[str, Any]], list[tuple[int, str]]]] = [
        ([item(1, name="Pen", note="new", price="1.50"), item(2, name="Ink", note="old")], [(1, "new"), (2, "old")]),
        ([item(1, name="Pencil", note="old", price="1.75", seen_at=AT), item(3, name="Pad", is_new=True)], [(1, "old"), (3, "new")]),
        ([item(1, name="Pen", note="new", price="1.50"), item(2, name="Ink", note="new"), item(4)], [(2, "new")]),
    ]
    looks = []
    for i, (rows, pairs) in enumerate(days):
        shop.fill("items", [{**r, "price": Decimal(r["price"]) if r["price"] else None} for r in rows])
        shop.fill("item_tags", [{"item": a, "tag": b} for a, b in pairs])
        shop.twin.clock = lambda i=i: AT + dt.timedelta(days=i)  # type: ignore[misc]
        shop.twin.take(label=f"day {i + 1}")
        looks.append(look(store(shop)))
    shop.twin.clock = lambda: AT + dt.timedelta(days=2, hours=6)
    return shop, looks


def test_every_question_is_answered_as_it_was_then(lived: tuple[Shop, list[dict[str, Any]]]) -> None:
    shop, looks = lived
    shop.fill("items", [])
    shop.fill("tags", [])
    shop.fill("item_tags", [])
    for point, wanted in (("day 1", 0), ("2", 1), ("latest", 2), ("yesterday 18:00", 1), ("2026-11-20", 0), ("1 hour ago", 2)):
        assert look(store(shop).at_point(point)) == looks[wanted], point
    now = store(shop).objects("Item")
    assert (now.count(), now.as_of("day 2").count(), now.as_of("day 2").as_of(None).count()) == (0, 2, 0)
    assert now.as_of(AT).linked("tagged").count() == 2


def test_the_point_is_part_of_the_short_text(lived: tuple[Shop, list[dict[str, Any]]]) -> None:
    shop, _ = lived
    found = store(shop).objects("Item").where("price>1").as_of("yesterday 18:00").linked("tagged")
    assert found.text == 'Item[price>1]/tagged as_of="yesterday 18:00"'
    assert store(shop).at(found.text).to_dict() == found.to_dict()
    assert found.words == ["Item[price>1]/tagged", "--as-of=yesterday 18:00"]
    assert found.to_dict()["as_of"] == {"seq": 2, "label": "day 2", "taken_at": AT + dt.timedelta(days=1)}
    assert "as of #2 day 2 of 2026-11-21 12:00:00 UTC" in str(found)
    assert store(shop).at_point("day 1").objects("Item").text == "Item as_of=1"


def test_a_point_outside_says_from_when_to_when(lived: tuple[Shop, list[dict[str, Any]]]) -> None:
    shop, _ = lived
    items = store(shop).objects("Item")
    between = r"from 2026-11-20 12:00:00 \(#1\) to 2026-11-22 12:00:00 UTC \(#3\)"
    with pytest.raises(UsageError, match=f"before the first snapshot.*{between}"):
        items.as_of("2026-11-20 11:59")
    with pytest.raises(UsageError, match=f"in the future.*{between}"):
        items.as_of("2026-11-23 18:00")
    with pytest.raises(UnknownName, match=between):
        items.as_of("the other day")
    with pytest.raises(UnknownName, match="did you mean day 1"):
        items.as_of("day1")


def test_a_type_that_did_not_exist_then_says_since_when_it_does(shop: Shop) -> None:
    shop.fill("items", [item(1, name="Pen")])
    shop.twin.take(["Item"], label="items alone")
    shop.fill("tags", [{"tag": "new", "colour": "red"}])
    shop.twin.take(["Tag"], label="tags too")
    then = store(shop).at_point("items alone")
    with pytest.raises(LakeError, match=r"Tag: it is not known as of #1 items alone.*known since .* \(#2 tags too\)"):
        then.objects("Tag").count()
    assert [n for _, n in then.object("Item", 1).links] == [None]
    assert any("Tag: it is not known as of #1 items alone" in text for text in then.warnings)
    assert store(shop).at_point(2).objects("Item").count() == 1  # as the newest snapshot before that covers it


def test_a_renamed_property_is_found_by_its_alias_and_a_new_one_is_empty(shop: Shop) -> None:
    shop.fill("items", [item(1, name="Pen", note="red")])
    shop.twin.take()
    shop.lake.command("alter table shop.items rename column note to remark, add column size Nullable(Int32)")
    properties = {n: p for n, p in ITEM.properties.items() if n != "note"}
    renamed = {**properties, "remark": Property("remark", "string", aliases=("note",)), "size": Property("size", "integer")}
    shop.ontology = Ontology({**ONTOLOGY.object_types, "Item": replace(ITEM, properties=renamed)}, ONTOLOGY.link_types)
    shop.twin.take()
    for point in (1, 2):
        row = next(iter(store(shop).at_point(point).objects("Item")))
        assert (row["name"], row["remark"], row["size"]) == ("Pen", "red", None)
    assert [p.name for v in shop.twin.show("Item", 1).versions[1:] for p in v.properties] == ["remark", "note"]


def test_a_key_and_a_property_of_other_types_keep_the_old_history(shop: Shop) -> None:
    shop.fill("items", [item(1, name="12"), item(2, name="7")])
    shop.twin.take()
    shop.lake.command("alter table shop.items modify column name Nullable(Int64)")
    typed = replace(ITEM, properties={**ITEM.properties, "name": Property("name", "integer")})
    shop.ontology = Ontology({**ONTOLOGY.object_types, "Item": typed}, ONTOLOGY.link_types)
    assert shop.twin.take().rows_added == 0  # the same values, so the same objects
    assert [row["name"] for row in store(shop).at_point(2).objects("Item").where("name>8")] == [12]
    assert [row["name"] for row in store(shop).at_point(1).objects("Item").where("name>8")] == [12]  # read as what it is now
    shop.lake.command("drop table shop.items")
    shop.lake.command("create table shop.items (item_id String, name Nullable(Int64), note String, price Nullable(Decimal(10, 4)), "
                      "title Nullable(Float64), is_new Nullable(Bool), seen_at Nullable(DateTime64(3))) "
                      "engine = MergeTree order by item_id")  # fmt: skip
    shop.lake.command("insert into shop.items (item_id, name, price) values ('1', 12, null), ('two', 5, 1.5)")
    text_key = replace(typed, properties={**typed.properties, "item_id": Property("item_id", "string")})
    shop.ontology = Ontology({**ONTOLOGY.object_types, "Item": text_key}, ONTOLOGY.link_types)
    taken = shop.twin.take()
    assert (taken.added, taken.removed, taken.changed) == (1, 1, 0)
    assert [str(row["price"]) for row in store(shop).at_point(3).objects("Item").where(item_id="two")] == ["1.5000"]
    assert sorted(row["item_id"] for row in store(shop).at_point(3).objects("Item")) == ["1", "two"]
    assert [(c.kind, c.key) for c in shop.twin.diff(1, 3).changes] == [("added", "two"), ("removed", "2")]
