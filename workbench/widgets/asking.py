"""Widgets that are asked by messages: the browser asks, the kernel answers. How questions are read and run is the desk's."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import anywidget

from workbench.widgets.desk import Desk, Reader
from workbench.widgets.task import is_live
from workbench.widgets.view import close_tree

__all__ = ["Asking", "Source"]


class Source(Protocol):
    """What is asked: a method for each kind of question besides these. May raise; kinds may run at the same time."""

    def stop(self, kind: str) -> None:
        """End what runs for a kind of question."""

    def close(self) -> None:
        """Drop the connections."""


class Asking(anywidget.AnyWidget):
    """A widget whose browser asks `source` by messages of the kinds of `asks`, each with what reads its fields."""

    def __init__(self, source: Source, asks: Mapping[str, Reader], *, live: bool | None = None, **traits: Any) -> None:
        self._source = source
        self._live = is_live() if live is None else live
        self._lock = threading.Lock()
        self._desk = Desk(type(self).__name__.lower(), asks, self._answer, source.stop, live=self._live)
        self._closed = False
        super().__init__(**traits)
        self.on_msg(self._hear)

    def _hear(self, _: Any, message: Any, buffers: Sequence[Any]) -> None:
        """Read one message; it runs in the thread of its kind, where the newest wins."""
        self._desk.hear(message, lambda kind, values: getattr(self._source, kind)(**values))

    def _answer(self, message: dict[str, Any]) -> None:
        if not self._closed and self.comm is not None:
            self.send(message)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing runs; False when that took longer than `timeout_s` seconds."""
        return self._desk.wait(timeout_s)

    def close(self) -> None:
        """Take the widget off the screen; what it was asking is ended."""
        if "_desk" not in self.__dict__ or self._closed:
            return
        self._closed = True
        self._desk.close()
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
