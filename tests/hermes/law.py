"""The law of Hermes as a machine: after any edits at the source and any crash, one more sync makes the current rows equal the source.

Hypothesis draws a setting of a table and a list of steps: edits at a real source, syncs, and what ends a sync early (kill -9 at a
named step, an interrupt, kill -9 of the lake). The source is read with its own driver and compared with the lake by value, all
columns. `law` makes the machine; docs/law.md says what holds for which settings.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import sqlite3
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from workbench.errors import LakeUnavailable
from workbench.hermes import run as protocol
from workbench.hermes.run import STEPS
from workbench.hermes.sync import Hermes, SyncReport
from workbench.hermes.tables import Source, SyncPlan, TableJob
from workbench.lake import Lake
from workbench.lake.sql import quote
from workbench.settings import Settings

__all__ = ["POSTGRES", "SQLITE", "Ground", "Law", "PostgresTable", "Setting", "SourceRows", "SqliteTable", "law", "smallest"]

UTC = dt.timezone.utc
TABLE = "law"
MANY = protocol._MANY
START = dt.datetime(2020, 1, 1, tzinfo=UTC)
KEYS: dict[str, list[tuple[Any, ...]]] = {
    "integer": [(1,), (2,), (3,), (-7,), (2_000_000_000,)],
    "text": [("a",), ("B",), ("é",), ("it's \\",), ("",)],
    "two": [(1, 1), (1, 2), (2, 1), (-7, 1), (2_000_000_000, 5)],
}
BODIES = ["", "a", "b", "it's \\ é"]
AMOUNTS = [None, Decimal("0.00"), Decimal("-1.50"), Decimal("99999.99")]
FORWARD = [dt.timedelta(microseconds=1), dt.timedelta(seconds=10), dt.timedelta(hours=1), dt.timedelta(days=365 * 70)]
BACK = [dt.timedelta(microseconds=-1), dt.timedelta(seconds=-10), dt.timedelta(days=-5 * 365)]


@dataclass(frozen=True)
class Setting:
    """How the table is made at the source, and what `tables.yml` says of it. `clock` is whose time `updated_at` has."""

    name: str
    key: str = "integer"  # integer | text | two (a key of two numbers)
    mark: str = "timestamptz"  # the type of `updated_at` at the source
    watermark: bool = True
    deletes: str = "sweep"
    lookback: float = 0.0
    clock: str = "machine"  # machine (it may go back) | forward | server

    def __repr__(self) -> str:
        return repr(self.name)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # as Hypothesis prints it
        printer.text(repr(self))

    @property
    def is_whole(self) -> bool:
        """Whether any edit is noticed; else only those that move the watermark forward, and deletes as the setting says."""
        return self.deletes == "sweep" or not self.watermark

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the key."""
        return ("id", "line") if self.key == "two" else ("id",)


POSTGRES = (
    Setting("sweep of integer keys"),
    Setting("sweep of text keys", key="text", mark="timestamp", lookback=600),
    Setting("sweep of keys of two numbers, whole number watermark", key="two", mark="bigint"),
    Setting("no watermark", watermark=False),
    Setting("no watermark, no deletes", key="text", watermark=False, deletes="none"),
    Setting("no deletes, the server's clock", deletes="none", clock="server"),
    Setting("no deletes, times without a zone", mark="timestamp", deletes="none", clock="forward"),
    Setting("no deletes, whole number watermark", key="two", mark="bigint", deletes="none", clock="forward", lookback=5),
    Setting("deletes by a flag", deletes="column:gone", clock="server"),
)
SQLITE = (
    Setting("sweep of integer keys", mark="datetime"),
    Setting("sweep of text keys", key="text", mark="datetime", lookback=600),
    Setting("sweep of keys of two numbers, whole number watermark", key="two", mark="bigint"),
    Setting("no watermark", mark="datetime", watermark=False),
    Setting("no deletes", mark="datetime", deletes="none", clock="forward"),
    Setting("no deletes, text keys, whole number watermark", key="text", mark="bigint", deletes="none", clock="forward"),
    Setting("deletes by a flag", mark="datetime", deletes="column:gone", clock="forward", lookback=600),
)


# --- the source


class SourceRows:
    """One table of a real source, edited and read with the source's own driver."""

    connector: str
    widens: ClassVar[bool] = False
    transactions: ClassVar[bool] = False
    setting: Setting

    def options(self) -> dict[str, str]:
        """What stands under the source in `tables.yml`."""
        raise NotImplementedError

    def run(self, *statements: tuple[str, Sequence[Any]]) -> None:
        """Run statements in one transaction, and commit."""
        raise NotImplementedError

    def fetch(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows as they are committed now."""
        raise NotImplementedError

    def time(self, at: dt.datetime) -> Any:
        """A time as a value of the column `updated_at`."""
        raise NotImplementedError

    def value(self, name: str, value: Any) -> Any:
        """A value as the source's driver gives it, as the lake is to give it."""
        raise NotImplementedError

    def make(self, setting: Setting) -> None:
        """Make the table anew, empty."""
        self.setting = setting
        key = "text" if setting.key == "text" else "integer"
        line = ", line integer" if setting.key == "two" else ""
        self.run(
            (f"drop table if exists {TABLE}", ()),
            (
                f"create table {TABLE} (id {key} not null{line}, body text, n integer, amount numeric(10,2), gone boolean, "
                f"updated_at {setting.mark}, primary key ({', '.join(setting.names)}))",
                (),
            ),
        )

    def columns(self) -> list[str]:
        """The columns of the table now, in order."""
        return self.fetch(f"select * from {TABLE} limit 0")[0]

    def rows(self) -> list[dict[str, Any]]:
        """All rows as committed now, with values as the lake is to give them."""
        names, found = self.fetch(f"select * from {TABLE}")
        return [{n: self.value(n, v) for n, v in zip(names, row, strict=True)} for row in found]


class PostgresTable(SourceRows):
    """A table of a PostgreSQL server, and one transaction beside that may stay open."""

    connector = "postgres"
    widens = True
    transactions = True

    def __init__(self, server: Any) -> None:
        self.dsn = server.dsn()
        self._open = [server.connect(), server.connect()]
        for connection in self._open:
            connection.prepare_threshold = None  # the shape of the table changes between two statements
            connection.execute("set timezone to 'UTC'")
            connection.execute("set lock_timeout to '10s'")

    def options(self) -> dict[str, str]:
        return {"dsn": self.dsn}

    def run(self, *statements: tuple[str, Sequence[Any]]) -> None:
        with self._open[0].transaction():
            for sql, values in statements:
                self._open[0].execute(sql.replace("?", "%s") if values else sql, values or None)

    def beside(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement in the other connection: `begin`, edits, `commit` or `rollback`."""
        self._open[1].execute(sql.replace("?", "%s") if values else sql, values or None)

    def fetch(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        cursor = self._open[0].execute(sql)
        return [c.name for c in cursor.description], cursor.fetchall()

    def time(self, at: dt.datetime) -> Any:
        if self.setting.mark == "bigint":
            return int((at - START) / dt.timedelta(microseconds=1))
        return at if self.setting.mark == "timestamptz" else at.replace(tzinfo=None)

    def value(self, name: str, value: Any) -> Any:
        return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC) if isinstance(value, dt.datetime) else value

    def close(self) -> None:
        """Let go of the server."""
        for connection in self._open:
            connection.close()


class SqliteTable(SourceRows):
    """A table of a SQLite file; opened anew for each edit, as no connection may outlive a fork."""

    connector = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path

    def options(self) -> dict[str, str]:
        return {"path": str(self.path)}

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute("pragma synchronous = off")
            yield connection
        finally:
            connection.close()

    def run(self, *statements: tuple[str, Sequence[Any]]) -> None:
        with self._opened() as connection:
            connection.execute("begin immediate")
            for sql, values in statements:
                connection.execute(sql, [str(v) if isinstance(v, Decimal) else v for v in values])
            connection.execute("commit")

    def fetch(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        with self._opened() as connection:
            cursor = connection.execute(sql)
            return [c[0] for c in cursor.description], cursor.fetchall()

    def time(self, at: dt.datetime) -> Any:
        if self.setting.mark == "bigint":
            return int((at - START) / dt.timedelta(microseconds=1))
        return at.replace(tzinfo=None).isoformat(" ", "microseconds")

    def value(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        if name == "amount":
            return Decimal(str(value)).quantize(Decimal("0.01"))
        if name == "gone":
            return bool(value)
        if name == "updated_at" and self.setting.mark != "bigint":
            return dt.datetime.fromisoformat(value).replace(tzinfo=UTC)
        return value

    def rest(self) -> None:
        """As if the last write were a while ago: then the position alone tells whether the file has changed."""
        at = self.path.stat().st_mtime_ns - 5_000_000_000
        os.utime(self.path, ns=(at, at))


# --- the ground it stands on


@dataclass
class Ground:
    """What outlives an example: the lake, the source, and what was counted."""

    lake: Lake
    settings: Settings
    source: SourceRows
    table_settings: Sequence[Setting]
    kills_lake: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    days: list[tuple[tuple[Do, ...], Do]] = field(default_factory=list)  # of the example that runs, or ran last
    _hermes: Hermes | None = None

    def job(self, setting: Setting) -> TableJob:
        """The table as `tables.yml` would say it."""
        watermark = "updated_at" if setting.watermark else ""
        lookback = setting.lookback if setting.watermark else 0.0
        return TableJob(TABLE, "source", TABLE, setting.names, watermark, lookback=lookback, deletes=setting.deletes)

    def hermes(self, lake: Lake, setting: Setting, reached: Callable[[str], None] = lambda step: None) -> Hermes:
        """The sync of the one table."""
        plan = SyncPlan({"source": Source("source", self.source.connector, self.source.options())}, {TABLE: self.job(setting)}, {})
        return Hermes(lake, plan, self.settings.workspace, self.settings.state_dir, keeps_open=True, reached=reached)

    def renew(self, setting: Setting) -> Hermes:
        """The sync of the one table, as of a process that has just begun."""
        self.close()
        self._hermes = self.hermes(self.lake, setting)
        return self._hermes

    def start(self, setting: Setting) -> Hermes:
        """An empty table at the source, none in the lake, and no mark: as on the first day."""
        self.source.make(setting)
        made = self.renew(setting)
        made.ledger.prepare()
        for statement in (f"drop table if exists raw.{TABLE}", "truncate table skygraph.sync_state"):
            self.lake.command(statement)
        if self.counts["examples"] % 50 == 49:
            self.lake.command("truncate table skygraph.sync_runs")
        return made

    def killed(self, setting: Setting, at: str, *, full: bool) -> bool:
        """Sync in a process that ends itself with SIGKILL at a step; whether it came there. It shares no connection with this one."""
        child = os.fork()
        if child == 0:
            code = 9
            try:

                def reached(step: str) -> None:
                    if step == at:
                        os.kill(os.getpid(), signal.SIGKILL)

                report = self.hermes(Lake(self.settings), setting, reached).sync(full=full)
                code = 8 if report.failed else 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        ended = os.waitstatus_to_exitcode(status)
        assert ended in (0, -signal.SIGKILL), f"the sync to be killed failed: {ended}"
        return ended != 0

    def close(self) -> None:
        """Let go of the source."""
        if self._hermes is not None:
            self._hermes.close()


# --- the machine


@dataclass(frozen=True)
class Do:
    """A step of the machine, by the name of its method."""

    what: str
    how: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"{self.what}({', '.join(f'{k}={_plain(v)}' for k, v in self.how.items())})"


def _plain(value: Any) -> str:
    return str(value) if isinstance(value, (Decimal, dt.timedelta)) else repr(value)


def _do(what: str, **how: st.SearchStrategy[Any]) -> st.SearchStrategy[Do]:
    return st.fixed_dictionaries(how).map(lambda drawn: Do(what, drawn))


_KEY = st.integers(0, 4)
_SOME_KEYS = st.lists(_KEY, min_size=1, max_size=3, unique=True)
_ROW: dict[str, st.SearchStrategy[Any]] = {
    "body": st.sampled_from(BODIES), "n": st.integers(0, 2), "amount": st.sampled_from(AMOUNTS), "gone": st.booleans(),
}  # fmt: skip
_AT = st.sampled_from(STEPS)
_FULL = st.sampled_from([False, False, False, True])
_SCHEMA = st.sampled_from(["add x1", "add x2", "add x1 with a default", "drop x1", "drop x2", "widen n"])


def _edits(ground: Ground) -> st.SearchStrategy[Do]:
    put = _do("put", keys=_SOME_KEYS, has_time=st.sampled_from([True, True, True, False]), **_ROW)
    found = [
        put,
        put,
        _do("delete", keys=_SOME_KEYS),
        _do("reuse", key=_KEY, **_ROW),
        _do("restore", key=_KEY),
        _do("change_silently", key=_KEY, body=st.sampled_from(BODIES)),
        _do("set_the_clock", step=st.sampled_from(FORWARD + BACK)),
        _do("change_the_schema", change=_SCHEMA),
    ]
    if ground.source.transactions:
        within = _do("write_in_transaction", keys=_SOME_KEYS, early=st.booleans(), **_ROW)
        end = _do("end_transaction", how=st.sampled_from(["commit", "commit", "rollback"]))
        found += [_do("open_transaction"), within, _do("delete_in_transaction", key=_KEY), end]
    else:
        found += [_do("let_the_file_rest")]
    return st.one_of(found)


def _ends(ground: Ground) -> st.SearchStrategy[Do]:
    kill, interrupt = _do("kill_a_sync", at=_AT, full=_FULL), _do("interrupt_a_sync", at=_AT)
    found = [_do("sync", full=_FULL), _do("sync", full=_FULL), kill, kill, interrupt]
    return st.one_of([*found, _do("kill_the_lake", at=_AT)] if ground.kills_lake else found)


class Law(RuleBasedStateMachine):
    """Edits and syncs in any order. `ground` is set by `law`."""

    ground: ClassVar[Ground]

    def __init__(self) -> None:
        super().__init__()
        self.setting: Setting | None = None

    @initialize(setting=st.runner().flatmap(lambda machine: st.sampled_from(machine.ground.table_settings)), many=st.booleans())
    def begin(self, setting: Setting, many: bool = False) -> None:
        """A setting, and an empty table. With `many` its few rows are merged as many are: by their watermark first."""
        self.setting = setting
        protocol._MANY = 1 if many else MANY
        self.ground.counts["examples: many rows"] += many and setting.watermark
        self.hermes = self.ground.start(self.setting)
        self.source = self.ground.source
        self.now = START
        self.extra: list[str] = []
        self.is_wide = False
        self.before: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.locked: set[tuple[Any, ...]] = set()
        self.opened_at: dt.datetime | None = None
        self.moved_by = ""
        self.ground.days = []
        self.ground.counts["examples"] += 1
        self.ground.counts[f"setting: {self.setting.name}"] += 1

    @rule(
        edits=st.runner().flatmap(lambda machine: st.lists(_edits(machine.ground), min_size=1, max_size=4)),
        then=st.runner().flatmap(lambda machine: _ends(machine.ground)),
    )
    def day(self, edits: list[Do], then: Do) -> None:
        """Some edits at the source, then a sync, or one that does not end."""
        self.ground.days.append((tuple(edits), then))
        for step in (*edits, then):
            self.ground.counts[f"step: {step.what}"] += 1
            getattr(self, step.what)(**step.how)

    # --- edits at the source

    def _keys(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        """Keys that the open transaction has not locked."""
        assert self.setting is not None
        return [key for n in numbers if (key := KEYS[self.setting.key][n]) not in self.locked]

    def _where(self) -> str:
        assert self.setting is not None
        return " and ".join(f"{name} = ?" for name in self.setting.names)

    def _write(self, key: tuple[Any, ...], row: Mapping[str, Any], at: Any) -> tuple[str, list[Any]]:
        """The statement that inserts or updates a row whole."""
        assert self.setting is not None
        values = dict(zip(self.setting.names, key, strict=True)) | dict(row) | {"updated_at": at}
        values |= {name: row["body"] for name in self.extra if name not in row}
        server = self.setting.clock == "server" and at is not None
        if server:
            del values["updated_at"]
        names = [*values, *(["updated_at"] if server else [])]
        marks = ", ".join([*("?" * len(values)), *(["now()"] if server else [])])
        sets = ", ".join(f"{n} = excluded.{n}" for n in names if n not in self.setting.names)
        return (
            f"insert into {TABLE} ({', '.join(names)}) values ({marks}) on conflict ({', '.join(self.setting.names)}) do update set {sets}",
            list(values.values()),
        )

    def _edit(self) -> None:
        """Before an edit: keep the rows as they are, to be set back to."""
        assert self.setting is not None
        names, rows = self.source.fetch(f"select * from {TABLE}")
        for row in rows:
            values = dict(zip(names, row, strict=True))
            self.before[tuple(values[k] for k in self.setting.names)] = values

    def put(self, keys: list[int], has_time: bool, **row: Any) -> None:
        """Insert or update some rows, all with the time of now (or all with none), in one transaction."""
        self._edit()
        at = self.source.time(self.now) if has_time else None
        if found := self._keys(keys):
            self.source.run(*(self._write(key, row, at) for key in found))

    def delete(self, keys: list[int]) -> None:
        """Delete some rows."""
        self._edit()
        if found := self._keys(keys):
            self.source.run(*((f"delete from {TABLE} where {self._where()}", key) for key in found))

    def reuse(self, key: int, **row: Any) -> None:
        """Delete a row and insert another one with its key."""
        self._edit()
        for found in self._keys([key]):
            self.source.run((f"delete from {TABLE} where {self._where()}", found), self._write(found, row, self.source.time(self.now)))

    def restore(self, key: int) -> None:
        """Set a row back to what it was, where every edit is noticed with the time that it had."""
        assert self.setting is not None
        for found in self._keys([key]):
            if (was := self.before.get(found)) is not None:
                row = {c: was.get(c) for c in self.source.columns() if c not in (*self.setting.names, "updated_at")}
                if self.setting.is_whole:
                    names = [*self.setting.names, *row, "updated_at"]
                    values = [*found, *row.values(), was["updated_at"]]
                    insert = f"insert into {TABLE} ({', '.join(names)}) values ({', '.join('?' * len(names))})"
                    self.source.run((f"delete from {TABLE} where {self._where()}", found), (insert, values))
                else:
                    self.source.run(self._write(found, row, self.source.time(self.now)))

    def change_silently(self, key: int, body: str) -> None:
        """Change a row without its time, where that is noticed."""
        assert self.setting is not None
        if not self.setting.is_whole:
            return
        self._edit()
        for found in self._keys([key]):
            self.source.run((f"update {TABLE} set body = ? where {self._where()}", [body, *found]))

    # --- the clock of the source

    def set_the_clock(self, step: dt.timedelta) -> None:
        """Time passes, or the clock is set ahead by decades; where every edit is noticed also back, by a microsecond or by years."""
        assert self.setting is not None
        if step < dt.timedelta(0) and self.setting.clock != "machine":
            return
        if 1950 < self.now.year + step.days // 365 < 2250:
            self.now += step

    # --- the schema

    def change_the_schema(self, change: str) -> None:
        """Add a column with a value in the rows there are or with none, drop it, or make integer bigint."""
        if self.locked:
            return  # the statement would wait for the open transaction
        verb, name, *rest = change.split()
        if verb == "add" and name not in self.extra:
            self.source.run((f"alter table {TABLE} add column {name} text{' default ' + repr('was here') if rest else ''}", ()))
            self.extra.append(name)
        elif verb == "drop" and name in self.extra:
            self.source.run((f"alter table {TABLE} drop column {name}", ()))
            self.extra.remove(name)
        elif verb == "widen" and self.source.widens and not self.is_wide:
            self.source.run((f"alter table {TABLE} alter column n type bigint", ()))
            self.is_wide = True
            for key in self._keys([0]):
                row = {"body": "wide", "n": 1 << 40, "amount": None, "gone": False}
                self.source.run(self._write(key, row, self.source.time(self.now)))

    def let_the_file_rest(self) -> None:
        """As if the last write were a while ago."""
        self.source.rest()

    # --- a transaction that stays open

    def open_transaction(self) -> None:
        """Begin a transaction; it has written nothing yet."""
        if self.opened_at is None:
            self.source.beside("begin")
            self.opened_at = self.now

    def write_in_transaction(self, keys: list[int], early: bool, **row: Any) -> None:
        """Insert or update rows in it, with the time of its beginning or of now. Nobody sees them yet."""
        assert self.setting is not None
        if self.opened_at is None:
            return
        at = self.source.time(self.opened_at if early else self.now)
        for n in keys:
            key = KEYS[self.setting.key][n]
            self.locked.add(key)
            self.source.beside(*self._write(key, row, at))

    def delete_in_transaction(self, key: int) -> None:
        """Delete a row in it."""
        assert self.setting is not None
        if self.opened_at is None:
            return
        found = KEYS[self.setting.key][key]
        self.locked.add(found)
        self.source.beside(f"delete from {TABLE} where {self._where()}", found)

    def end_transaction(self, how: str) -> None:
        """Commit it, or roll it back."""
        if self.opened_at is None:
            return
        self._edit()
        self.source.beside(how)
        self.opened_at = None
        self.locked.clear()

    # --- sync

    def sync(self, full: bool) -> None:
        """Sync. It must succeed, and what is current then equals the source."""
        self._synced(self.hermes.sync(full=full))

    def kill_a_sync(self, at: str, full: bool) -> None:
        """Sync, and kill -9 it at a step."""
        assert self.setting is not None
        if self.ground.killed(self.setting, at, full=full):
            self.ground.counts[f"killed: {at}"] += 1
            self.hermes = self.ground.renew(self.setting)  # a process that begins anew looks for what the dead one left
        self._look()

    def interrupt_a_sync(self, at: str) -> None:
        """Sync, and stop it from another thread at a step."""
        assert self.setting is not None

        def reached(step: str) -> None:
            if step == at:
                stopper = threading.Thread(target=stopped.stop)
                stopper.start()
                stopper.join()
                self.ground.counts[f"interrupted: {at}"] += 1

        stopped = self.ground.hermes(self.ground.lake, self.setting, reached)
        try:
            report = stopped.sync()
        finally:
            stopped.close()
        for run in report.runs:
            assert run.status == "ok" or run.error.startswith("interrupted"), run.error
        self._look()

    def kill_the_lake(self, at: str) -> None:
        """Sync, and kill -9 the lake at a step; its keeper brings it back."""
        assert self.setting is not None
        embedded = self.ground.lake.embedded
        assert embedded is not None

        def reached(step: str) -> None:
            if step == at and (address := embedded.address()) is not None:
                os.kill(address.pid, signal.SIGKILL)
                self.ground.counts[f"lake killed: {at}"] += 1

        syncing = self.ground.hermes(self.ground.lake, self.setting, reached)
        try:
            syncing.sync()  # it may fail, and may not: some steps are safe to be done again
        except LakeUnavailable:
            pass
        finally:
            syncing.close()
        self.ground.lake.close()
        self.ground.lake.ping()
        self._look()

    # --- what holds

    def _synced(self, report: SyncReport) -> None:
        self.ground.counts["syncs"] += 1
        for run in report.runs:
            assert run.status == "ok", f"the sync failed: {run.error}"
            self.ground.counts[f"mode: {run.mode}"] += 1
        self._is_equal("after a sync")
        self._look()

    def _look(self) -> None:
        """Where a run has moved the mark, killed or not, all that it passed over is in the lake; and nothing is there twice."""
        assert self.setting is not None
        state = self.hermes.ledger.states().get(TABLE)
        if state is not None and state.run_id != self.moved_by and (state.watermark or state.position):
            self._is_equal(f"the mark was moved to {state.watermark.text() if state.watermark else state.position!r}")
        self.moved_by = state.run_id if state else ""
        if TABLE in self.ground.lake.tables("raw"):
            rows = self.ground.lake.query_history(f"select *, _part from raw.{TABLE} order by _version").to_pylist()
            self._has_no_copies(rows)
            if state is not None and state.watermark is not None and not self.setting.deletes.startswith("column:"):
                # rows under a delete flag are read, and do not land
                top = max((row["updated_at"] for row in rows if row["updated_at"] is not None), default=None)
                assert top is not None, f"the mark is {state.watermark.text()}, and no row with a time has landed"
                assert state.watermark.value <= top, f"the mark is {state.watermark.text()}, the highest time that landed {top}"

    def _has_no_copies(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """No row was inserted again as it was: among the versions of a key no two that follow each other are the same."""
        assert self.setting is not None
        if any(not row["_part"].endswith("_0") for row in rows):
            return  # merged meanwhile: versions that stood between two are gone
        last: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in rows:
            key = tuple(row[k] for k in self.setting.names)
            values = {k: v for k, v in row.items() if k not in ("_version", "_synced_at", "_run_id", "_part")}
            assert last.get(key) != values, f"stands twice in raw.{TABLE}: {values}"
            last[key] = values

    def _is_equal(self, when: str) -> None:
        """The law. Rows of the source, as its own driver gives them, against the current rows of the lake: all columns, by value."""
        assert self.setting is not None
        there = {tuple(row[k] for k in self.setting.names): row for row in self.source.rows()}
        columns = ", ".join(quote(c) for c in self.source.columns())
        rows = self.ground.lake.query(f"select {columns} from raw.{TABLE}").to_pylist()
        here = {tuple(row[k] for k in self.setting.names): row for row in rows}
        assert len(here) == len(rows), f"{when}: a key is current twice: {rows}"
        if self.setting.deletes != "sweep":
            here = {key: row for key, row in here.items() if key in there}  # nobody said that the others are gone
        if self.setting.deletes == "column:gone":
            there = {key: row for key, row in there.items() if not row["gone"]}
        lines = []
        for key in sorted({*there, *here}, key=repr):
            if there.get(key) != here.get(key):
                lines += [f"  at the source {_shown(there.get(key))}", f"  in the lake   {_shown(here.get(key))}"]
        assert not lines, "\n".join([f"{when}, with {self.setting.name!r}:", *lines])

    def teardown(self) -> None:
        """One more sync, and the law holds; one more, and there is nothing to do."""
        try:
            self._end()
        finally:
            protocol._MANY = MANY

    def _end(self) -> None:
        if self.setting is None:
            return
        self.let_go()
        if _is_failing():
            return
        self._synced(self.hermes.sync())
        again = self.hermes.sync()
        self._synced(again)
        assert (again.inserted, again.deleted) == (0, 0), f"nothing had changed: {again.to_dict()}"

    def let_go(self) -> None:
        """End the transaction that is still open."""
        if self.setting is not None and self.opened_at is not None:
            self.source.beside("rollback")
            self.opened_at = None
            self.locked.clear()


def _is_failing() -> bool:
    import sys

    return sys.exc_info()[0] is not None


def _shown(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "no row"
    return ", ".join(
        f"{k}={v.isoformat(' ') if isinstance(v, dt.datetime) else str(v) if isinstance(v, Decimal) else repr(v)}" for k, v in row.items()
    )


def smallest(machine: type[Law], setting: Setting) -> str:
    """Of the example that just failed: days and edits taken away while it fails, as Hypothesis would print it, and what it says.

    Hypothesis makes examples smaller still, with many more runs than a test has time for.
    """

    def said(days: Sequence[tuple[tuple[Do, ...], Do]]) -> str:
        tried = machine()
        tried.begin(setting)
        try:
            for edits, then in days:
                tried.day(list(edits), then)
            tried.teardown()
        except AssertionError as error:
            return str(error)
        finally:
            tried.let_go()
        return ""

    best = list(machine.ground.days)
    words = said(best)
    assert words, "it did not fail again"
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for days in _smaller(best):
            if found := said(days):
                best, words, is_smaller = days, found, True
                break
    lines = [f"state.day(edits=[{', '.join(map(repr, edits))}], then={then!r})" for edits, then in best]
    return "\n".join([words, "", "state = Law()", f"state.begin(setting={setting!r})", *lines, "state.teardown()"])


def _smaller(days: Sequence[tuple[tuple[Do, ...], Do]]) -> Iterator[list[tuple[tuple[Do, ...], Do]]]:
    for n in range(len(days)):
        yield [*days[:n], *days[n + 1 :]]
    for n, (edits, then) in enumerate(days):
        for m, edit in enumerate(edits):
            yield [*days[:n], ((*edits[:m], *edits[m + 1 :]), then), *days[n + 1 :]]
            if len(edit.how.get("keys", ())) > 1:
                one = Do(edit.what, {**edit.how, "keys": edit.how["keys"][:1]})
                yield [*days[:n], ((*edits[:m], one, *edits[m + 1 :]), then), *days[n + 1 :]]
        if then.what != "sync":
            yield [*days[:n], (edits, Do("sync", {"full": False})), *days[n + 1 :]]


def law(ground: Ground) -> type[Law]:
    """The machine on this ground."""
    return type("Law", (Law,), {"ground": ground})
