"""Who runs a part: told by its lock, by its number here and by its machine's name elsewhere, and ended only here."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.errors import Busy, SkyGraphError
from workbench.presence import elsewhere, hold, pid_of, read_facts, write_facts
from workbench.services import Services
from workbench.settings import Settings


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is nobody's business."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def pretend_elsewhere(folder: Path, pid: int) -> None:
    """Have the lock that this process holds say that another container's process holds it, whose number is that of one here."""
    (folder / "lock").write_text(f"{pid} another-start/4026532000 skygraph-ui\n", encoding="utf-8")
    facts = json.loads((folder / "server.json").read_text(encoding="utf-8"))
    (folder / "server.json").write_text(json.dumps({**facts, "pid": pid}), encoding="utf-8")


def test_a_holder_of_this_machine_is_told_by_its_number(tmp_path: Path) -> None:
    with hold(tmp_path, "the part"):
        write_facts(tmp_path, url="http://localhost:8100", port=8100)
        facts = read_facts(tmp_path)
        assert facts is not None
        assert (facts.pid, facts.host, facts.reach) == (os.getpid(), "", "http://127.0.0.1:8100")
        assert (pid_of(tmp_path), elsewhere(tmp_path)) == (os.getpid(), "")
        with pytest.raises(Busy, match=rf"the part runs already \(process {os.getpid()}\)"), hold(tmp_path, "the part"):
            pass


@pytest.mark.parametrize(
    ("url", "here", "there"),
    [
        ("http://localhost:8100", "http://127.0.0.1:8100", "http://skygraph-ui:8100"),
        ("http://10.0.0.5:8100", "http://10.0.0.5:8100", "http://10.0.0.5:8100"),
        ("http://[::1]:8100", "http://[::1]:8100", "http://[::1]:8100"),
    ],
)
def test_it_is_reached_by_the_name_of_its_machine_from_another(tmp_path: Path, url: str, here: str, there: str) -> None:
    with hold(tmp_path, "the part"):
        write_facts(tmp_path, url=url, port=8100)
        facts = read_facts(tmp_path)
        assert facts is not None
        assert facts.reach == here
        pretend_elsewhere(tmp_path, os.getpid())
        facts = read_facts(tmp_path)
        assert facts is not None
        assert (facts.host, facts.reach) == ("skygraph-ui", there)


def test_one_that_runs_in_another_container_is_told_and_its_number_is_never_signalled(
    workspace: Path, victim: subprocess.Popen[bytes]
) -> None:
    services = Services(Settings.load(workspace, environ={}))
    folder = services.settings.make_state_dir() / "dashboards"
    with hold(folder, "the dashboards"):
        write_facts(folder, url="http://localhost:8866", port=8866)
        pretend_elsewhere(folder, victim.pid)
        assert (pid_of(folder), elsewhere(folder)) == (None, "skygraph-ui")
        (state,) = services.states(["dashboards"])
        assert (state.status, state.pid) == ("failed", None)
        assert "it runs on skygraph-ui" in state.note
        for verb in (lambda: services.down(["dashboards"]), lambda: services.restart("dashboards")):
            with pytest.raises(SkyGraphError, match=r"skygraph-ui runs on skygraph-ui, not here; with containers"):
                verb()
        assert services.down() == ()
        with pytest.raises(Busy, match="runs already \\(on skygraph-ui\\)"), hold(folder, "the dashboards"):
            pass
    assert victim.poll() is None


def test_a_scheduler_that_does_not_look_at_its_plan_is_not_ready(workspace: Path) -> None:
    services = Services(Settings.load(workspace, environ={}))
    folder = services.settings.make_state_dir() / "scheduler"

    def told(tick_at: dt.datetime | None) -> tuple[str, str]:
        if tick_at is not None:
            (folder / "state.json").write_text(json.dumps({"tick_at": tick_at.isoformat()}), encoding="utf-8")
        (state,) = services.states(["skygraph-sync"])
        return state.status, state.note

    with hold(folder, "the scheduler"):
        write_facts(folder)
        now = dt.datetime.now(dt.timezone.utc)
        assert told(None)[0] == "failed"
        assert told(now - dt.timedelta(seconds=1))[0] == "failed"  # what an earlier one wrote
        assert told(now)[0] == "ready"
        facts = json.loads((folder / "server.json").read_text(encoding="utf-8"))
        (folder / "server.json").write_text(json.dumps({**facts, "started_at": (now - dt.timedelta(hours=1)).isoformat()}))
        assert told(now - dt.timedelta(seconds=31)) == ("failed", "it does not look at its plan any more")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"SKYGRAPH_LAB_HOST": "0.0.0.0"}, "beyond this machine, with a token that nobody was given; set SKYGRAPH_LAB_TOKEN"),
        ({"SKYGRAPH_LAB_HOST": "0.0.0.0", "SKYGRAPH_LAB_TOKEN": "short"}, "SKYGRAPH_LAB_TOKEN is no token"),
        ({"SKYGRAPH_LAB_TOKEN": "a token with spaces"}, "SKYGRAPH_LAB_TOKEN is no token"),
    ],
)
def test_jupyterlab_does_not_listen_beyond_this_machine_without_a_token(workspace: Path, environ: dict[str, str], said: str) -> None:
    words = [sys.executable, "-P", "-m", "workbench.services.jupyter"]
    done = subprocess.run(words, cwd=workspace, env={**os.environ, **environ}, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert environ.get("SKYGRAPH_LAB_TOKEN", "nothing") not in done.stderr


def test_up_in_the_foreground_says_what_its_services_say_and_ends_with_its_supervisor(tmp_path: Path, lake_url: str) -> None:
    (tmp_path / "sync_jobs").mkdir()
    (tmp_path / "sync_jobs/tables.yml").write_text("sources: {}\ntables: {}\n", encoding="utf-8")
    environ = {**os.environ, "SKYGRAPH_CLICKHOUSE_URL": lake_url, "SKYGRAPH_CANARY": "off"}
    words = [sys.executable, "-m", "workbench.cli", "--workspace", str(tmp_path), "up", "--foreground", "skygraph-sync"]
    services = Services(Settings.load(tmp_path, environ=environ))
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any("scheduler started" in line for line in process.stdout)
        pid = services.supervisor_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        rest = process.stderr.read()
        assert process.wait(60) == 1
    assert "the supervisor has ended" in rest
    assert {state.status for state in services.states(["skygraph-sync"])} == {"stopped"}


def test_up_in_the_foreground_that_is_told_to_end_while_it_starts_leaves_nothing(tmp_path: Path, lake_url: str) -> None:
    (tmp_path / "sync_jobs").mkdir()
    (tmp_path / "sync_jobs/tables.yml").write_text("sources: {}\ntables: {}\n", encoding="utf-8")
    environ = {**os.environ, "SKYGRAPH_CLICKHOUSE_URL": lake_url}
    words = [sys.executable, "-m", "workbench.cli", "--workspace", str(tmp_path), "up", "--foreground", "skygraph-sync", "lab"]
    services = Services(Settings.load(tmp_path, environ=environ))
    with subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("starting lab" in line for line in process.stderr)  # the first one runs already
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(90) == 0
    assert services.supervisor_pid() is None
    assert {state.status for state in services.states(["skygraph-sync", "lab"])} == {"stopped"}
