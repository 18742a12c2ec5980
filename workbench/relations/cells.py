"""Values as people read them: of the values that `Lake.values` gives, for tables of text and for the grid. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from workbench.answer import cell_text
from workbench.lake.types import bare

__all__ = ["is_number", "shown_type", "value_of", "written"]

_NUMBER = re.compile(r"(U?Int|B?Float|Decimal)\d*(\(|$)")


def is_number(type_: str) -> bool:
    """Whether a column holds numbers.

    >>> is_number("Nullable(Decimal(10, 2))"), is_number("IntervalDay"), is_number("Array(Int8)")
    (True, False, False)
    """
    return _NUMBER.match(bare(type_)) is not None


def shown_type(type_: str) -> str:
    """A type as a column's head has it: without what is the same for nearly all, and cut when it lists many names.

    >>> shown_type("LowCardinality(Nullable(String))"), shown_type("Enum8('new' = 1, 'paid' = 2)"), shown_type("DateTime64(3, 'UTC')")
    ('String?', 'Enum8', 'DateTime64(3) UTC')
    """
    inner = bare(type_)
    mark = "?" if "Nullable(" in type_[: len(type_) - len(inner)] else ""
    if match := re.fullmatch(r"DateTime(32)?(?:\('.*'\))?|DateTime64\((\d)(?:, '.*')?\)", inner):
        return f"DateTime64({match[2]}){mark} UTC" if match[2] else f"DateTime{mark} UTC"
    if inner.startswith("Enum"):
        return inner.partition("(")[0] + mark
    return (inner if len(inner) <= 40 else inner[:39] + "…") + mark


def value_of(value: Any, type_: str) -> Any:
    """A value for a table of text: numbers as numbers, all else as its text; None stays None."""
    kind = bare(type_)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if kind.startswith("Decimal"):
        return _decimal(value)
    if _NUMBER.match(kind):
        return float(value)
    return _text(value, kind)


def written(value: Any, type_: str, column: str) -> str:
    """A value other than None as its whole text: every digit, thousands separated, times in UTC, lists and maps as JSON."""
    kind = bare(type_)
    if kind.startswith("Decimal"):
        return cell_text(column, _decimal(value))
    if _NUMBER.match(kind):
        return f"{float(value):,}" if isinstance(value, (float, str)) else cell_text(column, value)
    return _text(value, kind)


def _decimal(value: Any) -> Decimal:
    """A decimal; a server whose reader may not ask for it as a text writes it as a number."""
    return Decimal(value if isinstance(value, str) else repr(value))


def _text(value: Any, kind: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return _json(value)
    if kind.startswith("DateTime"):
        return value.replace("T", " ", 1).removesuffix("Z")
    if kind.startswith("FixedString"):
        value = value.rstrip("\0")
    return _readable(value)


def _readable(text: str) -> str:
    """A text; one with bytes that are not UTF-8 as hexadecimal digits, two for each byte."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").hex()
    return text


class _Pairs(dict[str, Any]):
    """An object of JSON that has a name twice."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__({"": None} if pairs else {})
        self._pairs = pairs

    def items(self) -> Any:
        return self._pairs


def _json(value: Any) -> str:
    def plain(one: Any) -> Any:
        if isinstance(one, str):
            return _readable(one)
        if isinstance(one, Mapping):
            return _Pairs([(_readable(k), plain(v)) for k, v in one.items()])
        if isinstance(one, list) and one and isinstance(one[0], tuple):
            return _Pairs([(_readable(k), plain(v)) for k, v in one])
        if isinstance(one, list):
            return [plain(inner) for inner in one]
        return one

    return json.dumps(plain(value), ensure_ascii=False)
