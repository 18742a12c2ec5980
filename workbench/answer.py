"""What a command answers: a value that shows itself as rich HTML, as readable text, and as JSON.

An answer gives its data once (`to_dict`) and its looks once (`blocks`): headings, notes and grids of values. The three
renderings come from these two, so a surface never formats anything itself.
"""

from __future__ import annotations

import datetime as dt
import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

__all__ = ["Answer", "Block", "Grid", "Heading", "Note", "cell_text", "format_value", "render_html", "render_text", "to_json"]

Tone = Literal["plain", "good", "bad", "quiet"]


@dataclass(frozen=True)
class Heading:
    """A line that says what follows."""

    text: str


@dataclass(frozen=True)
class Note:
    """One line of prose. The tone colours it: good (green), bad (red), quiet (grey)."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Grid:
    """Rows of values under column names, with the text to show when there is no row. `null` is what stands for None."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    empty: str = "nothing here"
    note: str = ""
    null: str = ""


Block = Heading | Note | Grid


class Answer:
    """Base of everything a command returns."""

    def to_dict(self) -> Any:
        """The data of the answer, for programs: JSON-able after `to_json`."""
        raise NotImplementedError

    def blocks(self) -> Iterator[Block]:
        """The looks of the answer, top to bottom."""
        raise NotImplementedError

    def __str__(self) -> str:
        return render_text(self.blocks())

    def _repr_html_(self) -> str:
        return render_html(self.blocks())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": str(self), "text/html": self._repr_html_()}


def to_json(value: Any) -> Any:
    """A value as plain JSON data: decimals as strings, times as ISO 8601 with zone, bytes as hex.

    A time without a zone is UTC: that is how the lake keeps time.

    >>> to_json({"total": Decimal("1.90"), "on": dt.date(2012, 1, 2)})
    {'total': '1.90', 'on': '2012-01-02'}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        # JSON has no NaN and no infinity
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, Decimal):
        return f"{value:{_digits(value)}}"
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)).isoformat()
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.hex()
    if isinstance(value, Answer):
        return to_json(value.to_dict())
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, Iterable):
        return [to_json(v) for v in value]
    return str(value)


def format_value(value: Any) -> str:
    """A value as people read it in a cell: numbers with thousands separated, times to the second, UTC.

    >>> format_value(15607), format_value(Decimal("2328.60")), format_value(None)
    ('15,607', '2,328.60', '')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Decimal):
        return f"{value:,{_digits(value)}}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, dt.datetime):
        utc = value.astimezone(dt.timezone.utc) if value.tzinfo else value
        return utc.strftime("%Y-%m-%d %H:%M:%S") + (f".{utc.microsecond // 1000:03d}" if utc.microsecond else "")
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(to_json(value), ensure_ascii=False)
    if isinstance(value, bytes):
        return str(to_json(value))
    return str(value)


def _digits(value: Decimal) -> str:
    """The format of a decimal: all its digits, never an exponent, as long as it has few enough to read."""
    return "f" if value.is_finite() and abs(value.adjusted()) < 100 else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def cell_text(column: str, value: Any) -> str:
    """A number under a key-like name is a name, not an amount: no thousands separator."""
    names = column.endswith(("_id", "pid", "port")) or column.startswith("_") or column in ("key", "id", "seq")
    if names and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return format_value(value)


# a value never steers the terminal: control characters show as pictures of themselves
_CONTROLS = {c: 0x2400 + c for c in range(32) if c not in (9, 10)} | {127: 0x2421} | dict.fromkeys(range(0x80, 0xA0), "�")

_WIDEST = 60  # characters of a cell in a terminal; the rest is cut with an ellipsis


def _one_line(text: str) -> str:
    return " ".join(text.split()) if "\n" in text or "\t" in text else text


def _fitting(columns: Sequence[str], cells: Sequence[Sequence[str]], room: int) -> list[int]:
    """The widths of the columns that fit, from the left; at least one. The last of them takes the room that is left."""
    from rich.cells import cell_len

    widths: list[int] = []
    for i, name in enumerate(columns):
        natural = max(cell_len(str(name)), *(cell_len(row[i]) for row in cells))
        left = room - sum(widths) - 2 * len(widths)
        if widths and min(natural, _WIDEST) > left:
            break
        widths.append(min(natural, left if i == len(columns) - 1 else min(_WIDEST, left)))
    return widths


def render_text(blocks: Iterable[Block], *, width: int | None = None, colour: bool = False) -> str:
    """Blocks as text for a terminal; `width` in characters (default: the terminal's, 100 when there is none)."""
    import io
    import shutil
    import sys

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def words(text: str, style: str = "") -> Text:
        return Text(text.translate(_CONTROLS), style=style)

    # nobody's screen: wide, so that little is cut
    columns = width or (shutil.get_terminal_size().columns if sys.stdout.isatty() else 160)
    out = Console(
        file=io.StringIO(), width=columns, force_terminal=colour, color_system="standard" if colour else None,
        highlight=False, emoji=False, markup=False, force_jupyter=False,
    )  # fmt: skip
    styles = {"plain": "", "good": "green", "bad": "red", "quiet": "dim"}
    for block in blocks:
        if isinstance(block, Heading):
            out.print(words(block.text, style="bold"))
        elif isinstance(block, Note):
            out.print(words(block.text, style=styles[block.tone]), soft_wrap=not sys.stdout.isatty())
        elif not block.rows:
            out.print(words(block.empty, style="dim"))
        else:
            table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
            cells = [
                [_one_line(block.null if v is None else cell_text(c, v)) for c, v in zip(block.columns, row, strict=True)]
                for row in block.rows
            ]
            widths = _fitting(block.columns, cells, columns)
            shown = len(widths)
            for i, width_ in enumerate(widths):
                numbers = all(_is_number(row[i]) or row[i] is None for row in block.rows)
                align: Literal["left", "right"] = "right" if numbers else "left"
                table.add_column(words(str(block.columns[i])), justify=align, no_wrap=True, overflow="ellipsis", width=width_)
            for row in cells:
                table.add_row(*(words(text) for text in row[:shown]))
            out.print(table)
            if hidden := [str(c) for c in block.columns[shown:]]:
                out.print(words(f"and {len(hidden)} more column(s): {', '.join(hidden)}", style="dim"))
            if block.note:
                out.print(words(block.note, style="dim"))
    text: str = out.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.rstrip("\n").split("\n"))


_STYLE = (
    "<style>.skygraph .grid{overflow-x:auto;max-width:100%}"
    ".skygraph table{border-collapse:collapse;margin:4px 0;font-size:13px}"
    ".skygraph th,.skygraph td{text-align:left!important;padding:3px 12px 3px 0!important;white-space:nowrap;max-width:26em;"
    "overflow:hidden;text-overflow:ellipsis}"
    ".skygraph th{font-weight:600;border-bottom:1px solid var(--jp-border-color1,#bbb)}"
    ".skygraph td{border-bottom:1px solid var(--jp-border-color3,#eee)}"
    ".skygraph td.n,.skygraph th.n{text-align:right!important;font-variant-numeric:tabular-nums}"
    ".skygraph .h{font-weight:600;margin:8px 0 2px}.skygraph .quiet{opacity:.65}"
    ".skygraph .good{color:var(--jp-success-color0,#1b7f3b)}.skygraph .bad{color:var(--jp-error-color1,#c62828)}</style>"
)
_HOVER = 40  # characters; a longer cell may be cut by the column's width and shows itself whole under the pointer


def _html_cell(column: str, value: Any, kind: str, null: str) -> str:
    if value is None and null:
        return f'<td {kind}><span class="quiet">{html.escape(null)}</span></td>'
    text = html.escape(cell_text(column, value))
    hover = f' title="{text}"' if len(text) > _HOVER else ""
    return f"<td {kind}{hover}>{text}</td>"


def render_html(blocks: Iterable[Block]) -> str:
    """Blocks as HTML in the notebook's own colours (light and dark). Every value is escaped."""
    parts = [_STYLE, '<div class="skygraph">']
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f'<div class="h">{html.escape(block.text)}</div>')
        elif isinstance(block, Note):
            parts.append(f'<div class="{block.tone}">{html.escape(block.text)}</div>')
        elif not block.rows:
            parts.append(f'<div class="quiet">{html.escape(block.empty)}</div>')
        else:
            numeric = [all(_is_number(r[i]) or r[i] is None for r in block.rows) for i in range(len(block.columns))]
            cls = ['class="n"' if n else "" for n in numeric]
            head = "".join(f"<th {c}>{html.escape(str(n))}</th>" for n, c in zip(block.columns, cls, strict=True))
            body = "".join(
                "<tr>" + "".join(_html_cell(str(n), v, c, block.null) for n, v, c in zip(block.columns, row, cls, strict=True)) + "</tr>"
                for row in block.rows
            )
            parts.append(f'<div class="grid"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')
            if block.note:
                parts.append(f'<div class="quiet">{html.escape(block.note)}</div>')
    return "".join([*parts, "</div>"])
