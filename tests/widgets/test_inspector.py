"""What the inspector answers to a page: each question read strictly, each section on its own, values as text."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest

from workbench.errors import UnknownName
from workbench.widgets import Inspector

Keep = Callable[[Any], Any]
AT = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)


class Table:
    """A table for the inspector; `asked` has the kinds of the questions that reached it."""

    table = "raw.invoices"

    def __init__(self, versions: int = 2, keys: int = 0, parts: int = 1) -> None:
        self.asked: list[str] = []
        self.sizes = versions, keys, parts

    def head(self) -> dict[str, Any]:
        self.asked.append("head")
        return {"table": self.table, "key": ["id"]}

    def now(self) -> dict[str, Any]:
        self.asked.append("now")
        return {"parts": self.sizes[2], "rows": 2**60, "print": "1"}

    def facts(self) -> dict[str, Any]:
        self.asked.append("facts")
        return {"current_rows": 412, "physical_rows": 437, "deleted_keys": 3, "parts": 3, "seconds_raw": float("nan")}

    def tombstones(self) -> dict[str, Any]:
        return {"rows": 3, "oldest": AT}

    def keys(self) -> dict[str, Any]:
        return {"keys": [{"key": str(n), "versions": 2, "deleted": False} for n in range(self.sizes[1])]}

    def life(self, key: str) -> dict[str, Any]:
        self.asked.append(f"life {key}")
        if key == "nobody":
            raise UnknownName("key of raw.invoices", key, ["somebody"])
        versions = [
            {
                "number": n, "state": "superseded", "at": AT, "run_id": "r", "mode": "full", "status": "ok", "part": "all_1_1_0",
                "is_tombstone": False, "expires_at": None, "values": {"id": 5, "city": f"<b>{n}</b>", "blob": "x" * 5_000, "none": None},
                "changed": {"city": None} if n == 1 else {},
            }
            for n in range(self.sizes[0])
        ]  # fmt: skip
        return {"key": key, "columns": ["id", "city", "blob", "none"], "gaps": 0, "versions": versions}

    def parts(self) -> dict[str, Any]:
        return {"parts": [{"name": f"all_{n}_{n}_0"} for n in range(self.sizes[2])]}

    def ranges(self) -> dict[str, Any]:
        raise ValueError("no such\nthing")

    def schema(self) -> dict[str, Any]:
        return {"columns": []}


def open_inspector(keep: Keep, table: Table, **options: Any) -> tuple[Any, Callable[..., dict[str, Any]]]:
    """A widget, and what its page does: ask one question and take the answer."""
    widget = keep(Inspector(table, live=False, **options))
    said: list[Any] = []
    widget.send = lambda message, buffers=None: said.append(json.loads(json.dumps(message, allow_nan=False)))

    def ask(**question: Any) -> Any:
        said.clear()
        widget._handle_custom_msg({"id": "a.1", **question}, [])
        return said[-1] if said else None

    return widget, ask


def test_nothing_is_read_before_it_is_asked_for(keep: Keep) -> None:
    table = Table()
    _, ask = open_inspector(keep, table)
    assert table.asked == []
    assert ask(ask="head") == {"id": "a.1", "answer": {"table": "raw.invoices", "key": ["id"]}}
    assert table.asked == ["head"]
    assert ask(ask="now")["answer"]["rows"] == str(2**60)  # beyond what a page counts exactly
    assert ask(ask="facts")["answer"]["seconds_raw"] is None
    assert ask(ask="tombstones")["answer"]["oldest"] == "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize(("versions", "keys", "parts"), [(0, 0, 0), (1, 1, 1), (10_000, 10_000, 1_000)])
def test_any_number_of_versions_keys_and_parts(keep: Keep, versions: int, keys: int, parts: int) -> None:
    _, ask = open_inspector(keep, Table(versions, keys, parts))
    life = ask(ask="life", key="5")["answer"]
    assert life["total"] == versions
    assert [v["number"] for v in life["versions"]] == list(range(versions))[::-1][:200]
    assert len(ask(ask="keys")["answer"]["keys"]) == keys
    assert len(ask(ask="parts")["answer"]["parts"]) == parts


def test_a_life_is_drawn_newest_first_with_what_was_before(keep: Keep) -> None:
    _, ask = open_inspector(keep, Table(2))
    newest, oldest = ask(ask="life", key="a,b")["answer"]["versions"]
    assert newest["cells"][1] == {"text": "<b>1</b>", "was": None}
    assert "was" not in oldest["cells"][1]
    assert newest["cells"][0]["text"] == "5"
    assert len(newest["cells"][2]["text"]) == 2_000  # a long value is cut for the page
    assert newest["cells"][3] == {"text": None}


@pytest.mark.parametrize(
    "question",
    [
        {"ask": "drop"}, {"ask": "__class__"}, {"ask": None}, {"ask": ["head"]}, {}, {"ask": "head", "more": 1}, {"ask": "life"},
        {"ask": "life", "key": 5}, {"ask": "life", "key": "  "}, {"ask": "life", "key": "x" * 4_001}, {"ask": "life", "key": "a\0b"},
        {"ask": "life", "key": "5", "table": "raw.other"}, {"ask": "close"}, {"ask": "table"},
    ],
    ids=lambda q: str(q)[:40],
)  # fmt: skip
def test_what_is_no_question_of_ours_is_refused_and_reaches_nothing(keep: Keep, question: dict[str, Any]) -> None:
    table = Table()
    _, ask = open_inspector(keep, table)
    assert ask(**question)["error"]["kind"] == "UsageError"
    assert table.asked == []


@pytest.mark.parametrize("message", [None, [], "head", {"ask": "head"}, {"id": 5, "ask": "head"}, {"id": "x" * 65, "ask": "head"}])
def test_a_message_without_a_sender_gets_no_answer(keep: Keep, message: Any) -> None:
    table = Table()
    widget, _ = open_inspector(keep, table)
    widget.send = lambda *given: pytest.fail("an answer to nobody")
    widget._handle_custom_msg(message, [])
    assert table.asked == []


def test_a_page_sets_no_state(keep: Keep) -> None:
    widget, _ = open_inspector(keep, Table())
    widget.set_state({"start": {"table": "raw.other"}})
    assert widget.start["table"] == "raw.invoices"


def test_an_error_is_said_with_what_to_do(keep: Keep) -> None:
    _, ask = open_inspector(keep, Table())
    assert ask(ask="life", key="nobody")["error"] == {
        "message": "unknown key of raw.invoices 'nobody'", "hint": "did you mean somebody?", "kind": "UnknownName",
    }  # fmt: skip
    assert ask(ask="ranges")["error"]["message"] == "ValueError: no such"


def test_where_nobody_can_click_it_says_the_rows_or_the_versions(keep: Keep) -> None:
    widget, _ = open_inspector(keep, Table())
    assert repr(widget) == "Inspector of raw.invoices: 412 current, 437 physical, 3 deleted keys, 3 parts"
    keyed, _ = open_inspector(keep, Table(), key="5")
    assert repr(keyed) == "Inspector of raw.invoices, key 5: 2 versions"
    wrong, _ = open_inspector(keep, Table(), key="nobody")
    assert repr(wrong) == "Inspector of raw.invoices: unknown key of raw.invoices 'nobody'"
    widget.close()
    assert repr(widget) == "Inspector (closed)"
