"""The services of a workspace under their supervisor: started in order, killed one by one, explained, and all stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import copy_workspace, free_port
from workbench.errors import SkyGraphError, UnknownName
from workbench.presence import pid_of
from workbench.services import LogLines, Services, ServiceState
from workbench.settings import Settings

NAMES = ["clickhouse", "skygraph-api", "skygraph-sync", "lab", "dashboards"]
PORTS = ("lake_http_port", "lake_tcp_port", "api_port", "lab_port", "dashboards_port")


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """The services of a shop with nothing in it, all ready; a long path, so that the supervisor's socket has to lie elsewhere."""
    folder = copy_workspace(tmp_path_factory.mktemp("services") / ("shop with a long nàme " * 3).strip())
    (folder / "sync_jobs/tables.yml").write_text("sources: {}\ntables: {}\n", encoding="utf-8")
    found = Services(Settings.load(folder, environ={}, **{name: free_port() for name in PORTS}))
    try:
        found.up()
        yield found
    finally:
        found.down()


def by_name(services: Services) -> dict[str, ServiceState]:
    return {state.name: state for state in services.states()}


def test_all_are_ready_and_a_second_up_changes_nothing(services: Services) -> None:
    first = by_name(services)
    assert {name: first[name].status for name in NAMES} == dict.fromkeys(NAMES, "ready")
    services.up()
    assert {n: s.pid for n, s in by_name(services).items()} == {n: s.pid for n, s in first.items()}
    assert services.link("lab").startswith(f"http://localhost:{services.settings.lab_port}/lab?token=")
    listening = [c.laddr.ip for s in first.values() if s.pid for c in psutil.Process(s.pid).net_connections("tcp") if c.status == "LISTEN"]
    assert len(listening) >= 4
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize("name", NAMES)
def test_one_that_is_killed_comes_back_and_is_never_told_ready_meanwhile(services: Services, until: Callable[..., None], name: str) -> None:
    before = by_name(services)[name]
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: not _lives(before.pid))
    seen: list[ServiceState] = []

    def is_back() -> bool:
        seen.append(by_name(services)[name])
        return seen[-1].status == "ready" and seen[-1].pid != before.pid

    until(is_back, seconds=60)
    assert not [s for s in seen if s.status == "ready" and s.pid == before.pid]
    assert seen[-1].restarts == before.restarts + 1


def test_what_a_killed_supervisor_leaves_is_told_and_taken_over(services: Services, until: Callable[..., None]) -> None:
    before = by_name(services)
    supervisor = pid_of(services.home)
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: pid_of(services.home) is None)
    told = by_name(services)
    assert "a supervisor that is gone" in told["skygraph-api"].note
    after = {state.name: state for state in services.up()}
    assert {name: after[name].status for name in NAMES} == dict.fromkeys(NAMES, "ready")
    for name in NAMES[1:]:
        assert after[name].pid != before[name].pid
        until(lambda n=name: not _lives(before[n].pid))


def test_restart_and_down_of_one_leave_the_others_alone(services: Services) -> None:
    before = by_name(services)
    services.restart("skygraph-api")
    assert services.down(["skygraph-sync"]) == ("skygraph-sync",)
    after = by_name(services)
    assert after["skygraph-api"].pid != before["skygraph-api"].pid
    assert (after["skygraph-sync"].status, after["skygraph-sync"].pid) == ("stopped", None)
    assert {n: after[n].pid for n in ("clickhouse", "lab", "dashboards")} == {n: before[n].pid for n in ("clickhouse", "lab", "dashboards")}
    services.up(["skygraph-sync"])
    with pytest.raises(UnknownName, match="did you mean skygraph-sync"):
        services.up(["skygraph-snyc"])


def test_logs_stand_side_by_side_and_are_narrowed(services: Services, until: Callable[..., None]) -> None:
    settings = services.settings
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.api_port}/api/v1/ontology", timeout=30) as answer:
        assert answer.status == 200
    # the line of a request is written when it has been answered
    until(lambda: any("request_id" in line.fields for line in LogLines.of(settings, lines=5000).lines))
    found = LogLines.of(settings, lines=5000).lines
    assert {"skygraph-api", "skygraph-sync", "lab", "dashboards", "supervisor", "clickhouse"} <= {line.service for line in found}
    times = [line.at for line in found if line.at]
    assert times == sorted(times)
    request = next(str(line.fields["request_id"]) for line in found if "request_id" in line.fields)
    assert {line.fields.get("request_id") for line in LogLines.of(settings, run=request[:8], lines=500).lines} == {request}
    assert {line.service for line in LogLines.of(settings, ["skygraph-ui"], lines=500).lines} == {"lab", "dashboards"}
    with pytest.raises(UnknownName, match="did you mean warning"):
        LogLines.of(settings, level="warnin")
    token = re.search(r"token=(.+)", services.link("lab"))
    assert token is not None
    logs = [path.read_text(encoding="utf-8", errors="replace") for path in (settings.state_dir / "log").iterdir()]
    conf = (services.home / "supervisord.conf").read_text(encoding="utf-8")
    assert not [text for text in [*logs, conf] if token[1] in text]


def test_followed_lines_come_as_they_are_written_over_a_rotation(tmp_path: Path) -> None:
    from workbench.services import Log, follow

    path = tmp_path / "a.log"
    path.write_text('{"event": "before"}\n', encoding="utf-8")
    found, over = [], False
    lines = follow([Log("a", (path,))], ended=lambda: over)
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"event": "one", "level": "info"}\n{"event": "half')
        file.flush()
        found.append(next(lines))
        file.write(' and whole"}\n')
        file.flush()
        found.append(next(lines))
    path.rename(tmp_path / "a.log.1")
    path.write_text('{"event": "after"}\n', encoding="utf-8")
    over = True
    found += lines
    assert [line.event for line in found] == ["one", "half and whole", "after"]


def test_a_taken_port_is_explained_and_retried_until_it_is_free(tmp_path: Path, lake_url: str) -> None:
    (tmp_path / "sync_jobs").mkdir()
    (tmp_path / "sync_jobs/tables.yml").write_text("sources: {}\ntables: {}\n", encoding="utf-8")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        services = Services(Settings.load(tmp_path, environ={}, clickhouse_url=lake_url, api_port=port))
        try:
            with pytest.raises(SkyGraphError, match=rf"skygraph-api cannot start: port {port} was asked for \(api_port\) and is taken by"):
                services.up(["skygraph-api"])
            state = {s.name: s for s in services.states()}["skygraph-api"]
            assert state.status in ("backing off", "starting")
            assert str(port) in state.note
            taken.close()
            services.up(["skygraph-api"])
            assert {s.name: s.status for s in services.states()}["skygraph-api"] == "ready"
        finally:
            services.down()


def test_commands_start_list_follow_and_stop(tmp_path: Path, lake_url: str) -> None:
    """`skygraph up`, `ps`, `logs` and `down`, as processes, on a server of its own; and `up --foreground`."""
    (tmp_path / "sync_jobs").mkdir()
    (tmp_path / "sync_jobs/tables.yml").write_text("sources: {}\ntables: {}\n", encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SKYGRAPH_")}
    environ = {**kept, "SKYGRAPH_CLICKHOUSE_URL": lake_url, "SKYGRAPH_API_PORT": str(free_port())}
    words = [sys.executable, "-m", "workbench.cli", "--workspace", str(tmp_path)]

    def skygraph(*more: str) -> Any:
        done = subprocess.run([*words, *more, "--json"], env=environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    try:
        (up,) = skygraph("up", "skygraph-api")
        assert (up["name"], up["status"]) == ("skygraph-api", "ready")
        told = {row["name"]: row for row in skygraph("ps")}
        assert told["skygraph-api"]["pid"] == up["pid"]
        assert (told["clickhouse"]["status"], told["skygraph-sync"]["status"]) == ("ready", "stopped")
        assert "api started" in {line["event"] for line in skygraph("logs", "skygraph-api")}
    finally:
        down = skygraph("down")
    assert down["services"] == ["skygraph-api"]
    with subprocess.Popen([*words, "up", "--foreground", "skygraph-api"], env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any(line.startswith("Press Ctrl-C") for line in process.stderr)
        pid = next(row["pid"] for row in skygraph("ps") if row["name"] == "skygraph-api")
        assert _lives(pid)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert not _lives(pid)


def test_down_leaves_no_process(services: Services, until: Callable[..., None]) -> None:
    services.up()
    pids = [state.pid for state in services.states()] + [pid_of(services.home)]
    family = {child.pid for pid in pids if pid for child in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))}
    assert services.down() == tuple(NAMES[::-1])
    until(lambda: not [pid for pid in family if _lives(pid)], seconds=10)
    assert {state.status for state in services.states()} == {"stopped"}
    assert services.down() == ()


def _lives(pid: int | None) -> bool:
    return pid is not None and psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
