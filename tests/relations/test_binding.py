"""Values of Python as those of ClickHouse: they arrive as they are, or not at all."""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
import uuid
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import UsageError
from workbench.lake import Lake
from workbench.relations.binding import bind

UTC = dt.timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")


def back(lake: Lake, value: Any, type_: str) -> Any:
    """A value that went to the server and came back as its JSON has it."""
    return lake.values(f"select {{x:{type_}}} as x", {"x": bind("x", value, type_)})[1][0][0]


CASES = [
    ("it's \\ a\tb\n\r\0 é𝕏 \x01", "String", None),
    ("", "String", None),
    ("\\N", "Nullable(String)", None),
    ("NULL", "Nullable(String)", None),
    (None, "Nullable(String)", None),
    (["it's\\", None, "", "\n"], "Array(Nullable(String))", None),
    ([], "Array(String)", None),
    ([[1, 2], []], "Array(Array(Int8))", None),
    (-(2**127), "Int128", None),
    (2**256 - 1, "UInt256", None),
    (5, "LowCardinality(Nullable(Int8))", None),
    (Decimal("1.10"), "Decimal(10, 2)", "1.10"),
    (Decimal("-1E+5"), "Decimal(10, 2)", "-100000.00"),
    (0.1, "Decimal(10, 2)", "0.10"),
    ([Decimal("0.01"), None], "Array(Nullable(Decimal(5, 2)))", ["0.01", None]),
    (float("nan"), "Float64", "nan"),
    ([math.inf, 1e300, -0.1], "Array(Float64)", ["inf", 1e300, -0.1]),
    (True, "Bool", None),
    (dt.date(2149, 6, 6), "Date", "2149-06-06"),
    (dt.date(1900, 1, 1), "Date32", "1900-01-01"),
    (dt.datetime(2020, 1, 1, tzinfo=UTC), "DateTime", "2020-01-01T00:00:00Z"),
    (dt.datetime(2020, 1, 1, 1, tzinfo=BERLIN), "DateTime", "2020-01-01T00:00:00Z"),
    (dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "DateTime", "1970-01-01T00:00:01Z"),
    (dt.datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC), "DateTime64(3)", "1969-12-31T23:59:59.500Z"),
    (dt.datetime(1900, 1, 1, 0, 0, 0, 5, tzinfo=UTC), "DateTime64(6)", "1900-01-01T00:00:00.000005Z"),
    (dt.datetime(2025, 7, 1, 12, tzinfo=UTC), "DateTime('Asia/Kolkata')", "2025-07-01T12:00:00Z"),
    # the hour that came twice, both times
    (dt.datetime(2025, 10, 26, 0, 30, tzinfo=UTC), "DateTime('Europe/Berlin')", "2025-10-26T00:30:00Z"),
    (dt.datetime(2025, 10, 26, 1, 30, 0, 120_000, tzinfo=UTC), "DateTime64(3, 'Europe/Berlin')", "2025-10-26T01:30:00.120Z"),
    ([dt.datetime(2020, 1, 1, tzinfo=UTC)], "Array(DateTime64(6))", ["2020-01-01T00:00:00.000000Z"]),
    (uuid.UUID(int=7), "UUID", str(uuid.UUID(int=7))),
    (ipaddress.ip_address("::1"), "IPv6", "::1"),
    ("10.0.0.1", "IPv4", "10.0.0.1"),
    ("it's", "Enum8('it\\'s' = 1, 'b' = 2)", None),
    ({"k": [1, 2]}, "Map(String, Array(Int8))", None),
    (("x", None), "Tuple(String, Nullable(Int8))", ["x", None]),
    ({"a": {"b": 1}}, "JSON", None),
    (np.int32(5), "Int8", 5),
    (np.array([1.5, 2.5]), "Array(Float64)", [1.5, 2.5]),
    (pd.Series(["a", "b"]), "Array(String)", ["a", "b"]),
    (pd.Timestamp("2020-01-01", tz="UTC"), "DateTime", "2020-01-01T00:00:00Z"),
    (pd.NA, "Nullable(Int8)", None),
    (pd.NaT, "Nullable(DateTime)", None),
]


@pytest.mark.parametrize(("value", "type_", "seen"), CASES, ids=[f"{t}-{n}" for n, (_, t, _) in enumerate(CASES)])
def test_a_value_arrives_as_it_is(lake: Lake, value: Any, type_: str, seen: Any) -> None:
    missing = value is None or value is pd.NA or value is pd.NaT
    assert back(lake, value, type_) == (None if missing else value if seen is None else seen)


@pytest.mark.parametrize(
    ("value", "type_", "said"),
    [
        (300, "Int8", "300 does not fit into Int8, which holds -128 to 127"),
        (-1, "UInt64", "-1 does not fit into UInt64"),
        (1.5, "Int32", "1.5 (float) is no Int32"),
        (True, "Int8", "True (bool) is no Int8"),
        ("5", "Int8", "'5' (str) is no Int8"),
        (None, "Int8", "None is no Int8; write Nullable(Int8)"),
        (Decimal("1.239"), "Decimal(10, 2)", "more than 2 digits behind the point"),
        (Decimal("123456789.5"), "Decimal(10, 2)", "more digits than"),
        (Decimal("nan"), "Decimal(10, 2)", "is no Decimal"),
        (2**53 + 1, "Float64", "more digits than Float64 holds"),
        (5, "String", "5 (int) is no text"),
        (b"\xff", "String", "is no text; bind value.hex()"),
        ("\ud800", "String", "half of a letter"),
        ("abcd", "FixedString(3)", "has 4 bytes"),
        (1, "Bool", "a Bool takes True or False"),
        (dt.datetime(2020, 1, 1), "DateTime", "has no zone, so nobody could say which moment it is"),
        (dt.datetime(2020, 1, 1, 0, 0, 0, 5, tzinfo=UTC), "DateTime64(3)", "is finer than DateTime64(3)"),
        (dt.datetime(2300, 1, 1, tzinfo=UTC), "DateTime64(3)", "the years 1900 to 2299"),
        (dt.datetime(2020, 1, 1, tzinfo=UTC), "Date", "of a datetime, its .date()"),
        (dt.date(2020, 1, 1), "DateTime", "a datetime.datetime with a zone"),
        (dt.datetime(2020, 1, 1, tzinfo=UTC), "DateTime('Mars/Olympus')", "no time zone Mars/Olympus"),
        ("abc", "Array(String)", "is no list"),
        ([1, 300], "Array(Int8)", "300 does not fit into Int8"),
        ([1, None], "Array(Int8)", "None is no Int8"),
        ((1, 2), "Tuple(Int8)", "is no tuple of 1"),
        ([1], "Map(String, Int8)", "is no dict"),
        ("refuced", "Enum8('paid' = 1, 'refused' = 2)", "did you mean refused?"),
        ("nonsense", "UUID", "is no UUID"),
        ("1.2.3", "IPv4", "is no IPv4"),
        ({"a": object()}, "JSON", "cannot be written as JSON"),
        (object(), "Point", "cannot be bound as Point"),
        (pd.Timestamp("2020-01-01 00:00:00.000000001", tz="UTC"), "DateTime64(9)", "has nanoseconds"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(value: Any, type_: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        bind("since", value, type_)
    assert str(caught.value).startswith(f"{{since:{type_}}}: ")
    assert said in str(caught.value)


slow = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
whole_moments = st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2105, 1, 1), timezones=st.just(UTC))


@slow
@given(texts=st.lists(st.none() | st.text()))
def test_any_texts_come_back(lake: Lake, texts: list[str | None]) -> None:
    assert back(lake, texts, "Array(Nullable(String))") == texts
    whole = "".join(t or "" for t in texts)
    assert back(lake, whole, "String") == whole


@slow
@given(moment=whole_moments)
def test_any_moment_comes_back_in_any_zone(lake: Lake, moment: dt.datetime) -> None:
    for zone in ("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"):
        assert dt.datetime.fromisoformat(back(lake, moment, f"DateTime64(6, '{zone}')")) == moment


@slow
@given(number=st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12))
def test_any_decimal_comes_back(lake: Lake, number: Decimal) -> None:
    assert Decimal(back(lake, number, "Decimal(20, 4)")) == number
