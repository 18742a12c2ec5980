"""Values that Arrow carries as something else: ClickHouse's times in seconds, enums, addresses and numbers of more than 64 bits.

The engine writes a DateTime as a number, an Enum as its number and an Int128 as bytes; only the types of the statement tell them apart.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["as_meant", "is_ambiguous", "to_rows"]

_ENUM = re.compile(r"'((?:[^'\\]|\\.)*)' = (-?\d+)")


def to_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as values of Python, times as aware UTC.

    Arrow's own way to a time with a zone brings pandas into the process: a quarter of a second, or seconds from a cold disk, and 40 MB.
    """
    import pyarrow as pa

    columns = []
    for column in table.columns:
        type_ = column.type
        if pa.types.is_timestamp(type_) and type_.tz == "UTC" and type_.unit != "ns":
            times = column.cast(pa.timestamp(type_.unit)).to_pylist()
            columns.append([None if t is None else t.replace(tzinfo=dt.timezone.utc) for t in times])
        else:
            columns.append(column.to_pylist())
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def is_ambiguous(table: pa.Table) -> bool:
    """Whether a column may stand for something else, so that the types of the statement are needed."""
    import pyarrow as pa

    return any(
        pa.types.is_uint32(f.type) or pa.types.is_int8(f.type) or pa.types.is_int16(f.type) or pa.types.is_fixed_size_binary(f.type)
        for f in table.schema
    )


def as_meant(table: pa.Table, types: Sequence[str]) -> pa.Table:
    """The table with its columns as their ClickHouse types mean them: aware UTC times, names of enums, addresses as texts, numbers.

    Numbers of 128 and 256 bits become decimals where 76 digits hold them, else texts. What stands inside arrays and maps stays as it is.
    """
    for n, type_ in enumerate(types):
        column = _meant(table.column(n), bare(type_))
        if column is not None:
            table = table.set_column(n, table.column_names[n], column)
    return table


def bare(type_: str) -> str:
    for wrapper in ("Nullable(", "LowCardinality("):
        if type_.startswith(wrapper):
            return bare(type_.removeprefix(wrapper).removesuffix(")"))
    return type_


def _meant(column: pa.ChunkedArray, type_: str) -> Any:
    import pyarrow as pa

    if re.match(r"DateTime(32)?(\(|$)", type_):
        return column.cast(pa.int64()).cast(pa.timestamp("s", tz="UTC"))
    if type_.startswith("Enum"):
        return _each(column, _names(type_).get, pa.string())
    if type_ == "IPv4":
        return _each(column, lambda n: str(ipaddress.IPv4Address(n)), pa.string())
    if type_ == "IPv6":
        return _each(column, _address, pa.string())
    if wide := re.fullmatch(r"(U?)Int(128|256)", type_):
        numbers = [None if v is None else int.from_bytes(v, "little", signed=not wide[1]) for v in column.to_pylist()]
        if all(n is None or abs(n) < 10**76 for n in numbers):
            return pa.array([None if n is None else Decimal(n) for n in numbers], pa.decimal256(76, 0))
        return pa.array([None if n is None else str(n) for n in numbers], pa.string())
    return None


def _each(column: pa.ChunkedArray, meaning: Callable[[Any], Any], type_: Any) -> Any:
    import pyarrow as pa

    return pa.array([None if v is None else meaning(v) for v in column.to_pylist()], type_)


def _names(type_: str) -> Mapping[int, str]:
    """The names of an enum by number.

    >>> _names(r"Enum8('new' = 1, 'it\\'s' = -2)")
    {1: 'new', -2: "it's"}
    """
    return {int(number): re.sub(r"\\(.)", r"\1", name) for name, number in _ENUM.findall(type_)}


def _address(raw: bytes) -> str:
    address = ipaddress.IPv6Address(raw)
    return f"::ffff:{address.ipv4_mapped}" if address.ipv4_mapped else str(address)
