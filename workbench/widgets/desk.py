"""Questions of a browser: read strictly, answered in a thread for each kind, where the newest of a kind wins.

A question is `{id, ask, ...}` with exactly the fields that its kind has; its answer `{id, answer}`, `{id, error: {message, hint}}`,
or `{id, gone}` when a newer one of its kind took its place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from workbench.errors import SkyGraphError, UsageError
from workbench.widgets.task import Task

__all__ = ["Desk", "Reader", "read_fields", "read_text", "read_true", "read_whole"]

Reader = Callable[[Any], Any]
Run = Callable[[str, dict[str, Any]], Any]  # kind and fields to the answer

_TEXT = 100_000  # characters of a text that is taken from a browser


def read_text(value: Any) -> str:
    """Reads a text."""
    if not isinstance(value, str) or len(value) > _TEXT:
        raise UsageError("a text was expected")
    return value


def read_whole(most: int) -> Callable[[Any], int]:
    """Reads a whole number from 0 to `most`."""

    def read(value: Any) -> int:
        if type(value) is not int or not 0 <= value <= most:
            raise UsageError(f"a number from 0 to {most} was expected")
        return int(value)

    return read


def read_true(value: Any) -> bool:
    """Reads True."""
    if value is not True:
        raise UsageError("true was expected")
    return True


def read_fields(**readers: Reader) -> Callable[[Any], dict[str, Any]]:
    """Reads a mapping that has exactly these fields."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or set(value) != set(readers):
            raise UsageError(f"the fields {', '.join(readers) or 'none'} were expected")
        return {name: take(value[name]) for name, take in readers.items()}

    return read


class Desk:
    """Answers questions of some kinds.

    Args:
        name: what is asked, for a question that it does not know.
        asks: by kind, what reads its fields.
        send: takes the answers, from any thread.
        stop: ends what a kind asks now, so that the newer question need not wait for it.
    """

    def __init__(
        self, name: str, asks: Mapping[str, Reader], send: Callable[[dict[str, Any]], None], stop: Callable[[str], None], *, live: bool
    ) -> None:
        self._name, self._asks, self._send, self._stop = name, asks, send, stop
        self._lock = threading.Lock()
        self._newest: dict[str, str] = {}  # kind of question -> id of the last one
        self._waiting: dict[str, str] = {}  # kind of question -> id of the one that waits behind another
        self._tasks = {kind: Task(_nothing, _nothing, live=live) for kind in asks}

    def hear(self, message: Any, run: Run) -> None:
        """Read one message; `run` answers it in the thread of its kind."""
        if not isinstance(message, dict) or not isinstance(message.get("id"), str) or len(message["id"]) > 64:
            return  # there is nobody to answer
        asked_by, kind = message["id"], message.get("ask")
        try:
            if not isinstance(kind, str) or kind not in self._asks:
                raise UsageError(f"the {self._name} is not asked {str(kind)[:40]!r}")
            values = self._asks[kind]({name: value for name, value in message.items() if name not in ("id", "ask")})
        except SkyGraphError as error:
            self._send({"id": asked_by, "error": said(error)})
            return
        with self._lock:
            self._newest[kind] = asked_by
            passed_over = self._waiting.pop(kind, None)
            busy = self._tasks[kind].busy
            if busy:
                self._waiting[kind] = asked_by
        if passed_over is not None:
            self._send({"id": passed_over, "gone": True})
        if busy:
            self._stop(kind)
        self._tasks[kind].start(lambda: self._ask(kind, asked_by, values, run), self._send, queue=True)

    def _ask(self, kind: str, asked_by: str, values: dict[str, Any], run: Run) -> dict[str, Any]:
        with self._lock:
            if self._waiting.get(kind) == asked_by:
                del self._waiting[kind]
        try:
            answer = {"id": asked_by, "answer": run(kind, values)}
        except Exception as error:
            answer = {"id": asked_by, "error": said(error)}
        with self._lock:
            return answer if self._newest.get(kind) == asked_by else {"id": asked_by, "gone": True}

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing runs; False when that took longer than `timeout_s` seconds."""
        return all([task.wait(timeout_s) for task in self._tasks.values()])

    def close(self) -> None:
        """Answer nothing more; what runs is ended."""
        for kind, task in self._tasks.items():
            if task.busy:
                self._stop(kind)
            task.close()


def _nothing(_: Any) -> None:
    """Say nothing: each question answers for itself."""


def said(error: BaseException) -> dict[str, str]:
    """An error as one line and what to do; of a foreign one its class and first line."""
    if isinstance(error, SkyGraphError):
        return {"message": " ".join(error.message.split())[:1000], "hint": error.hint or ""}
    first = (str(error).strip().splitlines() or [""])[0][:500]
    return {"message": f"{type(error).__name__}: {first}" if first else type(error).__name__, "hint": ""}
