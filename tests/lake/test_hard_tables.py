"""Current rows of tables that are hard to read: on two servers, with odd keys, in a thousand parts, without a version column."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lake.conftest import _stop, own_settings
from workbench.lake import Lake
from workbench.lake.explain import read_plan
from workbench.lake.price import overlap_of
from workbench.lake.sql import RAW_COLUMNS, Column, create_replacing

CLUSTER = """<clickhouse><remote_servers><two>{shards}</two></remote_servers></clickhouse>"""
SHARD = "<shard><replica><host>127.0.0.1</host><port>{port}</port><user>lake</user><password>{password}</password></replica></shard>"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lake, Lake]]:
    """Two lakes, each of which knows both as the cluster `two`. The second has the odd keys."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    settings = [own_settings(folder) for folder in folders]
    made = [Lake(s) for s in settings]
    try:
        shards = ""
        for lake in made:
            lake.ping()
            shards += SHARD.format(port=lake.address.tcp_port, password=lake.address.password)
        _stop(made)
        made = []
        for s in settings:
            more = s.state_dir / "lake/config.d"
            more.mkdir()
            (more / "cluster.xml").write_text(CLUSTER.format(shards=shards), encoding="utf-8")
            made.append(Lake(s, readable=[more]))
        for lake in made:
            lake.ping()
        yield made[0], made[1]
    finally:
        _stop(made)


def test_distributed_over_two_servers_reads_current_rows_on_each(two: tuple[Lake, Lake]) -> None:
    columns = [Column("id", "UInt32"), Column("state", "String"), Column("amount", "Int64")]
    current: dict[int, tuple[str, int] | None] = {}
    for number, lake in enumerate(two):
        lake.create_database("raw")
        lake.command(create_replacing("raw.orders", [*columns, *RAW_COLUMNS], key=["id"], version="_version", deleted="_deleted"))
        lake.command("create view raw.open as select id, amount from raw.orders where state = 'open'")
        lake.command("create table raw.every as raw.orders engine = Distributed('two', 'raw', 'orders', id)")
        lake.command("create table raw.every_open (id UInt32, amount Int64) engine = Distributed('two', 'raw', 'open')")
        lake.command("system stop merges raw.orders")
        for part in range(4):
            rows = []
            for key in range(number, 200, 2):
                if part and (key * 7 + part) % 3:
                    continue
                state, deleted = ("open", "paid")[(key + part) % 2], part > 0 and key % 5 == part
                rows.append({"id": key, "state": state, "amount": key + 1000 * part, "_version": part + 1, "_deleted": int(deleted)})
                current[key] = None if deleted else (state, key + 1000 * part)
            lake.insert_stream("raw.orders", iter(["".join(json.dumps(r) + "\n" for r in rows).encode()]), "JSONEachRow")
    there = {key: row for key, row in current.items() if row is not None}
    is_open = {key for key, row in there.items() if row[0] == "open"}
    first = two[0]
    assert first.scalar("select count() from raw.every") == len(there) > 100
    assert first.query_history("select count() from raw.every").column(0)[0].as_py() > len(there)
    assert first.scalar("select sum(amount) from raw.every where state = 'open'") == sum(there[k][1] for k in is_open)
    assert first.scalar("select count() from raw.every_open") == len(is_open), "a view on each shard"
    for source in ("cluster('two', raw.orders)", "(select * from raw.every)", "raw.every as e"):
        found = first.query(f"select id from {source} where state = 'open' order by id").column(0).to_pylist()
        assert found == sorted(is_open), source
    joined = "select count() from raw.every e global join raw.every_open o on e.id = o.id"
    assert first.scalar(joined) == len(is_open)
    assert first.scalar("select count() from raw.every where id global in (select id from raw.every where amount > 2000)") == sum(
        row[1] > 2000 for row in there.values()
    )
    groups = first.query("select state, count() as n from raw.every group by state order by state").to_pylist()
    assert groups == [{"state": s, "n": sum(row[0] == s for row in there.values())} for s in ("open", "paid")]
    plan = read_plan(first, "select count() from raw.every where state = 'open'")
    assert [(t.table, t.final) for t in plan.tables if t.table == "raw.every"] == [("raw.every", "by the setting, on each shard")]
    assert first.query_history(plan.by_hand).column(0)[0].as_py() == len(is_open)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        pytest.param("Tuple(a Int32, b String)", [{"a": n % 5, "b": "x" * (n % 4)} for n in range(20)], id="tuples"),
        pytest.param("Nullable(Int32)", [None, *range(12)], id="nullable"),
        pytest.param("Array(String)", [["a"] * (n % 6) for n in range(12)], id="arrays"),
        pytest.param("LowCardinality(Nullable(String))", [None, "", "a", "it's", "\\"], id="nullable texts"),
        pytest.param("UUID", [f"00000000-0000-0000-0000-{n:012}" for n in range(9)], id="uuids"),
        pytest.param("Decimal(38, 10)", [f"{n}.5" for n in range(9)], id="decimals"),
    ],
)
def test_keys_of_odd_types_have_one_current_row(lake: Lake, kind: str, values: list[object]) -> None:
    lake.create_database("raw")
    columns = [Column("k", kind), Column("state", "String"), *RAW_COLUMNS]
    made = create_replacing("raw.odd", columns, key=["k"], version="_version", deleted="_deleted", settings="allow_nullable_key = 1")
    lake.command(made)
    lake.command("system stop merges raw.odd")
    current: dict[str, str | None] = {}
    for part in range(5):
        rows = []
        for n, value in enumerate(values):
            if (n + part) % 3 or not part:
                deleted = part and (n * part) % 4 == 1
                rows.append({"k": value, "state": f"s{(n + part) % 2}", "_version": 100 * part + n, "_deleted": int(bool(deleted))})
                current[json.dumps(value)] = None if deleted else f"s{(n + part) % 2}"
        lake.insert_stream("raw.odd", iter(["".join(json.dumps(r) + "\n" for r in rows).encode()]), "JSONEachRow")
    there = [state for state in current.values() if state is not None]
    assert lake.scalar("select count() from raw.odd") == len(there)
    assert lake.scalar("select count() from raw.odd where state = 's1'") == there.count("s1")
    assert lake.scalar("select uniqExact(k) + countIf(k is null) from raw.odd") == len(there)
    overlap = overlap_of(lake, "raw.odd")
    assert overlap is not None and overlap.parts == 5 and overlap.share == 1.0


def test_a_thousand_parts_are_read_and_priced(lake: Lake) -> None:
    lake.create_database("raw")
    columns = [Column("id", "UInt32"), Column("state", "String"), *RAW_COLUMNS]
    many = "parts_to_throw_insert = 5000, parts_to_delay_insert = 5000"
    lake.command(create_replacing("raw.many", columns, key=["id"], version="_version", deleted="_deleted", settings=many))
    lake.command("system stop merges raw.many")
    lake.command(
        "insert into raw.many select number % 300, ['old', 'new'][1 + (number >= 1400)], number, 0, now64(3), '' from numbers(1500) ",
        settings={"max_block_size": 1, "min_insert_block_size_rows": 1, "min_insert_block_size_bytes": 0, "max_insert_threads": 1,
                  "async_insert": 0, "max_threads": 1},
    )  # fmt: skip
    assert lake.scalar("select count() from system.parts where active and database = 'raw' and table = 'many'") >= 1000
    assert lake.scalar("select count() from raw.many") == 300
    assert lake.scalar("select count() from raw.many where state = 'new'") == 100
    overlap = overlap_of(lake, "raw.many")
    assert overlap is not None and overlap.parts >= 1000 and overlap.share == 1.0


def test_without_a_version_column_the_row_that_came_last_is_current(lake: Lake) -> None:
    lake.create_database("raw")
    lake.command("create table raw.last (id UInt32, state String) engine = ReplacingMergeTree order by id")
    lake.command("system stop merges raw.last")
    for state in ("b", "c", "a"):
        lake.command(f"insert into raw.last values (1, '{state}'), (2, '{state}')")
    assert lake.query("select id, state from raw.last order by id").to_pylist() == [{"id": 1, "state": "a"}, {"id": 2, "state": "a"}]
    assert lake.scalar("select count() from raw.last where state = 'c'") == 0
    assert [t.final for t in read_plan(lake, "select * from raw.last").tables] == ["by the setting"]


def test_a_dictionary_has_the_rows_that_its_own_select_reads(own_lake: Lake) -> None:
    """The engine fills a dictionary by a read of its own, where nobody sets anything: FINAL has to stand in its query."""
    own_lake.create_database("raw")
    columns = [Column("id", "UInt64"), Column("name", "String"), *RAW_COLUMNS]
    own_lake.command(create_replacing("raw.names", columns, key=["id"], version="_version", deleted="_deleted"))
    own_lake.command("system stop merges raw.names")
    own_lake.command("insert into raw.names (id, name, _version) values (7, 'gone', 1), (8, 'there', 1)")
    own_lake.command("insert into raw.names (id, name, _version, _deleted) values (7, 'gone', 2, 1)")
    at = own_lake.address
    for name, final in (("right", " final"), ("wrong", "")):
        own_lake.command(
            f"create dictionary raw.{name} (id UInt64, name String) primary key id source(clickhouse(query "
            f"'select id, name from raw.names{final}' user '{at.user}' password '{at.password}' port {at.tcp_port} host '127.0.0.1')) "
            "layout(flat()) lifetime(0)"
        )
    has = "select dictHas('raw.{0}', 7) as gone, dictGet('raw.{0}', 'name', 8) as there"
    assert own_lake.rows(has.format("right")) == [{"gone": 0, "there": "there"}]
    assert own_lake.rows(has.format("wrong")) == [{"gone": 1, "there": "there"}]
