"""Answers: one set of data, shown as HTML, as text and as JSON."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.answer import Answer, Block, Grid, Heading, Note, format_value, render_html, render_text, to_json

NASTY = "<script>alert('x')</script> & \"q\" [bold red]x[/] :smile: \x1b[31m"
SOMEWHERE = dt.timezone(dt.timedelta(hours=-5))


@dataclass(frozen=True)
class Totals(Answer):
    rows: tuple[tuple[str, Any], ...]

    def to_dict(self) -> Any:
        return dict(self.rows)

    def blocks(self) -> Iterator[Block]:
        yield Heading("Totals")
        yield Grid(["name", "value"], self.rows)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        pytest.param(Decimal("1.90"), "1.90", id="decimal"),
        pytest.param(Decimal("0.0000001"), "0.0000001", id="small decimal"),
        pytest.param(Decimal("1E+3"), "1000", id="decimal with an exponent"),
        pytest.param(dt.date(2012, 1, 2), "2012-01-02", id="date"),
        pytest.param(dt.datetime(2012, 1, 2, 3, 4, 5), "2012-01-02T03:04:05+00:00", id="time without a zone"),
        pytest.param(dt.datetime(2012, 1, 2, 3, 4, 5, 678, SOMEWHERE), "2012-01-02T03:04:05.000678-05:00", id="time with a zone"),
        pytest.param(dt.timedelta(minutes=1.5), 90.0, id="duration"),
        pytest.param(float("nan"), "nan", id="not a number"),
        pytest.param(float("inf"), "inf", id="infinity"),
        pytest.param(b"text", "text", id="bytes of text"),
        pytest.param(b"\xff\x00", "ff00", id="bytes"),
        pytest.param(2**64, 2**64, id="large number"),
        pytest.param({1: (Decimal("2"), None)}, {"1": ["2", None]}, id="nested"),
        pytest.param({"b"}, ["b"], id="set"),
        pytest.param(Totals((("a", Decimal("1.0")),)), {"a": "1.0"}, id="an answer"),
        pytest.param(True, True, id="yes"),
    ],
)
def test_value_as_json(value: Any, data: Any) -> None:
    found = to_json(value)
    assert found == data
    assert type(found) is type(data)
    assert json.loads(json.dumps(found, allow_nan=False)) == data


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals(allow_nan=False) | st.datetimes() | st.dates()
    | st.binary() | st.timedeltas() | st.uuids(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)  # fmt: skip


@settings(deadline=None)
@given(anything)
def test_any_value_is_json_and_text_and_html(value: Any) -> None:
    assert json.loads(json.dumps(to_json(value), allow_nan=False)) == to_json(value)
    assert isinstance(format_value(value), str)
    grid = Grid(["v"], [[value]])
    assert render_html([grid]).endswith("</div>")
    assert render_text([grid], width=200).split()[0] == "v"


@given(st.decimals(allow_nan=False))
def test_decimal_keeps_its_value(value: Decimal) -> None:
    assert Decimal(to_json(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (15607, "15,607"),
        (Decimal("2328.60"), "2,328.60"),
        (1234567.891, "1.23457e+06"),
        (0.5, "0.5"),
        (dt.datetime(2012, 1, 2, 3, 4, 5), "2012-01-02 03:04:05"),
        (dt.datetime(2012, 1, 2, 3, 4, 5, 678000, SOMEWHERE), "2012-01-02 08:04:05.678"),
        (dt.date(2012, 1, 2), "2012-01-02"),
        ([1, "é"], '[1, "é"]'),
        ({"a": Decimal("1.0")}, '{"a": "1.0"}'),
        (b"\xff", "ff"),
        ("plain", "plain"),
    ],
    ids=repr,
)
def test_value_as_people_read_it(value: Any, text: str) -> None:
    assert format_value(value) == text


BLOCKS = [Heading(NASTY), Note(NASTY, "bad"), Grid([NASTY], [[NASTY]], note=NASTY), Grid(["x"], [], empty=NASTY)]


def test_html_has_every_text_escaped() -> None:
    found = render_html(BLOCKS)
    assert "<script" not in found
    # heading, note, head, cell, note of the grid, empty grid
    assert found.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot;q&quot;") >= 6


def test_text_takes_nothing_for_markup() -> None:
    found = render_text(BLOCKS, width=300)
    assert found.count("[bold red]x[/] :smile:") == 6
    assert found.count("<script>") == 6


@pytest.mark.parametrize("colour", [False, True])
def test_no_value_steers_the_terminal(colour: bool) -> None:
    found = render_text([Note("a\x1b[31mb\x07\x9bc"), Grid(["x\x1b[2J"], [["\x1b]0;title\x07\r"]])], width=80, colour=colour)
    for code in ("\x1b[31m", "\x1b[2J", "\x1b]0", "\x07", "\x9b", "\r"):
        assert code not in found
    assert "a␛[31mb␇" in found


def test_keys_have_no_thousands_and_amounts_do() -> None:
    grid = Grid(["customer_id", "amount", "name"], [[12345, 12345, "a"], [None, None, "b"]])
    text = render_text([grid], width=80)
    assert "12345 " in text
    assert "12,345" in text
    page = render_html([grid])
    assert ">12345<" in page
    assert ">12,345<" in page


def test_lines_are_no_wider_than_asked_for() -> None:
    found = render_text([Grid(["v", "w"], [["x" * 500, "y" * 500]])], width=60)
    assert max(map(len, found.splitlines())) <= 60
    assert "…" in found  # what is cut says so


def test_answer_shows_itself_three_ways() -> None:
    answer = Totals((("revenue", Decimal("2328.60")),))
    assert "2,328.60" in str(answer)
    bundle = answer._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "2,328.60" in bundle["text/html"]
    assert bundle["text/plain"] == str(answer)
    assert to_json(answer) == {"revenue": "2328.60"}


def test_empty_grid_says_so() -> None:
    assert render_text([Grid(["a"], [], empty="no rows")]) == "no rows"
    assert "no rows" in render_html([Grid(["a"], [], empty="no rows")])
