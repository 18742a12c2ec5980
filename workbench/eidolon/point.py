"""Points in time as people write them.

Pure. Times are in UTC, as everywhere, unless they say their zone.
"""

from __future__ import annotations

import datetime as dt
import re

__all__ = ["parse_time"]

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_AGO = re.compile(r"(\d{1,9}|an?)\s*(s|sec|second|min|m|minute|h|hour|d|day|w|week|month|year)s?\s+ago")
_SHORT = {"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day", "w": "week"}
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")


def parse_time(text: str, now: dt.datetime) -> dt.datetime | None:
    """The time that a text means, in UTC; None when it means none.

    `2026-11-23 18:00`, `yesterday 18:00`, `monday 9:30`, `18:00` (today), `2 hours ago`, `now`. A day without a time of day is its end,
    or now when it is today.

    >>> at = dt.datetime(2026, 11, 25, 12, 30, tzinfo=dt.timezone.utc)
    >>> [str(parse_time(text, at))[:16] for text in ("yesterday 18:00", "2 hours ago", "monday", "2026-11-01", "today")]
    ['2026-11-24 18:00', '2026-11-25 10:30', '2026-11-23 23:59', '2026-11-01 23:59', '2026-11-25 12:30']
    """
    now = now.astimezone(dt.timezone.utc)
    words = " ".join(text.split()).casefold()
    try:
        if words == "now":
            return now
        if ago := _AGO.fullmatch(words):
            return _ago(1 if ago[1].startswith("a") else int(ago[1]), _SHORT.get(ago[2], ago[2]), now)
        day, _, rest = words.partition(" ")
        if _CLOCK.fullmatch(words):
            day, rest = "today", words
        on = _day(day, now)
        if on is not None:
            clock = _CLOCK.fullmatch(rest.removeprefix("at ")) if rest else None
            if rest and clock is None:
                return None
            begin = dt.datetime.combine(on, dt.time(), dt.timezone.utc)
            if clock:
                return begin + dt.timedelta(hours=int(clock[1]), minutes=int(clock[2]), seconds=int(clock[3] or 0))
            end = begin + dt.timedelta(days=1, milliseconds=-1)
            return now if begin <= now <= end else end
        found = dt.datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        return None
    return found.replace(tzinfo=dt.timezone.utc) if found.tzinfo is None else found.astimezone(dt.timezone.utc)


def _day(word: str, now: dt.datetime) -> dt.date | None:
    today = now.date()
    if word in ("today", "yesterday"):
        return today - dt.timedelta(days=word == "yesterday")
    if word in _DAYS:  # the last one that has begun
        return today - dt.timedelta(days=(today.weekday() - _DAYS.index(word)) % 7)
    return dt.date.fromisoformat(word) if re.fullmatch(r"\d{4}-\d\d-\d\d", word) else None


def _ago(count: int, unit: str, now: dt.datetime) -> dt.datetime:
    if unit in _UNITS:
        return now - dt.timedelta(seconds=count * _UNITS[unit])
    months = now.year * 12 + now.month - 1 - count * (12 if unit == "year" else 1)
    year, month = divmod(months, 12)
    last = (dt.date(year + (month == 11), (month + 1) % 12 + 1, 1) - dt.timedelta(days=1)).day
    return now.replace(year=year, month=month + 1, day=min(now.day, last))
