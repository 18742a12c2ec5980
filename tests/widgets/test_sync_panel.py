from __future__ import annotations

import datetime as dt
import re
import threading
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from workbench.errors import SourceUnavailable
from workbench.widgets import SyncPanel
from workbench.widgets.sync_panel import sparkline

Keep = Callable[[Any], Any]
STOPPED = "interrupted; run it again: it goes on from where it was"


def point(**changes: Any) -> dict[str, Any]:
    """A past run, as `status` tells it."""
    finished = dt.datetime(2026, 1, 1, 12, 0, 5, 250_000, tzinfo=dt.timezone.utc)
    return {"mode": "incremental", "status": "ok", "finished_at": finished, "rows_read": 10, "inserted": 4, "deleted": 1, "seconds": 0.25,
            **changes}  # fmt: skip


class Jobs:
    """Tables that can be synced; `ran` holds what was asked for."""

    def __init__(self, *tables: str, **status: Any) -> None:
        self.tables = tables
        self.status_changes = status
        self.ran: list[list[str]] = []
        self.stops = 0

    def stop(self) -> None:
        self.stops += 1

    def status(self) -> list[dict[str, Any]]:
        return [
            {
                "table": t,
                "source": "shop",
                "watermark": "2026-01-01 00:00:00.000000",
                "every_s": 300.0,
                "lag_s": 60.0,
                "overdue": False,
                "last_status": "ok",
                "last_finished_at": dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
                "rows_current": 7,
                "error": "",
                "moved_by": "sync",
                "quarantined": 0,
                "runs": [point()],
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
                {
                    "table": t,
                    "mode": "full",
                    "status": "ok",
                    "rows_read": 3,
                    "inserted": 2,
                    "unchanged": 1,
                    "deleted": 0,
                    "seconds": 0.1,
                    "quarantined": 0,
                    "note": "",
                    "error": "",
                }
                for t in tables
            ]
        }


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_it_builds_with_any_number_of_tables(keep: Keep, html_of: Callable[[Any], str], count: int) -> None:
    jobs = Jobs(*(f"t{i}" for i in range(count)))
    widget = keep(SyncPanel(jobs.status, jobs.run, jobs.stop, live=False))
    assert len([row for row in widget.rows if row.table]) == min(count, 25)
    assert ("skygraph demo" in html_of(widget)) == (count == 0)
    assert widget.run_all.disabled == (count == 0)


@pytest.mark.parametrize("live", [False, True], ids=["batch", "thread"])
def test_run_all_and_run_selected_ask_for_those_tables(keep: Keep, html_of: Callable[[Any], str], live: bool) -> None:
    jobs = Jobs("a", "b", "c")
    widget = keep(SyncPanel(jobs.status, jobs.run, jobs.stop, live=live))
    widget.run_all.click()
    assert widget.wait(10)
    widget.rows[2].tick.value = widget.rows[0].tick.value = True
    assert widget.run_chosen.description == "Run selected (2)"
    widget.run_chosen.click()
    assert widget.wait(10)
    assert jobs.ran == [["a", "b", "c"], ["a", "c"]]
    assert (widget.bar.value, widget.bar.max, widget.bar.bar_style) == (2, 2, "success")
    assert "4 rows inserted" in html_of(widget)
    assert not widget.run_all.disabled
    assert widget.chosen == ["a", "c"]
    widget.rows[1].run.click()
    assert widget.wait(10)
    assert jobs.ran[2:] == [["b"]]


def test_run_selected_without_a_choice_runs_nothing(keep: Keep, html_of: Callable[[Any], str]) -> None:
    jobs = Jobs("a")
    widget = keep(SyncPanel(jobs.status, jobs.run, jobs.stop, live=False))
    widget.run_chosen.click()
    assert jobs.ran == []
    assert "Tick one or more tables first" in html_of(widget)


def test_a_batch_run_prints_its_progress(keep: Keep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYGRAPH_BATCH", "1")
    jobs = Jobs("a", "b")
    keep(SyncPanel(jobs.status, jobs.run, jobs.stop)).run_all.click()
    assert "[1/2] a: 3 rows\n[2/2] b: 3 rows\n" in capsys.readouterr().out


def test_a_thread_prints_nothing(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = Jobs("a", "b")
    widget = keep(SyncPanel(jobs.status, jobs.run, jobs.stop, live=True))
    widget.run_all.click()
    assert widget.wait(10)
    assert capsys.readouterr().out == ""


def test_while_a_run_goes_on_the_buttons_are_off_and_a_second_run_is_refused(keep: Keep, html_of: Callable[[Any], str]) -> None:
    jobs, gate, entered = Jobs("a"), threading.Event(), threading.Event()

    def run(tables: list[str], progress: Callable[[str, int, int], None]) -> Any:
        entered.set()
        assert gate.wait(10)
        return jobs.run(tables, progress)

    widget = keep(SyncPanel(jobs.status, run, jobs.stop, live=True))
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

    widget = keep(SyncPanel(status, run, jobs.stop, live=False))
    widget.run_all.click()
    assert "shop refused the sign-in; <i>check ERP_DSN" in html_of(widget)
    assert reads == [2]
    assert not widget.run_all.disabled


def test_the_last_error_is_there_in_full_and_escaped(keep: Keep, html_of: Callable[[Any], str]) -> None:
    jobs = Jobs("<script>a</script>", last_status="failed", error="line one\nline two <script>")
    shown = html_of(keep(SyncPanel(jobs.status, jobs.run, jobs.stop, live=False)))
    assert "line one\nline two &lt;script&gt;" in shown
    assert "<script" not in shown


def test_closing_waits_for_the_run(keep: Keep) -> None:
    jobs, gate, entered, ended = Jobs("a"), threading.Event(), threading.Event(), threading.Event()

    def run(tables: list[str], progress: Callable[[str, int, int], None]) -> Any:
        entered.set()
        assert gate.wait(10)
        ended.set()
        return jobs.run(tables, progress)

    widget = keep(SyncPanel(jobs.status, run, jobs.stop, live=True))
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


def test_stop_is_heard_while_the_run_goes_on_and_shown_as_stopped_not_as_failed(keep: Keep, html_of: Callable[[Any], str]) -> None:
    jobs, entered, ended = Jobs("a", "b"), threading.Event(), threading.Event()
    heard: list[str] = []

    def run(tables: list[str], progress: Callable[[str, int, int], None]) -> Any:
        progress("b: 3 rows", 1, 2)
        entered.set()
        assert ended.wait(10)
        jobs.status_changes = {"last_status": "failed", "error": STOPPED, "runs": [point(), point(status="failed", mode="")]}
        common = {"mode": "", "rows_read": 0, "inserted": 0, "seconds": 1.0}
        return {
            "rows": [{**common, "table": "a", "status": "failed", "error": STOPPED}, {**common, "table": "b", "status": "ok", "error": ""}]
        }

    def stop() -> None:
        heard.append(threading.current_thread().name)
        ended.set()

    widget = keep(SyncPanel(jobs.status, run, stop, live=True))
    assert widget.stop.disabled
    widget.run_all.click()
    assert entered.wait(10)
    assert not widget.stop.disabled
    assert ">running<" in widget.rows[0].facts.value
    widget.stop.click()
    assert widget.wait(10)
    shown = html_of(widget)
    assert heard == [threading.current_thread().name]
    assert widget.stop.disabled
    assert "1 stopped; run it again: it goes on from where it was" in shown
    assert 'class="bad"' not in shown
    assert 'class="failed"' not in shown
    assert shown.count('class="stopped"') == 2
    assert (widget.bar.bar_style, widget.bar.value, widget.bar.max) == ("", 1, 2)
    assert repr(widget) == "Sync: 2 tables"
    widget.stop.click()
    assert len(heard) == 1


def test_a_stop_that_does_not_work_is_said(keep: Keep, html_of: Callable[[Any], str]) -> None:
    jobs = Jobs("a")

    def run(tables: list[str], progress: Callable[[str, int, int], None]) -> Any:
        widget.stop.click()
        return jobs.run(tables, progress)

    def stop() -> None:
        raise SourceUnavailable("the lake does not answer")

    widget = keep(SyncPanel(jobs.status, run, stop, live=False))
    widget.run_all.click()
    assert "the lake does not answer" in html_of(widget)


def test_what_is_said_of_a_long_pull_replaces_what_was_said_before(
    keep: Keep, html_of: Callable[[Any], str], until: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    jobs, gate = Jobs("big", "small"), threading.Event()

    def run(tables: list[str], progress: Callable[[str, int, int], None]) -> Any:
        progress("small: 3 rows", 1, 2)
        progress("big: 1,000 rows of about 9,000, about 8 s left, 1,000 rows/s", 1, 2)
        progress("big: 2,000 rows of about 9,000, about 7 s left, 1,000 rows/s", 1, 2)
        assert not live or gate.wait(10)
        progress("big: 9,000 rows", 2, 2)
        return jobs.run([], progress)

    live = True
    widget = keep(SyncPanel(jobs.status, run, jobs.stop, live=True))
    widget.run_all.click()
    until(lambda: "big: 2,000 rows of about 9,000, about 7 s left" in html_of(widget), seconds=10)
    assert "big: 1,000 rows" not in html_of(widget)
    assert "syncing 2 tables\nsmall: 3 rows<" in html_of(widget)
    assert (widget.bar.value, widget.bar.max) == (1, 2)
    assert [">running<" in row.facts.value for row in widget.rows] == [True, False]
    gate.set()
    assert widget.wait(10)
    assert "about 9,000" not in html_of(widget)
    assert "small: 3 rows" not in html_of(widget)  # the table of the run says it
    live = False
    keep(SyncPanel(jobs.status, run, jobs.stop, live=False)).run_all.click()
    assert capsys.readouterr().out.splitlines()[:3] == ["[0/2] syncing 2 tables", "[1/2] small: 3 rows", "[2/2] big: 9,000 rows"]


@pytest.mark.parametrize("count", [0, 1, 20, 30])
def test_the_sparkline_has_a_mark_with_its_words_for_each_of_the_last_runs(count: int) -> None:
    drawn = sparkline([point(inserted=n * 100) for n in range(count)])
    if not count:
        assert "<svg" not in drawn
        assert "no run yet" in drawn
        return
    svg = ElementTree.fromstring(drawn)
    titles = [t.text for t in svg.iter("title")]
    assert len(titles) == min(count, 20)
    newest = f"2026-01-01 12:00:05 · incremental · ok · 10 rows read, {(count - 1) * 100:,} inserted, 1 deleted · 0.25 s"
    assert titles[-1] == newest
    assert svg.attrib["aria-label"] == f"last {min(count, 20)} run{'s' if count > 1 else ''}; newest: {newest}"
    right = max(float(r.attrib["x"]) + float(r.attrib["width"]) for r in svg.iter("rect"))
    assert right == float(svg.attrib["width"])  # the newest stands at the right end, however many there are
    heights = [float(r.attrib["height"]) for r in svg.iter("rect") if r.attrib["class"] != "area"]
    assert heights == sorted(heights)
    assert max(heights) < float(svg.attrib["height"])


def test_the_sparkline_tells_failed_stopped_and_hand_moved_apart_by_form() -> None:
    runs = [
        point(status="failed", mode=""),
        point(mode="rewind", inserted=0),
        point(inserted=0, deleted=0),
        point(status="failed", mode=""),
    ]
    drawn = sparkline(runs, STOPPED)
    assert re.findall('class="(failed|hand|some|none|stopped)"', drawn) == ["failed", "hand", "none", "stopped"]
    assert "last 4 runs, 1 failed, 1 stopped; newest: 2026-01-01 12:00:05 · stopped" in drawn
    assert sparkline(runs, "<no>").count('class="failed"') == 2


def test_quarantine_and_who_moved_the_watermark_are_shown_where_there_is_something_to_say(
    keep: Keep, html_of: Callable[[Any], str]
) -> None:
    quiet, loud = Jobs("a"), Jobs("a", "b", quarantined=1_200, moved_by="anna <b>, by hand", overdue=True)
    shown = html_of(keep(SyncPanel(quiet.status, quiet.run, quiet.stop, live=False)))
    assert "quarantine" not in shown
    assert "moved by" not in shown
    widget = keep(SyncPanel(loud.status, loud.run, loud.stop, live=False))
    assert ">1,200 in quarantine<" in widget.rows[0].facts.value
    assert ">moved by anna &lt;b&gt;, by hand<" in widget.rows[0].facts.value
    assert repr(widget) == "Sync: 2 tables, 2,400 rows in quarantine"


def test_nothing_a_source_says_becomes_html(keep: Keep, html_of: Callable[[Any], str]) -> None:
    evil = "\"><img src=x onerror=alert(1)>'"

    def run(tables: list[str], progress: Callable[[str, int, int], None]) -> Any:
        progress(evil, 0, 1)
        progress(evil, 1, 1)
        return {"rows": [{"table": evil, "mode": evil, "status": evil, "note": evil, "error": evil}]}

    runs = [point(mode=evil, status=evil, finished_at=evil)]
    jobs = Jobs(evil, source=evil, watermark=evil, moved_by=evil, error=evil, last_status=evil, last_finished_at=evil, runs=runs)
    jobs.status_changes["quarantined"] = 3
    widget = keep(SyncPanel(jobs.status, run, jobs.stop, live=False))
    widget.run_all.click()
    assert "<img" not in html_of(widget)
    assert "&lt;img" in html_of(widget)
    assert not widget.rows[0].tick.description_allow_html


def test_many_tables_are_turned_over_and_searched(keep: Keep, html_of: Callable[[Any], str]) -> None:
    jobs = Jobs(*(f"t{i:02}" for i in range(60)))
    widget = keep(SyncPanel(jobs.status, jobs.run, jobs.stop, live=False))

    def shown() -> list[str]:
        return [row.table for row in widget.rows if "sky-none" not in row._dom_classes]

    assert shown() == [f"t{i:02}" for i in range(25)]
    widget.rows[3].tick.value = True
    widget.on.click()
    widget.on.click()
    assert shown() == [f"t{i:02}" for i in range(50, 60)]
    assert "51 to 60 of 60" in html_of(widget)
    assert (widget.back.disabled, widget.on.disabled) == (False, True)
    assert not any(row.tick.value for row in widget.rows if "sky-none" not in row._dom_classes)
    widget.find.value = "T03"
    assert shown() == ["t03"]
    assert widget.rows[0].tick.value
    widget.find.value = "t0 shop ok"
    assert len(shown()) == 10
    widget.find.value = "nowhere"
    assert shown() == []
    widget.run_chosen.click()
    assert jobs.ran == [["t03"]]
    assert "1 table," in html_of(widget)


def test_the_plain_text_says_nothing_that_the_clock_changes(keep: Keep) -> None:
    now, later = Jobs("a", "b", lag_s=3.0), Jobs("a", "b", lag_s=3_000.0)
    texts = {keep(SyncPanel(jobs.status, jobs.run, jobs.stop, live=False))._repr_mimebundle_()["text/plain"] for jobs in (now, later)}
    assert texts == {"Sync: 2 tables"}
    never = Jobs("a", last_status="never", last_finished_at=None, lag_s=None, watermark="", rows_current=None, runs=[])
    widget = keep(SyncPanel(never.status, never.run, never.stop, live=False))
    assert repr(widget) == "Sync: 1 table, nothing synced yet"
    assert "no run yet" in widget.rows[0].facts.value
    assert ">never<" in widget.rows[0].facts.value
