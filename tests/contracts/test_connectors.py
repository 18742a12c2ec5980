"""What every connector promises, run against each: SQLite read by the engine, SQLite through batches, PostgreSQL.

A connector that is added gets a `Shop` of its own here, and with it every test of this file.
"""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mysql import MysqlShop

from workbench.errors import UnknownName
from workbench.hermes.connector import Connector, Span, connector_names, find_connector
from workbench.hermes.ledger import Ledger, TableState
from workbench.hermes.run import STEPS
from workbench.hermes.sync import Hermes, SyncReport
from workbench.hermes.tables import Source, SyncPlan, TableJob
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_table

UTC = dt.timezone.utc


class Shop:
    """A source that a test can write to, in the SQL that SQLite and PostgreSQL share."""

    connector: str
    options: dict[str, str]
    pulls: str  # what the SELECT of `rows` reads from

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class SqliteShop(Shop):
    connector = "sqlite"

    def __init__(self, path: Path, pulls: str) -> None:
        self.options = {"path": str(path)}
        self.pulls = pulls
        self._open = sqlite3.connect(path, isolation_level=None)

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        self._open.execute(sql, values)

    def close(self) -> None:
        self._open.close()


class PostgresShop(Shop):
    connector = "postgres"

    def __init__(self, server: Any, *, by_engine: bool) -> None:
        schema = f"it's a schéma {uuid.uuid4().hex[:8]}"
        # a parameter that the engine cannot be told sends the rows through this process
        self.options = {"dsn": server.dsn() + ("" if by_engine else "?application_name=skygraph"), "schema": schema}
        self.pulls = "postgresql(" if by_engine else "_stage_"
        self._open = server.connect()
        self._open.execute(f'create schema "{schema}"')
        self._open.execute(f'set search_path to "{schema}"')
        # what a test writes as a time without a zone is UTC, as it lands
        self._open.execute("set timezone to 'UTC'")

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        self._open.execute(sql.replace("?", "%s") if values else sql, values or None)

    def close(self) -> None:
        self._open.close()


@pytest.fixture(params=["sqlite", "sqlite through batches", "postgres", "postgres through this process", "mysql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    away: Path | None = None
    made: Shop
    if request.param.startswith("postgres"):
        made = PostgresShop(request.getfixturevalue("postgres_server"), by_engine=request.param == "postgres")
    elif request.param == "mysql":
        made = MysqlShop(request.getfixturevalue("mysql_server"), standard=True)
    elif request.param == "sqlite":
        made = SqliteShop(tmp_path / "it's the shöp.db", "sqlite(")
    else:
        # outside the folders that the engine may read
        away = Path(tempfile.mkdtemp(prefix="skygraph-away-"))
        made = SqliteShop(away / "it's the shöp.db", "_stage_")
    yield made
    made.close()
    if away is not None:
        shutil.rmtree(away)


# for what Hermes decides, whichever way the rows come
BY_THE_ENGINE = pytest.mark.parametrize("shop", ["sqlite", "postgres"], indirect=True)


class Bench:
    """One source, its tables, and the sync of them."""

    def __init__(self, shop: Shop, lake: Lake, workspace: Path) -> None:
        self.shop, self.lake, self.workspace = shop, lake, workspace

    def hermes(self, *jobs: TableJob) -> Hermes:
        source = Source("shop", self.shop.connector, self.shop.options)
        return Hermes(self.lake, SyncPlan({"shop": source}, {j.table: j for j in jobs}, {}), self.workspace, self.workspace / ".skygraph")

    def sync(self, *jobs: TableJob, full: bool = False) -> SyncReport:
        return self.hermes(*jobs).sync(full=full)

    def ok(self, *jobs: TableJob, full: bool = False) -> tuple[int, int]:
        """Sync, which must not fail, and leaves current rows equal to the source's; rows inserted and deleted."""
        report = self.sync(*jobs, full=full)
        assert [run.error for run in report.runs] == [""] * len(jobs)
        compared = self.hermes(*jobs).compare()
        assert [t.table for t in compared.tables if not t.equal] == []
        return report.inserted, report.deleted

    def mark(self, job: TableJob) -> Watermark | None:
        return Ledger(self.lake).states()[job.table].watermark

    def opened(self) -> Connector:
        found = find_connector(self.shop.connector)
        return found(found.options_class(**self.shop.options), workspace=self.workspace, lake=self.lake)  # type: ignore[attr-defined]

    def rows(self, job: TableJob, columns: str = "*", order: str = "1") -> list[tuple[Any, ...]]:
        found = self.lake.query(f"select {columns} from {quote_table(job.raw)} order by {order}")
        return [tuple(row.values()) for row in found.to_pylist()]


@pytest.fixture
def bench(shop: Shop, lake: Lake, workspace: Path) -> Bench:
    return Bench(shop, lake, workspace)


def job(table: str = "orders", **changes: Any) -> TableJob:
    return TableJob(**{"table": table, "source": "shop", "from_": table, "key": ("id",), "watermark": "updated_at", **changes})


ORDERS = "create table orders (id integer primary key, note text, amount decimal(10,2), updated_at timestamp)"


def fill(shop: Shop, *rows: tuple[int, str | None, float | None, str | None]) -> None:
    for row in rows:
        shop.run("insert into orders values (?, ?, ?, ?)", row)


def at(text: str) -> Watermark:
    return Watermark(dt.datetime.fromisoformat(text))


@pytest.fixture
def orders(bench: Bench) -> Bench:
    bench.shop.run(ORDERS)
    fill(bench.shop, (1, "a", 1.5, "2024-01-01 10:00:00"), (2, "b", 2.5, "2024-01-02 10:00:00"), (3, None, None, "2024-01-02 10:00:00"))
    return bench


# --- describe


def test_describe_gives_names_types_and_what_can_be_null(bench: Bench) -> None:
    bench.shop.run(
        "create table t (id integer primary key, must text not null, may text, amount decimal(12, 3), at timestamp, day date, yes boolean)"
    )
    with_connector = bench.opened()
    described = with_connector.describe("t", key=["id"])
    with_connector.close()
    types = {c.name: c.type for c in described.columns}
    assert list(types) == ["id", "must", "may", "amount", "at", "day", "yes"]
    assert types.pop("id") in ("Int32", "Int64")
    assert types == {
        "must": "String", "may": "Nullable(String)", "amount": "Nullable(Decimal(12, 3))", "at": "Nullable(DateTime64(6, 'UTC'))",
        "day": "Nullable(Date32)", "yes": "Nullable(Bool)",
    }  # fmt: skip


def test_unknown_table_names_the_nearest(orders: Bench) -> None:
    connector = orders.opened()
    with pytest.raises(UnknownName, match="'oders'.*did you mean orders"):
        connector.describe("oders", key=["id"])
    connector.close()
    report = orders.sync(job("oders"))
    assert "did you mean orders" in report.runs[0].error


@BY_THE_ENGINE
def test_unknown_column_names_the_nearest(orders: Bench) -> None:
    for change, says in (
        ({"key": ("idd",)}, "unknown column of orders 'idd'; did you mean id"),
        ({"watermark": "update_at"}, "did you mean updated_at"),
        ({"columns": {"nots": "drop"}}, "did you mean note"),
        ({"deletes": "column:notte"}, "did you mean note"),
    ):
        assert says in orders.sync(job(**change)).runs[0].error


@BY_THE_ENGINE
def test_watermark_of_a_type_that_is_none_is_refused(orders: Bench) -> None:
    error = orders.sync(job(watermark="amount")).runs[0].error
    assert "orders.amount is Nullable(Decimal(10, 2)): a watermark is a time, a whole number or a text" in error


def test_the_engine_pulls_by_itself_where_it_can(orders: Bench) -> None:
    connector = orders.opened()
    table = connector.describe("orders", key=["id"])
    with connector.rows(table, ["id", "note"]) as select:
        assert orders.shop.pulls in select
        found = orders.lake.query(f"{select} order by id")
    connector.close()
    assert found.to_pylist() == [{"id": 1, "note": "a"}, {"id": 2, "note": "b"}, {"id": 3, "note": None}]
    assert [t for t in orders.lake.tables("skygraph") if t.startswith("_stage")] == []


def test_rows_since_a_mark_hold_at_least_those_at_it_past_it_or_without_one(orders: Bench) -> None:
    fill(orders.shop, (4, "no mark", 1, None))
    connector = orders.opened()
    table = connector.describe("orders", key=["id"])
    with connector.rows(table, ["id"], within=Span("updated_at", at("2024-01-02 10:00:00"), nulls=True)) as select:
        found = set(orders.lake.query(select)["id"].to_pylist())
    assert {2, 3, 4} <= found
    assert connector.high_mark(table, "updated_at") == at("2024-01-02 10:00:00")
    connector.close()


# --- sync and resume


def test_second_sync_inserts_only_what_changed(orders: Bench) -> None:
    assert orders.ok(job()) == (3, 0)
    assert orders.mark(job()) == at("2024-01-02 10:00:00")
    assert orders.ok(job()) == (0, 0)  # the boundary is read again, and not inserted again
    orders.shop.run("update orders set amount = 9, updated_at = '2024-01-03 00:00:00' where id = 1")
    fill(orders.shop, (4, "d", 4, "2024-01-03 00:00:00"))
    assert orders.ok(job()) == (2, 0)
    assert orders.mark(job()) == at("2024-01-03 00:00:00")
    assert orders.lake.history("raw.orders").num_rows == 5
    assert orders.ok(job()) == (0, 0)


def test_microseconds_of_a_mark_are_kept(orders: Bench) -> None:
    fill(orders.shop, (4, "d", 4, "2024-01-03 00:00:00.123456"))
    orders.ok(job())
    assert orders.mark(job()) == at("2024-01-03 00:00:00.123456")
    # later by less than a millisecond, and without a lookback
    fill(orders.shop, (5, "e", 5, "2024-01-03 00:00:00.123457"))
    assert orders.ok(job()) == (1, 0)


def test_tables_with_no_row_or_one(bench: Bench) -> None:
    tables = {"none": 0, "one": 1}
    for table, rows in tables.items():
        bench.shop.run(ORDERS.replace("orders", table))
        bench.shop.run(f"insert into {table} select 1, 'only', 1, '2024-01-01 00:00:00' where 1 <= {rows}")
    jobs = [job(table) for table in tables] + [job("compared", from_="one", watermark="")]
    assert bench.ok(*jobs) == (2, 0)
    assert bench.ok(*jobs) == (0, 0)
    for table in tables:
        bench.shop.run(f"insert into {table} values (2, 'next', 1, '2024-02-01 00:00:00')")
    assert bench.ok(*jobs) == (3, 0)
    for table in tables:
        bench.shop.run(f"delete from {table}")
    assert bench.ok(*jobs) == (0, 5)
    assert bench.ok(*jobs) == (0, 0)


def test_deleted_row_leaves_the_current_ones_and_its_key_can_come_back(orders: Bench) -> None:
    orders.ok(job())
    orders.shop.run("delete from orders where id in (1, 2)")
    assert orders.ok(job()) == (0, 2)
    assert orders.rows(job(), "id") == [(3,)]
    assert orders.ok(job()) == (0, 0)
    # 1 comes back as it was, with its old watermark within the lookback; 2 as another
    fill(orders.shop, (1, "a", 1.5, "2024-01-01 10:00:00"), (2, "other", 0, "2024-01-05 00:00:00"))
    back = job(lookback=7 * 86400.0)
    assert orders.ok(back) == (2, 0)
    assert orders.rows(job(), "id, note") == [(1, "a"), (2, "other"), (3, None)]


@BY_THE_ENGINE
def test_late_row_is_found_within_the_lookback(orders: Bench) -> None:
    orders.ok(job(lookback=3600.0))
    fill(orders.shop, (4, "late", 4, "2024-01-02 09:30:00"))
    assert orders.ok(job(lookback=3600.0)) == (1, 0)
    assert orders.mark(job()) == at("2024-01-02 10:00:00")
    # later than the lookback: a new key is noticed by the sweep, which reads all keys; without a sweep only by --full
    fill(orders.shop, (5, "too late", 5, "2024-01-02 08:30:00"))
    assert orders.ok(job(lookback=3600.0)) == (1, 0)
    orders.ok(job(lookback=3600.0, deletes="none"))  # a table that is to be read in another way is compared once
    fill(orders.shop, (6, "too late again", 6, "2024-01-02 08:30:00"))
    assert orders.sync(job(lookback=3600.0, deletes="none")).inserted == 0
    assert orders.ok(job(lookback=3600.0, deletes="none"), full=True) == (1, 0)


@BY_THE_ENGINE
def test_row_without_a_watermark_is_always_read(orders: Bench) -> None:
    fill(orders.shop, (4, "none", 4, None))
    orders.ok(job())
    fill(orders.shop, (5, "none either", 5, None))
    orders.shop.run("update orders set note = 'changed' where id = 4")
    assert orders.ok(job()) == (2, 0)
    assert orders.ok(job()) == (0, 0)


@BY_THE_ENGINE
def test_source_that_went_back_is_read_in_full(orders: Bench) -> None:
    orders.ok(job())
    orders.shop.run("update orders set note = 'restored', updated_at = '2023-06-01 00:00:00'")
    assert orders.ok(job()) == (3, 0)
    assert orders.mark(job()) == at("2023-06-01 00:00:00")


WATERMARKS: dict[str, tuple[str, list[Any], list[Any]]] = {
    "numbers": ("bigint", [9, 10], [11, 100]),
    "texts": ("text", ["a", "b"], ["c", "z"]),
    "by_code_point": ("text", ["B", "a"], ["b", "é"]),
    "days": ("date", ["2024-01-09", "2024-01-10"], ["2024-01-10", "2024-02-01"]),
}


def test_watermarks_of_other_types(bench: Bench) -> None:
    jobs = [job(table, watermark="seq") for table in WATERMARKS]
    for table, (declared, first, _) in WATERMARKS.items():
        bench.shop.run(f"create table {table} (id integer primary key, seq {declared})")
        for n, value in enumerate(first):
            bench.shop.run(f"insert into {table} values (?, ?)", (n, value))
    assert bench.ok(*jobs) == (8, 0)
    for table, (_, _, later) in WATERMARKS.items():
        for n, value in enumerate(later):
            bench.shop.run(f"insert into {table} values (?, ?)", (n + 10, value))
    runs = bench.sync(*jobs).runs
    assert {run.table: (run.mode, run.inserted) for run in runs} == {table: ("incremental", 2) for table in WATERMARKS}
    assert bench.ok(*jobs) == (0, 0)


NOT_MYSQL = pytest.mark.parametrize(
    "shop", ["sqlite", "sqlite through batches", "postgres", "postgres through this process"], indirect=True
)  # which has words of its own, smaller rows, and fewer letters for names


@NOT_MYSQL
def test_key_of_several_columns(bench: Bench) -> None:
    bench.shop.run(
        "create table lines (order_id2 integer, order_id text, n integer, updated_at timestamp, primary key (order_id2, order_id))"
    )
    for a, b in [(1, "x"), (1, "y"), (2, "x")]:
        bench.shop.run("insert into lines values (?, ?, 0, '2024-01-01 00:00:00')", (a, b))
    this = job("lines", key=("order_id2", "order_id"))
    assert bench.ok(this) == (3, 0)
    bench.shop.run("delete from lines where order_id2 = 1 and order_id = 'x'")
    assert bench.ok(this) == (0, 1)
    assert bench.rows(this, "order_id2, order_id", "1, 2") == [(1, "y"), (2, "x")]


@NOT_MYSQL
def test_table_of_300_columns_and_a_row_of_20_megabytes(bench: Bench) -> None:
    columns = ", ".join(f"c{n} {('integer', 'text', 'decimal(12, 3)')[n % 3]}" for n in range(300))
    bench.shop.run(f"create table wide (id integer primary key, {columns})")
    for key in (1, 2):
        bench.shop.run(f"insert into wide (id, c0, c1, c299) values ({key}, 5, 'x', 7)")
    bench.shop.run("create table heavy (id integer primary key, body text, updated_at timestamp)")
    bench.shop.run("insert into heavy values (1, ?, '2024-01-01 00:00:00'), (2, 'light', '2024-01-01 00:00:00')", ("é" * 10_000_000,))
    jobs = [job("wide", watermark=""), job("heavy")]
    assert bench.ok(*jobs) == (4, 0)
    assert bench.rows(jobs[1], "id, length(body)") == [(1, 20_000_000), (2, 5)]
    bench.shop.run("update heavy set body = body || 'x', updated_at = '2024-01-02 00:00:00'")
    bench.shop.run("update wide set c298 = 1 where id = 2")
    assert bench.ok(*jobs) == (3, 0)


NAMES = [
    "select", "source", "it's two `words`, Grüße 🦆? 100% $1 {x:String} --", 'do"uble', "back\\slash", "new\nline", "a.b",
]  # fmt: skip


@NOT_MYSQL
def test_any_name_of_a_table_and_its_columns(bench: Bench) -> None:
    def sql_name(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    jobs = []
    for n, name in enumerate(NAMES):
        bench.shop.run(f"create table {sql_name(name)} ({sql_name(name)} integer primary key, {sql_name(name + ' 2')} timestamp)")
        bench.shop.run(f"insert into {sql_name(name)} values (1, '2024-01-01 00:00:00')")
        jobs.append(job(f"t{n}", from_=name, key=(name,), watermark=f"{name} 2"))
    assert {run.error for run in bench.sync(*jobs).runs} == {""}
    for this in jobs:
        bench.shop.run(f"insert into {sql_name(this.from_)} values (2, '2024-01-02 00:00:00')")
    assert bench.ok(*jobs) == (len(jobs), 0)
    for this in jobs:
        assert bench.rows(this, quote(this.from_), quote(this.from_)) == [(1,), (2,)]


OURS = ["b", "x", "f", "rows", "sum", "late", "r", "s", "source", "here", "stale", "c0", "c1", "v0", "count()", "key", "name"]


@BY_THE_ENGINE
def test_columns_called_as_our_statements_call_things(bench: Bench) -> None:
    others = ", ".join(f'"{name}" integer' for name in OURS)
    bench.shop.run(f"create table t (id integer primary key, {others}, mark timestamp)")
    names = ", ".join(f'"{name}"' for name in OURS)
    for key in range(1, 4):
        values = ", ".join(str(key * 100 + n) for n in range(len(OURS)))
        bench.shop.run(f"insert into t (id, {names}, mark) values ({key}, {values}, '2024-01-0{key} 00:00:00')")
    jobs = [
        job("t", watermark="mark"),
        job("by_b", from_="t", key=("b",), watermark="mark"),
        job("whole", from_="t", key=("x", "rows"), watermark=""),
    ]
    assert bench.ok(*jobs) == (9, 0)
    assert bench.rows(jobs[0], ", ".join(map(quote, OURS)), "id")[2] == tuple(300 + n for n in range(len(OURS)))
    bench.shop.run("delete from t where id = 1")
    bench.shop.run("update t set \"sum\" = 0, mark = '2024-01-05 00:00:00' where id = 2")
    assert bench.ok(*jobs) == (3, 3)
    assert len(bench.hermes(*jobs).lookback().tables) == 2
    narrow = job("narrow", from_="t", watermark="mark", columns={"v0": "UInt8"})  # neither of 213 and 313 is told from another column
    assert bench.sync(narrow).quarantined == 1
    assert bench.rows(narrow, "v0, c0") == [(213, 211)]


# --- types by value

VALUES: list[tuple[str, str, Any, Any]] = [
    ("bigint", "bigint", -(2**63), -(2**63)),
    ("bigint, highest", "bigint", 2**63 - 1, 2**63 - 1),
    ("decimal", "decimal(10,2)", Decimal("12345678.90"), Decimal("12345678.90")),
    ("decimal, negative", "decimal(10,2)", Decimal("-0.01"), Decimal("-0.01")),
    ("double", "double precision", 0.1, 0.1),
    ("double, large", "double precision", 1e300, 1e300),
    ("text", "text", 'it\'s \\ "é" 🦆\n\t\r', 'it\'s \\ "é" 🦆\n\t\r'),
    ("text, empty", "text", "", ""),
    ("text, looks null", "text", "\\N", "\\N"),
    ("varchar", "varchar(20)", "  kept  ", "  kept  "),
    ("timestamp", "timestamp", "2024-02-29 23:59:59.123456", dt.datetime(2024, 2, 29, 23, 59, 59, 123456, UTC)),
    ("timestamp, long ago", "timestamp", "1950-01-01 00:00:00", dt.datetime(1950, 1, 1, tzinfo=UTC)),
    ("timestamp, far off", "timestamp", "2200-12-31 00:00:00", dt.datetime(2200, 12, 31, tzinfo=UTC)),
    ("date", "date", "1969-07-20", dt.date(1969, 7, 20)),
    ("date, far off", "date", "2199-12-31", dt.date(2199, 12, 31)),
    ("boolean", "boolean", True, True),
    ("boolean, no", "boolean", False, False),
]


def test_values_arrive_as_they_are(bench: Bench) -> None:
    names = [f"v{n}" for n in range(len(VALUES))]
    bench.shop.run(f"create table t (id integer primary key, {', '.join(f'{n} {v[1]}' for n, v in zip(names, VALUES, strict=True))})")
    sqlite_shop = bench.shop.connector == "sqlite"
    written = [float(v[2]) if sqlite_shop and isinstance(v[2], Decimal) else v[2] for v in VALUES]
    marks = ", ".join("?" * len(VALUES))
    bench.shop.run(f"insert into t values (1, {marks})", written)
    bench.shop.run(f"insert into t values (2, {marks})", [None] * len(VALUES))
    this = job("t", watermark="")
    assert bench.ok(this) == (2, 0)
    first, second = bench.rows(this, ", ".join(names), "id")
    assert dict(zip([v[0] for v in VALUES], first, strict=True)) == {v[0]: v[3] for v in VALUES}
    assert set(second) == {None}
    assert bench.ok(this) == (0, 0)


# --- crashes, between any two steps


class PowerCut(BaseException):
    """Ends a run at a step, as a kill would: nothing after it is done."""


def crash_at(step: str) -> Callable[[str], None]:
    def reached(name: str) -> None:
        if name == step:
            raise PowerCut(name)

    return reached


def test_crash_at_any_step_loses_nothing_and_the_mark_never_runs_ahead(orders: Bench) -> None:
    orders.ok(job())
    for n, step in enumerate(STEPS):
        before = orders.mark(job())
        orders.shop.run(f"update orders set note = 'x{n}', updated_at = '2024-02-{n + 3:02} 00:00:00' where id = 1")
        orders.shop.run(f"delete from orders where id = {n + 9}")
        fill(orders.shop, (n + 10, "new", 4, f"2024-02-{n + 3:02} 12:00:00"))
        hermes = orders.hermes(job())
        hermes.reached = crash_at(step)
        with pytest.raises(PowerCut, match=step):
            hermes.sync()
        assert (orders.mark(job()) == before) is (step != "mark moved")
        orders.ok(job())
        assert orders.mark(job()) == at(f"2024-02-{n + 3:02} 12:00:00")
    assert orders.rows(job(), "id, note") == [(1, f"x{n}"), (2, "b"), (3, None), (n + 10, "new")]
    assert [t for t in orders.lake.tables("skygraph") if t.startswith("_stage")] == []


@BY_THE_ENGINE
def test_crash_after_a_new_column_was_added_still_fills_it(orders: Bench) -> None:
    orders.ok(job())
    orders.shop.run("alter table orders add column extra text default 'full'")
    hermes = orders.hermes(job())
    hermes.reached = crash_at("table made")
    with pytest.raises(PowerCut):
        hermes.sync()
    orders.ok(job())
    assert orders.rows(job(), "extra", "id") == [("full",)] * 3


@BY_THE_ENGINE
def test_table_that_was_dropped_is_made_anew_with_all_its_rows(orders: Bench) -> None:
    orders.ok(job())
    orders.lake.command("drop table raw.orders sync")
    assert orders.ok(job()) == (3, 0)


# --- tables that change


def test_new_column_is_added_and_filled_for_all_rows(orders: Bench) -> None:
    orders.ok(job())
    orders.shop.run("alter table orders add column extra text default 'full'")
    orders.shop.run("alter table orders add column later text")
    assert orders.ok(job()) == (3, 0)
    assert list(orders.lake.columns("raw.orders"))[:6] == ["id", "note", "amount", "updated_at", "extra", "later"]
    assert orders.rows(job(), "extra, later", "id") == [("full", None)] * 3
    assert orders.ok(job()) == (0, 0)


@BY_THE_ENGINE
def test_changed_type_stops_that_table_and_says_what_to_do(orders: Bench) -> None:
    orders.ok(job())
    orders.shop.run("drop table orders")
    orders.shop.run("create table orders (id integer primary key, note bigint, amount decimal(10,2), updated_at timestamp)")
    error = orders.sync(job()).runs[0].error
    assert "raw.orders.note is Nullable(String), at the source it is now Nullable(Int64)" in error
    assert "drop table raw.orders" in error
    assert orders.lake.current("raw.orders").num_rows == 3


@BY_THE_ENGINE
def test_changed_key_stops_that_table_and_says_what_to_do(orders: Bench) -> None:
    orders.ok(job())
    error = orders.sync(job(key=("id", "note"))).runs[0].error
    assert "has the key id, sync_jobs says id, note" in error
    assert "drop table raw.orders" in error


@BY_THE_ENGINE
def test_another_watermark_column_or_table_does_not_use_the_old_mark(orders: Bench) -> None:
    orders.shop.run("alter table orders add column created_at timestamp default null")
    orders.shop.run("update orders set created_at = '2020-01-01 00:00:00'")
    orders.ok(job())
    # a change that the mark of updated_at would hide from created_at
    orders.shop.run("update orders set note = 'changed', created_at = '2020-01-02 00:00:00' where id = 1")
    assert orders.ok(job(watermark="created_at")) == (1, 0)
    orders.shop.run(f"{ORDERS.replace('orders', 'older')[:-1]}, created_at timestamp)")
    orders.shop.run("insert into older select * from orders")
    orders.shop.run("update older set note = 'of older', created_at = '2019-01-01 00:00:00'")
    assert orders.ok(job(watermark="created_at", from_="older")) == (3, 0)


def test_dropped_and_cast_columns(orders: Bench) -> None:
    this = job(columns={"note": "drop", "amount": "Nullable(String)"})
    orders.ok(this)
    assert list(orders.lake.columns("raw.orders"))[:3] == ["id", "amount", "updated_at"]
    assert orders.lake.columns("raw.orders")["amount"] == "Nullable(String)"
    assert [r[0] if r[0] is None else Decimal(r[0]) for r in orders.rows(this, "amount", "id")] == [Decimal("1.5"), Decimal("2.5"), None]


def test_columns_cast_to_types_of_the_lake(orders: Bench) -> None:
    given = {"id": "UInt8", "note": "LowCardinality(Nullable(String))", "amount": "Nullable(Float32)"}
    cut = {"updated_at": "Nullable(Date32)"}
    assert "would cut it" in orders.sync(job(columns=cut)).runs[0].error
    this = job(columns=given)
    assert orders.ok(this) == (3, 0)
    assert {c: t for c, t in orders.lake.columns("raw.orders").items() if c in given} == given
    assert orders.rows(this, "id, note, amount") == [(1, "a", 1.5), (2, "b", 2.5), (3, None, None)]
    assert orders.ok(this) == (0, 0)


def test_row_that_does_not_fit_goes_to_the_quarantine_and_lands_when_it_can(orders: Bench) -> None:
    fill(orders.shop, (300, "too high", 1, None))
    this = job(columns={"id": "UInt8"})
    for _ in range(2):  # it stays one row there, and is counted in every report
        report = orders.sync(this, full=True)
        assert (report.runs[0].error, report.runs[0].rows_read, report.quarantined) == ("", 4, 1)
        assert orders.rows(this, "id") == [(1,), (2,), (3,)]
        (kept,) = orders.hermes(this).quarantine().rows
        assert kept["key"]["id"].startswith("300")
        assert kept["reason"].startswith("id is not UInt8: 300")
        assert kept["row"]["note"] == "too high"
    (compared,) = orders.hermes(this).compare().tables
    assert (compared.equal, compared.source_rows, compared.quarantined) == (True, 3, 1)
    # given a type that holds it, it lands by a replay
    orders.lake.command("drop table raw.orders sync")
    wide = job(columns={"id": "UInt16"}, deletes="none")
    (run,) = orders.hermes(wide).replay().runs
    assert (run.mode, run.error, run.inserted) == ("replay", "", 1)
    assert orders.rows(wide, "id, note") == [(300, "too high")]
    assert orders.hermes(wide).quarantine().rows == ()


# --- deletes


@BY_THE_ENGINE
def test_soft_deleted_rows_leave_by_their_flag(bench: Bench) -> None:
    bench.shop.run("create table orders (id integer primary key, gone integer, updated_at timestamp)")
    bench.shop.run(
        "insert into orders values (1, 0, '2024-01-01 00:00:00'), (2, null, '2024-01-01 00:00:00'), (3, 1, '2024-01-01 00:00:00')"
    )
    this = job(deletes="column:gone")
    assert bench.ok(this) == (2, 0)  # 3 was gone before it was seen
    bench.shop.run("update orders set gone = 1, updated_at = '2024-01-02 00:00:00' where id = 1")
    bench.ok(this)
    assert bench.rows(this, "id") == [(2,)]
    assert bench.ok(this) == (0, 0)
    bench.shop.run("update orders set gone = 0, updated_at = '2024-01-03 00:00:00' where id = 1")
    bench.ok(this)
    assert bench.rows(this, "id") == [(1,), (2,)]
    # a row that is really gone is not looked for
    bench.shop.run("delete from orders where id = 2")
    assert bench.sync(this).deleted == 0


@BY_THE_ENGINE
def test_deletes_none_keeps_what_is_gone(orders: Bench) -> None:
    orders.ok(job(deletes="none"))
    orders.shop.run("delete from orders where id = 1")
    report = orders.sync(job(deletes="none"))
    assert (report.failed, report.inserted, report.deleted) == (False, 0, 0)
    assert orders.rows(job(), "id") == [(1,), (2,), (3,)]


# --- every connector


def test_every_connector_module_has_options_and_the_contract() -> None:
    assert {"sqlite", "postgres"} <= set(connector_names())
    for name in connector_names():
        connector = find_connector(name)
        assert connector.options_class.__doc__
        for method in ("describe", "high_mark", "rows", "close"):
            assert callable(getattr(connector, method))


def test_unknown_connector_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown connector 'sqllite'; did you mean sqlite"):
        find_connector("sqllite")


def test_ledger_keeps_one_state_per_table(lake: Lake) -> None:
    ledger = Ledger(lake)
    ledger.prepare()
    for n in (1, 2, 3):
        ledger.move_mark(TableState("t", "shop", Watermark(n), f"run {n}", dt.datetime(2024, 1, n, tzinfo=UTC), n))
    assert ledger.states()["t"].watermark == Watermark(3)
    assert lake.query("select count() as n from skygraph.sync_state")["n"].to_pylist() == [1]
