"""The jobs panel without a browser: messages in, answers out; over the journal and the outputs of real runs at the end."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.test_runs import write
from tests.widgets.test_explorer import Browser
from workbench import Workbench
from workbench.errors import LakeUnavailable, SkyGraphError, UsageError
from workbench.scheduling import JobRun
from workbench.scheduling.runs import host_name
from workbench.settings import Settings
from workbench.widgets import JobsPanel

Keep = Callable[[Any], Any]
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)


def run(number: int, **changes: Any) -> dict[str, Any]:
    facts = {
        "run_id": f"r{number}", "job": "nightly", "status": "ok", "started_at": NOW - dt.timedelta(hours=number), "finished_at": NOW,
        "seconds": 1.5, "due_at": NOW, "attempt": 1, "peak_mb": 100.0, "parameters": {"label": "nightly"}, "error": "",
        "output": "/x.ipynb",
    }  # fmt: skip
    return {**facts, **changes}


class Plan:
    """A plan of one job with so many runs."""

    def __init__(self, count: int, *, jobs: int = 1, **changes: Any) -> None:
        self.runs = [run(n) for n in range(count)]
        self.scheduler: dict[str, Any] = {"running": True, "problems": []}
        self.rows = [
            {"job": "nightly" if n == 0 else f"job{n}", "notebook": "jobs/snapshot.ipynb", "when": "at 02:00",
             "parameters": {"label": "nightly"}, "state": "ok" if count else "never", "next_due": NOW, "error": "",
             "runs": self.runs, **changes}
            for n in range(jobs)
        ]  # fmt: skip
        self.read = 0

    def jobs(self) -> Any:
        self.read += 1
        return {"jobs": self.rows, "scheduler": self.scheduler}

    def history(self, job: str) -> Any:
        self.read += 1
        return self.runs if job == "nightly" else []

    def page(self, run_id: str) -> str:
        if run_id not in {one["run_id"] for one in self.runs}:
            raise UsageError(f"there is no run {run_id!r}")
        return "<html><head></head><body><script>alert(1)</script>what it gave</body></html>"


def browser_of(plan: Plan, keep: Keep, **more: Any) -> Browser:
    return Browser(keep(JobsPanel(plan.jobs, plan.history, plan.page, **{"live": False, **more})))


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_a_job_has_its_state_a_line_of_its_newest_runs_and_all_of_them_in_pages(keep: Keep, count: int) -> None:
    browser = browser_of(Plan(count), keep)
    (job,) = browser.answer("jobs")["jobs"]
    assert (job["job"], job["state"], job["next_due"], job["parameters"]) == (
        "nightly", "ok" if count else "never", NOW.isoformat(), "label=nightly",
    )  # fmt: skip
    assert [one["run_id"] for one in job["runs"]] == [f"r{n}" for n in range(min(count, 40))]
    assert set(job["runs"][0] if count else {}) <= {"run_id", "status", "started_at", "seconds", "error"}
    seen: list[str] = []
    first = 0
    while True:
        found = browser.answer("runs", job="nightly", first=first)
        seen += [row["run_id"] for row in found["rows"]]
        assert found["total"] == count and len(found["rows"]) <= 100
        first += 100
        if first >= count:
            break
    assert seen == [f"r{n}" for n in range(count)]


def test_later_pages_are_of_what_was_read_with_the_first(keep: Keep) -> None:
    plan = Plan(250)
    browser = browser_of(plan, keep)
    browser.answer("jobs")
    browser.answer("runs", job="nightly", first=0)
    before = plan.read
    plan.runs = [run(-1), *plan.runs]
    assert browser.answer("runs", job="nightly", first=100)["rows"][0]["run_id"] == "r100"
    assert plan.read == before
    assert browser.answer("runs", job="nightly", first=0)["rows"][0]["run_id"] == "r-1"


def test_without_any_job_it_says_so_and_asks_nobody_for_runs(keep: Keep) -> None:
    plan = Plan(0, jobs=0)
    plan.scheduler = {"running": False, "problems": ["sync_jobs/tables.yml:3: unknown key"]}
    browser = browser_of(plan, keep)
    said = browser.answer("jobs")
    assert (said["jobs"], said["running"], said["problems"]) == ([], False, ["sync_jobs/tables.yml:3: unknown key"])
    assert "there is no job" in browser.error("runs", job="nightly", first=0)
    assert repr(browser.widget) == "Jobs: no job yet; the scheduler does not run"


def test_the_page_of_a_run_loads_nothing_and_a_run_that_is_not_there_has_none(keep: Keep) -> None:
    browser = browser_of(Plan(1), keep)
    page = browser.answer("page", run="r0")["page"]
    assert page.startswith('<!DOCTYPE html><meta http-equiv="Content-Security-Policy" content="default-src \'none\'')
    assert page.endswith("what it gave</body></html>")
    assert browser.error("page", run="../../etc/passwd") == "there is no run '../../etc/passwd'"
    plan = Plan(1)
    plan.page = lambda run_id: "x" * 9_000_000  # type: ignore[method-assign]
    assert "9 MB, too much" in browser_of(plan, keep).error("page", run="r0")


@pytest.mark.parametrize(
    "message",
    [
        {"ask": "jobs", "more": 1}, {"ask": "open"}, {"ask": ["jobs"]}, {"ask": "runs", "job": "nightly"},
        {"ask": "runs", "job": "nightly", "first": -1}, {"ask": "runs", "job": "nightly", "first": True},
        {"ask": "runs", "job": {"a": 1}, "first": 0}, {"ask": "page", "run": 7}, {"ask": "page", "run": "x" * 2000},
    ],
    ids=str,
)  # fmt: skip
def test_a_message_that_is_none_of_ours_reaches_no_function(keep: Keep, message: dict[str, Any]) -> None:
    plan = Plan(3)
    browser = browser_of(plan, keep)
    browser.answer("jobs")
    before = plan.read
    browser.send({"id": "x", **message})
    assert browser.reply("x")["error"]["message"]
    assert plan.read == before
    for silent in (None, [], {"ask": "jobs"}, {"id": 7, "ask": "jobs"}, {"id": "y" * 200, "ask": "jobs"}):
        browser.send(silent)
    assert [said["id"] for said in browser.heard] == ["b.1", "x"]
    browser.widget.set_state({"_css": "body{display:none}", "_esm": "alert(1)"})
    assert "alert(1)" not in str(browser.widget._esm)


def test_an_error_is_told_with_what_to_do_and_the_next_question_works(keep: Keep) -> None:
    plan = Plan(1)
    good = plan.history

    def down(job: str) -> Any:
        raise LakeUnavailable("the lake does not answer", hint="skygraph up")

    browser = browser_of(plan, keep)
    browser.answer("jobs")
    browser.widget._history = down
    assert browser.reply(browser.ask("runs", job="nightly", first=0))["error"] == {
        "message": "the lake does not answer",
        "hint": "skygraph up",
    }
    browser.widget._history = good
    assert browser.answer("runs", job="nightly", first=0)["total"] == 1


def test_the_plain_text_names_what_is_in_trouble_and_nothing_that_the_clock_changes(keep: Keep) -> None:
    plan = Plan(2, jobs=3)
    plan.rows[1]["state"], plan.rows[2]["state"] = "failing", "late"
    widget = keep(JobsPanel(plan.jobs, plan.history, plan.page, live=False))
    assert widget._repr_mimebundle_()[0]["text/plain"] == "Jobs: 3 jobs, in trouble: job1, job2"
    widget.close()
    assert repr(widget) == "Jobs (closed)"


def test_in_a_thread_the_newest_question_is_answered(keep: Keep) -> None:
    browser = browser_of(Plan(150), keep, live=True)
    browser.answer("jobs")
    for first in (0, 100, 0):
        last = browser.ask("runs", job="nightly", first=first)
    assert browser.reply(last)["answer"]["first"] == 0


# --- over real runs


@pytest.fixture
def bench(settings: Settings) -> Any:
    found = Workbench(settings)
    yield found
    found.close()


def test_it_shows_real_runs_by_hand_and_of_the_plan_with_their_pages(bench: Workbench, keep: Keep) -> None:
    root = bench.settings.workspace
    write(root / "notebooks/jobs/hello.ipynb", "print('so far')", "1 / 0", parameters="name = 'Ada'")
    (root / "sync_jobs/tables.yml").write_text("jobs:\n  hello: {notebook: jobs/hello.ipynb, every: 1 day}\n", encoding="utf-8")
    browser = Browser(keep(bench.jobs_panel()))
    assert [(job["job"], job["state"], job["runs"]) for job in browser.answer("jobs")["jobs"]] == [("hello", "never", [])]
    bench.run("hello")
    write(root / "notebooks/jobs/other.ipynb", "print(6 * 7)", parameters="x = 1")
    by_hand = bench.run("jobs/other.ipynb")
    jobs = {job["job"]: job for job in browser.answer("jobs")["jobs"]}
    assert jobs["hello"]["state"] == "failing" and "ZeroDivisionError: division by zero" in jobs["hello"]["error"]
    assert (jobs["other"]["state"], jobs["other"]["when"]) == ("ok", "")
    (row,) = browser.answer("runs", job="hello", first=0)["rows"]
    assert row["error"] == jobs["hello"]["error"]
    page = browser.answer("page", run=row["run_id"])["page"]
    assert "so far" in page and "ZeroDivisionError" in page
    assert "42" in browser.answer("page", run=by_hand.run_id)["page"]
    assert repr(browser.widget) == "Jobs: 2 jobs, in trouble: hello; the scheduler does not run"
    Path(row["output"]).with_suffix(".html").unlink()
    assert "no output of this run" in browser.error("page", run=row["run_id"])


def test_a_table_has_its_own_part_of_the_runs_that_it_shared(bench: Workbench) -> None:
    runs = bench.runs
    told = {"tables": {"a": {"error": "", "seconds": 0.5}, "b": {"error": "no such column", "seconds": 2.0}}}
    shared = JobRun(
        "s", "sync", "jobs/sync.ipynb", {"table": "a b"}, "failed", NOW, NOW + dt.timedelta(seconds=9), error="b: no", result=told
    )
    alone = JobRun("t", "sync a", "jobs/sync.ipynb", {"table": "a"}, "killed", NOW + dt.timedelta(hours=1), NOW + dt.timedelta(hours=2))
    for one in (shared, alone):
        runs.write(one)
    lines = runs.lines()
    assert [(line["run_id"], line["status"], line["seconds"], line["error"]) for line in lines["sync a"]] == [
        ("t", "killed", 3600.0, ""), ("s", "ok", 0.5, ""),
    ]  # fmt: skip
    assert [(line["run_id"], line["status"], line["error"]) for line in lines["sync b"]] == [("s", "failed", "no such column")]
    assert [run.run_id for run in runs.history("sync a").runs] == ["t", "s"]
    assert [run.run_id for run in runs.history("sync b").runs] == ["s"]


def test_a_page_is_read_from_the_outputs_alone(bench: Workbench, tmp_path: Path) -> None:
    runs, secret = bench.runs, tmp_path / "secret.html"
    secret.write_text("the secret", encoding="utf-8")
    for number, output in enumerate((secret.with_suffix(".ipynb"), runs.folder / "../../../secret.ipynb", Path())):
        runs.write(JobRun(f"r{number}", "j", "n", {}, "ok", NOW, NOW, output=str(output) if output.name else "", host=host_name()))
        with pytest.raises(SkyGraphError, match="no output of this run"):
            runs.page(f"r{number}")
    runs.write(JobRun("going", "j", "n", {}, "running", NOW, host="elsewhere"))
    with pytest.raises(SkyGraphError, match="goes on"):
        runs.page("going")
    runs.write(JobRun("far", "j", "n", {}, "ok", NOW, NOW, output="/there/x.ipynb", host="elsewhere"))
    with pytest.raises(SkyGraphError, match="was on elsewhere"):
        runs.page("far")
    with pytest.raises(UsageError, match="there is no run"):
        runs.page(json.dumps("'; drop"))
