"""MySQL alone: sign-in, secrets, what is pushed down, values of every type, dates that are none. Against a real MariaDB."""

from __future__ import annotations

import datetime as dt
import random
import re
import socket
import struct
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mysql import MysqlError, MysqlServer, MysqlShop, literal

from workbench.errors import QueryError, SourceError, SourceUnavailable, UnknownName
from workbench.hermes.connector import SourceColumn, SourceTable, Span
from workbench.hermes.connectors.mysql import Connector, Options, TableOptions
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake

UTC = dt.timezone.utc
pytestmark = pytest.mark.server


@pytest.fixture
def shop(mysql_server: MysqlServer) -> Iterator[MysqlShop]:
    made = MysqlShop(mysql_server)
    yield made
    made.close()


@pytest.fixture
def source(shop: MysqlShop, lake: Lake, workspace: Path) -> Iterator[Connector]:
    opened = Connector(Options(**shop.options), workspace=workspace, lake=lake)
    yield opened
    opened.close()


def read(
    source: Connector, table: SourceTable, *, within: Span | None = None, as_text: bool = False, order: str = "1"
) -> list[tuple[Any, ...]]:
    """The rows that the connector's SELECT gives, all columns, in order of the first."""
    with source.rows(table, [c.name for c in table.columns], within=within, as_text=as_text) as select:
        return [tuple(row.values()) for row in source.lake.query(f"{select} order by {order}").to_pylist()]


def at(text: str) -> Watermark:
    return Watermark(dt.datetime.fromisoformat(text))


# --- values of every type

# declared type, the value as SQL, how it is described, what arrives, and as a text (None: the same, as str)
VALUES: list[tuple[str, str, str, Any, str | None]] = [
    ("tinyint", "-128", "Int8", -128, None),
    ("tinyint unsigned", "255", "UInt8", 255, None),
    ("smallint", "-32768", "Int16", -32768, None),
    ("smallint unsigned", "65535", "UInt16", 65535, None),
    ("mediumint", "-8388608", "Int32", -8388608, None),
    ("mediumint unsigned", "16777215", "UInt32", 16777215, None),
    ("int", "-2147483648", "Int32", -(2**31), None),
    ("int unsigned", "4294967295", "UInt32", 2**32 - 1, None),
    ("int(6) zerofill", "42", "UInt32", 42, None),
    ("bigint", "-9223372036854775808", "Int64", -(2**63), None),
    ("bigint unsigned", "18446744073709551615", "UInt64", 2**64 - 1, None),
    ("boolean", "true", "Bool", True, "1"),
    ("boolean", "false", "Bool", False, "0"),
    ("bit(1)", "b'1'", "Bool", True, "1"),
    ("bit(9)", "b'101010101'", "UInt64", 341, None),
    ("bit(64)", "18446744073709551615", "UInt64", 2**64 - 1, None),
    ("decimal(10,2)", "-0.01", "Decimal(10, 2)", Decimal("-0.01"), None),
    ("decimal(10,2) unsigned", "12345678.90", "Decimal(10, 2)", Decimal("12345678.90"), "12345678.9"),
    (
        "decimal(65,30)", "-12345678901234567890123456789012345.123456789012345678901234567891", "Decimal(65, 30)",
        Decimal("-12345678901234567890123456789012345.123456789012345678901234567891"), None,
    ),
    ("decimal(65,0)", "9" * 65, "Decimal(65, 0)", Decimal("9" * 65), None),
    ("float", "16777217", "Float32", 16777216.0, "16777216"),
    ("float", "0.1", "Float32", struct.unpack("f", struct.pack("f", 0.1))[0], None),
    ("float", "3.4028234e38", "Float32", struct.unpack("f", struct.pack("f", 3.4028234e38))[0], "3.4028234663852886e38"),
    ("double", "0.1", "Float64", 0.1, None),
    ("double", "1.7976931348623157e308", "Float64", 1.7976931348623157e308, "1.7976931348623157e308"),
    ("double", "-2.2250738585072014e-308", "Float64", -2.2250738585072014e-308, None),
    ("date", "'1000-01-01'", "Date32", dt.date(1000, 1, 1), None),
    ("date", "'2024-02-29'", "Date32", dt.date(2024, 2, 29), None),
    ("date", "'9999-12-31'", "Date32", dt.date(9999, 12, 31), None),
    ("datetime", "'2024-02-29 23:59:59'", "DateTime64(6, 'UTC')", dt.datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC), "2024-02-29 23:59:59"),
    (
        "datetime(6)", "'9999-12-31 23:59:59.999999'", "DateTime64(6, 'UTC')",
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), "9999-12-31 23:59:59.999999",
    ),
    ("datetime(3)", "'1000-01-01 00:00:00.001'", "DateTime64(6, 'UTC')", dt.datetime(1000, 1, 1, 0, 0, 0, 1000, UTC),
     "1000-01-01 00:00:00.001"),
    # the session that writes is in UTC, the engine's sessions are not
    ("timestamp null", "'2024-07-01 12:00:00'", "DateTime64(6, 'UTC')", dt.datetime(2024, 7, 1, 12, tzinfo=UTC), "2024-07-01 12:00:00"),
    (
        "timestamp(6) null", "'2038-01-19 03:14:07.999999'", "DateTime64(6, 'UTC')",
        dt.datetime(2038, 1, 19, 3, 14, 7, 999999, UTC), "2038-01-19 03:14:07.999999",
    ),
    ("timestamp(6) null", "'1970-01-01 00:00:01.5'", "DateTime64(6, 'UTC')", dt.datetime(1970, 1, 1, 0, 0, 1, 500000, UTC),
     "1970-01-01 00:00:01.500000"),
    ("time(6)", "'-838:59:59'", "String", "-838:59:59.000000", None),
    ("time", "'00:00:00'", "String", "00:00:00", None),
    ("year", "2155", "UInt16", 2155, None),
    ("char(10)", "'ab  '", "String", "ab", None),
    ("varchar(20)", "'  kept  '", "String", "  kept  ", None),
    ("varchar(20)", "''", "String", "", None),
    ("varchar(20)", literal("\\N"), "String", "\\N", None),
    ("varchar(20) character set latin1", literal("Grüße €"), "String", "Grüße €", None),
    ("varchar(20) character set ucs2", literal("Ωmega"), "String", "Ωmega", None),
    ("varchar(20) character set cp1251", literal("Привет"), "String", "Привет", None),
    ("text", literal('it\'s \\ "é" 🦆\n\t\r\x00.'), "String", 'it\'s \\ "é" 🦆\n\t\r\x00.', None),
    ("longtext character set utf8mb3", literal("日本語"), "String", "日本語", None),
    ("enum('a','it''s, b')", "'it''s, b'", "String", "it's, b", None),
    ("set('x','y','z')", "'x,z'", "String", "x,z", None),
    ("json", literal('{"a": [1, "é"]}'), "String", '{"a": [1, "é"]}', None),
    ("uuid", "'123e4567-e89b-12d3-a456-426614174000'", "UUID", uuid.UUID("123e4567-e89b-12d3-a456-426614174000"), None),
    ("inet6", "'2001:db8::1'", "String", "2001:db8::1", None),
    ("point", "st_geomfromtext('POINT(1.5 -2)')", "String", "POINT(1.5 -2)", None),
]  # fmt: skip


def test_values_of_every_type_arrive_as_they_are(shop: MysqlShop, source: Connector) -> None:
    columns = ", ".join(f"v{n} {declared}" for n, (declared, *_) in enumerate(VALUES))
    shop.run(f"create table t (id int primary key, {columns}) row_format = dynamic")
    shop.run(f"insert into t values (1, {', '.join(v[1] for v in VALUES)})")
    shop.run("insert into t (id) values (2)")
    table = source.describe("t", key=["id"])
    assert [c.type for c in table.columns] == ["Int32", *(f"Nullable({v[2]})" for v in VALUES)]
    first, second = read(source, table)
    for (declared, _, type_, expected, _), found in zip(VALUES, first[1:], strict=True):
        assert (declared, uuid.UUID(str(found)) if type_ == "UUID" else found) == (declared, expected)
    assert set(second[1:]) == {None}
    first, second = read(source, table, as_text=True)
    assert first == ("1", *(v[3] if isinstance(v[3], str) else v[4] or str(v[3]) for v in VALUES))
    assert second == ("2", *[None] * len(VALUES))


def test_text_form_is_what_the_engine_casts_back(shop: MysqlShop, source: Connector) -> None:
    columns = ", ".join(f"v{n} {declared}" for n, (declared, *_) in enumerate(VALUES))
    shop.run(f"create table t (id int primary key, {columns}) row_format = dynamic")
    shop.run(f"insert into t values (1, {', '.join(v[1] for v in VALUES)})")
    table = source.describe("t", key=["id"])
    names = [c.name for c in table.columns]
    casts = ", ".join(f"accurateCastOrNull(`{c.name}`, '{c.type.replace(chr(39), chr(92) + chr(39))}')" for c in table.columns)
    with source.rows(table, names) as plain, source.rows(table, names, as_text=True) as text:
        assert source.lake.scalar(f"select tuple({casts}) = (select tuple(*) from ({plain})) from ({text})") in (True, 1)


def test_bytes_arrive_as_they_are(shop: MysqlShop, source: Connector) -> None:
    every = bytes(range(256))
    shop.run("create table t (id int primary key, a varbinary(300), b longblob, c binary(4))")
    shop.run("insert into t values (1, ?, ?, ?)", [every, every * 100, b"\xff\x00"])
    shop.run("insert into t values (2, null, '', null)")
    table = source.describe("t", key=["id"])
    for as_text in (False, True):
        with source.rows(table, ["id", "a", "b", "c"], as_text=as_text) as select:
            rows = source.lake.query(f"select hex(a) as a, hex(b) as b, hex(c) as c from ({select}) order by id").to_pylist()
        assert rows[0] == {"a": every.hex().upper(), "b": (every * 100).hex().upper(), "c": "FF000000"}
        assert rows[1] == {"a": None, "b": "", "c": None}


def test_doubles_and_floats_arrive_to_the_last_bit(shop: MysqlShop, source: Connector) -> None:
    chance = random.Random(3)
    doubles = [struct.unpack("d", struct.pack("Q", chance.getrandbits(64) & ~(1 << 62)))[0] for _ in range(500)]
    floats = [struct.unpack("f", struct.pack("I", chance.getrandbits(32) & ~(1 << 30)))[0] for _ in range(500)]
    shop.run("create table t (id int primary key, d double, f float)")
    values = ", ".join(f"({n}, {d!r}, {f!r})" for n, (d, f) in enumerate(zip(doubles, floats, strict=True)))
    shop.run(f"insert into t values {values}")
    found = read(source, source.describe("t", key=["id"]))
    assert [row[1] for row in found] == doubles
    assert [row[2] for row in found] == floats


def test_what_cannot_be_null_is_described_so(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table t (a int, b int not null, c varchar(5), d timestamp not null default current_timestamp)")
    types = {c.name: c.type for c in source.describe("t", key=["a"]).columns}
    assert types == {"a": "Int32", "b": "Int32", "c": "Nullable(String)", "d": "DateTime64(6, 'UTC')"}
    shop.run("insert into t (a, b) values (null, 1)")
    with pytest.raises(QueryError, match="NULL"):
        read(source, source.describe("t", key=["a"]))
    assert read(source, source.describe("t", key=["a"]), as_text=True)[0][:2] == (None, "1")


# --- values that do not fit


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("date", "0000-00-00"), ("date", "2024-00-00"), ("date", "2024-05-00"), ("date", "2024-02-31"),
        ("datetime", "0000-00-00 00:00:00"), ("datetime(6)", "2024-05-00 10:00:00.500000"), ("datetime", "2023-02-29 01:00:00"),
        ("timestamp null", "0000-00-00 00:00:00"), ("timestamp(6) not null", "0000-00-00 00:00:00"),
    ],
)  # fmt: skip
def test_date_that_is_none_never_becomes_another(shop: MysqlShop, source: Connector, declared: str, value: str) -> None:
    shop.run("set sql_mode = 'ALLOW_INVALID_DATES'")
    shop.run(f"create table t (id int primary key, v {declared})")
    shop.run("insert into t values (1, '2024-01-01')")
    shop.run("insert into t values (2, ?)", [value])
    table = source.describe("t", key=["id"])
    with pytest.raises(QueryError, match="is no date|Cannot read DateTime|does not fit"):
        read(source, table)
    rows = read(source, table, as_text=True)
    assert rows[0][1].startswith("2024-01-01")
    assert rows[1][1] == f"{value} is no date"
    with source.rows(table, ["id", "v"], as_text=True) as select:
        type_ = "Date32" if declared == "date" else "DateTime64(6, \\'UTC\\')"
        fits = source.lake.query(f"select accurateCastOrNull(v, '{type_}') is null as none from ({select}) order by id")
    assert fits["none"].to_pylist() == [0, 1]


def test_boolean_that_is_none_does_not_fit(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table t (id int primary key, v tinyint(1))")
    shop.run("insert into t values (1, 1), (2, 2), (3, -1)")
    table = source.describe("t", key=["id"])
    with pytest.raises(QueryError, match="does not fit"):
        read(source, table)
    assert read(source, table, as_text=True) == [("1", "1"), ("2", "2"), ("3", "-1")]
    # as a number it fits
    number = SourceTable("t", (table.columns[0], SourceColumn("v", "Nullable(Int8)", "tinyint(1)")))
    assert read(source, number) == [(1, 1), (2, 2), (3, -1)]


@pytest.mark.parametrize(
    ("declared", "good", "bad", "type_", "arrives"),
    [
        ("int", "200", "300", "UInt8", 200),
        ("decimal(10,4)", "1.25", "1.2345", "Decimal(10, 2)", Decimal("1.25")),
        ("decimal(10,4)", "7", "7.5", "Int32", 7),
        ("datetime(6)", "'2024-01-01 10:00:00'", "'2200-01-01 00:00:00'", "DateTime('UTC')", 1704103200),
        ("datetime(6)", "'2024-01-01 10:00:00.123'", "'2024-01-01 10:00:00.123456'", "DateTime64(3, 'UTC')",
         dt.datetime(2024, 1, 1, 10, 0, 0, 123000, UTC)),
        ("date", "'2024-01-01'", "'1950-01-01'", "Date", dt.date(2024, 1, 1)),
        ("varchar(30)", "'2024-01-01 10:00:00'", "'0000-00-00 00:00:00'", "DateTime64(6, 'UTC')", dt.datetime(2024, 1, 1, 10, tzinfo=UTC)),
        ("varchar(30)", "'12'", "'twelve'", "Int64", 12),
        ("double", "0.5", "1e300", "Float32", 0.5),
        # the same instant, shown elsewhere
        ("datetime", "'2024-07-01 10:00:00'", "'0000-00-00 00:00:00'", "DateTime64(6, 'Asia/Tokyo')",
         dt.datetime(2024, 7, 1, 10, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_type_of_the_users_is_cast_to_without_cutting_off(
    shop: MysqlShop, source: Connector, declared: str, good: str, bad: str, type_: str, arrives: Any
) -> None:
    shop.run(f"create table t (id int primary key, v {declared})")
    shop.run("set sql_mode = ''")
    shop.run(f"insert into t values (1, {good}), (2, null)")
    table = SourceTable("t", (SourceColumn("id", "Int32", "int"), SourceColumn("v", f"Nullable({type_})", declared)))
    assert read(source, table) == [(1, arrives), (2, None)]
    shop.run(f"insert into t values (3, {bad})")
    with pytest.raises(QueryError):
        read(source, table)
    assert read(source, table, as_text=True)[2][1].startswith(bad.strip("'"))


def test_any_type_can_be_asked_for_as_text(shop: MysqlShop, source: Connector) -> None:
    shop.run("set sql_mode = ''")
    shop.run("create table t (id int primary key, v datetime(6), w tinyint(1))")
    shop.run("insert into t values (1, '0000-00-00', 7)")
    columns = (SourceColumn("v", "Nullable(String)", "datetime(6)"), SourceColumn("w", "String", "tinyint(1)"))
    assert read(source, SourceTable("t", columns)) == [("0000-00-00 00:00:00.000000", "7")]


# --- spans


SPANS: list[tuple[str, list[str], str, Any, Any]] = [
    (
        "datetime(6)",
        ["'2024-01-01 10:00:00'", "'2024-01-01 10:00:00.000001'", "'2024-01-02'"],
        "time",
        "2024-01-01 10:00:00.000001",
        "2024-01-02",
    ),
    (
        "timestamp(6) null",
        ["'2024-01-01 10:00:00'", "'2024-01-01 10:00:00.000001'", "'2024-01-02'"],
        "time",
        "2024-01-01 10:00:00.000001",
        "2024-01-02",
    ),
    ("date", ["'2024-01-01'", "'2024-01-02'", "'2024-01-03'"], "time", "2024-01-02", "2024-01-02 00:00:01"),
    ("bigint unsigned", ["1", "18446744073709551614", "18446744073709551615"], "integer", 2**64 - 2, 2**64 - 1),
    ("year", ["2001", "2024", "2100"], "integer", 2024, 2100),
    ("bit(40)", ["1", "2", "1099511627775"], "integer", 2, 2**40 - 1),
    ("varchar(20)", ["'B'", "'a'", literal("é")], "text", "a", "é"),
    ("varchar(20) character set latin1", ["'B'", "'a'", literal("é")], "text", "a", "é"),
]


@pytest.mark.parametrize(("declared", "values", "kind", "low", "high"), SPANS, ids=[s[0] for s in SPANS])
def test_span_is_read_and_no_more(
    shop: MysqlShop, source: Connector, declared: str, values: list[str], kind: str, low: Any, high: Any
) -> None:
    shop.run(f"create table t (id int primary key, v {declared}, key (v))")
    shop.run(f"insert into t values (1, {values[0]}), (2, {values[1]}), (3, {values[2]}), (4, null)")
    table = source.describe("t", key=["id"])
    first, last = (at(v) if kind == "time" else Watermark(v) for v in (low, high))

    def ids(**bounds: Any) -> list[int]:
        return [row[0] for row in read(source, table, within=Span("v", **bounds))]

    assert ids(low=first) == [2, 3]
    assert ids(low=first, nulls=True) == [2, 3, 4]
    assert ids(low=first, high=last) == [2]
    assert ids(high=last, nulls=True) == [1, 2, 4]
    assert ids() == [1, 2, 3]
    assert ids(nulls=True) == [1, 2, 3, 4]
    assert len(read(source, table)) == 4
    top = source.high_mark(table, "v")
    assert top is not None
    assert top.kind == kind
    assert not first.later_than(top)
    assert ids(low=top) == [3]
    shop.run("delete from t where v is not null")
    assert source.high_mark(table, "v") is None


def test_span_is_in_what_the_server_is_asked(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table t (id int primary key, d datetime(6), ts timestamp(6) null, n bigint, s varchar(20))")
    table = source.describe("t", key=["id"])
    mark = at("2024-07-01 12:00:00.5")
    for column, bound, expected in (
        ("d", mark, "`d` >= timestamp'2024-07-01 12:00:00.500000'"),
        ("ts", mark, "`ts` >= from_unixtime(1719748800) and unix_timestamp(`ts`) >= 1719835200.500000"),
        ("n", Watermark(7), "`n` >= 7"),
        ("s", Watermark("é'"), "cast(convert(`s` using utf8mb4) as binary) >= x'c3a927'"),
    ):
        start = shop.server.log.stat().st_size
        read(source, table, within=Span(column, low=bound, nulls=True))
        asked = [line for line in shop.server.said(start).splitlines() if "Query" in line and "LIMIT 0" not in line and "SELECT" in line]
        assert len(asked) == 1
        assert expected in asked[0]
        assert f"`{column}` is null" in asked[0]


def test_an_index_helps_with_a_bound_of_instants(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table t (id int primary key, ts timestamp(6) null, key (ts))")
    shop.run("insert into t select seq, from_unixtime(1700000000 + seq * 60) from seq_1_to_20000")
    table = source.describe("t", key=["id"])
    start = shop.server.log.stat().st_size
    assert len(read(source, table, within=Span("ts", low=Watermark(dt.datetime.fromtimestamp(1700000000 + 19900 * 60, UTC))))) == 101
    (asked,) = [line for line in shop.server.said(start).splitlines() if "from_unixtime" in line and "LIMIT 0" not in line]
    (plan,) = shop.run("explain " + asked[asked.index("SELECT") :])
    assert (plan[3], plan[5]) == (b"range", b"ts")


def test_hour_that_comes_twice_is_told_apart(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table t (id int primary key, ts timestamp null)")
    # in New York 1:30 comes twice on that day
    shop.run("insert into t values (1, '2024-11-03 05:30:00'), (2, '2024-11-03 06:30:00')")
    admin = shop.server.connect()
    admin.run("set global time_zone = '-04:00'")  # as it is in summer, for sessions that begin now
    try:
        table = source.describe("t", key=["id"])
        assert [row[1] for row in read(source, table)] == [dt.datetime(2024, 11, 3, h, 30, tzinfo=UTC) for h in (5, 6)]
        assert source.high_mark(table, "ts") == at("2024-11-03 06:30:00")
        assert [row[0] for row in read(source, table, within=Span("ts", low=at("2024-11-03 06:30:00")))] == [2]
    finally:
        admin.run("set global time_zone = '-05:00'")
        admin.close()


def test_marks_beyond_what_an_instant_can_be(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table t (id int primary key, ts timestamp null)")
    shop.run("insert into t values (1, '1970-01-01 00:00:01'), (2, '2038-01-19 03:14:07'), (3, null)")
    table = source.describe("t", key=["id"])
    for low, high, expected in (
        ("1900-01-01", "2100-01-01", [1, 2]), ("1969-12-31 23:59:59.5", None, [1, 2]), ("2100-01-01", None, []),
        ("2038-01-19 03:14:07", "2038-01-19 03:14:08", [2]), (None, "1970-01-01", []),
    ):  # fmt: skip
        span = Span("ts", low=at(low) if low else None, high=at(high) if high else None)
        assert [row[0] for row in read(source, table, within=span)] == expected


def test_highest_date_that_is_none_is_no_mark(shop: MysqlShop, source: Connector) -> None:
    shop.run("set sql_mode = 'ALLOW_INVALID_DATES'")
    shop.run("create table t (id int primary key, d date, at datetime, ts timestamp null)")
    shop.run("insert into t values (1, '0000-00-00', '0000-00-00', '0000-00-00')")
    table = source.describe("t", key=["id"])
    assert [source.high_mark(table, c) for c in ("d", "at", "ts")] == [None, None, None]
    shop.run("insert into t values (2, '2024-05-01', '2024-05-01 10:00:00', null), (3, '2024-06-00', '2024-06-31 10:00:00', null)")
    assert source.high_mark(table, "d") == at("2024-05-01")
    assert source.high_mark(table, "at") == at("2024-05-01 10:00:00")
    # a date that is none counts as no value: it is read with those
    assert [r[0] for r in read(source, table, within=Span("ts", low=at("2024-01-01"), nulls=True), as_text=True)] == ["1", "2", "3"]


def test_column_of_another_type_here_is_not_bounded_there(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table t (id int primary key, v varchar(30))")
    shop.run("insert into t values (1, '2024-01-01 10:00:00'), (2, '2024-06-01T10:00:00Z')")
    table = SourceTable("t", (SourceColumn("id", "Int32", "int"), SourceColumn("v", "Nullable(DateTime64(6, 'UTC'))", "varchar(30)")))
    assert source.high_mark(table, "v") is None
    assert len(read(source, table, within=Span("v", low=at("2024-03-01")))) == 2


# --- names, views, queries


NAMES = ["select", "source", "it's two `words`, Grüße? 100% $1 {x:String} --", 'do"uble', "back\\slash", "new\nline", "a.b", "c0", "*/"]


def test_any_name_of_a_table_and_its_columns(shop: MysqlShop, source: Connector) -> None:
    for name in NAMES:
        quoted = "`" + name.replace("`", "``") + "`"
        shop.run(f"create table {quoted} (id int primary key, {quoted} datetime)")
        shop.run(f"insert into {quoted} values (1, '2024-01-01')")
        table = source.describe(name, key=["id"])
        assert [c.name for c in table.columns] == ["id", name]
        with source.rows(table, ["id", name], within=Span(name, low=at("2024-01-01"))) as select:
            found = source.lake.query(select)
        assert (found.column_names, found.num_rows) == (["id", name], 1)
        assert source.high_mark(table, name) == at("2024-01-01")


def test_names_and_values_are_read_right_in_every_mode_of_the_server(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table `it's \\` (id int primary key, `c\\'` varchar(20), ts timestamp null)")
    shop.run("insert into `it's \\` values (1, ?, '2024-01-01')", ["it's \\ 'é"])
    admin = shop.server.connect()
    try:
        for mode in (
            "ANSI",
            "NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE",
            "TRADITIONAL,PAD_CHAR_TO_FULL_LENGTH",
            "ORACLE",
        ):
            admin.run(f"set global sql_mode = '{mode}'")
            table = source.describe("it's \\", key=["id"])
            span = Span("c\\'", low=Watermark("it's \\ 'é"), high=Watermark("it's \\ 'ê"))
            assert read(source, table, within=span) == [(1, "it's \\ 'é", dt.datetime(2024, 1, 1, tzinfo=UTC))]
            assert source.high_mark(table, "ts") == at("2024-01-01")
            assert [r[0] for r in read(source, table, within=Span("ts", low=at("2023-12-31 20:00:00"), nulls=True))] == [1]
    finally:
        admin.run("set global sql_mode = ''")
        admin.close()


def test_names_that_differ_in_case_alone_are_told_apart(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table orders (id int primary key)")
    shop.run("create table Orders (id int primary key, more int)")
    assert len(source.describe("orders", key=["id"]).columns) == 1
    assert len(source.describe("Orders", key=["id"]).columns) == 2
    with pytest.raises(UnknownName, match="did you mean"):
        source.describe("ORDERS", key=["id"])


def test_empty_table_and_one_of_one_row(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table t (id int primary key, at datetime)")
    table = source.describe("t", key=["id"])
    assert read(source, table) == []
    assert source.high_mark(table, "at") is None
    shop.run("insert into t values (1, null)")
    assert read(source, table) == [(1, None)]
    assert source.high_mark(table, "at") is None


def test_view_is_read(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table base (id int primary key, v varchar(5), ts timestamp null)")
    shop.run("insert into base values (1, 'x', '2024-07-01 12:00:00')")
    shop.run("create view v as select id, upper(v) as v, ts from base")
    assert read(source, source.describe("v", key=["id"])) == [(1, "X", dt.datetime(2024, 7, 1, 12, tzinfo=UTC))]


def test_query_is_read_instead_of_a_table(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table orders (id int primary key, amount decimal(10,2), at date, flag boolean)")
    shop.run("create table names (id int not null primary key, name varchar(20) not null)")
    shop.run("insert into orders values (1, 1.5, '2024-01-01', 1), (2, 2.5, '2024-01-02', 0)")
    shop.run("insert into names values (2, 'zwei')")
    options = TableOptions(
        query="select o.id, o.amount * 2 as `twice it's`, o.at, n.name, o.flag from orders o left join names n on n.id = o.id;\n"
    )
    table = source.describe("", key=["id"], options=options)
    assert {c.name: c.type for c in table.columns} == {
        "id": "Int32", "twice it's": "Nullable(Decimal(11, 2))", "at": "Nullable(Date32)", "name": "Nullable(String)",
        "flag": "Nullable(Int8)",
    }  # fmt: skip
    assert read(source, table) == [
        (1, Decimal("3.00"), dt.date(2024, 1, 1), None, 1), (2, Decimal("5.00"), dt.date(2024, 1, 2), "zwei", 0),
    ]  # fmt: skip
    assert source.high_mark(table, "at") == at("2024-01-02")
    assert [row[0] for row in read(source, table, within=Span("at", low=at("2024-01-02")))] == [2]
    with pytest.raises(SourceError, match="nowhere.*doesn't exist"):
        source.describe("", key=["id"], options=TableOptions(query="select * from nowhere"))
    with pytest.raises(SourceError, match="error in your SQL syntax"):
        source.describe("", key=["id"], options=TableOptions(query="delete from orders"))
    assert shop.run("select count(*) from orders") == [(b"2",)]


def test_time_in_a_query_is_refused_where_its_zone_is_unknown(shop: MysqlShop, source: Connector, workspace: Path) -> None:
    shop.run("create table t (id int primary key, ts timestamp null)")
    shop.run("insert into t values (1, '2024-07-01 12:00:00')")
    options = TableOptions(query="select id, ts from t")
    with pytest.raises(SourceError, match="the time 'ts'.*in the zone -05:00.*make the query a view"):
        source.describe("", key=["id"], options=options)
    admin = shop.server.connect()
    admin.run("set global time_zone = '+00:00'")
    try:
        opened = Connector(Options(**shop.options), workspace=workspace, lake=source.lake)
        assert read(opened, opened.describe("", key=["id"], options=options)) == [(1, dt.datetime(2024, 7, 1, 12, tzinfo=UTC))]
    finally:
        admin.run("set global time_zone = '-05:00'")
        admin.close()


# --- sizes


def test_row_of_twenty_megabytes_and_many_columns(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table t (id int primary key, body longtext)")
    shop.run("insert into t values (1, repeat('é', 10485760))")
    table = source.describe("t", key=["id"])
    with source.rows(table, ["id", "body"]) as select:
        assert source.lake.scalar(f"select length(body) from ({select})") == 20971520
    shop.run(f"create table wide (id int primary key, {', '.join(f'c{n} int' for n in range(300))})")
    shop.run("insert into wide (id, c0, c299) values (1, 5, 7)")
    (row,) = read(source, source.describe("wide", key=["id"]))
    assert (len(row), row[1], row[300]) == (301, 5, 7)


# --- sign-in, secrets, rights


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_trouble_with_the_server_is_said_without_the_password(shop: MysqlShop, lake: Lake, workspace: Path) -> None:
    secret = "wrong-éecret '1"
    server, port = shop.server, closed_port()
    for dsn, says, kind in (
        (server.dsn(shop.database, password=secret, port=port),
         f"@127.0.0.1:{port}/{shop.database} refused the connection; is the server up", SourceUnavailable),
        (server.dsn(shop.database, password=secret), "refused the sign-in; check user and password", SourceUnavailable),
        (server.dsn("nowhere"), "the database 'nowhere' is not there", SourceError),
        (server.dsn(shop.database, host="no-such-host.invalid"), "the name 'no-such-host.invalid' is not known", SourceUnavailable),
    ):  # fmt: skip
        opened = Connector(Options(dsn=dsn), workspace=workspace, lake=lake)
        with pytest.raises(kind) as caught:
            opened.describe("t", key=["id"])
        assert says in str(caught.value)
        assert secret not in str(caught.value)
        assert server.password not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dsn": "mysql://u:geheim@h:port/d"}, "the dsn of a mysql source is not an address; write mysql://user"),
        ({"dsn": "postgres://u:geheim@h/d"}, "is not an address"),
        ({"dsn": "mysql://u:geheim@h/d?ssl-mode=REQUIRED"}, "has 'ssl-mode', which is not read"),
        ({"dsn": "mysql://u:geheim@h/d", "host": "h"}, "has both a dsn and host"),
        ({"dsn": "mysql://u:geheim@h"}, "has no database"),
        ({"host": "h", "database": "d", "password": "geheim"}, "has no user"),
        ({"host": "h", "database": "d", "user": "u", "port": "70000"}, "the port '70000' is not a number from 1 to 65535"),
        ({"host": "a|b", "database": "d", "user": "u"}, "the host 'a|b' is not one name"),
    ],
)
def test_options_that_are_wrong_are_said(lake: Lake, workspace: Path, options: dict[str, str], says: str) -> None:
    with pytest.raises(SourceError) as caught:
        Connector(Options(**options), workspace=workspace, lake=lake)
    assert says in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_parts_of_the_address_can_be_given_one_by_one(shop: MysqlShop, lake: Lake, workspace: Path) -> None:
    shop.run("create table t (id int primary key)")
    server = shop.server
    options = Options(host="localhost", port=str(server.port), user=server.user, password=server.password, database=shop.database)
    assert Connector(options, workspace=workspace, lake=lake).describe("t", key=["id"]).name == "t"


def test_unknown_table_names_the_nearest(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table orders (id int primary key)")
    with pytest.raises(UnknownName, match="'oders'.*did you mean orders"):
        source.describe("oders", key=["id"])


def test_a_role_that_may_only_read_is_enough_and_nothing_else_is_sent(shop: MysqlShop, lake: Lake, workspace: Path) -> None:
    # of letters alone, so that no escaping hides it
    secret, role = f"geheim{uuid.uuid4().hex}", f"r{uuid.uuid4().hex[:8]}"
    shop.run(f"create user {role} identified via mysql_native_password using password('{secret}')")
    shop.run("create table t (id int primary key, v varchar(10), at datetime)")
    shop.run("create table hidden (id int primary key)")
    shop.run("insert into t values (1, 'x', '2024-01-01')")
    shop.run(f"grant select on `{shop.database}`.t to {role}")
    options = Options(dsn=shop.server.dsn(shop.database, user=role, password=secret))
    opened = Connector(options, workspace=workspace, lake=lake)
    start = shop.server.log.stat().st_size
    table = opened.describe("t", key=["id"])
    mark = opened.high_mark(table, "at")
    assert mark == at("2024-01-01")
    read(opened, table, within=Span("at", low=mark, nulls=True))
    read(opened, table, as_text=True)
    opened.describe("", key=["id"], options=TableOptions(query="select id from t"))
    opened.close()
    said = [
        line.split("\t")[-2:] for line in shop.server.said(start).splitlines() if re.search(r"\b(Query|Connect|Prepare|Execute)\t", line)
    ]
    asked = [words[1] for words in said if words[0].endswith("Query")]
    assert asked
    assert {re.split(r"[\s(]", text.lower())[0] for text in asked} == {"select", "set"}
    assert {text for text in asked if text.lower().startswith("set")} == {"SET NAMES utf8mb4"}
    # what it may not see is not there for it; what is asked for by force is refused
    with pytest.raises(UnknownName):
        opened.describe("hidden", key=["id"])
    with pytest.raises(SourceError, match="SELECT command denied.*grant SELECT"):
        opened.describe("", key=["id"], options=TableOptions(query="select * from hidden"))
    lake.command("system flush logs")
    # the needle is put together by the server, so that this question does not find itself
    held = lake.query(
        "select query, exception from system.query_log where query like concat('%geheim', {s:String}, '%') "
        "or exception like concat('%geheim', {s:String}, '%')",
        {"s": secret.removeprefix("geheim")},
    )
    assert held.to_pylist() == []
    assert lake.scalar("select count() from system.query_log where query like concat('%mysql(%', {r:String}, '%')", {"r": role}) > 0


def test_session_that_is_ended_in_the_middle_is_said(shop: MysqlShop, source: Connector) -> None:
    shop.run("create table t (id int primary key)")
    shop.run("insert into t values (1), (2)")
    query = TableOptions(query="select id, sleep(20) as v from t")
    slow = SourceTable("query", (SourceColumn("id", "Int32", "int"), SourceColumn("v", "Nullable(Int32)", "int")), query)
    admin, done = shop.server.connect(), threading.Event()

    def end() -> None:
        """End every session that sleeps, until the reader has given up: the engine tries again by itself."""
        while not done.wait(0.02):
            for ident, said in admin.run("select id, info from information_schema.processlist where id <> connection_id()"):
                if said and b"sleep(20)" in said:
                    with suppress(MysqlError):
                        admin.run(f"kill connection {int(ident or 0)}")

    ender = threading.Thread(target=end)
    ender.start()
    try:
        with pytest.raises(SourceUnavailable, match="went away in the middle") as caught:
            read(source, slow)
    finally:
        done.set()
        ender.join()
        admin.close()
    assert shop.server.password not in str(caught.value)
