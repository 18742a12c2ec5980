"""What Arrow has as numbers and bytes is shown as what it means."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from workbench.lake import Lake

UTC = dt.timezone.utc


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("toDateTime('2026-01-31 12:00:00', 'UTC')", dt.datetime(2026, 1, 31, 12, tzinfo=UTC), id="time"),
        pytest.param("toDateTime('2026-01-31 12:00:00', 'Asia/Tokyo')", dt.datetime(2026, 1, 31, 3, tzinfo=UTC), id="time of a zone"),
        pytest.param("cast(null as Nullable(DateTime))", None, id="no time"),
        pytest.param(r"cast('it\'s' as Enum8('new' = 1, 'it\'s' = -2))", "it's", id="enum"),
        pytest.param("cast('b' as Nullable(Enum16('a' = 1, 'b' = 300)))", "b", id="enum of 16 bits"),
        pytest.param("toIPv4('10.0.0.255')", "10.0.0.255", id="IPv4"),
        pytest.param("toIPv6('2001:db8::1')", "2001:db8::1", id="IPv6"),
        pytest.param("toIPv6('::ffff:10.0.0.1')", "::ffff:10.0.0.1", id="IPv4 in IPv6"),
        pytest.param("toInt128('-170141183460469231731687303715884105728')", Decimal(-(2**127)), id="Int128"),
        pytest.param("bitNot(toUInt256(0))", str(2**256 - 1), id="UInt256"),
        pytest.param("toUInt32(7)", 7, id="a number that is one"),
        pytest.param("toLowCardinality(toDateTime(0, 'UTC'))", dt.datetime(1970, 1, 1, tzinfo=UTC), id="in a dictionary"),
    ],
)  # fmt: skip
def test_values_are_what_their_types_mean(lake: Lake, value: str, expected: Any) -> None:
    settings = {"allow_suspicious_low_cardinality_types": 1}
    sql = f"select {value} as v, 'x' as v2 -- and no more"
    table = lake.meaning(lake.query(sql, settings=settings), sql)
    assert table.column(0).to_pylist() == [expected]
    assert lake.meaning(lake.query(f"select * from ({sql}\n) where false"), f"select * from ({sql}\n) where false").num_rows == 0


def test_other_statements_pass(lake: Lake) -> None:
    for sql in ("show databases", "select 1, 1, now()", "describe (select 1)"):
        table = lake.query(sql)
        assert lake.meaning(table, sql).column_names == table.column_names
    sql = "select {t:DateTime} as at, {n:UInt32} as n;"
    table = lake.meaning(lake.query(sql.rstrip(";"), {"t": "2026-01-01 00:00:00", "n": 5}), sql, {"t": "2026-01-01 00:00:00", "n": 5})
    assert table.to_pylist() == [{"at": dt.datetime(2026, 1, 1, tzinfo=UTC), "n": 5}]
