"""The twin without a browser: messages in, answers out; every message of a page is taken for hostile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.widgets.test_explorer import Browser, browse_of
from workbench import Workbench
from workbench.errors import LakeUnavailable
from workbench.widgets import Twin

Keep = Callable[[Any], Any]


class Hours:
    """Moments with one change each; knows what it was asked."""

    def __init__(self, count: int, bench: Workbench | None = None) -> None:
        self.all = [{"value": str(i + 1), "label": f"hour {i}", "count": 1, "taken_at": "", "objects": 9} for i in range(count)]
        self.bench = bench
        self.asked: list[tuple[Any, ...]] = []
        self.closed = 0

    def moments(self, since: str) -> dict[str, Any]:
        return {"moments": self.all[int(since or 0) :]}

    def browse(self, side: str, at: str, against: str | None) -> Any:
        self.asked.append((side, at, against))
        assert self.bench is not None
        return browse_of(self.bench)

    def changes(self, a: str, b: str, type: str) -> dict[str, Any]:
        self.asked.append((a, b, type))
        return {"counts": [{"type": "Hour", "added": 1, "removed": 0, "changed": 2}], "changes": [], "total": 3}

    def life(self, type: str, key: str) -> dict[str, Any]:
        return {"versions": [], "more": 0}

    def stop(self, side: str, kind: str) -> None:
        self.asked.append(("stop", side, kind))

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "Twin: 0 snapshots"),
        (1, "Twin: 1 snapshot"),
        (10_000, "Twin: 10,000 snapshots; hour 9998 -> hour 9999: 1 added, 0 removed, 2 changed"),
    ],
)
def test_it_says_what_there_is_and_gives_all_moments(keep: Keep, count: int, said: str) -> None:
    widget = keep(Twin(Hours(count), live=False))
    assert repr(widget) == said
    browser = Browser(widget)
    assert len(browser.answer("moments", since="")["moments"]) == count
    assert browser.answer("moments", since=str(count))["moments"] == []


def test_each_question_names_its_side_and_times(built_shop: Workbench, keep: Keep) -> None:
    hours = Hours(3, built_shop)
    browser = Browser(keep(Twin(hours, live=False)))
    assert browser.answer("count", text="Customer", side="at", at="3", against=None) == {"count": 59}
    assert browser.answer("card", type="Customer", key="1", side="from", at="1", against="3")["title"] == "Luís Gonçalves"
    assert browser.answer("changes", a="1", b="3", type="")["total"] == 3
    assert hours.asked == [("at", "3", None), ("from", "1", "3"), ("1", "3", "")]


@pytest.mark.parametrize(
    "message",
    [
        {"ask": "count", "text": "Customer", "side": "at", "at": "", "against": None},
        {"ask": "count", "text": "Customer", "side": "at", "at": 3, "against": None},
        {"ask": "count", "text": "Customer", "side": "at", "at": "3" * 41, "against": None},
        {"ask": "count", "text": "Customer", "side": "at", "at": "3", "against": ["1"]},
        {"ask": "count", "text": "Customer", "side": "at"},
        {"ask": "close", "side": "at", "at": "3", "against": None},
        {"ask": "__init__", "side": "at", "at": "3", "against": None},
        {"ask": "count", "text": "Customer", "sql": "select 1", "side": "at", "at": "3", "against": None},
        {"ask": "changes", "a": "1", "b": None, "type": ""},
        {"ask": "changes", "a": "1", "b": "2"},
        {"ask": "stop", "side": "at", "kind": "count"},
        {"ask": "moments", "since": 1},
    ],
)
def test_a_message_that_is_no_question_of_ours_is_refused(built_shop: Workbench, keep: Keep, message: dict[str, Any]) -> None:
    hours = Hours(3, built_shop)
    browser = Browser(keep(Twin(hours, live=False)))
    browser.send({"id": "evil", **message})
    assert set(browser.reply("evil")) == {"id", "error"}
    assert not hours.asked


@pytest.mark.parametrize(
    "message",
    [None, [], "count", {"id": 5, "ask": "moments", "since": ""}, {"id": "x" * 65, "ask": "moments", "since": ""},
     {"id": "a", "ask": "count", "text": "x", "side": ["at"], "at": "1", "against": None},
     {"id": "a", "ask": "count", "text": "x", "side": "sideways", "at": "1", "against": None},
     {"id": "a", "ask": "moments", "since": "", "at": "1"}],
)  # fmt: skip
def test_what_cannot_be_answered_is_left(keep: Keep, message: Any) -> None:
    hours = Hours(1)
    browser = Browser(keep(Twin(hours, live=False)))
    browser.send(message)
    assert browser.heard == []
    assert hours.asked == []


def test_a_page_sets_no_state(keep: Keep) -> None:
    widget = keep(Twin(Hours(1), "Customer", at="hour 0", live=False))
    evil = {"method": "update", "state": {"plan": {"text": "evil"}, "_esm": "evil"}}
    widget._handle_msg({"content": {"data": evil}, "buffers": []})
    assert widget.plan == {"text": "Customer", "at": "hour 0", "against": "", "every_s": 10.0}
    assert widget._esm != "evil"


def test_an_error_is_one_line_and_closing_closes(keep: Keep) -> None:
    class Down(Hours):
        def moments(self, since: str) -> dict[str, Any]:
            raise LakeUnavailable("the lake does not answer", hint="run skygraph up")

    hours = Down(1)
    widget = keep(Twin(hours, live=False))
    assert repr(widget) == "Twin: the lake does not answer"
    browser = Browser(widget)
    browser.send({"id": "a", "ask": "moments", "since": ""})
    assert browser.reply("a") == {"id": "a", "error": {"message": "the lake does not answer", "hint": "run skygraph up"}}
    widget.close()
    widget.close()
    assert hours.closed == 1
    assert repr(widget) == "Twin (closed)"


def test_the_bench_makes_one(built_shop: Workbench, keep: Keep) -> None:
    widget = keep(built_shop.twin("Customer", at="opening"))
    assert repr(widget) == "Twin: 1 snapshot"
    browser = Browser(widget)
    (moment,) = browser.answer("moments", since="")["moments"]
    assert moment["label"] == "opening"
    found = browser.answer("open", text="Customer", edit=None, size=3, side="at", at=moment["value"], against=None)
    assert [row["title"] for row in found["page"]["rows"]] == ["Luís Gonçalves", "Leonie Köhler", "François Tremblay"]
    assert browser.answer("count", text="Playlist/contains", side="at", at=moment["value"], against=None)["count"] == 3_503
