"""Values of Python for the placeholders of a statement, each written as its ClickHouse type takes it.

Pure. The server would cut what does not fit (300 as Int8 is 44 to it, 1.239 as Decimal(10, 2) is 1.23), so that is refused here: a
value arrives as it is, or not at all.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from workbench.errors import UsageError, nearest

__all__ = ["Bound", "bind"]


class Bound:
    """The text of a value, as the server takes it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Bound({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bound) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def bind(name: str, value: Any, type_: str) -> Bound:
    r"""A value for `{name:Type}`.

    >>> bind("x", ["it's", None], "Array(Nullable(String))")
    Bound("['it\\'s', NULL]")

    Raises:
        UsageError: it is no value of that type, or would lose something on the way; says which and what to do.
    """
    try:
        return Bound(_write(_plain(value), type_.strip(), top=True))
    except _Misfit as misfit:
        what = str(misfit) or f"{_named(value)} is no {type_}"
        raise UsageError(f"{{{name}:{type_}}}: {what}", hint=misfit.hint) from None


class _Misfit(Exception):
    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint or None


def _named(value: Any) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _plain(value: Any) -> Any:
    """Values of NumPy and pandas as those of Python; their ways to say nothing as None."""
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    if module == "pandas" and kind.__name__ in ("NAType", "NaTType"):
        return None
    if module == "pandas" and kind.__name__ == "Timestamp":
        if value.nanosecond:
            raise _Misfit(f"{_named(value)} has nanoseconds", hint="round it to microseconds")
        return value.to_pydatetime()
    if module in ("numpy", "pandas") and hasattr(value, "tolist"):
        return value.tolist()
    if module == "pyarrow" and hasattr(value, "as_py"):
        return value.as_py()
    if module == "pyarrow" and hasattr(value, "to_pylist"):
        return value.to_pylist()
    return value


def _write(value: Any, type_: str, *, top: bool = False) -> str:
    """A value as the server reads it: at the top as a field of a TSV file, inside others as a literal."""
    value = _plain(value)
    outer, inner = _split(type_)
    if outer in ("Nullable", "LowCardinality"):
        if value is None and (outer == "Nullable" or inner.startswith("Nullable(")):
            return "\\N" if top else "NULL"
        return _write(value, inner, top=top)
    if value is None and outer not in ("Dynamic", "Variant"):
        raise _Misfit(f"None is no {type_}", hint=f"write Nullable({type_}), or give it a value")
    if outer in _OUTER:
        return _OUTER[outer](value, inner)
    for pattern, write in _SIMPLE:
        if match := re.fullmatch(pattern, type_, re.DOTALL):
            text = write(value, match)
            return text if isinstance(text, _Number) else _escaped(text) if top else f"'{_escaped(text)}'"
    if isinstance(value, str):  # a type that is not known here: the server judges
        return _escaped(value) if top else f"'{_escaped(value)}'"
    raise _Misfit(f"{_named(value)} cannot be bound as {type_}", hint="write it as a str, or cast inside the statement")


class _Number(str):
    """The text of a number, which takes no quotes."""


_MARKS = {"\\": "\\\\", "'": "\\'", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\b": "\\b", "\f": "\\f"}


def _escaped(text: str) -> str:
    return "".join(_MARKS.get(letter, letter) for letter in text)


def _split(type_: str) -> tuple[str, str]:
    """`Array(Int8)` as Array and Int8; a type without others inside as itself."""
    match = re.fullmatch(r"(\w+)\s*\((.*)\)", type_, re.DOTALL)
    return (match[1], match[2].strip()) if match else (type_, "")


def _parts(inner: str) -> list[str]:
    """The types of a Tuple or Map.

    >>> _parts("String, Map(String, Enum8('a, b' = 1)), Int8")
    ['String', "Map(String, Enum8('a, b' = 1))", 'Int8']
    """
    parts, depth = [""], 0
    for piece in re.findall(r"'(?:[^'\\]|\\.)*'|.", inner, re.DOTALL):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts if part.strip()]


# --- values that hold others


def _array(value: Any, inner: str) -> str:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise _Misfit(f"{_named(value)} is no list", hint=f"an Array({inner}) takes a list")
    return f"[{', '.join(_write(one, inner) for one in value)}]"


def _tuple(value: Any, inner: str) -> str:
    types = _parts(inner)
    if not isinstance(value, (tuple, list)) or len(value) != len(types):
        raise _Misfit(f"{_named(value)} is no tuple of {len(types)}")
    bare = [re.sub(r"^(?:\w+|`[^`]*`)\s+(?=\w)", "", one) for one in types]  # a Tuple may name its parts
    written = [_write(one, type_) for one, type_ in zip(value, bare, strict=True)]
    return f"({', '.join(written)}{',' if len(written) == 1 else ''})"


def _map(value: Any, inner: str) -> str:
    key, content = _parts(inner)
    if not isinstance(value, Mapping):
        raise _Misfit(f"{_named(value)} is no dict")
    return "{" + ", ".join(f"{_write(k, key)}: {_write(v, content)}" for k, v in value.items()) + "}"


_OUTER: Mapping[str, Callable[[Any, str], str]] = {"Array": _array, "Tuple": _tuple, "Map": _map}


# --- values by themselves


def _integer(value: Any, match: re.Match[str]) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal, float)) or (not isinstance(value, int) and value != value // 1):
        raise _Misfit
    number = int(value)
    bits, is_signed = int(match[2]), not match[1]
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
    if not low <= number <= high:
        raise _Misfit(f"{number} does not fit into {match[0]}, which holds {low} to {high}", hint="write a wider type")
    return _Number(number)


def _decimal(value: Any, match: re.Match[str]) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        raise _Misfit
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise _Misfit from None
    if not number.is_finite():
        raise _Misfit
    digits, scale = int(match[3] or {"32": 9, "64": 18, "128": 38, "256": 76}[match[1]]), int(match[4] or match[2])
    exponent = int(number.normalize().as_tuple().exponent)
    if number and -exponent > scale:
        raise _Misfit(f"{number} has more than {scale} digits behind the point", hint="round it, or write a Decimal with more")
    if number and number.adjusted() >= digits - scale:
        raise _Misfit(f"{number} has more digits than {match[0]} holds", hint="write a wider Decimal")
    return _Number(f"{number:f}")


def _float(value: Any, match: re.Match[str]) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise _Misfit
    number = float(value)
    if math.isinf(number) and value not in (math.inf, -math.inf):
        raise _Misfit(f"{value} is too large for {match[0]}")
    if isinstance(value, int) and int(number) != value:
        raise _Misfit(f"{value} has more digits than {match[0]} holds", hint="write Int64 or a Decimal")
    return _Number(repr(number))


def _text(value: Any, match: re.Match[str]) -> str:
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise _Misfit(f"{_named(value)} is no text", hint="bind value.hex() and write unhex({name:String})") from None
    if not isinstance(value, str):
        raise _Misfit(f"{_named(value)} is no text", hint="give it as str(...), or write the type that it has")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise _Misfit(f"{_named(value)} holds half of a letter, which is no text") from None
    if match.lastindex and size > int(match[1]):
        raise _Misfit(f"{_named(value)} has {size} bytes, {match[0]} holds {match[1]}")
    return value


def _boolean(value: Any, match: re.Match[str]) -> str:
    if not isinstance(value, bool):
        raise _Misfit(hint="a Bool takes True or False")
    return _Number("true" if value else "false")


def _date(value: Any, match: re.Match[str]) -> str:
    if isinstance(value, dt.datetime) or not isinstance(value, dt.date):
        raise _Misfit(hint="a Date takes a datetime.date; of a datetime, its .date()")
    first, last = (dt.date(1900, 1, 1), dt.date(2299, 12, 31)) if match[1] else (dt.date(1970, 1, 1), dt.date(2149, 6, 6))
    if not first <= value <= last:
        raise _Misfit(f"{value} does not fit into {match[0]}, which holds {first} to {last}", hint="" if match[1] else "write Date32")
    return str(value.isoformat())


def _time(value: Any, match: re.Match[str]) -> str:
    if not isinstance(value, dt.datetime):
        raise _Misfit(hint="it takes a datetime.datetime with a zone")
    if value.utcoffset() is None:
        raise _Misfit(
            f"{value} has no zone, so nobody could say which moment it is", hint="give it one: value.replace(tzinfo=timezone.utc)"
        )
    digits, zone = (int(match[2]) if match[2] else 0), match[3] or match[5] or "UTC"
    if value.microsecond % 10 ** max(0, 6 - digits):
        raise _Misfit(f"{value} is finer than {match[0]}", hint="write DateTime64(6), or value.replace(microsecond=0)")
    moment = value.astimezone(dt.timezone.utc)
    first, last = (1900, 2299) if match[1] else (1970, 2105)
    if not first <= moment.year <= last:
        raise _Misfit(
            f"{value} does not fit into {match[0]}, which holds the years {first} to {last}", hint="" if match[1] else "write DateTime64(6)"
        )
    try:
        there = moment.astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        raise _Misfit(f"there is no time zone {zone}") from None
    if there.replace(fold=0).utcoffset() != there.replace(fold=1).utcoffset():  # an hour that comes twice: only the count of seconds tells
        seconds = int(moment.replace(microsecond=0).timestamp())
        return f"{seconds}.{moment.microsecond:06d}"[: 11 + digits] if digits else str(seconds)
    text = there.strftime("%Y-%m-%d %H:%M:%S") if there.year >= 1000 else there.isoformat(" ", "seconds")
    return text + (f".{there.microsecond:06d}"[: digits + 1] if digits else "")


def _uuid(value: Any, match: re.Match[str]) -> str:
    try:
        return str(value if isinstance(value, uuid.UUID) else uuid.UUID(str(value)))
    except ValueError:
        raise _Misfit from None


def _address(value: Any, match: re.Match[str]) -> str:
    kind = ipaddress.IPv4Address if match[0] == "IPv4" else ipaddress.IPv6Address
    try:
        return str(kind(value if not isinstance(value, (ipaddress.IPv4Address, ipaddress.IPv6Address)) else str(value)))
    except ValueError:
        raise _Misfit from None


def _enum(value: Any, match: re.Match[str]) -> str:
    names = [re.sub(r"\\(.)", r"\1", one) for one in re.findall(r"'((?:[^'\\]|\\.)*)'", match[0])]
    if value not in names:
        near = nearest(str(value), names)
        raise _Misfit(f"{_named(value)} is none of {', '.join(names[:8])}", hint=f"did you mean {near[0]}?" if near else "")
    return str(value)


def _json(value: Any, match: re.Match[str]) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise _Misfit(f"{_named(value)} cannot be written as JSON") from None


_SIMPLE: tuple[tuple[str, Callable[[Any, re.Match[str]], str]], ...] = (
    (r"(U?)Int(8|16|32|64|128|256)", _integer),
    (r"Decimal(32|64|128|256)\(\s*(\d+)\s*\)|Decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)", _decimal),
    (r"B?Float(16|32|64)", _float),
    (r"String|FixedString\((\d+)\)|Identifier", _text),
    (r"Bool(?:ean)?", _boolean),
    (r"Date(32)?", _date),
    (r"DateTime(?:(64)\(\s*(\d)\s*(?:,\s*'([^']*)'\s*)?\)|(32)?(?:\(\s*'([^']*)'\s*\))?)", _time),
    (r"UUID", _uuid),
    (r"IPv[46]", _address),
    (r"Enum(?:8|16)?\(.*\)", _enum),
    (r"JSON(?:\(.*\))?", _json),
)
