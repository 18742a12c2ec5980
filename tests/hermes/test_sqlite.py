"""SQLite alone: values that do not fit, binary data, files that are none, write-ahead logs."""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from workbench.hermes.sync import Hermes, SyncRun
from workbench.hermes.tables import Source, SyncPlan, TableJob
from workbench.lake import Lake

UTC = dt.timezone.utc


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def db(file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(file, isolation_level=None)
    yield connection
    connection.close()


def hermes(lake: Lake, workspace: Path, path: Path, **changes: Any) -> Hermes:
    job = TableJob(**{"table": "t", "source": "shop", "from_": "t", "key": ("id",), **changes})
    plan = SyncPlan({"shop": Source("shop", "sqlite", {"path": str(path)})}, {job.table: job}, {})
    return Hermes(lake, plan, workspace, workspace / ".skygraph")


def sync(lake: Lake, workspace: Path, path: Path, **changes: Any) -> SyncRun:
    (run,) = hermes(lake, workspace, path, **changes).sync().runs
    return run


# --- values that do not fit are refused, never changed silently


@pytest.mark.parametrize(
    ("declared", "value", "shown"),
    [
        ("INTEGER", "many", "'many'"),
        ("INTEGER", 1.5, "1.5"),
        ("INTEGER", b"\x00\x01", "\x00\x01"),
        ("INTEGER", "9" * 200, "9999e+199|1e+200"),
        ("DECIMAL(10,2)", 3.14159, "3.14159"),
        ("DECIMAL(10,2)", "a lot", "'a lot'"),
        ("DECIMAL(10,2)", 123456789.0, "123456789"),
        ("REAL", "half", "'half'"),
        ("DATETIME", "x", "'x'"),
        ("DATETIME", 1704067200, "1704067200"),
        ("DATETIME", "2024-02-30 00:00:00", "'2024-02-30 00:00:00'"),
        ("DATETIME", "now", "'now'"),
        ("DATETIME", "01.02.2024", "'01.02.2024'"),
        ("DATE", "2024-13-01", "'2024-13-01'"),
        ("DATE", "soon", "'soon'"),
        ("BOOLEAN", 2, "2"),
    ],
)
def test_value_that_does_not_fit_sets_its_row_apart_and_no_other(
    lake: Lake, workspace: Path, file: Path, db: sqlite3.Connection, declared: str, value: Any, shown: str
) -> None:
    db.execute(f"create table t (id integer primary key, v {declared})")
    db.execute("insert into t values (1, null), (7, ?)", (value,))
    run = sync(lake, workspace, file)
    assert (run.error, run.rows_read, run.inserted, run.quarantined) == ("", 2, 1, 1)
    assert lake.current("raw.t")["id"].to_pylist() == [1]
    (kept,) = hermes(lake, workspace, file).quarantine().rows
    assert (kept["table"], kept["key"], kept["run_id"]) == ("t", {"id": "7"}, run.run_id)
    assert kept["reason"].startswith("v is not ")
    assert any(kept["reason"].endswith(f": {s.strip(chr(39))}") for s in shown.split("|"))
    assert kept["row"] == {"id": "7", "v": kept["reason"].partition(": ")[2]}
    # it is corrected at the source: it lands, and leaves the quarantine
    db.execute("update t set v = null where id = 7")
    run = sync(lake, workspace, file)
    assert (run.error, run.inserted, run.quarantined) == ("", 1, 0)
    assert hermes(lake, workspace, file).quarantine().rows == ()


def test_misfit_in_a_view_or_a_table_without_row_numbers_is_set_apart_too(
    lake: Lake, workspace: Path, file: Path, db: sqlite3.Connection
) -> None:
    db.execute("create table t (id text primary key, v integer) without rowid")
    db.execute("insert into t values ('a', 'x')")
    db.execute("create view w as select * from t")
    for name in ("t", "w"):
        assert sync(lake, workspace, file, table=name, from_=name).quarantined == 1


def test_misfit_is_read_when_its_column_is_given_another_type(lake: Lake, workspace: Path, file: Path, db: sqlite3.Connection) -> None:
    db.execute("create table t (id integer primary key, v integer)")
    db.execute("insert into t values (1, 'many'), (2, 3), (3, null)")
    assert sync(lake, workspace, file, columns={"v": "Nullable(String)"}).error == ""
    assert lake.current("raw.t")["v"].to_pylist() == ["many", "3", None]


def test_row_whose_watermark_is_no_time_is_set_apart_in_a_later_sync_too(
    lake: Lake, workspace: Path, file: Path, db: sqlite3.Connection
) -> None:
    db.execute("create table t (id integer primary key, at datetime)")
    db.execute("insert into t values (1, '2024-01-01 00:00:00')")
    assert sync(lake, workspace, file, watermark="at").error == ""
    db.execute("insert into t values (2, 5)")  # a number sorts before every text
    run = sync(lake, workspace, file, watermark="at")
    assert (run.error, run.quarantined, run.watermark_to) == ("", 1, "2024-01-01 00:00:00.000000")
    (kept,) = hermes(lake, workspace, file).quarantine().rows
    assert kept["reason"] == "at is not DateTime64(6, 'UTC'): 5"


def test_row_without_a_key_is_set_apart(lake: Lake, workspace: Path, file: Path, db: sqlite3.Connection) -> None:
    db.execute("create table t (id text, v text)")
    db.execute("insert into t values (null, 'x')")
    assert sync(lake, workspace, file).quarantined == 1
    assert hermes(lake, workspace, file).quarantine().rows[0]["reason"] == "id has no value, and is in the key"


# --- values that fit


@pytest.mark.parametrize(
    ("declared", "value", "lands"),
    [
        ("BLOB", b"\x00\x01\xff\x00", b"\x00\x01\xff\x00"),
        ("BLOB", b"", b""),
        ("TEXT", "a\0b", "a\0b"),
        ("TEXT", b"\xff\xfe", b"\xff\xfe"),
        ("", 5, "5"),
        ("JSON", '{"a": [1]}', '{"a": [1]}'),
        ("DATETIME", "2024-01-01T00:30:00+02:00", dt.datetime(2023, 12, 31, 22, 30, tzinfo=UTC)),
        ("DATETIME", "2024-01-01T00:30:00Z", dt.datetime(2024, 1, 1, 0, 30, tzinfo=UTC)),
        ("DATETIME", "2024-01-01 00:30", dt.datetime(2024, 1, 1, 0, 30, tzinfo=UTC)),
        ("DATETIME", "2024-01-01", dt.datetime(2024, 1, 1, tzinfo=UTC)),
        ("DATE", "2024-02-29", dt.date(2024, 2, 29)),
        ("DECIMAL(10,2)", 0.1 + 0.2, Decimal("0.30")),
        ("DECIMAL(10,2)", -12345678, Decimal("-12345678.00")),
        ("NUMERIC(20,4)", 0.0001, Decimal("0.0001")),
        ("DOUBLE", 2, 2.0),
        ("BIGINT", -(2**63), -(2**63)),
    ],
    ids=str,
)
def test_value_that_fits_arrives_by_either_way(
    lake: Lake, workspace: Path, file: Path, db: sqlite3.Connection, declared: str, value: Any, lands: Any
) -> None:
    db.execute(f"create table t (id integer primary key, v {declared})")
    db.execute("create table u (id integer primary key, v %s, b blob)" % declared)  # noqa: UP031
    db.execute("insert into t values (1, ?), (2, null)", (value,))
    db.execute("insert into u values (1, ?, x'00'), (2, null, null)", (value,))  # the NUL sends it through batches
    for name in ("t", "u"):
        assert sync(lake, workspace, file, table=name, from_=name).error == ""
        # text that is not UTF-8 has no string: read it as the bytes that it is
        bytes_ = isinstance(lands, bytes)
        found = lake.query(f"select {'hex(v)' if bytes_ else 'v'} as v from raw.{name} order by id")["v"].to_pylist()
        assert found == [lands.hex().upper() if bytes_ else lands, None]


def test_binary_data_goes_through_batches_and_arrives_whole(lake: Lake, workspace: Path, file: Path, db: sqlite3.Connection) -> None:
    db.execute("create table t (id integer primary key, v blob)")
    every = bytes(range(256))
    db.executemany("insert into t values (?, ?)", [(n, every[n:] + b"\0" + every[:n]) for n in range(100)])
    run = sync(lake, workspace, file)
    assert (run.error, run.inserted) == ("", 100)
    found = lake.query("select hex(v) as v from raw.t order by id")["v"].to_pylist()
    assert found == [(every[n:] + b"\0" + every[:n]).hex().upper() for n in range(100)]
    assert hermes(lake, workspace, file).compare().tables[0].equal
    assert sync(lake, workspace, file).inserted == 0


def test_rows_in_the_write_ahead_log_are_seen(lake: Lake, workspace: Path, file: Path, db: sqlite3.Connection) -> None:
    db.execute("pragma journal_mode = wal")
    db.execute("create table t (id integer primary key, v text)")
    db.execute("insert into t values (1, 'in the log')")
    assert file.with_name("shop.db-wal").stat().st_size > 0
    assert (sync(lake, workspace, file).error, lake.current("raw.t")["v"].to_pylist()) == ("", ["in the log"])
    db.execute("begin immediate")
    db.execute("insert into t values (2, 'not committed')")
    assert (sync(lake, workspace, file).error, lake.current("raw.t").num_rows) == ("", 1)
    db.execute("commit")
    assert sync(lake, workspace, file).inserted == 1


def test_source_is_not_written_to(lake: Lake, workspace: Path, file: Path, db: sqlite3.Connection) -> None:
    db.execute("create table t (id integer primary key, v text)")
    db.close()
    before = (file.read_bytes(), file.stat().st_mtime_ns, sorted(p.name for p in file.parent.iterdir() if p.is_file()))
    sync(lake, workspace, file)
    assert (file.read_bytes(), file.stat().st_mtime_ns, sorted(p.name for p in file.parent.iterdir() if p.is_file())) == before


# --- files that are none


def test_file_that_is_missing_or_no_sqlite_is_said(lake: Lake, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("id,name\n1,x\n" * 200, encoding="utf-8")
    (tmp_path / "half.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 2000)
    (tmp_path / "empty.db").write_bytes(b"")
    (tmp_path / "folder.db").mkdir()
    for name, says in {
        "missing.db": "there is no SQLite file",
        "text.db": "is not a SQLite file, or a damaged one: file is not a database",
        "half.db": "is not a SQLite file, or a damaged one",
        "empty.db": "unknown table of empty.db 't'",
        "folder.db": "there is no SQLite file",
    }.items():
        run = sync(lake, workspace, tmp_path / name)
        assert run.status == "failed"
        assert says in run.error
        assert name in run.error
        assert not (tmp_path / "missing.db").exists()
    runs = lake.query("select count() as n, countIf(status = 'failed') as f from skygraph.sync_runs").to_pylist()
    assert runs == [{"n": 5, "f": 5}]


def test_file_that_may_not_be_read_is_said(lake: Lake, workspace: Path, file: Path, db: sqlite3.Connection) -> None:
    import os

    db.execute("create table t (id integer primary key)")
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user reads every file")
    assert f"{file} cannot be opened; check the rights" in sync(lake, workspace, file).error


def test_a_writer_at_its_commit_fails_no_sync(lake: Lake, workspace: Path, file: Path, db: sqlite3.Connection) -> None:
    """Without a write-ahead log nobody reads during a commit, and the engine does not wait as SQLite's own clients do."""
    db.execute("create table t (id integer primary key, n integer)")
    db.executemany("insert into t values (?, 0)", ((i,) for i in range(1000)))
    ended = threading.Event()

    def write() -> None:
        with sqlite3.connect(file, isolation_level=None, timeout=60) as writer:
            while not ended.wait(0.03):
                writer.execute("begin exclusive")
                writer.execute("update t set n = n + 1 where id = 1")
                ended.wait(0.06)
                writer.execute("commit")
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        runs = [sync(lake, workspace, file) for _ in range(8)]
    finally:
        ended.set()
        thread.join()
    assert [(run.status, run.error) for run in runs] == [("ok", "")] * 8
    sync(lake, workspace, file)
    assert lake.rows("select n from raw.t where id = 1")[0]["n"] == db.execute("select n from t where id = 1").fetchone()[0]
