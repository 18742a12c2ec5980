"""The protocol beyond the contract of connectors: open transactions, sweeps by range, receipts, backfill, rewind, widening."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from workbench.errors import UsageError
from workbench.hermes import run as protocol
from workbench.hermes.connector import STAGE_PREFIX, Fingerprint, machine
from workbench.hermes.ledger import SyncRun
from workbench.hermes.ranges import CLICKHOUSE, POSTGRES, differing, fold, mixed
from workbench.hermes.sync import Hermes
from workbench.hermes.tables import Source, SyncPlan, TableJob
from workbench.lake import Lake

UTC = dt.timezone.utc


class Erp:
    """A table `t` of a schema of its own in PostgreSQL, and its sync."""

    def __init__(self, server: Any, lake: Lake, workspace: Path) -> None:
        self.server, self.lake, self.workspace = server, lake, workspace
        self.schema = f"s{os.urandom(4).hex()}"
        self.db = self.connect()
        self.run(f"create schema {self.schema}")
        self.run("create table t (id bigint primary key, v text, at timestamptz default now())")

    def connect(self) -> psycopg.Connection[Any]:
        opened: psycopg.Connection[Any] = self.server.connect()
        opened.execute(f"set search_path to {self.schema}")
        return opened

    def run(self, sql: str) -> Any:
        return self.db.execute(sql)

    def hermes(self, *, dsn: str = "", **changes: Any) -> Hermes:
        job = TableJob(**{"table": "t", "source": "erp", "from_": "t", "key": ("id",), "watermark": "at", **changes})
        source = Source("erp", "postgres", {"dsn": dsn or self.server.dsn(), "schema": self.schema})
        return Hermes(self.lake, SyncPlan({"erp": source}, {"t": job}, {}), self.workspace, self.workspace / ".skygraph")

    def sync(self, *, full: bool = False, **changes: Any) -> SyncRun:
        (run,) = self.hermes(**changes).sync(full=full).runs
        assert run.error == ""
        return run

    def rows(self, columns: str = "id, v") -> list[tuple[Any, ...]]:
        found = self.lake.query(f"select {columns} from raw.t order by id")
        return [tuple(row.values()) for row in found.to_pylist()]

    def equal(self, **changes: Any) -> bool:
        return self.hermes(**changes).compare().tables[0].equal


@pytest.fixture
def erp(postgres_server: Any, lake: Lake, workspace: Path) -> Iterator[Erp]:
    made = Erp(postgres_server, lake, workspace)
    yield made
    made.db.close()


# --- transactions that are open


@pytest.mark.parametrize("deletes", ["sweep", "none"])
@pytest.mark.parametrize("key", ["bigint", "text"])
def test_rows_of_a_transaction_that_was_open_across_syncs_are_not_passed_over(erp: Erp, deletes: str, key: str) -> None:
    erp.run(f"alter table t alter id type {key}")
    erp.run("insert into t values ('1', 'first', now() - interval '1 day')")
    with erp.connect() as other:
        other.autocommit = False
        other.execute("insert into t values ('2', 'open')")  # its time is the beginning of the transaction
        erp.run("insert into t values ('3', 'after')")
        erp.sync(deletes=deletes)
        erp.run("insert into t values ('4', 'later')")
        assert [v for _, v in erp.rows()] == ["first", "after"]
        assert erp.sync(deletes=deletes).inserted == 1
        other.execute("update t set v = 'changed in it', at = now() where id = '1'")
        other.commit()
    assert erp.sync(deletes=deletes).inserted == 2
    assert [v for _, v in erp.rows()] == ["changed in it", "open", "after", "later"]
    assert erp.equal(deletes=deletes)


def test_open_transaction_of_another_user_is_covered_without_the_right_to_see_it(erp: Erp) -> None:
    role = f"reader_{erp.schema}"
    erp.run(f"create role {role} login password 'only-reads'")
    erp.run(f"grant usage on schema {erp.schema} to {role}")
    erp.run(f"grant select on t to {role}")
    reader = erp.server.dsn(user=role, password="only-reads")
    erp.run("insert into t values (1, 'first')")
    erp.sync(dsn=reader, deletes="none")
    with erp.connect() as other:
        other.autocommit = False
        other.execute("insert into t values (2, 'open')")
        erp.run("insert into t values (3, 'after')")
        assert erp.sync(dsn=reader, deletes="none").inserted == 1
        other.commit()
    assert erp.sync(dsn=reader, deletes="none").inserted == 1
    assert erp.equal(dsn=reader)


def test_change_that_leaves_its_watermark_as_it_was_is_found_by_its_transaction(erp: Erp) -> None:
    erp.run("insert into t select n, 'as it was', '2024-01-01'::timestamptz + n * interval '1 hour' from generate_series(1, 60000) n")
    erp.sync()
    erp.run("update t set v = 'behind the mark' where id in (7, 40000)")
    erp.run("update t set v = 'clock went back', at = '1999-01-01' where id = 50000")
    run = erp.sync()
    assert (run.mode, run.inserted) == ("incremental", 3)
    assert erp.equal()


def test_nothing_is_read_when_no_transaction_was_made(erp: Erp) -> None:
    erp.run("insert into t values (1, 'x')")
    assert erp.sync().mode == "full"
    start = erp.server.log.stat().st_size
    run = erp.sync()
    assert (run.mode, run.rows_read) == ("unchanged", 0)
    assert "COPY" not in erp.server.said(start)
    erp.run("create table other (id int)")  # of another table, but nobody can tell
    assert erp.sync().mode == "incremental"
    # a table that is to be read in another way is read
    assert erp.sync(columns={"v": "drop"}).mode != "unchanged"
    with erp.connect() as other:
        other.autocommit = False
        other.execute("insert into t values (2, 'y')")
        assert erp.sync().mode != "unchanged"
        other.commit()
    assert erp.sync().inserted == 1


# --- sweeps by range


def test_sweep_reads_few_of_many_keys(erp: Erp) -> None:
    erp.run("insert into t select n * 3, 'x', '2024-01-01' from generate_series(1, 200000) n")
    erp.sync(lookback=0.0)
    erp.run("update t set at = '2024-01-02' where id = 30")  # so that the boundary that is read again is one row
    erp.sync()
    erp.run("delete from t where id in (9, 300000, 599997)")
    erp.run("insert into t values (-5, 'came late', '2023-01-01'), (600003, 'so did this', '2023-01-01')")
    run = erp.sync()
    assert (run.inserted, run.deleted) == (2, 3)
    assert 1 < run.ranges_differing < run.ranges
    assert run.keys_listed < 10_000
    assert erp.equal()
    run = erp.sync(full=True)
    assert (run.inserted, run.deleted) == (0, 0)


def test_sweep_of_keys_of_several_numbers_with_the_extremes(erp: Erp) -> None:
    erp.run("drop table t")
    erp.run("create table t (id bigint, n int, v text, at timestamptz default '2024-01-01', primary key (id, n))")
    low, high = -(2**63), 2**63 - 1
    erp.run(f"insert into t (id, n, v) values ({low}, -1, 'a'), ({low}, 0, 'b'), (0, 0, 'c'), ({high}, 1, 'd'), ({high}, 2147483647, 'e')")
    erp.sync(key=("id", "n"))
    erp.run(f"delete from t where n in (0, 2147483647) and id in ({low}, {high})")
    erp.run("insert into t (id, n, v, at) values (1, 1, 'f', '2000-01-01')")
    run = erp.sync(key=("id", "n"))
    assert (run.inserted, run.deleted, run.ranges) == (1, 2, 1)
    assert erp.equal(key=("id", "n"))


def test_both_servers_fold_numbers_alike(erp: Erp) -> None:
    numbers = [0, 1, -1, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63), 123456789012345678, -987654321098765432]
    erp.run("create table n (x bigint, y bigint)")
    for x in numbers:
        for y in numbers:
            erp.run(f"insert into n values ({x}, {y})")
    there = erp.run(f"select x, y, f, {mixed('f', POSTGRES)} from (select x, y, {fold(['x', 'y'], POSTGRES)} as f from n) as f").fetchall()
    for x, y, f, g in there:
        assert 0 <= f < 2**31
        assert 0 <= g < 2**31
        found = erp.lake.query(
            f"with toInt64({x}) as x, toInt64({y}) as y, toInt64({fold(['x', 'y'], CLICKHOUSE)}) as f select f, {mixed('f', CLICKHOUSE)}"
        )
        assert tuple(found.to_pylist()[0].values()) == (f, g)
    assert len({f for _, _, f, _ in there}) == len({g for *_, g in there}) == len(there)
    # swapped keys with the same sum are told apart
    assert differing({0: Fingerprint(2, 5, 9)}, {0: Fingerprint(2, 5, 8)}) == [0]


# --- columns that change


def test_widened_columns_are_widened_and_a_dropped_one_is_kept_and_noted(erp: Erp) -> None:
    erp.run("create table w (id int primary key, small smallint not null, money numeric(8,2), gone text, at timestamptz default now())")
    erp.run("insert into w values (1, 5, 1.5, 'kept')")
    erp.sync(table="t", from_="w")
    erp.run("alter table w alter small type bigint, alter small drop not null, alter money type numeric(12,2), drop gone")
    erp.run("insert into w values (2, 5000000000, 9999999999.99), (3, null, null)")
    run = erp.sync(from_="w")
    types = erp.lake.columns("raw.t")
    assert (types["small"], types["money"], types["gone"]) == ("Nullable(Int64)", "Nullable(Decimal(12, 2))", "Nullable(String)")
    assert erp.rows("id, small, money, gone") == [
        (1, 5, Decimal("1.50"), "kept"), (2, 5000000000, Decimal("9999999999.99"), None), (3, None, None, None),
    ]  # fmt: skip
    assert "small was widened from Int16 to Nullable(Int64)" in run.note
    assert "gone is no longer at the source; kept as it was" in run.note
    # narrower at the source: the wide column holds it
    erp.run("delete from w where id > 1")
    erp.run("alter table w alter small type smallint")
    assert erp.sync(from_="w").error == ""
    assert erp.lake.columns("raw.t")["small"] == "Nullable(Int64)"
    assert erp.equal(from_="w")


@pytest.mark.parametrize("key", ["bigint", "text"])
def test_column_or_table_that_was_made_anew_is_read_whole(erp: Erp, key: str) -> None:
    erp.run(f"alter table t alter id type {key}")
    erp.run("insert into t values ('1', 'old', '2024-01-01'), ('2', 'new', '2024-02-01')")
    erp.sync()
    erp.run("alter table t drop v")  # no row is written by any of it
    erp.run("alter table t add v text")
    erp.sync()
    assert erp.rows() == [(int(n) if key == "bigint" else n, None) for n in ("1", "2")]
    erp.run("alter table t add w text default 'w'")
    erp.run("alter table t rename v to x")
    erp.run("alter table t rename w to v")
    erp.sync()
    assert [v for _, v in erp.rows()] == ["w", "w"]
    erp.run("create table u as select id, 'swapped' as v, at, x from t")
    erp.sync()
    erp.run("alter table t rename to gone")
    erp.run("alter table u rename to t")
    erp.sync()
    assert [v for _, v in erp.rows()] == ["swapped", "swapped"]
    assert erp.equal()


def test_idle_table_of_a_busy_database_is_not_read(erp: Erp) -> None:
    erp.run("insert into t select n, 'x', '2024-01-01' from generate_series(1, 1000) n")
    erp.run("create table other (id int)")
    for deletes in ("none", "sweep"):
        erp.sync(deletes=deletes)
        erp.run("insert into other values (1)")
        erp.sync(deletes=deletes)  # a sweep that finds both sides equal is remembered
        erp.run("insert into other values (2)")
        start = erp.server.log.stat().st_size
        assert erp.sync(deletes=deletes).mode == "unchanged"
        assert "COPY" not in erp.server.said(start)
    erp.run("delete from t where id = 500")
    assert erp.sync().deleted == 1
    erp.run("insert into t values (500, 'back', '2023-01-01')")
    assert erp.sync().inserted == 1
    assert erp.equal()


def test_watermark_in_the_future_hides_no_row(erp: Erp) -> None:
    erp.run("insert into t values (1, 'a', now() - interval '1 hour'), (2, 'from 2099', '2099-01-01')")
    assert "lies in the future (2099-01-01" in erp.sync(deletes="none").note
    erp.run("insert into t values (3, 'b', now())")
    assert erp.sync(deletes="none").inserted == 1
    assert erp.equal()


# --- receipts


def test_receipt_tells_what_was_read_and_verify_replays_it(erp: Erp) -> None:
    erp.run("insert into t select n, 'x', '2024-01-01'::timestamptz + n * interval '1 minute' from generate_series(1, 100) n")
    assert not erp.hermes().sync().failed
    erp.run("update t set v = 'y', at = '2024-02-01' where id <= 10")
    run = erp.sync(lookback=600.0)
    assert (run.rows_read, run.inserted, run.unchanged, run.deleted, run.quarantined) == (21, 10, 11, 0, 0)
    assert run.source_checksum == run.lake_checksum != ""
    assert run.bytes > 0
    assert erp.hermes().ledger.runs(table="t", limit=1) == [run]
    proof = erp.hermes().verify("t")
    assert not proof.failed
    assert proof.source_rows == proof.lake_rows == 11  # from the mark of before, which was not moved back by the lookback
    erp.run("update t set v = 'changed since' where id = 5")
    assert erp.hermes().verify("t").failed


# --- backfill and rewind


def test_backfill_reads_a_stretch_again_in_chunks_and_goes_on_where_it_stopped(erp: Erp) -> None:
    erp.run("insert into t select n, 'x', '2024-01-01'::timestamptz + n * interval '1 day' from generate_series(0, 99) n")
    erp.sync(deletes="none")
    mark = erp.hermes().ledger.states()["t"]
    erp.run("update t set v = 'mended' where id between 20 and 39")
    hermes = erp.hermes(deletes="none")
    chunks = 0

    def third(step: str) -> None:
        nonlocal chunks
        chunks += step == "pulled"
        if chunks == 3:
            raise RuntimeError("the power went")

    hermes.reached = third
    report = hermes.backfill("t", "2024-01-21", "2024-02-10", chunks=5)
    assert [run.status for run in report.runs] == ["ok", "ok", "failed"]
    assert erp.lake.scalar("select count() from raw.t where v = 'mended'") == 8
    report = erp.hermes(deletes="none").backfill("t", "2024-01-21", "2024-02-10", chunks=5)
    assert [(run.mode, run.status, run.rows_read, run.inserted) for run in report.runs] == [("backfill", "ok", 4, 4)] * 3
    assert erp.lake.scalar("select count() from raw.t where v = 'mended'") == 20
    assert erp.hermes().ledger.states()["t"] == mark
    for bad in (("soon", ""), ("2025-01-01", "2024-01-01")):
        with pytest.raises(UsageError):
            erp.hermes().backfill("t", *bad)


def test_rewind_moves_the_mark_and_it_is_kept_who_did(erp: Erp) -> None:
    erp.run("insert into t values (1, 'a', '2024-01-01'), (2, 'b', '2024-01-02')")
    with pytest.raises(UsageError, match="has no watermark yet"):
        erp.hermes().rewind("t", "2024-01-01")
    erp.sync(deletes="none")
    erp.lake.command("alter table raw.t delete where id = 1 settings mutations_sync = 1")  # somebody broke the lake
    assert erp.sync(deletes="none").mode == "unchanged"
    (run,) = erp.hermes().rewind("t", "2024-01-01").runs
    assert (run.mode, run.watermark_from[:10], run.watermark_to[:10]) == ("rewind", "2024-01-02", "2024-01-01")
    assert "by hand" in erp.hermes().status().tables[0].moved_by
    run = erp.sync(deletes="none")
    assert (run.mode, run.rows_read, run.inserted) == ("incremental", 2, 1)
    assert erp.hermes().status().tables[0].moved_by == "sync"
    assert [r.mode for r in erp.hermes().ledger.runs(table="t")] == ["incremental", "rewind", "full"]
    with pytest.raises(UsageError, match="is no watermark of this table"):
        erp.hermes().rewind("t", "yesterday")


# --- lateness


def test_lookback_is_proposed_from_how_late_rows_came(erp: Erp) -> None:
    erp.run("insert into t values (0, 'first', '2024-01-01 00:00:00+00')")
    erp.sync()
    for n in range(1, 5):
        erp.run(f"insert into t select {n} * 1000 + i, 'on time', '2024-01-0{n + 1} 00:00:00+00' from generate_series(1, 100) i")
        erp.run(f"insert into t values ({n}, 'late', '2024-01-0{n} 00:00:00+00'::timestamptz - interval '10 minutes')")
        erp.sync()
    (found,) = erp.hermes(lookback=60.0).lookback().tables
    assert (found.rows, found.late, found.latest) == (404, 4, 600.0)
    assert found.missed_now == pytest.approx(4 / 404)
    assert (found.proposed, found.missed) == (900, 0)


# --- one sync of a table at a time; what a killed one leaves behind


def test_second_sync_of_a_table_waits_for_the_first(erp: Erp, until: Callable[..., None]) -> None:
    erp.run("insert into t values (1, 'x')")
    erp.sync()
    erp.run("insert into t values (2, 'y')")
    lock = erp.workspace / ".skygraph/lock/sync-t"
    order: list[str] = []
    with open(lock, "a", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: order.append(erp.sync().mode))
        thread.start()
        until(lambda: [f.readlink() for f in Path("/proc/self/fd").iterdir() if f.is_symlink()].count(lock.resolve()) == 2)
        order.append("released")
    thread.join(30)
    assert order == ["released", "incremental"]


def test_stages_of_a_dead_process_are_dropped_and_those_of_a_living_one_are_not(erp: Erp) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getppid()):
        erp.lake.create_database("skygraph")
        erp.lake.command(f"create table skygraph.{STAGE_PREFIX}{machine()}_{pid}_x (a Int8) engine = MergeTree order by tuple()")
    erp.sync()
    assert [t for t in erp.lake.tables("skygraph") if t.startswith(STAGE_PREFIX)] == [f"{STAGE_PREFIX}{machine()}_{os.getppid()}_x"]


# --- the stage


def stages(lake: Lake) -> list[list[str]]:
    return lake.facts(f"select name, engine from system.tables where database = 'skygraph' and startsWith(name, '{STAGE_PREFIX}')")


@pytest.mark.parametrize(("limit", "value"), [("_FEW", 5), ("_FEW_BYTES", 1)])
def test_few_rows_of_a_span_are_staged_in_memory_and_many_on_disk(
    erp: Erp, limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    erp.run("insert into t values (1, 'x', '2024-01-01')")
    erp.sync(deletes="none")
    hermes, engines = erp.hermes(deletes="none"), list[str]()
    hermes.reached = lambda step: engines.extend(engine for _, engine in stages(erp.lake)) if step == "pulled" else None
    for month, wanted in (("02", "Memory"), ("03", "MergeTree")):
        erp.run(f"insert into t select n + {month} * 100, repeat('x', 1000000), '2024-{month}-01' from generate_series(1, 20) n")
        (run,) = hermes.sync().runs
        assert (run.error, run.inserted, engines.pop(), engines) == ("", 20, wanted, [])
        monkeypatch.setattr(protocol, limit, value)
    assert stages(erp.lake) == []
    assert erp.equal(deletes="none")


@pytest.mark.parametrize("many", [1, 2_000])
def test_stage_that_lost_its_rows_is_noticed(erp: Erp, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the lake is started anew between two statements, the second of which is asked again."""
    monkeypatch.setattr(protocol, "_MANY", many)
    erp.run("insert into t values (1, 'x', '2024-01-01')")
    erp.sync(deletes="none")
    erp.run("insert into t select n, 'new', '2024-02-01' from generate_series(11, 30) n")

    def lose(step: str) -> None:
        for name, _ in stages(erp.lake) if step == "pulled" else []:
            erp.lake.command(f"truncate table skygraph.{name}")

    hermes = erp.hermes(deletes="none")
    hermes.reached = lose
    (run,) = hermes.sync().runs
    assert "of 21 rows that were staged 0 are left" in run.error
    assert erp.sync(deletes="none").inserted == 20
    assert erp.equal(deletes="none")


@pytest.mark.parametrize("compared", [3, 1_000])
def test_rows_that_are_read_again_are_not_inserted_again_however_many(erp: Erp, compared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_MANY", 1)
    monkeypatch.setattr(protocol, "_COMPARED", compared)
    erp.run("insert into t select n, 'x', '2024-01-01' from generate_series(1, 20) n")
    erp.sync(deletes="none")
    erp.run("update t set v = 'changed' where id > 15")
    erp.run("insert into t values (21, 'same time', '2024-01-01'), (22, 'later', '2024-01-02')")
    run = erp.sync(deletes="none")
    assert (run.rows_read, run.inserted, run.unchanged) == (22, 7, 15)
    assert run.source_checksum == run.lake_checksum != ""
    assert erp.lake.facts("select count() from raw.t", history=True) == [[27]]
    assert erp.equal(deletes="none")


# --- what a review found


def test_raw_table_that_was_dropped_is_never_taken_for_unchanged(erp: Erp) -> None:
    erp.run("insert into t values (1, 'x', '2024-01-01'), (2, 'y', '2024-01-02')")
    for step in ("table made", "pulled"):
        erp.sync()
        erp.lake.command("drop table raw.t sync")
        hermes = erp.hermes()

        def crash(reached: str, step: str = step) -> None:
            if reached == step:
                raise RuntimeError("the power went")

        hermes.reached = crash
        assert hermes.sync().failed
        assert erp.sync().mode == "full"
        assert len(erp.rows()) == 2
    erp.lake.command("drop table raw.t sync")
    assert not erp.hermes().backfill("t", "2024-01-01", "2024-01-02", chunks=1).failed
    erp.sync()
    assert len(erp.rows()) == 2


def test_rewind_while_others_are_synced_is_not_passed_over(erp: Erp) -> None:
    erp.run("insert into t values (1, 'x', '2024-01-01'), (2, 'y', '2024-01-02')")
    erp.sync(deletes="none")
    hermes = erp.hermes(deletes="none")
    other = erp.hermes(deletes="none")
    said: list[str] = []
    lock = hermes._locked

    def rewound_before(table: str) -> Any:
        if not said:
            said.append(other.rewind("t", "2024-01-01").runs[0].mode)
        return lock(table)

    hermes._locked = rewound_before  # type: ignore[method-assign]
    (run,) = hermes.sync().runs
    assert (run.error, run.rows_read) == ("", 2)


@pytest.mark.parametrize("key", ["bigint", "uuid"])
def test_row_that_does_not_fit_stays_apart_and_its_last_good_version_stays_current(erp: Erp, key: str) -> None:
    erp.run("create table k (id " + key + " primary key, n numeric, at timestamptz)")
    ids = [str(n) if key == "bigint" else f"00000000-0000-0000-0000-00000000000{n}" for n in range(6)]
    for n, id_ in enumerate(ids):
        erp.run(f"insert into k values ('{id_}', {n}, '2024-01-0{n + 1}')")
    erp.sync(from_="k")
    erp.run(f"update k set n = 'NaN' where id = '{ids[1]}'")  # and its time stays
    assert erp.sync(from_="k").quarantined == 1
    erp.run(f"delete from k where id = '{ids[2]}'")
    run = erp.sync(from_="k")
    assert run.deleted == 1
    assert [n for _, n in erp.rows("id, n")] == [0, 1, 3, 4, 5]
    assert erp.sync(from_="k", full=True).deleted == 0
    assert not erp.hermes(from_="k").verify("t").failed or erp.rows("id, n")[1][1] == 1
    # gone at the source, it leaves both
    erp.run(f"delete from k where id = '{ids[1]}'")
    erp.sync(from_="k")
    assert [n for _, n in erp.rows("id, n")] == [0, 3, 4, 5]
    assert erp.hermes().quarantine().rows == ()
    assert erp.equal(from_="k")


def test_rows_without_a_key_are_kept_apart_one_by_one_and_the_others_go_on(erp: Erp) -> None:
    erp.run("create table k (id bigint, v text, at timestamptz)")
    erp.run("insert into k values (1, 'a', '2024-01-01'), (null, 'b', '2024-01-02'), (null, 'c', '2024-01-03')")
    for n in range(3):
        run = erp.sync(from_="k")
        assert run.error == ""
        assert len(erp.hermes().quarantine().rows) == 2
        erp.run(f"insert into k values ({n + 10}, 'new', '2024-02-0{n + 1}')")
    assert [i for i, _ in erp.rows()] == [1, 10, 11]


def test_partitioned_tables_and_views_are_not_read_whole_each_time(erp: Erp) -> None:
    erp.run("create table p (id bigint, v text, at timestamptz, primary key (id)) partition by range (id)")
    erp.run("create table p1 partition of p for values from (0) to (50000)")
    erp.run("create table p2 partition of p for values from (50000) to (1000000)")
    erp.run("insert into p select n, 'x', '2024-01-01'::timestamptz + n * interval '1 second' from generate_series(1, 100000) n")
    erp.run("create view w as select * from p")
    for name in ("p", "w"):
        erp.sync(table="t", from_=name)
        erp.run(f"insert into p select max(id) + 1, 'new', '2024-03-01'::timestamptz + max(id) * interval '1 second' from {name}")
        erp.run("delete from p where id = (select min(id) from p)")
        erp.run("update p set v = 'late', at = '2023-01-01' where id = 40000")
        run = erp.sync(table="t", from_=name)
        assert run.mode == "incremental"
        assert (run.error, run.deleted) == ("", 1)
        assert run.rows_read < 10_000
        assert erp.equal(from_=name)
        erp.lake.command("drop table raw.t sync")


def test_dsn_with_options_of_its_own(erp: Erp) -> None:
    erp.run("insert into t values (1, 'x', '2024-01-01')")
    dsn = erp.server.dsn() + "?options=-cwork_mem%3D8MB"
    assert erp.sync(dsn=dsn).inserted == 1
    assert erp.equal(dsn=dsn)
