"""The types a property can have: how a value is read, how it is bound to a statement, which columns it can hold.

Pure. A value given by a person (text from a command line, or a Python value) becomes one plain Python value; a bound
parameter is that value in the form the lake's server parses exactly.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

__all__ = ["NUMBER_FORMAT", "PROPERTY_TYPES", "PropertyType", "bare_type", "check_format", "show_value"]

_FIRST, _LAST = 1900, 2299  # the years that the lake's widest date types hold


@dataclass(frozen=True)
class PropertyType:
    """One property type. `reads` matches the bare ClickHouse types of the columns it can stand for."""

    name: str
    group: str
    reads: str
    _parse: Callable[[Any], Any]
    _clickhouse: Callable[[Sequence[Any]], str]
    _bind: Callable[[Any], Any]

    def parse(self, value: Any) -> Any:
        """One value out of text or a Python value. ValueError, saying what is wrong, when it is not of this type."""
        return self._parse(value)

    def bind(self, value: Any) -> tuple[str, Any]:
        """The ClickHouse type and the parameter for one parsed value."""
        return self._clickhouse([value]), self._bind(value)

    def bind_many(self, values: Sequence[Any]) -> tuple[str, list[Any]]:
        """The ClickHouse array type and the parameter for several parsed values."""
        return f"Array({self._clickhouse(values)})", [self._bind(v) for v in values]

    def holds(self, column_type: str) -> bool:
        """Whether every value of a column of this ClickHouse type is a value of this property type.

        >>> integer = PROPERTY_TYPES["integer"]
        >>> integer.holds("LowCardinality(Nullable(Int64))"), integer.holds("String")
        (True, False)
        """
        return re.match(rf"(?:{self.reads})(?:\(|$)", bare_type(column_type)) is not None

    def readable(self, column_type: str, sql: str) -> str:
        """The SQL of a value for an answer: of a type that Arrow has, where that of the column is one it writes as plain bits.

        `column_type` is '' where nobody knows it, as of an expression.

        >>> PROPERTY_TYPES["timestamp"].readable("DateTime", "`at`"), PROPERTY_TYPES["integer"].readable("Int64", "`id`")
        ("toDateTime64(`at`, 0, 'UTC')", '`id`')
        """
        bare = bare_type(column_type)
        name = bare.partition("(")[0]
        if self.group == "timestamp" and not name:
            return f"toDateTime64({sql}, 6, 'UTC')"
        if self.group == "timestamp" and name in ("DateTime", "DateTime32"):
            return f"toDateTime64({sql}, 0, 'UTC')"
        if self.group == "string" and (not name or re.match("Enum|FixedString|IPv|U?Int(?:128|256)|BFloat|DateTime(?!64)", name)):
            return f"toString({sql})"
        if self.group == "number" and re.match("U?Int(?:128|256)", name):
            return f"toDecimal256({sql}, 0)"
        return f"toFloat32({sql})" if name == "BFloat16" else sql

    def joins(self, other: PropertyType) -> bool:
        """Whether values of the two types can be equal, so that a link may join them."""
        return self.group == other.group


def bare_type(column_type: str) -> str:
    """A ClickHouse type without its Nullable and LowCardinality."""
    bare = column_type.strip()
    while found := re.fullmatch(r"(?:Nullable|LowCardinality)\((.*)\)", bare, re.DOTALL):
        bare = found[1]
    return bare


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError("is not a whole number")
    if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?[0-9]+\s*", value):
        raise ValueError("is not a whole number")
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("is not a whole number") from None
    if isinstance(value, Decimal) and number != value:
        raise ValueError("is not a whole number")
    if not -(2**63) <= number < 2**64:
        raise ValueError("is more than 64 bits hold")
    return number


def _integer_type(values: Sequence[Any]) -> str:
    """The narrowest type that holds every value; above all of Int64 are the keys that hashes make."""
    if max(values, default=0) < 2**63:
        return "Int64"
    return "UInt64" if min(values) >= 0 else "Int128"


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool):
        raise ValueError("is not a decimal number")
    try:
        # Python's own grammar allows 1_000; nobody means that here
        number = value if isinstance(value, Decimal) else Decimal(str(value).strip().replace("_", "?"))
    except InvalidOperation:
        raise ValueError("is not a decimal number") from None
    if not number.is_finite():
        raise ValueError("is not a decimal number")
    scale, digits = _scale(number), len(number.as_tuple().digits)
    if scale > 38 or max(digits + int(number.as_tuple().exponent), 1) + scale > 38:
        raise ValueError("has more than 38 digits")
    return number


def _scale(number: Decimal) -> int:
    """Digits after the point."""
    return max(-int(number.as_tuple().exponent), 0)


def _number(value: Any) -> float:
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        raise ValueError("is not a number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("is not a number") from None
    if number != number:
        raise ValueError("is not a number that anything can be compared with")
    return number


def _string(value: Any) -> str:
    if not isinstance(value, str):
        if isinstance(value, (bytes, Mapping, list, tuple, set)):
            raise ValueError("is not text")
        value = str(value)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("is not text that UTF-8 can write") from None
    return str(value)


def _boolean(value: Any) -> bool:
    word = str(value).strip().casefold()
    if word in ("true", "yes", "1"):
        return True
    if word in ("false", "no", "0"):
        return False
    raise ValueError("is neither true nor false")


def _in_range(year: int) -> None:
    if not _FIRST <= year <= _LAST:
        raise ValueError(f"is outside the years {_FIRST} to {_LAST} that the lake keeps")


def _date(value: Any) -> dt.date:
    if isinstance(value, dt.datetime):
        raise ValueError("is a time, not a day")
    try:
        day = value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value).strip())
    except ValueError:
        raise ValueError("is not a day like 2026-01-31") from None
    _in_range(day.year)
    return day


def _timestamp(value: Any) -> dt.datetime:
    """An aware time in UTC; a time without a zone is UTC, a day alone is its midnight."""
    if isinstance(value, dt.datetime):
        moment = value
    elif isinstance(value, dt.date):
        moment = dt.datetime(value.year, value.month, value.day)
    else:
        try:
            moment = dt.datetime.fromisoformat(str(value).strip())
        except ValueError:
            raise ValueError("is not a time like 2026-01-31T12:00:00Z") from None
    _in_range(moment.year)
    utc = moment.astimezone(dt.timezone.utc) if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)
    _in_range(utc.year)
    return utc


def _decimal_type(values: Sequence[Any]) -> str:
    """The narrowest scale that holds every value exactly: a comparison then rounds nothing."""
    scale = max(map(_scale, values), default=0)
    whole = max((max(len(v.as_tuple().digits) + int(v.as_tuple().exponent), 1) for v in values), default=1)
    return f"Decimal({38 if whole + scale <= 38 else 76}, {scale})"


def _same(value: Any) -> Any:
    return value


_INTS = r"U?Int(?:8|16|32|64|128|256)"
_DECIMALS = r"Decimal(?:32|64|128|256)?"
_FLOATS = r"B?Float(?:16|32|64)"
_DATES, _TIMES = "Date(?:32)?", "DateTime(?:32|64)?"

PROPERTY_TYPES: Mapping[str, PropertyType] = {
    kind.name: kind
    for kind in (
        PropertyType("integer", "number", _INTS, _integer, _integer_type, _same),
        PropertyType("decimal", "number", f"{_DECIMALS}|{_INTS}", _decimal, _decimal_type, _same),
        PropertyType("number", "number", f"{_FLOATS}|{_DECIMALS}|{_INTS}", _number, lambda _: "Float64", _same),
        # every single value can be read as text; arrays, maps and the like are not single values
        PropertyType(
            "string",
            "string",
            r"(?!Array|Map|Tuple|Nested|JSON|Object|Variant|Dynamic|AggregateFunction)\w+",
            _string,
            lambda _: "String",
            _same,
        ),
        PropertyType("boolean", "boolean", "Bool|U?Int8", _boolean, lambda _: "Bool", int),
        PropertyType("date", "date", _DATES, _date, lambda _: "Date32", lambda v: v.isoformat()),
        # as text: the driver binds a datetime to the second only
        PropertyType(
            "timestamp",
            "timestamp",
            f"{_TIMES}|{_DATES}",
            _timestamp,
            lambda _: "DateTime64(6, 'UTC')",
            lambda v: v.strftime("%Y-%m-%d %H:%M:%S.%f"),
        ),
    )
}


NUMBER_FORMAT = re.compile(r"\+?,?(?:\.[0-9]{1,2})?[dfeg%]?")
_DATE_CODES, _TIME_CODES = frozenset("YmdbBaAjyeUGV%"), frozenset("HMSIpfZz")


def check_format(format: str, type: str) -> str:
    """Why a format cannot show values of a property type; '' when it can.

    Numbers take Python's short form (`,.2f`, `.1%`, `d`), dates and times strftime codes (`%d %b %Y`, `%H:%M`).

    >>> check_format(",.2f", "decimal"), check_format("%d.%m.%Y", "date")
    ('', '')
    >>> check_format(".2f", "date")
    'a date is shown by codes like %d %b %Y'
    """
    if type in ("integer", "decimal", "number"):
        if not format or not NUMBER_FORMAT.fullmatch(format) or (format.endswith("d") and ("." in format or type != "integer")):
            return f"{'an' if type == 'integer' else 'a'} {type} is shown by a form like ,.2f or .1%" + (" or d" * (type == "integer"))
        return ""
    if type in ("date", "timestamp"):
        codes = re.findall(r"%(.?)", format, re.DOTALL)
        allowed = _DATE_CODES | (_TIME_CODES if type == "timestamp" else frozenset())
        if not any(code != "%" for code in codes) or not set(codes) <= allowed:
            return f"a {type} is shown by codes like {'%d %b %Y' if type == 'date' else '%Y-%m-%d %H:%M'}"
        return ""
    return f"values of type {type} have no format"


def show_value(value: Any, format: str) -> str:
    """A value by a format that `check_format` accepts; times in UTC; '' for None. What the format cannot show, as it is."""
    if value is None:
        return ""
    try:
        if isinstance(value, dt.datetime):
            return (value.astimezone(dt.timezone.utc) if value.tzinfo else value).strftime(format)
        return value.strftime(format) if isinstance(value, dt.date) else f"{value:{format}}"
    except (ValueError, TypeError):
        return str(value)
