"""The command of each container, run as a process with the container's environment: healthy by its own check, ended by SIGTERM."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import copy_workspace, free_port
from tests.containers.stack import REPOSITORY, SECRETS, Stack
from workbench.errors import QueryError
from workbench.lake import Lake
from workbench.settings import Settings


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server as compose.yaml makes it, and a workspace whose containers are not started yet."""
    folder = tmp_path_factory.mktemp("containers")
    workspace = copy_workspace(folder / "skygraph")
    stack = Stack(workspace, free_port())
    environ = {
        **os.environ, "PYTHONPATH": str(REPOSITORY), "HTTP": str(stack.lake_port), "TCP": str(free_port()),
        **{k: str(v) for k, v in stack.services["clickhouse"]["environment"].items()},
    }  # fmt: skip
    words = [sys.executable, "-P", str(Path(__file__).with_name("clickhouse.py")), str(folder / "clickhouse")]
    with open(folder / "clickhouse.log", "wb") as out:
        server = subprocess.Popen(words, env=environ, stdin=subprocess.PIPE, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 120
        while True:
            lake = owner(stack)
            try:
                lake.ping()
                break
            except Exception:
                assert server.poll() is None, (folder / "clickhouse.log").read_text(encoding="utf-8")
                assert time.monotonic() < deadline
                time.sleep(0.1)
            finally:
                lake.close()
        yield stack
    finally:
        stack.end()
        assert server.stdin is not None
        server.stdin.close()
        server.wait(30)


def owner(stack: Stack) -> Lake:
    """The lake as the containers have it."""
    return Lake(Settings.load(stack.workspace, environ=stack.environ("skygraph-api")))


def test_the_check_of_the_server_needs_its_password(stack: Stack) -> None:
    if shutil.which("wget") is None:
        pytest.skip("no wget here; the image has it")
    (_, check) = stack.services["clickhouse"]["healthcheck"]["test"]
    check = check.replace(":8123", f":{stack.lake_port}")
    given = stack.environ("clickhouse")
    assert subprocess.run(["sh", "-c", check], env=given, check=False).returncode == 0
    assert subprocess.run(["sh", "-c", check], env={**given, "CLICKHOUSE_PASSWORD": "other"}, check=False).returncode != 0


@pytest.mark.parametrize("name", ["skygraph-api", "skygraph-sync", "skygraph-ui"])
def test_a_container_becomes_healthy_and_not_before_it_works(stack: Stack, until: Callable[..., None], name: str) -> None:
    assert not stack.is_healthy(name)
    process = stack.start(name)

    def is_healthy() -> bool:
        assert process.poll() is None, stack.log(name).read_text(encoding="utf-8")
        return stack.is_healthy(name)

    until(is_healthy, seconds=240)
    assert not any(secret in word for secret in SECRETS.values() for word in process.args)


def test_what_a_container_says_is_what_docker_logs_shows(stack: Stack, until: Callable[..., None]) -> None:
    # a container is healthy a moment before its process says so
    for name, told in {"skygraph-api": "api started", "skygraph-sync": "scheduler started", "skygraph-ui": "lab http"}.items():
        until(lambda name=name, told=told: told in " ".join(stack.log(name).read_text(encoding="utf-8").split()))  # type: ignore[misc]
    said = {name: stack.log(name).read_text(encoding="utf-8") for name in stack.running}
    assert "dashboards" in said["skygraph-ui"]
    assert not [secret for secret in SECRETS.values() if any(secret in text for text in said.values())]


def test_rows_come_in_by_the_schedule_and_are_served(stack: Stack, until: Callable[..., None]) -> None:
    def is_synced() -> bool:
        done = stack.run("skygraph-api", ["skygraph", "sync", "status", "--json"])
        assert done.returncode == 0, done.stderr
        tables = json.loads(done.stdout)
        rows = tables["tables"] if isinstance(tables, dict) else tables
        return all(t["last_status"] == "ok" for t in rows)

    until(is_synced, seconds=240)
    health = stack.run("skygraph-api", ["skygraph", "health", "--json"])
    parts = {p["part"]: p["status"] for p in json.loads(health.stdout)["parts"]}
    assert {parts[name] for name in ("clickhouse", "skygraph-api", "skygraph-sync", "lab", "dashboards")} <= {"ok", "late"}


def get(stack: Stack, port: str, path: str, **headers: str) -> tuple[int, str]:
    """The status of an address of this machine, and its page."""
    request = urllib.request.Request(f"http://127.0.0.1:{stack.ports[port]}{path}", headers=headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode("utf-8", "replace")


def test_nobody_gets_in_without_the_secrets(stack: Stack) -> None:
    assert get(stack, "8100", "/health/live")[0] == 401
    assert get(stack, "8100", "/health/live", Authorization=f"Bearer {SECRETS['SKYGRAPH_API_TOKEN']}") == (200, '{"alive":true}')
    assert get(stack, "8100", "/health/live", Host="evil.example")[0] == 403
    assert get(stack, "8888", "/api/contents")[0] == 403
    assert get(stack, "8888", "/api/contents", Authorization=f"token {SECRETS['SKYGRAPH_LAB_TOKEN']}")[0] == 200
    assert get(stack, "8866", "/health")[0] == 200
    status, page = get(stack, "8866", "/overview")
    assert 'type="password"' in page
    assert status == 200


def test_the_viewer_sees_marts_and_the_owner_can_back_up(stack: Stack) -> None:
    lake = owner(stack)
    lake.create_database("raw")
    lake.command("create table if not exists raw.secret (x UInt8) engine = Memory")
    viewer = Lake(Settings.load(stack.workspace, environ={**stack.environ("skygraph-ui"), "SKYGRAPH_ROLE": "viewer"}))
    try:
        assert viewer.scalar("select currentUser()") == "viewer"
        with pytest.raises(QueryError, match="privileges"):
            viewer.query("select * from raw.secret")
        assert stack.run("skygraph-api", ["skygraph", "backup"]).returncode == 0
    finally:
        lake.command("drop table raw.secret")
        viewer.close()
        lake.close()


@pytest.mark.parametrize("name", ["skygraph-ui", "skygraph-sync", "skygraph-api"])
def test_sigterm_ends_a_container_in_order(stack: Stack, name: str) -> None:
    process = stack.running[name]
    family = psutil.Process(process.pid).children(recursive=True)
    if name == "skygraph-ui":  # the supervisor has left the family, as daemons do
        rows: list[dict[str, Any]] = json.loads(stack.run(name, ["skygraph", "ps", name, "--json"]).stdout)
        family += [psutil.Process(row["pid"]) for row in rows]
    process.send_signal(signal.SIGTERM)
    grace_s = int(stack.services[name]["stop_grace_period"].removesuffix("s"))
    assert process.wait(grace_s) == 0, stack.log(name).read_text(encoding="utf-8")[-3000:]
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert not stack.is_healthy(name)
