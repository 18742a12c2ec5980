"""ClickHouse as a source: superseded rows, types, what is pushed down, sign-in, secrets, rights. Against a server of its own."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import workbench.lake
from workbench.errors import LakeUnavailable, Misfit, SourceError, SourceUnavailable, UnknownName
from workbench.hermes.connector import SourceColumn, SourceTable, Span
from workbench.hermes.connectors.clickhouse import Connector, Options, TableOptions
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_text
from workbench.settings import Settings

UTC = dt.timezone.utc
pytestmark = pytest.mark.server

PASSWORD = "readsalone" + hashlib.sha256(b"reader").hexdigest()[:8]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A ClickHouse server that is not the lake of the test, with a user `reader` that may SELECT from `shop*` and nothing else.

    The engine reads its users once, from a file that it writes itself: so it is a copy of the engine that writes one more.
    """
    home = tmp_path_factory.mktemp("elsewhere")
    found = find_spec("chdb")
    assert found is not None
    assert found.origin is not None
    reader = (
        f"<reader><password_sha256_hex>{hashlib.sha256(PASSWORD.encode()).hexdigest()}</password_sha256_hex>"
        "<networks><ip>127.0.0.1</ip></networks><profile>reads</profile><quota>default</quota>"
        "<grants><query>GRANT SELECT ON shop*.*</query>"
        # this engine asks for it whenever it looks for a table
        "<query>GRANT READ ON FILE</query></grants></reader>"
    )
    text = Path(workbench.lake.__file__).with_name("engine.py").read_text(encoding="utf-8")
    text = text.replace("</profiles>", "<reads><readonly>1</readonly></reads></profiles>").replace("  </users>", f"{reader}</users>")
    assert reader in text
    engine = home / "engine.py"
    engine.write_text(text, encoding="utf-8")
    ports = [str(free_port()), str(free_port())]
    words = [sys.executable, "-P", str(engine), "--home", str(home), "--library", str(Path(found.origin).with_name("_chdb.abi3.so"))]
    words += ["--http", ports[0], "--tcp", ports[1]]
    environment = {"PATH": os.environ["PATH"]}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, cwd=home, env=environment
    ) as process:
        deadline = time.monotonic() + 60
        while not (home / "run/server.json").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)  # between two looks
        sign_in = json.loads((home / "credentials.json").read_text(encoding="utf-8"))
        (home / "w").mkdir()
        url = f"http://lake:{sign_in['password']}@127.0.0.1:{ports[0]}"
        other = Lake(Settings.load(home / "w", environ={}, clickhouse_url=url))
        yield other
        other.close()
        process.terminate()


class ClickhouseShop:
    """A source that a test can write to, in a database of its own. A table without an engine is a MergeTree."""

    connector = "clickhouse"
    pulls = "remote("

    def __init__(self, server: Lake) -> None:
        self.server = server
        self.database = f"shop it's {uuid.uuid4().hex[:8]}"
        at = server.address
        port = str(server.scalar("select getServerPort('tcp_port')"))
        self.options = {"host": at.host, "port": port, "user": at.user, "password": at.password, "database": self.database}
        server.create_database(self.database)

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        texts = iter(values)
        self.server.command(
            "".join(_literal(next(texts)) if part == "?" else part for part in _split(sql, bool(values))),
            settings={"database": self.database},
        )

    def close(self) -> None:
        self.server.command(f"drop database {quote(self.database)} sync")


def _split(sql: str, with_values: bool) -> list[str]:
    return [p for part in sql.split("?") for p in ("?", part)][1:] if with_values else [sql]


def _literal(value: Any) -> str:
    return "null" if value is None else quote_text(value) if isinstance(value, str) else str(value)


@pytest.fixture
def shop(elsewhere: Lake) -> Iterator[ClickhouseShop]:
    made = ClickhouseShop(elsewhere)
    yield made
    made.close()


@pytest.fixture
def source(shop: ClickhouseShop, lake: Lake, workspace: Path) -> Iterator[Connector]:
    opened = Connector(Options(**shop.options), workspace=workspace, lake=lake)
    yield opened
    opened.close()


def read(source: Connector, table: SourceTable, *, within: Span | None = None, as_text: bool = False) -> list[tuple[Any, ...]]:
    """The rows that the connector's SELECT gives, all columns, in order of the first."""
    with source.rows(table, [c.name for c in table.columns], within=within, as_text=as_text) as select:
        return [tuple(row.values()) for row in source.lake.query(f"{select} order by 1").to_pylist()]


def at(text: str) -> Watermark:
    return Watermark(dt.datetime.fromisoformat(text))


# --- superseded rows


@pytest.mark.parametrize(
    ("columns", "engine", "rows", "arrives"),
    [
        ("id UInt64, v UInt64", "ReplacingMergeTree(v)", ["(1, 1)", "(1, 2)", "(2, 1)"], [(1, 2), (2, 1)]),
        ("id UInt64, v UInt64, gone UInt8", "ReplacingMergeTree(v, gone)", ["(1, 1, 0)", "(1, 2, 1)", "(2, 1, 0)"], [(2, 1, 0)]),
        ("id UInt64, v UInt64, sign Int8", "CollapsingMergeTree(sign)", ["(1, 1, 1)", "(1, 1, -1)", "(1, 2, 1)"], [(1, 2, 1)]),
        ("id UInt64, v UInt64, sign Int8", "VersionedCollapsingMergeTree(sign, v)", ["(1, 1, 1)", "(1, 1, -1)", "(1, 2, 1)"], [(1, 2, 1)]),
        ("id UInt64, v UInt64", "SummingMergeTree", ["(1, 1)", "(1, 2)"], [(1, 3)]),
        ("id UInt64, v UInt64", "MergeTree", ["(1, 1)", "(1, 1)"], [(1, 1), (1, 1)]),
    ],
)
def test_superseded_rows_never_arrive(
    shop: ClickhouseShop, source: Connector, columns: str, engine: str, rows: list[str], arrives: list[tuple[Any, ...]]
) -> None:
    shop.run(f"create table t ({columns}) engine = {engine} order by id")
    shop.run("system stop merges t")
    for row in rows:
        shop.run(f"insert into t values {row}")
    table = source.describe("t", key=["id"])
    assert read(source, table) == arrives
    # also where the lake reads history, and a bound is on a column that changed
    with source.rows(table, ["id", "v"]) as select:
        assert source.lake.query_history(select).num_rows == len(arrives)
    with source.rows(table, ["id"], within=Span("v", high=Watermark(2))) as select:
        assert source.lake.query_history(select).num_rows == sum(row[1] < 2 for row in arrives)
    assert source.high_mark(table, "v") == Watermark(max(row[1] for row in arrives))


def test_superseded_rows_never_arrive_through_a_view_or_a_query(shop: ClickhouseShop, source: Connector) -> None:
    shop.run("create table t (id UInt64, v UInt64) engine = ReplacingMergeTree(v) order by id")
    shop.run("system stop merges t")
    shop.run("create view w as select id, v * 10 as v from t")
    for row in ("(1, 1)", "(1, 2)"):
        shop.run(f"insert into t values {row}")
    assert read(source, source.describe("w", key=["id"])) == [(1, 20)]
    query = TableOptions(query=f"select id, v + 1 as v from {quote(shop.database)}.t -- all of it")
    table = source.describe("", key=["id"], options=query)
    assert [(c.name, c.type) for c in table.columns] == [("id", "UInt64"), ("v", "UInt64")]
    assert read(source, table) == [(1, 3)]
    assert read(source, table, within=Span("v", low=Watermark(4))) == []
    assert source.high_mark(table, "v") == Watermark(3)


# --- types

VALUES: list[tuple[str, str, str]] = [
    ("Int8", "-128", "Int8"), ("UInt64", "18446744073709551615", "UInt64"), ("Int256", f"toInt256('-{2**255}')", "Int256"),
    ("Nullable(Int32)", "7", "Nullable(Int32)"), ("Bool", "true", "Bool"), ("Float32", "0.1", "Float32"),
    ("Float64", "1.7976931348623157e308", "Float64"),
    ("Float64", "nan", "Float64"), ("Float64", "-inf", "Float64"),
    ("Decimal(76, 30)", f"toDecimal256('{'9' * 46}.{'1' * 30}', 30)", "Decimal(76, 30)"), ("Decimal(9, 2)", "'-0.01'", "Decimal(9, 2)"),
    ("String", "'it\\'s \\\\ é🦆\\n\\0.'", "String"), ("String", "unhex('FF00FE')", "String"), ("FixedString(4)", "'ab'", "FixedString(4)"),
    ("LowCardinality(String)", "'x'", "LowCardinality(String)"),
    ("LowCardinality(Nullable(String))", "'x'", "LowCardinality(Nullable(String))"),
    ("Enum8('a' = 1, 'it\\'s' = 2)", "'it\\'s'", "Enum8('a' = 1, 'it\\'s' = 2)"),
    ("UUID", "'123e4567-e89b-12d3-a456-426614174000'", "UUID"),
    ("IPv4", "'10.0.0.1'", "IPv4"), ("IPv6", "'2001:db8::1'", "IPv6"),
    ("Date", "'2149-06-06'", "Date"), ("Date32", "'1900-01-01'", "Date32"),
    ("DateTime", "'2106-02-07 06:28:15'", "DateTime('UTC')"), ("DateTime('Europe/Zurich')", "1719835200", "DateTime('UTC')"),
    ("DateTime64(3)", "'1900-01-01 00:00:00.001'", "DateTime64(3, 'UTC')"),
    ("DateTime64(9, 'Asia/Tokyo')", "toDateTime64('2024-07-01 12:00:00.123456789', 9, 'Asia/Tokyo')", "DateTime64(9, 'UTC')"),
    ("Nullable(DateTime64(6, 'Asia/Tokyo'))", "toDateTime64('2024-07-01 12:00:00.123456', 6, 'UTC')", "Nullable(DateTime64(6, 'UTC'))"),
    ("Array(Nullable(Int32))", "[1, null, 3]", "Array(Nullable(Int32))"), ("Array(Array(String))", "[['a'], []]", "Array(Array(String))"),
    ("Map(String, UInt8)", "map('k\\'', 1)", "Map(String, UInt8)"), ("Tuple(a Int8, b String)", "(1, 'b')", "Tuple(a Int8, b String)"),
    ("JSON", "'{\"a\": {\"b\": [1, 2]}}'", "JSON"),
]  # fmt: skip


@pytest.fixture
def typed(shop: ClickhouseShop) -> ClickhouseShop:
    """A table `t` with a column of every type and two rows: the value, and the default or NULL."""
    shop.run(f"create table t (id Int32, {', '.join(f'v{n} {v[0]}' for n, v in enumerate(VALUES))}) engine = MergeTree order by id")
    shop.run(f"insert into t select 1, {', '.join(v[1] for v in VALUES)}")
    shop.run("insert into t (id) values (2)")
    return shop


def test_types_and_values_land_as_they_are(typed: ClickhouseShop, source: Connector) -> None:
    table = source.describe("t", key=["id"])
    assert [c.type for c in table.columns] == ["Int32", *(v[2] for v in VALUES)]
    with source.rows(table, [c.name for c in table.columns]) as select:
        source.lake.create_database("raw")
        source.lake.command(f"create table raw.t engine = MergeTree order by id as {select}")
    landed = source.lake.columns("raw.t")
    assert list(landed.values()) == ["Int32", *(v[2] for v in VALUES)]
    for n in range(len(VALUES)):
        one = f"select hex(toString(v{n})) as v from %s order by id"
        if VALUES[n][0].startswith(("DateTime", "Nullable(DateTime")):
            one = f"select toString(toTimeZone(v{n}, 'UTC')) as v from %s order by id"
        there = typed.server.query(one % f"{quote(typed.database)}.t").to_pylist()
        assert source.lake.query(one % "raw.t").to_pylist() == there, VALUES[n]


def test_text_form_is_what_the_engine_casts_back(typed: ClickhouseShop, source: Connector) -> None:
    table = source.describe("t", key=["id"])
    for column in table.columns[1:]:
        if column.type in ("JSON", "Float64", "String", "FixedString(4)") or column.type.startswith(("LowCardinality(Nullable", "Map")):
            continue  # of no one text, bytes, or not cast from text by this engine
        bare = column.type.removeprefix("Nullable(").removesuffix(")") if column.type.startswith("Nullable(") else column.type
        name = quote(column.name)
        with source.rows(table, ["id", column.name]) as plain, source.rows(table, ["id", column.name], as_text=True) as text:
            assert set(source.lake.query(f"describe table ({text})")["type"].to_pylist()) == {"Nullable(String)"}
            # each of its own: a join would be run where they come from
            values = source.lake.query(f"select toString({name}) as v from ({plain}) order by id")["v"].to_pylist()
            texts = source.lake.query(f"select {name} as v from ({text}) order by id")["v"]
        source.lake.create_database("raw")
        source.lake.command("create or replace table raw.texts (n UInt8, v Nullable(String)) engine = MergeTree order by n")
        for n, one in enumerate(texts.to_pylist()):
            source.lake.command(f"insert into raw.texts values ({n}, {'null' if one is None else quote_text(one)})")
        back = f"select toString(if(v is null, null, cast(assumeNotNull(v), {quote_text(bare)}))) as v from raw.texts order by n"
        assert source.lake.query(back)["v"].to_pylist() == values, column


def test_key_columns_are_not_null(shop: ClickhouseShop, source: Connector) -> None:
    shop.run(
        "create table t (a Nullable(Int32), b LowCardinality(Nullable(String)), c Nullable(DateTime)) engine = MergeTree order by tuple()"
    )
    shop.run("insert into t values (1, 'x', '2024-01-01 00:00:00')")
    table = source.describe("t", key=["a", "b", "c"])
    assert [c.type for c in table.columns] == ["Int32", "LowCardinality(String)", "DateTime('UTC')"]
    assert read(source, table) == [(1, "x", 1704067200)]
    shop.run("insert into t values (null, 'x', '2024-01-01 00:00:00')")
    with pytest.raises(Misfit, match="NULL"):
        read(source, table)
    assert (None, "x", "2024-01-01 00:00:00") in read(source, table, as_text=True)


def test_columns_are_those_of_select_star(shop: ClickhouseShop, source: Connector) -> None:
    shop.run(
        "create table t (id Int32, a Int32 alias id + 1, m Int32 materialized id + 2, e Int32 ephemeral, n Nested(x Int8)) "
        "engine = MergeTree order by id"
    )
    shop.run("insert into t (id, n.x) values (1, [5])")
    table = source.describe("t", key=["id"])
    assert [c.name for c in table.columns] == ["id", "n.x"]
    assert read(source, table) == [(1, [5])]


@pytest.mark.parametrize(
    ("declared", "good", "bad", "type_", "arrives"),
    [
        ("Int32", "200", "300", "UInt8", 200),
        ("Decimal(10, 4)", "1.25", "1.2345", "Decimal(10, 2)", Decimal("1.25")),
        ("Nullable(Int8)", "1", "2", "Bool", True),
        ("DateTime64(6)", "'2024-01-01 10:00:00'", "'2200-01-01 00:00:00'", "DateTime('UTC')", 1704103200),
        ("Nullable(DateTime64(6))", "'2024-01-01 10:00:00'", "'2024-01-01 10:00:00.5'", "DateTime('Asia/Tokyo')", 1704103200),
        ("Date32", "'2024-01-01'", "'1950-01-01'", "Date", dt.date(2024, 1, 1)),
        ("String", "'12'", "'twelve'", "Int64", 12),
        ("LowCardinality(Nullable(String))", "'12'", "'twelve'", "Int64", 12),
    ],
)
@pytest.mark.parametrize("around", ["%s", "Nullable(%s)"])
def test_type_of_the_users_is_cast_to_without_cutting_off(
    shop: ClickhouseShop, source: Connector, declared: str, good: str, bad: str, type_: str, arrives: Any, around: str
) -> None:
    shop.run(f"create table t (id Int32, v {declared}) engine = MergeTree order by id")
    shop.run(f"insert into t values (1, {good})")
    table = SourceTable("t", (SourceColumn("id", "Int32", "Int32"), SourceColumn("v", around % type_, declared)))
    assert read(source, table) == [(1, arrives)]
    shop.run(f"insert into t values (2, {bad})")
    with pytest.raises(Misfit):
        read(source, table)
    assert str(read(source, table, as_text=True)[1][1]).removesuffix(" does not fit").startswith(bad.strip("'"))
    if "Nullable" in declared and around != "%s":
        shop.run("alter table t delete where id = 2 settings mutations_sync = 1")
        shop.run("insert into t values (3, null)")
        assert read(source, table) == [(1, arrives), (3, None)]


# --- spans

SPANS: list[tuple[str, list[str], str, Any, Any]] = [
    (
        "DateTime64(6)",
        ["'2024-01-01 10:00:00'", "'2024-01-01 10:00:00.000001'", "'2024-01-02'"],
        "time",
        "2024-01-01 10:00:00.000001",
        "2024-01-02",
    ),
    (
        "DateTime('Asia/Tokyo')",
        ["'2024-01-01 18:00:00'", "'2024-01-01 19:00:00'", "'2024-01-02 09:00:00'"],
        "time",
        "2024-01-01 10:00:00",
        "2024-01-02",
    ),
    ("Date32", ["'2024-01-01'", "'2024-01-02'", "'2024-01-03'"], "time", "2024-01-02", "2024-01-02 00:00:01"),
    ("UInt64", ["1", "18446744073709551614", "18446744073709551615"], "integer", 2**64 - 2, 2**64 - 1),
    ("Int128", ["-5", "0", "9"], "integer", 0, 9),
    ("String", ["'B'", "'a'", "'é'"], "text", "a", "é"),
    ("LowCardinality(String)", ["'B'", "'a'", "'é'"], "text", "a", "é"),
]


@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize(("declared", "values", "kind", "low", "high"), SPANS, ids=[s[0] for s in SPANS])
def test_span_is_read_there_and_no_more(
    shop: ClickhouseShop, source: Connector, declared: str, values: list[str], kind: str, low: Any, high: Any, nullable: bool
) -> None:
    declared = (
        declared.replace("String", "Nullable(String)")
        if "Low" in declared and nullable
        else f"Nullable({declared})"
        if nullable
        else declared
    )
    shop.run(f"create table t (id Int32, v {declared}) engine = MergeTree order by id")
    shop.run(f"insert into t values (1, {values[0]}), (2, {values[1]}), (3, {values[2]})" + (", (4, null)" if nullable else ""))
    table = source.describe("t", key=["id"])
    first, last = (at(v) if kind == "time" else Watermark(v) for v in (low, high))
    none = [4] if nullable else []

    def ids(**bounds: Any) -> list[int]:
        return [row[0] for row in read(source, table, within=Span("v", **bounds))]

    assert ids(low=first) == [2, 3]
    assert ids(low=first, nulls=True) == [2, 3, *none]
    assert ids(low=first, high=last) == [2]
    assert ids(high=last, nulls=True) == [1, 2, *none]
    assert ids() == [1, 2, 3]
    assert ids(nulls=True) == [1, 2, 3, *none]
    top = source.high_mark(table, "v")
    assert top is not None
    assert top.kind == kind
    assert ids(low=top) == [3]
    shop.run("truncate table t")
    assert source.high_mark(table, "v") is None


def test_span_is_in_what_the_server_is_asked(shop: ClickhouseShop, source: Connector) -> None:
    shop.run("create table t (id Int32, v DateTime64(6), n Int64) engine = ReplacingMergeTree order by id")
    shop.run("insert into t select number, toDateTime64('2024-01-01', 6) + number, number from numbers(1000)")
    table = source.describe("t", key=["id"])
    assert len(read(source, table, within=Span("n", low=Watermark(990)))) == 10
    assert source.high_mark(table, "n") == Watermark(999)
    shop.server.command("system flush logs")
    asked = shop.server.query(
        "select query, result_rows from system.query_log where type = 'QueryFinish' and not is_initial_query "
        "and position(query, {d:String}) > 0 and query_kind = 'Select' order by event_time_microseconds",
        {"d": shop.database},
    ).to_pylist()
    spans = [row for row in asked if "990" in row["query"] and "FINAL" in row["query"]]
    assert [row["result_rows"] for row in spans] == [10]
    assert [row["result_rows"] for row in asked if "maxOrNull" in row["query"]] == [1]


# --- names, sizes

NAMES = ["select", "source", "it's two `words`, Grüße 🦆? 100% $1 {x:String} --", 'do"uble', "back\\slash", "new\nline", "a.b", "c0", "*/"]


def test_any_name_of_a_table_and_its_columns(shop: ClickhouseShop, source: Connector) -> None:
    for name in NAMES:
        shop.run(f"create table {quote(name)} (id Int32, {quote(name)} DateTime) engine = ReplacingMergeTree order by id")
        shop.run(f"insert into {quote(name)} values (1, '2024-01-01 00:00:00')")
        table = source.describe(name, key=["id"])
        assert [c.name for c in table.columns] == ["id", name]
        with source.rows(table, ["id", name], within=Span(name, low=at("2024-01-01"))) as select:
            found = source.lake.query(select)
        assert (found.column_names, found.num_rows) == (["id", name], 1)
        assert source.high_mark(table, name) == at("2024-01-01")


def test_empty_table_and_wide_rows(shop: ClickhouseShop, source: Connector) -> None:
    shop.run("create table t (id Int32, at DateTime, body String) engine = MergeTree order by id")
    table = source.describe("t", key=["id"])
    assert read(source, table) == []
    assert source.high_mark(table, "at") is None
    shop.run("insert into t values (1, 0, repeat(repeat('x', 1000000), 21))")
    with source.rows(table, ["id", "body"]) as select:
        assert source.lake.scalar(f"select length(body) from ({select})") == 21000000
    shop.run(f"create table wide (id Int32, {', '.join(f'c{n} Int32' for n in range(300))}) engine = MergeTree order by id")
    shop.run("insert into wide (id, c299) values (1, 7)")
    (row,) = read(source, source.describe("wide", key=["id"]))
    assert (len(row), row[300]) == (301, 7)


# --- sign-in, secrets, rights


def test_trouble_with_the_server_is_said_without_the_password(shop: ClickhouseShop, lake: Lake, workspace: Path) -> None:
    secret = "wrong-éecret '1"
    closed = str(free_port())
    http = str(shop.server.address.port)
    for change, says in (
        ({"port": closed}, f":{closed}/{shop.database} refused the connection; is the server up"),
        ({}, "refused the sign-in; check user and password"),
        ({"user": "nobody"}, "refused the sign-in"),
        ({"host": "no-such-host.invalid"}, "the name 'no-such-host.invalid' is not known"),
        ({"secure": "yes"}, "does not speak ClickHouse's native protocol with TLS there"),
        ({"port": http}, "does not"),
    ):
        opened = Connector(Options(**{**shop.options, "password": secret, **change}), workspace=workspace, lake=lake)
        with pytest.raises(SourceUnavailable) as caught:
            opened.describe("t", key=["id"])
        assert says in str(caught.value)
        assert secret not in str(caught.value)
    nowhere = Connector(Options(**{**shop.options, "database": "nowhere"}), workspace=workspace, lake=lake)
    with pytest.raises(UnknownName, match="sees no database 'nowhere'"):
        nowhere.describe("t", key=["id"])


def test_lake_that_is_away_is_not_taken_for_the_source(shop: ClickhouseShop, workspace: Path) -> None:
    away = Lake(Settings.load(workspace, environ={}, clickhouse_url=f"http://u:p@127.0.0.1:{free_port()}"))
    with pytest.raises(LakeUnavailable):
        Connector(Options(**shop.options), workspace=workspace, lake=away).describe("t", key=["id"])
    away.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"host": ""}, "the host '' is not one name"),
        ({"host": "a,b"}, "the host 'a,b' is not one name"),
        ({"host": "h:9000"}, "the port stands in `port:`"),
        ({"host": "h", "port": "x"}, "the port 'x' is not a number from 1 to 65535"),
        ({"host": "h", "secure": "maybe"}, "secure is 'maybe'; write secure: yes"),
    ],
)
def test_options_that_are_wrong_are_said(lake: Lake, workspace: Path, options: dict[str, str], says: str) -> None:
    with pytest.raises(SourceError) as caught:
        Connector(Options(**options), workspace=workspace, lake=lake)
    assert says in str(caught.value)


def test_unknown_table_names_the_nearest(shop: ClickhouseShop, source: Connector) -> None:
    shop.run("create table orders (id Int32) engine = MergeTree order by id")
    with pytest.raises(UnknownName, match="'oders'.*did you mean orders"):
        source.describe("oders", key=["id"])


def test_a_role_that_may_only_read_is_enough(shop: ClickhouseShop, lake: Lake, workspace: Path) -> None:
    shop.run("create table t (id Int32, v Nullable(String), at DateTime) engine = ReplacingMergeTree order by id")
    shop.run("insert into t values (1, 'x', '2024-01-01 00:00:00')")
    shop.server.create_database("hidden")
    shop.server.command("create table if not exists hidden.t (id Int32) engine = MergeTree order by id")
    opened = Connector(Options(**{**shop.options, "user": "reader", "password": PASSWORD}), workspace=workspace, lake=lake)
    table = opened.describe("t", key=["id"])
    assert opened.high_mark(table, "at") == at("2024-01-01")
    assert read(opened, table, within=Span("at", low=at("2024-01-01"), nulls=True)) == [(1, "x", 1704067200)]
    assert read(opened, table, as_text=True) == [("1", "x", "2024-01-01 00:00:00")]
    with pytest.raises(SourceError, match="Not enough privileges.*grant SELECT"):
        opened.describe("", key=["id"], options=TableOptions(query="select * from hidden.t"))
    for query in (
        "insert into t values (2)",
        "select 1), 'a', 'b') union all select * from (select 2",
        "select 1 form t",
        "select 1; select 2",
    ):
        with pytest.raises(SourceError, match="not one SELECT") as caught:
            opened.describe("", key=["id"], options=TableOptions(query=query))
        assert PASSWORD not in str(caught.value)
    wrong = Connector(Options(**{**shop.options, "user": "reader", "password": PASSWORD + "x"}), workspace=workspace, lake=lake)
    with pytest.raises(SourceUnavailable, match="refused the sign-in"):
        wrong.describe("t", key=["id"])
    for server in (lake, shop.server):
        server.command("system flush logs")
        # the needle is put together by the server, so that this question does not find itself
        held = server.query(
            "select query, exception from system.query_log where query like concat('%readsalone', {s:String}, '%') "
            "or exception like concat('%readsalone', {s:String}, '%')",
            {"s": PASSWORD.removeprefix("readsalone")},
        )
        assert held.to_pylist() == []
    kinds = shop.server.query("select distinct query_kind as k from system.query_log where user = 'reader' and type = 'QueryFinish'")
    assert set(kinds["k"].to_pylist()) <= {"Select", "Describe"}


def test_server_that_goes_away_is_said(lake: Lake, workspace: Path, tmp_path: Path) -> None:
    other = Lake(Settings.load(tmp_path, environ={}, lake_http_port=free_port(), lake_tcp_port=free_port()))
    assert other.embedded is not None
    try:
        address = other.address
        other.command("create table default.t (id Int32) engine = MergeTree order by id")
        options = Options(host=address.host, port=str(address.tcp_port), user=address.user, password=address.password)
        opened = Connector(options, workspace=workspace, lake=lake)
        table = opened.describe("t", key=["id"])
    finally:
        other.close()
        other.embedded.stop()
    with pytest.raises(SourceUnavailable, match="refused the connection"):
        read(opened, table)
