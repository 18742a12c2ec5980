"""Inspector: how many of a table's physical rows are current, which keys have several versions, and what changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as W

from workbench.widgets.row_list import RowList
from workbench.widgets.view import View, as_rows, cell_text, data_table, empty_state, escape, plural

__all__ = ["Inspector", "changed_cells"]

_MOST_KEYS = 200


class Inspector(View):
    """Current against physical rows of one table.

    Args:
        summary: `{table, engine, key, current_rows, physical_rows, superseded_rows, deleted_keys, parts,
            bytes_on_disk, seconds_current, seconds_raw}`; the two times are of the same count with and without
            reading current rows only.
        versions: of a key as text (the values of a compound key joined by commas), `{columns, rows}`: every physical
            row of that key.
        keys: of a limit, `{columns, rows}`: the keys with most versions. The key is the column `key` when there is
            one, else the key columns of the summary.
    """

    def __init__(
        self,
        summary: Callable[[], Mapping[str, Any]],
        versions: Callable[[str], Mapping[str, Any]],
        keys: Callable[[int], Mapping[str, Any]],
        *,
        live: bool | None = None,
    ) -> None:
        super().__init__("Inspector", live=live)
        self._read_summary, self._read_versions, self._read_keys = summary, versions, keys
        self._facts: Mapping[str, Any] = {}
        self._key_texts: list[str] = []

        self._figures = W.HTML()
        self.key = W.Text(
            placeholder="a key; press Enter",
            continuous_update=False,
            tooltip="Key whose versions to show",
            layout=W.Layout(flex="1 1 100px"),
        )
        self.show_key = W.Button(description="Versions", tooltip="Show every version of this key")
        self.refresh = W.Button(description="Refresh", tooltip="Count again")
        self.key_list = RowList("Keys with several versions", on_pick=self._pick, height="230px")
        self._no_keys = W.HTML()
        self._versions = W.HTML(empty_state("Choose a key to see its versions."))

        self.key.observe(lambda change: self._open(change["new"]), "value")
        self.show_key.on_click(lambda _: self._open(self.key.value))
        self.refresh.on_click(lambda _: self._run("counting", self._fetch, self._draw))

        self.key_list.layout.display = "none"
        controls = W.Box([self.key, self.show_key])
        controls.add_class("sky-row")
        left = W.VBox([W.HTML('<div class="sky-label">Keys with most versions</div>'), self.key_list, self._no_keys])
        right = W.VBox([controls, self._versions])
        for pane in (left, right):
            pane.add_class("sky-pane")
        panes = W.Box([left, right], layout=W.Layout(grid_template_columns="minmax(200px,300px) minmax(0,1fr)"))
        panes.add_class("sky-panes")
        footer = W.Box([self.refresh])
        footer.add_class("sky-row")
        self._show(self._figures, panes, footer)
        self._load(self._fetch, self._draw)

    def _fetch(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return self._read_summary(), self._read_keys(_MOST_KEYS)

    def _pick(self, index: int) -> None:
        if index < len(self._key_texts):
            # setting the box opens the key, unless it stands there already
            if self.key.value == self._key_texts[index]:
                self._open(self._key_texts[index])
            else:
                self.key.value = self._key_texts[index]

    def _open(self, text: str) -> None:
        key = text.strip()
        if key:
            self._run(
                f"reading {key}",
                lambda: self._read_versions(key),
                lambda found: self._draw_versions(key, found),
                queue=True,
            )

    def _draw(self, found: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
        self._facts, keys = found
        f = self._facts
        self._say(f"{f['table']} · {f['engine']} · key {', '.join(map(str, f['key']))}")
        self._figures.value = figures(f) if f["physical_rows"] else empty_state(f"{f['table']} has no rows yet. Run", "skygraph sync --all")
        columns, rows = as_rows(keys)
        by = ["key"] if "key" in columns else [str(k) for k in f["key"] if str(k) in columns]
        self._key_texts = [",".join(_key_text(row[columns.index(c)]) for c in by) for row in rows]
        self.key_list.fill(columns, rows)
        self.key_list.layout.display = "flex" if rows else "none"
        self.key_list.fit_height(10)
        self._no_keys.value = "" if rows else empty_state("Every key has one version.")

    def _draw_versions(self, key: str, found: Mapping[str, Any]) -> None:
        columns, rows = as_rows(found)
        if not rows:
            self._versions.value = empty_state(f"No row with key {key}.")
            return
        newest_first = _newest_first(columns, rows)
        marks = changed_cells(columns, rows, newest_first=newest_first)
        newest = 0 if newest_first else len(rows) - 1
        chips = []
        for i, row in enumerate(rows):
            deleted = "_deleted" in columns and bool(row[columns.index("_deleted")])
            tone, word = ("bad", "deleted") if deleted else ("good", "current")
            if i != newest:
                tone, word = "", "old"
            chips.append(f'<span class="sky-chip {tone}">{word}</span>')
        self._versions.value = (
            f'<div style="margin-bottom:4px"><b>{escape(key)}</b> <span class="dim">{plural(len(rows), "version")}; '
            f"<mark>marked</mark> values differ from the version before</span></div>" + data_table(columns, rows, lead=chips, marks=marks)
        )

    def _summary(self) -> str:
        if not self._facts:
            return "Inspector: nothing read"
        f = self._facts
        return (
            f"Inspector of {f['table']}: {plural(f['current_rows'], 'current row')}, {f['physical_rows']:,} physical, "
            f"{_gone(f)[0]:,} superseded, {plural(f['deleted_keys'], 'deleted key')}, "
            f"{plural(f['parts'], 'part')}"
        )


def _key_text(value: Any) -> str:
    return value if isinstance(value, str) else cell_text("key", value)


def _newest_first(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bool:
    if "_version" not in columns or len(rows) < 2:
        return False
    at = columns.index("_version")
    return bool(rows[0][at] > rows[-1][at])


def changed_cells(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, newest_first: bool) -> dict[tuple[int, int], str]:
    """Which cells differ from the version before, with the words for it. Bookkeeping columns (`_version`, ...) differ
    always and are left out, except `_deleted`.

    >>> changed_cells(["id", "name", "_version"], [[1, "Ann", 1], [1, "Anna", 2]], newest_first=False)
    {(1, 1): 'was Ann'}
    """
    marks = {}
    for i in range(len(rows)):
        before = i + 1 if newest_first else i - 1
        if not 0 <= before < len(rows):
            continue
        for j, column in enumerate(columns):
            if column.startswith("_") and column != "_deleted":
                continue
            if rows[i][j] != rows[before][j]:
                old = rows[before][j]
                marks[i, j] = "was empty" if old is None else f"was {cell_text(column, old)}"
    return marks


def figures(facts: Mapping[str, Any]) -> str:
    """The physical rows of a table as one bar, and the figures that belong to it."""
    physical, current = facts["physical_rows"], facts["current_rows"]
    superseded, deleted = _gone(facts)
    parts = [
        ("current", current, "var(--sky-good)"),
        ("superseded", superseded, "var(--sky-warn)"),
        ("deletion marks", deleted, "var(--sky-bad)"),
    ]
    shown = [(n, c, tone) for n, c, tone in parts if c]
    bar = "".join(
        f'<div title="{escape(name)}: {count:,}" style="flex:{count} 1 3px;min-width:3px;background:{tone};opacity:.85"></div>'
        for name, count, tone in shown
    )
    legend = " ".join(
        f'<span style="margin-right:18px;white-space:nowrap"><span style="display:inline-block;width:9px;height:9px;'
        f'border-radius:2px;background:{tone};opacity:.85;margin-right:6px"></span><b>{count:,}</b> '
        f'<span class="dim">{escape(name)} {_percent(count, physical)}</span></span>'
        for name, count, tone in shown
    )
    fast, slow = facts["seconds_raw"], facts["seconds_current"]
    cost = f"{slow / fast:.1f}× raw" if fast else ""
    tiles = [
        ("physical rows", f"{physical:,}", f"{physical / current:.2f} per current" if current else ""),
        ("deleted keys", f"{facts['deleted_keys']:,}", ""),
        ("parts", f"{facts['parts']:,}", ""),
        ("on disk", size_text(facts["bytes_on_disk"]), ""),
        ("read current", f"{slow * 1000:,.1f} ms", cost),
        ("read raw", f"{fast * 1000:,.1f} ms", ""),
    ]
    boxes = "".join(
        f'<div style="min-width:86px"><div class="sky-label">{escape(name)}</div>'
        f'<div style="font-size:18px;font-weight:600;font-variant-numeric:tabular-nums">{escape(value)}</div>'
        f'<div class="dim" style="font-size:11px">{escape(extra)}</div></div>'
        for name, value, extra in tiles
    )
    words = ", ".join(f"{count:,} {name}" for name, count, _ in shown)
    return (
        f'<div role="img" aria-label="{escape(words)}" style="display:flex;gap:2px;height:20px;border-radius:5px;'
        f'overflow:hidden;margin-bottom:6px">{bar}</div><div style="margin-bottom:10px">{legend}</div>'
        f'<div style="display:flex;flex-wrap:wrap;gap:8px 26px">{boxes}</div>'
    )


def _gone(facts: Mapping[str, Any]) -> tuple[int, int]:
    """The rows that are not current: superseded by a newer one, and the newest ones of deleted keys."""
    rest = max(facts["physical_rows"] - facts["current_rows"], 0)
    marks = min(facts["deleted_keys"], rest)
    return rest - marks, marks


def _percent(count: int, total: int) -> str:
    share = 100 * count / total if total else 0.0
    return "<0.1 %" if 0 < share < 0.1 else f"{share:.1f} %"


def size_text(size_bytes: int) -> str:
    """Bytes as people read them.

    >>> size_text(812), size_text(48_500), size_text(3_200_000_000)
    ('812 B', '48.5 kB', '3.2 GB')
    """
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
