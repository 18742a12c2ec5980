"""Replay days of 2013 into the source of this workspace, and let the workbench follow.

    python sync_jobs/sample/replay.py 2013-03-08               # hour by hour: the source, sync, dbt, a snapshot
    python sync_jobs/sample/replay.py 2013-03-08 --speed 3600  # the same, a simulated hour in a second at most
    python sync_jobs/sample/replay.py 2013-03-08 --speed 60 --only-source   # the source alone; `skygraph up` follows

The day is from midnight to midnight in New York. At its beginning the source knows the day before, and each flight a day
ahead of its departure; replay.sql says what is written when. The source keeps its own clock, moved in the transaction
that writes: a replay that was ended goes on from there, and neither loses nor doubles a change. Snapshots are labelled
with the simulated time, as `2013-03-08 18:00`; the source stands still while one is taken.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from zoneinfo import ZoneInfo

import workbench as sg
from workbench.hermes.sample import build_sample

HERE = Path(__file__).resolve().parent
WORKSPACE = HERE.parents[1]
SOURCE = WORKSPACE / ".skygraph/demo/nycflights13.sqlite"  # as in tables.yml
ARCHIVE = SOURCE.with_name("archive.sqlite")  # the whole year; nothing syncs it
NEW_YORK = ZoneInfo("America/New_York")
DAY = dt.timedelta(days=1)

# the moments of each flight, worked out once
EVENTS = """
create table events as
with flown as (select rowid as flight, time_hour, minute, dep_time, dep_delay, arr_time, air_time from flights)
select
    flight,
    strftime('%Y-%m-%d %H:%M:%f', time_hour, minute || ' minutes') as due_at,
    strftime('%Y-%m-%d %H:%M:%f', time_hour, (minute - 1440) || ' minutes') as scheduled_at,
    iif(dep_time is null, null, strftime('%Y-%m-%d %H:%M:%f', time_hour, (minute + dep_delay) || ' minutes')) as departed_at,
    iif(arr_time is null, null, strftime('%Y-%m-%d %H:%M:%f', time_hour,
        (minute + dep_delay + coalesce(air_time + 20, 60)) || ' minutes')) as arrived_at,
    iif(dep_time is null, strftime('%Y-%m-%d %H:%M:%f', time_hour, (minute + 60) || ' minutes'), null) as cancelled_at
from flown;
create index events_due_at on events (due_at);
create index events_scheduled_at on events (scheduled_at);
create index events_departed_at on events (departed_at);
create index events_arrived_at on events (arrived_at);
create index events_cancelled_at on events (cancelled_at);
"""


class CannotReplay(Exception):
    """Something to be said in one line."""


def main() -> int:
    """Replay what the command line asks for; 1 when that cannot be."""
    options = read_options()
    try:
        with closing(open_source(options.day)) as source:
            if options.only_source:
                play(source, options)
            else:
                play_with_snapshots(source, options)
    except (CannotReplay, sg.SkyGraphError, sqlite3.Error) as error:
        print(f"replay.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("replay.py: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("day", type=dt.date.fromisoformat, help="a day of 2013 in New York, as 2013-03-08")
    parser.add_argument("--hours", type=float, nargs=2, default=(0, 24), metavar=("FROM", "TO"), help="of the day; default 0 24")
    parser.add_argument("--step", type=float, default=60, metavar="MINUTES", help="simulated minutes between snapshots; default 60")
    parser.add_argument("--speed", type=float, default=0, help="simulated seconds in one second, at most; default as fast as it goes")
    parser.add_argument("--only-source", action="store_true", help="write to the source and leave the rest to others")
    options = parser.parse_args()
    if options.day.year != 2013:
        parser.error(f"the flights are of 2013, not of {options.day.year}")
    if not 0 <= options.hours[0] <= options.hours[1] <= 48 or options.step < 1 or options.speed < 0:
        parser.error("--hours are two from 0 to 48, the smaller first; --step is 1 or more; --speed is 0 or more")
    return options


# --- the source and its clock


def open_source(day: dt.date) -> sqlite3.Connection:
    """The source, made empty where there is none: no flight, all airlines, airports and planes; the year beside it."""
    if not ARCHIVE.exists():
        say("making the archive of the year, once")
        new = ARCHIVE.with_name("archive.new.sqlite")
        new.unlink(missing_ok=True)
        build_sample(HERE, new)
        with closing(sqlite3.connect(new)) as archive:
            archive.executescript(EVENTS)
        new.rename(ARCHIVE)
    if not SOURCE.exists():
        make_source(day)
    source = sqlite3.connect(SOURCE, isolation_level=None)
    source.execute("attach ? as archive", (str(ARCHIVE),))
    if not source.execute("select 1 from main.sqlite_master where name = 'replay_clock'").fetchone():
        source.close()
        raise CannotReplay("the source holds the whole year; replay in a workspace of its own: skygraph init DIR --example flights")
    return source


def make_source(day: dt.date) -> None:
    """Write the source file, whole or not at all, with its clock a day before the day."""
    new = SOURCE.with_name("replay.new.sqlite")
    new.unlink(missing_ok=True)
    begins = text_of(midnight(day) - DAY)
    with closing(sqlite3.connect(new)) as source:
        source.executescript((HERE / "schema.sql").read_text(encoding="utf-8"))
        source.execute("attach ? as archive", (str(ARCHIVE),))
        for table in ("airlines", "airports", "planes"):
            source.execute(f"insert into main.{table} select * from archive.{table}")
        source.execute("create table replay_clock (begins TEXT not null, now TEXT not null)")
        source.execute("insert into replay_clock values (?, ?)", (begins, text_of(midnight(day) - 3 * DAY)))
        source.execute("pragma user_version = 2")  # the scripted day of the demo is not for this source
        source.commit()
        source.executescript((HERE / "triggers.sql").read_text(encoding="utf-8"))
    new.rename(SOURCE)


def advance(source: sqlite3.Connection, until: dt.datetime) -> int:
    """Write all that happened up to a moment; the rows written. One transaction, clock and all; nothing when it has passed."""
    begins, now = source.execute("select begins, now from replay_clock").fetchone()
    bound = {"begins": begins, "after": now, "until": text_of(until)}
    if bound["until"] <= now:
        return 0
    source.execute("begin immediate")
    try:
        written = sum(source.execute(s, bound).rowcount for s in statements(HERE / "replay.sql"))
        source.execute("update replay_clock set now = ?", (bound["until"],))
        source.execute("commit")
    except BaseException:
        source.execute("rollback")
        raise
    return written


def statements(path: Path) -> Iterator[str]:
    """The statements of a file of SQL."""
    held = ""
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        held += line
        if sqlite3.complete_statement(held):
            yield held
            held = ""


# --- the two ways to replay


def moments(source: sqlite3.Connection, options: argparse.Namespace) -> Iterator[dt.datetime]:
    """The simulated moments of the snapshots, each when its time has come; those that had been before are passed over."""
    first, last = (midnight(options.day) + dt.timedelta(hours=h) for h in options.hours)
    now = source.execute("select now from replay_clock").fetchone()[0]
    started, began_at = time.monotonic(), None
    moment = first
    if text_of(last) < now:
        say(f"the source is at {now} UTC, which is later than all of that")
    while moment <= last:
        if text_of(moment) >= now:  # the one at which it was ended is taken again: its snapshot may not be there
            began_at = began_at or moment
            if options.speed:
                wait_until(started + (moment - began_at).total_seconds() / options.speed)
            yield moment
        moment += dt.timedelta(minutes=options.step)


def play_with_snapshots(source: sqlite3.Connection, options: argparse.Namespace) -> None:
    """At each moment: the source, sync, dbt, a snapshot."""
    with closing(sg.connect(workspace=WORKSPACE)) as bench:
        is_built = bool(bench.snapshots().snapshots)
        for moment in moments(source, options):
            label = label_of(moment)
            written = advance(source, moment)
            report = bench.sync()
            if report.failed:
                raise CannotReplay(f"{label}: " + "; ".join(f"{r.table}: {r.error}" for r in report.runs if r.error))
            # models are views and tables: once all are there, the tables are what is to be built again
            built = bench.dbt("run", "--select", "marts") if is_built else bench.dbt("run")
            if not built.success:
                raise CannotReplay(f"{label}: dbt failed; see it with `skygraph dbt run`")
            is_built = True
            if any(s.label == label for s in bench.snapshots().snapshots):
                continue
            taken = bench.snapshot(label=label)
            say(f"{label}  {written:5,} rows at the source  {taken.rows_added:5,} objects and links changed")


def play(source: sqlite3.Connection, options: argparse.Namespace) -> None:
    """The source alone, ten times a second when a speed is given."""
    first, last = (midnight(options.day) + dt.timedelta(hours=h) for h in options.hours)
    now = dt.datetime.fromisoformat(source.execute("select now from replay_clock").fetchone()[0]).replace(tzinfo=dt.timezone.utc)
    first = max(first, now)  # what was ended goes on
    began, moment = time.monotonic(), first
    while True:
        written = advance(source, moment)
        if written:
            say(f"{label_of(moment)}  {written:5,} rows at the source")
        if moment >= last:
            return
        if options.speed:
            time.sleep(0.1)
            moment = min(last, first + dt.timedelta(seconds=(time.monotonic() - began) * options.speed))
        else:
            moment = min(last, moment + dt.timedelta(minutes=options.step))


# --- times


def midnight(day: dt.date) -> dt.datetime:
    """The beginning of a day in New York, UTC."""
    return dt.datetime.combine(day, dt.time(), NEW_YORK).astimezone(dt.timezone.utc)


def text_of(moment: dt.datetime) -> str:
    """A moment as the source writes it."""
    return moment.astimezone(dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def label_of(moment: dt.datetime) -> str:
    """A moment as people in New York say it; the hour that comes twice in autumn has its zone the second time."""
    local = moment.astimezone(NEW_YORK)
    return f"{local:%Y-%m-%d %H:%M} {local:%Z}" if local.fold else f"{local:%Y-%m-%d %H:%M}"


def wait_until(at: float) -> None:
    """Wait for a moment of the monotonic clock."""
    while (left := at - time.monotonic()) > 0:
        time.sleep(min(left, 0.5))


def say(text: str) -> None:
    """A line, seen at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
