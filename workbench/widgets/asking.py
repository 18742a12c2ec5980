"""Widgets that are asked by messages: the browser asks, the kernel answers. How questions are read and run is the desk's."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import anywidget

from workbench.widgets.desk import Desk, Reader
from workbench.widgets.task import is_live
from workbench.widgets.view import close_tree

__all__ = ["Asked", "Asking", "Source"]


class Source(Protocol):
    """What is asked: a method for each kind of question besides these. May raise; kinds may run at the same time."""

    def stop(self, kind: str) -> None:
        """End what runs for a kind of question."""

    def close(self) -> None:
        """Drop the connections."""


class Worker(Protocol):
    """What answers in threads of its own: a `Desk`, or a `Task`."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing runs."""

    def close(self) -> None:
        """Answer nothing more."""


class Asked(anywidget.AnyWidget):
    """A widget whose browser asks by messages, each answered by one; where no browser is, it shows its repr."""

    _closed = True  # until it is made

    def _begin(self, workers: Sequence[Worker], **traits: Any) -> None:
        """Make the model; from now on it hears and answers, until it is closed."""
        self._workers = tuple(workers)
        self._closed = False
        super().__init__(**traits)
        self.on_msg(self._hear)

    def _hear(self, _: Any, message: Any, buffers: Sequence[Any]) -> None:
        """Read one message of the browser, or of anyone who can reach it."""
        raise NotImplementedError

    def _answer(self, message: dict[str, Any]) -> None:
        if not self._closed and self.comm is not None:
            self.send(message)

    def _end(self) -> None:
        """Let go of what answers, when all has ended."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing runs; False when that took longer than `timeout_s` seconds."""
        return all([worker.wait(timeout_s) for worker in self._workers])

    def close(self) -> None:
        """Take the widget off the screen; what it was asked is ended, or waited for."""
        if self._closed:
            return
        self._closed = True
        for worker in self._workers:
            worker.close()
        self._end()
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


class Asking(Asked):
    """A widget whose browser asks `source` by messages of the kinds of `asks`, each with what reads its fields."""

    def __init__(self, source: Source, asks: Mapping[str, Reader], *, live: bool | None = None, **traits: Any) -> None:
        self._source = source
        self._live = is_live() if live is None else live
        self._lock = threading.Lock()
        self._desk = Desk(type(self).__name__.lower(), asks, self._answer, source.stop, live=self._live)
        self._begin([self._desk], **traits)

    def _hear(self, _: Any, message: Any, buffers: Sequence[Any]) -> None:
        """Read one message; it runs in the thread of its kind, where the newest wins."""
        self._desk.hear(message, lambda kind, values: getattr(self._source, kind)(**values))

    def _end(self) -> None:
        self._source.close()
