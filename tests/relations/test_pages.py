"""What the grid of an answer asks: pages, counts, rows in full, sums and files, always of the whole answer."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest

from workbench import Workbench
from workbench.errors import SkyGraphError, UsageError
from workbench.lake import Lake
from workbench.lake.sql import Column, create_replacing
from workbench.relations import Pages, Relation
from workbench.settings import Settings

Ask = Callable[..., Relation]


@pytest.fixture
def pages(bench: Workbench, tmp_path: Path) -> Iterator[Callable[[Relation], Pages]]:
    """Pages of a relation, with connections of their own."""
    made: list[Pages] = []

    def make(relation: Relation) -> Pages:
        made.append(Pages(relation, lake=bench._another_lake, folder=tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_small_answer_is_read_once_and_kept_nowhere(ask: Ask, pages: Callable[[Relation], Pages]) -> None:
    relation = ask("select number as id, '' as t, null as n from numbers(3)")
    found = pages(relation)
    about, page = found.open(), found.page(0, None, False)
    assert (about["total"], [c["name"] for c in about["columns"]], [c["type"] for c in about["columns"]]) == (
        3,
        ["id", "t", "n"],
        ["UInt64", "String", "Nothing?"],
    )
    assert page["rows"] == [["0", "", None], ["1", "", None], ["2", "", None]]
    assert (page["total"], page["shown"], page["of"], found.count()) == (3, 3, "first", {"total": 3})
    assert relation.kept() is None
    json.dumps([about, page])


def test_pages_behind_the_first_are_of_the_kept_answer_and_say_so(ask: Ask, pages: Callable[[Relation], Pages]) -> None:
    found = pages(ask("select number as id from numbers(1000) order by id desc"))
    first = found.page(0, None, False)
    assert (found.open()["total"], first["total"], first["shown"], first["of"]) == (None, None, None, "first")
    assert found.count() == {"total": 1000}
    later = found.page(900, None, False)
    assert (later["rows"][0], later["rows"][-1], later["total"], later["shown"]) == (["99"], ["0"], 1000, 1000)
    assert later["of"].startswith("skygraph_results.")
    again = found.page(0, None, False)
    assert (again["of"], again["rows"]) == (later["of"], first["rows"])


def test_an_order_is_of_the_whole_answer(ask: Ask, pages: Callable[[Relation], Pages]) -> None:
    found = pages(ask("select number as id, 1000 - number as back from numbers(1000)"))
    assert found.page(0, 1, False)["rows"][0] == ["999", "1"]
    assert found.page(0, 0, True)["rows"][0] == ["999", "1"]
    assert found.page(900, 1, False)["rows"][-1] == ["0", "1,000"]
    assert found.row(0, 1, False)["values"] == [{"text": "999", "more": 0}, {"text": "1", "more": 0}]
    with pytest.raises(UsageError, match="no column 3 to sort by"):
        found.page(0, 2, False)


def test_values_are_cut_in_the_grid_and_whole_in_a_row(ask: Ask, pages: Callable[[Relation], Pages]) -> None:
    found = pages(
        ask(
            "select repeat('ab\n', 50000) as t, number / 3 as f, toDecimal64('12345.60', 3) as d, 18446744073709551615 as u, -0.5 as x "
            "from numbers(1, 1)"
        )
    )
    (row,) = found.page(0, None, False)["rows"]
    assert len(row[0]["cut"]) == 300 and row[0]["cut"].startswith("ab ⏎ ab") and len(row[0]["title"]) == 2001
    assert row[1:] == ["0.3333333333333333", "12,345.600", "18,446,744,073,709,551,615", "-0.5"]
    (text, *_) = found.row(0, None, False)["values"]
    assert (len(text["text"]), text["more"]) == (100_000, 50_000)
    with pytest.raises(UsageError, match="no row 2"):
        found.row(1, None, False)


def test_sums_are_of_all_rows_and_do_not_overflow(ask: Ask, pages: Callable[[Relation], Pages]) -> None:
    found = pages(ask("select 9223372036854775807 as big, if(number = 0, null, '') as t, if(number = 1, nan, 1.5) as f from numbers(300)"))
    facts = {fact["name"]: fact["text"] for fact in found.summary(0)["facts"]}
    assert (facts["rows"], facts["sum"], facts["different values"]) == ("300", f"{9223372036854775807 * 300:,}", "1")
    facts = {fact["name"]: fact["text"] for fact in found.summary(1)["facts"]}
    assert (facts["without a value (NULL)"], facts["empty texts"]) == ("1", "299")
    assert {fact["name"]: fact["text"] for fact in found.summary(2)["facts"]}["NaN"] == "1"
    found.page(200, None, False)  # and of the answer that is kept
    assert found.summary(0)["total"] == 300
    assert {f["name"] for f in pages(ask("select map('a', 1) as m")).summary(0)["facts"]} == {"rows", "without a value (NULL)"}


def test_a_file_has_all_rows_in_the_order_that_is_seen(ask: Ask, pages: Callable[[Relation], Pages], tmp_path: Path) -> None:
    found = pages(ask("select number as id, number % 3 as three from numbers(1000)"))
    for sort, first in ((None, 0), (0, 999)):
        said = found.export("csv", sort, True)
        rows = pyarrow.csv.read_csv(said["path"])
        assert (rows.num_rows, rows.column_names, rows.column("id")[0].as_py()) == (1000, ["id", "three"], first)
        assert Path(said["path"]).stat().st_size == said["bytes"]
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["answer-2.csv", "answer.csv"]
    with pytest.raises(UsageError, match="is no format"):
        found.export("../x", None, False)


def test_many_columns_come_in_smaller_pages(ask: Ask, pages: Callable[[Relation], Pages]) -> None:
    found = pages(ask(f"select {', '.join(f'number as c{i}' for i in range(300))} from numbers(90)"))
    about, page = found.open(), found.page(40, None, False)
    assert (about["size"], len(page["rows"]), page["rows"][0][299]) == (40, 40, "40")


def test_a_statement_that_only_tells_has_its_rows(ask: Ask, pages: Callable[[Relation], Pages]) -> None:
    found = pages(ask("explain select 1"))
    assert found.count()["total"] == len(found.page(0, None, False)["rows"])
    assert not any(column["sorts"] for column in found.open()["columns"])


def test_a_kept_answer_that_was_dropped_is_kept_anew(lake: Lake, ask: Ask, pages: Callable[[Relation], Pages]) -> None:
    found = pages(ask("select number from numbers(1000)"))
    old = found.page(500, None, False)["of"]
    lake.command(f"drop table {old} sync")
    new = found.page(500, None, False)
    assert new["of"] != old
    assert new["rows"][0] == ["500"]


def test_what_runs_can_be_ended(lake: Lake, ask: Ask, pages: Callable[[Relation], Pages], until: Callable[..., None]) -> None:
    found = pages(ask("select number, sipHash64(number) as h from numbers(100000000000) where h % 2 = 0"))
    said: list[BaseException] = []

    def run() -> None:
        try:
            found.page(0, 1, False)
        except SkyGraphError as error:
            said.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def running() -> Any:
        return lake.scalar("select count() from system.processes where startsWith(query_id, 'skygraph-keep-')")

    until(running)
    found.halt()
    thread.join(60)
    assert not thread.is_alive() and len(said) == 1
    until(lambda: not running())
    assert lake.tables("skygraph_results") == []


@pytest.mark.skipif("SKYGRAPH_TEST_URL" in os.environ, reason="the viewer of the embedded lake")
def test_a_reader_who_may_not_write_sees_the_first_thousand_of_each_order(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The lake refuses the copy; what is seen is said to be a part, its order and count are of the whole."""
    lake.create_database("marts")
    lake.command(create_replacing("marts.things", [Column("id", "UInt64"), Column("_version", "UInt64")], key=["id"], version="_version"))
    lake.command("insert into marts.things select number, 1 from numbers(5000)")
    (home,) = tmp_path_factory.getbasetemp().glob("lake[0-9]*/.skygraph")
    bench = Workbench(Settings.load(home.parent, environ={}, role="viewer"))
    found = Pages(bench.sql("select id, toDecimal64(id, 2) as d from marts.things order by id"), lake=bench._another_lake)
    try:
        assert found.open()["files"] == []
        assert found.page(0, None, False)["rows"][0] == ["0", "0.00"]
        assert found.count() == {"total": 5000}
        later = found.page(900, None, False)
        assert (later["rows"][0], later["total"], later["shown"]) == (["900", "900.00"], 5000, 1000)
        assert "read-only" in later["refused"]
        assert found.page(0, 0, True)["rows"][0] == ["4999", "4,999.00"]
        with pytest.raises(UsageError, match="owner"):
            found.export("csv", None, False)
    finally:
        found.close()
        bench.close()
