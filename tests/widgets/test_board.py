"""A board answers what it is asked and nothing else: every message of a page is taken for hostile."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from workbench.errors import LakeUnavailable, QueryError, UnknownName, UsageError
from workbench.widgets import Board

STAMP = {"age_s": 5.0, "at": dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), "table": "raw.sales", "watermark": "", "never": 0}
EVIL = "x' or 1 = 1 --"


class Lake:
    """Remembers what it was asked, and has two sales."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.fails: QueryError | None = None

    def __call__(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Mapping[str, Any]]:
        self.asked.append((sql, dict(parameters or {})))
        if "options" in sql:
            return [{"country": "Brazil"}, {"country": "Chile"}]
        if self.fails:
            raise self.fails
        return [{"who": "=cmd()", "sum": Decimal("1.50"), "at": dt.date(2026, 1, 2)}, {"who": 'a "b", c', "sum": None, "at": None}]


@pytest.fixture
def lake() -> Lake:
    return Lake()


@pytest.fixture
def board(lake: Lake, keep: Callable[[Any], Any]) -> Any:
    made = keep(Board("Sales", lake, lambda: STAMP, live=False))
    made.choice("country", "Country", "select country from options", every="All")
    made.table("Sold", "select who from sales where {country:String} in ('', country)", {"who": "Who", "sum": "Sum:number:USD"})
    made.sent = []
    made.send = lambda message, buffers=None: made.sent.append(message)
    return made


def test_a_bar_of_time_offers_its_moments_with_what_happened_and_begins_with_the_last(lake: Lake, keep: Callable[[Any], Any]) -> None:
    hours = [{"value": str(i), "label": f"{i}:00", "count": 10 * i} for i in range(1_500)]
    made = keep(Board("Day", lake, lambda: STAMP, live=False))
    made.moments("at", "Time", lambda: hours)
    made.table("Then", "select {at:String} as at from sales", {"who": "Who"})
    made.sent = []
    made.send = lambda message, buffers=None: made.sent.append(message)
    made._hear(made, {"id": "1", "ask": "show", "filters": {}}, [])
    first = made.sent[0]["filters"][0]
    assert (len(first["options"]), first["options"][-1], first["value"]) == (1_000, ["1499", "1499:00", 14_990], "1499")
    assert lake.asked[-1][1] == {"at": "1499"}
    assert made.plan["filters"] == [{"name": "at", "label": "Time", "moments": True}]
    hours.append({"value": "1500", "label": "now", "count": 1})
    made._hear(made, {"id": "2", "ask": "show", "filters": {"at": "1200"}}, [])
    assert lake.asked[-1][1] == {"at": "1200"}
    made._hear(made, {"id": "3", "ask": "show", "filters": {"at": "7"}}, [])
    assert "there is no '7'" in made.sent[-1]["refused"]["message"]


def test_a_bar_of_time_without_a_moment_shows_what_there_is(lake: Lake, keep: Callable[[Any], Any]) -> None:
    made = keep(Board("Day", lake, lambda: STAMP, live=False))
    made.moments("at", "Time", lambda: [])
    made.flaps("Then", lambda values: [{"who": values["at"] or "nobody"}], {"who": "Who:8"})
    made.sent = []
    made.send = lambda message, buffers=None: made.sent.append(message)
    made._hear(made, {"id": "1", "ask": "show", "filters": {}}, [])
    assert made.sent[0]["filters"][0] == {"name": "at", "label": "Time", "options": [], "value": "", "first": ""}
    assert made.sent[1]["rows"] == [{"who": "nobody"}]


@pytest.mark.parametrize("said", ["Who", "Who:0", "Who:41", "Who:text", "Who:-3"])
def test_flaps_of_no_length_are_refused(board: Any, said: str) -> None:
    with pytest.raises(UsageError, match="1 to 40 characters"):
        board.flaps("Board", "select 1", {"who": said})


def test_a_page_gets_filters_then_the_stamp_and_every_part(board: Any, lake: Lake) -> None:
    board._hear(board, {"id": "1", "ask": "show", "filters": {"country": "Brazil"}}, [])
    first, part, end = board.sent
    assert first["filters"] == [
        {
            "name": "country",
            "label": "Country",
            "options": [["", "All"], ["Brazil", "Brazil"], ["Chile", "Chile"]],
            "value": "Brazil",
            "first": "",
        }
    ]
    assert first["stamp"]["at"] == "2026-01-01T00:00:00+00:00"
    assert part["rows"][0] == {"who": "=cmd()", "sum": 1.5, "at": "2026-01-02"}
    assert end == {"id": "1", "done": True}
    assert lake.asked[-1] == ("select who from sales where {country:String} in ('', country)", {"country": "Brazil"})


@pytest.mark.parametrize(
    "message",
    [
        {"ask": "show", "filters": {"country": EVIL}},
        {"ask": "show", "filters": {"county": "Brazil"}},
        {"ask": "show", "filters": {"country": ["Brazil"]}},
        {"ask": "show", "filters": {"country": "x" * 10_000}},
        {"ask": "show", "filters": [["country", "Brazil"]]},
        {"ask": "show", "filters": {}, "sql": "select 1"},
        {"ask": "csv", "filters": {}, "part": "p2"},
        {"ask": "csv", "filters": {}, "part": {"id": "p1"}},
        {"ask": "run", "filters": {}},
        {},
    ],
    ids=lambda message: str(message)[:60],
)
def test_a_question_that_is_not_ours_reads_nothing(board: Any, lake: Lake, message: dict[str, Any]) -> None:
    board._hear(board, {"id": "1", **message}, [])
    (said,) = board.sent
    assert said["refused"]["message"]
    assert not [sql for sql, _ in lake.asked if "options" not in sql]


@pytest.mark.parametrize(
    "message", [None, [], "show", {"ask": "show", "filters": {}}, {"id": 1, "ask": "show", "filters": {}}, {"id": "x" * 65}]
)
def test_who_gives_no_name_gets_no_answer(board: Any, message: Any) -> None:
    board._hear(board, message, [])
    assert not board.sent


def test_a_page_cannot_change_the_plan(board: Any) -> None:
    before = board.plan
    board._handle_msg({"content": {"data": {"method": "update", "state": {"plan": {"parts": []}, "_esm": "evil"}}}, "buffers": []})
    assert board.plan == before
    assert "evil" not in str(board._esm)


def test_rows_are_saved_as_csv_that_no_spreadsheet_runs(board: Any) -> None:
    board._hear(board, {"id": "1", "ask": "csv", "filters": {}, "part": "p1"}, [])
    (said,) = board.sent
    assert said["name"] == "sold.csv"
    assert list(csv.reader(io.StringIO(said["csv"]))) == [["who", "sum", "at"], ["'=cmd()", "1.50", "2026-01-02"], ['a "b", c', "", ""]]


def test_a_visitor_hears_that_it_failed_and_not_why(board: Any, lake: Lake) -> None:
    lake.fails = QueryError("Not enough privileges on raw.secret", code=497)
    board._hear(board, {"id": "1", "ask": "show", "filters": {}}, [])
    assert "raw.secret" not in str(board.sent)
    assert "may not read" in board.sent[1]["error"]["message"]
    lake.fails = QueryError("Unknown table marts.sales", code=60)  # nothing is built yet: not an error, but nothing to show
    board._hear(board, {"id": "2", "ask": "show", "filters": {}}, [])
    assert board.sent[-2]["rows"] == []


def test_a_lake_that_does_not_answer_is_asked_again(board: Any) -> None:
    def gone() -> Any:
        raise LakeUnavailable("the lake does not run")

    board._stamp = gone
    board._hear(board, {"id": "1", "ask": "show", "filters": {}}, [])
    assert board.sent == [{"id": "1", "failed": {"message": "the lake does not run", "hint": None}}]


def test_a_run_without_a_page_says_what_it_would_show(board: Any) -> None:
    assert repr(board) == "Sales: 1 part\n  Sold: 2 rows"


def test_mistakes_of_a_notebook_are_told_when_it_is_made(board: Any) -> None:
    with pytest.raises(UnknownName, match="did you mean country"):
        board.table("More", "select {contry:String}", {})
    with pytest.raises(UnknownName, match="did you mean number"):
        board.table("More", "select 1", {"a": "A:nmber"})
    with pytest.raises(UsageError, match="cannot be called"):
        board.choice("country", "Again", {"": ""})
