"""`Lake`: current rows and history, parameters, errors in our words, interrupts."""

from __future__ import annotations

import contextvars
import dataclasses
import datetime as dt
import http.server
import inspect
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from clickhouse_connect.driver import exceptions as driver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench import Workbench
from workbench.errors import ExitCode, LakeError, LakeUnavailable, QueryError, UnknownName, UsageError
from workbench.lake import HISTORY_COMMENT, Lake, reads_within
from workbench.lake.sql import Column, create_replacing, current, quote, quote_table, quote_text, row_hash
from workbench.settings import Settings

ON_ONE_LAKE = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.fixture
def versions(lake: Lake) -> Lake:
    """raw.t with unmerged parts: 1 changed, 2 deleted, 3 deleted and back, 4 as it was, 5 older row written later."""
    lake.create_database("raw")
    columns = [Column("id", "UInt32"), Column("v", "String"), Column("_version", "UInt64"), Column("_deleted", "UInt8")]
    lake.command(create_replacing("raw.t", columns, key=["id"], version="_version", deleted="_deleted"))
    lake.command("system stop merges raw.t")
    for rows in (
        "(1, 'old', 1, 0), (2, 'gone', 1, 0), (3, 'first', 1, 0), (4, 'same', 1, 0), (5, 'new', 5, 0)",
        "(1, 'new', 2, 0), (2, 'gone', 2, 1), (3, 'first', 2, 1), (5, 'late', 3, 0)",
        "(3, 'back', 3, 0)",
    ):
        lake.command(f"insert into raw.t values {rows}")
    lake.command("create view raw.v as select id, v from raw.t")
    lake.command("create view raw.vv as select id, v from raw.v where v != 'none'")
    return lake


CURRENT = [(1, "new"), (3, "back"), (4, "same"), (5, "new")]


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("select id, v from raw.t order by id", id="plain"),
        pytest.param("select id, v from raw.v order by id", id="view"),
        pytest.param("select id, v from raw.vv order by id", id="view over a view"),
        pytest.param("select id, v from (select * from (select id, v from raw.t)) order by id", id="subqueries"),
        pytest.param("with c as (select id, v from raw.t) select * from c order by id", id="common table"),
        pytest.param("select a.id as id, b.v as v from raw.t a join raw.t b on a.id = b.id order by id", id="join with itself"),
        pytest.param("select n.number as id, t.v as v from numbers(9) n join raw.v t on t.id = n.number order by id", id="join a view"),
        pytest.param("select id, v from raw.t where id in (select id from raw.v) order by id", id="in a subquery"),
        pytest.param("select id, v from raw.t where v in ('new', 'back', 'same') order by id", id="where on a changing column"),
        pytest.param("select id, v from raw.t where v not in ('old', 'first', 'late') order by id", id="where not"),
        pytest.param("select * from (select id, v from raw.t where id < 3 "
                     "union all select id, v from raw.t where id >= 3) order by id", id="union"),
        pytest.param("select id, v from raw.t where (select count() from raw.t) = 4 order by id", id="scalar subquery"),
        pytest.param("select id, max(v) over (partition by id) as v from raw.t order by id", id="window"),
        pytest.param("select id, any(v) as v from raw.t group by id order by id", id="group"),
        pytest.param("select distinct id, v from raw.t order by id limit 100", id="distinct"),
        pytest.param("select id, v from merge('raw', '^t$') order by id", id="merge"),
    ],
)  # fmt: skip
def test_query_reads_current_rows_whatever_it_looks_like(versions: Lake, sql: str) -> None:
    found = versions.query(sql)
    assert list(zip(found["id"].to_pylist(), found["v"].to_pylist(), strict=True)) == CURRENT


def test_insert_from_a_select_and_create_from_a_select_take_current_rows(versions: Lake) -> None:
    versions.command("create table raw.copy engine = MergeTree order by id as select id, v from raw.t")
    assert versions.scalar("select count() from raw.copy") == 4
    assert versions.command("insert into raw.copy select id, v from raw.v") == 4
    assert versions.scalar("select count() from raw.copy where v in ('old', 'gone', 'late', 'first')") == 0


def test_current_gives_the_newest_version_of_each_key_in_key_order(versions: Lake) -> None:
    found = versions.current("raw.t")
    assert list(zip(found["id"].to_pylist(), found["v"].to_pylist(), strict=True)) == CURRENT
    assert versions.current("raw.t", where="id > {n:UInt8}", parameters={"n": 3}, limit=1)["id"].to_pylist() == [4]
    none = versions.current("raw.t", where="id > 100")
    assert (none.num_rows, none.schema.names) == (0, ["id", "v", "_version", "_deleted"])
    assert versions.query(f"select count() as n from {current('raw.t')}")["n"].to_pylist() == [4]


def test_history_gives_every_version_and_says_so_in_the_query_log(versions: Lake) -> None:
    found = versions.history("raw.t")
    assert found.num_rows == 10
    assert sorted(zip(found["id"].to_pylist(), found["_version"].to_pylist(), found["_deleted"].to_pylist(), strict=True)) == [
        (1, 1, 0), (1, 2, 0), (2, 1, 0), (2, 2, 1), (3, 1, 0), (3, 2, 1), (3, 3, 0), (4, 1, 0), (5, 3, 0), (5, 5, 0),
    ]  # fmt: skip
    assert versions.history("raw.t", where="id = 3").num_rows == 3
    assert versions.query_history("select count() as n from raw.v")["n"].to_pylist() == [10]
    versions.command("system flush logs")
    mine = "where type = 'QueryFinish' and has(tables, 'raw.t') and query_kind = 'Select' and event_time > now() - 60"
    logged = versions.query(f"select log_comment, Settings['final'] as final from system.query_log {mine}")
    assert {tuple(r.values()) for r in logged.to_pylist()} == {(HISTORY_COMMENT, ""), ("", "1")}


def test_key_gives_the_sorting_key_in_its_own_order(lake: Lake) -> None:
    lake.create_database("raw")
    for table, key in {"a": ["id"], "b": ["order_id2", "order_id"], "c": ["z", "a`b", "it's, x", "a"], "d": ["b\\", "b"]}.items():
        columns = [Column(c, "UInt8") for c in sorted(key)] + [Column("_version", "UInt64")]
        lake.command(create_replacing(f"raw.{table}", columns, key=key, version="_version"))
        assert lake.key(f"raw.{table}") == key
    lake.command("create view raw.v as select 1")
    assert lake.key("raw.v") == []


def test_unknown_table_names_the_nearest(versions: Lake) -> None:
    versions.command("create table raw.invoices (n UInt8) engine = MergeTree order by n")
    with pytest.raises(UnknownName, match="unknown table 'raw.invoces'; did you mean raw.invoices") as caught:
        versions.current("raw.invoces")
    assert caught.value.exit_code == ExitCode.USAGE
    with pytest.raises(UnknownName, match="raw.invoces"):
        versions.history("raw.invoces")
    assert versions.columns("raw.invoces") == {}
    assert versions.tables("nowhere") == []


def test_unknown_table_of_an_empty_lake_says_to_sync(lake: Lake) -> None:
    with pytest.raises(UnknownName, match="skygraph sync"):
        lake.current("raw.invoices")


def test_columns_and_tables_are_those_of_the_lake(versions: Lake) -> None:
    assert versions.columns("raw.t") == {"id": "UInt32", "v": "String", "_version": "UInt64", "_deleted": "UInt8"}
    assert versions.tables("raw") == ["t", "v", "vv"]


# --- PREWHERE


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("select * from raw.t prewhere v = 'old'", id="plain"),
        pytest.param("SELECT * FROM raw.t PREWHERE v = 'old'", id="capitals"),
        pytest.param("select * from raw.t/**/pReWhErE v = 'old'", id="after a comment"),
        pytest.param("select * from (select * from raw.t\nprewhere\nv = 'old')", id="in a subquery"),
        pytest.param("select 'it''s' from raw.t prewhere v = 'old'", id="after a doubled quote"),
        pytest.param("select 'it\\'s' from raw.t prewhere v = 'old'", id="after an escaped quote"),
        pytest.param("select /* ' */ 1 from raw.t prewhere v = 'old' -- '", id="between quotes in comments"),
        pytest.param("select $a$ ' $a$ from raw.t prewhere v != ''", id="after a heredoc with a quote"),
    ],
)  # fmt: skip
def test_prewhere_is_refused(versions: Lake, sql: str) -> None:
    with pytest.raises(UsageError, match="PREWHERE.*WHERE"):
        versions.query(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1 settings final = 0",
        "select 1 SETTINGS max_threads = 1, Final=0",
        "select count() from (select 1 settings final=0)",
        "select 1 settings `final`=0",
        'select 1 settings max_threads=1, "final" = 0',
        "select 1 settings /**/ final=0",
        "select 1 settings --x\n final=0",
        "select 1 settings max_threads=1 /* c */, final=0",
        "select 1 settings log_comment='x, y', final=0",
    ],
)
def test_a_statement_that_sets_final_by_itself_is_refused(lake: Lake, sql: str) -> None:
    with pytest.raises(UsageError, match="sets `final` by itself.*--raw"):
        lake.query(sql)


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("use_skip_indexes_if_final_exact_mode = 0", 3),
        ("do_not_merge_across_partitions_select_final = 1", 3),
        ("defer_partition_pruning_after_final = 0", 3),
        ("additional_table_filters = {'a': 'b', 'c': 'd'}, final = 0", 3),
    ],
)
def test_a_setting_that_lets_older_versions_answer_is_refused_in_statements_and_in_views(
    lake: Lake, settings: Settings, setting: str, wrong: int
) -> None:
    lake.create_database("raw")
    lake.command(
        "create table raw.moved (id Int64, place UInt8, state String, _version UInt64, index s state type set(9) granularity 1) "
        "engine = ReplacingMergeTree(_version) order by id partition by place settings index_granularity = 1"
    )
    lake.command("system stop merges raw.moved")
    lake.command("insert into raw.moved values (1, 0, 'old', 1), (2, 0, 'old', 1), (3, 0, 'old', 1)")
    lake.command("insert into raw.moved values (1, 1, 'new', 2), (2, 1, 'new', 2)")
    ask = "select count() from raw.moved where state = 'old' and place = 0"
    assert lake.scalar(ask) == 1
    name = setting.rpartition("=")[0].split(",")[-1].split("}")[-1].strip(" ,")
    with pytest.raises(UsageError, match=f"(?i)sets `{name}` by itself"):
        lake.query(f"{ask} settings {setting}")
    # that it is wrong, by the engine itself
    assert lake._arrow(f"{ask} settings {setting}", None, {"final": 1}).column(0)[0].as_py() == wrong
    lake.command(f"create view raw.old as {ask} settings {setting}")
    lake.command("create view raw.told as select * from raw.keyed where id * {x:UInt64} > rand64()")
    lake.command("create view raw.over as select * from raw.old")
    bench = Workbench(settings)
    for statement in (
        "select * from raw.old",
        "with o as (select * from raw.over) select * from o",
        "select * apply toString from raw.old",
    ):
        with pytest.raises(UsageError, match=f"(?i)the view raw.old sets `{name}` by itself"):
            bench.sql(statement)
    assert len(bench.sql("select * from raw.old", raw=True)) == 1
    assert len(bench.sql("select 'raw.old' as x")) == 1
    bench.close()


def test_a_view_with_a_prewhere_is_refused(lake: Lake, versions: Lake, settings: Settings) -> None:
    lake.command("create view raw.pre as select * from raw.t prewhere v = 'old'")
    lake.command("create view raw.told as select * from raw.t prewhere v = {v:String}")
    bench = Workbench(settings)
    for name, statement in (
        ("pre", "select count() from raw.pre"),
        ("told", "select count() from raw.told(v = 'old')"),
        ("pre", "select count() from raw.t where (id, v) in (raw.pre)"),
    ):
        with pytest.raises(UsageError, match=rf"the view raw\.{name} has a PREWHERE"):
            bench.sql(statement)
    bench.close()


def test_conditions_on_a_key_are_asked_first_unless_something_may_differ_from_row_to_row(lake: Lake, settings: Settings) -> None:
    lake.create_database("raw")
    lake.command(
        "create table raw.keyed (id Int64, state String, any UInt64 alias rand64(), _version UInt64, _deleted UInt8) "
        "engine = ReplacingMergeTree(_version, _deleted) order by id"
    )
    lake.command("system stop merges raw.keyed")
    for version in range(1, 5):  # the newest versions are all there is: whoever looks at rows first finds older ones by chance
        lake.command(f"insert into raw.keyed select number, 'v{version}', {version}, 0 from numbers(1000)")
    bench = Workbench(settings)
    first = {"optimize_move_to_prewhere_if_final": 1}
    assert bench.sql("select state from raw.keyed where id = 7").how == {}  # a column is an expression: it may be any
    lake.command("alter table raw.keyed drop column any")
    for statement in ("select state from raw.keyed where id = 7", "select id, state from raw.keyed where id < 3 and state > now()::String"):
        assert bench.sql(statement).how == first
    assert bench.sql("select state from raw.keyed where id = 7").to_dict() == [{"state": "v4"}]
    by_chance = "select count() from raw.keyed where id * 18446744073709551 > rand64() and state != 'v4'"
    # that it would be wrong, by the engine itself
    assert lake.query(by_chance, settings=first).column(0)[0].as_py() > 0
    lake.command("create view raw.chance as select * from raw.keyed where id * 18446744073709551 > rand64()")
    lake.command("create view raw.told as select * from raw.keyed where id * {x:UInt64} > rand64()")
    lake.command("create view raw.over as select * from raw.chance")
    lake.command("create table raw.far as raw.keyed engine = Merge('raw', '^keyed$')")  # it may be one over views
    lake.command("create function if not exists by_chance as (x) -> x * 18446744073709551 > rand64()")
    try:
        for statement in (
            by_chance,
            "select count() from raw.chance where state != 'v4'",
            "with c as (select * from raw.chance) select count() from c where state != 'v4'",
            "select count() from (select * apply toString from raw.over) where `toString(state)` != 'v4'",
            "select count() from raw.told(x = 18446744073709551) where state != 'v4'",
            "select count() from raw.far where id * 18446744073709551 >= 0 and state != 'v4'",
            "select count() from raw.keyed where by_chance(id) and state != 'v4'",
            "select count() from raw.keyed where by_chance /* so -- so */ (id) and state != 'v4'",
            "select count() from raw.keyed where `by_chance`(id) and state != 'v4'",
        ):
            asked = bench.sql(statement)
            assert asked.how == {}
            assert asked.to_arrow().column(0).to_pylist() == [0]
        assert bench.sql("select * from raw.{v:Identifier}", parameters={"v": "chance"}).how == {}
        assert bench.sql("select state from raw.keyed where id = 7").how == first  # the view is none of its business
    finally:
        lake.command("drop function by_chance")
    bench.close()


@pytest.mark.parametrize("sql", ["kill query where 1", "/* x */ KILL query where 1", "set final = 0", "system stop merges", "use raw"])
def test_what_is_no_reading_is_refused_by_its_word(lake: Lake, sql: str) -> None:
    for read in (lake.query, lake.query_history):
        with pytest.raises(UsageError, match=r"^(KILL|SET|SYSTEM|USE) is no statement to read with.*reads cannot write"):
            read(sql)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select 1; select 2", "Multi-statements are not allowed"),
        ("select 1; drop table raw.t", "Multi-statements are not allowed"),
        ("select from where", "at the end of the statement"),
        ("select 1 format JSON", "has a FORMAT of its own"),
        ("selct 1", "Syntax error"),
        ("drop table raw.t", "reads cannot write"),
        ("create table raw.x (a Int8) engine = Memory", "reads cannot write"),
        ("insert into raw.t select * from raw.t", "reads cannot write"),
        ("with a as (select 1) insert into raw.t select * from raw.t", "reads cannot write"),
        ("alter table raw.t delete where 1", "reads cannot write"),
        ("truncate table raw.t", "reads cannot write"),
        ("optimize table raw.t final", "reads cannot write"),
    ],
)
def test_what_is_not_one_select_is_refused_with_what_to_do(versions: Lake, sql: str, says: str) -> None:
    before = versions.query_history("select count() from raw.t").to_pylist()
    for read in (versions.query, versions.query_history):
        with pytest.raises(QueryError, match=says):
            read(sql)
    assert versions.query_history("select count() from raw.t").to_pylist() == before


def test_a_column_named_final_is_just_a_column(lake: Lake) -> None:
    assert lake.query("select 1 as final where final = 1 settings max_threads = 1").num_rows == 1


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("select 'prewhere' as x", id="a text"),
        pytest.param('select 1 as "prewhere"', id="a name"),
        pytest.param("select 1 as `prewhere`", id="a quoted name"),
        pytest.param("select 1 as x -- prewhere", id="a comment"),
        pytest.param("select 1 /* prewhere */ as x", id="a long comment"),
        pytest.param("select 1 as prewhere_me", id="a part of a name"),
        pytest.param("select $$ prewhere $$ as x", id="a heredoc"),
    ],
)
def test_the_word_prewhere_elsewhere_is_no_prewhere(lake: Lake, sql: str) -> None:
    assert lake.query(sql).num_rows == 1


# --- quoting


@ON_ONE_LAKE
@given(
    columns=st.lists(names, min_size=1, max_size=6, unique=True), table=names, values=st.lists(texts, min_size=1, max_size=4, unique=True)
)
def test_any_text_can_be_the_name_of_a_table_or_column(lake: Lake, columns: list[str], table: str, values: list[str]) -> None:
    lake.command("drop database if exists q sync")
    lake.create_database("q")
    name = f"q.{table}"
    spec = [Column(c, "String") for c in columns]
    lake.command(create_replacing(name, [*spec, Column("\tversion", "UInt64")], key=columns[:2], version="\tversion"))
    rows = pa.table({**{c: values for c in columns}, "\tversion": pa.array([1] * len(values), pa.uint64())})
    assert lake.insert(name, rows) == len(values)
    assert lake.tables("q") == [table]
    assert list(lake.columns(name)) == [*columns, "\tversion"]
    assert lake.key(name) == columns[:2]
    back = lake.current(name)
    assert back.schema.names == [*columns, "\tversion"]
    for column in columns:
        assert sorted(back[column].to_pylist()) == sorted(values)
    assert lake.scalar(f"select count(distinct {row_hash(columns)}) from {quote_table(name)}") == len(values)
    # the same names, once more, through plain SQL
    assert lake.query(f"select {quote(columns[0])} as {quote(table)} from {current(name)}").schema.names == [table]


@ON_ONE_LAKE
@given(text=texts)
def test_any_text_stays_a_value(lake: Lake, text: str) -> None:
    assert lake.scalar("select {x:String}", {"x": text}) == text
    assert lake.scalar(f"select {quote_text(text)}") == text
    assert lake.scalar("select length({x:String})", {"x": text}) == len(text.encode())
    assert lake.scalar("select {xs:Array(String)}", {"xs": [text, text]}) == [text, text]


@pytest.mark.parametrize(
    "text",
    ["'; drop table raw.t; --", "' or '1' = '1", "\\", "\\'", "{y:String}", "%s", "\\N", "NULL", "\t\n\r\b\0", "é\u202e🦆", "`", "${x}"],
    ids=repr,
)
def test_hostile_text_stays_a_value(versions: Lake, text: str) -> None:
    assert versions.scalar("select {x:String}", {"x": text}) == text
    assert versions.scalar(f"select {quote_text(text)}") == text
    assert versions.current("raw.t", where="v = {x:String}", parameters={"x": text}).num_rows == 0
    assert versions.history("raw.t").num_rows == 10


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        quote(name)


def test_times_come_back_as_aware_utc(lake: Lake) -> None:
    at = dt.datetime(2012, 1, 2, 9, 12, 31, 204000, tzinfo=dt.timezone.utc)
    assert lake.scalar("select {t:DateTime64(3, 'UTC')}", {"t": at}) == at
    assert lake.scalar("select toDateTime64('2012-01-02 09:12:31.204', 3)") == at


def test_inserted_rows_are_read_back_by_column_name(lake: Lake) -> None:
    lake.create_database("d")
    lake.command("create table d.t (a Nullable(Int64), b String, c Nullable(Decimal(10, 2))) engine = MergeTree order by b")
    from decimal import Decimal

    rows = pa.table({"c": pa.array([Decimal("1.10"), None], pa.decimal128(10, 2)), "b": ["x", "\0"], "a": pa.array([None, -1], pa.int64())})
    assert lake.insert("d.t", rows) == 2
    assert lake.insert("d.t", rows.slice(0, 0)) == 0
    assert lake.current("d.t").to_pylist() == [
        {"a": -1, "b": "\0", "c": None},
        {"a": None, "b": "x", "c": Decimal("1.10")},
    ]


# --- errors


def driver_errors() -> list[type[Exception]]:
    return [c for _, c in inspect.getmembers(driver, inspect.isclass) if issubclass(c, Exception) and c.__module__ == driver.__name__]


@pytest.mark.parametrize("error", driver_errors(), ids=lambda c: c.__name__)
def test_every_error_of_the_driver_comes_as_one_of_ours(lake: Lake, error: type[Exception]) -> None:
    def fail(client: object) -> None:
        raise error() if error is driver.StreamClosedError else error("said the driver")

    with pytest.raises(LakeError) as caught:
        lake._call(fail, retry=False)
    assert isinstance(caught.value.__cause__, error)


@pytest.mark.parametrize(
    ("sql", "code", "says"),
    [
        pytest.param("select ((", 62, "Syntax error", id="syntax"),
        pytest.param("select nothing", 47, "nothing", id="unknown column"),
        pytest.param("select * from nowhere.t", 81, "nowhere", id="unknown database"),
        pytest.param("select throwIf(1, 'boo')", 395, "boo", id="thrown at the start"),
        pytest.param("select throwIf(number > 1e6, 'boo') from numbers(2000000)", 395, "boo", id="thrown amid the answer"),
        pytest.param("select {x:UInt8}", 456, "x", id="parameter not given"),
    ],
)
def test_refused_statement_carries_the_code_in_one_line(lake: Lake, sql: str, code: int, says: str) -> None:
    with pytest.raises(QueryError, match=says) as caught:
        lake.query(sql)
    assert caught.value.code == code
    text = str(caught.value)
    assert "\n" not in text
    assert "FORMAT Arrow" not in text
    assert "DB::Exception" not in text
    assert caught.value.exit_code == ExitCode.FAILED


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_wrong_password_is_exit_3_and_never_printed(lake: Lake) -> None:
    at = lake.address
    url = f"http://{at.user}:gehe%C3%ADm@{at.host}:{at.port}"
    other = Lake(dataclasses.replace(lake.settings, clickhouse_url=url))
    with pytest.raises(LakeUnavailable, match="refused the sign-in of") as caught:
        other.query("select 1")
    other.close()
    assert caught.value.exit_code == ExitCode.LAKE_UNREACHABLE
    for text in (str(caught.value), repr(caught.value), str(caught.value.to_dict()), repr(other.settings), repr(other.address)):
        assert "gehe" not in text


@pytest.mark.parametrize("call", ["query", "command", "ping"])
def test_refused_connection_is_exit_3_and_says_where(tmp_path: Path, closed_port: int, call: str) -> None:
    url = f"http://me:very-secret@127.0.0.1:{closed_port}"
    lake = Lake(Settings.load(tmp_path, environ={}, clickhouse_url=url))
    with pytest.raises(LakeUnavailable, match=f"http://127.0.0.1:{closed_port} does not answer") as caught:
        lake.ping() if call == "ping" else getattr(lake, call)("select 1")
    assert caught.value.exit_code == ExitCode.LAKE_UNREACHABLE
    assert "very-secret" not in str(caught.value)
    assert not (tmp_path / ".skygraph").exists()


class _Stranger(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"<html>nothing here</html>")

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[int]:
    """A web server that is no ClickHouse."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_address_of_something_else_is_exit_3(tmp_path: Path, stranger: int) -> None:
    lake = Lake(Settings.load(tmp_path, environ={}, clickhouse_url=f"http://me:very-secret@127.0.0.1:{stranger}"))
    with pytest.raises(LakeUnavailable) as caught:
        lake.ping()
    lake.close()
    assert "very-secret" not in str(caught.value)


# --- interrupts


@pytest.mark.parametrize("call", ["query", "command"])
def test_ctrl_c_ends_the_query_on_the_server(lake: Lake, lake_url: str, until: Callable[..., None], call: str) -> None:
    sql = "select sum(sipHash64(number)) from numbers(1000000000000)"
    sql = sql if call == "query" else f"insert into function null('x UInt64') {sql}"
    program = (
        "import os, sys; from workbench.lake import Lake; from workbench.settings import Settings\n"
        "lake = Lake(Settings.load('.', environ={}, clickhouse_url=os.environ['URL']))\n"
        "try: getattr(lake, sys.argv[1])(sys.argv[2])\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    running = "select count() from system.processes where query like '%sipHash64(number)%' and query not like '%system.processes%'"
    process = subprocess.Popen(
        [sys.executable, "-c", program, call, sql],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "URL": lake_url},
    )
    try:
        until(lambda: lake.scalar(running) == 1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (out, err) == ("interrupted\n", "")
    until(lambda: lake.scalar(running) == 0, seconds=10)


def test_reads_within_a_time_are_ended_by_the_lake_also_from_threads_made_there(lake: Lake) -> None:
    slow = "select sum(sleepEachRow(0.05)) from numbers(600) settings max_block_size = 1"
    with reads_within(0.2):
        with pytest.raises(QueryError) as refused:
            lake.query(slow)
        assert refused.value.code == 159
        in_thread = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool, pytest.raises(QueryError, match="ran out of its time"):
        pool.submit(in_thread.run, lake.query, slow).result()
    assert lake.scalar("select sum(sleepEachRow(0.05)) from numbers(6) settings max_block_size = 1") == 0
