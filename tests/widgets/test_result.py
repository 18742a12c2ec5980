"""The grid of an answer: questions are read strictly, the newest of a kind wins, progress is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from workbench.errors import QueryError
from workbench.widgets import ResultGrid


class Answers:
    """Answers by hand; a page may be made to wait."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.stopped: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False
        self.say: Callable[[str, str, int | None], None] = lambda *_: None

    def listen(self, say: Callable[[str, str, int | None], None]) -> None:
        self.say = say

    def open(self) -> dict[str, Any]:
        return {"columns": []}

    def page(self, start: int, sort: int | None, down: bool) -> dict[str, Any]:
        self.asked.append((start, sort, down))
        assert self.gate.wait(30)
        if start == 13:
            raise QueryError("no such page", hint="ask for another")
        return {"rows": [[str(start)]]}

    def count(self) -> dict[str, Any]:
        return {"total": 1}

    def row(self, index: int, sort: int | None, down: bool) -> dict[str, Any]:
        return {"values": [str(index)]}

    def summary(self, column: int) -> dict[str, Any]:
        return {"facts": []}

    def export(self, format: str, sort: int | None, down: bool) -> dict[str, Any]:
        return {"path": format}

    def halt(self) -> dict[str, Any]:
        self.stopped.append("all")
        return {}

    def stop(self, kind: str) -> None:
        self.stopped.append(kind)
        self.gate.set()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def answers() -> Answers:
    return Answers()


def sent(grid: Any, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Send messages; what the widget answered."""
    heard: list[dict[str, Any]] = []
    grid.send = lambda message: heard.append(message)
    for message in messages:
        grid._hear(grid, message, [])
    assert grid.wait(30)
    return heard


def test_a_question_is_answered_with_its_id(keep: Any, answers: Answers) -> None:
    grid = keep(ResultGrid(answers, live=False))
    heard = sent(
        grid,
        {"id": "a", "ask": "page", "start": 200, "sort": 1, "down": True},
        {"id": "b", "ask": "page", "start": 13, "sort": None, "down": False},
    )
    assert heard == [
        {"id": "a", "answer": {"rows": [["200"]]}},
        {"id": "b", "error": {"message": "no such page", "hint": "ask for another"}},
    ]
    assert answers.asked == [(200, 1, True), (13, None, False)]


@pytest.mark.parametrize(
    "message",
    [
        {"ask": "close"},
        {"ask": "listen", "say": "x"},
        {"ask": "page"},
        {"ask": "page", "start": -1, "sort": None, "down": False},
        {"ask": "page", "start": 1.5, "sort": None, "down": False},
        {"ask": "page", "start": True, "sort": None, "down": False},
        {"ask": "page", "start": 0, "sort": "1; drop table x", "down": False},
        {"ask": "page", "start": 0, "sort": None, "down": 1},
        {"ask": "page", "start": 0, "sort": None, "down": False, "sql": "select 1"},
        {"ask": "export", "format": ["csv"], "sort": None, "down": False},
        {"ask": ["page"]},
    ],
)
def test_what_is_no_question_is_refused(keep: Any, answers: Answers, message: dict[str, Any]) -> None:
    (heard,) = sent(keep(ResultGrid(answers, live=False)), {"id": "a", **message})
    assert set(heard) == {"id", "error"}
    assert answers.asked == []


def test_a_newer_page_takes_the_place_of_one_that_waits_and_ends_what_runs(keep: Any, answers: Answers) -> None:
    grid = keep(ResultGrid(answers, live=True))
    answers.gate.clear()
    ask = {"ask": "page", "sort": None, "down": False}
    heard = sent(grid, {"id": "a", "start": 1, **ask}, {"id": "b", "start": 2, **ask})
    assert {"id": "b", "answer": {"rows": [["2"]]}} in heard
    assert {"id": "a", "gone": True} in heard
    assert answers.stopped == ["page"]


def test_progress_is_told_until_the_question_ends(keep: Any, answers: Answers) -> None:
    grid = keep(ResultGrid(answers, live=False))
    answers.say("page", "1 million rows", 40)
    answers.say("count", "other", None)
    assert grid.progress == {"text": "1 million rows", "percent": 40}
    answers.say("page", "", None)
    assert grid.progress == {"text": "other", "percent": None}
    answers.say("count", "", None)
    assert grid.progress == {}


def test_closing_ends_and_drops_what_it_had(keep: Any, answers: Answers) -> None:
    grid = keep(ResultGrid(answers, text=lambda: "a b", live=False))
    assert repr(grid) == "ResultGrid\na b"
    grid.close()
    grid.close()
    assert answers.closed
    assert repr(grid) == "ResultGrid (closed)"
