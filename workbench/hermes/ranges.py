"""Fingerprints of key ranges: how two servers agree on many keys without sending them.

Pure. A row's whole numbers are folded into two hashes below 2^31 - 1, in arithmetic that PostgreSQL, MySQL and ClickHouse all do
the same way in 64 bits; a range's fingerprint is the count of its rows and the sums of both. Two ranges of different keys have
the same fingerprint by accident about once in 2^60.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from workbench.hermes.connector import Fingerprint

__all__ = ["differing", "hash_expressions", "is_whole_number", "merge_ranges"]

_PRIME = (1 << 31) - 1
_LOW = (1 << 31) - 1

Bits = Callable[[str, int], tuple[str, str, str]]


def is_whole_number(type_: str) -> bool:
    """Whether a ClickHouse type can be fingerprinted: a whole number of at most 64 bits.

    >>> is_whole_number("Int32"), is_whole_number("UInt64"), is_whole_number("Nullable(Int32)")
    (True, False, False)
    """
    return type_ in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32")


def hash_expressions(numbers: Sequence[str], *, bit_and: str = "({0} & {1})", shift: str = "({0} >> {1})") -> tuple[str, str, str]:
    """Three SQL texts to be nested, innermost first: a fold `f` of the numbers, then with `{f}` its square, then its cube.

    Every intermediate value is below 2^63 for any 64-bit number.
    """
    fold = "1"
    for number in numbers:
        low = bit_and.format(number, _LOW)
        middle = bit_and.format(shift.format(number, 31), _LOW)
        top = bit_and.format(shift.format(number, 62), 3)
        fold = f"(({fold} * 69069 + {low} * 1103515245 + 12345) % {_PRIME} * 48271 + {middle} * 1566083941 + {top} * 7919) % {_PRIME}"
    square = f"({{f}} * {{f}} + 374761393) % {_PRIME}"
    cube = f"({{g}} * (({{f}} + 668265263) % {_PRIME})) % {_PRIME}"
    return fold, square, cube


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
