"""What the widgets have in common: a frame with a title, a working state, one line for an error, clean closing."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ipywidgets as W

from workbench.answer import cell_text, format_value
from workbench.errors import SkyGraphError
from workbench.widgets.task import Task

__all__ = [
    "View",
    "as_rows",
    "beside",
    "cell_text",
    "close_tree",
    "data_table",
    "empty_state",
    "error_line",
    "escape",
    "is_number_column",
    "plural",
]

T = TypeVar("T")

# Colours are JupyterLab's own variables, so light, dark and high-contrast themes all fit; the values after the commas
# serve pages without them.
_STYLE = """<style>
.sky-view{--sky-line:var(--jp-border-color2,#e0e0e0);--sky-soft:var(--jp-layout-color2,#f5f5f5);
--sky-text:var(--jp-ui-font-color1,#212121);--sky-dim:var(--jp-ui-font-color2,#616161);
--sky-brand:var(--jp-brand-color1,#1976d2);--sky-good:var(--jp-success-color1,#388e3c);
--sky-bad:var(--jp-error-color1,#d32f2f);--sky-warn:var(--jp-warn-color1,#ef6c00);
--sky-mono:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace);
border:1px solid var(--sky-line);border-radius:8px;background:var(--jp-layout-color1,#fff);color:var(--sky-text);
font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;margin:4px 0;overflow:hidden;max-width:1240px}
.sky-view .widget-box,.sky-view .widget-html{overflow:visible;margin:0}
.sky-view .widget-html{height:auto;min-width:0}
.sky-view .widget-html-content,.sky-view .widget-html>.widget-html-content{line-height:1.45;font-size:13px;
height:auto;width:100%;min-width:0;align-self:auto}
.sky-view .sky-none{display:none}
.sky-view .sky-body{padding:10px 12px 12px;gap:10px}
.sky-view .sky-row{gap:6px;align-items:center;flex-wrap:wrap}
.sky-view .sky-panes{display:grid;gap:14px;align-items:start}
.sky-view .sky-pane{min-width:0;gap:6px}
.sky-view .sky-bar .widget-html-content{display:flex;align-items:baseline;gap:10px;padding:7px 12px;
border-bottom:1px solid var(--sky-line);background:var(--sky-soft)}
.sky-view .sky-title{font-weight:600;font-size:14px}
.sky-view .sky-note{color:var(--sky-dim);flex:1;min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.sky-view .sky-state{color:var(--sky-brand);white-space:nowrap}
.sky-view .sky-state::before{content:"";display:inline-block;width:9px;height:9px;margin-right:6px;border-radius:50%;
border:2px solid var(--sky-brand);border-right-color:transparent;box-sizing:border-box;
animation:sky-spin .8s linear infinite}
@keyframes sky-spin{to{transform:rotate(360deg)}}
@media (prefers-reduced-motion:reduce){.sky-view .sky-state::before{animation:none}}
.sky-view .sky-error{margin:10px 12px 0;padding:5px 10px;border-left:3px solid var(--sky-bad);color:var(--sky-bad);
background:color-mix(in srgb,var(--sky-bad) 8%,transparent);border-radius:0 4px 4px 0;overflow-wrap:anywhere}
.sky-view .sky-error i{font-style:normal;color:var(--sky-text)}
.sky-view .sky-empty{padding:18px 16px;text-align:center;color:var(--sky-dim);border:1px dashed var(--sky-line);
border-radius:6px}
.sky-view code{font-family:var(--sky-mono);font-size:12px;background:var(--sky-soft);color:var(--sky-text);
padding:1px 6px;border-radius:4px;border:1px solid var(--sky-line);white-space:nowrap}
.sky-view .sky-label{font-size:11px;font-weight:600;letter-spacing:.04em;text-transform:uppercase;
color:var(--sky-dim)}
.sky-view .dim{color:var(--sky-dim)}.sky-view .good{color:var(--sky-good)}.sky-view .bad{color:var(--sky-bad)}
.sky-view .warn{color:var(--sky-warn)}.sky-view .brand{color:var(--sky-brand)}
.sky-view .mono{font-family:var(--sky-mono);font-size:12px}
.sky-view .sky-list{border:1px solid var(--sky-line);border-radius:6px;overflow-x:auto;overflow-y:hidden}
.sky-view .sky-list .widget-html-content{font:12px/24px var(--sky-mono);padding:0 9px;white-space:pre;
font-weight:600;color:var(--sky-dim);background:var(--sky-soft);border-bottom:1px solid var(--sky-line);
box-sizing:border-box}
.sky-view .sky-list .widget-select,.sky-view .sky-list .widget-select-multiple{margin:0;max-width:none}
.sky-view .sky-list .widget-label{display:none}
.sky-view .sky-list select{font:12px/1.5 var(--sky-mono);border:0;padding:0;margin:0;width:100%;overflow-x:hidden;
background:transparent;color:var(--sky-text)}
.sky-view .sky-list select:focus-visible{outline:2px solid var(--sky-brand);outline-offset:-2px}
.sky-view .sky-list option{padding:3px 9px;white-space:pre;border-bottom:1px solid
color-mix(in srgb,var(--sky-line) 45%,transparent)}
.sky-view .sky-list option:hover{background:var(--sky-soft)}
.sky-view .sky-list option:checked{--sky-chosen:color-mix(in srgb,var(--sky-brand) 22%,var(--jp-layout-color1,#fff));
background:linear-gradient(var(--sky-chosen),var(--sky-chosen));box-shadow:inset 3px 0 0 var(--sky-brand);
-webkit-text-fill-color:var(--sky-text)}
.sky-view .sky-list.sky-many option::before{content:"\\2610\\00a0\\00a0"}
.sky-view .sky-list.sky-many option:checked::before{content:"\\2611\\00a0\\00a0"}
.sky-view .sky-list.sky-many .widget-html-content{padding-left:calc(9px + 3ch)}
.sky-view .widget-button,.sky-view .widget-toggle-button{border-radius:5px;height:28px;line-height:26px;margin:0;
width:auto;padding:0 12px;border:1px solid var(--sky-line);box-shadow:none;font-family:inherit}
.sky-view .widget-button.mod-primary,.sky-view .widget-toggle-button.mod-active{border-color:transparent}
.sky-view .widget-button:focus-visible{outline:2px solid var(--sky-brand);outline-offset:1px}
.sky-view .widget-toggle-buttons .widget-toggle-button{border-radius:0;margin:0 -1px 0 0}
.sky-view .widget-toggle-buttons{margin:0;height:28px}
.sky-view .widget-toggle-buttons .jupyter-widgets-toggle-buttons,.sky-view .widget-toggle-buttons>div{display:flex}
.sky-view .widget-text,.sky-view .widget-dropdown,.sky-view .widget-combobox{margin:0}
.sky-view input,.sky-view .widget-dropdown select{border-radius:5px!important}
.sky-view .widget-hprogress{height:14px;margin:0}
.sky-view .widget-hprogress .progress{margin:0;border-radius:7px;overflow:hidden}
.sky-view table.sky-table{border-collapse:collapse;font-size:12.5px;width:100%}
.sky-view .sky-table th{text-align:left;font-weight:600;color:var(--sky-dim);padding:4px 10px;white-space:nowrap;
border-bottom:1px solid var(--sky-line);position:sticky;top:0;background:var(--jp-layout-color1,#fff)}
.sky-view .sky-table td{text-align:left;padding:3px 10px;vertical-align:baseline;overflow-wrap:anywhere;max-width:32em;
border-bottom:1px solid color-mix(in srgb,var(--sky-line) 45%,transparent)}
.sky-view .sky-table tr:last-child td{border-bottom:0}
.sky-view .sky-table .sky-word{white-space:nowrap}
.sky-view .sky-table .n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.sky-view .sky-scroll{overflow:auto;max-height:420px;border:1px solid var(--sky-line);border-radius:6px}
.sky-view mark{background:color-mix(in srgb,var(--sky-warn) 26%,transparent);color:inherit;border-radius:3px;
padding:0 4px}.sky-view .sky-table mark{margin:0 -4px}
.sky-view .sky-chip{display:inline-block;font-size:11px;font-weight:600;line-height:17px;padding:0 8px;
border-radius:9px;white-space:nowrap;color:var(--sky-tone,var(--sky-dim));
background:color-mix(in srgb,var(--sky-tone,var(--sky-dim)) 15%,transparent)}
.sky-view .sky-chip.good{--sky-tone:var(--sky-good)}.sky-view .sky-chip.bad{--sky-tone:var(--sky-bad)}
.sky-view .sky-chip.warn{--sky-tone:var(--sky-warn)}.sky-view .sky-chip.brand{--sky-tone:var(--sky-brand)}
.sky-view .widget-html:has(>.widget-html-content:empty){display:none}
.sky-view .sky-fit{width:fit-content;max-width:100%}
.sky-view .sky-pre{flex-shrink:0;overflow:visible;color:inherit;margin:0;
font:12px/1.5 var(--sky-mono);white-space:pre-wrap;overflow-wrap:anywhere}
.sky-view .sky-log{display:flex;flex-direction:column-reverse;max-height:150px;overflow:auto;padding:7px 10px;
background:var(--sky-soft);border:1px solid var(--sky-line);border-radius:6px}
.sky-view details>summary{cursor:pointer;color:var(--sky-dim)}
</style>"""


def escape(value: Any) -> str:
    """A value as text that is safe inside HTML and its attributes."""
    return html.escape(format_value(value), quote=True)


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "row"), plural(15607, "row")
    ('1 row', '15,607 rows')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def as_rows(grid: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The columns and rows of a fetched `{columns, rows}`; a row may be a mapping or a sequence."""
    columns = [str(c) for c in grid["columns"]]
    rows = [[row.get(c) for c in columns] if isinstance(row, Mapping) else list(row) for row in grid["rows"]]
    return columns, rows


def is_number_column(values: Iterable[Any]) -> bool:
    """Whether every value is a number or missing, and one is a number."""
    from decimal import Decimal

    present = [v for v in values if v is not None]
    return bool(present) and all(isinstance(v, (int, float, Decimal)) and not isinstance(v, bool) for v in present)


def data_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    most: int = 200,
    lead: Sequence[str] = (),
    marks: Mapping[tuple[int, int], str] | None = None,
) -> str:
    """Rows as an HTML table; only the first `most` rows are drawn, and the rest is counted in a line.

    `lead` is ready HTML put in front of each row. `marks` maps (row, column) to the text shown on hovering over that
    cell, which is drawn as changed.
    """
    numbers = ["n" if is_number_column(r[i] for r in rows) else "" for i in range(len(columns))]
    head = "".join(f'<th scope="col" class="{n}">{escape(c)}</th>' for c, n in zip(columns, numbers, strict=True))
    lines = []
    for i, row in enumerate(rows[:most]):
        cells = []
        for j, (column, value) in enumerate(zip(columns, row, strict=True)):
            text = '<span class="dim">—</span>' if value is None else html.escape(cell_text(column, value))
            if marks and (i, j) in marks:
                text = f'<mark title="{html.escape(marks[i, j])}">{text}</mark>'
            cells.append(f'<td class="{numbers[j]}">{text}</td>')
        lines.append(f"<tr>{f'<td>{lead[i]}</td>' if lead else ''}{''.join(cells)}</tr>")
    more = f'<div class="dim">and {plural(len(rows) - most, "more row")}</div>' if len(rows) > most else ""
    return (
        f'<div class="sky-scroll sky-fit"><table class="sky-table">'
        f"<thead><tr>{'<th></th>' if lead else ''}{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>{more}"
    )


def empty_state(text: str, command: str = "") -> str:
    """The words where there is nothing to show, with the command that changes that."""
    return f'<div class="sky-empty">{escape(text)}{f" <code>{escape(command)}</code>" if command else ""}</div>'


def error_line(error: BaseException) -> str:
    """An exception as one red line: the message, and the hint of ours; of a foreign one its class and first line."""
    if isinstance(error, SkyGraphError):
        hint = f"; <i>{escape(error.hint)}</i>" if error.hint else ""
        return f'<div class="sky-error" role="alert">{escape(error.message)}{hint}</div>'
    first = (str(error).strip().splitlines() or [""])[0]
    text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f'<div class="sky-error" role="alert">{escape(text)}</div>'


def beside(*names: str) -> str:
    """Files of this folder, one after the other: a widget's script after the scripts that it uses."""
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)


def close_tree(*widgets: Any) -> None:
    """Close widgets with all that they hold: children, layout and style have a life of their own in the browser."""
    for widget in widgets:
        held = [*getattr(widget, "children", ()), getattr(widget, "layout", None), getattr(widget, "style", None)]
        W.Widget.close(widget)
        close_tree(*(part for part in held if isinstance(part, W.Widget)))


def walk(*widgets: Any) -> Iterator[Any]:
    """Widgets and all under them."""
    for widget in widgets:
        yield widget
        yield from walk(*getattr(widget, "children", ()))


class View(W.VBox):  # type: ignore[misc]
    """A framed widget: title bar, error line, content.

    A subclass calls `_show` once with its content, loads its first data with `_load`, and starts everything a person
    asks for with `_run`. `live` is for `Task`; leave it out.
    """

    def __init__(self, title: str, *, live: bool | None = None) -> None:
        super().__init__()
        self.add_class("sky-view")
        self._title = title
        self._note = ""
        self._doing = ""
        self._bar = W.HTML()
        self._bar.add_class("sky-bar")
        self._problem = W.HTML()
        self._body = W.VBox()
        self._body.add_class("sky-body")
        style = W.HTML(_STYLE)
        style.add_class("sky-none")
        self._task = Task(self._on_busy, self._show_error, live=live)
        self._held: dict[Any, bool] = {}
        self._draw_bar()
        self.children = (style, self._bar, self._problem, self._body)

    # what a subclass says

    def _summary(self) -> str:
        """The widget in a line or two of plain text, for readers without widgets."""
        raise NotImplementedError

    def _show(self, *widgets: Any) -> None:
        self._body.children = widgets

    def _say(self, note: str) -> None:
        """Set the line beside the title."""
        self._note = note
        self._draw_bar()

    def _load(self, work: Callable[[], T], done: Callable[[T], None]) -> None:
        """Fetch in the caller's thread; an error becomes the error line."""
        try:
            done(work())
        except Exception as error:
            self._show_error(error)

    def _run(self, doing: str, work: Callable[[], T], done: Callable[[T], None], *, queue: bool = False) -> bool:
        """Start what a person asked for. While something runs it is dropped, or with `queue` runs next."""

        def first() -> T:
            self._doing = doing
            self._problem.value = ""
            self._draw_bar()
            return work()

        return self._task.start(first, done, queue=queue)

    def _show_error(self, error: BaseException) -> None:
        self._problem.value = error_line(error)

    # the frame

    def _draw_bar(self) -> None:
        state = f'<span class="sky-state" role="status">{escape(self._doing)}</span>' if self._doing else ""
        self._bar.value = (
            f'<span class="sky-title">{escape(self._title)}</span>'
            f'<span class="sky-note" title="{escape(self._note)}">{escape(self._note)}</span>{state}'
        )

    def _on_busy(self, busy: bool) -> None:
        if busy:
            buttons = [w for w in walk(self._body) if isinstance(w, (W.Button, W.ToggleButtons))]
            self._held = {button: button.disabled for button in buttons}
            for button in buttons:
                button.disabled = True
            return
        held, self._held = self._held, {}
        for button, disabled in held.items():
            if button.comm is not None:
                button.disabled = disabled
        self._doing = ""
        self._draw_bar()

    def _enable(self, button: Any, enabled: bool) -> None:
        """Enable or disable a button; while something runs, that comes into force when it ends."""
        if button in self._held:
            self._held[button] = not enabled
        else:
            button.disabled = not enabled

    # what its owner calls

    @property
    def busy(self) -> bool:
        """Whether a call is running."""
        return self._task.busy

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing runs; False when that took longer than `timeout_s` seconds."""
        return self._task.wait(timeout_s)

    def close(self) -> None:
        """Take the widget off the screen, with all it is made of; waits for a call that runs."""
        task = self.__dict__.get("_task")
        if task is not None:
            task.close()
        if self.comm is not None:
            close_tree(self)

    def __repr__(self) -> str:
        return self._summary() if self.comm is not None else f"{self._title} (closed)"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
        bundle["text/plain"] = self._summary()
        return bundle
