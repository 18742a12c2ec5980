from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from workbench.errors import LakeUnavailable
from workbench.widgets import Twin

Keep = Callable[[Any], Any]
KINDS = ("added", "removed", "changed")


def snapshot(seq: int, label: str = "") -> dict[str, Any]:
    return {"seq": seq, "id": f"id{seq}", "label": label, "taken_at": "2026-01-01 00:00:00", "object_count": 100}


def change(kind: str, type: str = "Customer", key: Any = 5, old: Any = "Oslo", new: Any = "Bergen") -> dict[str, Any]:
    properties = [{"name": "city", "old": old, "new": new}]
    return {"type": type, "key": key, "title": "", "kind": kind, "properties": properties}


class History:
    """Snapshots with one list of changes between any two; `asked` holds the pairs compared."""

    def __init__(self, count: int, changes: list[dict[str, Any]], *, total: int | None = None) -> None:
        self.all = [snapshot(i + 1, label="day") for i in range(count)]
        self.changes = changes
        self.total = len(changes) if total is None else total
        self.asked: list[tuple[int, int]] = []

    def diff(self, a: int, b: int) -> dict[str, Any]:
        self.asked.append((a, b))
        types = sorted({c["type"] for c in self.changes})
        counts = [{"type": t, **{k: sum(c["type"] == t and c["kind"] == k for c in self.changes) for k in KINDS}} for t in types]
        return {"a": snapshot(a), "b": snapshot(b), "counts": counts, "changes": self.changes, "total": self.total}

    def twin(self) -> Any:
        return Twin(lambda: self.all, self.diff, live=False)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_snapshots_say_what_to_run(keep: Keep, html_of: Callable[[Any], str], count: int) -> None:
    history = History(count, [])
    widget = keep(history.twin())
    assert "skygraph snapshot take" in html_of(widget)
    assert widget.compare.disabled
    assert history.asked == []


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_it_builds_with_any_number_of_changes(keep: Keep, html_of: Callable[[Any], str], count: int) -> None:
    widget = keep(History(2, [change("added", key=i) for i in range(count)]).twin())
    assert ("Nothing changed" in html_of(widget)) == (count == 0)
    assert ("100 of 10,000 changes shown" in html_of(widget)) == (count == 10_000)
    assert repr(widget) == f"Twin: 2 snapshots; #1 -> #2: {count:,} added, 0 removed, 0 changed"


def test_it_builds_with_many_snapshots(keep: Keep) -> None:
    history = History(10_000, [])
    widget = keep(history.twin())
    assert len(widget.after.options) == 10_000
    assert history.asked == [(9_999, 10_000)]


def test_snapshots_may_come_newest_first(keep: Keep) -> None:
    history = History(3, [change("changed")])
    history.all.reverse()
    keep(history.twin())
    assert history.asked == [(2, 3)]


def test_the_two_newest_are_compared_first_and_then_the_chosen(keep: Keep) -> None:
    history = History(4, [change("changed")])
    widget = keep(history.twin())
    widget.before.index, widget.after.index = 0, 2
    widget.compare.click()
    assert history.asked == [(3, 4), (1, 3)]
    widget.refresh.click()
    assert (widget.before.index, widget.after.index) == (0, 2)


def test_changes_show_old_and_new_and_can_be_filtered(keep: Keep, html_of: Callable[[Any], str]) -> None:
    history = History(2, [change("changed"), change("removed", "Invoice", 98), change("added", "Invoice", 99)])
    widget = keep(history.twin())
    assert '<s>Oslo</s></span> → <span class="good">Bergen</span>' in html_of(widget)
    widget.type.index = list(widget.type.options).index("Invoice")
    assert "Bergen</span></div>" not in html_of(widget)
    widget.kind.index = 2
    shown = html_of(widget)
    assert ">98</span>" in shown
    assert ">99</span>" not in shown
    widget.kind.index = 3
    assert "No change of this type and kind" in html_of(widget)


def test_more_changes_on_request_and_a_cut_list_says_so(keep: Keep, html_of: Callable[[Any], str]) -> None:
    widget = keep(History(2, [change("added", key=i) for i in range(150)], total=9_000).twin())
    assert "the first 150 of 9,000 changes are here" in html_of(widget)
    assert ">149</span>" not in html_of(widget)
    widget.more.click()
    assert ">149</span>" in html_of(widget)


def test_values_are_escaped_and_errors_are_one_line(keep: Keep, html_of: Callable[[Any], str]) -> None:
    bad = "<script>alert(1)</script>"
    history = History(2, [change(kind, bad, bad, bad, bad) for kind in KINDS])
    assert "<script" not in html_of(keep(history.twin()))

    def diff(a: int, b: int) -> Any:
        raise LakeUnavailable("the lake did not answer", hint="try again")

    assert "the lake did not answer; <i>try again" in html_of(keep(Twin(lambda: history.all, diff, live=False)))
