"""The laws of the watermark."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import UsageError
from workbench.hermes.watermark import Watermark, parse_duration

zones = st.integers(-14 * 60, 14 * 60).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
times = st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29), timezones=st.none() | zones)
values = st.one_of(times, st.integers(), st.text())
pairs = st.one_of(st.tuples(times, times), st.tuples(st.integers(), st.integers()), st.tuples(st.text(), st.text()))


@given(values)
def test_kept_form_is_read_back_as_the_same_watermark(value: dt.datetime | int | str) -> None:
    mark = Watermark(value)
    assert Watermark.parse(mark.kind, mark.text()) == mark


@given(pairs)
def test_of_two_watermarks_one_is_later_unless_they_are_equal(pair: tuple[int, int]) -> None:
    a, b = Watermark(pair[0]), Watermark(pair[1])
    assert a.later_than(b) + b.later_than(a) + (a == b) == 1


@given(times, times)
def test_kept_forms_of_times_sort_as_the_times_do(a: dt.datetime, b: dt.datetime) -> None:
    assert (Watermark(a).text() < Watermark(b).text()) == Watermark(b).later_than(Watermark(a))


@given(values, st.floats(0, 1e12))
def test_lookback_never_goes_forward(value: dt.datetime | int | str, lookback: float) -> None:
    mark = Watermark(value)
    back = mark.back(lookback)
    assert back.kind == mark.kind
    if not (mark.kind == "time" and back.text().startswith("1900-01-01")):  # the floor of times
        assert not back.later_than(mark)
    assert mark.back(0) == mark


@given(times, st.integers(0, 10**9))
def test_lookback_of_a_time_is_in_seconds(value: dt.datetime, seconds: int) -> None:
    mark = Watermark(value)
    back = mark.back(seconds)
    assert isinstance(mark.value, dt.datetime)
    assert isinstance(back.value, dt.datetime)
    if back.text()[:10] != "1900-01-01":
        assert mark.value - back.value == dt.timedelta(seconds=seconds)


@given(values, values)
def test_of_another_kind_is_later_for_the_column_has_changed(a: dt.datetime | int | str, b: dt.datetime | int | str) -> None:
    if Watermark(a).kind != Watermark(b).kind:
        assert Watermark(a).later_than(Watermark(b))
    assert Watermark(a).later_than(None)


def test_time_without_a_zone_is_utc_and_every_zone_becomes_utc() -> None:
    plain = Watermark(dt.datetime(2024, 1, 1, 12))
    there = Watermark(dt.datetime(2024, 1, 1, 14, tzinfo=dt.timezone(dt.timedelta(hours=2))))
    assert plain == there
    assert plain.text() == "2024-01-01 12:00:00.000000"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5 minutes", 300), ("1 minute", 60), ("90s", 90), ("hour", 3600), ("1.5 h", 5400),
     ("2 days", 172800), ("1 week", 604800), ("10 MIN", 600)],
)  # fmt: skip
def test_duration_reads_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "minutes 5", "5 fortnights", "-5 minutes", "5 minutes ago", "1e3 s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration; write it as"):
        parse_duration(text)
