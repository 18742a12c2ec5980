"""PostgreSQL alone: sign-in, secrets, time zones, what is pushed down, types of its own."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from workbench.hermes.sync import Hermes, SyncRun
from workbench.hermes.tables import Source, SyncPlan, TableJob
from workbench.lake import Lake
from workbench.settings import Settings

UTC = dt.timezone.utc


@pytest.fixture
def db(postgres_server: Any) -> Iterator[Any]:
    """A connection with a schema of its own, `shop.schema`, whose session is in the server's zone: not UTC."""
    with postgres_server.connect() as connection:
        connection.schema = f"s{uuid.uuid4().hex[:10]}"
        connection.execute(f"create schema {connection.schema}")
        connection.execute(f"set search_path to {connection.schema}")
        yield connection


def hermes(lake: Lake, workspace: Path, options: dict[str, str], **changes: Any) -> Hermes:
    job = TableJob(**{"table": "t", "source": "erp", "from_": "t", "key": ("id",), **changes})
    return Hermes(lake, SyncPlan({"erp": Source("erp", "postgres", options)}, {"t": job}, {}), workspace, workspace / ".skygraph")


def sync(lake: Lake, workspace: Path, options: dict[str, str], **changes: Any) -> SyncRun:
    (run,) = hermes(lake, workspace, options, **changes).sync().runs
    return run


@pytest.fixture
def options(postgres_server: Any, db: Any) -> dict[str, str]:
    return {"dsn": postgres_server.dsn(), "schema": db.schema}


# --- sign-in and secrets


def test_refused_connection_and_sign_in_are_said_without_the_password(lake: Lake, workspace: Path, postgres_server: Any, db: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = int(probe.getsockname()[1])
    secret = "wrong-éecret '1"
    for dsn, says in {
        postgres_server.dsn(password=secret, port=closed): f"@127.0.0.1:{closed}/postgres refused the connection; is the server up",
        postgres_server.dsn(password=secret): "refused the sign-in; check user and password",
        postgres_server.dsn("no%20such%20database", password=secret): "refused the sign-in",
        postgres_server.dsn("nowhere"): 'database "nowhere" does not exist',
        "postgres://[broken": "the dsn of a postgres source is not an address",
        postgres_server.dsn(password=secret) + "?sslmode=require": "server does not support SSL, but SSL was required",
    }.items():
        run = sync(lake, workspace, {"dsn": dsn})
        assert run.status == "failed"
        assert says in run.error
        assert secret not in run.error
        assert postgres_server.password not in run.error
        assert "unexpected" not in run.error


def test_password_is_in_no_log_of_the_lake(lake: Lake, workspace: Path, postgres_server: Any, db: Any) -> None:
    # of letters alone, so that no escaping hides it
    secret = f"geheim{uuid.uuid4().hex}"
    role = f"r{uuid.uuid4().hex[:8]}"
    db.execute(f"create role {role} login password '{secret}'")
    db.execute(f"grant usage on schema {db.schema} to {role}")
    db.execute("create table t (id int primary key, v text)")
    db.execute("insert into t values (1, 'x')")
    options = {"dsn": postgres_server.dsn(user=role, password=secret), "schema": db.schema}
    denied = sync(lake, workspace, options)
    assert "permission denied for table t" in denied.error
    db.execute(f"grant select on t to {role}")
    assert sync(lake, workspace, options).inserted == 1
    assert hermes(lake, workspace, options).compare().tables[0].equal
    db.execute(f"alter role {role} password 'another'")
    refused = sync(lake, workspace, options)
    assert "refused the sign-in" in refused.error
    assert secret not in denied.error + refused.error
    lake.command("system flush logs")
    # the needle is put together by the server, so that this question does not find itself
    held = lake.query(
        "select query, exception from system.query_log where query like concat('%geheim', {s:String}, '%') "
        "or exception like concat('%geheim', {s:String}, '%')",
        {"s": secret.removeprefix("geheim")},
    )
    assert held.to_pylist() == []
    assert lake.scalar("select count() from system.query_log where query like concat('%postgresql(%', {r:String}, '%')", {"r": role}) > 0


# --- time zones


def test_instants_arrive_right_from_a_server_in_another_zone(lake: Lake, workspace: Path, db: Any, options: dict[str, str]) -> None:
    db.execute("create table t (id int primary key, at timestamptz, plain timestamp, updated_at timestamptz)")
    assert db.execute("show timezone").fetchone() != ("UTC",)
    db.execute(
        "insert into t values (1, '2024-07-01 12:00:00+00', '2024-07-01 12:00:00', '2024-07-01 12:00:00.5+00'), "
        "(2, '2024-11-03 01:30:00-04', '2024-11-03 01:30:00', '2024-11-03 05:30:00+00'), "  # the hour that comes twice in New York
        "(3, '2024-11-03 01:30:00-05', '2024-03-10 02:30:00', '2024-11-03 06:30:00+00'), (4, null, null, null)"
    )
    run = sync(lake, workspace, options, watermark="updated_at")
    assert (run.error, run.watermark_to) == ("", "2024-11-03 06:30:00.000000")
    rows = lake.query("select at, plain from raw.t order by id")
    assert rows["at"].to_pylist() == [
        dt.datetime(2024, 7, 1, 12, tzinfo=UTC), dt.datetime(2024, 11, 3, 5, 30, tzinfo=UTC),
        dt.datetime(2024, 11, 3, 6, 30, tzinfo=UTC), None,
    ]  # fmt: skip
    assert rows["plain"].to_pylist()[:3] == [
        dt.datetime(2024, 7, 1, 12, tzinfo=UTC), dt.datetime(2024, 11, 3, 1, 30, tzinfo=UTC), dt.datetime(2024, 3, 10, 2, 30, tzinfo=UTC),
    ]  # fmt: skip
    assert hermes(lake, workspace, options, watermark="updated_at").compare().tables[0].equal


def test_bound_is_pushed_down_as_the_right_instant(
    lake: Lake, workspace: Path, db: Any, options: dict[str, str], postgres_server: Any
) -> None:
    db.execute("create table t (id int primary key, updated_at timestamptz)")
    db.execute("insert into t values (1, '2024-07-01 12:00:00.5+00'), (2, null)")
    assert sync(lake, workspace, options, watermark="updated_at", deletes="none").inserted == 2
    # an hour later and earlier: a bound that is off by the zone would take or leave the wrong ones
    db.execute(
        "insert into t values (3, '2024-07-01 13:00:00+00'), (4, '2024-07-01 11:00:00+00'), (5, '2024-07-01 12:00:00.5+00'), (6, null)"
    )
    start = postgres_server.log.stat().st_size
    assert sync(lake, workspace, options, watermark="updated_at", deletes="none").inserted == 3  # 3, 5 and 6
    copies = [line for line in postgres_server.said(start).splitlines() if "COPY (SELECT" in line and '"updated_at"' in line]
    assert copies
    for line in copies:
        assert "\"updated_at\" >= timestamptz '2024-07-01 12:00:00.500000+00'" in line
        assert '"updated_at" is null' in line


@pytest.fixture
def lake_elsewhere(tmp_path: Path, until: Callable[..., None]) -> Iterator[Lake]:
    """A ClickHouse server that somebody else started, in an environment that says nothing of time zones for PostgreSQL."""
    from importlib.util import find_spec

    import workbench.lake

    found = find_spec("chdb")
    assert found is not None
    assert found.origin is not None
    home = tmp_path / "elsewhere"
    home.mkdir()
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(str(probe.getsockname()[1]))
    engine = Path(workbench.lake.__file__).with_name("engine.py")
    words = [sys.executable, "-P", str(engine), "--home", str(home), "--library", str(Path(found.origin).with_name("_chdb.abi3.so"))]
    words += ["--http", ports[0], "--tcp", ports[1]]
    environment = {"PATH": os.environ["PATH"], "PGTZ": "Europe/Zurich"}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, cwd=home, env=environment
    ) as process:
        until(lambda: (home / "run/server.json").exists() or process.poll() is not None)
        sign_in = json.loads((home / "credentials.json").read_text(encoding="utf-8"))
        (tmp_path / "w").mkdir()
        lake = Lake(Settings.load(tmp_path / "w", environ={}, clickhouse_url=f"http://lake:{sign_in['password']}@127.0.0.1:{ports[0]}"))
        yield lake
        lake.close()
        process.terminate()


def test_instants_arrive_right_whatever_the_zone_of_the_lake_s_sessions(
    lake_elsewhere: Lake, workspace: Path, db: Any, options: dict[str, str]
) -> None:
    db.execute("create table t (id int primary key, at timestamptz, plain timestamp)")
    db.execute("insert into t values (1, '2024-07-01 12:00:00+00', '2024-07-01 12:00:00')")
    assert sync(lake_elsewhere, workspace, options, watermark="at").error == ""
    noon = dt.datetime(2024, 7, 1, 12, tzinfo=UTC)
    assert lake_elsewhere.query("select at, plain from raw.t").to_pylist() == [{"at": noon, "plain": noon}]
    assert hermes(lake_elsewhere, workspace, options, watermark="at").compare().tables[0].equal


# --- types of its own


@pytest.mark.parametrize("declared", ["numeric", "numeric(38,10)"])
def test_numeric_arrives_by_value(lake: Lake, workspace: Path, db: Any, options: dict[str, str], declared: str) -> None:
    db.execute(f"create table t (id int primary key, v {declared})")
    db.execute("insert into t values (1, 12345678901234567.0000000001), (2, -0.1), (3, null)")
    assert sync(lake, workspace, options).error == ""
    assert lake.current("raw.t")["v"].to_pylist() == [Decimal("12345678901234567.0000000001"), Decimal("-0.1"), None]


def test_types_of_postgres_arrive_as_their_nearest(lake: Lake, workspace: Path, db: Any, options: dict[str, str]) -> None:
    db.execute(
        "create table t (id uuid primary key, small smallint, real_ real, letters char(3), body jsonb, net inet, span interval, "
        "words text[], times timestamp[], day date)"
    )
    ident = uuid.uuid4()
    db.execute(
        "insert into t values (%s, -5, 0.5, 'ab', '{\"a\": 1}', '10.0.0.1', '1 day', array['x', 'it''s'], "
        "array['2024-01-01 00:00:00'::timestamp], '1950-01-01')",
        (ident,),
    )
    assert sync(lake, workspace, options).error == ""
    (row,) = lake.query("select * except (_version, _deleted, _synced_at, _run_id, times) from raw.t").to_pylist()
    assert str(row.pop("id")) == str(ident)
    assert row == {
        "small": -5, "real_": 0.5, "letters": "ab ", "body": '{"a": 1}', "net": "10.0.0.1", "span": "1 day", "words": ["x", "it's"],
        "day": dt.date(1950, 1, 1),
    }  # fmt: skip
    assert hermes(lake, workspace, options).compare().tables[0].equal


def test_views_and_tables_of_another_schema_are_read(lake: Lake, workspace: Path, db: Any, options: dict[str, str]) -> None:
    db.execute("create table base (id int primary key, v text)")
    db.execute("insert into base values (1, 'x')")
    db.execute("create view t as select id, upper(v) as v from base")
    assert sync(lake, workspace, options).inserted == 1
    elsewhere = {**options, "schema": "public"}
    assert sync(lake, workspace, elsewhere, from_=f"{db.schema}.t").error == ""
    assert lake.current("raw.t")["v"].to_pylist() == ["X"]
    assert "unknown table" in sync(lake, workspace, elsewhere).error


def test_source_is_read_in_read_only_transactions(lake: Lake, workspace: Path, db: Any, options: dict[str, str]) -> None:
    db.execute("create table t (id int primary key)")
    db.execute(f"create function writes() returns int language sql as 'insert into {db.schema}.t values (1) returning 1'")
    db.execute("create view w as select writes() as id")
    assert "read-only transaction" in sync(lake, workspace, options, from_="w", watermark="id").error


# --- keys


def test_tables_of_an_iteration_share_connections_and_none_is_left_open(
    lake: Lake, workspace: Path, options: dict[str, str], db: Any, until: Callable[..., None]
) -> None:
    for n in range(12):
        db.execute(f"create table t{n} (id int primary key, updated_at timestamptz default now())")
        db.execute(f"insert into t{n} values (1)")
    jobs = {
        f"t{n}": TableJob(table=f"t{n}", source="erp", from_=f"t{n}", key=("id",), watermark="updated_at", deletes="none")
        for n in range(12)
    }
    many = Hermes(lake, SyncPlan({"erp": Source("erp", "postgres", options)}, jobs, {}), workspace, workspace / ".skygraph")
    assert not many.sync().failed
    until(lambda: {run.mode for run in many.sync().runs} == {"unchanged"})
    others = "datname = current_database() and backend_type = 'client backend' and pid != pg_backend_pid()"

    def made() -> int:
        until(lambda: db.execute(f"select count(*) from pg_stat_activity where {others}").fetchone() == (0,))  # then all are counted
        db.execute("select pg_stat_clear_snapshot()")
        return int(db.execute("select sessions from pg_stat_database where datname = current_database()").fetchone()[0])

    before = made()
    db.execute("create table elsewhere (id int)")  # so that every table is looked at
    assert {run.mode for run in many.sync().runs} == {"unchanged"}
    assert 1 <= made() - before <= 4  # no more than tables are looked at at the same time


@pytest.mark.parametrize(
    "make",
    [
        pytest.param("create table t (id int, v text); insert into t values (1, 'a'), (1, 'b')", id="no constraint"),
        pytest.param(
            "create table t (id int primary key, v text); create table child () inherits (t); "
            "insert into t values (1, 'a'); insert into child values (1, 'b')",
            id="a child table",
        ),
        pytest.param(
            "create table t (id int, v text, gone bool); create unique index on t (id) where not gone; "
            "insert into t values (1, 'a', true), (1, 'b', false)",
            id="a partial index",
        ),
        pytest.param(
            "create table t (id int, v text); create unique index on t (id, v); insert into t values (1, 'a'), (1, 'b')", id="a wider index"
        ),
        pytest.param(
            "create table t (id int, v text); create unique index on t (v) include (id); insert into t values (1, 'a'), (1, 'b')",
            id="an index that includes it",
        ),
    ],
)
def test_a_key_that_stands_twice_is_said_wherever_the_source_allows_it(
    make: str, lake: Lake, workspace: Path, options: dict[str, str], db: Any
) -> None:
    db.execute(make)
    run = sync(lake, workspace, options)
    assert "the key (id) of t is not unique at the source, for example (1)" in run.error


# --- what was read before


@pytest.mark.parametrize("lookback", [0, 3600], ids=["from the mark on", "an hour back"])
def test_many_rows_read_again_are_inserted_once(lake: Lake, workspace: Path, options: dict[str, str], db: Any, lookback: float) -> None:
    db.execute("create table t (id int primary key, v text, at timestamptz)")
    db.execute("create index on t (at)")
    db.execute("insert into t select n, 'a', now() - interval '30 minutes' from generate_series(1, 5000) n")
    changes: dict[str, Any] = {"watermark": "at", "lookback": lookback, "deletes": "none"}
    assert sync(lake, workspace, options, **changes).inserted == 5000
    db.execute("update t set v = 'b', at = now() where id % 2 = 0; update t set v = 'late' where id = 7; delete from t where id = 9")
    run = sync(lake, workspace, options, **changes)
    assert run.error == "" and run.source_checksum == run.lake_checksum
    assert run.inserted == 2501
    db.execute("update t set v = 'a', at = at - interval '1 minute' where id % 2 = 0; update t set at = now() where id = 2")
    run = sync(lake, workspace, options, **{**changes, "lookback": 3600})
    assert run.error == "" and run.inserted == 2500
    here = lake.query("select id, v from raw.t where id != 9 order by id").to_pylist()
    assert [tuple(row.values()) for row in here] == db.execute("select id, v from t order by id").fetchall()
    assert lake.query_history("select count() from raw.t").column(0)[0].as_py() == 5000 + 2501 + 2500


# --- rows set apart


def test_a_decimal_key_leaves_the_quarantine_when_its_row_fits(lake: Lake, workspace: Path, options: dict[str, str], db: Any) -> None:
    db.execute("create table t (id numeric(10, 2) primary key, v text); insert into t values (1.50, '7'), (2.00, 'x'), (3.10, '9')")
    changes: dict[str, Any] = {"columns": {"v": "Int32"}}
    assert sync(lake, workspace, options, **changes).quarantined == 1
    (kept,) = hermes(lake, workspace, options, **changes).quarantine().rows
    assert kept["row"]["id"] == "2.00"
    again = sync(lake, workspace, options, **changes)
    assert (again.error, again.deleted, again.inserted) == ("", 0, 0)
    assert len(hermes(lake, workspace, options, **changes).quarantine().rows) == 1
    db.execute("update t set v = '8' where id = 2")
    assert sync(lake, workspace, options, **changes).error == ""
    assert hermes(lake, workspace, options, **changes).quarantine().rows == ()
    assert lake.query("select toFloat64(id) as id, v from raw.t order by id").to_pylist() == [
        {"id": 1.5, "v": 7}, {"id": 2.0, "v": 8}, {"id": 3.1, "v": 9},
    ]  # fmt: skip


def test_a_time_is_not_cut_to_a_day(lake: Lake, workspace: Path, options: dict[str, str], db: Any) -> None:
    db.execute("create table t (id int primary key, at timestamptz); insert into t values (1, now())")
    run = sync(lake, workspace, options, columns={"at": "Date"})
    assert "at of t is timestamp with time zone at the source, and Date would cut its time of day" in run.error


def test_many_rows_that_were_deleted_and_come_back_as_they_were_are_current_again(
    lake: Lake, workspace: Path, options: dict[str, str], db: Any
) -> None:
    db.execute("create table t (id int primary key, v text, at timestamptz); create index on t (at)")
    db.execute("insert into t select n, 'a', now() - interval '30 minutes' from generate_series(1, 6000) n")
    db.execute("create table kept as select * from t where id % 2 = 0")
    assert sync(lake, workspace, options, watermark="at").inserted == 6000
    db.execute("delete from t where id % 2 = 0")
    assert sync(lake, workspace, options, watermark="at").deleted == 3000
    db.execute("insert into t select * from kept")
    run = sync(lake, workspace, options, watermark="at")
    assert (run.error, run.inserted, run.deleted) == ("", 3000, 0)
    assert lake.scalar("select count() from raw.t") == 6000
    again = sync(lake, workspace, options, watermark="at")
    assert (again.inserted, again.deleted) == (0, 0)
