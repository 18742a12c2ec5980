"""The API as a process, `python -m workbench.api`, on a real socket: one per workspace, stopped in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest

from tests.api.conftest import TOKEN, add_model
from tests.conftest import free_port
from workbench import Workbench
from workbench.errors import SkyGraphError
from workbench.lake import Lake
from workbench.presence import Facts, pid_of, read_facts
from workbench.settings import Settings


def get(url: str, **headers: str) -> tuple[int, Any]:
    """The status and the JSON of an address."""
    answer = httpx.get(url, headers=headers, timeout=30, trust_env=False)
    return answer.status_code, answer.json()


class Process:
    """The API of a workspace as a process of this test's."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.home, self.log = settings, settings.state_dir / "api", settings.state_dir / "log/api.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Facts:
        """Start it and wait until it answers; what it told."""
        printed = self.settings.make_state_dir() / "api.out"
        if self.process is not None:
            self.process.wait(30)
        with open(printed, "wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "workbench.api"], env=self.settings.environment(), cwd=self.settings.workspace, stdout=out,
                stderr=out,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while (facts := self.running()) is None:
            assert time.monotonic() < deadline
            if self.process.poll() is not None:
                raise SkyGraphError(printed.read_text(encoding="utf-8"))
            time.sleep(0.02)
        return facts

    def running(self) -> Facts | None:
        return read_facts(self.home)

    def pid(self) -> int | None:
        return pid_of(self.home)

    def stop(self) -> bool:
        """End it in order; whether it ran."""
        if self.process is None or self.process.poll() is not None:
            return False
        self.process.terminate()
        return self.process.wait(30) == 0


@pytest.fixture
def service(own_shop: Workbench) -> Iterator[Process]:
    """The service of a workspace on the shop's lake, on a free port; stopped at the end."""
    url = own_shop.settings.clickhouse_url
    made = Process(Settings.load(own_shop.settings.workspace, environ={}, clickhouse_url=url, api_port=free_port()))
    yield made
    made.stop()


def test_it_starts_answers_and_stops_in_order(service: Process, until: Callable[..., None]) -> None:
    assert (service.running(), service.stop()) == (None, False)
    api = service.start()
    assert api.port == service.settings.api_port
    assert api.url == f"http://localhost:{api.port}"
    status, page = get(f"{api.url}/api/v1/objects/Genre?limit=2", **{"X-Request-ID": "over-a-socket"})
    assert (status, len(page["rows"])) == (200, 2)
    assert service.running() == api
    listening = {c.laddr.ip for c in psutil.Process(api.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    password = service.settings.clickhouse_url.split(":")[2].partition("@")[0]
    assert not [word for word in psutil.Process(api.pid).cmdline() if password in word]
    assert service.stop()
    assert (service.running(), service.pid()) == (None, None)
    until(lambda: not psutil.pid_exists(api.pid))
    lines = [json.loads(line) for line in service.log.read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines if line["event"].startswith("api")] == ["api started", "api ended"]
    assert [line["path"] for line in lines if line.get("request_id") == "over-a-socket"] == ["/api/v1/objects/Genre"]


def test_a_second_one_is_refused_and_one_that_was_killed_is_no_longer_there(service: Process, until: Callable[..., None]) -> None:
    first = service.start()
    again = subprocess.run(
        [sys.executable, "-m", "workbench.api", "--workspace", str(service.settings.workspace)], capture_output=True, text=True, timeout=60
    )
    assert (again.returncode, again.stdout) == (1, "")
    assert f"runs already (process {first.pid})" in again.stderr
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: service.running() is None)
    second = service.start()
    assert second.pid != first.pid
    assert get(f"{second.url}/health/live")[0] == 200


def test_a_request_that_runs_may_end_when_it_is_told_to_stop(service: Process, until: Callable[..., None]) -> None:
    """A file that is being read slowly: the server is told to end in the middle of it."""
    api = service.start()
    with httpx.stream("GET", f"{api.url}/api/v1/objects/Track?format=jsonl", timeout=30, trust_env=False) as answer:
        blocks = answer.iter_bytes(1000)
        head = next(blocks)
        os.kill(api.pid, signal.SIGTERM)
        whole = head + b"".join(blocks)
    assert whole.count(b"\n") == whole.count(b'"track_id"') > 3000
    started = time.monotonic()
    until(lambda: service.pid() is None, seconds=15)
    assert time.monotonic() - started < 10
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", api.port), timeout=5).close()


def test_it_ends_within_seconds_though_somebody_waits_forever(service: Process, until: Callable[..., None]) -> None:
    """Connections that never finish their request, and a statement that takes as long as it wants."""
    api = service.start()
    idle = [socket.create_connection(("127.0.0.1", api.port)) for _ in range(3)]
    for one in idle:
        one.sendall(b"POST /api/v1/snapshots HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
    started = time.monotonic()
    assert service.stop()
    assert time.monotonic() - started < 15
    for one in idle:
        one.close()


def test_a_read_that_takes_too_long_is_ended_with_the_process(lake: Lake, settings: Settings, until: Callable[..., None]) -> None:
    add_model(settings.workspace, "Forever", "dim_forever", "id", "integer")
    lake.create_database("marts")
    lake.command("create view marts.dim_forever as select toInt64(max(cityHash64(number)) % 2) as id from numbers(1000000000000)")
    service = Process(Settings.load(settings.workspace, environ={}, clickhouse_url=settings.clickhouse_url, api_port=free_port()))
    api = service.start()
    answers: list[int] = []

    def ask() -> None:
        with suppress(httpx.HTTPError):  # no answer is an answer too
            answers.append(httpx.get(f"{api.url}/api/v1/objects/Forever", timeout=60, trust_env=False).status_code)

    def reads() -> int:
        found = lake.scalar("select count() from system.processes where query like '%dim_forever%' and query not like '%processes%'")
        return int(found)

    asker = threading.Thread(target=ask)
    asker.start()
    until(reads)
    started = time.monotonic()
    assert service.stop()
    assert time.monotonic() - started < 15
    asker.join(30)
    assert answers == [503]
    until(lambda: not reads())


def test_a_port_that_was_asked_for_and_is_taken_is_told(own_shop: Workbench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        service = Process(Settings.load(own_shop.settings.workspace, environ={}, api_port=port))
        with pytest.raises(SkyGraphError, match=rf"port {port} was asked for \(api_port\) and is taken by") as told:
            service.start()
        assert "Traceback" not in str(told.value)
        assert service.running() is None


def test_a_default_port_that_is_taken_gives_way_and_says_so(own_shop: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (own_shop.settings.workspace / "skygraph.toml").write_text("", encoding="utf-8")
        from workbench.api._serve import _listen

        listening, note = _listen(Settings(workspace=own_shop.settings.workspace, api_port=port))
        with listening:
            assert listening.getsockname()[1] > port
        assert f"port {port} is taken by" in note


def test_beyond_loopback_it_needs_the_token_and_never_says_it(own_shop: Workbench) -> None:
    workspace, port = own_shop.settings.workspace, free_port()
    bare = Process(Settings.load(workspace, environ={}, api_host="0.0.0.0", api_port=port))
    with pytest.raises(SkyGraphError, match="without a token"):
        bare.start()
    environ = {"SKYGRAPH_API_TOKEN": TOKEN, "SKYGRAPH_API_HOST": "0.0.0.0"}
    service = Process(Settings.load(workspace, environ=environ, api_port=port, clickhouse_url=own_shop.settings.clickhouse_url))
    try:
        api = service.start()
        assert get(f"http://127.0.0.1:{api.port}/health")[0] == 401
        assert get(f"http://127.0.0.1:{api.port}/health", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert not [word for word in psutil.Process(api.pid).cmdline() if TOKEN in word]
    finally:
        service.stop()
    assert TOKEN not in service.log.read_text(encoding="utf-8")
    assert TOKEN not in "".join(path.read_text(encoding="utf-8") for path in service.home.iterdir())


def test_headers_without_end_are_refused_on_the_socket(service: Process) -> None:
    api = service.start()
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Filler: " + b"x" * 200_000 + b"\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 4")
    for two in (b"Host: localhost\r\nHost: evil.example\r\n", b"", b"Host: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", api.port), timeout=30) as raw:
            raw.sendall(b"GET /health HTTP/1.1\r\n" + two + b"\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 4"), two
