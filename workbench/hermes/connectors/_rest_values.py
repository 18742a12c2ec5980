"""JSON values as the `rest` connector lands them: which columns some rows have, of which types, and each value as text. Pure."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from workbench.errors import SourceError
from workbench.hermes.connector import SourceColumn
from workbench.lake.sql import quote, quote_text


@dataclass
class Shape:
    """The columns of some rows: the kinds of values in each, the path that each comes from, and which had a null."""

    kinds: dict[str, set[str]]
    paths: dict[str, tuple[tuple[str, ...], str]]
    with_null: set[str]


def collision(where: str, name: str) -> SourceError:
    return SourceError(
        f"{where}: two fields of a row would be the column {name}",
        hint="set `flatten: 0`, so that objects land as JSON text, or name the object under `types:` as String",
    )


class Number(str):
    """A number as it stands in the JSON, with all its digits."""

    __slots__ = ()


def parse_json(body: bytes, charset: str | None) -> Any:
    """JSON with numbers as `Number`; UTF-8, -16 or -32, or what the server says."""
    text: str | bytes = body
    marks = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
    if charset and charset.lower().replace("_", "-") not in ("utf-8", "utf8") and not body.startswith(marks):
        text = body.decode(charset)
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=Number)


def text_of(value: Any) -> str:
    """A value as text: text as it is, a number as it stands, `true` and `false`, objects and lists as JSON."""
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def shown(value: Any) -> str:
    text = _json(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def learn(rows: Sequence[Mapping[str, Any]], types: Iterable[str], nulls: frozenset[str], levels: int, where: str) -> Shape:
    """The columns of some rows, in the order seen; those of `types` that no row has come last.

    Objects up to `levels` deep give columns of their own. A field that is an object in one row and something else in another is one
    column, as are those named in `types`.

    Raises:
        SourceError: two fields would be one column.
    """
    whole = set(types)
    while True:
        shape, opened, counts = Shape({}, {}, set()), set[str](), Counter[str]()
        for row in rows:
            for path, key, name, value in _fields(row, (), "", whole, levels, opened):
                if shape.paths.setdefault(name, (path, key)) != (path, key):
                    raise collision(where, name)
                kinds = shape.kinds.setdefault(name, set())
                if not is_null(value, nulls):
                    kinds.add(_kind(value))
                    counts[name] += 1
        mixed = {n for n in opened if shape.kinds.get(n)}
        if not mixed:
            break
        whole |= mixed
    for name in opened & shape.kinds.keys():  # null in some rows, an object in others
        del shape.kinds[name], shape.paths[name]
    for name in types:
        shape.kinds.setdefault(name, set())
    shape.with_null.update(n for n in shape.kinds if counts[n] < len(rows))
    return shape


def _fields(
    row: Mapping[str, Any], path: tuple[str, ...], prefix: str, whole: set[str], levels: int, opened: set[str]
) -> Iterator[tuple[tuple[str, ...], str, str, Any]]:
    """The fields of a row, those of its objects among them: path, key, column, value. `opened` gets the names of the objects."""
    for key, value in row.items():
        name = prefix + key
        if isinstance(value, dict) and len(path) < levels and name not in whole:
            opened.add(name)
            yield from _fields(value, (*path, key), f"{name}_", whole, levels, opened)
        else:
            yield path, key, name, value


def is_null(value: Any, nulls: frozenset[str]) -> bool:
    """Whether a value is null, or a text that means it."""
    return value is None or (bool(nulls) and isinstance(value, str) and value in nulls and not isinstance(value, Number))


def _kind(value: Any) -> str:
    """The kind of a value that is not null."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, Number):
        if re.fullmatch(r"-?\d+", value):
            whole = int(value) if len(value) <= 20 else 2**64
            return "integer" if abs(whole) <= 2**53 else "long" if -(2**63) <= whole < 2**63 else "large"
        return "large" if value[-1].isdigit() and abs(float(value)) == float("inf") else "number"
    if isinstance(value, str):
        if 10 <= len(value) <= 40 and value[:4].isdigit():
            for kind, write in (("date", _write_day), ("time", _write_time)):
                with suppress(ValueError):
                    write(value)
                    return "time" if len(value) > 10 else kind
        return "text"
    return "object" if isinstance(value, dict) else "list"


def type_of(kinds: set[str]) -> tuple[str, str]:
    """The ClickHouse type of a column, without Nullable, and what to call its type at the source.

    >>> type_of({"integer", "number"}), type_of({"integer", "text"}), type_of({"time", "date"})
    (('Float64', 'number'), ('String', 'mixed: integer, text'), ("DateTime64(6, 'UTC')", 'time'))
    """
    named = {"integer" if k == "long" else "number" if k == "large" else k for k in kinds}
    if kinds and kinds <= {"integer", "long"}:
        return "Int64", "integer"
    if kinds and kinds <= {"integer", "number"}:
        return "Float64", "number"
    if kinds and kinds <= {"time", "date"}:
        return ("Date32", "date") if kinds == {"date"} else ("DateTime64(6, 'UTC')", "time")
    if kinds == {"boolean"}:
        return "Bool", "boolean"
    return "String", f"mixed: {', '.join(sorted(named))}" if len(named) > 1 else next(iter(named), "null")


def bare(type_: str) -> str:
    """A type without Nullable and LowCardinality.

    >>> bare("LowCardinality(Nullable(String))"), bare("Nullable(Decimal(10, 2))")
    ('String', 'Decimal(10, 2)')
    """
    while match := re.fullmatch(r"(?:Nullable|LowCardinality)\((.*)\)", type_):
        type_ = match[1]
    return type_


def takes_null(type_: str) -> bool:
    return type_.startswith(("Nullable(", "LowCardinality(Nullable(", "Dynamic", "Variant"))


def expression(column: SourceColumn) -> str:
    """The engine's text as the column's type."""
    name, type_ = f"source.{quote(column.name)}", bare(column.type)
    if type_.startswith("DateTime"):
        # the text is in UTC, whatever the zone of the column
        return f"cast(accurateCast({name}, {quote_text(_in_utc(type_))}) as {column.type})"
    if type_ == "String" and column.type.startswith("Nullable("):
        return name
    return f"accurateCast({name}, {quote_text(column.type)})"


def _in_utc(type_: str) -> str:
    return f"Nullable(DateTime64({max(6, _scale(type_))}, 'UTC'))"


def _scale(type_: str) -> int:
    """The digits of a second that a DateTime or DateTime64 keeps."""
    match = re.match(r"DateTime64\((\d)", type_)
    return int(match[1]) if match else 3 if type_ == "DateTime64" else 0


_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,12}))?\s?(Z|z|[+-]\d\d(?::?\d\d)?)?)?")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")


def writer(type_: str) -> Callable[[Any], str]:
    """What gives the text that the engine casts to a type, and raises ValueError for a value that does not fit.

    A type that is not known here (UUID, Enum ...) takes every text: the engine judges.
    """
    base = bare(type_)
    if match := re.fullmatch(r"(U?)Int(8|16|32|64|128|256)", base):
        bits = int(match[2])
        return _whole_writer(0, 2**bits - 1) if match[1] else _whole_writer(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if base in ("Float64", "Float32"):
        return _write_float
    if match := re.fullmatch(r"Decimal\((\d+), ?(\d+)\)", base):
        return _decimal_writer(int(match[1]), int(match[2]))
    if match := re.fullmatch(r"Decimal(32|64|128|256)\((\d+)\)", base):
        return _decimal_writer({"32": 9, "64": 18, "128": 38, "256": 76}[match[1]], int(match[2]))
    if base == "Bool":
        return _write_bool
    if base in ("Date", "Date32"):
        lowest, highest = ("1900-01-01", "2299-12-31") if base == "Date32" else ("1970-01-01", "2149-06-06")
        return _day_writer(lowest, highest)
    if base.startswith("DateTime"):
        is_long = base.startswith("DateTime64")
        return _time_writer(_scale(base), *(("1900-01-01", "2300-01-01") if is_long else ("1970-01-01", "2106-02-07")))
    if base.startswith("Array("):
        return _array_text
    return text_of


def _plain(value: Any) -> Decimal:
    """A JSON number, or a text that is written like one, as it is."""
    if not isinstance(value, str) or not _JSON_NUMBER.fullmatch(value) or len(value) > 1000:
        raise ValueError
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError from None
    if number and not -400 < number.adjusted() < 400:
        raise ValueError
    return number


def _whole_writer(lowest: int, highest: int) -> Callable[[Any], str]:
    def write(value: Any) -> str:
        number = _plain(value)
        if number != int(number) or not lowest <= int(number) <= highest:
            raise ValueError
        if not isinstance(value, Number) and not re.fullmatch(r"-?\d+", value):
            raise ValueError
        return str(int(number))

    return write


def _write_float(value: Any) -> str:
    if isinstance(value, Number) and value in ("NaN", "Infinity", "-Infinity"):
        return value.lower().replace("infinity", "inf")
    if not isinstance(value, str) or not _JSON_NUMBER.fullmatch(value) or abs(float(value)) == float("inf"):
        raise ValueError
    if re.fullmatch(r"-?\d+", value) and float(value) != int(value):
        raise ValueError  # a long number would lose its last digits
    return str(value)


def _decimal_writer(precision: int, scale: int) -> Callable[[Any], str]:
    def write(value: Any) -> str:
        number = _plain(value)
        text = format(number, "f")
        whole, _, fraction = text.lstrip("-").partition(".")
        if len(fraction.rstrip("0")) > scale or len(whole.lstrip("0")) > precision - scale:
            raise ValueError
        return text

    return write


def _write_bool(value: Any) -> str:
    text = text_of(value)
    if isinstance(value, bool) or text in ("true", "false"):
        return text
    if isinstance(value, Number) and text in ("0", "1"):
        return "true" if text == "1" else "false"
    raise ValueError


def _moment(value: Any) -> tuple[dt.datetime, str]:
    """A time in UTC to the second, and the digits of its fraction."""
    if isinstance(value, Number):  # seconds since 1970
        number = _plain(value)
        if not -(10**11) < number < 10**11:
            raise ValueError
        seconds = int(number // 1)
        fraction = format(number - seconds, "f").partition(".")[2] if number >= 0 else ""
        if number < 0 and number != seconds:
            raise ValueError
        return dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds), fraction.rstrip("0")
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError
    at = dt.datetime.fromisoformat(f"{match[1]} {match[2] or '00:00'}")
    if zone := match[4]:
        if zone in "Zz":
            zone = "+00:00"
        sign = -1 if zone[0] == "-" else 1
        digits = zone[1:].replace(":", "").ljust(4, "0")
        try:
            at -= sign * dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        except OverflowError:
            raise ValueError from None
    return at, (match[3] or "").rstrip("0")


def _time_writer(scale: int, lowest: str, before: str) -> Callable[[Any], str]:
    def write(value: Any) -> str:
        at, fraction = _moment(value)
        text = at.isoformat(" ")
        if len(fraction) > scale or not lowest <= text < before:
            raise ValueError
        return f"{text}.{fraction.ljust(6, '0')}"

    return write


def _day_writer(lowest: str, highest: str) -> Callable[[Any], str]:
    def write(value: Any) -> str:
        if isinstance(value, Number):
            raise ValueError
        at, fraction = _moment(value)
        day, _, clock = at.isoformat(" ").partition(" ")
        if clock != "00:00:00" or fraction or not lowest <= day <= highest:
            raise ValueError
        return day

    return write


def _array_text(value: Any) -> str:
    """A list as the engine reads an array; text as it is."""
    if not isinstance(value, list):
        return text_of(value)

    def item(one: Any) -> str:
        if isinstance(one, list):
            return _array_text(one)
        return "NULL" if one is None else quote_text(one) if isinstance(one, str) and not isinstance(one, Number) else text_of(one)

    return f"[{','.join(map(item, value))}]"


_write_day, _write_time = writer("Date32"), writer("DateTime64(6, 'UTC')")
