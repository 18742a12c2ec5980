"""Explorer: object types, their objects, and the ways from one to the next. The drawing is in explorer.js beside this.

The browser asks by messages and the kernel answers; the kernel tells by the trait `news` that the model changed. Whoever can
reach the page can send any message, so each is read strictly and can only ask what `Browse` answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import traitlets

from workbench.errors import SkyGraphError, UsageError
from workbench.widgets.asking import Asking
from workbench.widgets.desk import read_fields, read_text, read_true, read_whole
from workbench.widgets.view import beside, plural

__all__ = ["ASKS", "Browse", "Explorer"]

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


def _after(value: Any) -> str | None:
    return None if value is None else read_text(value)


_CONDITION = read_fields(property=read_text, op=read_text, value=read_text)
_WRITTEN = read_fields(text=read_text)
_EDITS: Mapping[str, Callable[[Any], Any]] = {
    "add": lambda value: _WRITTEN(value) if isinstance(value, dict) and "text" in value else _CONDITION(value),
    "remove": read_whole(10_000), "clear": read_true, "sort": read_text, "search": read_text, "follow": read_text,
}  # fmt: skip


def _edit(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) != 1 or not set(value) <= set(_EDITS):
        raise UsageError(f"one of {', '.join(_EDITS)} was expected")
    return {name: _EDITS[name](given) for name, given in value.items()}


ASKS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "types": read_fields(),
    "counts": read_fields(),
    "open": read_fields(text=read_text, edit=_edit, size=read_whole(_PAGE)),
    "page": read_fields(text=read_text, after=_after, size=read_whole(_PAGE)),
    "count": read_fields(text=read_text),
    "facets": read_fields(text=read_text),
    "suggest": read_fields(text=read_text, property=read_text, typed=read_text),
    "links": read_fields(text=read_text),
    "card": read_fields(type=read_text, key=read_text),
    "links_of": read_fields(type=read_text, key=read_text),
    "lineage": read_fields(type=read_text),
    "near": read_fields(type=read_text, key=read_text, link=read_text, limit=read_whole(_NEAR)),
}


class Explorer(Asking):
    """Browse objects by type, filter, sort and search them, open one, follow links from one or from all of them, go back.

    Args:
        browse: answers what is asked.
        text: the short text of the set to begin with; '' for the types and their links.
        watch: calls back, from any thread, with what changed in the model ('' when only its files' problems did), and
            returns what ends that.
        address: of a dashboard that opens `?objects=TEXT`; '.' for the page itself, as under voila; '' when there is none.
    """

    _esm = beside("grid.js", "explorer.js") + "\nexport default { render: explorer };\n"
    _css = beside("grid.css", "explorer.css")

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
        self._serial = 0
        self._unwatch: Callable[[], None] | None = None
        dashboard = os.environ.get("SERVER_SOFTWARE", "").startswith("voila/")
        super().__init__(browse, ASKS, live=live, start=text, address=address or ("." if dashboard else ""))
        self._unwatch = watch(self._tell) if watch else None

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

    def close(self) -> None:
        """Take the widget off the screen; what it was asking is ended."""
        unwatch = self.__dict__.get("_unwatch")
        if unwatch is not None and not self._closed:
            unwatch()
        super().close()

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
