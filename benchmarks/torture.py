"""Kill the sync and the lake, again and again, under a live writer, and see whether a row is lost.

Several connections insert, update and delete rows of four tables of PostgreSQL, hold some transactions open and commit them late.
A process of its own syncs in a loop. It is killed with SIGKILL at a random moment or at a named step of the protocol, or the
lake's engine is. Every so often the writer stops, one more sync runs, and every column of every row is compared, in Python: newest
versions picked from the physical rows, beside what the lake calls current. The last line says it all; the exit status is 1 when
a row was lost or wrong.

    python benchmarks/torture.py [--kills 200] [--seed N]
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import itertools
import multiprocessing as mp
import os
import random
import signal
import threading
import time
from decimal import Decimal
from multiprocessing.connection import Connection
from typing import Any

from _servers import open_lake, own_postgres, own_workspace, table_of

_WRITERS = 5
_CHECK_EVERY = 25  # kills
_DIES_WITHIN_S = 60.0
_SEEN = ("_version", "_deleted", "_synced_at", "_run_id")

_SCHEMA = """
create sequence change_no;
create table account (
    id bigint primary key, balance numeric(14,2) not null, note text, tags jsonb, opened date, updated_at timestamptz not null
);
create index on account (updated_at);
create table posting (
    account text, n integer, amount double precision, memo text, change_no bigint not null default nextval('change_no'),
    primary key (account, n)
);
create index on posting (change_no);
create table person (
    id integer primary key, name text not null, score smallint, gone boolean not null default false, updated_at timestamptz not null
);
create index on person (updated_at);
create table visit (
    id uuid primary key default gen_random_uuid(), who integer, at timestamp not null default localtimestamp, seconds integer,
    updated_at timestamptz not null
);
create index on visit (updated_at);
insert into account select n, n % 3, 'first', '{"n": 1}', date '2020-01-01', now() from generate_series(1, 15000) as n;
insert into posting select 'a ' || n / 10, n % 10, 0.5, 'first' from generate_series(1, 8000) as n;
insert into person select n, 'Ada', n % 5, n % 7 = 0, now() from generate_series(1, 8000) as n;
insert into visit (who, seconds, updated_at) select n, 0, now() from generate_series(1, 3000) as n;
"""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table under torture: how it is synced, and what of the source should be current."""

    name: str
    key: tuple[str, ...]
    watermark: str
    deletes: str
    live: str = "true"


TABLES = (
    Table("account", ("id",), "updated_at", "sweep"),  # swept by ranges of a whole number
    Table("posting", ("account", "n"), "change_no", "sweep"),  # swept by keys; a late commit has a lower number
    Table("person", ("id",), "updated_at", "column:gone", "not gone"),
    Table("visit", ("id",), "updated_at", "none"),
)


@dataclasses.dataclass(frozen=True)
class Place:
    """What a process of the benchmark needs to reach both servers."""

    dsn: str
    folder: str
    http: int
    tcp: int


# --- the writer


def _transaction(db: Any, chance: random.Random, when: str) -> int:
    """Some statements of one transaction; rows written. Keys are few, so that they are used again after a deletion."""
    rows = 0
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        kind = chance.random()
        if kind < 0.40:
            key = chance.randint(1, 20_000)
            if chance.random() < 0.15:
                rows += db.execute("delete from account where id = %s", (key,)).rowcount
            elif chance.random() < 0.15:  # a batch of one moment
                sign = f"update account set balance = -balance, updated_at = {when} where id between %s and %s"
                rows += db.execute(sign, (key, key + 40)).rowcount
            else:
                # few values: what was changed is often set back to what it was
                note, tags = chance.choice((None, "", "tab\tend\\", "wörd 'q'")), f'{{"n": {chance.randint(0, 2)}}}'
                rows += db.execute(
                    f"insert into account values (%s, %s, %s, %s, date '2020-01-01' + %s, {when}) on conflict (id) do update set "
                    "balance = excluded.balance, note = excluded.note, tags = excluded.tags, opened = excluded.opened, "
                    "updated_at = excluded.updated_at",
                    (key, Decimal(chance.randint(0, 3)), note, tags, chance.randint(0, 3)),
                ).rowcount
        elif kind < 0.65:
            name, n = f"a {chance.randint(1, 1500)}", chance.randint(1, 10)
            if chance.random() < 0.2:
                rows += db.execute("delete from posting where account = %s and n <= %s", (name, n)).rowcount
            else:
                rows += db.execute(
                    "insert into posting (account, n, amount, memo) values (%s, %s, %s, %s) on conflict (account, n) do update set "
                    "amount = excluded.amount, memo = excluded.memo, change_no = nextval('change_no')",
                    (name, n, chance.choice((0.1, 1e300, -0.5)), chance.choice((None, "x", "y" * 300))),
                ).rowcount
        elif kind < 0.85:
            rows += db.execute(
                f"insert into person values (%s, %s, %s, %s, {when}) on conflict (id) do update set name = excluded.name, "
                "score = excluded.score, gone = excluded.gone, updated_at = excluded.updated_at",
                (chance.randint(1, 10_000), chance.choice(("Ada", "Grace")), chance.choice((None, 1, 2)), chance.random() < 0.2),
            ).rowcount
        elif chance.random() < 0.7:
            rows += db.execute(f"insert into visit (who, seconds, updated_at) values (%s, 0, {when})", (chance.randint(1, 3000),)).rowcount
        else:
            rows += db.execute(
                f"update visit set seconds = seconds + 1, updated_at = {when} where id = "
                "(select id from visit where id >= gen_random_uuid() order by id limit 1)"
            ).rowcount
    return rows


def _write(
    dsn: str, seed: int, go: threading.Event, stop: threading.Event, idle: threading.Semaphore, counts: collections.Counter[str]
) -> None:
    """One connection that writes until it is stopped; while `go` is not set it holds no transaction."""
    import psycopg

    chance = random.Random(seed)
    with psycopg.connect(dsn) as db:
        while not stop.is_set():
            if not go.is_set():
                idle.release()
                go.wait()
                continue
            when = chance.choice(("now()", "now()", "clock_timestamp()", "statement_timestamp()"))
            try:
                rows = _transaction(db, chance, when)
                if chance.random() < 0.08:  # held open over syncs, and committed late
                    stop.wait(chance.uniform(0, 4))
                    rows += _transaction(db, chance, when)
                    counts["late"] += 1
                if chance.random() < 0.07:
                    db.rollback()
                    counts["rolled back"] += 1
                else:
                    db.commit()
                    counts["rows"] += rows
                    counts["transactions"] += 1
            except psycopg.OperationalError as error:  # a deadlock between two writers: one gives way
                db.rollback()
                counts["rolled back"] += 1
                if db.closed:
                    raise error
            stop.wait(chance.uniform(0, 0.03))


def writer(dsn: str, seed: int, orders: Connection) -> None:
    """The writing process. Told `pause`, it answers when no transaction is open; told `go`, it goes on; told `stop`, it ends."""
    go, stop, idle = threading.Event(), threading.Event(), threading.Semaphore(0)
    go.set()
    counts: collections.Counter[str] = collections.Counter()
    threads = [threading.Thread(target=_write, args=(dsn, seed * 100 + n, go, stop, idle, counts), daemon=True) for n in range(_WRITERS)]
    for thread in threads:
        thread.start()
    while (order := orders.recv()) != "stop":
        if order == "pause":
            go.clear()
            for _ in threads:
                while not idle.acquire(timeout=0.2):
                    if not all(t.is_alive() for t in threads):
                        orders.send("a writer died")
                        return
        else:
            go.set()
        orders.send(dict(counts))
    stop.set()
    go.set()
    for thread in threads:
        thread.join()
    orders.send(dict(counts))


# --- the sync


def _hermes(place: Place, reached: Any, *, keeps_open: bool) -> Any:
    from pathlib import Path

    from workbench.hermes.sync import Hermes
    from workbench.hermes.tables import Source, SyncPlan, TableJob

    lake = open_lake(place.folder, place.http, place.tcp)
    jobs = {t.name: TableJob(t.name, "bank", t.name, t.key, t.watermark, deletes=t.deletes) for t in TABLES}
    plan = SyncPlan({"bank": Source("bank", "postgres", {"dsn": place.dsn})}, jobs, {})
    folder = Path(place.folder)
    return Hermes(lake, plan, folder, folder / ".skygraph", keeps_open=keeps_open, reached=reached)


def syncing(place: Place, die_at: str, die_after: int, say: Connection) -> None:
    """Sync in a loop. With `die_at`, end with SIGKILL when that step is reached for the `die_after`th time."""
    from workbench.errors import SkyGraphError

    passed: collections.Counter[str] = collections.Counter()

    def reached(step: str) -> None:
        passed[step] += 1
        if step == die_at and passed[step] >= die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    hermes = _hermes(place, reached, keeps_open=True)
    say.send("ready")
    while True:
        try:
            report = hermes.sync()
            errors = [f"{run.table}: {run.error}" for run in report.runs if run.error]
        except SkyGraphError as error:
            errors = [f"{type(error).__name__}: {error}"]
        with contextlib.suppress(OSError):
            say.send(errors)


def sync_once(place: Place) -> list[str]:
    """One sync, here; its errors."""
    hermes = _hermes(place, lambda step: None, keeps_open=False)
    report = hermes.sync()
    hermes.lake.close()
    return [f"{run.table}: {run.error}" for run in report.runs if run.error]


# --- the comparison, outside the engine


@dataclasses.dataclass
class Verdict:
    """What a comparison found, over all tables."""

    rows: int = 0
    lost: int = 0
    wrong: int = 0
    failed: int = 0  # syncs of a comparison that reported an error
    doubled: int = 0  # physical rows of one key and one version, beyond the first
    again: int = 0  # physical rows that say what the version before them said
    examples: list[str] = dataclasses.field(default_factory=list)


def _plain(value: Any) -> Any:
    """A value as both sides give it: what differs only in its Python type is made one."""
    import datetime as dt
    import uuid

    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        return str(uuid.UUID(bytes=value)) if len(value) == 16 else value
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.timezone.utc) if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)
    return value


def compare(place: Place) -> Verdict:
    """Every column of every row of every table: the source's against the newest physical versions and the lake's current rows."""
    import psycopg

    lake, found = open_lake(place.folder, place.http, place.tcp), Verdict()
    with psycopg.connect(place.dsn) as db:
        for table in TABLES:
            columns = [c for c in lake.columns(f"raw.{table.name}") if c not in _SEEN]
            texts = {"tags": "tags::text"}
            cursor = db.execute(f"select {', '.join(texts.get(c, c) for c in columns)} from {table.name} where {table.live}")
            at = [columns.index(k) for k in table.key]
            there = {tuple(row[n] for n in at): row for row in (tuple(map(_plain, r)) for r in cursor)}
            # the values as text, where the engine's Arrow has no type for them
            shown = ", ".join(f"toString({c}) as {c}" if c == "id" and table.name == "visit" else c for c in columns)
            physical = lake.query_history(f"select {shown}, _version, _deleted from raw.{table.name}").to_pylist()
            versions: dict[tuple[Any, ...], list[tuple[int, int, tuple[Any, ...]]]] = {}
            for row in physical:
                values = tuple(_plain(row[c]) for c in columns)
                versions.setdefault(tuple(values[n] for n in at), []).append((row["_version"], row["_deleted"], values))
            newest = {}
            for key, all_ in versions.items():
                all_.sort(key=lambda v: v[0])
                for a, b in itertools.pairwise(all_):
                    found.doubled += a[0] == b[0]
                    found.again += a[0] != b[0] and a[1:] == b[1:]
                if not all_[-1][1]:
                    newest[key] = all_[-1][2]
            current = lake.query(f"select {shown} from raw.{table.name}").to_pylist()
            here = {key: row for row in current for key in [tuple(_plain(row[k]) for k in table.key)]}
            agreed = {key: tuple(_plain(row[c]) for c in columns) for key, row in here.items()}
            found.rows += len(there)
            found.lost += len([key for key in there if key not in newest or key not in agreed])
            all_wrong: set[tuple[Any, ...]] = set()
            for name, side in (("newest", newest), ("current", agreed)):
                wrong = [key for key, row in side.items() if there.get(key) != row]
                all_wrong |= set(wrong)
                missing = list(there.keys() - side.keys())[:3]
                found.examples += [f"{table.name} {key}: not among the {name}: {there[key]}" for key in missing]
                found.examples += [f"{table.name} {key}: {name} {side[key]}, at the source {there.get(key)}" for key in wrong[:3]]
            found.wrong += len(all_wrong)
            if len(current) != len(here):
                found.examples.append(f"{table.name}: {len(current)} current rows have {len(here)} keys")
                found.wrong += len(current) - len(here)
    lake.close()
    return found


# --- the whole


class Torture:
    """One run: the writer, the sync that is killed, and what was counted."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place = place
        self.chance = random.Random(seed)
        self.spawn = mp.get_context("spawn")
        self.killed: collections.Counter[str] = collections.Counter()
        self.said: collections.Counter[str] = collections.Counter()
        self.syncs = 0
        self.worst = Verdict()
        self.checks = 0
        self.orders, theirs = self.spawn.Pipe()
        self.writer = self.spawn.Process(target=writer, args=(place.dsn, seed, theirs), daemon=True)
        self.writer.start()

    def tell(self, order: str) -> dict[str, int]:
        """Give the writer an order; what it has counted so far."""
        self.orders.send(order)
        if not self.orders.poll(120):
            raise RuntimeError("the writer does not answer")
        answer = self.orders.recv()
        if not isinstance(answer, dict):
            raise RuntimeError(str(answer))
        return answer

    def start_sync(self, die_at: str = "", die_after: int = 1) -> tuple[Any, Connection]:
        """A syncing process that is ready, and what it says."""
        mine, theirs = self.spawn.Pipe(duplex=False)
        process = self.spawn.Process(target=syncing, args=(self.place, die_at, die_after, theirs), daemon=True)
        process.start()
        theirs.close()
        if not mine.poll(60) or mine.recv() != "ready":
            raise RuntimeError("the sync does not start")
        return process, mine

    def hear(self, said: Connection) -> None:
        """Take in what a syncing process said."""
        with contextlib.suppress(EOFError, OSError):
            while said.poll():
                self.syncs += 1
                for error in said.recv():
                    self.said[_short(error)] += 1

    def kill_at_step(self, step: str) -> bool:
        """Have a sync end itself at a step, in one of its first runs. False when it never came there."""
        process, said = self.start_sync(step, self.chance.randint(1, 12))
        process.join(_DIES_WITHIN_S)
        self.hear(said)
        if process.is_alive():
            process.kill()
            process.join()
            return False
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"the sync ended with status {process.exitcode}")
        self.killed[f"sync, at step {step!r}"] += 1
        return True

    def kill_anywhere(self) -> None:
        """Kill a sync at a random moment."""
        process, said = self.start_sync()
        process.join(self.chance.uniform(0, 2.5))
        process.kill()
        process.join()
        self.hear(said)
        self.killed["sync, at any moment"] += 1

    def kill_lake(self) -> None:
        """Kill the lake's engine while a sync runs; and the sync, soon after the keeper has brought the engine back."""
        process, said = self.start_sync()
        process.join(self.chance.uniform(0, 2.0))
        lake = open_lake(self.place.folder, self.place.http, self.place.tcp)
        assert lake.embedded is not None
        address = lake.embedded.address()
        if address is None:
            raise RuntimeError("the lake does not run")
        os.kill(address.pid, signal.SIGKILL)
        self.killed["lake"] += 1
        lake.ping()  # waits until it is back
        lake.close()
        process.join(self.chance.uniform(0, 1.5))
        process.kill()  # and the sync, while it finds its way again
        self.killed["sync, after the lake came back"] += 1
        process.join()
        self.hear(said)

    def check(self) -> None:
        """Stop the writer, sync once more, compare all; then go on."""
        counts = self.tell("pause")
        errors = sync_once(self.place)
        found = compare(self.place)
        self.checks += 1
        for field in ("lost", "wrong", "doubled", "again"):  # summed over the comparisons: a row may be in several
            setattr(self.worst, field, getattr(self.worst, field) + getattr(found, field))
        self.worst.rows = found.rows
        kills = sum(self.killed.values())
        print(
            f"{kills:>4} kills, {counts.get('rows', 0):>7} rows written, {self.syncs:>4} syncs ended: {found.rows} rows at the source, "
            f"{found.lost} lost, {found.wrong} wrong, {found.doubled} doubled, {found.again} copied again", flush=True,
        )  # fmt: skip
        for line in [*errors, *found.examples]:
            print(f"      {line}", flush=True)
        self.worst.failed += len(errors)
        self.tell("go")


def _short(error: str) -> str:
    import re

    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "#", error)[:160]


def main() -> int:
    """Print a line per comparison, then the counts; 1 when a row was lost or wrong."""
    from workbench.hermes.run import STEPS

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="how many in all (default 200)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random choices; the timing differs all the same")
    options = parser.parse_args()
    started = time.monotonic()
    print(f"seed {options.seed}", flush=True)
    with own_postgres() as server, own_workspace() as settings:
        with server.connect() as db:
            db.execute(_SCHEMA)
        place = Place(server.dsn(), str(settings.workspace), settings.lake_http_port, settings.lake_tcp_port)
        torture = Torture(place, options.seed)
        steps, next_check = list(STEPS), _CHECK_EVERY
        try:
            while (kills := sum(torture.killed.values())) < options.kills:
                kind = torture.chance.random()
                if kind < 0.45:
                    torture.kill_at_step(steps[0])
                    steps.append(steps.pop(0))
                elif kind < 0.75:
                    torture.kill_anywhere()
                else:
                    torture.kill_lake()
                if kills >= next_check:
                    torture.check()
                    next_check += _CHECK_EVERY
            torture.check()
            counts = torture.tell("stop")
        finally:
            torture.writer.kill()
            torture.writer.join()
    found = torture.worst
    lake_kills = torture.killed["lake"]
    print()
    print(table_of(["killed with SIGKILL", "times"], [[what, n] for what, n in sorted(torture.killed.items())]))
    if torture.said:
        print("\n" + table_of(["what syncs said meanwhile", "times"], [[what, n] for what, n in torture.said.most_common(12)]))
    print(
        f"\n{sum(torture.killed.values()) - lake_kills} kills of sync, {lake_kills} kills of lake, {torture.syncs} syncs between them, "
        f"{time.monotonic() - started:.0f} s\n{counts['rows']} rows written in {counts['transactions']} transactions "
        f"({counts['late']} held open, {counts['rolled back']} rolled back), {found.rows} rows at the end\n"
        f"{torture.checks} comparisons: {found.lost} rows lost, {found.wrong} rows wrong, "
        f"{found.doubled} physical duplicates of a version, {found.again} physical copies of an unchanged row, {found.failed} syncs failed"
    )
    return 1 if found.lost or found.wrong or found.doubled or found.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
