"""Snapshots as people meet them: what is covered, how one is named, what is said when something is missing."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.eidolon.conftest import ITEM, Shop, item
from workbench.answer import render_text, to_json
from workbench.eidolon import Change, Eidolon, PropertyChange
from workbench.eidolon.history import family, hash_of
from workbench.errors import LakeError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.ontology.model import Ontology, Property


@pytest.fixture
def filled(shop: Shop) -> Shop:
    """Three items, two tags, three pairs; one snapshot, `before`."""
    shop.fill("items", [item(1, name="Pen", price=Decimal("1.90")), item(2, name="Ink", note="blue"), item(10, name="Pad")])
    shop.fill("tags", [{"tag": "new", "colour": None}, {"tag": "old", "colour": "grey"}])
    shop.fill("item_tags", [{"item": 1, "tag": "new"}, {"item": 2, "tag": "old"}, {"item": 10, "tag": "old"}])
    shop.twin.take(label="before")
    return shop


@pytest.fixture
def changed(filled: Shop) -> Shop:
    """A second snapshot, `after`: a price, an item that went, one that came, a pair that went with the item, one more pair."""
    filled.fill("items", [item(1, name="Pen", price=Decimal("2.10")), item(10, name="Pad"), item(3, name="Cap", note="")])
    filled.fill("item_tags", [{"item": 1, "tag": "new"}, {"item": 10, "tag": "old"}, {"item": 1, "tag": "old"}])
    filled.twin.take(label="after")
    return filled


def test_before_the_first_snapshot_there_is_an_empty_list_and_nothing_is_written(shop: Shop) -> None:
    assert shop.twin.list().snapshots == ()
    assert "take one with skygraph snapshot take" in str(shop.twin.list())
    assert shop.twin.list().to_dict() == []
    for ask in (lambda: shop.twin.find("latest"), lambda: shop.twin.show("Item", 1), lambda: shop.twin.diff(1, 2)):
        with pytest.raises(UnknownName, match="take one with skygraph snapshot take"):
            ask()
    assert shop.lake.tables("eidolon") == []


def test_a_diff_names_what_was_added_removed_and_changed(changed: Shop) -> None:
    diff = changed.twin.diff("before", "after")
    price = PropertyChange("price", "1.90", "2.10")
    assert [(c.type, c.kind, c.key, c.title) for c in diff.changes] == [
        ("Item", "added", "3", "Cap"),
        ("Item", "removed", "2", "Ink"),
        ("Item", "changed", "1", "Pen"),
        ("tagged", "added", '["1","old"]', "Pen → old"),
        ("tagged", "removed", '["2","old"]', "Ink → old"),
    ]
    assert diff.changes[2] == Change("Item", "changed", "1", "Pen", False, (price,))
    assert diff.changes[1].properties == tuple(PropertyChange(n, v, None) for n, v in [("item_id", "2"), ("name", "Ink"), ("note", "blue")])
    assert diff.to_dict()["counts"] == [
        {"type": "Item", "link": False, "added": 1, "removed": 1, "changed": 1},
        {"type": "Tag", "link": False, "added": 0, "removed": 0, "changed": 0},
        {"type": "tagged", "link": True, "added": 1, "removed": 1, "changed": 0},
    ]
    assert [c.kind for c in changed.twin.diff("after", "before").changes][:2] == ["added", "removed"]


def test_a_diff_shows_as_a_grid_and_then_counts(changed: Shop) -> None:
    shown = render_text(changed.twin.diff(1, 2).blocks(), width=120)
    assert (
        shown
        == """\
#1 before → #2 after
type           change   key          title      property  old   new
Item           added    3            Cap
Item           removed  2            Ink
Item           changed  1            Pen        price     1.90  2.10
tagged (link)  added    ["1","old"]  Pen → old
tagged (link)  removed  ["2","old"]  Ink → old
type           added  removed  changed
Item               1        1        1
tagged (link)      1        1        0
unchanged: Tag"""
    )
    assert "nothing changed: Item, Tag, tagged (link)" in str(changed.twin.diff(2, 2))


def test_counts_are_exact_when_the_list_is_cut(changed: Shop) -> None:
    diff = changed.twin.diff(1, 2, limit=2)
    assert (len(diff.changes), diff.total, diff.truncated) == (2, 5, True)
    assert "the first 2 of 5 changes" in str(diff)
    assert changed.twin.diff(1, 2, limit=0).total == 5
    assert not changed.twin.diff(1, 2, limit=5).truncated


def test_an_object_shows_its_life_with_the_gap_in_it(changed: Shop) -> None:
    changed.fill("items", [item(1, name="Pen"), item(2, name="Ink", note="red")])
    changed.twin.take()
    life = changed.twin.show("Item", "2")
    assert [(v.seq, v.label, v.kind) for v in life.versions] == [(1, "before", "added"), (2, "after", "removed"), (3, "", "added")]
    assert [(v.seq, v.kind) for v in changed.twin.show("Item", 1).versions] == [(1, "added"), (2, "changed"), (3, "changed")]
    assert changed.twin.show("Item", "001").versions == changed.twin.show("Item", 1).versions
    assert [v.kind for v in changed.twin.show("tagged", '["2", "old"]').versions] == ["added", "removed"]
    assert to_json(life)["versions"][0]["properties"][0] == {"name": "item_id", "old": None, "new": "2"}


def test_unknown_names_say_the_nearest(changed: Shop) -> None:
    with pytest.raises(UnknownName, match="did you mean Item"):
        changed.twin.show("Itme", 1)
    with pytest.raises(UnknownName, match=r"near it: 10 \(Pad\)"):
        changed.twin.show("Item", "100")
    with pytest.raises(UnknownName, match=r"near it: 1 \(Pen\)"):
        changed.twin.show("Item", "pen")
    with pytest.raises(UnknownName, match="did you mean Item"):
        changed.twin.take(["Itme"])
    with pytest.raises(UnknownName, match="did you mean before"):
        changed.twin.find("befor")
    with pytest.raises(UnknownName):
        changed.twin.diff(1, 2, ["Itm"])


def test_a_snapshot_is_found_by_number_label_id_and_latest(changed: Shop) -> None:
    first, second = changed.twin.list().snapshots
    find = changed.twin.find
    assert [find(ref).seq for ref in (1, "1", "#1", "before", first.id, first.id[:6], first)] == [1] * 7
    assert find("latest") == second
    again = changed.twin.take(label="before")
    assert find("before") == again
    assert find(again.id[:8]) == again  # of two snapshots of the same data, the newer
    for ref in (first.id[:3], "", "0", "4"):
        with pytest.raises(UnknownName):
            find(ref)
    with pytest.raises(UsageError, match="choose another label"):
        changed.twin.take(label="latest")


def test_nothing_changed_is_said_and_adds_no_rows(changed: Shop) -> None:
    rows = changed.history_rows()
    same = changed.twin.take(label="same")
    assert "nothing changed" in str(same)
    assert (same.rows_added, changed.history_rows(), same.id) == (0, rows, changed.twin.find("after").id)
    assert to_json(same)["counts"] == {"Item": 3, "Tag": 2}


def test_a_snapshot_of_some_types_is_compared_on_what_both_cover(changed: Shop) -> None:
    changed.fill("tags", [])
    part = changed.twin.take(["Tag"], label="tags only")
    assert (part.counts, part.links) == ({"Tag": 0}, {})
    diff = changed.twin.diff("after", "tags only")
    assert [(c.type, c.removed) for c in diff.counts] == [("Tag", 2)]
    assert diff.not_covered == ("Item", "link tagged")
    assert "only one of the two snapshots covers them: Item, link tagged" in str(diff)
    with pytest.raises(UsageError, match="#3 tags only does not cover Item"):
        changed.twin.diff(2, 3, ["Item"])
    with pytest.raises(UsageError, match="it covers Tag"):
        changed.twin.measure("tags only", "Item")
    whole = changed.twin.take()
    assert (whole.counts, whole.rows_added) == ({"Item": 3, "Tag": 0}, 0)
    assert [(c.type, c.total) for c in changed.twin.diff(1, 2, ["Item"]).counts] == [("Item", 3), ("tagged", 2)]
    assert [(c.type, c.total) for c in changed.twin.diff(1, 2, ["tagged"]).counts] == [("tagged", 2)]


def test_measures_are_of_the_snapshot_not_of_now(changed: Shop) -> None:
    measure = changed.twin.measure
    assert [measure(s, "Item") for s in ("before", "after")] == [3, 3]
    assert [str(measure(s, "Item", "price")) for s in ("before", "after")] == ["1.90", "2.10"]
    assert measure("after", "Item", "item_id") == 14
    with pytest.raises(UsageError, match="there is no sum"):
        measure("after", "Item", "name")
    with pytest.raises(UnknownName, match="did you mean price"):
        measure("after", "Item", "pryce")


def test_a_type_without_a_table_is_an_error_when_asked_for_and_named_when_not(filled: Shop) -> None:
    filled.missing.update(["tags", "item_tags"])
    with pytest.raises(LakeError, match=r"Tag: its model tags has no table.*run skygraph dbt run"):
        filled.twin.take(["Tag"])
    taken = filled.twin.take()
    assert taken.skipped == ("Tag (tags)", "link tagged (item_tags)")
    assert "skipped, as the lake has no table for it yet: Tag (tags), link tagged (item_tags)" in str(taken)
    assert (taken.counts, taken.links, taken.rows_added) == ({"Item": 3}, {}, 0)
    filled.missing.add("items")
    with pytest.raises(LakeError, match="no object type has a table"):
        filled.twin.take()
    filled.missing.clear()
    filled.lake.command("drop table shop.tags")  # gone, though dbt still names it
    assert filled.twin.take().skipped == ("Tag (tags)",)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        pytest.param([item(1), item(2), item(2), item(2, name="other")], "3 rows with the key '2'", id="double"),
        pytest.param([item(None), item(1)], "1 row without a key", id="missing"),  # type: ignore[arg-type]
    ],
)
def test_keys_that_tell_nothing_apart_stop_the_snapshot(filled: Shop, rows: list[dict[str, Any]], words: str) -> None:
    filled.lake.command("alter table shop.items modify column item_id Nullable(Int64)")
    filled.fill("items", rows)
    with pytest.raises(LakeError, match=words):
        filled.twin.take()
    assert [s.seq for s in filled.twin.list().snapshots] == [1]
    filled.fill("items", [item(1, name="Pen")])
    assert filled.twin.take().removed == 2  # and nothing of the refused one is left
    assert [v.seq for v in filled.twin.show("Item", 2).versions] == [1, 2]


def test_a_model_that_grows_or_loses_a_property_keeps_its_history(changed: Shop) -> None:
    changed.lake.command("alter table shop.items add column size Nullable(Int32)")
    properties = {n: p for n, p in ITEM.properties.items() if n != "note"} | {"size": Property("size", "integer")}
    grown = replace(ITEM, properties=MappingProxyType(dict(reversed(properties.items()))))
    changed.ontology = Ontology({**changed.ontology.object_types, "Item": grown}, changed.ontology.link_types)
    taken = changed.twin.take()
    assert taken.changed == 3  # every item had a note, if an empty one
    changed.lake.command("alter table shop.items update size = 7 where item_id = 1 settings mutations_sync = 2")
    changed.twin.take()
    assert [c.to_dict()["properties"] for c in changed.twin.diff(3, 4).changes] == [[{"name": "size", "old": None, "new": "7"}]]
    assert changed.twin.measure("before", "Item", "size") == 0
    assert str(changed.twin.measure("before", "Item", "price")) == "1.90"
    changed.ontology = Ontology({"Tag": changed.ontology.object_types["Tag"]})
    assert changed.twin.show("Item", "1").versions
    assert {c.type for c in changed.twin.diff(1, 2).changes} == {"Item", "tagged"}
    assert changed.twin.diff(1, 2, ["Item"]).total == 3


def test_an_empty_property_or_another_order_of_columns_changes_no_object(filled: Shop) -> None:
    rows = filled.history_rows()
    filled.lake.command("alter table shop.items add column size Nullable(Int32)")
    filled.lake.command("alter table shop.items modify column item_id Int32")
    more = {**dict(reversed(ITEM.properties.items())), "size": Property("size", "integer")}
    filled.ontology = Ontology({**filled.ontology.object_types, "Item": replace(ITEM, properties=more)}, filled.ontology.link_types)
    assert (filled.twin.take().rows_added, filled.history_rows()) == (0, rows)


@pytest.mark.parametrize(
    "alteration",
    [
        "modify column price Nullable(Decimal(20, 2))", "modify column note String", "modify column name LowCardinality(Nullable(String))",
        "modify column seen_at Nullable(DateTime64(3, 'Asia/Tokyo'))", "modify column seen_at Nullable(DateTime64(6, 'UTC'))",
        "modify column title Nullable(String)", "modify column is_new Nullable(String)",
        "update title = reinterpretAsFloat64(reinterpretAsUInt64(nan) + 1) where isNaN(title)",
    ],
)  # fmt: skip
def test_a_value_that_reads_the_same_changes_no_object(filled: Shop, alteration: str) -> None:
    filled.lake.command(
        "alter table shop.items update title = nan, seen_at = '2020-01-02 03:04:05.678' where item_id = 1 settings mutations_sync = 2"
    )
    filled.lake.command("alter table shop.items update is_new = true where item_id = 2 settings mutations_sync = 2")
    filled.twin.take()
    rows = filled.history_rows()
    filled.lake.command(f"alter table shop.items {alteration} settings mutations_sync = 2, alter_sync = 2")
    assert (filled.twin.take().rows_added, filled.history_rows()) == (0, rows)
    # and one that does not, does
    filled.lake.command("alter table shop.items update name = concat('x', name) where item_id = 1 settings mutations_sync = 2")
    assert filled.twin.take().changed == 1
    assert filled.twin.take().changed == 0


def test_a_value_that_comes_back_as_another_type_is_no_difference(filled: Shop) -> None:
    filled.lake.command("alter table shop.items update title = item_id where 1 settings mutations_sync = 2")
    first = filled.twin.take()
    filled.lake.command("alter table shop.items update title = 77 where item_id = 2 settings mutations_sync = 2")
    between = filled.twin.take()
    assert between.changed == 1
    filled.lake.command("alter table shop.items modify column title Nullable(Int64) settings alter_sync = 2")
    filled.lake.command("alter table shop.items update title = 2 where item_id = 2 settings mutations_sync = 2")
    last = filled.twin.take()
    assert last.changed == 1
    assert filled.twin.diff(first, last).total == 0
    assert [(p.old, p.new) for c in filled.twin.diff(between, last).changes for p in c.properties] == [("77", "2")]


def test_a_history_with_properties_of_two_types_is_the_same_wherever_it_is_brought(filled: Shop, tmp_path: Path) -> None:
    filled.lake.command("alter table shop.items update title = item_id where 1 settings mutations_sync = 2")
    first = filled.twin.take()
    filled.lake.command("alter table shop.items modify column title Nullable(Int64) settings alter_sync = 2")
    filled.lake.command("alter table shop.items update title = 77 where item_id = 2 settings mutations_sync = 2")
    other = filled.twin.take()
    filled.lake.command("alter table shop.items update title = 2 where item_id = 2 settings mutations_sync = 2")
    last = filled.twin.take()
    assert last.id == first.id != other.id
    filled.twin.export(last, tmp_path / "last")
    filled.lake.command("drop database eidolon sync")
    assert filled.twin.import_(tmp_path / "last").id == last.id
    assert filled.twin.take().id == last.id


def test_a_property_may_have_any_name(filled: Shop) -> None:
    """Names like those of our own columns."""
    more = {n: Property(n, "string") for n in ("_values", "_compared", "_hash", "_to", "_k0")}
    for name in more:
        filled.lake.command(f"alter table shop.items add column `{name}` Nullable(String) default '1'")
    grown = replace(ITEM, properties=MappingProxyType({**ITEM.properties, **more}))
    filled.ontology = Ontology({**filled.ontology.object_types, "Item": grown}, filled.ontology.link_types)
    assert filled.twin.take().changed == 3
    filled.lake.command("alter table shop.items modify column _values Nullable(Int64) settings alter_sync = 2")  # of two families
    assert filled.twin.take().changed == 0
    filled.lake.command("alter table shop.items update _compared = '2' where item_id = 1 settings mutations_sync = 2")
    last = filled.twin.take()
    assert last.changed == 1
    assert [(p.name, p.old, p.new) for c in filled.twin.diff(last.seq - 1, last).changes for p in c.properties] == [("_compared", "1", "2")]


def test_a_history_whose_hash_was_made_of_texts_is_converted_and_goes_on(changed: Shop) -> None:
    """Tables as they were before: `_hash` in place of `values~`, of other bits, without the index; one of them is half converted."""
    before = changed.twin.diff("before", "after").to_dict()
    rows = changed.history_rows()
    for table in ("object_Item", "object_Tag", "link_tagged"):
        changed.lake.command(f"alter table eidolon.{table} rename column `values~` to _hash settings alter_sync = 2")
        changed.lake.command(f"alter table eidolon.{table} update _hash = sipHash64(_hash, _k0) where 1 settings mutations_sync = 2")
        changed.lake.command(f"alter table eidolon.{table} drop index begins settings mutations_sync = 2")
    changed.lake.command("alter table eidolon.object_Item add column `values~` UInt64")
    assert changed.twin.diff("before", "after").to_dict() == before  # by who only reads
    assert (changed.twin.take().rows_added, changed.history_rows()) == (0, rows)
    assert {"values~", "_hash"} & changed.lake.columns("eidolon.object_Item").keys() == {"values~"}
    assert changed.twin.diff("before", "after").to_dict() == before
    # something of each part changes, so that all of it is compared, and changes back
    named, kept = changed.twin.find("latest"), {}
    for table, column, key in (("items", "name", "item_id = 1"), ("tags", "colour", "tag = 'old'"), ("item_tags", "tag", "item = 10")):
        ((kept[table],),) = changed.lake.facts(f"select {column} from shop.{table} where {key}")
        changed.lake.command(f"alter table shop.{table} update {column} = concat('x', {column}) where {key} settings mutations_sync = 2")
    taken = changed.twin.take()
    assert (taken.added, taken.removed, taken.changed) == (1, 1, 2)
    for table, column, key in (("items", "name", "item_id = 1"), ("tags", "colour", "tag = 'old'"), ("item_tags", "tag", "item = 10")):
        changed.lake.command(f"alter table shop.{table} update {column} = '{kept[table]}' where {key} settings mutations_sync = 2")
    assert changed.twin.take().id == named.id


@pytest.mark.parametrize(
    ("values", "types"),
    [
        (["0", "7", "-7", "127"], ["Int8", "Int16", "Int32", "Int64", "Nullable(Int64)"]),
        (["0", "7", "255"], ["UInt8", "UInt16", "Int32", "UInt64", "Nullable(UInt64)"]),
        (["0", "1.5", "-0.25", "nan", "inf"], ["Float32", "Float64", "Nullable(Float64)"]),
        (["0.00", "1.50", "-99.99"], ["Decimal(4, 2)", "Decimal(18, 2)", "Nullable(Decimal(9, 2))"]),
        (["0.00", "1.50", "123456789012345678901.25"], ["Decimal(30, 2)", "Decimal(76, 2)", "String"]),
        (["1970-01-01", "2020-02-03"], ["Date", "Date32", "Nullable(Date32)"]),
        (["1970-01-01 00:00:00", "2020-02-03 10:00:00"], ["DateTime('UTC')", "DateTime64(0, 'UTC')", "DateTime64(9, 'UTC')"]),
        (["1969-12-31 23:59:59.5", "2020-02-03 10:00:00.12"], ["DateTime64(3, 'UTC')", "DateTime64(6, 'UTC')", "DateTime64(9, 'UTC')"]),
        (["", "abc", "é"], ["String", "LowCardinality(String)", "Nullable(String)", "LowCardinality(Nullable(String))"]),
        (["abc", "é"], ["String", "Enum8('abc' = 1, 'é' = -2)", "Nullable(Enum16('abc' = 300, 'é' = 2))"]),
        (["true", "false"], ["Bool", "Nullable(Bool)"]),
    ],
)
def test_the_types_of_a_family_give_a_value_one_hash(lake: Lake, values: list[str], types: list[str]) -> None:
    assert len({family(t) for t in types}) == 1
    rows = f"(select arrayJoin({values}) as text)"
    hashes = [lake.query(f"select {hash_of('p', 'x', t)} as h from (select text, cast(text as {t}) as x from {rows})") for t in types]
    found = [answer.column("h").to_pylist() for answer in hashes]
    assert found == [found[0]] * len(types)
    assert len({0, *found[0]}) == len(values) + 1  # another one for each value, and none for no value
    for name in (t for t in types if "Nullable" in t):
        assert lake.scalar(f"select {hash_of('p', 'x', name)} from (select cast(null as {name}) as x)") == 0


def test_what_does_not_fit_the_form_of_its_family_has_a_hash_of_its_own(lake: Lake) -> None:
    for one, a, other, b in [
        ("UInt64", "18446744073709551615", "Int64", "-1"),
        ("DateTime64(9, 'UTC')", "2020-02-03 10:00:00.123456789", "DateTime64(6, 'UTC')", "2020-02-03 10:00:00.123456"),
        ("DateTime64(7, 'UTC')", "2299-12-31 00:00:00", "DateTime64(8, 'UTC')", "2270-12-31 00:00:00"),
    ]:
        hashes = [lake.scalar(f"select {hash_of('p', 'x', t)} from (select cast('{v}' as {t}) as x)") for t, v in ((one, a), (other, b))]
        assert len(set(hashes)) == 2


def test_a_property_without_a_column_is_named(filled: Shop) -> None:
    filled.lake.command("alter table shop.items drop column note")
    with pytest.raises(LakeError, match="Item: its model items has no column note"):
        filled.twin.take()


def test_takes_at_the_same_time_wait_for_each_other(filled: Shop, tmp_path: Any) -> None:
    filled.fill("items", [item(n) for n in range(1, 200)])
    twins = [Eidolon(filled.lake, filled.twin.ontology, filled.twin.relations, tmp_path) for _ in range(4)]
    threads = [threading.Thread(target=twin.take) for twin in twins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = filled.twin.list().snapshots
    assert [s.seq for s in taken] == [1, 2, 3, 4, 5]
    assert [s.rows_added > 0 for s in taken] == [True, True, False, False, False]
    assert len({s.id for s in taken[1:]}) == 1


def test_the_time_of_a_snapshot_is_of_our_clock_in_utc(shop: Shop) -> None:
    east = dt.timezone(dt.timedelta(hours=2))
    shop.twin.clock = lambda: dt.datetime(2026, 3, 1, 1, 0, 0, 123_456, tzinfo=east)
    taken = shop.twin.take(label="it's é")
    assert to_json(taken)["taken_at"] == "2026-02-28T23:00:00.123000+00:00"
    assert shop.twin.find("it's é") == taken
