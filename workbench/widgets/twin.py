"""Twin: pick two snapshots, see what was added, removed and changed between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as W

from workbench.answer import format_value
from workbench.widgets.view import View, cell_text, empty_state, escape, plural

__all__ = ["Twin"]

_KINDS = ("added", "removed", "changed")
_SIGNS = {"added": ("good", "+"), "removed": ("bad", "−"), "changed": ("warn", "~")}
_STEP = 100


class Twin(View):
    """Compare two snapshots.

    Args:
        snapshots: `[{seq, id, label, taken_at, object_count}]`, in any order.
        diff: of two sequence numbers, `{a, b, counts: [{type, added, removed, changed}], changes: [{type, key, title,
            kind, properties: [{name, old, new}]}], total}`; `changes` may hold fewer than `total`.
    """

    def __init__(
        self,
        snapshots: Callable[[], Sequence[Mapping[str, Any]]],
        diff: Callable[[int, int], Mapping[str, Any]],
        *,
        live: bool | None = None,
    ) -> None:
        super().__init__("Twin", live=live)
        self._read_snapshots, self._read_diff = snapshots, diff
        self._snapshots: list[Mapping[str, Any]] = []
        self._diff: Mapping[str, Any] | None = None
        self._most = _STEP
        self._filling = False

        self.before = W.Dropdown(options=[], tooltip="The earlier snapshot", layout=W.Layout(flex="1 1 200px"))
        self.after = W.Dropdown(options=[], tooltip="The later snapshot", layout=W.Layout(flex="1 1 200px"))
        self.compare = W.Button(description="Compare", button_style="primary", tooltip="Show what changed between them")
        self.refresh = W.Button(description="Refresh", tooltip="Read the list of snapshots again")
        self._counts = W.HTML()
        self.type = W.Dropdown(options=["all types"], tooltip="Only changes of this type", layout=W.Layout(width="190px"))
        self.kind = W.ToggleButtons(
            options=["all", *_KINDS],
            tooltips=["Every change", "New objects", "Objects that went", "Objects with new values"],
        )
        self._list = W.HTML()
        self.more = W.Button(description="Show more", tooltip=f"Show {_STEP} more changes")

        self.compare.on_click(lambda _: self._compare())
        self.refresh.on_click(lambda _: self._reread())
        for control in (self.type, self.kind):
            control.observe(lambda _: self._filter(), "index")
        self.more.on_click(lambda _: self._show_more())

        pick = W.Box([self.before, W.HTML('<span class="dim">→</span>'), self.after, self.compare, self.refresh])
        self._filters = W.Box([self.type, self.kind])
        for row in (pick, self._filters):
            row.add_class("sky-row")
        more = W.Box([self.more])
        self._show(pick, self._counts, self._filters, self._list, more)
        self._clear(empty_state("Choose two snapshots and compare them."))
        self._load(lambda: sorted(self._read_snapshots(), key=lambda s: s["seq"]), self._start)

    def _reread(self) -> None:
        self._run("reading", lambda: sorted(self._read_snapshots(), key=lambda s: s["seq"]), self._draw_snapshots)

    def _start(self, snapshots: list[Mapping[str, Any]]) -> None:
        self._draw_snapshots(snapshots)
        if len(snapshots) > 1:
            a, b = snapshots[-2]["seq"], snapshots[-1]["seq"]
            self._load(lambda: self._read_diff(a, b), self._draw_diff)

    def _draw_snapshots(self, snapshots: list[Mapping[str, Any]]) -> None:
        kept = [self._seq(self.before), self._seq(self.after)]
        self._snapshots = snapshots
        self._say(plural(len(snapshots), "snapshot"))
        seqs = [s["seq"] for s in snapshots]
        for box, seq, fallback in ((self.before, kept[0], -2), (self.after, kept[1], -1)):
            box.index = None
            box.options = [(_snapshot_text(s), i) for i, s in enumerate(snapshots)]
            box.index = seqs.index(seq) if seq in seqs else max(len(seqs) + fallback, 0) if seqs else None
        self._enable(self.compare, len(snapshots) > 1)
        if len(snapshots) < 2:
            words = "One snapshot so far; a second one shows what changed:"
            if not snapshots:
                words = "No snapshot yet. Take one:"
            self._clear(empty_state(words, "skygraph snapshot take"))

    def _seq(self, box: Any) -> Any:
        return None if box.index is None or box.index >= len(self._snapshots) else self._snapshots[box.index]["seq"]

    def _compare(self) -> None:
        a, b = self._seq(self.before), self._seq(self.after)
        if a is not None and b is not None:
            self._run("comparing", lambda: self._read_diff(a, b), self._draw_diff)

    def _clear(self, words: str) -> None:
        self._diff = None
        self._counts.value = ""
        self._filters.layout.display = self.more.layout.display = "none"
        self._list.value = words

    def _draw_diff(self, diff: Mapping[str, Any]) -> None:
        self._diff = diff
        self._most = _STEP
        counts = [c for c in diff["counts"] if any(c[k] for k in _KINDS)]
        if not diff["total"]:
            self._clear(empty_state("Nothing changed between these two snapshots."))
            self._diff = diff
            return
        self._filling = True
        try:
            types = [str(c["type"]) for c in counts]
            self.type.index = None
            self.type.options = ["all types", *types]
            self.type.index = self.kind.index = 0
        finally:
            self._filling = False
        self._counts.value = _counts_table(counts)
        self._filters.layout.display = "flex"
        self._draw_changes()

    def _filter(self) -> None:
        if not self._filling and self._diff is not None:
            self._most = _STEP
            self._draw_changes()

    def _show_more(self) -> None:
        self._most += _STEP
        self._draw_changes()

    def _draw_changes(self) -> None:
        diff = self._diff
        if diff is None:
            return
        wanted_type = self.type.options[self.type.index] if self.type.index else None
        wanted_kind = _KINDS[self.kind.index - 1] if self.kind.index else None
        found = [
            c
            for c in diff["changes"]
            if (wanted_type is None or c["type"] == wanted_type) and (wanted_kind is None or c["kind"] == wanted_kind)
        ]
        rows = "".join(_change_row(c) for c in found[: self._most])
        held, total = len(diff["changes"]), diff["total"]
        notes = []
        if len(found) > self._most:
            notes.append(f"{self._most:,} of {len(found):,} changes shown")
        if held < total:
            notes.append(f"the first {held:,} of {total:,} changes are here")
        note = f'<div class="dim" style="margin-top:4px">{"; ".join(notes)}</div>' if notes else ""
        self._list.value = (
            f'<div class="sky-scroll"><table class="sky-table"><tbody>{rows}</tbody></table></div>{note}'
            if found
            else empty_state("No change of this type and kind.")
        )
        self.more.layout.display = "inline-flex" if len(found) > self._most else "none"

    def _summary(self) -> str:
        text = f"Twin: {plural(len(self._snapshots), 'snapshot')}"
        if self._diff is None:
            return text
        sums = ", ".join(f"{sum(c[k] for c in self._diff['counts']):,} {k}" for k in _KINDS)
        return f"{text}; {_snapshot_name(self._diff['a'])} -> {_snapshot_name(self._diff['b'])}: {sums}"


def _snapshot_text(snapshot: Mapping[str, Any]) -> str:
    label = f" {snapshot['label']}" if snapshot["label"] else ""
    at = format_value(snapshot["taken_at"])[:19]
    return f"#{snapshot['seq']}{label} · {at} · {plural(snapshot['object_count'], 'object')}"


def _snapshot_name(snapshot: Any) -> str:
    """A snapshot in a diff: a mapping with its label, or whatever names it."""
    if isinstance(snapshot, Mapping):
        return str(snapshot.get("label") or f"#{snapshot.get('seq', '')}")
    return str(snapshot)


def _counts_table(counts: Sequence[Mapping[str, Any]]) -> str:
    def cell(kind: str, count: int) -> str:
        tone, sign = _SIGNS[kind]
        return f'<td class="n {tone}">{sign}{count:,}</td>' if count else '<td class="n dim">·</td>'

    rows = "".join(f"<tr><td>{escape(c['type'])}</td>{''.join(cell(k, c[k]) for k in _KINDS)}</tr>" for c in counts)
    total = "".join(f'<td class="n"><b>{sum(c[k] for c in counts):,}</b></td>' for k in _KINDS)
    head = "".join(f'<th scope="col" class="n">{k}</th>' for k in _KINDS)
    return (
        '<table class="sky-table" style="width:auto;min-width:360px"><thead><tr><th scope="col">type</th>'
        f"{head}</tr></thead><tbody>{rows}<tr><td><b>all</b></td>{total}</tr></tbody></table>"
    )


def _change_row(change: Mapping[str, Any]) -> str:
    tone, sign = _SIGNS[change["kind"]]
    parts = []
    for prop in change["properties"]:
        old, new = (_side(prop["name"], prop[side]) for side in ("old", "new"))
        name = f'<span class="dim">{escape(prop["name"])}</span>'
        if change["kind"] == "changed":
            sides = f'<span class="bad"><s>{old}</s></span> → <span class="good">{new}</span>'
            parts.append(f"<div>{name} &nbsp;{sides}</div>")
        else:
            value = new if change["kind"] == "added" else old
            parts.append(f'<span style="margin-right:14px;white-space:nowrap">{name} {value}</span> ')
    title = f" <b>{escape(change['title'])}</b>" if change["title"] not in (None, "", change["key"]) else ""
    return (
        f'<tr><td style="width:1%"><span class="sky-chip {tone}">{sign} {escape(change["kind"])}</span></td>'
        f'<td style="width:30%">{escape(change["type"])} <span class="mono">{escape(cell_text("key", change["key"]))}'
        f'</span>{title}</td><td style="max-width:none">{"".join(parts)}</td></tr>'
    )


def _side(name: str, value: Any) -> str:
    if value is None or value == "":
        return '<i class="dim">empty</i>'
    return escape(cell_text(name, value))
