"""Start, find and stop the embedded lake of a workspace.

Three processes take part. The caller (any `skygraph` command) asks `EmbeddedLake.ensure()`; under a lock it starts a
keeper (`keeper.py`), once per workspace. The keeper starts the engine (`engine.py`), restarts it when it crashes, and stops
it when told. The engine ends by itself when its keeper is gone, so nothing is ever left running unwatched.

Everything is under the workspace's `.skygraph/lake/`: `data/`, `log/`, `run/`, and `credentials.json` and `viewer.json` (0600), the
sign-ins of its owner and of those who may only look.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from workbench.errors import LakeError, LakeUnavailable
from workbench.lake.keeper import clean_environment
from workbench.ports import choose_port
from workbench.settings import Settings

__all__ = ["Address", "EmbeddedLake"]

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 90.0
_POLL_S = 0.02


@dataclass(frozen=True)
class Address:
    """Where a lake answers and who signs in. `password` never shows in its repr."""

    host: str
    port: int
    user: str
    password: str
    secure: bool = False
    pid: int = 0
    tcp_port: int = 0

    def __repr__(self) -> str:
        return f"Address({self.url})"

    @property
    def url(self) -> str:
        """The HTTP address without the password."""
        return f"{'https' if self.secure else 'http'}://{self.host}:{self.port}"


class EmbeddedLake:
    """The embedded lake of one workspace, seen from outside its processes.

    `readable` are source folders that the engine may read (it can read nothing else outside its own folder); they count
    when the engine starts.
    """

    def __init__(self, settings: Settings, *, readable: Sequence[Path] = ()) -> None:
        self.settings = settings
        self.home = settings.state_dir / "lake"
        self.readable = tuple(readable)
        self.notes: list[str] = []

    # --- what is there

    def address(self) -> Address | None:
        """Where this workspace's lake answers, or None when it does not run. Starts nothing."""
        try:
            running = json.loads((self.home / "run/server.json").read_text(encoding="utf-8"))
            sign_in = json.loads((self.home / self._credentials).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        found = Address("127.0.0.1", running["http"], sign_in["user"], sign_in["password"], pid=running["pid"], tcp_port=running["tcp"])
        return found if _answers(found) else None

    def restarts(self) -> int:
        """How often the keeper started the engine again since the keeper began; 0 when there is none."""
        if self.keeper_pid() is None:
            return 0
        try:
            return int((self.home / "run/restarts").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0

    @property
    def _credentials(self) -> str:
        return "viewer.json" if self.settings.role == "viewer" else "credentials.json"

    def _nothing_to_view(self) -> LakeUnavailable:
        """Why a viewer, who starts nothing, gets no address."""
        if (self.home / "run/server.json").exists() and not (self.home / self._credentials).exists():
            return LakeUnavailable(
                "the lake runs since before it had a read-only user", hint="`skygraph restart clickhouse` gives it one; nothing is lost"
            )
        return LakeUnavailable("the lake does not run", hint="`skygraph up` starts it")

    def keeper_pid(self) -> int | None:
        """The process that watches the engine, or None. The lock decides, not the number in the file."""
        try:
            with open(self.home / "run/keeper.lock", "a+", encoding="utf-8") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    lock.seek(0)
                    text = lock.read().strip()
                    return int(text) if text.isdigit() else None
        except OSError:
            return None
        return None

    # --- start and stop

    def ensure(self) -> Address:
        """The address of the running lake, starting it when needed. Callers at the same moment get the same one.

        Raises:
            LakeError: it cannot start: a port that was asked for is taken, the folder cannot be written, ...
            LakeUnavailable: it did not answer in time; trying again may help.
        """
        if found := self.address():
            return found
        if self.settings.role == "viewer":
            raise self._nothing_to_view()
        if "\\" in str(self.home):
            raise LakeError(f"the lake's folder {self.home} has a backslash in its path", hint="give the workspace another path")
        try:
            self.settings.make_state_dir()
            for folder in (self.home, self.home / "log", self.home / "run"):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LakeError(
                f"the lake's folder {self.home} cannot be made: {error.strerror}", hint="check its rights and its disk"
            ) from error
        with _locked(self.home / "run/start.lock"):
            for _ in range(3):
                if found := self._wait_for_keeper():
                    return found
                if found := self._start():
                    return found
        raise LakeUnavailable(f"the lake did not start: {self._last_words()}", hint=f"see {self.home / 'log'}")

    def _wait_for_keeper(self) -> Address | None:
        """The address once a keeper that already runs has its engine back; None when there is no keeper."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self.keeper_pid() is not None and time.monotonic() < deadline:
            if found := self.address():
                return found
            time.sleep(_POLL_S)
        return None

    def _start(self) -> Address | None:
        """Start a keeper and wait for its engine; None when the port was taken from under it (worth another try)."""
        http = self._free_port("lake_http_port", taken=())
        tcp = self._free_port("lake_tcp_port", taken=(http,))
        out = open(self.home / "log/keeper.log", "ab")  # noqa: SIM115 - handed to the process
        mark = out.tell()
        words = [sys.executable, "-P", "-m", "workbench.lake.keeper", "--home", str(self.home)]
        words += ["--http", str(http), "--tcp", str(tcp)]
        for folder in self.readable:
            words += ["--read", str(folder)]
        package_root = str(Path(__file__).resolve().parents[2])
        # the keeper leaves our process family; it holds the pipe's other end, so that reading it says when it is gone
        alive, held = os.pipe()
        try:
            with out:
                subprocess.run(
                    words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.home, pass_fds=(held,), check=False,
                    env={**clean_environment(), "PYTHONPATH": package_root},
                )  # fmt: skip
            os.close(held)
            deadline = time.monotonic() + _START_TIMEOUT_S
            while time.monotonic() < deadline:
                if found := self.address():
                    return found
                if select.select([alive], [], [], _POLL_S)[0]:
                    said = (self.home / "log/keeper.log").read_bytes()[mark:].decode("utf-8", "replace")
                    if "Address already in use" in said:
                        return None
                    raise LakeError(f"the lake cannot start: {_reason(said)}", hint=f"see {self.home / 'log'}")
        finally:
            os.close(alive)
        raise LakeUnavailable(
            f"the lake did not answer within {_START_TIMEOUT_S:.0f} s: {self._last_words()}", hint=f"see {self.home / 'log'}"
        )

    def stop(self) -> bool:
        """Stop the lake in order: everything acknowledged is on disk. False when nothing ran."""
        pid = self.keeper_pid()
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return False
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while self.keeper_pid() is not None:
            if time.monotonic() > deadline:
                raise LakeError(f"the lake (process {pid}) did not stop in {_STOP_TIMEOUT_S:.0f} s", hint="see `skygraph logs`")
            time.sleep(_POLL_S)
        return True

    def _free_port(self, setting: str, *, taken: Sequence[int]) -> int:
        port, note = choose_port(self.settings, setting, "the lake", taken=taken)
        if note:
            self.notes.append(note)
        return port

    def _last_words(self) -> str:
        try:
            return _reason((self.home / "log/keeper.log").read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return "it left no log"


def _reason(log: str) -> str:
    """The line of a keeper's log that best says why the engine ended."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "Exception" in line or "Error" in line or "already served" in line]
    return (errors or lines or ["it said nothing"])[-1][:400]


def _answers(address: Address) -> bool:
    """Whether this very lake answers there: a lake of another workspace refuses the password."""
    import base64
    import http.client

    sign_in = base64.b64encode(f"{address.user}:{address.password}".encode()).decode()
    connection = http.client.HTTPConnection(address.host, address.port, timeout=5)
    try:
        connection.request("POST", "/", b"select 1", {"Authorization": f"Basic {sign_in}"})
        return connection.getresponse().read() == b"1\n"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    with open(path, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
