"""One iteration over several tables: failures stay apart, the ledger has every run, progress is said."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.errors import LakeError, LakeUnavailable, UnknownName
from workbench.hermes import Hermes, load_plan, readable_folders
from workbench.hermes.ledger import Ledger
from workbench.lake import Lake
from workbench.settings import Settings

PLAN = """\
sources:
  shop: {connector: sqlite, path: "data/shöp.db"}
  gone: {connector: sqlite, path: "data/gone.db"}
  locked: {connector: sqlite, path: "${NOWHERE}/x.db"}
tables:
  a: {source: shop, key: id, watermark: at}
  bad: {source: shop, key: id}
  lost: {source: gone, key: id}
  locked: {source: locked, key: id}
  z: {source: shop, key: id}
"""


@pytest.fixture
def db(workspace: Path) -> Iterator[sqlite3.Connection]:
    (workspace / "sync_jobs/tables.yml").write_text(PLAN, encoding="utf-8")
    (workspace / "data").mkdir()
    connection = sqlite3.connect(workspace / "data/shöp.db", isolation_level=None)
    connection.executescript(
        "create table a (id integer primary key, at datetime); insert into a values (1, '2024-01-01'), (2, '2024-01-02');"
        "create table bad (id integer primary key, n INTEGER); insert into bad values (1, 'x');"
        "create table z (id integer primary key); insert into z values (1);"
    )
    yield connection
    connection.close()


@pytest.fixture
def hermes(db: sqlite3.Connection, lake: Lake, workspace: Path) -> Hermes:
    return Hermes(lake, load_plan(workspace), workspace, workspace / ".skygraph")


def test_failing_table_never_stops_another_and_every_run_is_in_the_ledger(hermes: Hermes) -> None:
    report = hermes.sync()
    assert [(run.table, run.status) for run in report.runs] == [
        ("a", "ok"), ("bad", "ok"), ("lost", "failed"), ("locked", "failed"), ("z", "ok"),
    ]  # fmt: skip
    errors = {run.table: run.error for run in report.runs}
    assert (errors["bad"], report.quarantined) == ("", 1)
    assert "there is no SQLite file" in errors["lost"]
    assert "NOWHERE is not set" in errors["locked"]
    assert (report.failed, report.inserted, report.deleted) == (True, 3, 0)
    assert sorted(hermes.ledger.runs(), key=lambda r: r.table) == sorted(report.runs, key=lambda r: r.table)
    hermes.sync(["a"], full=True)
    hermes.sync(["a"], full=True)
    assert len(hermes.ledger.runs(table="a")) == 3
    assert len(hermes.ledger.runs()) == 7
    assert hermes.ledger.runs(table="a", limit=1)[0] == hermes.ledger.last_runs()["a"][0]
    assert set(hermes.ledger.states()) == {"a", "bad", "z"}


def test_run_says_what_it_did(hermes: Hermes, db: sqlite3.Connection) -> None:
    before = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
    (first,) = hermes.sync(["raw.a"]).runs
    db.execute("insert into a values (3, '2024-01-03')")
    db.execute("delete from a where id = 1")
    (second,) = hermes.sync(["a", "a"]).runs
    (third,) = hermes.sync(["a"], full=True).runs
    assert (first.mode, first.watermark_from, first.watermark_to) == ("full", "", "2024-01-02 00:00:00.000000")
    assert (second.mode, second.watermark_from, second.watermark_to) == ("incremental", first.watermark_to, "2024-01-03 00:00:00.000000")
    assert (third.mode, third.inserted, third.deleted) == ("full", 0, 0)
    assert (second.inserted, second.deleted) == (1, 1)
    assert before <= first.started_at <= first.finished_at <= second.started_at
    assert len({first.run_id, second.run_id, third.run_id}) == 3
    ids = hermes.lake.query_history("select _run_id as r, count() as n from raw.a group by r")
    assert dict(zip(ids["r"].to_pylist(), ids["n"].to_pylist(), strict=True)) == {first.run_id: 2, second.run_id: 2}


def test_tombstone_keeps_the_last_values_and_is_above_the_row(hermes: Hermes, db: sqlite3.Connection) -> None:
    hermes.sync(["a"])
    db.execute("delete from a where id = 2")
    hermes.sync(["a"])
    rows = hermes.lake.history("raw.a", where="id = 2").to_pylist()
    rows.sort(key=lambda r: r["_version"])
    assert [r["_deleted"] for r in rows] == [0, 1]
    assert rows[0]["at"] == rows[1]["at"]


def test_unknown_table_stops_the_iteration_before_it_begins(hermes: Hermes) -> None:
    with pytest.raises(UnknownName, match="unknown table 'zz'"):
        hermes.sync(["a", "zz"])
    assert hermes.lake.tables("raw") == []


def test_progress_is_said_table_by_table(hermes: Hermes) -> None:
    said: list[tuple[str, int, int]] = []
    hermes.sync(progress=lambda *words: said.append(words))
    assert [(done, every) for _, done, every in said] == [(n, 5) for n in range(1, 6)]
    assert {text for text, _, _ in said} == {"a: 2 rows", "z: 1 rows", "bad: 0 rows, 1 in quarantine", "lost: failed", "locked: failed"}


def test_column_with_a_name_of_ours_is_refused(hermes: Hermes, db: sqlite3.Connection) -> None:
    db.execute("alter table z add column _version integer")
    assert "z has a column _version, a name SkyGraph uses itself" in hermes.sync(["z"]).runs[0].error


def test_compare_says_where_the_sides_differ(hermes: Hermes, db: sqlite3.Connection) -> None:
    with pytest.raises(LakeError, match="raw.a has not been synced yet; run `skygraph sync a`"):
        hermes.compare(["a"])
    hermes.sync(["a"])
    assert not hermes.compare(["a"]).failed
    db.execute("update a set at = '2024-01-01 00:00:01' where id = 1")
    compared = hermes.compare(["a"])
    (row,) = compared.tables
    assert compared.failed
    assert (row.source_rows, row.current_rows, row.physical_rows) == (2, 2, 2)
    assert row.source_checksum != row.current_checksum
    # two equal rows on one side do not cancel each other out
    db.execute("delete from a")
    assert hermes.compare(["a"]).tables[0].source_rows == 0
    assert hermes.compare(["a"]).failed


def test_lake_that_does_not_answer_ends_the_iteration(hermes: Hermes, workspace: Path) -> None:
    away = Lake(Settings.load(workspace, environ={}, clickhouse_url="http://me:x@127.0.0.1:9"))
    with pytest.raises(LakeUnavailable):
        Hermes(away, hermes.plan, workspace, workspace / ".skygraph").sync()


def test_state_is_kept_from_one_hermes_to_the_next(hermes: Hermes, workspace: Path, db: sqlite3.Connection) -> None:
    hermes.sync(["a"])
    db.execute("insert into a values (3, '2024-01-03')")
    again = Hermes(hermes.lake, load_plan(workspace), workspace, workspace / ".skygraph")
    assert again.sync(["a"]).runs[0].mode == "incremental"
    assert Ledger(hermes.lake).states()["a"].source == "shop"


def test_engine_may_read_the_folders_of_file_sources_and_never_its_own_state(workspace: Path) -> None:
    plan = """\
sources:
  here: {connector: sqlite, path: "data/a.db"}
  demo: {connector: sqlite, path: ".skygraph/demo/a.db"}
  lake: {connector: sqlite, path: ".skygraph/lake/a.db"}
  top: {connector: sqlite, path: "a.db"}
  state: {connector: sqlite, path: ".skygraph/a.db"}
"""
    (workspace / "sync_jobs/tables.yml").write_text(plan, encoding="utf-8")
    found = readable_folders(load_plan(workspace), workspace, workspace / ".skygraph")
    assert found == [workspace / "data", workspace / ".skygraph/demo"]


def test_key_that_comes_back_under_the_bound_is_current_again(hermes: Hermes, db: sqlite3.Connection) -> None:
    hermes.sync(["a"])
    db.execute("delete from a where id = 1")
    assert hermes.sync(["a"]).deleted == 1
    db.execute("insert into a values (1, '2024-01-01')")  # a restored row: its time lies behind the mark
    assert hermes.sync(["a"]).inserted == 1
    assert not hermes.compare(["a"]).failed
    db.execute("insert into a values (4, '2024-01-04')")
    assert hermes.sync(["a"]).runs[0].mode == "incremental", "and the next run reads from the mark again"


def test_key_that_is_not_unique_at_the_source_stops_the_table_and_names_it(hermes: Hermes, db: sqlite3.Connection) -> None:
    db.executescript("drop table z; create table z (id integer, body text); insert into z values (1, 'a'), (1, 'b'), (2, 'c')")
    run = hermes.sync(["z"]).runs[0]
    assert run.status == "failed"
    assert "the key (id) of z is not unique at the source, for example (1)" in run.error
    assert hermes.lake.history("raw.z").num_rows == 0


def test_compare_after_the_source_changed_says_to_sync_first(hermes: Hermes, db: sqlite3.Connection) -> None:
    hermes.sync(["a"])
    db.execute("alter table a add column more text")
    with pytest.raises(LakeError, match="has not been synced since more changed at the source; run `skygraph sync a`"):
        hermes.compare(["a"])


def test_interrupted_sync_ends_its_statements_and_moves_no_mark(hermes: Hermes, db: sqlite3.Connection) -> None:
    def interrupt(message: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    db.execute("create table slow (id integer primary key, at datetime)")
    db.execute(
        "insert into slow with recursive n(i) as (select 1 union all select i + 1 from n where i < 1500000) "
        "select i, datetime('2020-01-01', '+' || i || ' seconds') from n"
    )
    text = PLAN + "  slow: {source: shop, key: id, watermark: at}\n"
    (hermes.workspace / "sync_jobs/tables.yml").write_text(text, encoding="utf-8")
    hermes = Hermes(hermes.lake, load_plan(hermes.workspace), hermes.workspace, hermes.state_dir)
    with pytest.raises(KeyboardInterrupt):
        hermes.sync(["z", "slow"], progress=interrupt)  # the first table that ends interrupts the other
    assert "slow" not in Ledger(hermes.lake).states()
    assert not hermes.sync(["slow"]).failed
    assert not hermes.compare(["slow"]).failed
