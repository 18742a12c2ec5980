"""Worker processes: one per run, warmed before there is a run, watched to their end.

The pool keeps a few that are ready. A worker is used once: what a notebook did to its process is gone with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from workbench.errors import SkyGraphError
from workbench.kernel import write_kernel
from workbench.log import logger
from workbench.settings import Settings

__all__ = ["Pool", "Worker", "end_processes", "start_time"]

_PATIENCE_S = 10.0  # for a worker that was asked to stop
_WARM_S = 120.0  # for one to become ready
_AGAIN_S = 5.0  # after one that could not start


class Worker:
    """A process that runs one notebook. Made by a thread that lives as long as the worker may: it is killed when that thread ends."""

    def __init__(self, settings: Settings) -> None:
        path = write_kernel(settings.state_dir / "jupyter", settings.workspace)
        environ = {**settings.environment(), "JUPYTER_PATH": path, "SKYGRAPH_BATCH": "1", "SKYGRAPH_PARENT": str(os.getpid())}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - until `close`; what it and its libraries print
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "workbench.scheduling.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
            cwd=settings.state_dir, env=environ, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self._lines = _Lines(self.process.stdout)
        self.kernel = 0

    def wait_ready(self, timeout_s: float = _WARM_S) -> bool:
        """Wait until it can take a job; False when it ended instead, or took too long."""
        if not self.kernel:
            said = self._lines.next(time.monotonic() + timeout_s)
            self.kernel = int(said["kernel"]) if said else 0
        return bool(self.kernel) and self.process.poll() is None

    @property
    def processes(self) -> list[tuple[int, float]]:
        """Its process and its kernel's, each with the time of its start."""
        return [(pid, started) for pid in (self.process.pid, self.kernel) if pid and (started := start_time(pid)) is not None]

    def begin(self, job: Mapping[str, Any]) -> None:
        """Hand it its job."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()

    def lines(self, deadline: float | None) -> Iterator[dict[str, Any] | None]:
        """What it says until it ends; None, once, in place of the next when the deadline (of the monotonic clock) comes first."""
        while True:
            found = self._lines.next(deadline)
            if found is None and not self._lines.ended:
                yield None
                return
            if found is None:
                return
            yield found

    def end(self) -> None:
        """End it, and the kernel that it started, which lives in a session of its own. Does nothing to one that has ended."""
        import psutil

        family: list[Any] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def said(self) -> str:
        """The last line that it printed beside what it was asked; '' when there is none."""
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - 20_000))
        return next((line for line in reversed(self._said.read().decode("utf-8", "replace").splitlines()) if line.strip()), "")

    def close(self) -> None:
        """End it and let go of everything."""
        self.end()
        self._said.close()


class _Lines:
    """Lines of JSON out of a pipe, each waited for until a deadline."""

    def __init__(self, stdout: IO[bytes]) -> None:
        self._stdout, self._pending, self._whole = stdout, b"", list[dict[str, Any]]()
        self.ended = False

    def next(self, deadline: float | None) -> dict[str, Any] | None:
        """The next line; None at the end (`ended`) or at the deadline."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            while not self._whole and not self.ended:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                if not selector.select(left):
                    continue
                block = os.read(self._stdout.fileno(), 65536)
                self.ended = not block
                *whole, self._pending = (self._pending + block).split(b"\n")
                for line in whole:
                    with contextlib.suppress(ValueError):
                        self._whole.append(json.loads(line))
        return self._whole.pop(0) if self._whole else None


class Pool:
    """Keeps workers ready, each started by one thread, one after the other.

    A new one is started when one was taken and there is room: while fewer than `at_once` runs are going on, or somebody waits for
    one, so that warming up does not take the processor from a run.
    """

    def __init__(self, settings: Settings, size: int, at_once: int, make: Callable[[Settings], Worker] = Worker) -> None:
        self._settings, self._size, self._at_once, self._make = settings, size, at_once, make
        self._ready: list[Worker] = []
        self._waiting = self._going = self._failed = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._keep, name="pool", daemon=True)
        self._thread.start()

    def resize(self, size: int, at_once: int) -> None:
        """Keep so many ready from now on."""
        with self._changed:
            self._size, self._at_once = size, at_once
            self._changed.notify_all()

    def take(self) -> Worker:
        """A ready worker; waits for one when there is none. Give it back with `done`.

        Raises:
            SkyGraphError: none could be started, or the pool is closed.
        """
        with self._changed:
            self._waiting += 1
            failed = self._failed
            self._changed.notify_all()
            try:
                while True:
                    while self._ready:
                        worker = self._ready.pop(0)
                        if worker.wait_ready():
                            self._going += 1
                            return worker
                        worker.close()
                    if self._closed:
                        raise SkyGraphError("the scheduler is ending")
                    if self._failed > failed:
                        raise SkyGraphError("no process for a notebook could be started", hint="`skygraph logs skygraph-sync` says why")
                    self._changed.wait(1.0)
            finally:
                self._waiting -= 1
                self._changed.notify_all()

    def done(self, worker: Worker) -> None:
        """A taken worker has ended."""
        with self._changed:
            self._going -= 1
            self._changed.notify_all()
        worker.close()

    def close(self) -> None:
        """End those that wait; those that run are their takers' to end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_PATIENCE_S)
        while self._ready:
            self._ready.pop().close()

    @property
    def ready(self) -> int:
        """How many wait, warm."""
        return len(self._ready)

    def _wanted(self) -> bool:
        if len(self._ready) < self._waiting:
            return True
        return len(self._ready) < self._size and self._going < self._at_once

    def _keep(self) -> None:
        while True:
            with self._changed:
                while not self._closed and not self._wanted():
                    self._changed.wait(1.0)
                    self._drop_dead()
                if self._closed:
                    break
            worker, error = None, ""
            try:
                worker = self._make(self._settings)
                if not worker.wait_ready():
                    error = worker.said() or "it said nothing"
                    worker.close()
            except OSError as problem:
                error = str(problem)
            with self._changed:
                if worker is not None and not error:
                    if self._closed:
                        worker.close()
                    else:
                        self._ready.append(worker)
                else:
                    self._failed += 1
                    logger().warning("a worker could not start", error=error)
                    self._changed.notify_all()
                    self._changed.wait(_AGAIN_S)
                self._changed.notify_all()
        # this thread is the parent of every worker: it goes when the last run has ended
        with self._changed:
            while self._going:
                self._changed.wait(1.0)

    def _drop_dead(self) -> None:
        for worker in [w for w in self._ready if w.process.poll() is not None]:
            self._ready.remove(worker)
            worker.close()


def start_time(pid: int) -> float | None:
    """When a process began, in seconds since 1970; None when there is none."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def end_processes(processes: list[tuple[int, float]], timeout_s: float = 10.0) -> bool:
    """Kill those of these processes that still are the ones they were, and wait until they are gone; False when one does not go."""
    import psutil

    found = []
    for pid, started in processes:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE:
                process.kill()
                found.append(process)
    return not psutil.wait_procs(found, timeout_s)[1] if found else True
