"""Which long-lived process of a workspace runs: each holds a lock for as long as it lives, and tells in a file where it answers.

A part's folder (`.skygraph/api`, `.skygraph/scheduler`, `.skygraph/lab`, `.skygraph/dashboards`) has `lock` and `server.json`. The
lock decides whether the process runs, never a number in a file: a number may be another process's by now, a lock ends with its holder.

A workspace may be shared by containers, or by machines over a network disk: locks count among all of them, process numbers only where
they were given. A holder that is elsewhere is told by the name of its machine, and never by a number that somebody could end.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from workbench.errors import Busy

__all__ = ["Facts", "elsewhere", "hold", "pid_of", "read_facts", "write_facts"]

_PATIENCE_S = 1.0  # whoever only looks whether the lock is held holds it for a moment
_POLL_S = 0.02


@dataclass(frozen=True)
class Facts:
    """Where a process answers. `note` says why its port is not the default one; `started_at` is ISO 8601 with zone.

    `url` is empty and `port` is 0 for one that listens nowhere. `token` is for the owner of the file only (it is 0600). `host` is the
    machine or container where it runs when that is another one; its `pid` is a number of that one then.
    """

    pid: int
    url: str
    port: int
    note: str
    started_at: str
    token: str = field(default="", repr=False)
    host: str = ""

    @property
    def reach(self) -> str:
        """The address under which this process reaches it: one that listens on all addresses of a container, by the container's name."""
        name = urlsplit(self.url).hostname or "localhost"
        if name == "localhost":
            name = self.host or "127.0.0.1"
        return f"http://{f'[{name}]' if ':' in name else name}:{self.port}"


@contextmanager
def hold(folder: Path, what: str) -> Iterator[None]:
    """Be the only process of this part of the workspace from here on; `what` names it: "the API of this workspace".

    The lock is let go when the process is gone, not at the end of the block: nobody takes over while a thread still works. Facts
    that an earlier process left are removed at the beginning, ours at the end.

    Raises:
        Busy: another process is that one already; says which.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                raise Busy(f"{what} runs already ({_told_by(_holder(folder))})", hint="`skygraph ps` shows it") from None
            time.sleep(_POLL_S)
    (folder / "server.json").unlink(missing_ok=True)
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()} {_numbers()} {socket.gethostname()}\n".encode())
    try:
        yield
    finally:
        (folder / "server.json").unlink(missing_ok=True)


def write_facts(folder: Path, *, url: str = "", port: int = 0, note: str = "", token: str = "") -> Facts:
    """Tell where this process answers, once it does: whoever reads it can ask at once. The file appears whole, 0600."""
    facts = Facts(os.getpid(), url, port, note, dt.datetime.now(dt.timezone.utc).isoformat(), token)
    said = {name: value for name, value in asdict(facts).items() if name not in ("token", "host") or value}
    new = folder / f"server.json.{os.getpid()}"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(said, file)
    new.replace(folder / "server.json")
    return facts


def read_facts(folder: Path) -> Facts | None:
    """What the process that holds the lock now has told, wherever it runs; None when nobody holds it, or it is not ready yet."""
    holder = _holder(folder)
    try:
        told = json.loads((folder / "server.json").read_text(encoding="utf-8"))
        facts = Facts(told["pid"], told["url"], told["port"], told["note"], told["started_at"], told.get("token", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if holder is None or facts.pid != holder[0]:
        return None
    return replace(facts, host=holder[2]) if _is_elsewhere(holder) else facts


def pid_of(folder: Path) -> int | None:
    """The process that holds the lock, or None; also None when it is a process of another machine or container."""
    holder = _holder(folder)
    return None if holder is None or _is_elsewhere(holder) else holder[0]


def elsewhere(folder: Path) -> str:
    """The machine or container whose process holds the lock, when it is another one; empty when it is this one, or nobody."""
    holder = _holder(folder)
    return holder[2] if holder is not None and _is_elsewhere(holder) else ""


_Holder = tuple[int, str, str]  # its number, where that number counts, and the name of that machine


def _holder(folder: Path) -> _Holder | None:
    """Who holds the lock, or None."""
    try:
        with open(folder / "lock", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                number, _, rest = lock.read().strip().partition(" ")
                numbers, _, host = rest.partition(" ")
                return (int(number), numbers, host) if number.isdigit() else None
    except OSError:
        return None
    return None


def _is_elsewhere(holder: _Holder) -> bool:
    return bool(holder[1]) and holder[1] != _numbers()


def _told_by(holder: _Holder | None) -> str:
    if holder is None:
        return "it has just begun"
    return f"on {holder[2]}" if _is_elsewhere(holder) else f"process {holder[0]}"


def _numbers() -> str:
    """Where process numbers are those that this process knows: this start of this machine, and this container of it.

    Not the machine's name, which changes with the network that a laptop is in. Empty where it cannot be told, and taken for the same then.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""
