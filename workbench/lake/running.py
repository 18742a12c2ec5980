"""A statement while it runs: rows, rows a second, memory, told to whoever asked to hear."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["Running", "told_while_running", "watched"]

_FIRST_S = 0.4  # after which a statement is looked at; most have ended by then
_NEXT_S = 0.25


@dataclass(frozen=True)
class Running:
    """What the server tells of a statement: rows read and to be read (0: it cannot say), rows and bytes written, memory, seconds."""

    rows: int
    total_rows: int
    written_rows: int
    written_bytes: int
    memory_bytes: int
    elapsed_s: float

    @property
    def percent(self) -> int | None:
        """How much of what it reads has been read; None when the server cannot say."""
        return min(99, 100 * self.rows // self.total_rows) if self.total_rows else None

    def __str__(self) -> str:
        rate = self.rows / self.elapsed_s if self.elapsed_s > 0 else 0
        of = f" of {_short(self.total_rows)}" if self.total_rows > self.rows else ""
        kept = f", {_short(self.written_rows)} written" if self.written_rows else ""
        return f"{_short(self.rows)}{of} rows read{kept}, {_short(rate)} rows/s, {self.memory_bytes / 1e6:,.0f} MB of memory"


def _short(count: float) -> str:
    """A count in a few letters.

    >>> _short(950), _short(12_345), _short(3_512_000), _short(2.5e9)
    ('950', '12,345', '3.51 million', '2.50 billion')
    """
    for unit, word in ((1e9, "billion"), (1e6, "million")):
        if count >= unit:
            return f"{count / unit:.2f} {word}"
    return f"{count:,.0f}"


_LISTENER: ContextVar[Callable[[Running], None] | None] = ContextVar("listener", default=None)


@contextmanager
def watched(listen: Callable[[Running], None]) -> Iterator[None]:
    """Statements begun here, in this thread or task, are told about while they run: from another thread, a few times a second."""
    before = _LISTENER.set(listen)
    try:
        yield
    finally:
        _LISTENER.reset(before)


@contextmanager
def told_while_running(look: Callable[[], Running | None]) -> Iterator[None]:
    """Look again and again, and tell the listener of this thread; nobody is told any more when this has ended."""
    listen = _LISTENER.get()
    if listen is None:
        yield
        return
    ended = threading.Event()

    def watch(listen: Callable[[Running], None]) -> None:
        wait_s = _FIRST_S
        while not ended.wait(wait_s):
            wait_s = _NEXT_S
            with suppress(Exception):  # it is only told; the statement itself says what went wrong
                seen = look()
                if seen is not None and not ended.is_set():
                    listen(seen)

    watcher = threading.Thread(target=watch, args=(listen,), name="skygraph-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join(5)
