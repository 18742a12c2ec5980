from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from workbench.errors import SourceUnavailable
from workbench.widgets import SyncPanel

Keep = Callable[[Any], Any]


class Jobs:
    """Tables that can be synced; `ran` holds what was asked for."""

    def __init__(self, *tables: str, **status: Any) -> None:
        self.tables = tables
        self.status_changes = status
        self.ran: list[list[str]] = []

    def status(self) -> list[dict[str, Any]]:
        return [
            {
                "table": t,
                "source": "shop",
                "watermark": "2026-01-01",
                "lag_s": 60.0,
                "last_status": "ok",
                "last_finished_at": "2026-01-01",
                "rows_current": 7,
                "error": None,
                **self.status_changes,
            }
            for t in self.tables
        ]

    def run(self, tables: list[str], progress: Callable[[str, int, int], None]) -> dict[str, Any]:
        self.ran.append(tables)
        for i, table in enumerate(tables, 1):
            progress(f"{table}: 3 rows", i, len(tables))
        return {
            "rows": [
                {"table": t, "status": "ok", "read": 3, "inserted": 2, "unchanged": 1, "deleted": 0, "seconds": 0.1, "error": None}
                for t in tables
            ]
        }


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_it_builds_with_any_number_of_tables(keep: Keep, html_of: Callable[[Any], str], count: int) -> None:
    jobs = Jobs(*(f"t{i}" for i in range(count)))
    widget = keep(SyncPanel(jobs.status, jobs.run, live=False))
    assert len(widget.tables.box.options) == count
    assert ("skygraph demo" in html_of(widget)) == (count == 0)
    assert widget.run_all.disabled == (count == 0)


@pytest.mark.parametrize("live", [False, True], ids=["batch", "thread"])
def test_run_all_and_run_selected_ask_for_those_tables(keep: Keep, html_of: Callable[[Any], str], live: bool) -> None:
    jobs = Jobs("a", "b", "c")
    widget = keep(SyncPanel(jobs.status, jobs.run, live=live))
    widget.run_all.click()
    assert widget.wait(10)
    widget.tables.box.index = (2, 0)
    widget.run_chosen.click()
    assert widget.wait(10)
    assert jobs.ran == [["a", "b", "c"], ["a", "c"]]
    assert (widget.bar.value, widget.bar.max, widget.bar.bar_style) == (2, 2, "success")
    assert "c: 3 rows" in html_of(widget)
    assert "4 rows inserted" in html_of(widget)
    assert not widget.run_all.disabled
    assert widget.tables.chosen == [0, 2]


def test_run_selected_without_a_choice_runs_nothing(keep: Keep, html_of: Callable[[Any], str]) -> None:
    jobs = Jobs("a")
    widget = keep(SyncPanel(jobs.status, jobs.run, live=False))
    widget.run_chosen.click()
    assert jobs.ran == []
    assert "Choose one or more tables first" in html_of(widget)


def test_a_batch_run_prints_its_progress(keep: Keep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYGRAPH_BATCH", "1")
    jobs = Jobs("a", "b")
    keep(SyncPanel(jobs.status, jobs.run)).run_all.click()
    assert "[1/2] a: 3 rows\n[2/2] b: 3 rows\n" in capsys.readouterr().out


def test_a_thread_prints_nothing(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = Jobs("a", "b")
    widget = keep(SyncPanel(jobs.status, jobs.run, live=True))
    widget.run_all.click()
    assert widget.wait(10)
    assert capsys.readouterr().out == ""


def test_while_a_run_goes_on_the_buttons_are_off_and_a_second_run_is_refused(keep: Keep, html_of: Callable[[Any], str]) -> None:
    jobs, gate, entered = Jobs("a"), threading.Event(), threading.Event()

    def run(tables: list[str], progress: Callable[[str, int, int], None]) -> Any:
        entered.set()
        assert gate.wait(10)
        return jobs.run(tables, progress)

    widget = keep(SyncPanel(jobs.status, run, live=True))
    widget.run_all.click()
    assert entered.wait(10)
    assert widget.busy
    assert widget.run_all.disabled
    assert widget.refresh.disabled
    assert 'role="status">syncing' in html_of(widget)
    widget.run_all.click()
    gate.set()
    assert widget.wait(10)
    assert jobs.ran == [["a"]]
    assert not widget.run_all.disabled
    assert 'role="status"' not in html_of(widget)


def test_a_run_that_breaks_off_shows_its_error_and_reads_the_status_again(keep: Keep, html_of: Callable[[Any], str]) -> None:
    jobs, reads = Jobs("a"), [0]

    def status() -> Any:
        reads[0] += 1
        return jobs.status()

    def run(tables: list[str], progress: Any) -> Any:
        raise SourceUnavailable("shop refused the sign-in", hint="check ERP_DSN")

    widget = keep(SyncPanel(status, run, live=False))
    widget.run_all.click()
    assert "shop refused the sign-in; <i>check ERP_DSN" in html_of(widget)
    assert reads == [2]
    assert not widget.run_all.disabled


def test_the_last_error_is_there_in_full_and_escaped(keep: Keep, html_of: Callable[[Any], str]) -> None:
    jobs = Jobs("<script>a</script>", last_status="failed", error="line one\nline two <script>")
    shown = html_of(keep(SyncPanel(jobs.status, jobs.run, live=False)))
    assert "line one\nline two &lt;script&gt;" in shown
    assert "<script" not in shown


def test_closing_waits_for_the_run(keep: Keep) -> None:
    jobs, gate, entered, ended = Jobs("a"), threading.Event(), threading.Event(), threading.Event()

    def run(tables: list[str], progress: Callable[[str, int, int], None]) -> Any:
        entered.set()
        assert gate.wait(10)
        ended.set()
        return jobs.run(tables, progress)

    widget = keep(SyncPanel(jobs.status, run, live=True))
    widget.run_all.click()
    assert entered.wait(10)
    opener = threading.Timer(0.05, gate.set)
    opener.start()
    widget.close()
    assert ended.is_set()
    opener.join()
    widget.run_all.click()
    assert jobs.ran == [["a"]]
    assert repr(widget) == "Sync (closed)"
