"""A list of rows to choose from: aligned columns in one list box, quick with 10,000 rows and driven by keyboard."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as W

from workbench.answer import format_value
from workbench.widgets.view import cell_text, escape, is_number_column

__all__ = ["RowList", "aligned"]

_GAP = "  "


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _one_line(text: str, most: int) -> str:
    """Text without line breaks and control characters, cut with an ellipsis to `most` columns."""
    flat = "".join(" " if c.isspace() or unicodedata.category(c).startswith("C") else c for c in text)
    if _width(flat) <= most:
        return flat
    while _width(flat) > most - 1:
        flat = flat[:-1]
    return flat + "…"


def aligned(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, most: int = 30) -> tuple[str, list[str]]:
    """Rows as lines of equal columns, numbers to the right; the header line first. A cell has `most` columns at most.

    >>> aligned(["name", "count"], [["Ann", 3], ["Bo", 12]])
    ('name  count', ['Ann       3', 'Bo       12'])
    """
    texts = [[_one_line(cell_text(c, v), most) for c, v in zip(columns, row, strict=True)] for row in rows]
    heads = [_one_line(format_value(c), most) for c in columns]
    widths = [max([_width(head), *(_width(t[i]) for t in texts)]) for i, head in enumerate(heads)]
    right = [is_number_column(row[i] for row in rows) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for cell, width, to_right in zip(cells, widths, right, strict=True):
            space = " " * (width - _width(cell))
            padded.append(space + cell if to_right else cell + space)
        return _GAP.join(padded).rstrip()

    return line(heads), [line(t) for t in texts]


class RowList(W.VBox):  # type: ignore[misc]
    """Rows under a header. `on_pick` is called with the index of the row a person chose; `several` allows many.

    What the browser sends is an index into the rows, checked by the list box. `label` names it for screen readers.
    """

    def __init__(
        self,
        label: str,
        *,
        on_pick: Callable[[int], None] | None = None,
        several: bool = False,
        height: str = "300px",
    ) -> None:
        self.head = W.HTML()
        make = W.SelectMultiple if several else W.Select
        self.box = make(options=[], tooltip=label, layout=W.Layout(width="100%", height=height))
        super().__init__([self.head, self.box])
        self.add_class("sky-list")
        if several:
            self.add_class("sky-many")
        self._filling = False
        self._on_pick = on_pick
        self.box.observe(self._picked, "index")

    def fill(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, chosen: int | None = None) -> None:
        """Show these rows, with row `chosen` selected or none; nobody is called."""
        header, lines = aligned(columns, rows)
        width = max([_width(header), *map(_width, lines)], default=10)
        self._filling = True
        try:
            self.box.index = () if self._several else None
            self.box.options = [(line, i) for i, line in enumerate(lines)]
            # as wide as the text, so that header and rows scroll sideways together
            self.box.layout.min_width = self.head.layout.min_width = f"calc({width}ch + 40px)"
            self.head.value = escape(header)
            self.choose(chosen)
        finally:
            self._filling = False

    def fit_height(self, most: int) -> None:
        """Be as high as the rows are, and as `most` rows at most."""
        self.box.layout.height = f"{min(max(len(self.box.options), 2), most) * 22 + 6}px"

    def choose(self, index: int | None) -> None:
        """Select a row, or none, without calling anybody."""
        was, self._filling = self._filling, True
        try:
            if self._several:
                self.box.index = () if index is None else (index,)
            else:
                self.box.index = index
        finally:
            self._filling = was

    @property
    def _several(self) -> bool:
        return isinstance(self.box, W.SelectMultiple)

    @property
    def chosen(self) -> list[int]:
        """The indexes of the selected rows, in order."""
        if self._several:
            return sorted(self.box.index)
        return [] if self.box.index is None else [self.box.index]

    def _picked(self, change: Any) -> None:
        if not self._filling and self._on_pick is not None and isinstance(change["new"], int):
            self._on_pick(change["new"])
