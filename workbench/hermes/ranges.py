"""Fingerprints of key ranges: how two servers agree on many keys without sending them.

Pure. A row's whole numbers are folded into one below 2^31, in arithmetic that PostgreSQL, MySQL and ClickHouse do alike in 64 bits;
a range's fingerprint is the count of its rows, the sum of the folds and the sum of their mixed squares. Of small numbers every
fold is another. Among all pairs of pairs and of triples of 600 neighbouring keys no two sums of both kinds were the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.hermes.connector import Fingerprint

__all__ = ["CLICKHOUSE", "MYSQL", "POSTGRES", "Dialect", "differing", "fold", "is_whole_number", "merge_ranges", "mixed"]

_PRIME = (1 << 31) - 1
_LIMB = (1 << 30) - 1


@dataclass(frozen=True)
class Dialect:
    """How a server writes what is not the same everywhere."""

    bit_and: str
    shift: str
    xor: str


POSTGRES = Dialect("({0} & {1})", "({0} >> {1})", "({0} # {1})")
MYSQL = Dialect("({0} & {1})", "({0} >> {1})", "({0} ^ {1})")
CLICKHOUSE = Dialect("bitAnd({0}, {1})", "bitShiftRight({0}, {1})", "bitXor({0}, {1})")


def is_whole_number(type_: str) -> bool:
    """Whether a ClickHouse type can be fingerprinted: a whole number of at most 64 bits.

    >>> is_whole_number("Int32"), is_whole_number("UInt64"), is_whole_number("Nullable(Int32)")
    (True, False, False)
    """
    return type_ in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32")


def fold(numbers: Sequence[str], dialect: Dialect) -> str:
    """An SQL expression: the 64-bit numbers of a row as one below 2^31. No value in between reaches 2^63."""
    found = ""
    for number in numbers:
        low = dialect.bit_and.format(number, _LIMB)
        middle = dialect.bit_and.format(dialect.shift.format(number, 30), _LIMB)
        top = dialect.bit_and.format(dialect.shift.format(number, 60), 15)
        before = f"{found} * 69069 + " if found else ""
        found = f"(({before}{low} * 1103515245 + {middle} * 1566083941 + {top} * 48271) % {_PRIME})"
    return found


def mixed(folded: str, dialect: Dialect) -> str:
    """The mixed square of a fold, which is a column: below 2^31, and no sum of it follows from sums of the numbers."""
    square = f"({folded} * {folded} % {_PRIME})"
    return dialect.xor.format(square, dialect.shift.format(square, 13))


def differing(source: Mapping[int, Fingerprint], lake: Mapping[int, Fingerprint]) -> list[int]:
    """The ranges whose rows are not surely the same on both sides, in order.

    >>> differing({0: Fingerprint(2, 5, 7), 1: Fingerprint(1, 1, 1, stale=1)}, {0: Fingerprint(2, 5, 7), 1: Fingerprint(1, 1, 1)})
    [1]
    """
    found = []
    for n in sorted({*source, *lake}):
        here, there = source.get(n), lake.get(n)
        if here is None or there is None or here.stale or (here.rows, here.first, here.second) != (there.rows, there.first, there.second):
            found.append(n)
    return found


def merge_ranges(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Ranges in order, those that touch made one.

    >>> merge_ranges([(5, 8), (0, 5), (9, 12)])
    ((0, 8), (9, 12))
    """
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)
