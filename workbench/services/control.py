"""Start, stop and look at the services of a workspace, through its supervisor."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbench.errors import LakeUnavailable, SkyGraphError, UsageError
from workbench.hermes import load_plan, readable_folders
from workbench.lake import EmbeddedLake
from workbench.presence import elsewhere, pid_of, read_facts
from workbench.services.programs import Program, chosen, programs_of
from workbench.settings import Settings

__all__ = ["ServiceState", "Services"]

Status = Literal["ready", "starting", "backing off", "stopped", "failed"]

_START_TIMEOUT_S = 60.0
_SETTLE_S = 15.0
_STOP_TIMEOUT_S = 120.0
_CALL_TIMEOUT_S = 10.0
_POLL_S = 0.05
# an address of a unix socket has 107 bytes at most, and the supervisor makes it under a longer name first
_LONGEST_SOCKET = 90
# a program that ended sooner than this after its start was not well: the wait for the next start grows
_START_S = 10
# as long as it may take to answer for the first time; later, one that does not answer has failed
_SLOW_START_S = 45.0

_SUPERVISOR = """[unix_http_server]
file = {socket}
chmod = 0700

[supervisord]
logfile = %(here)s/../log/supervisor.log
logfile_maxbytes = 5MB
logfile_backups = 2
pidfile = %(here)s/supervisord.pid
childlogdir = %(here)s
nodaemon = true
silent = true
{user}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[rpcinterface:skygraph]
supervisor.rpcinterface_factory = workbench.services.daemon:make_interface
"""

# the words of a path go by the environment: in this file a percent sign, a quote and a semicolon would mean something
_PROGRAM = """
[program:{name}]
command = "%(ENV_SKYGRAPH_PYTHON)s" -P -m {words}
autostart = false
autorestart = true
startsecs = {start_s}
startretries = 1000000000
stopwaitsecs = {stop_s}
killasgroup = true
redirect_stderr = true
stdout_logfile = {log}
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3

[group:{name}]
programs = {name}
priority = {priority}
"""


@dataclass(frozen=True)
class ServiceState:
    """A program of a service, as it is now.

    `status` is what was seen just now: `ready` means that it answered. `pid` is the process that serves, `since` when it was started
    (None when that cannot be told), `restarts` how often it was started again since somebody asked for it, `note` what is worth knowing:
    another port than the default one, the last error, who else runs it.
    """

    name: str
    service: str
    status: Status
    pid: int | None = None
    url: str = ""
    port: int = 0
    since: dt.datetime | None = None
    restarts: int = 0
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The state as data."""
        return {
            "service": self.service, "name": self.name, "status": self.status, "pid": self.pid, "address": self.url,
            "port": self.port or None, "since": self.since, "restarts": self.restarts, "note": self.note,
        }  # fmt: skip


Say = Callable[[str, int, int], None]


def _quiet(message: str, done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Services:
    """The services of one workspace. Every call looks anew; two callers at once are safe."""

    settings: Settings

    @property
    def home(self) -> Path:
        """The supervisor's folder."""
        return self.settings.state_dir / "services"

    # --- what there is

    def states(self, names: Sequence[str] = ()) -> tuple[ServiceState, ...]:
        """Every program of these services (default: all), asked just now; starts nothing, waits a few seconds at most."""
        programs = chosen(self.settings, names)
        told = self._told() or {}
        with ThreadPoolExecutor(len(programs)) as pool:  # one that hangs does not make the others wait
            return tuple(pool.map(lambda p: self._state(p, told.get(p.name)), programs))

    def link(self, name: str) -> str:
        """The address of a program that answers, with the token that lets its owner in; empty when it does not run."""
        (program,) = (p for p in programs_of(self.settings) if p.name == name)
        seen = program.look()
        return f"{seen.url}{'/lab' if name == 'lab' else ''}?token={seen.token}" if seen.token else seen.url

    def supervisor_pid(self) -> int | None:
        """The supervisor's process, or None when there is none."""
        return pid_of(self.home)

    # --- start and stop

    def up(self, names: Sequence[str] = (), *, dev: bool = False, say: Say = _quiet) -> tuple[ServiceState, ...]:
        """Start these services (default: all), each after the one before is ready; nothing happens to one that runs.

        With `dev`, the API and the scheduler start anew when code or settings change.

        Raises:
            SkyGraphError: one does not come up; says why. It is tried again in the background until `down`.
        """
        programs = chosen(self.settings, names)
        self.settings.make_state_dir()
        (self.settings.state_dir / "log").mkdir(mode=0o700, exist_ok=True)
        with self._alone():
            self._have_supervisor(dev, say)
            for number, program in enumerate(programs):
                if program.words:  # a server of its own is only looked at
                    say(f"starting {program.name}", number, len(programs))
                self._start(program)
            if dev:
                self._begin("watch")
            say("ready", len(programs), len(programs))
        # each has answered; on a busy machine one that is warming up may miss the look after that
        deadline = time.monotonic() + _SETTLE_S
        while True:
            states = self.states(names)
            if all(state.status == "ready" for state in states) or time.monotonic() > deadline:
                return states
            time.sleep(_POLL_S)

    def down(self, names: Sequence[str] = (), *, say: Say = _quiet) -> tuple[str, ...]:
        """Stop these services (default: all and the supervisor), the last started first; the programs that were stopped.

        One that somebody started by hand is stopped as well. One that runs on another container or machine is not.

        Raises:
            SkyGraphError: one that was named runs on another container or machine.
        """
        programs = chosen(self.settings, names)[::-1]
        if not self.settings.state_dir.is_dir():
            return ()
        for program in programs if names else ():
            self._refuse_elsewhere(program)
        stopped = []
        with self._alone():
            if not names and self.supervisor_pid() is not None:
                self._stop_watch()
            for number, program in enumerate(programs):
                say(f"stopping {program.name}", number, len(programs))
                if self._stop(program):
                    stopped.append(program.name)
            if not names:
                self._end_supervisor()
                shutil.rmtree(self.settings.state_dir / "lab/session", ignore_errors=True)
        return tuple(stopped)

    def restart(self, name: str, *, say: Say = _quiet) -> tuple[ServiceState, ...]:
        """Stop a service and start it again.

        Raises:
            SkyGraphError: it does not come up; says why.
        """
        programs = chosen(self.settings, [name])
        if all(not p.words for p in programs):
            raise UsageError(f"{name} is a server of its own; it is not started from here", hint="see the setting clickhouse_url")
        for program in programs:
            self._refuse_elsewhere(program)
        with self._alone():
            for program in programs[::-1]:
                say(f"stopping {program.name}", 0, 2)
                self._stop(program)
        return self.up([name], say=say)

    def reload(self, name: str) -> bool:
        """Have the supervisor start a program anew, and do not wait for it; False when it is not to run."""
        told = (self._told() or {}).get(name)
        if told is None or told["statename"] == "STOPPED":
            return False
        with self._rpc(_STOP_TIMEOUT_S) as rpc, suppress(xmlrpc.client.Fault):
            rpc.supervisor.stopProcess(f"{name}:{name}")
        self._begin(name)
        return True

    # --- one program

    def _start(self, program: Program) -> None:
        """Start a program that does not run, and wait until it answers."""
        if not program.words:
            if not (seen := program.look()).ready:
                raise LakeUnavailable(f"the ClickHouse server does not answer: {seen.note}", hint="see the setting clickhouse_url")
            return
        if where := self._elsewhere(program):
            if program.look().ready:
                return
            raise SkyGraphError(f"{program.service} runs on {where} and does not answer here", hint="look at it there")
        self._end_orphan(program)
        holder = self._holder(program)
        if program.folder is not None and holder is not None and not self._is_ours(holder) and program.look().ready:
            return  # somebody started it by hand: it stays
        if program.name == "clickhouse":
            self._tell_readable()
        self._begin(program.name)
        before: int | None = None
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if program.look().ready:
                return
            told = (self._told() or {}).get(program.name, {})
            before = told.get("restarts") if before is None else before
            # on a busy machine one may end only after the time in which an end counts as a failure: then it was started again
            again = told.get("failures", 0) >= 2 or told.get("restarts", 0) - (before or 0) >= 2
            if again or told.get("statename") in ("FATAL", "STOPPED"):
                raise SkyGraphError(
                    f"{program.service} cannot start: {self._last_words(program) or 'it said nothing'}",
                    hint=f"it is tried again until `skygraph down {program.service}`; `skygraph logs {program.service}` has all it said",
                )
            time.sleep(_POLL_S)
        raise SkyGraphError(
            f"{program.service} did not answer within {_START_TIMEOUT_S:.0f} s", hint=f"see `skygraph logs {program.service}`"
        )  # fmt: skip

    def _begin(self, name: str) -> None:
        """Have the supervisor start a program; a running one is left alone, one that waits for its next start starts now."""
        with self._rpc() as rpc:
            try:
                if rpc.supervisor.getProcessInfo(f"{name}:{name}")["statename"] == "BACKOFF":
                    rpc.supervisor.stopProcess(f"{name}:{name}")
                rpc.supervisor.startProcess(f"{name}:{name}", False)
            except xmlrpc.client.Fault as fault:
                if "ALREADY_STARTED" not in fault.faultString:
                    raise SkyGraphError(f"{name} cannot be started: {fault.faultString}") from fault

    def _stop(self, program: Program) -> bool:
        """Stop a program, whoever started it. False when it did not run."""
        if not program.words:
            return False
        ran = False
        told = (self._told() or {}).get(program.name)
        if told and told["statename"] not in ("STOPPED", "EXITED", "FATAL"):
            ran = told["statename"] != "BACKOFF"
            with self._rpc(_STOP_TIMEOUT_S) as rpc, suppress(xmlrpc.client.Fault):
                rpc.supervisor.stopProcess(f"{program.name}:{program.name}")
        if program.folder is None:
            return EmbeddedLake(self.settings).stop() or ran
        return self._end(self._holder(program), lambda: self._holder(program), program.stop_s) or ran

    def _elsewhere(self, program: Program) -> str:
        """The other container or machine on which it runs, if it does."""
        return elsewhere(program.folder) if program.folder is not None else ""

    def _holder(self, program: Program) -> int | None:
        """The process of this machine that holds the program's lock, whoever started it."""
        return pid_of(program.folder) if program.folder is not None else EmbeddedLake(self.settings).keeper_pid()

    def _refuse_elsewhere(self, program: Program) -> None:
        if where := self._elsewhere(program):
            raise SkyGraphError(f"{program.service} runs on {where}, not here", hint=f"with containers: docker compose restart {where}")

    def _end_orphan(self, program: Program) -> None:
        """End a program that a supervisor had started which is gone: it would stand in the way of ours, unwatched."""
        pid = self._holder(program)
        if pid is not None and self._was_supervised(pid) and not self._is_ours(pid):
            self._end(pid, lambda: self._holder(program), program.stop_s)

    def _is_ours(self, pid: int | None) -> bool:
        """Whether the running supervisor started this process."""
        return any(told["pid"] == pid for told in (self._told() or {}).values())

    def _was_supervised(self, pid: int) -> bool:
        import psutil

        try:
            return "SUPERVISOR_ENABLED" in psutil.Process(pid).environ()
        except psutil.Error:
            return False

    def _end(self, pid: int | None, holder: Callable[[], int | None], patience_s: float) -> bool:
        """End a process in order, and by force when it does not; False when there is none."""
        if pid is None:
            return False
        for ending, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
            with suppress(ProcessLookupError):
                os.kill(pid, ending)
            deadline = time.monotonic() + wait_s
            while time.monotonic() < deadline:
                if holder() != pid:
                    return True
                time.sleep(_POLL_S)
        raise SkyGraphError(f"process {pid} does not end", hint="it may wait for a disk; look at it with `ps`")

    # --- what is seen

    def _state(self, program: Program, told: Mapping[str, Any] | None) -> ServiceState:
        seen = program.look()
        holder = self._holder(program) if program.words else None
        port, restarts, since = seen.port, 0, None
        note = seen.note
        status: Status
        if not program.words:
            status = "ready" if seen.ready else "failed"
            return ServiceState(program.name, program.service, status, None, seen.url, port, None, 0, note)
        if where := self._elsewhere(program):
            status = "ready" if seen.ready else "failed"
            note = "; ".join(n for n in (note, f"it runs on {where}", "" if seen.ready else program.fault) if n)
            return ServiceState(program.name, program.service, status, None, seen.url, port, seen.since, 0, note)
        supervised = told is not None and told["pid"] != 0
        state = told["statename"] if told else ""
        restarts = seen.restarts + (int(told["restarts"]) if told else 0)
        if supervised and told:
            since = dt.datetime.fromtimestamp(told["start"], dt.timezone.utc)
        elif holder is not None and seen.ready:
            since = self._since(seen.pid)
        if seen.ready:
            status = "ready"
            stands_by = program.folder is None and supervised  # a second keeper, that takes the lake over when the first one ends
            if not stands_by and (told is None or (holder is not None and told["pid"] != holder)):
                who = "by a supervisor that is gone" if holder and self._was_supervised(holder) else "not by the supervisor"
                later = "; `skygraph up` takes it back" if told is None else ""
                note = "; ".join(n for n in (note, f"started {who} (process {holder}){later}") if n)
        elif state == "BACKOFF" or (state == "EXITED"):
            status = "backing off"
        elif supervised and told:
            slow = told["now"] - told["start"] > _SLOW_START_S
            status = "failed" if slow else "starting"
        elif holder is not None:
            status = "failed" if seen.pid else "starting"
        else:
            status = "failed" if state in ("FATAL", "UNKNOWN") else "stopped"
        if status == "failed":
            note = program.fault
        if status == "backing off" or (status == "starting" and told and (told["failures"] or told["restarts"])):
            note = self._last_words(program) or (told or {}).get("spawnerr", "")
        elif status == "stopped" and holder is None and told is None and self.supervisor_pid() is None:
            note = note or ""
        pid = seen.pid or holder or (told["pid"] if told and told["pid"] else None)
        return ServiceState(program.name, program.service, status, pid, seen.url, port, since, restarts, note)

    def _since(self, pid: int | None) -> dt.datetime | None:
        import psutil

        try:
            return dt.datetime.fromtimestamp(psutil.Process(pid).create_time(), dt.timezone.utc) if pid else None
        except psutil.Error:
            return None

    def _last_words(self, program: Program) -> str:
        """The last line that a program printed, without its time and name."""
        try:
            with open(program.logs[0], "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
                lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        except OSError:
            return ""
        if program.name == "clickhouse":
            lines = [line for line in lines if "Exception" in line or "rror:" in line or "already served" in line] or lines
        said = lines[-1] if lines else ""
        return said.removeprefix(f"{program.name}: ").removeprefix("skygraph: ")[:400]

    # --- the supervisor

    def _have_supervisor(self, dev: bool, say: Say) -> None:
        """The supervisor of this very version, with the programs as they are now."""
        from workbench.services.daemon import versions

        text = self._config(dev)
        path = self.home / "supervisord.conf"
        facts = read_facts(self.home)
        resume: list[str] = []
        if facts is not None and facts.note != versions():
            say(f"the supervisor is of another version ({facts.note}); starting it anew", 0, 1)
            resume = [name for name, told in (self._told() or {}).items() if told["pid"]]
            self._end_supervisor()
            facts = None
        if facts is None:
            _write_private(path, text)
            self._start_supervisor()
        elif path.read_text(encoding="utf-8") != text:
            _write_private(path, text)
            self._update(say)
        for name in resume:
            if name != "watch" or dev:
                self._begin(name)

    def _config(self, dev: bool) -> str:
        """The supervisor's file. It has no secret and no path of the user's in it."""
        address = _socket_of(self.home)
        own = address == str(self.home / "supervisor.sock")
        user = "user = root\n" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
        parts = [_SUPERVISOR.format(socket="%(here)s/supervisor.sock" if own else address, user=user)]
        programs = [(p.name, " ".join(p.words), p.logs[0], p.stop_s) for p in programs_of(self.settings) if p.words]
        if dev:
            programs.append(("watch", "workbench.services.watch", self.settings.state_dir / "log/watch.out", 5))
        for number, (name, words, log, stop_s) in enumerate(programs, 1):
            where = "%(here)s/../" + str(log.relative_to(self.settings.state_dir))
            log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            parts.append(
                _PROGRAM.format(name=name, words=words, log=where, stop_s=stop_s, start_s=_START_S, priority=number * 10)
            )  # fmt: skip
        return "".join(parts)

    def _start_supervisor(self) -> None:
        words = [sys.executable, "-P", "-m", "workbench.services.daemon", str(self.home)]
        environ = {**self.settings.environment(), "SKYGRAPH_PYTHON": sys.executable, "PYTHONUNBUFFERED": "1"}
        self._remember(environ)
        log = self.settings.state_dir / "log/supervisor.out"
        alive, held = os.pipe()
        try:
            with open(log, "ab") as out:
                mark = out.tell()
                subprocess.run(
                    words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ, cwd=self.settings.workspace, pass_fds=(held,),
                    check=False,
                )  # fmt: skip
            os.close(held)
            deadline = time.monotonic() + _START_TIMEOUT_S
            while time.monotonic() < deadline:
                if self.supervisor_pid() is not None and self._told() is not None:
                    return
                if select.select([alive], [], [], _POLL_S)[0]:
                    said = log.read_bytes()[mark:].decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
                    raise SkyGraphError(f"the supervisor cannot start: {said[-1]}", hint=f"see {log}")
        finally:
            os.close(alive)
        raise SkyGraphError(f"the supervisor did not answer within {_START_TIMEOUT_S:.0f} s", hint=f"see {log}")

    def _end_supervisor(self) -> bool:
        """End the supervisor, and with it what it runs. One that does not answer is ended by force."""
        ended = self._end(self.supervisor_pid(), self.supervisor_pid, _STOP_TIMEOUT_S)
        if ended:
            for program in programs_of(self.settings):
                self._end_orphan(program)
        return ended

    def _update(self, say: Say) -> None:
        """Have the running supervisor read its file again; programs that changed are started anew if they ran."""
        with self._rpc(_STOP_TIMEOUT_S) as rpc:
            added, changed, removed = rpc.supervisor.reloadConfig()[0]
            told = self._told() or {}
            for name in (*changed, *removed):
                say(f"{name} has changed", 0, 1)
                rpc.supervisor.stopProcessGroup(name)
                rpc.supervisor.removeProcessGroup(name)
            for name in (*added, *changed):
                rpc.supervisor.addProcessGroup(name)
        for name in changed:
            if told.get(name, {}).get("pid"):
                self._begin(name)

    def _stop_watch(self) -> None:
        if (self._told() or {}).get("watch", {}).get("pid"):
            with self._rpc() as rpc, suppress(xmlrpc.client.Fault):
                rpc.supervisor.stopProcess("watch:watch")

    def _told(self) -> dict[str, dict[str, Any]] | None:
        """What the supervisor says of each program; None when there is no supervisor."""
        if self.supervisor_pid() is None:
            return None
        try:
            with self._rpc() as rpc:
                counts = rpc.skygraph.counts()
                none = {"restarts": 0, "failures": 0}
                return {info["name"]: {**info, **counts.get(info["name"], none)} for info in rpc.supervisor.getAllProcessInfo()}
        except TimeoutError:
            raise SkyGraphError(
                f"the supervisor (process {self.supervisor_pid()}) does not answer",
                hint="end it with `kill -9` and that number, then `skygraph up` puts everything in order",
            ) from None
        except (OSError, xmlrpc.client.Error):
            return None  # it is starting or ending

    @contextmanager
    def _rpc(self, timeout_s: float = _CALL_TIMEOUT_S) -> Iterator[Any]:
        from supervisor.xmlrpc import SupervisorTransport, UnixStreamHTTPConnection

        address = _socket_of(self.home)

        class Connection(UnixStreamHTTPConnection):  # type: ignore[misc]
            def connect(self) -> None:
                self.socketfile = address
                super().connect()
                self.sock.settimeout(timeout_s)

        transport = SupervisorTransport(serverurl=f"unix://{address}")
        transport._get_connection = lambda: Connection("localhost")
        try:
            yield xmlrpc.client.ServerProxy("http://localhost", transport=transport)
        finally:
            transport.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One caller at a time changes what runs."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.home / "change.lock", "a+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # --- what the programs are given

    def _tell_readable(self) -> None:
        """Write which source folders the lake may read; the keeper reads it at each start of the engine."""
        try:
            plan = load_plan(self.settings.workspace)
            folders = readable_folders(plan, self.settings.workspace, self.settings.state_dir)
        except SkyGraphError:
            folders = []  # sync says what is wrong; the lake does not depend on it
        (self.settings.state_dir / "lake").mkdir(mode=0o700, exist_ok=True)
        _write_private(self.settings.state_dir / "lake/readable.json", json.dumps([str(f) for f in folders]))

    def _remember(self, environ: Mapping[str, str]) -> None:
        """Keep what the settings of the environment were, not as they are but so that they can be compared."""
        salt = secrets.token_hex(16)
        _write_private(self.home / "environment.json", json.dumps({"salt": salt, "settings": _fingerprints(environ, salt)}))

    def changed_settings(self) -> tuple[str, ...]:
        """The settings of this environment that the running services were started without: their names."""
        try:
            kept = json.loads((self.home / "environment.json").read_text(encoding="utf-8"))
            now = _fingerprints(self.settings.environment(), kept["salt"])
            return tuple(sorted(name for name in {*now, *kept["settings"]} if now.get(name) != kept["settings"].get(name)))
        except (OSError, ValueError, KeyError):
            return ()


def _fingerprints(environ: Mapping[str, str], salt: str) -> dict[str, str]:
    kept = {k: v for k, v in environ.items() if k.startswith("SKYGRAPH_") and k not in ("SKYGRAPH_PYTHON", "SKYGRAPH_WORKSPACE")}
    return {name: hashlib.blake2b(value.encode(), key=salt.encode()).hexdigest() for name, value in kept.items()}


def _write_private(path: Path, text: str) -> None:
    """Write a file of the owner's alone, whole or not at all."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def _socket_of(home: Path) -> str:
    """Where the supervisor listens: in its folder, or in a folder of the owner's alone when that path is too long.

    Raises:
        SkyGraphError: the folder for long paths is somebody else's.
    """
    address = str(home / "supervisor.sock")
    if len(os.fsencode(address)) <= _LONGEST_SOCKET and not set(address) & set("%;\n"):
        return address
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"skygraph-{os.getuid()}"
    if len(os.fsencode(str(folder))) > _LONGEST_SOCKET - 40:
        folder = Path("/tmp") / f"skygraph-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        hint = "the supervisor's socket goes there; remove it, or chmod it to 700"
        raise SkyGraphError(f"{folder} is not a folder of yours alone", hint=hint)
    return str(folder / f"{hashlib.sha256(os.fsencode(str(home))).hexdigest()[:16]}.sock")
