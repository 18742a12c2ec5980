"""What there is to run: each program of a workspace, the words that start it, its logs, and how to see that it answers."""

from __future__ import annotations

import datetime as dt
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from workbench.errors import SkyGraphError, UnknownName
from workbench.lake import EmbeddedLake, Lake
from workbench.presence import Facts, read_facts
from workbench.settings import Settings

__all__ = ["Program", "Seen", "names_of", "programs_of"]

_PROBE_S = 3.0
_HEARTBEAT_S = 30.0  # the scheduler looks each second or two


@dataclass(frozen=True)
class Seen:
    """What a look at a program found: whether it works now, where, and since when it says to run. `pid` is of this machine."""

    ready: bool
    pid: int | None = None
    url: str = ""
    port: int = 0
    note: str = ""
    token: str = field(default="", repr=False)
    since: dt.datetime | None = None
    restarts: int = 0  # by itself, besides those of the supervisor


@dataclass(frozen=True)
class Program:
    """One process of a service. `words` come after the Python's name; none for a program that is not started from here.

    `folder` has its lock and its address (None for the lake, which has its own). The first of `logs` is where what it prints goes.
    """

    name: str
    service: str
    words: tuple[str, ...]
    folder: Path | None
    logs: tuple[Path, ...]
    stop_s: int
    look: Callable[[], Seen] = field(repr=False)
    fault: str = "it does not answer"  # what is said of one that runs and does not work


def programs_of(settings: Settings) -> tuple[Program, ...]:
    """The programs of a workspace, in the order in which they start."""
    state = settings.state_dir
    log = state / "log"
    kept = () if settings.clickhouse_url else ("workbench.lake.keeper", "--foreground")
    lake_logs = () if settings.clickhouse_url else (state / "lake/log/keeper.log", state / "lake/log/server.log")
    found = [
        Program("clickhouse", "clickhouse", kept, None, lake_logs, 95, lambda: _look_at_lake(settings)),
        _part(settings, "skygraph-api", "skygraph-api", "api", ("workbench.api",), (log / "api.out", log / "api.log"), path="/health/live"),
        _part(settings, "skygraph-sync", "skygraph-sync", "scheduler", ("workbench.cli", "sync", "serve"),
              (log / "scheduler.out", log / "scheduler.log"), works=_looks_at_its_plan, stop_s=30),
        _part(settings, "lab", "skygraph-ui", "lab", ("workbench.services.jupyter",), (log / "lab.log",), path="/api/status"),
        _part(settings, "dashboards", "skygraph-ui", "dashboards", ("workbench.dashboards",),
              (log / "dashboards.out", log / "dashboards.log"), path="/health"),
    ]  # fmt: skip
    return tuple(found)


def names_of(settings: Settings) -> tuple[str, ...]:
    """The names that `up`, `down`, `restart` and `logs` take: the services, then the programs that have a name of their own."""
    return tuple(dict.fromkeys([*(p.service for p in programs_of(settings)), *(p.name for p in programs_of(settings))]))


def chosen(settings: Settings, names: Iterable[str]) -> tuple[Program, ...]:
    """The programs of these services or names, in starting order; all when none is named.

    Raises:
        UnknownName: names the nearest.
    """
    wanted, known = set(names), names_of(settings)
    for name in sorted(wanted):
        if name not in known:
            raise UnknownName("service", name, known)
    return tuple(p for p in programs_of(settings) if not wanted or {p.name, p.service} & wanted)


def _part(
    settings: Settings, name: str, service: str, part: str, words: tuple[str, ...], logs: tuple[Path, ...], *, path: str = "",
    works: Callable[[Path, Facts], bool] | None = None, stop_s: int = 25,
) -> Program:  # fmt: skip
    """A program that has a folder of its own. It works when it answers at `path`, or when `works` says so of its folder."""
    folder = settings.state_dir / part

    def look() -> Seen:
        facts = read_facts(folder)
        if facts is None:
            return Seen(False)
        ready = works(folder, facts) if works else _answers(facts, path)
        pid = None if facts.host else facts.pid
        return Seen(ready, pid, facts.url, facts.port, facts.note, facts.token, dt.datetime.fromisoformat(facts.started_at))

    fault = "it does not look at its plan any more" if works else "it does not answer"
    return Program(name, service, words, folder, logs, stop_s, look, fault)


def _look_at_lake(settings: Settings) -> Seen:
    if settings.clickhouse_url:
        lake = Lake(settings)
        try:
            at = lake.address
            note = f"ClickHouse {lake.ping()}, a server of its own"
            return Seen(True, None, at.url, at.port, note)
        except SkyGraphError as error:
            return Seen(False, note=str(error))
        finally:
            lake.close()
    embedded = EmbeddedLake(settings)
    running, restarts = embedded.address(), embedded.restarts()
    if running is None:
        return Seen(False, restarts=restarts)
    return Seen(True, running.pid, running.url, running.port, f"native port {running.tcp_port}", restarts=restarts)


def _looks_at_its_plan(folder: Path, facts: Facts) -> bool:
    """Whether the scheduler has looked lately at what is due; it writes down when it does, every few seconds."""
    try:
        told = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        looked_at = dt.datetime.fromisoformat(told["tick_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    now = dt.datetime.now(dt.timezone.utc)
    return looked_at >= dt.datetime.fromisoformat(facts.started_at) and (now - looked_at).total_seconds() < _HEARTBEAT_S


def _answers(facts: Facts, path: str) -> bool:
    """Whether the process answers there at all, with whatever status: what it says of itself is its own health's."""
    headers = {"Authorization": f"token {facts.token}"} if facts.token else {}
    request = urllib.request.Request(f"{facts.reach}{path}", headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_PROBE_S):
            return True
    except urllib.error.HTTPError as refused:
        refused.close()
        return True
    except (OSError, ValueError):
        return False
