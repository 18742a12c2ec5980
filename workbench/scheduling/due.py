"""[pure] When a job is due. Times are aware UTC.

An interval is a grid from the beginning of 1970, so that jobs of the same interval are due together and a restart changes nothing. A time
of day is one instant for each day of its zone: on the day when clocks go forward over it, the instant they jump by; on the day when they go
back over it, the first of the two.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from workbench.hermes.jobs import At, JobSpec

__all__ = ["choose", "first_due", "next_due", "on_day", "times_between"]

UTC = dt.timezone.utc
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
_MOST = 1_000  # occurrences that are made up for at once
_GRACE = dt.timedelta(seconds=60)  # as late as a scheduler that was there may be


def next_due(job: JobSpec, after: dt.datetime) -> dt.datetime | None:
    """The first time later than `after` when it is due; None for one that is not due by time.

    >>> next_due(JobSpec("a", "n", every_s=300.0), dt.datetime(2026, 1, 1, 12, 3, tzinfo=UTC)).isoformat()
    '2026-01-01T12:05:00+00:00'
    """
    if job.every_s:
        step = dt.timedelta(seconds=job.every_s)
        return _EPOCH + ((after - _EPOCH) // step + 1) * step
    if not job.times:
        return None
    day = after.astimezone(ZoneInfo(job.zone)).date() - dt.timedelta(days=1)
    for n in range(10):
        found = [on_day(at, day + dt.timedelta(days=n), job.zone) for at in job.times]
        if later := [at for at in found if at is not None and at > after]:
            return min(later)
    return None


def on_day(at: At, day: dt.date, zone: str) -> dt.datetime | None:
    """The instant of a time of day on a day of a zone; None when the day of the week is another one."""
    if at.weekday is not None and day.weekday() != at.weekday:
        return None
    return dt.datetime(day.year, day.month, day.day, at.hour, at.minute, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def first_due(job: JobSpec, now: dt.datetime) -> dt.datetime:
    """The time after which a job counts that was never seen before: an interval begins at once, a time of day waits for its time."""
    return now - dt.timedelta(seconds=job.every_s) if job.every_s else now


def times_between(job: JobSpec, after: dt.datetime, until: dt.datetime) -> Iterator[dt.datetime]:
    """The times later than `after` up to `until`, in order."""
    at = next_due(job, after)
    while at is not None and at <= until:
        yield at
        at = next_due(job, at)


def choose(job: JobSpec, after: dt.datetime, now: dt.datetime) -> list[dt.datetime]:
    """The occurrences to run now of those that came since `after`, by the job's `catch_up`.

    >>> job = JobSpec("a", "n", every_s=3600.0)
    >>> [at.hour for at in choose(job, dt.datetime(2026, 1, 1, 1, tzinfo=UTC), dt.datetime(2026, 1, 1, 4, 30, tzinfo=UTC))]
    [4]
    """
    if job.every_s and job.catch_up != "all":
        after = max(after, now - 2 * dt.timedelta(seconds=job.every_s))  # a long absence is not counted through
    elif (now - after) > dt.timedelta(days=400):
        after = now - dt.timedelta(days=400)
    if job.every_s and job.catch_up == "all":
        after = max(after, now - _MOST * dt.timedelta(seconds=job.every_s))
    found = list(times_between(job, after, now))
    if job.catch_up == "all":
        return found[-_MOST:]
    if job.catch_up == "none":
        found = [at for at in found if now - at <= _GRACE]
    return found[-1:]
