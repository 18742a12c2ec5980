"""Calls that take their time: one at a time, in a thread when a live kernel shows the widget, with throttled progress.

Only synced traits reach every surface (JupyterLab, voila, papermill) from a thread, so nothing here prints from one.
Without a live kernel, or with `SKYGRAPH_BATCH=1` (set for papermill runs), calls run in the caller's thread and
progress is printed as lines, which then stand in the output notebook.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Task", "Throttle", "is_live", "write_line"]

T = TypeVar("T")


def is_live() -> bool:
    """Whether a person is looking: a kernel runs this process and no batch run was announced."""
    if os.environ.get("SKYGRAPH_BATCH", "") not in ("", "0"):
        return False
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def write_line(text: str) -> None:
    """Print a line of progress now; only for batch runs."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Task:
    """Runs one call at a time and says when it is busy.

    `live` True means a thread, False the caller's thread, None as `is_live()` says. `busy` is called with True before
    and False after each stretch of work, `failed` with the exception of a call; both from the thread that works.
    """

    def __init__(self, busy: Callable[[bool], None], failed: Callable[[BaseException], None], *, live: bool | None = None) -> None:
        self.live = is_live() if live is None else live
        self._on_busy = busy
        self._on_failed = failed
        self._lock = threading.Lock()
        self._busy = False
        self._closed = False
        self._next: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether a call runs."""
        return self._busy

    def start(self, work: Callable[[], T], done: Callable[[T], None], *, queue: bool = False) -> bool:
        """Run `work`, then `done` with its answer; True when it runs or waits to run.

        While another call runs, this one is dropped, or with `queue` runs next in place of any that waited.
        """

        def step() -> None:
            done(work())

        with self._lock:
            if self._closed or (self._busy and not queue):
                return False
            if self._busy:
                self._next = step
                return True
            self._busy = True
            if self.live:
                # a daemon: a kernel that ends does not wait for a sync
                self._thread = threading.Thread(target=self._loop, args=(step,), name="skygraph-widget", daemon=True)
                self._thread.start()
        if not self.live:
            self._loop(step)
        return True

    def _loop(self, step: Callable[[], None]) -> None:
        current: Callable[[], None] | None = step
        try:
            while current is not None:
                self._tell(self._on_busy, True)
                while current is not None:
                    try:
                        current()
                    except Exception as error:
                        self._tell(self._on_failed, error)
                    with self._lock:
                        current, self._next = self._next, None
                self._tell(self._on_busy, False)
                with self._lock:
                    # a click may have come in while the controls were given back
                    current, self._next = self._next, None
                    self._busy = current is not None
        finally:
            self._busy = False

    def _tell(self, listener: Callable[[Any], None], value: Any) -> None:
        """A closed widget hears nothing more."""
        if not self._closed:
            listener(value)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing runs; False when that took longer than `timeout_s`."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and thread.ident is not None:
            thread.join(timeout_s)
        return not self._busy

    def close(self) -> None:
        """Start nothing more, and wait for the call that runs: half of a sync is never thrown away."""
        with self._lock:
            self._closed = True
            self._next = None
        # while the interpreter ends its daemon threads are frozen, and joining one would hang
        if not sys.is_finalizing():
            self.wait()


class Throttle:
    """Draws when asked, at most `per_second` times a second; what was asked for last is always drawn in the end.

    `ask` may come from any thread; `stop` ends it, and must not be called while `draw` waits for the caller.
    """

    def __init__(self, draw: Callable[[], None], *, per_second: float = 5.0) -> None:
        self._draw = draw
        self._gap_s = 1.0 / per_second
        self._last_s = float("-inf")
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def ask(self) -> None:
        """Draw now, or as soon as the gap is over."""
        with self._lock:
            if self._timer is not None:
                return
            wait_s = self._last_s + self._gap_s - time.monotonic()
            if wait_s > 0:
                self._timer = threading.Timer(wait_s, self._late)
                self._timer.daemon = True
                self._timer.start()
                return
            self._last_s = time.monotonic()
        self._draw()

    def _late(self) -> None:
        with self._lock:
            self._timer = None
            self._last_s = time.monotonic()
        self._draw()

    def stop(self) -> None:
        """Forget a drawing that waits; the caller draws the last state itself."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            timer.join()
