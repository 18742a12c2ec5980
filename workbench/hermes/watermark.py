"""The watermark: how far a table has been read. A value that can be compared, moved back by a lookback, and kept as text.

Pure. A watermark is a time (aware UTC), a whole number, or a text, as its column is.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from workbench.errors import UsageError

__all__ = ["Watermark", "parse_duration", "parse_mark", "short_mark"]

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_SHORT = {"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day", "w": "week"}


def parse_duration(text: str) -> float:
    """A duration in seconds.

    >>> parse_duration("5 minutes"), parse_duration("90s"), parse_duration("hour")
    (300.0, 90.0, 3600.0)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)?\s*([a-z]+)\s*", text.lower())
    word = match[2] if match else ""
    unit = _SHORT.get(word, word[:-1] if word.endswith("s") else word)
    if not match or unit not in _UNITS:
        raise UsageError(f"{text!r} is not a duration", hint="write it as `10 minutes`, `1 hour` or `2 days`")
    return float(match[1] or 1) * _UNITS[unit]


@dataclass(frozen=True)
class Watermark:
    """A point in a table's watermark column; everything before it has been read."""

    value: dt.datetime | int | str

    def __post_init__(self) -> None:
        if isinstance(self.value, dt.datetime):
            aware = self.value if self.value.tzinfo else self.value.replace(tzinfo=dt.timezone.utc)
            object.__setattr__(self, "value", aware.astimezone(dt.timezone.utc))

    @property
    def kind(self) -> str:
        """`time`, `integer` or `text`."""
        return "time" if isinstance(self.value, dt.datetime) else "integer" if isinstance(self.value, int) else "text"

    def later_than(self, other: Watermark | None) -> bool:
        """Whether this one is further on. Of another kind counts as further: the column changed its type."""
        if other is None or self.kind != other.kind:
            return True
        return bool(self.value > other.value)  # type: ignore[operator]

    def back(self, lookback: float) -> Watermark:
        """This point less the lookback: seconds for a time, a plain amount for a number, nothing for a text."""
        if isinstance(self.value, dt.datetime):
            try:
                return Watermark(self.value - dt.timedelta(seconds=lookback))
            except OverflowError:
                return Watermark(dt.datetime(1900, 1, 1, tzinfo=dt.timezone.utc))
        if isinstance(self.value, int):
            return Watermark(self.value - int(lookback))
        return self

    def cuts(self, high: Watermark, parts: int) -> list[Watermark]:
        """Points from this one to `high`, both among them, that cut what lies between in at most so many equal parts.

        >>> [m.value for m in Watermark(0).cuts(Watermark(10), 3)]
        [0, 3, 6, 10]
        """
        low, top, count = self.value, high.value, max(1, parts)
        if isinstance(low, dt.datetime) and isinstance(top, dt.datetime):
            return [self, *(Watermark(low + (top - low) * n / count) for n in range(1, count)), high]
        if isinstance(low, int) and isinstance(top, int):
            return [self, *map(Watermark, sorted({low + (top - low) * n // count for n in range(1, count)} - {low, top})), high]
        return [self, high]

    def text(self) -> str:
        """The form it is kept in: ISO 8601 in UTC to the microsecond, digits, or the text itself."""
        if isinstance(self.value, dt.datetime):
            return self.value.replace(tzinfo=None).isoformat(" ", "microseconds")
        return str(self.value)

    @classmethod
    def parse(cls, kind: str, text: str) -> Watermark:
        """The watermark of a kind from its kept form.

        >>> Watermark.parse("time", "2012-01-02 17:00:00.000000").text()
        '2012-01-02 17:00:00.000000'
        """
        if kind == "time":
            return cls(dt.datetime.fromisoformat(text))
        return cls(int(text) if kind == "integer" else text)


def parse_mark(kind: str, written: str) -> Watermark:
    """A watermark as a person writes it: an ISO 8601 time (without a zone UTC), digits, or a text.

    Raises:
        UsageError: it is not of that kind.
    """
    try:
        return Watermark.parse(kind, written.strip())
    except (ValueError, OverflowError):
        how = "a time such as 2024-01-31 or 2024-01-31T12:00:00Z" if kind == "time" else "a whole number"
        raise UsageError(f"{written!r} is no watermark of this table", hint=f"write {how}") from None


def short_mark(text: str) -> str:
    """The kept form of a watermark as people read it: a time without zeros that say nothing, anything else as it is.

    >>> short_mark("2012-01-02 17:00:00.000000"), short_mark("12000"), short_mark("A-5000")
    ('2012-01-02 17:00:00', '12000', 'A-5000')
    """
    is_time = re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", text)
    return text.removesuffix("000").removesuffix(".000") if is_time else text
