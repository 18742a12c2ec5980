"""Fixtures: one embedded lake per test run, emptied before each test; a workspace folder; a real PostgreSQL on request.

`SKYGRAPH_TEST_URL` runs the same tests on another ClickHouse server. A test that asks for `lake` (or for anything made on
it) is marked `server` by itself.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workbench import Workbench
from workbench.lake import Lake
from workbench.services import Services
from workbench.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
OWN_FOLDERS = ("sync_jobs", "dbt", "ontology", "notebooks")
SERVERS = ("stack", "lake_url", "postgres_server", "mysql_server", "own_lake", "start_lake", "built_shop", "busy_shop")

sys.path.insert(0, str(Path(__file__).parent))
from mysql import mysql_server  # noqa: E402, F401 - a fixture, from the module beside this one
from postgres import postgres_server  # noqa: E402, F401 - another


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the lake, or another real server, is marked `server`."""
    for item in items:
        if not set(SERVERS).isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)


@pytest.fixture(autouse=True)
def _outside_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith(("SKYGRAPH_", "DBT_")) and name not in ("SKYGRAPH_TEST_URL", "SKYGRAPH_BATCH"):
            monkeypatch.delenv(name)


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def lake_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address, with user and password, of the run's ClickHouse server. It may read files under the run's folder."""
    if url := os.environ.get("SKYGRAPH_TEST_URL"):
        yield url
        return
    root = tmp_path_factory.mktemp("lake")
    settings = Settings.load(root, environ={}, lake_http_port=free_port(), lake_tcp_port=free_port())
    lake = Lake(settings, readable=[tmp_path_factory.getbasetemp()])
    at = lake.address
    yield f"http://{at.user}:{at.password}@{at.host}:{at.port}"
    lake.close()
    assert lake.embedded is not None
    lake.embedded.stop()


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait until a condition holds; fails after a deadline."""

    def wait(condition: Callable[[], object], *, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {condition}"
            time.sleep(0.02)  # between two looks at the condition

    return wait


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty workspace folder, with a space and a letter beyond ASCII in its name."""
    folder = tmp_path / "my wörkspace"
    for name in OWN_FOLDERS:
        (folder / name).mkdir(parents=True)
    return folder


@pytest.fixture
def chinook(tmp_path: Path) -> Path:
    """A copy of the repository's own workspace: the Chinook music shop."""
    return copy_workspace(tmp_path / "chinook shop é")


def copy_workspace(folder: Path) -> Path:
    """Copy the repository's own workspace, without what dbt and Jupyter leave behind."""
    for name in OWN_FOLDERS:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("target", "logs", ".ipynb_checkpoints"))
    return folder


@contextmanager
def building(folder: Path) -> Iterator[Workbench]:
    """The Chinook shop, synced and built, with the snapshot `opening`, in a lake of its own as a user's workspace has."""
    ports = {"lake_http_port": free_port(), "lake_tcp_port": free_port()}
    bench = Workbench(Settings.load(copy_workspace(folder), environ={}, **ports))
    assert bench.lake.embedded is not None
    try:
        assert not bench.sync().failed
        assert not bench.dbt("build").failed
        bench.snapshot(label="opening")
        yield bench
    finally:
        bench.close()
        Services(bench.settings).down()
        bench.lake.embedded.stop()


@pytest.fixture(scope="session")
def built_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """The built shop. Tests only look at it: the end of the run checks that none took a snapshot or ran a job."""
    with building(tmp_path_factory.mktemp("built") / "chinook shop é") as bench:
        yield bench
        assert [s.label for s in bench.snapshots().snapshots] == ["opening"]
        assert bench.job_history().runs == ()


@pytest.fixture(scope="session")
def busy_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """Another built shop, for tests that take snapshots and run jobs in it; the rows of its tables stay as they are."""
    with building(tmp_path_factory.mktemp("busy") / "chinook shop é") as bench:
        yield bench


@pytest.fixture
def settings(lake_url: str, workspace: Path) -> Settings:
    """Settings of the empty workspace on the run's server."""
    return Settings.load(workspace, environ={}, clickhouse_url=lake_url)


@pytest.fixture
def lake(lake_url: str, settings: Settings) -> Iterator[Lake]:
    """The run's lake, emptied."""
    opened = Lake(settings)
    empty(opened)
    yield opened
    opened.close()


def empty(lake: Lake) -> None:
    """Drop every database that SkyGraph or a test may have made."""
    kept = "('system', 'default', 'information_schema', 'INFORMATION_SCHEMA')"
    found = lake.query(f"select name from system.databases where name not in {kept}")
    for name in found.column(0).to_pylist():
        lake.command(f"drop database if exists `{name}` sync")
