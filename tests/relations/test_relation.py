"""Relations: lazy, composed, paged, counted and written by the server."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from workbench import Workbench
from workbench.errors import QueryError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.lake.sql import Column, create_replacing
from workbench.relations import Relation
from workbench.relations.kept import DATABASE, Shelf

Ask = Callable[..., Relation]


@pytest.fixture
def versions(lake: Lake) -> Lake:
    """`raw.things`: three keys, one of them in two versions, one deleted."""
    lake.create_database("raw")
    columns = [Column("id", "UInt64"), Column("name", "String"), Column("_version", "UInt64"), Column("_deleted", "UInt8")]
    lake.command(create_replacing("raw.things", columns, key=["id"], version="_version", deleted="_deleted"))
    for rows in ("(1, 'old', 1, 0), (2, 'two', 1, 0), (3, 'gone', 1, 0)", "(1, 'new', 2, 0), (3, 'gone', 2, 1)"):
        lake.command(f"insert into raw.things values {rows}")
    return lake


def kept_tables(lake: Lake) -> list[str]:
    return lake.tables(DATABASE)


# --- one in the other


def test_a_relation_is_read_from_by_name_with_the_variables_that_it_was_made_with(ask: Ask) -> None:
    few = ask("select number as id from numbers({n:UInt64})", n=10)
    even = ask("select id from {few} where id % {n:UInt8} = 0", few=few, n=2)
    both = ask(
        "select a.id, {n:Int8} as n from {even} as a join {few} on a.id = few.id where few.id in {even} order by 1", even=even, few=few, n=7
    )
    assert both.to_dict() == [{"id": i, "n": 7} for i in range(0, 10, 2)]


def test_a_name_that_is_given_to_something_else_changes_nothing_that_was_made_before(ask: Ask) -> None:
    a = ask("select 1 as x")
    b = ask("select x + 1 as x from {a}", a=a)
    a = ask("select x + 10 as x from {a}", a=b)  # as `a = f(a)` in Python
    assert (b.to_dict(), a.to_dict()) == ([{"x": 2}], [{"x": 12}])


def test_a_column_that_gets_another_type_later_is_read_as_what_it_is(lake: Lake, ask: Ask) -> None:
    lake.create_database("raw")
    lake.command("create table raw.when (at UInt32) engine = MergeTree order by ()")
    lake.command("insert into raw.when values (86400)")
    found = ask("select at from raw.when")
    assert found.to_arrow().column("at").to_pylist() == [86400]
    lake.command("alter table raw.when modify column at DateTime('UTC') settings alter_sync = 2")
    object.__setattr__(found, "made", found.made - 60)  # a minute ago
    assert found.to_arrow().column("at").to_pylist() == [dt.datetime(1970, 1, 2, tzinfo=dt.timezone.utc)]


def test_a_relation_shadows_no_table_and_no_table_it(versions: Lake, ask: Ask) -> None:
    things = ask("select 'mine' as name")
    found = ask("select (select count() from raw.things) as theirs, things.name from {things}", things=things)
    assert found.to_dict() == [{"theirs": 2, "name": "mine"}]


def test_a_relation_of_itself_ends_with_a_hint(ask: Ask) -> None:
    found = ask("select 1 as x")
    with pytest.raises(UsageError, match="31 relations stand inside each other, which is too many; a cell that names itself grows"):
        for _ in range(40):
            found = ask("select x from {found}", found=found)


@pytest.mark.parametrize(
    ("statement", "values", "said"),
    [
        ("select {x:Int8}", {}, "asks for {x:...}, but there is no variable x"),
        ("select * from {x}", {}, "asks for {x}, but there is no variable x"),
        ("select * from {x}", {"x": 5}, "x is no relation but a int; {x:Type} binds a value"),
        ("select {x:Int8}", {"x": 300}, "300 does not fit into Int8"),
    ],
)
def test_a_variable_that_is_missing_or_of_another_kind_is_named(ask: Ask, statement: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask(statement, **values)
    assert said in str(caught.value)


def test_a_relation_is_no_value_and_a_statement_that_tells_is_no_relation(ask: Ask) -> None:
    with pytest.raises(UsageError, match="x is a relation, not a value; write {x} to read from it"):
        ask("select {x:Int8}", x=ask("select 1"))
    with pytest.raises(UsageError, match="x only tells something"):
        ask("select * from {x}", x=ask("show databases"))


def test_current_and_physical_rows_are_not_mixed(versions: Lake, ask: Ask) -> None:
    current, raw = ask("select * from raw.things"), ask("select * from raw.things", raw=True)
    assert (len(current), len(raw)) == (2, 5)
    assert ask("select count() as n from {current}", current=current).to_dict() == [{"n": 2}]
    assert ask("select count() as n from {raw_}", raw=True, raw_=raw).to_dict() == [{"n": 5}]
    with pytest.raises(UsageError, match="is of all physical rows, this statement of current rows; say --raw for both"):
        ask("select * from {x}", x=raw)


# --- what it is


def test_it_is_run_when_it_is_looked_at(versions: Lake, ask: Ask) -> None:
    found = ask("select id, name from raw.things")
    versions.command("insert into raw.things values (9, 'nine', 1, 0)")
    assert found.count() == 3
    assert found.names == ["id", "name"]
    assert ask("select throwIf(1)").names == ["throwIf(1)"]  # nothing was run for it


def test_mistakes_are_told_when_it_is_made(versions: Lake, ask: Ask) -> None:
    with pytest.raises(UnknownName, match="did you mean raw.things"):
        ask("select * from raw.thing")
    with pytest.raises(QueryError, match=r"Syntax error: at line 2, column 6, at q"):
        ask("select *\n frm q")
    with pytest.raises(UsageError, match="PREWHERE"):
        ask("select * from raw.things prewhere id = 1")


def test_a_table_that_is_dropped_before_the_run_is_named(versions: Lake, ask: Ask) -> None:
    found = ask("select * from raw.things")
    versions.command("drop table raw.things sync")
    with pytest.raises(UnknownName, match=r"raw\.things"):
        found.to_arrow()


def test_it_is_no_list_and_says_what_to_do(ask: Ask) -> None:
    found = ask("select number from numbers(5)")
    assert (len(found), bool(found), bool(ask("select 1 where 0"))) == (5, True, True)
    with pytest.raises(UsageError, match="not read row by row; to_arrow"):
        list(found)
    with pytest.raises(UsageError, match="to_pandas"):
        found["number"]


def test_columns_of_one_name_are_told_apart_everywhere(ask: Ask, tmp_path: Path) -> None:
    found = ask("select 1, 1, 2 as a")
    assert found.to_dict() == [{"1": 1, "1_2": 1, "a": 2}]
    assert list(found.to_pandas().columns) == ["1", "1_2", "a"]
    assert found.page().column_names == ["1", "1_2", "a"]
    found.to_file(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == '"1","1_2","a"\n1,1,2\n'
    assert "1_2" in str(found)


def test_values_are_shown_as_what_they_mean(ask: Ask) -> None:
    found = ask(
        "select cast(1 as Enum8('paid' = 1)) as e, toIPv4('10.0.0.1') as ip, "
        "toInt128('-170141183460469231731687303715884105728') as wide, "
        "[toDateTime('2020-01-01 00:00:00')] as times, null as none, '' as empty, toDecimal64('1.10', 4) as d, '<b>' as h, "
        "map('k', cast(1 as Enum8('in' = 1))) as m, unhex('FF00') as b, true as yes, toDateTime64('2020-01-01 00:00:00.123456', 6) as t"
    )
    html = found._repr_html_()
    for text in ("paid", "10.0.0.1", "-170,141,183,460,469,231,731,687,303,715,884,105,728", '["2020-01-01T00:00:00Z"]', "NULL", "1.1000",
                 "<b>", '{"k": "in"}', "ff00", "true", "2020-01-01 00:00:00.123456"):  # fmt: skip
        assert escape(text) in html, text
    html = ask("select '<script>' as `<i>`, null as n")._repr_html_()
    assert "<script" not in html and "<i>" not in html and ">NULL<" in html


def test_the_rows_that_are_shown_and_counted_are_said_to_be_that(ask: Ask) -> None:
    assert "rows 1-100 of 12,345, exact, current rows" in str(ask("select number from numbers(12345)"))
    assert "100 row(s), current rows" in str(ask("select number from numbers(100)"))
    assert "no rows" in str(ask("select 1 as a where 0"))
    assert "5 row(s), physical rows" in str(ask("select number from numbers(5)", raw=True))


# --- files


def test_the_whole_answer_is_written_by_the_server_in_each_format(ask: Ask, tmp_path: Path) -> None:
    found = ask("select number as id, toDecimal64(number, 2) / 3 as third, if(number = 1, null, 'é, \"x\"') as t from numbers(250000)")
    sizes = {form: found.to_file(tmp_path / f"x.{form}") for form in ("csv", "jsonl", "parquet", "arrow")}
    assert sizes == {form: (tmp_path / f"x.{form}").stat().st_size for form in sizes}
    with (tmp_path / "x.csv").open(encoding="utf-8") as lines:
        rows = list(csv.reader(lines))
    assert (len(rows), rows[2]) == (250_001, ["1", "0.33", ""])
    assert json.loads((tmp_path / "x.jsonl").read_text().splitlines()[2]) == {"id": 2, "third": "0.66", "t": 'é, "x"'}
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 250_000
    assert list(tmp_path.glob(".*")) == []


def test_a_file_that_cannot_be_written_or_ends_early_is_not_there(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="format"):
        ask("select 1").to_file(tmp_path / "x.xlsx")
    with pytest.raises(UsageError, match="cannot be written"):
        ask("select 1").to_file(tmp_path / "no/x.csv")
    with pytest.raises(Exception, match=r"broke off|throwIf"):
        ask("select throwIf(number = 3000000), repeat('x', 20) from numbers(4000000)").to_file(tmp_path / "x.csv")
    assert not any(path.name.startswith((".x", "x")) for path in tmp_path.iterdir())


# --- pages


def test_pages_are_of_one_answer_whatever_happens_meanwhile(versions: Lake, ask: Ask) -> None:
    versions.command("insert into raw.things select number + 10, 'many', 1, 0 from numbers(5000)")
    found = ask("select id, name from raw.things order by id desc")
    first = found.page(0, 3)
    versions.command("insert into raw.things select number + 100000, 'later', 1, 0 from numbers(5000)")
    assert first.column("id").to_pylist() == [5009, 5008, 5007]
    assert found.page(5000, 10).column("id").to_pylist() == [2, 1]
    assert len({row for at in range(0, 5002, 500) for row in found.page(at, 500).column("id").to_pylist()}) == 5002
    assert found.count() == 10_002  # what is counted is counted now


def test_an_order_is_of_all_rows_and_no_value_comes_last(ask: Ask) -> None:
    found = ask("select number as id, if(number % 10 = 0, null, number % 7) as seven from numbers(20000)")
    assert found.page(0, 3, sort="-seven").to_pylist() == [{"id": i, "seven": 6} for i in (6, 13, 27)]
    assert found.page(0, 2, sort="seven").to_pylist() == [{"id": 7, "seven": 0}, {"id": 14, "seven": 0}]
    assert found.page(19_998, 5, sort="-seven").to_pylist() == [{"id": 19980, "seven": None}, {"id": 19990, "seven": None}]
    assert found.page(19_998, 5, sort="-id").column("id").to_pylist() == [1, 0]
    with pytest.raises(UnknownName, match="did you mean seven"):
        found.page(sort="sevn")
    with pytest.raises(UsageError, match="count from 0"):
        found.page(-1)


def test_an_order_of_the_statement_is_kept_by_many_threads(ask: Ask) -> None:
    found = ask("select number as id from numbers_mt(3000000) order by cityHash64(number)")
    hashes = ask("select id, cityHash64(id) as h from {found} order by h limit 5 offset 2000000", found=found).to_dict()
    assert found.page(2_000_000, 5).column("id").to_pylist() == [row["id"] for row in hashes]


def test_what_no_table_can_have_is_paged_too(ask: Ask) -> None:
    found = ask(
        "select null as n, [] as e, toIntervalDay(number) as i, toLowCardinality(toInt8(1)) as l, sumState(number) as s from numbers(3) "
        "group by number order by number"
    )
    assert found.page(1, 1).column("i").to_pylist() == [1]


def test_raw_answers_are_kept_of_physical_rows(versions: Lake, ask: Ask) -> None:
    assert ask("select id, name from raw.things order by id, name", raw=True).page(0, 9).num_rows == 5


def test_kept_answers_are_dropped_with_the_workbench_and_after_eight_others(bench: Workbench, lake: Lake, ask: Ask) -> None:
    made = [ask("select number from numbers(3)") for _ in range(10)]
    for one in made:
        one.page()
    assert len(kept_tables(lake)) == 8
    assert made[0].kept() is None
    assert made[0].page(0, 1).num_rows == 1  # kept anew
    bench.close()
    assert kept_tables(lake) == []


def test_what_an_ended_process_left_behind_is_swept_up_in_time(lake: Lake, ask: Ask) -> None:
    lake.create_database(DATABASE)
    for name in ("a1000_dead", "a4102444800_alive"):
        lake.command(f"create table {DATABASE}.{name} (x Int8) engine = MergeTree order by x")
    ask("select 1 as a").page()
    assert [name for name in kept_tables(lake) if name.endswith(("dead", "alive"))] == ["a4102444800_alive"]


def test_nothing_is_left_of_an_answer_that_fails_or_is_too_large(lake: Lake, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QueryError, match="throwIf"):
        ask("select throwIf(number = 3000000) from numbers(4000000)").page()
    assert kept_tables(lake) == []
    monkeypatch.setattr("workbench.relations.kept._MOST_ROWS", 1_000_000)
    with pytest.raises(UsageError, match="more than 1,000,000 rows, too many to page through; narrow it, or write it to a file"):
        ask("select number, sipHash64(number) from numbers(100000000000)").page()
    assert kept_tables(lake) == []


def test_sums_and_decimals_stay_exact(ask: Ask) -> None:
    found = ask("select toDecimal64(number, 2) / 10 as d from numbers(3)")
    assert found.to_arrow().column("d").to_pylist() == [Decimal("0.00"), Decimal("0.10"), Decimal("0.20")]


# --- while it runs


def test_a_long_statement_tells_rows_rate_and_memory_and_then_that_it_ended(bench: Workbench, ask: Ask) -> None:
    told: list[tuple[str, int, int]] = []
    bench.progress = lambda *said: told.append(said)
    # at least a second, on however fast a machine
    assert ask("select sum(sleepEachRow(0.002)) + count() as n from numbers(1000) settings max_block_size = 10").to_dict() == [{"n": 1000}]
    lines = [message for message, _, _ in told if message]
    assert lines
    assert all("rows read" in line and "rows/s" in line and "MB of memory" in line for line in lines)
    assert told[-1] == ("", 0, 0)


def test_a_shelf_that_is_closed_starts_no_lake(tmp_path: Path) -> None:
    Shelf(lambda: pytest.fail("asked for the lake")).close()
