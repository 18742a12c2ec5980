"""ResultGrid: the rows of an answer to scroll, sort, sum up and save. The drawing is in result.js beside this.

The browser asks by messages and the kernel answers; how long statements go is told by the trait `progress`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import traitlets

from workbench.widgets.asking import Asking
from workbench.widgets.desk import read_fields, read_text, read_true, read_whole
from workbench.widgets.view import beside

__all__ = ["Answers", "ResultGrid"]

_ROWS = 1 << 48


class Answers(Protocol):
    """What the grid asks; answers are JSON-able. May raise, and each kind of question may run in a thread of its own."""

    def listen(self, say: Callable[[str, str, int | None], None]) -> None:
        """Tell how long questions go: their kind, a line, and percent if known; '' when they have ended."""

    def open(self) -> Mapping[str, Any]:
        """The columns, and what the answer is called."""

    def page(self, start: int, sort: int | None, down: bool) -> Mapping[str, Any]:
        """Rows from a number on, in an order of all rows."""

    def count(self) -> Mapping[str, Any]:
        """How many rows there are."""

    def row(self, index: int, sort: int | None, down: bool) -> Mapping[str, Any]:
        """One row in full."""

    def summary(self, column: int) -> Mapping[str, Any]:
        """Sums of a column over all rows."""

    def export(self, format: str, sort: int | None, down: bool) -> Mapping[str, Any]:
        """Write all rows to a file."""

    def halt(self) -> Mapping[str, Any]:
        """End everything that runs."""

    def stop(self, kind: str) -> None:
        """End what runs for a kind of question."""

    def close(self) -> None:
        """Drop the connections."""


def _column(value: Any) -> int | None:
    return None if value is None else read_whole(100_000)(value)


def _down(value: Any) -> bool:
    return value is not False and read_true(value)


_ORDER: dict[str, Callable[[Any], Any]] = {"sort": _column, "down": _down}
_ASKS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "open": read_fields(),
    "page": read_fields(start=read_whole(_ROWS), **_ORDER),
    "count": read_fields(),
    "row": read_fields(index=read_whole(_ROWS), **_ORDER),
    "summary": read_fields(column=read_whole(100_000)),
    "export": read_fields(format=read_text, **_ORDER),
    "halt": read_fields(),
}


class ResultGrid(Asking):
    """The rows of an answer, by their number, read as they come into view.

    Args:
        answers: answers what is asked.
        text: what stands for the grid where nobody can click.
    """

    _esm = beside("grid.js", "result.js")
    _css = beside("grid.css", "result.css")

    progress = traitlets.Dict().tag(sync=True)

    def __init__(self, answers: Answers, *, text: Callable[[], str] = lambda: "", live: bool | None = None) -> None:
        self._text = text
        self._going: dict[str, dict[str, Any]] = {}
        super().__init__(answers, _ASKS, live=live)
        answers.listen(self._say)

    def _say(self, kind: str, text: str, percent: int | None) -> None:
        """How long a question goes; of several, the one that began first is told."""
        with self._lock:
            if text:
                self._going[kind] = {"text": text, "percent": percent}
            elif self._going.pop(kind, None) is None:
                return
            told = next(iter(self._going.values()), {})
        if not self._closed and self.comm is not None:
            self.progress = told

    def __repr__(self) -> str:
        return "ResultGrid (closed)" if self._closed else f"ResultGrid\n{self._text()}"
