"""Runs of notebooks: real papermill, real kernels; the outcome is what happened."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from workbench import Workbench
from workbench.errors import SkyGraphError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.scheduling import JobRun, Runs, read_parameters
from workbench.scheduling.runs import _forget_old
from workbench.settings import Settings

PARAMETERS = """\
name = "Ada"  # whom to greet
times: int = 2
loud = False
share = 0.5
words = ["a"]
anything = None"""


def write(path: Path, *sources: str, parameters: str = PARAMETERS) -> Path:
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "outputs": [], "execution_count": None, "source": source}
        for n, source in enumerate([parameters, *sources])
    ]
    cells[0]["metadata"] = {"tags": ["parameters"]}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


@pytest.fixture
def runs(lake: Lake, settings: Settings) -> Runs:
    return Runs(lake, settings)


@pytest.fixture
def place(settings: Settings) -> Path:
    return settings.workspace / "notebooks/jobs/gréet.ipynb"


def test_a_run_is_kept_with_its_output_page_and_row(runs: Runs, place: Path) -> None:
    write(place, "from pathlib import Path\nprint(name * times, loud, Path.cwd().name)", "sum(range(10))")
    said: list[tuple[str, int, int]] = []
    run = runs.run(place, {"name": "Zoë ", "times": "3", "loud": "yes"}, progress=lambda *step: said.append(step))
    assert (run.status, run.error, run.failed, run.job) == ("ok", "", False, "gréet")
    output = Path(run.output)
    cells = json.loads(output.read_text(encoding="utf-8"))["cells"]
    assert any("Zoë Zoë Zoë  True jobs" in str(cell.get("outputs")) for cell in cells)
    page = output.with_suffix(".html").read_text(encoding="utf-8")
    assert "45" in page and 'src="http' not in page
    assert run.peak_mb and run.peak_mb > 20 and run.seconds and run.seconds > 0
    assert said[-1][1] == said[-1][2] - 1, "the last cell was begun"
    (kept,) = runs.history().runs
    assert kept == run
    assert kept.parameters == {"name": "Zoë ", "times": 3, "loud": True}
    assert not list(output.parent.glob("*.log")), "a run that says how it ended leaves no log"


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        pytest.param({"tims": 1}, UnknownName, "did you mean times", id="an unknown name"),
        pytest.param({"times": "many"}, UsageError, "times is int, not 'many'", id="no number"),
        pytest.param({"times": True}, UsageError, "times is int", id="a flag for a number"),
        pytest.param({"loud": "perhaps"}, UsageError, "loud is bool", id="no flag"),
        pytest.param({"words": "__import__('os').getcwd()"}, UsageError, "words is list", id="code"),
        pytest.param({"share": "half"}, UsageError, "share is float", id="no decimal"),
    ],
)
def test_wrong_parameters_start_nothing(runs: Runs, place: Path, given: dict[str, Any], error: type[Exception], says: str) -> None:
    write(place, "1")
    with pytest.raises(error, match=says):
        runs.run(place, given)
    assert runs.history().runs == ()


def test_the_parameters_cell_is_read_with_types_and_help(place: Path) -> None:
    found = read_parameters(write(place, "1"))
    assert [(p.name, p.default) for p in found.values()] == [
        ("name", "Ada"), ("times", 2), ("loud", False), ("share", 0.5), ("words", ["a"]), ("anything", None),
    ]  # fmt: skip
    assert found["name"].help == "whom to greet"
    for text, says in {"x = now()": "no plain value", "import os": "no assignment", "x = = 1": "not Python, line 1"}.items():
        with pytest.raises(SkyGraphError, match=says):
            read_parameters(write(place, "1", parameters=text))
    place.write_text('{"cells": [', encoding="utf-8")
    with pytest.raises(SkyGraphError, match="is not a notebook"):
        read_parameters(place)
    with pytest.raises(UsageError, match="there is no notebook"):
        read_parameters(place.with_name("none.ipynb"))


def test_a_cell_that_fails_fails_the_run_and_what_it_showed_is_kept(runs: Runs, place: Path) -> None:
    write(place, "print('so far')", "1 / 0", "print('never')")
    run = runs.run(place)
    assert (run.status, run.failed) == ("failed", True)
    assert "ZeroDivisionError: division by zero" in run.error
    text = Path(run.output).read_text(encoding="utf-8")
    assert "so far" in text
    assert "ZeroDivisionError" in Path(run.output).with_suffix(".html").read_text(encoding="utf-8")


def test_a_kernel_that_is_killed_is_no_success(runs: Runs, place: Path) -> None:
    write(place, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "1")
    run = runs.run(place)
    assert run.status == "killed" and "the kernel ended" in run.error


def test_a_run_that_takes_too_long_is_ended_with_its_kernel(runs: Runs, place: Path, tmp_path: Path) -> None:
    write(place, f"import os, pathlib, time\npathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(600)")
    run = runs.run(place, timeout_s=8)
    assert run.status == "timeout" and "longer than 8 s" in run.error
    kernel = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE


def test_a_run_whose_process_is_gone_is_lost_and_said_so(runs: Runs, place: Path) -> None:
    write(place, "1")
    first = runs.run(place)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    began = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    gone = JobRun("gone", "gréet", first.notebook, {}, "running", began, host=first.host, pid=ended.pid)
    elsewhere = JobRun("elsewhere", "gréet", first.notebook, {}, "running", began, host="another-machine", pid=ended.pid)
    lives = JobRun("lives", "gréet", first.notebook, {}, "running", dt.datetime.now(dt.timezone.utc), host=first.host, pid=os.getpid())
    for run in (gone, elsewhere, lives):
        runs.write(run)
    status = {run.run_id: run.status for run in runs.history("gréet").runs}
    assert status == {first.run_id: "ok", "gone": "lost", "elsewhere": "running", "lives": "running"}
    assert {r.run_id: r.error for r in runs.history().runs}["gone"].startswith("its process ended without a word")


def test_an_interrupt_stops_the_kernel_and_is_kept(lake: Lake, place: Path, tmp_path: Path, until: Callable[..., None]) -> None:
    write(place, f"import os, pathlib, time\npathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(600)")
    code = (
        "import sys; from pathlib import Path; from workbench.settings import Settings; from workbench.lake import Lake; "
        "from workbench.scheduling import Runs; s = Settings.load(); Runs(Lake(s), s).run(Path(sys.argv[1]))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(place)], env=lake.settings.environment(), stderr=subprocess.DEVNULL) as process:
        until((tmp_path / "pid").exists, seconds=60)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    (run,) = Runs(lake, lake.settings).history().runs
    assert run.status == "stopped"
    kernel = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE


def test_only_the_newest_outputs_are_kept(tmp_path: Path) -> None:
    for n in range(60):
        for suffix in (".ipynb", ".html"):
            (tmp_path / f"20260101T0000{n:02}-x{suffix}").touch()
    _forget_old(tmp_path)
    left = sorted(p.name for p in tmp_path.glob("*.ipynb"))
    assert (len(left), left[0]) == (50, "20260101T000010-x.ipynb")
    assert len(list(tmp_path.glob("*.html"))) == 50


@pytest.mark.parametrize(
    ("notebook", "parameters"),
    [
        ("sync", {"table": "genres media_types"}),
        ("transform", {"select": "dim_genres"}),
        ("snapshot", {"types": "Genre", "label": "by hand"}),
    ],
)
def test_the_notebooks_of_the_workspace_do_their_job(busy_shop: Workbench, notebook: str, parameters: dict[str, str]) -> None:
    run = busy_shop.run(f"jobs/{notebook}.ipynb", parameters)
    assert (run.status, run.error) == ("ok", "")
    if notebook == "snapshot":
        assert "by hand" in [s.label for s in busy_shop.snapshots().snapshots]


def test_a_sync_that_fails_fails_its_run(busy_shop: Workbench) -> None:
    run = busy_shop.run("jobs/sync.ipynb", {"table": "genrs"})
    assert run.status == "failed" and "genres" in run.error


def test_a_notebook_that_is_not_there_names_what_is_near(busy_shop: Workbench) -> None:
    with pytest.raises(UnknownName, match="jobs/sync.ipynb"):
        busy_shop.run("jobs/synk.ipynb")


def test_a_job_of_the_plan_runs_with_its_parameters(busy_shop: Workbench) -> None:
    plan = busy_shop.settings.workspace / "sync_jobs/more.yml"
    plan.write_text('jobs:\n  nightly: {notebook: jobs/snapshot.ipynb, at: "02:00", parameters: {types: Genre, label: nightly}}\n', "utf-8")
    try:
        (nightly,) = (job for job in busy_shop.jobs().jobs if job.name == "nightly")
        assert (nightly.state, nightly.when, nightly.last_run) == ("never", "at 02:00", None)
        run = busy_shop.run("nightly", {"label": "this one"})
        assert (run.status, run.job, dict(run.parameters)) == ("ok", "nightly", {"types": "Genre", "label": "this one"})
        assert "at 02:00" in str(busy_shop.jobs()) and "ok" in str(busy_shop.jobs())
        assert busy_shop.job_history("nightly").runs == (run,)
    finally:
        plan.unlink()


def test_a_new_workspace_has_the_same_notebooks() -> None:
    root = Path(__file__).resolve().parents[2]
    ours, theirs = (
        {p.name: p.read_bytes() for p in (root / f).glob("*.ipynb")}
        for f in ("notebooks/jobs", "workbench/starter/workspace/notebooks/jobs")
    )
    assert ours == theirs
    assert set(ours) == {"sync.ipynb", "transform.ipynb", "snapshot.ipynb"}
