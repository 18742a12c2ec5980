"""A living airport: a day of 2013 replayed into the source, and the twin at each hour against the file that it came from."""

from __future__ import annotations

import csv
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, free_port
from tests.journey.conftest import Shop

SAMPLE = Path("sync_jobs/sample")
SOURCE = Path(".skygraph/demo/nycflights13.sqlite")
DAY = "2013-03-08"


@pytest.fixture(scope="module")
def airport(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The workspace of `skygraph init --example flights`, with the flights and the weather of four days around the storm."""
    home = tmp_path_factory.mktemp("airport")
    folder = home / "flights"
    ports = {"SKYGRAPH_LAKE_HTTP_PORT": str(free_port()), "SKYGRAPH_LAKE_TCP_PORT": str(free_port())}
    shop = Shop(folder, {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), **ports})
    here = Shop(home, shop.environ)
    assert here.run("init", "flights", "--example", "flights").returncode == 0
    assert script(shop, "fetch.py").returncode == 0
    for name in ("flights", "weather"):
        keep_days(folder / SAMPLE / f"{name}.csv", range(6, 11))
    try:
        yield shop
    finally:
        shop.run("down")


def keep_days(path: Path, days: range) -> None:
    """Leave only these days of March."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row for row in rows if row["month"] == "3" and int(row["day"]) in days)


def script(shop: Shop, name: str, *words: str, workspace: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script of the workspace, as a person does."""
    folder = workspace or shop.folder
    command = [sys.executable, str(SAMPLE / name), *words]
    return subprocess.run(command, cwd=folder, env=shop.environ, text=True, capture_output=True, timeout=600)


def rows_of(path: Path) -> list[tuple[object, ...]]:
    """Every flight and observation of a source, in order."""
    with closing(sqlite3.connect(path)) as source:
        found = source.execute("select * from flights order by year, month, day, carrier, flight, origin").fetchall()
        return found + source.execute("select * from weather order by origin, time_hour").fetchall()


def test_the_source_is_the_same_however_the_day_is_cut(airport: Shop) -> None:
    path = airport.folder / SOURCE
    found = []
    for cuts in ([(0, 24)], [(0, 7.5), (0, 7.5), (6, 9), (9, 24)]):
        path.unlink(missing_ok=True)
        for first, last in cuts:
            step = "17" if last == 9 else "1440"
            done = script(airport, "replay.py", DAY, "--only-source", "--step", step, "--hours", str(first), str(last))
            assert done.returncode == 0, done.stderr
        found.append(rows_of(path))
    assert found[0] == found[1]
    with closing(sqlite3.connect(path)) as source:
        states = dict(source.execute("select status, count(*) from flights where day = 8 group by status"))
        late = source.execute("select count(*) from flights where updated_at > (select now from replay_clock)").fetchone()[0]
    assert states == {"arrived": 686, "cancelled": 180, "departed": 92, "scheduled": 21}
    assert late == 0, "nothing is known before it happened"
    path.unlink()


def test_the_twin_of_each_hour_is_what_the_file_says(airport: Shop) -> None:
    done = script(airport, "replay.py", DAY, "--hours", "7", "9")
    assert done.returncode == 0, done.stderr + done.stdout
    assert [line[:16] for line in done.stdout.splitlines() if line.startswith(DAY)] == [f"{DAY} 0{hour}:00" for hour in (7, 8, 9)]
    for words in ([DAY], [DAY, "JFK"]):
        checked = script(airport, "check.py", *words)
        assert checked.returncode == 0, checked.stderr + checked.stdout
        assert checked.stdout.count("| yes |") == 3
    # what was ended goes on: the hours that were are passed over, the next one follows
    done = script(airport, "replay.py", DAY, "--hours", "7", "10", "--speed", "100000")
    assert done.returncode == 0, done.stderr
    assert [line[:16] for line in done.stdout.splitlines() if line.startswith(DAY)] == [f"{DAY} 10:00"]
    labels = [s["label"] for s in airport.json("snapshot", "list")]
    assert labels == [f"{DAY} {hour:02}:00" for hour in (7, 8, 9, 10)]
    # JFK as the twin tells it: the delays build up
    life = airport.json("snapshot", "show", "Airport", "JFK")["versions"]
    delays = [float(p["new"]) for v in life for p in v["properties"] if p["name"] == "mean_departure_delay_min"]
    assert len(delays) == 4
    assert delays == sorted(delays)
    assert airport.run("dbt", "test").returncode == 0
    # a state that is not that of its label is found
    airport.json("snapshot", "take", "--label", f"{DAY} 15:00")
    checked = script(airport, "check.py", DAY)
    assert checked.returncode == 1
    assert "| NO |" in checked.stdout
    assert checked.stdout.count("| yes |") == 4


def test_a_source_with_the_whole_year_is_left_alone(airport: Shop, tmp_path: Path) -> None:
    here = Shop(tmp_path, airport.environ)
    here.run("init", "year", "--example", "flights")
    source = tmp_path / "year" / SOURCE
    source.parent.mkdir(parents=True)
    source.with_name("archive.sqlite").write_bytes((airport.folder / SOURCE).with_name("archive.sqlite").read_bytes())
    with closing(sqlite3.connect(source)) as made:
        made.execute("create table flights (year int)")
    done = script(airport, "replay.py", DAY, "--only-source", workspace=tmp_path / "year")
    assert done.returncode == 1
    assert done.stderr == (
        "replay.py: the source holds the whole year; replay in a workspace of its own: skygraph init DIR --example flights\n"
    )


@pytest.mark.parametrize("words", [["2012-03-08"], [DAY, "--speed", "-1"], [DAY, "--hours", "9", "7"], ["yesterday"], [DAY, "--step", "0"]])
def test_what_cannot_be_replayed_is_told(airport: Shop, words: list[str]) -> None:
    done = script(airport, "replay.py", *words)
    assert done.returncode == 2
    assert "replay.py: error: " in done.stderr
