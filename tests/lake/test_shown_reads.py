"""`sql --show`: where FINAL is applied and by what, as the engine's plan has it, and the same statement by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from workbench import Workbench
from workbench.errors import QueryError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.lake.explain import TableRead, read_plan
from workbench.lake.statement import NoTree, Relation, by_hand, parse, tables_of

sys.path.insert(0, str(Path(__file__).parent))
from test_current_reads import ALSO, _answer, _at, fill, shapes

# shapes that our writer of SQL does not know: none is shown by hand, and all answer right through `Lake.query`
NOT_BY_HAND = ("groupArraySorted(5)", "= any(", "* apply toString", "of_status(s = 'void')", "{tcp}', {d}.paid, '{user}'")


@pytest.fixture(scope="module")
def filled(own_lake: Lake) -> Lake:
    fill(own_lake)
    for d in ("versions", "plain"):
        for statement in ALSO:
            own_lake.command(statement.format(d=d, **_at(own_lake)))
    return own_lake


def test_every_shape_by_hand_answers_the_same_where_nobody_sets_anything(filled: Lake) -> None:
    wrong, without = [], []
    for shape in shapes():
        sql = shape.format(d="versions", **_at(filled))
        plan = read_plan(filled, sql)
        if not plan.by_hand:
            without.append(shape)
            assert plan.why_not
            continue
        found, expected = ([repr(list(r.values())) for r in filled.query_history(plan.by_hand).to_pylist()], _answer(filled, sql))
        if " order by " not in shape.rpartition(")")[2]:
            found, expected = sorted(found), sorted(expected)
        if found != expected:
            wrong.append(f"{shape}\n    {plan.by_hand}\n    {found[:3]}\n    {expected[:3]}")
        if bad := [t.table for t in plan.tables if t.final == "no"]:
            wrong.append(f"{shape}\n    not read FINAL: {bad}")
    assert not wrong, "\n".join(wrong)
    assert all(any(mark in shape for mark in NOT_BY_HAND) for shape in without), without


def test_plan_says_through_which_views_and_by_what_each_table_is_current(filled: Lake) -> None:
    plan = read_plan(filled, "select count() from versions.full_paid f join versions.customers final on f.id = customers.id")
    found = {t.table: t for t in plan.tables}
    assert found["versions.orders"] == TableRead(
        "versions.orders", "ReplacingMergeTree", ("id",), ("versions.full_paid", "versions.paid"), "by the setting"
    )
    assert found["versions.lines"].via == ("versions.full_paid", "versions.lines_of")
    assert found["versions.customers"].final == "written in the statement"
    assert "by hand" in str(plan) and "FROM versions.orders FINAL" in plan.by_hand and "price" in str(plan)


def test_plan_of_plain_tables_needs_no_final(own_lake: Lake) -> None:
    own_lake.create_database("some")
    own_lake.command("create table if not exists some.plain (a Int64) engine = MergeTree order by a")
    own_lake.command("insert into some.plain values (1)")
    plan = read_plan(own_lake, "select * from some.plain")
    assert [(t.table, t.final) for t in plan.tables] == [("some.plain", "not needed")]
    assert "FINAL" not in plan.by_hand
    assert read_plan(own_lake, "select 1").tables == ()


def test_a_name_of_the_statement_itself_is_no_table() -> None:
    relations = {"default.orders": Relation("ReplacingMergeTree"), "raw.orders": Relation("ReplicatedReplacingMergeTree")}
    text = by_hand("with orders as (select * from raw.orders) select * from orders", relations)
    assert text.count("FINAL") == 1 and "raw.orders FINAL" in text
    # but a table of that name is one inside the definition
    text = by_hand("with orders as (select * from orders) select * from orders", relations)
    assert text.count("FINAL") == 1
    assert [t.name for t in tables_of(parse("select 1 from a.b join c on 1 where x in d.e"))] == ["a.b", "c", "d.e"]


@pytest.mark.parametrize("sql", ["", ";", "select 1; select 2", "select (", "(" * 5000 + "1"])
def test_what_is_not_one_statement_has_no_tree(sql: str) -> None:
    with pytest.raises(NoTree):
        parse(sql)


def test_show_refuses_what_sql_refuses_and_runs_nothing(settings: object, lake: Lake) -> None:
    bench = Workbench(lake.settings)
    lake.create_database("raw")
    lake.command("create table raw.t (a Int64, _version UInt64) engine = ReplacingMergeTree(_version) order by a")
    with pytest.raises(UsageError, match="empty"):
        bench.show_sql(" ; ")
    with pytest.raises(UnknownName, match=r"raw\.t"):
        bench.show_sql("select * from raw.tt")
    with pytest.raises(QueryError, match="Multi-statements"):
        bench.show_sql("select 1; select 2")
    with pytest.raises(QueryError):
        bench.show_sql("drop table raw.t")
    with pytest.raises(UsageError, match="PREWHERE"):
        bench.show_sql("select 1 from raw.t prewhere a = 1")
    # a table that is dropped between plan and run is named
    plan = bench.show_sql("select * from raw.t")
    lake.command("drop table raw.t sync")
    lake.command("create table raw.tx (a Int64) engine = MergeTree order by a")
    with pytest.raises(UnknownName, match=r"unknown table 'raw\.t'.*raw\.tx"):
        bench.sql(plan.statement)
    with pytest.raises(UnknownName, match=r"raw\.tx"):
        bench.priced_sql(plan.statement)
    bench.close()
