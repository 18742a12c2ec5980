"""[pure] The `jobs:` of `sync_jobs/*.yml` as values: which notebook runs when, after what, and what is done when it fails."""

from __future__ import annotations

import datetime as dt
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from zoneinfo import ZoneInfo

from workbench.errors import Problem, UsageError, nearest
from workbench.hermes.watermark import parse_duration
from workbench.yamlfile import Entry, Fields

__all__ = ["Alerts", "At", "JobSpec", "Limits", "WaitFor", "parse_alerts", "parse_job", "parse_limits", "wrong_triggers"]

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
EVENTS = ("failure", "recovery", "lateness")
ANY_TABLE = "tables"  # `after: tables`: a sync that changed rows of any table


@dataclass(frozen=True)
class At:
    """A time of day, on every day or on one day of the week (0 is Monday)."""

    hour: int
    minute: int
    weekday: int | None = None

    def __str__(self) -> str:
        return f"{'' if self.weekday is None else _DAYS[self.weekday] + ' '}{self.hour:02}:{self.minute:02}"


@dataclass(frozen=True)
class WaitFor:
    """A condition: the table's watermark has reached this time of the day that the run is due on."""

    table: str
    at: At

    def __str__(self) -> str:
        return f"{self.table} >= {self.at}"


@dataclass(frozen=True)
class Alerts:
    """Who is told: a command that gets the facts as JSON on stdin, a webhook that gets them as a POST. `${NAME}` is filled when sent."""

    command: tuple[str, ...] = field(default=(), repr=False)
    webhook: str = field(default="", repr=False)
    on: tuple[str, ...] = EVENTS


@dataclass(frozen=True)
class JobSpec:
    """One job. Durations are in seconds; `retries` are tries after the first, each waiting twice as long as the one before.

    A timed job has `every_s` or `at`; one with `after` runs when all it names have succeeded. `wait_for` holds a due run back.
    """

    name: str
    notebook: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    every_s: float | None = None
    at: tuple[At, ...] = ()
    zone: str = "UTC"
    after: tuple[str, ...] = ()
    wait_for: tuple[WaitFor, ...] = ()
    retries: int = 0
    retry_wait_s: float = 30.0
    timeout_s: float = 3600.0
    overlap: Literal["skip", "queue"] = "skip"
    catch_up: Literal["latest", "all", "none"] = "latest"
    alerts: Alerts | None = None
    lateness_s: float | None = None
    keep: int = 50
    file: str = ""
    line: int = 0

    @property
    def when(self) -> str:
        """When it runs, in the words of the file; '' for one that runs only by hand."""
        words = []
        if self.every_s:
            words.append(f"every {_duration(self.every_s)}")
        if self.at:
            words.append(f"at {', '.join(map(str, self.at))}" + ("" if self.zone == "UTC" else f" {self.zone}"))
        if self.after or self.wait_for:
            words.append("after " + ", ".join([*self.after, *map(str, self.wait_for)]))
        return " ".join(words)

    @property
    def times(self) -> tuple[At, ...]:
        """The times of day when it is due; for one that only waits for data, the latest time that it waits for."""
        if self.at or self.every_s or self.after or not self.wait_for:
            return self.at
        return (max((w.at for w in self.wait_for), key=lambda at: (at.hour, at.minute)),)

    def to_dict(self) -> dict[str, Any]:
        """The job as data."""
        return {
            "notebook": self.notebook, "when": self.when, "parameters": dict(self.parameters), "retries": self.retries,
            "timeout_s": self.timeout_s, "overlap": self.overlap, "catch_up": self.catch_up, "lateness_s": self.lateness_s,
            "alerts": list(self.alerts.on) if self.alerts else [],
        }  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What the scheduler may use: runs at the same time, and processes that wait, warm, for the next run."""

    runs: int = 2
    warm: int = 2


def _duration(seconds: float) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)} {unit}" + ("" if seconds == size else "s")
    return f"{seconds:g} s"


def parse_job(name: str, body: Entry, problems: list[Problem]) -> JobSpec:
    """One entry of `jobs:`. What is wrong is added to `problems`; triggers are checked by `wrong_triggers`, when all names are known."""
    fields = Fields(body, f"job {name!r}", problems)
    if not re.fullmatch(r"[A-Za-z][\w.-]*", name):
        fields.wrong(f"job {name!r}: a job's name has letters, digits, _, - and . and begins with a letter")
    notebook = fields.text("notebook")
    parameters = {key: value.plain() for key, value in fields.mapping("parameters", {}).items()}
    every = _seconds(fields, "every", None, least=1.0)
    at = tuple(found for text in fields.texts("at", []) if (found := _at(fields, "at", text)))
    if every and at:
        fields.wrong(f"job {name!r} has both `every` and `at`; keep one", "at")
    zone = fields.text("zone", "UTC")
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        from zoneinfo import available_timezones

        near = nearest(zone, available_timezones(), most=1)
        fields.wrong(f"unknown zone {zone!r} of job {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""), "zone")
        zone = "UTC"
    after, wait_for = [], []
    for text in fields.texts("after", []):
        table, sign, time = (part.strip() for part in text.partition(">="))
        if not sign:
            after.append(text.strip())
        elif (found := _at(fields, "after", time)) is not None:
            if found.weekday is not None:
                fields.wrong(f"{text!r} of job {name!r}: a watermark is waited for by a time of day, as in `{table} >= 06:00`", "after")
            wait_for.append(WaitFor(table.removeprefix("raw."), found))
    if after and (every or at):
        fields.wrong(f"job {name!r} is due by time, so `after` takes only conditions such as `invoices >= 06:00`", "after")
    retries, wait = _retries(fields)
    overlap = fields.choice("overlap", ("skip", "queue"), "queue" if after else "skip")
    catch_up = fields.choice("catch_up", ("latest", "all", "none"), "latest")
    timeout = _seconds(fields, "timeout", 3600.0, least=1.0)
    lateness = _seconds(fields, "lateness", None)
    alerts_at = fields.entry_of("alerts")
    alerts = parse_alerts(alerts_at, f"alerts of job {name!r}", problems) if alerts_at else None
    keep = _whole(fields, "keep", 50, least=1)
    fields.done()
    return JobSpec(
        name, notebook, parameters, every, at, zone, tuple(after), tuple(wait_for), retries, wait, timeout or 3600.0, overlap, catch_up,
        alerts, lateness, keep, body.file, body.line,
    )  # fmt: skip


def parse_alerts(body: Entry, what: str, problems: list[Problem]) -> Alerts:
    """An `alerts:` mapping. A command is a list of words, or one text that is split as a shell would; no shell reads it."""
    fields = Fields(body, what, problems)
    written = fields.entry_of("command")
    command: tuple[str, ...] = ()
    if written is not None:
        try:
            plain = written.plain()
            command = tuple(shlex.split(plain)) if isinstance(plain, str) else tuple(map(str, plain))
        except (ValueError, TypeError):
            pass
        if not command:
            fields.wrong(f"'command' of {what} is a list of words or one text", "command")
    webhook = fields.text("webhook", "")
    if webhook and not re.match(r"https?://|\$\{\w+\}", webhook):
        fields.wrong(f"'webhook' of {what} is an http(s) address; a secret one is written as ${{NAME}}", "webhook")
    if not command and not webhook and isinstance(body.value, dict):
        fields.wrong(f"{what} need a command or a webhook")
    on = fields.texts("on", list(EVENTS))
    for event in on:
        if event not in EVENTS:
            near = nearest(event, EVENTS)
            fields.wrong(f"unknown event {event!r} of {what}; " + (f"did you mean {near[0]!r}?" if near else f"{', '.join(EVENTS)}"), "on")
    fields.done()
    return Alerts(command, webhook, tuple(on))


def parse_limits(body: Entry, problems: list[Problem]) -> Limits:
    """A `limits:` mapping."""
    fields = Fields(body, "limits", problems)
    found = Limits(_whole(fields, "runs", Limits.runs, least=1), _whole(fields, "warm", Limits.warm, least=0))
    fields.done()
    return found


def wrong_triggers(jobs: Mapping[str, JobSpec], tables: Sequence[str]) -> list[Problem]:
    """Triggers that name nothing, names that stand for two things, and jobs that wait for each other in a ring."""
    found = []
    for job in jobs.values():

        def wrong(message: str, job: JobSpec = job) -> None:
            found.append(Problem(job.file, job.line, f"job {job.name!r} {message}"))

        if job.name in tables or job.name == ANY_TABLE:
            wrong("has the name of a table; give it another")
        known = [*jobs, *tables, ANY_TABLE]
        for kind, name, names in [*(("job or table", n, known) for n in job.after), *(("table", w.table, tables) for w in job.wait_for)]:
            if name not in names:
                near = nearest(name, names)
                wrong(f"runs after the unknown {kind} {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        seen, ahead = set(), [n for n in job.after if n in jobs]
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                ahead += [n for n in jobs[name].after if n in jobs]
        if job.name in seen:
            wrong("runs after itself, by way of the jobs that it waits for")
    return found


def _at(fields: Fields, key: str, text: str) -> At | None:
    match = re.fullmatch(r"(?:([a-z]+)\s+)?(\d\d?):(\d\d)", text.strip().lower())
    days = [n for n, day in enumerate(_DAYS) if match and match[1] and day.startswith(match[1]) and len(match[1]) >= 3]
    if match is None or int(match[2]) > 23 or int(match[3]) > 59 or (match[1] and not days):
        fields.wrong(f'{text!r} in {key!r} of {fields.what} is not a time; write "02:00" or "monday 02:00"', key)
        return None
    return At(int(match[2]), int(match[3]), days[0] if days else None)


def _retries(fields: Fields) -> tuple[int, float]:
    entry = fields.entry_of("retries")
    if entry is None:
        return 0, 30.0
    if isinstance(entry.value, dict):
        inner = Fields(entry, f"retries of {fields.what}", fields.problems)
        found = _whole(inner, "count", 1), _seconds(inner, "wait", 30.0) or 30.0
        inner.done()
        return found
    return _whole(fields, "retries", 0), 30.0


def _whole(fields: Fields, key: str, default: int, *, least: int = 0) -> int:
    text = fields.text(key, str(default))
    if not re.fullmatch(r"\d{1,6}", text) or int(text) < least:
        fields.wrong(f"{key!r} of {fields.what} is a whole number from {least}", key)
        return default
    return int(text)


def _seconds(fields: Fields, key: str, default: float | None, *, least: float = 0.0) -> float | None:
    text = fields.text(key, "")
    if not text:
        return default
    try:
        found = parse_duration(text)
    except UsageError as error:
        fields.wrong(f"{key!r} of {fields.what}: {error}", key)
        return default
    if found < least or found > dt.timedelta(days=366).total_seconds():
        fields.wrong(f"{key!r} of {fields.what} is from {least:g} s to a year", key)
        return default
    return found
