"""Which long-lived process of a workspace runs: each holds a lock for as long as it lives, and tells in a file where it answers.

A part's folder (`.skygraph/api`, `.skygraph/scheduler`, `.skygraph/lab`, `.skygraph/dashboards`) has `lock` and `server.json`. The
lock decides whether the process runs, never a number in a file: a number may be another process's by now, a lock ends with its holder.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from workbench.errors import Busy

__all__ = ["Facts", "hold", "pid_of", "read_facts", "write_facts"]

_PATIENCE_S = 1.0  # whoever only looks whether the lock is held holds it for a moment
_POLL_S = 0.02


@dataclass(frozen=True)
class Facts:
    """Where a process answers. `note` says why its port is not the default one; `started_at` is ISO 8601 with zone.

    `url` is empty and `port` is 0 for one that listens nowhere. `token` is for the owner of the file only (it is 0600).
    """

    pid: int
    url: str
    port: int
    note: str
    started_at: str
    token: str = field(default="", repr=False)


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
                number = os.read(lock, 20).decode(errors="replace").strip()
                os.close(lock)
                raise Busy(f"{what} runs already (process {number})", hint="`skygraph ps` shows it") from None
            time.sleep(_POLL_S)
    (folder / "server.json").unlink(missing_ok=True)
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    try:
        yield
    finally:
        (folder / "server.json").unlink(missing_ok=True)


def write_facts(folder: Path, *, url: str = "", port: int = 0, note: str = "", token: str = "") -> Facts:
    """Tell where this process answers, once it does: whoever reads it can ask at once. The file appears whole, 0600."""
    facts = Facts(os.getpid(), url, port, note, dt.datetime.now(dt.timezone.utc).isoformat(), token)
    said = {name: value for name, value in asdict(facts).items() if name != "token" or value}
    new = folder / f"server.json.{os.getpid()}"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(said, file)
    new.replace(folder / "server.json")
    return facts


def read_facts(folder: Path) -> Facts | None:
    """What the process that holds the lock now has told; None when nobody holds it, or it is not ready yet."""
    pid = pid_of(folder)
    try:
        told = json.loads((folder / "server.json").read_text(encoding="utf-8"))
        facts = Facts(told["pid"], told["url"], told["port"], told["note"], told["started_at"], told.get("token", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return facts if facts.pid == pid else None


def pid_of(folder: Path) -> int | None:
    """The process that holds the lock, or None."""
    try:
        with open(folder / "lock", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = lock.read().strip()
                return int(text) if text.isdigit() else None
    except OSError:
        return None
    return None
