"""What a table is made of, for tables of every kind: keys of every type, engines without versions, views, and none at all."""

from __future__ import annotations

import pytest

from workbench.errors import UnknownName, UsageError
from workbench.inspection import Inspection
from workbench.lake import Lake, busiest_keys, inspect_table, read_key_map, read_parts, read_shape, read_tombstones
from workbench.lake.inspect import key_versions

OURS = "`_version` UInt64, `_deleted` UInt8, `_synced_at` DateTime64(3, 'UTC')"
REPLACING = "engine = ReplacingMergeTree(_version, _deleted)"

# a key's columns, the order, rows of a key, and how the key is written
KEYS = {
    "number": ("id Int64", "id", "7", "7"),
    "text with commas": ("id String", "id", "'a, \"b\", né''ü'", 'a, "b", né\'ü'),
    "time": ("at DateTime64(6, 'UTC')", "at", "'2024-01-02 03:04:05.123456'", "2024-01-02 03:04:05.123456"),
    "compound": ("a String, b Int32", "(a, b)", "'x,y', 5", '"x,y", 5'),
    "tuple": ("id Tuple(Int32, String)", "id", "(1, 'a')", "(1,'a')"),
    "array": ("id Array(Int64)", "id", "[1, 2]", "[1,2]"),
    "nullable, null": ("id Nullable(String)", "id settings allow_nullable_key = 1", "null", "NULL"),
    "nullable": ("id LowCardinality(Nullable(String))", "id settings allow_nullable_key = 1", "'x'", "x"),
    "expression": ("a Int64, at DateTime('UTC')", "(toDate(at), -a)", "5, '2024-01-02 10:00:00'", "2024-01-02,-5"),
    "odd names": ("`we``ird, \\\\ x` Int64, `select` Int8", "(`we``ird, \\\\ x`, `select`)", "5, 1", "5,1"),
    "a name of the index": ("part_name Int64", "part_name", "5", "5"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_type_are_counted_listed_found_and_drawn(lake: Lake, kind: str) -> None:
    columns, order, values, written = KEYS[kind]
    order, _, settings = order.partition(" settings ")
    lake.create_database("raw")
    lake.command(
        f"create table raw.t ({columns}, city String, {OURS}) {REPLACING} order by {order}" + (f" settings {settings}" if settings else "")
    )
    lake.command("system stop merges raw.t")
    for version, city in ((1, "Oslo"), (2, "Bergen")):
        lake.command(f"insert into raw.t values ({values}, '{city}', {version}, 0, now64(3))")
    facts = inspect_table(lake, "raw.t")
    assert (facts.current_rows, facts.physical_rows, facts.keys, facts.deleted_keys, facts.superseded_rows) == (1, 2, 1, 0, 1)
    (busiest,) = busiest_keys(lake, "raw.t")
    assert (busiest["versions"], busiest["deleted"]) == (2, False)
    for key in (written, busiest["key"]):
        found = key_versions(lake, "raw.t", key)
        assert [row["city"] for row in found.rows] == ["Oslo", "Bergen"]
        assert [part[:7] for part in found.parts] == ["all_1_1", "all_2_2"]
    ranges = read_key_map(lake, "raw.t")
    if kind != "a name of the index":
        assert {p["name"][:7] for p in ranges.parts} == {"all_1_1", "all_2_2"}
        assert ranges.first == ranges.last == busiest["key"]
        assert ranges.depth[0] == 2
    assert read_parts(lake, "raw.t").total == 2
    lake.command(f"insert into raw.t values ({values}, 'gone', 3, 1, '2024-05-06 07:08:09')")
    facts = inspect_table(lake, "raw.t")
    assert (facts.current_rows, facts.physical_rows, facts.keys, facts.deleted_keys) == (0, 3, 1, 1)
    dead = read_tombstones(lake, "raw.t")
    assert (dead.rows, dead.parts, f"{dead.oldest:%Y-%m-%d %H:%M:%S}") == (1, 1, "2024-05-06 07:08:09")
    assert dead.bytes_on_disk > 0
    with pytest.raises((UnknownName, UsageError)):
        key_versions(lake, "raw.t", "it is not' there")


@pytest.mark.parametrize("rows", [0, 1, 10_000])
def test_any_number_of_rows(lake: Lake, rows: int) -> None:
    lake.create_database("raw")
    lake.command(f"create table raw.t (id Int64, {OURS}) {REPLACING} order by id")
    if rows:
        lake.command(f"insert into raw.t select number, 1, 0, now64(3) from numbers({rows})")
        lake.command(f"insert into raw.t select number, 2, number % 10 = 0, now64(3) from numbers({rows})")
    report = Inspection(lake, "raw.t", lambda: None).report()
    gone = -(-rows // 10)
    assert (report.facts.current_rows, report.facts.deleted_keys) == (rows - gone, gone)
    assert report.tombstones.rows == gone
    text = str(report)
    assert "ReplacingMergeTree(_version, _deleted)" in text
    assert ("no part: the table has no row" in text) is False
    assert ("keys that each part covers, from 0 to" in text) == (rows > 0)
    assert report.to_dict()["layout"]["rows"] == report.facts.physical_rows


def test_a_thousand_parts_are_listed_and_drawn_in_one_look_each(lake: Lake) -> None:
    lake.create_database("raw")
    lake.command(
        f"create table raw.t (id Int64, {OURS}) {REPLACING} order by id settings parts_to_throw_insert = 5000, parts_to_delay_insert = 5000"
    )
    lake.command("system stop merges raw.t")
    lake.command(
        "insert into raw.t select number * 10, 1, 0, now64(3) from numbers(1005)",
        settings={"max_block_size": 1, "min_insert_block_size_rows": 1, "min_insert_block_size_bytes": 0, "max_insert_threads": 1},
    )
    parts, ranges = read_parts(lake, "raw.t"), read_key_map(lake, "raw.t")
    assert (parts.total, len(parts.parts), parts.rows) == (1005, 1000, 1005)
    assert (ranges.total, len(ranges.parts)) == (1005, 1000)
    assert "and 989 smaller one(s)" in str(ranges)
    assert max(ranges.depth) <= 6  # keys of one row each: no more parts over a step than fall into it


def test_parts_that_overlap_are_told_from_those_that_do_not(lake: Lake) -> None:
    lake.create_database("raw")
    lake.command(f"create table raw.t (id Int64, {OURS}) {REPLACING} order by id")
    lake.command("system stop merges raw.t")
    for first, rows in ((0, 100_000), (100_000, 100_000), (150_000, 20_000)):
        lake.command(f"insert into raw.t select {first} + number, {first}, 0, now64(3) from numbers({rows})")
    ranges = read_key_map(lake, "raw.t")
    spans = {p["name"][:7]: (p["first"], p["last"]) for p in ranges.parts}
    assert spans == {"all_1_1": ("0", "99999"), "all_2_2": ("100000", "199999"), "all_3_3": ("150000", "169999")}
    by_name = {p["name"][:7]: p for p in ranges.parts}
    assert by_name["all_1_1"]["lo"] == 0 and by_name["all_2_2"]["hi"] == ranges.buckets - 1
    assert by_name["all_2_2"]["lo"] < by_name["all_3_3"]["lo"] < by_name["all_3_3"]["hi"] < by_name["all_2_2"]["hi"]
    assert 30_000 <= ranges.rows_overlapping <= 80_000  # 20,000 of the third part, and those of the second under it, to a granule or two
    assert (ranges.depth[0], max(ranges.depth)) == (1, 2)


def test_engines_and_views_that_keep_no_versions_say_what_is_so(lake: Lake) -> None:
    lake.create_database("raw")
    lake.create_database("marts")
    lake.command(f"create table raw.t (id Int64, {OURS}) {REPLACING} order by id")
    lake.command("system stop merges raw.t")
    for version in (1, 2):
        lake.command(f"insert into raw.t values (1, {version}, 0, now64(3)), (2, {version}, 0, now64(3))")
    lake.command("create table marts.plain (id Int64, n Int64) engine = MergeTree order by id as select number % 3, number from numbers(9)")
    lake.command("create table marts.bare (n Int64) engine = MergeTree order by tuple() as select number from numbers(4)")
    lake.command("create table marts.kept (n Int64) engine = Memory as select 1")
    lake.command("create view marts.v as select id from raw.t where id > 0")
    lake.command("create table marts.all as raw.t engine = Merge('raw', '^t$')")
    lake.command("create table marts.unversioned (id Int64, n Int64) engine = ReplacingMergeTree order by id")
    lake.command("insert into marts.unversioned values (1, 1)")

    def about(table: str) -> str:
        return str(Inspection(lake, table, lambda: None).report())

    assert "keeps every row as it was written" in about("marts.plain") and "9" in about("marts.plain")
    assert "keeps every row" in about("marts.bare")
    assert "a Memory keeps every row" in about("marts.kept")
    assert "a count that forgot FINAL under this View would say 4; it reads raw.t" in about("marts.v")
    assert inspect_table(lake, "marts.v").current_rows == 2
    assert "a count that forgot FINAL under this Merge would say 4" in about("marts.all")
    assert "every physical row is current" in about("marts.unversioned")
    assert [row["n"] for row in key_versions(lake, "marts.unversioned", "1").rows] == [1]
    for table, why in (
        ("marts.plain", "marts.plain is a MergeTree: it keeps no versions of its rows; inspect a table of raw"),
        ("marts.v", "marts.v is a View: it keeps no rows of its own; inspect what it reads: raw.t"),
    ):
        with pytest.raises(UsageError) as refused:
            Inspection(lake, table, lambda: None).key("1")
        assert str(refused.value) == why
        assert Inspection(lake, table, lambda: None).keys() == {"keys": [], "why": why}


def test_a_table_that_is_dropped_between_two_looks_is_an_unknown_one(lake: Lake) -> None:
    lake.create_database("raw")
    lake.command(f"create table raw.orders (id Int64, {OURS}) {REPLACING} order by id")
    lake.command(f"create table raw.order (id Int64, {OURS}) {REPLACING} order by id")
    look = Inspection(lake, "raw.orders", lambda: None)
    shape = read_shape(lake, "raw.orders")
    assert look.now()["parts"] == 0
    lake.command("drop table raw.orders sync")
    for ask in (look.now, look.head, look.facts, look.keys, look.tombstones, look.schema, look.report, lambda: look.life("1")):
        with pytest.raises(UnknownName, match="raw.orders") as unknown:
            ask()
        assert unknown.value.nearest == ["raw.order"]
    with pytest.raises(UnknownName, match="raw.orders"):  # after its shape was read
        look._here(lambda: inspect_table(lake, "raw.orders", shape=shape))
