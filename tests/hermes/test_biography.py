"""The life of a key: versions are kept before merges take them, bounded, whatever happens between the copy and the landing."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.errors import InvalidFiles, UnknownName, UsageError
from workbench.hermes import Hermes, load_plan
from workbench.hermes.biography import TABLE, KeyLife, prune, read_life
from workbench.lake import Lake

PLAN = """\
sources:
  shop: {connector: sqlite, path: data/shop.db}
tables:
  t: {source: shop, key: [id], watermark: at}
  pairs: {source: shop, key: [a, b]}
  silent: {source: shop, from: t, key: id, watermark: at, history: none}
"""
ODD = "we`ird, 'né' \\x"
MADE = f'create table t (id integer primary key, city text, total decimal(10,2), "{ODD}" text, at datetime)'


@pytest.fixture
def db(workspace: Path) -> Iterator[sqlite3.Connection]:
    (workspace / "sync_jobs/tables.yml").write_text(PLAN, encoding="utf-8")
    (workspace / "data").mkdir()
    connection = sqlite3.connect(workspace / "data/shop.db", isolation_level=None)
    connection.execute(MADE)
    connection.executescript(
        "insert into t values (1, 'Oslo', 1.5, null, '2024-01-01'), (2, 'Bergen', 2, 'x', '2024-01-01');"
        "create table pairs (a text, b integer, n integer, primary key (a, b));"
        "insert into pairs values ('a,b', 1, 1), ('say \"hi\"', 2, 1), ('né ''ü', 3, 1), ('plain', 4, 1);"
    )
    yield connection
    connection.close()


@pytest.fixture
def hermes(db: sqlite3.Connection, lake: Lake, workspace: Path) -> Hermes:
    return Hermes(lake, load_plan(workspace), workspace, workspace / ".skygraph")


def merge(lake: Lake, table: str) -> None:
    """What time would do: every older version is gone from the table."""
    lake.command(f"optimize table {table} final")


def told(life: KeyLife) -> list[tuple[str, object, str]]:
    return [(v.state, v.values["city"], v.mode) for v in life.versions]


def test_versions_outlive_the_merges_that_take_them_each_with_its_run_and_what_changed(hermes: Hermes, db: sqlite3.Connection) -> None:
    lake = hermes.lake
    (first,) = hermes.sync(["t"]).runs
    assert "key_history" not in lake.tables("skygraph")  # a first load keeps nothing
    db.execute("update t set city = 'Tromsø', at = '2024-01-02' where id = 1")
    (second,) = hermes.sync(["t"]).runs
    merge(lake, "raw.t")
    db.execute(f"update t set total = 2.25, \"{ODD}\" = 'it''s \"x\"', at = '2024-01-03' where id = 1")
    hermes.sync(["t"])
    merge(lake, "raw.t")
    db.execute("delete from t where id = 1")
    hermes.sync(["t"])
    merge(lake, "raw.t")
    db.execute("insert into t values (1, 'Bodø', 9, null, '2024-01-05')")
    hermes.sync(["t"])
    assert lake.query_history("select count() from raw.t where id = 1").column(0)[0].as_py() <= 2

    life = read_life(lake, "raw.t", "1")
    assert told(life)[:3] == [("merged", "Oslo", "full"), ("merged", "Tromsø", "incremental"), ("merged", "Tromsø", "incremental")]
    assert [v.is_tombstone for v in life.versions] == [False, False, False, True, False]
    assert life.versions[-1].state == "current"
    assert [v.run_id for v in life.versions[:2]] == [first.run_id, second.run_id]
    assert [[c["column"] for c in v.changes] for v in life.versions[:3]] == [[], ["city", "at"], ["total", ODD, "at"]]
    assert [c["new"] for c in life.versions[2].changes][1] == 'it\'s "x"'
    assert str(life.versions[2].values["total"]) == "2.25"  # in the column's type, not as a text of JSON
    assert all(v.part.startswith("all_") and v.at for v in life.versions)
    text = str(life)
    assert "raw.t, key 1: 5 version(s)" in text
    assert "city: Oslo → Tromsø" in text
    assert "deleted" in text and "there again" in text
    assert read_life(lake, "raw.t", "1").to_dict()["versions"][1]["_state"] == "merged"
    # a key that nothing replaced has the one version that it has
    assert told(read_life(lake, "raw.t", "2")) == [("current", "Bergen", "full")]


def test_a_landing_that_fails_after_the_copy_loses_and_doubles_nothing(hermes: Hermes, db: sqlite3.Connection) -> None:
    lake = hermes.lake
    hermes.sync(["t"])
    lake.command("alter table raw.t add constraint small check total < 100")
    db.execute("update t set city = 'Hamar', total = 500, at = '2024-01-02' where id = 1")
    (run,) = hermes.sync(["t"]).runs
    assert run.status == "failed"
    assert lake.scalar(f"select count() from {TABLE} where table = 'raw.t'") == 1  # kept, though it is current still
    assert told(read_life(lake, "raw.t", "1")) == [("current", "Oslo", "full")]
    lake.command("alter table raw.t drop constraint small")
    (run,) = hermes.sync(["t"]).runs
    assert run.status == "ok"
    merge(lake, "raw.t")
    assert told(read_life(lake, "raw.t", "1")) == [("merged", "Oslo", "full"), ("current", "Hamar", "incremental")]


def test_compound_keys_with_commas_quotes_and_letters_of_every_kind(hermes: Hermes, db: sqlite3.Connection) -> None:
    lake = hermes.lake
    hermes.sync(["pairs"])
    db.execute("update pairs set n = 2")
    hermes.sync(["pairs"])
    merge(lake, "raw.pairs")
    for key in ('"a,b",1', '"say ""hi""",2', "né 'ü,3", " plain , 4 ", '"plain",4'):
        assert [(v.state, v.values["n"]) for v in read_life(lake, "raw.pairs", key).versions] == [("merged", 1), ("current", 2)]
    with pytest.raises(UsageError, match="put one that has a comma between double quotes"):
        read_life(lake, "raw.pairs", "a,b,1")
    with pytest.raises(UnknownName, match="near it: plain,4"):
        read_life(lake, "raw.pairs", "plane,4")
    with pytest.raises(UnknownName):
        read_life(lake, "raw.pairs", "plain,' or 1=1 --")


def test_what_is_kept_is_bounded_and_can_be_none(hermes: Hermes, db: sqlite3.Connection) -> None:
    lake = hermes.lake
    hermes.sync(["t", "silent"])
    hermes.plan.tables["t"] = dataclasses.replace(hermes.plan.tables["t"], history="1 rows")  # type: ignore[index]
    db.execute("update t set city = 'Voss', at = '2024-01-02'")
    loud, silent = hermes.sync(["t", "silent"]).runs
    assert "replaced versions were not kept: the run brought 2 rows, history is of runs of up to 1" in loud.note
    assert silent.note == ""
    assert lake.scalar(f"select count() from {TABLE}") == 0  # made by the sweep, which looked for deleted keys to keep
    life = read_life(lake, "raw.t", "1")
    assert life.gaps == 1 or life.versions[0].state == "superseded"  # the merge may have come first
    merge(lake, "raw.t")

    hermes.plan.tables["t"] = dataclasses.replace(hermes.plan.tables["t"], history="2 days")  # type: ignore[index]
    for day in range(3, 7):
        db.execute(f"update t set total = {day}, at = '2024-01-0{day}' where id = 1")
        hermes.sync(["t"])
    days = lake.rows(
        f"select version, expires_at > now() + 86400 and expires_at <= now() + 2 * 86400 as fits from {TABLE} order by version"
    )
    assert [row["fits"] for row in days] == [1] * 4
    prune(lake, "raw.t", 2)
    left = lake.rows(f"select version from {TABLE} order by version")
    assert [row["version"] for row in left] == [row["version"] for row in days[2:]]


def test_rows_that_lie_scattered_in_a_large_table_are_not_searched_for(hermes: Hermes, db: sqlite3.Connection) -> None:
    """What a run replaces is kept while finding it reads up to ten rows for each that may be kept; the receipt says when it does not."""
    lake = hermes.lake
    numbers = "with recursive n(i) as (select 3 union all select i + 1 from n where i < 2000)"
    db.execute(f"{numbers} insert into t select i, 'Moss', i, null, '2023-01-01' from n")
    for day, most, kept in ((2, "100 rows", 0), (3, "1000 rows", 2)):
        hermes.plan.tables["t"] = dataclasses.replace(hermes.plan.tables["t"], history=most)  # type: ignore[index]
        hermes.sync(["t"])
        db.execute(f"update t set city = city || '!', at = '2024-01-0{day}' where id in (1, 1999)")
        (run,) = hermes.sync(["t"]).runs
        assert (run.inserted, lake.scalar(f"select count() from {TABLE}") if lake.columns(TABLE) else 0) == (2, kept)
        said = "replaced versions were not kept: they lie scattered among 2,000 rows of the table, history reads up to 1,000 a run"
        assert (said in run.note) is not bool(kept)
    assert read_life(lake, "raw.t", "1").gaps == 1


@pytest.mark.parametrize("wrong", ["30 dais", "0 versions", "none, 3 rows", "5000 years"])
def test_a_history_that_makes_no_sense_is_said_with_its_line(db: sqlite3.Connection, workspace: Path, wrong: str) -> None:
    (workspace / "sync_jobs/tables.yml").write_text(PLAN.replace("history: none", f"history: '{wrong}'"), encoding="utf-8")
    with pytest.raises(InvalidFiles, match=r"tables.yml:6: 'history' of table 'silent'"):
        load_plan(workspace)
