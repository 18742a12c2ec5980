"""Folding and applying changes, and the texts of SQL, without a lake."""

from __future__ import annotations

import pytest

from workbench.eidolon import Change, PropertyChange, apply
from workbench.eidolon.history import text_of

AT = (False, "Item", "1")


def change(kind: str, *properties: tuple[str, str | None, str | None]) -> Change:
    return Change("Item", kind, "1", "", False, tuple(PropertyChange(*p) for p in properties))  # type: ignore[arg-type]


def test_apply_leaves_the_first_state_as_it_was() -> None:
    before = {AT: {"name": "Pen"}}
    assert apply(before, [change("changed", ("name", "Pen", None), ("note", None, ""))]) == {AT: {"note": ""}}
    assert before == {AT: {"name": "Pen"}}
    assert apply(before, [change("removed", ("name", "Pen", None))]) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(change("added", ("name", None, "Pen")), id="added twice"),
        pytest.param(change("changed", ("name", "Ink", "Cap")), id="another value before"),
        pytest.param(change("changed", ("note", "", "x")), id="empty text is not no value"),
        pytest.param(Change("Item", "removed", "2", "", False, ()), id="removed but never there"),
        pytest.param(Change("Item", "changed", "1", "", True, ()), id="a link is not an object"),
    ],
)
def test_changes_that_do_not_fit_are_refused(wrong: Change) -> None:
    with pytest.raises(ValueError):
        apply({AT: {"name": "Pen"}}, [wrong])


@pytest.mark.parametrize(
    ("column_type", "text"),
    [
        ("LowCardinality(Nullable(String))", "toString(x)"),
        ("Decimal(38, 4)", "toDecimalString(x, 4)"),
        ("DateTime", "toString(toTimeZone(x, 'UTC'))"),
        ("DateTime64(0, 'Europe/Rome')", "toString(toTimeZone(x, 'UTC'))"),
        ("Nullable(DateTime64(3))", "trimRight(trimRight(toString(toTimeZone(x, 'UTC')), '0'), '.')"),
        ("Date32", "toString(x)"),
    ],
)
def test_values_become_text_by_the_type_of_their_column(column_type: str, text: str) -> None:
    assert text_of("x", column_type) == f"cast({text} as Nullable(String))"
