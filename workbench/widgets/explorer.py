"""Explorer: object types, their objects, and the ways from one to the next. The drawing is in explorer.js beside this.

The browser asks by messages and the kernel answers; the kernel tells by the trait `news` that the model changed. Whoever can
reach the page can send any message, so each is read strictly and can only ask what `Browse` answers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import anywidget
import traitlets

from workbench.errors import SkyGraphError, UsageError
from workbench.widgets.task import Task, is_live
from workbench.widgets.view import close_tree, plural

__all__ = ["Browse", "Explorer"]

_TEXT = 100_000  # characters of a text that is taken from a browser
_PAGE = 500  # rows asked for at once
_NEAR = 50  # objects of one link in the graph


class Browse(Protocol):
    """What the explorer asks; answers are JSON-able. May raise, and each kind of question may run in a thread of its own."""

    def types(self) -> Mapping[str, Any]:
        """Object types and links of the model, without counts, and what is wrong with its files."""

    def counts(self) -> Mapping[str, Any]:
        """Type to number of objects."""

    def open(self, text: str, edit: Mapping[str, Any] | None, size: int) -> Mapping[str, Any]:
        """A set of objects after an edit: what it is, and its first page."""

    def page(self, text: str, after: str | None, size: int) -> Mapping[str, Any]:
        """The rows after a cursor."""

    def count(self, text: str) -> Mapping[str, Any]:
        """How many objects a set has."""

    def facets(self, text: str) -> Mapping[str, Any]:
        """Values with counts, by property."""

    def suggest(self, text: str, property: str, typed: str) -> Mapping[str, Any]:
        """Values that a filter may take."""

    def links(self, text: str) -> Mapping[str, Any]:
        """How many objects each link of a set leads to."""

    def card(self, type: str, key: str) -> Mapping[str, Any]:
        """One object."""

    def links_of(self, type: str, key: str) -> Mapping[str, Any]:
        """The links of one object."""

    def lineage(self, type: str) -> Mapping[str, Any]:
        """Where the objects of a type come from."""

    def near(self, type: str, key: str, link: str, limit: int) -> Mapping[str, Any]:
        """The first objects along a link of one object."""

    def forget(self) -> None:
        """Look at the model anew."""

    def stop(self, kind: str) -> None:
        """End what runs for a kind of question."""

    def close(self) -> None:
        """Drop the connections."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _TEXT:
        raise UsageError("a text was expected")
    return value


def _after(value: Any) -> str | None:
    return None if value is None else _text(value)


def _whole(most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not 0 <= value <= most:
            raise UsageError(f"a number from 0 to {most} was expected")
        return int(value)

    return read


def _fields(**readers: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """Reads a mapping that has exactly these fields."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or set(value) != set(readers):
            raise UsageError(f"the fields {', '.join(readers) or 'none'} were expected")
        return {name: take(value[name]) for name, take in readers.items()}

    return read


def _true(value: Any) -> bool:
    if value is not True:
        raise UsageError("true was expected")
    return True


_CONDITION = _fields(property=_text, op=_text, value=_text)
_WRITTEN = _fields(text=_text)
_EDITS: Mapping[str, Callable[[Any], Any]] = {
    "add": lambda value: _WRITTEN(value) if isinstance(value, dict) and "text" in value else _CONDITION(value),
    "remove": _whole(10_000), "clear": _true, "sort": _text, "search": _text, "follow": _text,
}  # fmt: skip


def _edit(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) != 1 or not set(value) <= set(_EDITS):
        raise UsageError(f"one of {', '.join(_EDITS)} was expected")
    return {name: _EDITS[name](given) for name, given in value.items()}


_ASKS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "types": _fields(),
    "counts": _fields(),
    "open": _fields(text=_text, edit=_edit, size=_whole(_PAGE)),
    "page": _fields(text=_text, after=_after, size=_whole(_PAGE)),
    "count": _fields(text=_text),
    "facets": _fields(text=_text),
    "suggest": _fields(text=_text, property=_text, typed=_text),
    "links": _fields(text=_text),
    "card": _fields(type=_text, key=_text),
    "links_of": _fields(type=_text, key=_text),
    "lineage": _fields(type=_text),
    "near": _fields(type=_text, key=_text, link=_text, limit=_whole(_NEAR)),
}


class Explorer(anywidget.AnyWidget):
    """Browse objects by type, filter, sort and search them, open one, follow links from one or from all of them, go back.

    Args:
        browse: answers what is asked.
        text: the short text of the set to begin with; '' for the types and their links.
        watch: calls back, from any thread, with what changed in the model ('' when only its files' problems did), and
            returns what ends that.
        address: of a dashboard that opens `?objects=TEXT`; '.' for the page itself, as under voila; '' when there is none.
    """

    _esm = Path(__file__).with_name("explorer.js")
    _css = Path(__file__).with_name("explorer.css")

    start = traitlets.Unicode("").tag(sync=True)
    address = traitlets.Unicode("").tag(sync=True)
    news = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        browse: Browse,
        text: str = "",
        *,
        watch: Callable[[Callable[[str], None]], Callable[[], None]] | None = None,
        address: str = "",
        live: bool | None = None,
    ) -> None:
        self._browse = browse
        self._live = is_live() if live is None else live
        self._lock = threading.Lock()
        self._newest: dict[str, str] = {}  # kind of question -> id of the last one
        self._waiting: dict[str, str] = {}  # kind of question -> id of the one that waits behind another
        self._tasks = {kind: Task(_nothing, _nothing, live=self._live) for kind in _ASKS}
        self._serial = 0
        self._closed = False
        dashboard = os.environ.get("SERVER_SOFTWARE", "").startswith("voila/")
        super().__init__(start=text, address=address or ("." if dashboard else ""))
        self.on_msg(self._hear)
        self._unwatch = watch(self._tell) if watch else None

    # --- what the browser asks

    def _hear(self, _: Any, message: Any, buffers: Sequence[Any]) -> None:
        """Read one message; it runs in the thread of its kind, where the newest wins."""
        if not isinstance(message, dict) or not isinstance(message.get("id"), str) or len(message["id"]) > 64:
            return  # there is nobody to answer
        asked_by, kind = message["id"], message.get("ask")
        try:
            if not isinstance(kind, str) or kind not in _ASKS:
                raise UsageError(f"the explorer is not asked {str(kind)[:40]!r}")
            values = _ASKS[kind]({name: value for name, value in message.items() if name not in ("id", "ask")})
        except SkyGraphError as error:
            self._answer({"id": asked_by, "error": _said(error)})
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
            self._browse.stop(kind)
        self._tasks[kind].start(lambda: self._ask(kind, asked_by, values), self._answer, queue=True)

    def _ask(self, kind: str, asked_by: str, values: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._waiting.get(kind) == asked_by:
                del self._waiting[kind]
        try:
            answer = {"id": asked_by, "answer": getattr(self._browse, kind)(**values)}
        except Exception as error:
            answer = {"id": asked_by, "error": _said(error)}
        with self._lock:
            return answer if self._newest.get(kind) == asked_by else {"id": asked_by, "gone": True}

    def _answer(self, message: dict[str, Any]) -> None:
        if not self._closed and self.comm is not None:
            self.send(message)

    # --- what the kernel tells

    def _tell(self, changed: str) -> None:
        """The model changed, or what is wrong with its files."""
        self._browse.forget()
        with self._lock:
            self._serial += 1
            serial = self._serial
        if not self._closed and self.comm is not None:
            self.news = {"serial": serial, "text": changed}

    # --- what its owner calls

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing runs; False when that took longer than `timeout_s` seconds."""
        return all([task.wait(timeout_s) for task in self._tasks.values()])

    def close(self) -> None:
        """Take the widget off the screen; what it was asking is ended."""
        if "_tasks" not in self.__dict__ or self._closed:
            return
        self._closed = True
        if self._unwatch is not None:
            self._unwatch()
        for kind, task in self._tasks.items():
            if task.busy:
                self._browse.stop(kind)
            task.close()
        self._browse.close()
        if self.comm is not None:
            layout = self.layout
            super().close()
            close_tree(layout)

    def __repr__(self) -> str:
        if self._closed:
            return "Explorer (closed)"
        at = f"\nat {self.start}" if self.start else ""
        try:
            types = self._browse.types()["types"]
            if not types:
                return f"Explorer: no object types yet{at}"
            # where nobody can click, the numbers are all there is to see
            counts = {} if self._live else self._browse.counts()["counts"]
        except SkyGraphError as error:
            return f"Explorer: {error.message}{at}"

        def line(name: str, built: bool) -> str:
            count = counts.get(name)
            return f"{name} (not built)" if not built else name if count is None else f"{name} {count:,}"

        names = [line(t["name"], t["built"]) for t in types]
        more = f" and {len(names) - 12:,} more" if len(names) > 12 else ""
        return f"Explorer: {plural(len(names), 'object type')}: {', '.join(names[:12])}{more}{at}"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            data["text/plain"] = repr(self)
        return bundle


def _nothing(_: Any) -> None:
    """Say nothing: each question answers for itself."""


def _said(error: BaseException) -> dict[str, str]:
    """An error as one line and what to do; of a foreign one its class and first line."""
    if isinstance(error, SkyGraphError):
        return {"message": " ".join(error.message.split())[:1000], "hint": error.hint or ""}
    first = (str(error).strip().splitlines() or [""])[0][:500]
    return {"message": f"{type(error).__name__}: {first}" if first else type(error).__name__, "hint": ""}
