"""The processes of the embedded lake: start, sign-in, confinement, crashes, stop."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import secrets
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from workbench.errors import ExitCode, LakeError, LakeUnavailable, QueryError, SkyGraphError
from workbench.lake import EmbeddedLake, Lake
from workbench.settings import Settings

Start = Callable[..., Lake]
Until = Callable[..., None]


def embedded(lake: Lake) -> EmbeddedLake:
    assert lake.embedded is not None
    return lake.embedded


def keep_ten(lake: Lake) -> None:
    lake.create_database("d")
    lake.command("create table d.t (n UInt64) engine = MergeTree order by n")
    lake.command("insert into d.t select number from numbers(10)")


# --- start and sign-in


def test_lake_starts_answers_and_signs_in(own_lake: Lake) -> None:
    assert own_lake.scalar("select currentUser()") == "lake"
    assert int(own_lake.ping().split(".")[0]) >= 25
    assert own_lake.scalar("select timezone()") == "UTC"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param("/", {}, id="nobody"),
        pytest.param("/", {"X-ClickHouse-User": "default"}, id="default by header"),
        pytest.param("/", {"X-ClickHouse-User": "default", "X-ClickHouse-Key": ""}, id="default with an empty key"),
        pytest.param("/?user=default", {}, id="default by address"),
        pytest.param("/?user=default&password=", {}, id="default with an empty password"),
        pytest.param("/?session_id=s1", {}, id="in a session"),
        pytest.param("/?user=default&session_id=s1&session_timeout=60", {}, id="default in a session"),
        pytest.param("/?user=default&max_sessions_for_user=100", {}, id="default with another limit"),
        pytest.param("/?user=default&session_id=s2&max_sessions_for_user=0", {}, id="default, no limit, in a session"),
        pytest.param("/", {"X-ClickHouse-User": "lake", "X-ClickHouse-Key": "guess"}, id="lake with a guess"),
        pytest.param("/?user=lake", {}, id="lake without a password"),
    ],
)
def test_nobody_signs_in_without_the_password(own_lake: Lake, path: str, headers: dict[str, str]) -> None:
    request = urllib.request.Request(own_lake.address.url + path, data=b"select 40 + 2", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as caught, urllib.request.urlopen(request, timeout=10):
        pass
    with caught.value as answer:
        assert answer.status >= 400
        assert re.search(rb"Code: (700|516|194)\b", answer.read())


def test_credentials_are_for_the_owner_alone(own_lake: Lake) -> None:
    home = embedded(own_lake).home
    assert stat.S_IMODE((home / "credentials.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "users.xml").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert len(own_lake.address.password) >= 24
    assert own_lake.address.password not in repr(own_lake.address)


def test_password_is_in_no_command_line_environment_or_log(own_lake: Lake) -> None:
    own_lake.query("select 1")
    keeper = embedded(own_lake).keeper_pid()
    assert keeper is not None
    for pid in (keeper, own_lake.address.pid):
        process = psutil.Process(pid)
        assert own_lake.address.password not in " ".join(process.cmdline())
        assert own_lake.address.password not in " ".join(process.environ().values())
    for log in (embedded(own_lake).home / "log").iterdir():
        assert own_lake.address.password not in log.read_text(encoding="utf-8", errors="replace")


def test_engine_sees_no_variable_of_who_started_it(start_lake: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DSN", "postgresql://u:secret-of-the-shop@h/d")
    lake = start_lake()
    assert "secret-of-the-shop" not in " ".join(psutil.Process(lake.address.pid).environ().values())


def test_lake_listens_on_loopback_alone(own_lake: Lake) -> None:
    listening = [c for c in psutil.Process(own_lake.address.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.port for c in listening} == {own_lake.address.port, own_lake.address.tcp_port}
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}


# --- confinement


@pytest.mark.parametrize("function", ["select file('{}')", "select * from file('{}', LineAsString)"], ids=["scalar", "table"])
@pytest.mark.parametrize("path", ["credentials", "/etc/hostname", "/etc/passwd", "beside"], ids=str)
def test_engine_cannot_read_outside_its_folder(own_lake: Lake, tmp_path: Path, function: str, path: str) -> None:
    home = embedded(own_lake).home
    if "confined by Landlock" not in (home / "log/keeper.log").read_text(encoding="utf-8"):
        pytest.skip("this kernel has no Landlock")
    beside = tmp_path / "beside.txt"
    beside.write_text("seen", encoding="utf-8")
    target = {"credentials": str(home / "credentials.json"), "beside": str(beside)}.get(path, path)
    quoted = target.replace("\\", "\\\\").replace("'", "\\'")
    try:
        read = own_lake.query(function.format(quoted)).num_rows
    except QueryError as error:
        assert error.code in (76, 107, 1001)  # cannot open, does not exist, not permitted
        read = 0
    assert read == 0


def test_engine_reads_the_source_folders_it_was_given_and_does_not_write_there(tmp_path: Path) -> None:
    given = tmp_path / "given's"
    given.mkdir()
    (given / "a.txt").write_text("hello", encoding="utf-8")
    settings = Settings.load(tmp_path, environ={})
    settings = dataclasses.replace(settings, lake_http_port=_port(), lake_tcp_port=_port())
    lake = Lake(settings, readable=[given])
    try:
        path = str(given / "a.txt").replace("'", "\\'")
        assert lake.scalar(f"select * from file('{path}', LineAsString)") == "hello"
        if "confined by Landlock" in (embedded(lake).home / "log/keeper.log").read_text(encoding="utf-8"):
            with pytest.raises(QueryError):
                lake.command(f"insert into function file('{path}.new', CSV, 'x String') select 'x'")
        assert sorted(p.name for p in given.iterdir()) == ["a.txt"]
    finally:
        lake.close()
        embedded(lake).stop()


def test_python_table_function_is_refused_and_the_lake_lives_on(own_lake: Lake) -> None:
    pid = own_lake.address.pid
    with pytest.raises(QueryError, match="allow_python_table_function"):
        own_lake.query("select * from python('x')")
    with pytest.raises(QueryError, match="allow_python_table_function"):
        own_lake.query("select * from python('x') settings allow_python_table_function = 1")
    assert own_lake.ping()
    assert psutil.Process(pid).is_running()


# --- one lake per workspace


def test_two_processes_starting_at_once_get_one_lake(start_lake: Start) -> None:
    lake = start_lake()
    program = (
        "import sys; from workbench.lake import Lake; from workbench.settings import Settings\n"
        "s = Settings.load(sys.argv[1], environ={}, lake_http_port=int(sys.argv[2]), lake_tcp_port=int(sys.argv[3]))\n"
        "lake = Lake(s); print(lake.address.pid, lake.scalar('select 1'))"
    )
    s = lake.settings
    words = [sys.executable, "-c", program, str(s.workspace), str(s.lake_http_port), str(s.lake_tcp_port)]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [p.communicate(timeout=120) for p in both]
    assert [err for _, err in answers] == ["", "", ""]
    assert len({out for out, _ in answers}) == 1
    assert answers[0][0] == f"{lake.address.pid} 1\n"
    home = str(embedded(lake).home)
    keepers = [p for p in psutil.process_iter(["cmdline"]) if "workbench.lake.keeper" in (c := p.info["cmdline"] or []) and home in c]
    assert len(keepers) == 1


def test_looking_for_the_lake_starts_nothing(start_lake: Start) -> None:
    lake = embedded(start_lake())
    assert lake.address() is None
    assert lake.keeper_pid() is None
    assert lake.stop() is False
    assert not lake.home.exists()


def test_looking_for_the_lake_while_it_starts_does_not_end_it(start_lake: Start, until: Until) -> None:
    lake = start_lake()
    home = embedded(lake).home
    (home / "run").mkdir(parents=True)

    def keeper_waits() -> bool:
        for process in psutil.process_iter(["cmdline"]):
            if str(home) in (process.info["cmdline"] or []) and "workbench.lake.keeper" in process.info["cmdline"]:
                return any(file.path == str(home / "run/keeper.lock") for file in process.open_files())
        return False

    with ThreadPoolExecutor(1) as pool:
        with open(home / "run/keeper.lock", "a") as looked_at:
            fcntl.flock(looked_at, fcntl.LOCK_EX)  # what a look does, for a moment
            started = pool.submit(lake.scalar, "select 1")
            until(lambda: keeper_waits() or started.done())
        assert started.result() == 1


# --- crashes


def test_killed_engine_comes_back_and_nothing_acknowledged_is_lost(start_lake: Start, until: Until) -> None:
    lake = start_lake()
    lake.create_database("d")
    lake.command("create table d.t (n UInt64, text String) engine = MergeTree order by n")
    first = lake.address.pid
    acknowledged = 0
    killer = threading.Thread(target=os.kill, args=(first, signal.SIGKILL))
    with pytest.raises(LakeUnavailable) as caught:
        for n in range(100_000):
            lake.insert("d.t", pa.table({"n": pa.array([n] * 50, pa.uint64()), "text": ["x" * 20] * 50}))
            acknowledged = n + 1
            if acknowledged == 20:
                killer.start()
    killer.join()
    assert caught.value.exit_code == ExitCode.LAKE_UNREACHABLE
    assert caught.value.retryable
    counts = lake.query("select n, count() as c from d.t group by n order by n")
    assert lake.address.pid != first
    # the batch that was under way may be there, whole; no other
    assert counts["n"].to_pylist()[:acknowledged] == list(range(acknowledged))
    assert counts.num_rows in (acknowledged, acknowledged + 1)
    assert set(counts["c"].to_pylist()) == {50}


def test_query_that_was_running_when_the_engine_was_killed_is_run_again(start_lake: Start, until: Until) -> None:
    lake = start_lake()
    first = lake.address.pid
    watcher = Lake(lake.settings)

    def kill() -> None:
        until(lambda: watcher.scalar("select count() from system.processes where query like '%sleepEachRow%' and user = 'lake'") > 1)
        os.kill(first, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = lake.query("select max(n) as m from (select number + sleepEachRow(0.2) as n from numbers(5) settings max_block_size = 1)")
    killer.join()
    watcher.close()
    assert found["m"].to_pylist() == [4]
    assert lake.address.pid != first


def test_engine_ends_when_its_keeper_is_killed_and_the_next_start_is_anew(start_lake: Start, until: Until) -> None:
    lake = start_lake()
    keep_ten(lake)
    engine, keeper = lake.address.pid, embedded(lake).keeper_pid()
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(engine) or psutil.Process(engine).status() == psutil.STATUS_ZOMBIE)
    lake.close()
    assert embedded(lake).address() is None
    assert lake.scalar("select sum(n) from d.t") == 45
    assert lake.address.pid != engine
    assert embedded(lake).keeper_pid() not in (None, keeper)


def test_lake_that_cannot_start_says_why(start_lake: Start, tmp_path: Path) -> None:
    lake = start_lake()
    keep_ten(lake)
    lake.close()
    embedded(lake).stop()
    # what a half-restored backup looks like
    metadata = embedded(lake).home / "data/metadata/d.sql"
    metadata.write_text("this is not DDL", encoding="utf-8")
    with pytest.raises(LakeError, match="the lake cannot start: .*(Syntax|Exception)") as caught:
        lake.ping()
    assert str(embedded(lake).home / "log") in str(caught.value)


# --- stop


def test_stop_ends_both_processes_in_order_and_the_data_is_there_the_next_time(start_lake: Start) -> None:
    lake = start_lake()
    keep_ten(lake)
    marker = f"marker-{secrets.token_hex(8)}"
    lake.query(f"select '{marker}'")
    engine, keeper = lake.address.pid, embedded(lake).keeper_pid()
    home = embedded(lake).home
    assert keeper is not None
    # the connection is still open: a stop does not wait for idle clients
    assert embedded(lake).stop() is True
    assert not psutil.pid_exists(engine)
    assert (home / "log/keeper.log").read_text(encoding="utf-8").endswith("engine: stopped\n")
    assert not (home / "run/server.json").exists()
    assert embedded(lake).address() is None
    assert embedded(lake).stop() is False
    # a second life on the same folder; the client finds it by itself
    assert lake.scalar("select sum(n) from d.t") == 45
    assert lake.address.pid != engine
    logged = lake.scalar(
        "select count() from system.query_log where query like {m:String} and type = 'QueryFinish'", {"m": f"%'{marker}'%"}
    )
    assert logged == 1
    assert lake.scalar("select count() from system.query_log where event_time > now() + 3600") == 0


def test_running_engine_says_where_it_is(own_lake: Lake) -> None:
    said = json.loads((embedded(own_lake).home / "run/server.json").read_text(encoding="utf-8"))
    assert (said["pid"], said["http"], said["tcp"]) == (own_lake.address.pid, own_lake.address.port, own_lake.address.tcp_port)
    assert psutil.Process(said["pid"]).is_running()


# --- ports


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


@pytest.mark.parametrize("setting", ["lake_http_port", "lake_tcp_port"])
def test_port_that_was_asked_for_and_is_taken_is_an_error_that_says_by_whom(
    start_lake: Start, tmp_path: Path, taken_port: int, setting: str
) -> None:
    ports = {"lake_http_port": _port(), "lake_tcp_port": _port(), setting: taken_port}
    lake = start_lake(Settings.load(tmp_path, environ={}, **ports))
    with pytest.raises(SkyGraphError, match=f"port {taken_port} was asked for .*{setting}.* taken by .*process {os.getpid()}"):
        lake.ping()
    assert embedded(lake).keeper_pid() is None


def test_default_port_that_is_taken_gives_the_next_one_and_a_note(start_lake: Start, tmp_path: Path, taken_port: int) -> None:
    defaults = dataclasses.replace(Settings.load(tmp_path, environ={}), lake_http_port=taken_port, lake_tcp_port=_port())
    lake = start_lake(defaults)
    assert lake.scalar("select 1") == 1
    assert lake.address.port > taken_port
    notes = [n for n in lake.notes if f"port {taken_port} is taken" in n]
    assert len(notes) == 1
    assert f"the lake uses {lake.address.port}" in notes[0]
    assert f"process {os.getpid()}" in notes[0]


# --- a disk that is full


@pytest.fixture
def small_disk(tmp_path: Path, until: Until) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    yield folder
    until(lambda: subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0)


@pytest.fixture
def lake_on_small_disk(small_disk: Path) -> Iterator[Lake]:
    settings = dataclasses.replace(Settings.load(small_disk, environ={}), lake_http_port=_port(), lake_tcp_port=_port())
    lake = Lake(settings)
    yield lake
    lake.close()
    embedded(lake).stop()


@pytest.mark.usefixtures("lake_url")
def test_full_disk_is_said_and_what_was_there_stays_readable(lake_on_small_disk: Lake) -> None:
    lake = lake_on_small_disk
    keep_ten(lake)
    lake.command("create table d.big (s String) engine = MergeTree order by tuple()")
    filled = 0
    with pytest.raises(LakeError, match="(?i)not enough space|no space left|cannot reserve") as caught:
        for _ in range(40):
            lake.command("insert into d.big select randomString(1000000) from numbers(4)")
            filled += 4
    assert caught.value.exit_code == ExitCode.FAILED
    assert caught.value.hint is not None
    assert "disk is full" in caught.value.hint
    assert lake.scalar("select sum(n) from d.t") == 45
    # nothing half-written is kept
    assert lake.scalar("select count() from d.big") == filled
    lake.command("drop table d.big sync")
    lake.command("insert into d.t values (100)")
    assert lake.scalar("select sum(n) from d.t") == 145
