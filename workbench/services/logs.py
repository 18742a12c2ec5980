"""The logs of the services, as lines of one shape: several side by side in the order of time, followed over rotations.

Three kinds of lines are understood: our own (a JSON object per line), the lake's, and plain text, which belongs to the moment of the
line before it.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from workbench.answer import Answer, Block, Note
from workbench.errors import UnknownName
from workbench.services.programs import programs_of
from workbench.settings import Settings

__all__ = ["LEVELS", "Log", "LogLine", "LogLines", "follow", "logs_of", "tail"]

LEVELS = ("debug", "info", "warning", "error", "critical")

_POLL_S = 0.2
_BLOCK_BYTES = 64 * 1024
_LAKE = re.compile(r"(\d{4})\.(\d\d)\.(\d\d) (\d\d:\d\d:\d\d\.\d+) \[ \d+ \] \{([^}]*)\} <(\w+)> (.*)", re.DOTALL)
_LAKE_LEVELS = {
    "Fatal": "critical", "Critical": "critical", "Error": "error", "Warning": "warning", "Notice": "info", "Information": "info",
    "Debug": "debug", "Trace": "debug", "Test": "debug",
}  # fmt: skip
_SUPERVISOR_LEVELS = {
    "CRIT": "critical",
    "ERRO": "error",
    "WARN": "warning",
    "INFO": "info",
    "DEBG": "debug",
    "TRAC": "debug",
    "BLAT": "debug",
}
_STAMPED = re.compile(r"\[?(?:[A-Z] )?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?)[\] ]:?\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class LogLine:
    """A line of a log. `at` is None when nothing says when it was; `level` is empty when nothing says how bad it is."""

    service: str
    at: dt.datetime | None
    level: str
    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The line as data, its fields beside `service`, `time`, `level` and `event`."""
        return {"service": self.service, "time": self.at, "level": self.level, "event": self.event, **self.fields}

    def beside(self) -> str:
        """The line with its service before it."""
        return f"{self.service:<13} {self}"

    def __str__(self) -> str:
        when = self.at.astimezone(dt.timezone.utc).strftime("%H:%M:%S.%f")[:12] if self.at else " " * 12
        told = " ".join(f"{k}={v if isinstance(v, str) and v and ' ' not in v else json.dumps(v, ensure_ascii=False)}"
                        for k, v in self.fields.items())  # fmt: skip
        return f"{when} {self.level or '-':<8} {self.event}{'  ' if told else ''}{told}"


@dataclass(frozen=True)
class Log:
    """The files of one service."""

    service: str
    paths: tuple[Path, ...]


Wanted = Callable[[LogLine], bool]


@dataclass(frozen=True)
class LogLines(Answer):
    """Lines of the services' logs in the order of time, and where those to come are found."""

    lines: tuple[LogLine, ...]
    to_come: Iterator[LogLine] = field(default=iter(()), repr=False, compare=False)

    @classmethod
    def of(
        cls,
        settings: Settings,
        names: Sequence[str] = (),
        *,
        lines: int = 40,
        run: str = "",
        level: str = "",
        is_followed: bool = False,
        ended: Callable[[], bool] = lambda: False,
    ) -> LogLines:
        """The last lines of these services together (default: of all); with `is_followed` also what is written from now on, until `ended`.

        Raises:
            UnknownName: there is no such service or level.
        """
        logs, want = logs_of(settings, names), wanted(run, level)
        to_come = follow(logs, want, ended=ended) if is_followed else iter(())  # first, so that nothing is written between the two
        return cls(tuple(tail(logs, lines, want)), to_come)

    def to_dict(self) -> Any:
        """A row per line."""
        return [line.to_dict() for line in self.lines]

    def blocks(self) -> Iterator[Block]:
        """A note per line, those that are bad in red."""
        if not self.lines:
            yield Note("no line yet", "quiet")
        for line in self.lines:
            yield Note(line.beside(), "bad" if line.level in ("error", "critical") else "plain")


def logs_of(settings: Settings, names: Sequence[str] = ()) -> list[Log]:
    """The logs of these services, programs, `supervisor` and `workbench` (the commands' own); of all when none is named.

    Raises:
        UnknownName: there is no such one.
    """
    programs, state = programs_of(settings), settings.state_dir / "log"
    found = [Log(p.name, p.logs) for p in programs]
    found += [Log("supervisor", (state / "supervisor.log",)), Log("workbench", (state / "skygraph.jsonl",))]
    groups = {log.service: {log.service} for log in found}
    for program in programs:
        groups.setdefault(program.service, set()).add(program.name)
    for name in names:
        if name not in groups:
            raise UnknownName("service", name, list(groups))
    wanted_names = set().union(*(groups[name] for name in names)) if names else set(groups)
    return [log for log in found if log.service in wanted_names]


def wanted(run: str = "", level: str = "") -> Wanted:
    """Whether a line is of this run (its id, or the beginning of it) and at least of this level; lines without a level count as info.

    Raises:
        UnknownName: there is no such level.
    """
    if level and level not in LEVELS:
        raise UnknownName("level", level, LEVELS)
    least = LEVELS.index(level) if level else 0

    def ask(line: LogLine) -> bool:
        if run and not any(str(line.fields.get(name) or "").startswith(run) for name in ("run_id", "run", "request_id")):
            return False
        return LEVELS.index(line.level if line.level in LEVELS else "info") >= least

    return ask


def tail(logs: Sequence[Log], count: int, want: Wanted = wanted()) -> list[LogLine]:  # noqa: B008 - a function that keeps nothing
    """The last lines of these logs together, oldest first."""
    found: list[tuple[dt.datetime, int, LogLine]] = []
    for log in logs:
        for path in log.paths:
            kept: list[LogLine] = []
            before: dt.datetime | None = None
            for text in _last_lines(path, max(count * 20, 2000)):
                line = parse(log.service, text, before)
                before = line.at or before
                if want(line):
                    kept.append(line)
            oldest = dt.datetime.min.replace(tzinfo=dt.timezone.utc)
            found += [(line.at or oldest, len(found) + n, line) for n, line in enumerate(kept[-count:] if count > 0 else [])]
    found.sort(key=lambda entry: entry[:2])
    return [line for _, _, line in found[-count:]] if count > 0 else []


def follow(logs: Sequence[Log], want: Wanted = wanted(), *, ended: Callable[[], bool] = lambda: False) -> Iterator[LogLine]:  # noqa: B008
    """Lines as they are written, from this call on, until `ended`. A file that is rotated is read to its end, then the new one."""
    return _follow([(log.service, _Tail(path)) for log in logs for path in log.paths], want, ended)


def _follow(tails: Sequence[tuple[str, _Tail]], want: Wanted, ended: Callable[[], bool]) -> Iterator[LogLine]:
    last: dict[int, dt.datetime | None] = {}
    try:
        while True:
            over = ended()
            heard: list[LogLine] = []
            for number, (service, one) in enumerate(tails):
                for text in one.lines():
                    line = parse(service, text, last.get(number))
                    last[number] = line.at or last.get(number)
                    if want(line):
                        heard.append(line)
            oldest = dt.datetime.min.replace(tzinfo=dt.timezone.utc)
            yield from sorted(heard, key=lambda line: line.at or oldest)
            if over:
                return
            if not heard:
                time.sleep(_POLL_S)
    finally:
        for _, one in tails:
            one.close()


def parse(service: str, text: str, before: dt.datetime | None = None) -> LogLine:
    """A line of text as a line of a log. `before` is the time of the line before it.

    >>> line = parse("skygraph-api", '{"event": "request", "status": 200, "level": "info", "timestamp": "2026-01-02T03:04:05.5Z"}')
    >>> str(line)
    '03:04:05.500 info     request  status=200'
    >>> str(parse("clickhouse", "2026.01.02 03:04:05.678901 [ 7 ] {q1} <Error> HTTP: no"))
    '03:04:05.678 error    HTTP: no  query_id=q1'
    >>> parse("supervisor", "2026-01-02 03:04:05,678 WARN exited: skygraph-api (terminated by SIGKILL; not expected)").level
    'warning'
    """
    if text.startswith("{"):
        try:
            said = json.loads(text)
        except ValueError:
            said = None
        if isinstance(said, dict):
            at, level, event = said.pop("timestamp", None), said.pop("level", ""), said.pop("event", "")
            return LogLine(service, _time(at) or before, str(level), str(event), said)
    if found := _LAKE.fullmatch(text):
        year, month, day, clock, query, level, said = found.groups()
        fields = {"query_id": query} if query else {}
        return LogLine(service, _time(f"{year}-{month}-{day}T{clock[:15]}Z"), _LAKE_LEVELS.get(level, "info"), said, fields)
    if found := _STAMPED.match(text):
        stamp, said = found.groups()
        # a time without a zone is of this machine: JupyterLab writes so
        at = _time(stamp) if stamp.endswith("Z") else _local(stamp)
        word, _, rest = said.partition(" ")
        if word in _SUPERVISOR_LEVELS:
            return LogLine(service, at or before, _SUPERVISOR_LEVELS[word], rest)
        return LogLine(service, at or before, _level_of(text), said)
    return LogLine(service, before, _level_of(text), text)


def _level_of(text: str) -> str:
    """How bad a line of plain text is, when it says so."""
    if text.startswith(("[E ", "[C ")) or re.match(r"\w*(Error|Exception)\b", text) or text.startswith("Traceback"):
        return "error"
    return "warning" if text.startswith("[W ") else ""


def _time(text: Any) -> dt.datetime | None:
    try:
        at = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=dt.timezone.utc)


def _local(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(text.replace(",", ".")).astimezone(dt.timezone.utc)
    except ValueError:
        return None


def _last_lines(path: Path, most: int) -> list[str]:
    """The last lines of a file, and of the one that was rotated away from it when there are few; of a few megabytes at most."""
    found: list[str] = []
    for one in (path, _rotated(path)):
        if len(found) >= most or one is None:
            break
        found = _tail_of(one, most - len(found)) + found
    return found


def _rotated(path: Path) -> Path | None:
    """The file that was rotated away last."""
    for name in (f"{path.name}.1", f"{path.name}.0"):
        if (found := path.with_name(name)).exists():
            return found
    return None


def _tail_of(path: Path, most: int) -> list[str]:
    data = b""
    try:
        with open(path, "rb") as file:
            at = file.seek(0, os.SEEK_END)
            while at > 0 and data.count(b"\n") <= most and len(data) < 64 * _BLOCK_BYTES:
                step = min(at, _BLOCK_BYTES)
                at -= step
                file.seek(at)
                data = file.read(step) + data
    except OSError:
        return []
    lines = data.decode("utf-8", "replace").splitlines()
    if at > 0 and lines:
        lines = lines[1:]  # the first one may be half a line
    return [line for line in lines[-most:] if line.strip()]


class _Tail:
    """What is added to a file from now on, over rotations."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._rest = b""
        self._open(at_end=True)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def lines(self) -> Iterator[str]:
        """The whole lines that have been added since the last call."""
        if self._file is None:
            self._open(at_end=False)
        if self._file is None:
            return
        yield from self._read()
        while self._is_another():  # rotated, or cut to nothing: the old one was read to its end just now
            yield from self._read()
            self._file.close()
            self._open(at_end=False)
            if self._file is None:
                return
            yield from self._read()

    def _open(self, *, at_end: bool) -> None:
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115 - held between calls
        except OSError:
            self._file = None
            return
        self._rest = b""
        if at_end:
            self._file.seek(0, os.SEEK_END)

    def _is_another(self) -> bool:
        assert self._file is not None
        try:
            now = self.path.stat()
        except OSError:
            return False  # between the two steps of a rotation
        mine = os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino) or now.st_size < self._file.tell()

    def _read(self) -> Iterator[str]:
        assert self._file is not None
        data = self._rest + self._file.read()
        *whole, self._rest = data.split(b"\n")
        for line in whole:
            if text := line.decode("utf-8", "replace").rstrip("\r"):
                yield text
