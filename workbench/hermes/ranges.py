"""Fingerprints of key ranges: how two servers agree on many keys without sending them.

Pure. A row's whole numbers are folded twice, with other constants, into hashes below 2^31 - 1, in arithmetic that PostgreSQL, MySQL
and ClickHouse do alike in 64 bits; a range's fingerprint is the count of its rows and the sums of both. A swap of keys that goes
unseen has a chance of about one in 2^60, and another one each time, as the ranges move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.hermes.connector import Fingerprint

__all__ = ["CLICKHOUSE", "MYSQL", "POSTGRES", "Dialect", "differing", "folds", "is_whole_number", "merge_ranges", "mixed"]

_PRIME = (1 << 31) - 1
_LIMB = (1 << 30) - 1
_CONSTANTS = ((69069, 1103515245, 48271, 1566083941, 7919), (40692, 1812433253, 16807, 1664525, 104729))


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


def folds(numbers: Sequence[str], dialect: Dialect) -> tuple[str, str]:
    """Two SQL expressions, each of one number below 2^31 for the 64-bit numbers of a row. No value in between reaches 2^63."""
    found = []
    for first, low_by, second, middle_by, top_by in _CONSTANTS:
        fold = "1"
        for number in numbers:
            low = dialect.bit_and.format(number, _LIMB)
            middle = dialect.bit_and.format(dialect.shift.format(number, 30), _LIMB)
            top = dialect.bit_and.format(dialect.shift.format(number, 60), 15)
            half = f"({fold} * {first} + {low} * {low_by} + 12345) % {_PRIME}"
            fold = f"({half} * {second} + {middle} * {middle_by} + {top} * {top_by}) % {_PRIME}"
        found.append(fold)
    return found[0], found[1]


def mixed(fold: str, dialect: Dialect) -> str:
    """The hash of a fold, which is a column or a short name: no sum of these tells of sums of the numbers."""
    return f"({dialect.xor.format(fold, dialect.shift.format(fold, 15))} * 739982445 + 374761393) % {_PRIME}"


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
