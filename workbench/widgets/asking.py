"""Widgets that are asked by messages: the browser asks, the kernel answers, and the newest question of a kind wins.

Whoever can reach the page can send any message, so each is read strictly: a kind that is known, with exactly its fields. Each kind runs
in a thread of its own; a newer question ends what the older one was running.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import anywidget

from workbench.errors import SkyGraphError, UsageError
from workbench.widgets.task import Task, is_live
from workbench.widgets.view import close_tree

__all__ = ["Asking", "Source", "joined", "read_fields", "read_text", "read_true", "read_whole"]

_TEXT = 100_000  # characters of a text that is taken from a browser


class Source(Protocol):
    """What is asked: a method for each kind of question besides these. May raise; kinds may run at the same time."""

    def stop(self, kind: str) -> None:
        """End what runs for a kind of question."""

    def close(self) -> None:
        """Drop the connections."""


def joined(*names: str) -> str:
    """Files beside this one as one text: scripts and styles that several widgets share are written once."""
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)


def read_text(value: Any) -> str:
    """A text that is not too long."""
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


def read_fields(**readers: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """Reads a mapping that has exactly these fields."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or set(value) != set(readers):
            raise UsageError(f"the fields {', '.join(readers) or 'none'} were expected")
        return {name: take(value[name]) for name, take in readers.items()}

    return read


def read_true(value: Any) -> bool:
    """True, and nothing else."""
    if value is not True:
        raise UsageError("true was expected")
    return True


class Asking(anywidget.AnyWidget):
    """A widget whose browser asks `source` by messages of the kinds of `asks`, each with what reads its fields.

    A question is {id, ask, ...}; its answer {id, answer} or {id, error: {message, hint}} or {id, gone} when a newer question of the same
    kind took its place.
    """

    def __init__(
        self, source: Source, asks: Mapping[str, Callable[[Any], dict[str, Any]]], *, live: bool | None = None, **traits: Any
    ) -> None:
        self._source, self._asks = source, asks
        self._live = is_live() if live is None else live
        self._lock = threading.Lock()
        self._newest: dict[str, str] = {}  # kind of question -> id of the last one
        self._waiting: dict[str, str] = {}  # kind of question -> id of the one that waits behind another
        self._tasks = {kind: Task(_nothing, _nothing, live=self._live) for kind in asks}
        self._closed = False
        super().__init__(**traits)
        self.on_msg(self._hear)

    def _hear(self, _: Any, message: Any, buffers: Sequence[Any]) -> None:
        """Read one message; it runs in the thread of its kind, where the newest wins."""
        if not isinstance(message, dict) or not isinstance(message.get("id"), str) or len(message["id"]) > 64:
            return  # there is nobody to answer
        asked_by, kind = message["id"], message.get("ask")
        try:
            if not isinstance(kind, str) or kind not in self._asks:
                raise UsageError(f"this widget is not asked {str(kind)[:40]!r}")
            values = self._asks[kind]({name: value for name, value in message.items() if name not in ("id", "ask")})
        except SkyGraphError as error:
            self._answer({"id": asked_by, "error": said(error)})
            return
        with self._lock:
            self._newest[kind] = asked_by
            passed_over = self._waiting.pop(kind, None)
            busy = self._tasks[kind].busy
            if busy:
                self._waiting[kind] = asked_by
        if passed_over is not None:
            self._answer({"id": passed_over, "gone": True})
        if busy:
            self._source.stop(kind)
        self._tasks[kind].start(lambda: self._ask(kind, asked_by, values), self._answer, queue=True)

    def _ask(self, kind: str, asked_by: str, values: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._waiting.get(kind) == asked_by:
                del self._waiting[kind]
        try:
            answer = {"id": asked_by, "answer": getattr(self._source, kind)(**values)}
        except Exception as error:
            answer = {"id": asked_by, "error": said(error)}
        with self._lock:
            return answer if self._newest.get(kind) == asked_by else {"id": asked_by, "gone": True}

    def _answer(self, message: dict[str, Any]) -> None:
        if not self._closed and self.comm is not None:
            self.send(message)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing runs; False when that took longer than `timeout_s` seconds."""
        return all([task.wait(timeout_s) for task in self._tasks.values()])

    def close(self) -> None:
        """Take the widget off the screen; what it was asking is ended."""
        if "_tasks" not in self.__dict__ or self._closed:
            return
        self._closed = True
        for kind, task in self._tasks.items():
            if task.busy:
                self._source.stop(kind)
            task.close()
        self._source.close()
        if self.comm is not None:
            layout = self.layout
            super().close()
            close_tree(layout)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            data["text/plain"] = repr(self)
        return bundle


def _nothing(_: Any) -> None:
    """Say nothing: each question answers for itself."""


def said(error: BaseException) -> dict[str, str]:
    """An error as one line and what to do; of a foreign one its class and first line."""
    if isinstance(error, SkyGraphError):
        return {"message": " ".join(error.message.split())[:1000], "hint": error.hint or ""}
    first = (str(error).strip().splitlines() or [""])[0][:500]
    return {"message": f"{type(error).__name__}: {first}" if first else type(error).__name__, "hint": ""}
