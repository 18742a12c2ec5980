"""One run of one table: read the mark, pull, insert what changed, sweep what is gone, move the mark.

Rows first, mark second. The lower bound is inclusive and goes back by the lookback, so the boundary is read again; rows that
are current already are not inserted again. What is read is staged beside the raw table, once, and everything that has to be
known of it (doubled keys, what changed, checksums) is asked of the stage. A run may end at any of `STEPS`; another one gives
the same current rows.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from workbench.errors import LakeError, Misfit, QueryError, SkyGraphError, SourceError, UsageError
from workbench.hermes.biography import Biography
from workbench.hermes.connector import (
    Connector,
    Fingerprint,
    HasFingerprints,
    HasPositions,
    Ranges,
    SourceColumn,
    SourceTable,
    Span,
    Stage,
    TracksTransactions,
)
from workbench.hermes.landing import DOES_NOT_FIT, bare, parse_text
from workbench.hermes.ledger import Ledger, SyncRun, TableState
from workbench.hermes.quarantine import Quarantine
from workbench.hermes.ranges import CLICKHOUSE, differing, fold, is_whole_number, merge_ranges, mixed
from workbench.hermes.tables import TableJob
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import (
    MERGED_WHEN_IDLE,
    RAW_COLUMNS,
    Column,
    create_replacing,
    current,
    key_names,
    quote,
    quote_table,
    quote_text,
    row_hash,
    rows_checksum,
    shape_of,
)

__all__ = ["REWOUND", "STEPS", "TableRun", "at_or_past", "landing"]

# where a run may end, by the name of what has just been done; the last is the only one after which the mark is moved
STEPS = ("began", "position read", "table made", "mark read", "pulled", "inserted", "swept", "mark moved")

# ClickHouse numbers of "this value does not parse as that type": the source's fault, not the lake's
_CAST_CODES = {6, 27, 38, 41, 53, 69, 70, 72, 131, 321, 349, 407}
_FIRST_RANGES = 400
_ROWS_A_RANGE = 25_000
_KEYS_A_LEAF = 500
_FEW, _FEW_BYTES = 100_000, 256 << 20  # rows of a span that are staged in memory, and what the lake may take for it
_OUT_OF_MEMORY = 241
_COMPARED = 1_000  # rows whose hashes may stand in a statement
_MANY = 2_000  # from so many rows on, most of them are told to be new by their watermark, before their values are compared
_ROWS_A_PASS = 4_000_000
_NO_LOW, _NO_HIGH = -(1 << 63), 1 << 63
_WRAP = 1 << 64  # sums of hashes go round
REWOUND = " rewound"  # after a spec: the mark was moved by hand, so something is to be read, whatever the source says
_CLOCKS_DIFFER = dt.timedelta(minutes=1)  # by so much, without being worth a word
_SAFE = " safe"  # after a position: no row can appear under the mark that was taken there
_OUR_COLUMNS = ", ".join(quote(c.name) for c in RAW_COLUMNS)


@dataclasses.dataclass(eq=False)
class TableRun:
    """The steps of one run of one table, and what they counted. Made for one run; `reached` hears the name of each step."""

    lake: Lake
    ledger: Ledger
    connector: Connector
    job: TableJob
    run_id: str
    started: dt.datetime
    state: TableState | None
    reached: Callable[[str], None]
    is_there: bool  # the raw table

    def __post_init__(self) -> None:
        self.tag = f"sync:{self.job.table}:{self.run_id}:"
        self.quarantine = Quarantine(self.lake, self.job, self.run_id)
        self.biography = Biography(self.lake, self.job, self.run_id)
        self.read = self.inserted = self.deleted = self.compared = self.bytes = 0
        self.ranges = self.ranges_differing = self.keys_listed = 0
        self.sums: list[tuple[int, int]] = []
        self.notes: list[str] = []
        self.is_careful = False
        self.here: dict[str, str] = {}
        self.staged = self.physical = self.highest = 0
        self.last: Watermark | None = None  # the highest that ever landed
        self.spec = self.print = ""
        self.expected = 0  # rows to come, where the source says about how many it has

    # --- the runs there are

    def sync(self, *, full: bool) -> SyncRun:
        """The run of `skygraph sync`: from the mark on, or everything."""
        job, state = self.job, self.state
        self.reached("began")
        position = ""
        if isinstance(self.connector, HasPositions):
            was = state.position.removesuffix(_SAFE) if state and state.spec.startswith(f"{job.spec} ") and not full else ""
            was = "" if state and (state.spec.endswith(REWOUND) or not self.is_there) else was
            if state and was and self.connector.unchanged(was):
                return self._report("unchanged", state.watermark, state.watermark)
            position = self.connector.position()
        self.reached("position read")
        described = self._described()
        self.spec = f"{job.spec} {_shape(described)}"
        if state and not full and self.is_there and state.spec == self.spec and self._is_still(described, state):
            self.state = dataclasses.replace(state, position=f"{position}{_SAFE}")
            return self._report("unchanged", state.watermark, state.watermark)
        self._look()
        source = self._settled(described)
        mark = state.watermark if state and (state.source, state.from_, state.watermark_column) == self._read_so_far else None
        is_empty, is_grown = self._make_table(source)
        self.reached("table made")
        # asked before the rows are read: what arrives meanwhile may be read too, but is never passed over
        high = self.connector.high_mark(source, job.watermark) if job.watermark else None
        safe, is_safe = high, True
        tracks = self._tracks(source)
        if high is not None and isinstance(self.connector, TracksTransactions):
            safe, is_safe = self.connector.safe_mark(source, job.watermark, high)
        can_say = high is not None or isinstance(self.connector, HasPositions)
        # a source behind our mark has gone back (restored, clock set back): what it has now may lie under any bound
        gone_back = mark is not None and can_say and mark != high and mark.later_than(high)
        behind = state.position if state and tracks else ""
        if tracks and job.deletes == "sweep" and not behind:
            gone_back = True  # what was changed since then cannot be told
        if state and state.spec.removesuffix(REWOUND) != self.spec:
            gone_back = True  # it was read in another way, or the table or a column of it was made anew
        since = mark.back(job.lookback) if mark and not (full or is_grown or is_empty or gone_back) else None
        copies = getattr(self.connector, "copies", False)  # everything is fetched for a sweep: then it is fetched once
        if copies and job.deletes == "sweep":
            since = None
        self.reached("mark read")
        self._next_version = self._first_version()
        span = Span(job.watermark, since, nulls=True) if since else None
        self.expected = 0 if span else source.rows or 0
        if is_empty:
            self._load(source)
        elif span is None:
            stage = self._pull(source, None)
            try:
                self._merge(source, stage, is_all=True)
                if job.deletes == "sweep":
                    self.quarantine.forget_gone(stage, has_rows=True)
                    self._bury(source, f"not in (select {self._key} from {quote_table(stage.table)})")
                high = high if can_say else self._highest(source, quote_table(stage.table))
            finally:
                stage.drop()
        else:
            by_ranges = self._can_fingerprint(source)
            tracked = dataclasses.replace(span, position=behind.removesuffix(_SAFE))
            if tracks and not by_ranges and (job.deletes == "sweep" or not behind.endswith(_SAFE)):
                span = tracked
            stage = self._pull(source, span)
            try:
                self._merge(source, stage)
                high = high if can_say else self._highest(source, quote_table(stage.table)) or mark
            finally:
                stage.drop()
            self.reached("inserted")
            if job.deletes == "sweep":
                if by_ranges:
                    self._sweep_ranges(source, tracked if tracks else None)
                else:
                    self._sweep_keys(source)
        if is_empty:
            high = high if can_say else self._highest(source, current(job.raw))
        self.reached("swept")
        to = self._not_in_the_future(safe if safe is not None and can_say else high)
        self.move_mark(to, f"{position}{_SAFE}" if position and is_safe else position)
        self.reached("mark moved")
        return self._report("incremental" if since else "full", mark, to)

    def backfill(self, low: Watermark, high: Watermark) -> SyncRun:
        """Read low <= watermark < high again; the mark stays where it is."""
        source = self.describe()
        self._make_table(source)
        self._next_version = self._first_version()
        stage = self._pull(source, Span(self.job.watermark, low, high))
        try:
            self._merge(source, stage)
        finally:
            stage.drop()
        return self._report("backfill", low, high)

    def replay(self) -> SyncRun:
        """Cast the quarantined rows of the table again; those that fit now land, and leave the quarantine."""
        source = self.describe()
        self._make_table(source)
        self._next_version = self._first_version()
        stage = Stage(self.lake, self._landed(source))
        try:
            self.read = self.quarantine.cast_again(stage)
            self.staged = self._count_each_once(quote_table(stage.table))
            self._merge(source, stage)
        finally:
            stage.drop()
        return self._report("replay", None, None)

    # --- describe, and the raw table

    def describe(self) -> SourceTable:
        """The table at the source as it lands, with the types that the raw table has."""
        self._look()
        return self._settled(self._described())

    def _look(self) -> None:
        """What the raw table has now."""
        raw, mark = quote_table(self.job.raw), self.state.watermark if self.state else None
        if self.state and mark and self.is_there:  # then it has the column, of this kind; one statement, and indexes answer it
            column, kind = quote(self.job.watermark), "DateTime64" if mark.kind == "time" else ""
            with suppress(QueryError):
                ((columns, key, self.physical, self.highest, last, self.quarantine.known),) = self.lake.facts(
                    f"select {shape_of(self.job.raw)}, (select count() from {raw}), "
                    f"(select max(_version) from {raw} where _version > {self.state.version}), "
                    f"(select {_as_mark(f'max({column})', kind)} from {raw} where {column} >= {_literal(mark)}), "
                    f"({self.quarantine.counting()})",
                    history=True,
                )
                self.here, self.key = dict(columns), key_names(key)
                if ("Date" in self.here.get(self.job.watermark, "")) == ("Date" in kind):
                    found = _mark_of(last, kind)
                    self.last = (found if found and found.later_than(mark) else mark) if self.physical else None
                    return
        self.here, self.key = self.lake.shape(self.job.raw)
        if self.here:
            kind = self.here.get(self.job.watermark, "")
            known = _as_mark(f"max({quote(self.job.watermark) if kind else 'null'})", kind)
            ((self.physical, self.highest, last, self.quarantine.known),) = self.lake.facts(
                f"select count(), max(_version), {known}, ({self.quarantine.counting()}) from {raw}", history=True
            )
            self.last = _mark_of(last, kind) if self.physical else None

    def _is_still(self, source: SourceTable, state: TableState) -> bool:
        """Whether the source says that no row of the table changed since the state: by its transactions and its keys."""
        job, connector = self.job, self.connector
        if not (isinstance(connector, TracksTransactions) and source.tracks_rows and state.watermark and state.position.endswith(_SAFE)):
            return False
        is_swept = job.deletes == "sweep"
        if is_swept and not (state.print and self._can_fingerprint(source)):
            return False
        span = Span(job.watermark, state.watermark.back(job.lookback), nulls=True)
        if connector.is_written(source, span, state.position.removesuffix(_SAFE), anywhere=is_swept):
            return False
        return not is_swept or self._print_of(source) == state.print

    def _tracks(self, source: SourceTable) -> bool:
        """Whether the source tells which rows of the table a transaction wrote."""
        return isinstance(self.connector, TracksTransactions) and source.tracks_rows

    def _print_of(self, source: SourceTable) -> str:
        """The fingerprint of all keys at the source, as a text."""
        assert isinstance(self.connector, HasFingerprints)
        found = self.connector.fingerprints(source, self.job.key, [_NO_LOW], within=None, behind=None).get(0, _NOTHING)
        return f"{found.rows} {found.first} {found.second}"

    def _described(self) -> SourceTable:
        """The table at the source as it lands; every name of the job is a column of it."""
        job = self.job
        options = self.connector.table_options_class(**job.options)
        described = self.connector.describe(job.from_, key=job.key, options=options)
        columns = landing(job, described)
        is_unique = described.is_unique and not set(job.key) & job.columns.keys()  # a cast may make two keys one
        source = dataclasses.replace(described, columns=columns, options=described.options or options, is_unique=is_unique)
        for name in filter(None, (*job.key, job.watermark, job.deleted_column)):
            source.column(name)
        if not job.key:
            raise SourceError(f"table {job.table!r} has no key", hint="name the columns that make a row unique under `key:`")
        for name, given in job.columns.items():
            column = described.column(name)
            if bare(given) in ("Date", "Date32") and bare(column.type).startswith("DateTime") and not column.is_guessed:
                raise UsageError(
                    f"{name} of {job.table} is {column.source_type} at the source, and {given} would cut its time of day",
                    hint="leave its type as it is, and cut it in the staging model",
                )
        given = job.columns.get(job.watermark, "")
        if given and not _holds(given, kind := described.column(job.watermark).type):
            raise UsageError(
                f"the watermark {job.watermark} of {job.table} is {kind} at the source, and {given} would cut it",
                hint="leave its type as it is, or watermark by another column",
            )
        if job.watermark and not re.match(r"(Nullable\()?(U?Int|Date|String)", kind := source.column(job.watermark).type):
            raise SourceError(
                f"{job.from_}.{job.watermark} is {kind}: a watermark is a time, a whole number or a text",
                hint="leave the watermark out to compare every row each time",
            )
        return source

    def _settled(self, source: SourceTable) -> SourceTable:
        """The table with the types that the raw table has already, where those hold all values of the source's."""
        here = self.here
        if not here:
            return source
        columns = [
            dataclasses.replace(c, type=here[c.name])
            if c.name in here and (_holds(here[c.name], c.type) or (c.is_guessed and not _holds(c.type, here[c.name])))
            else c
            for c in source.columns
        ]
        return dataclasses.replace(source, columns=tuple(columns))

    @property
    def _read_so_far(self) -> tuple[str, str, str]:
        return self.job.source, self.job.from_, self.job.watermark

    @property
    def _key(self) -> str:
        return ", ".join(map(quote, self.job.key))

    def _make_table(self, source: SourceTable) -> tuple[bool, bool]:
        """Make the raw table, add the columns that are new, widen those that became wider at the source.

        Whether the table has no row yet, and whether every row is to be read for a column that is new. A changed key, or a type
        that does not hold what was held before, stops the table.
        """
        lake, job, here = self.lake, self.job, self.here
        if not here:
            self._forget_mark()
            wanted = [Column(c.name, c.type) for c in source.columns] + list(RAW_COLUMNS)
            lake.command(
                create_replacing(
                    job.raw,
                    wanted,
                    key=job.key,
                    version="_version",
                    deleted="_deleted",
                    placement=lake.placement,
                    settings=MERGED_WHEN_IDLE,
                    indexed=["_version", *([job.watermark] if job.watermark else [])],
                ),
                retry=True,
            )
            return True, False
        redo = f"drop table raw.{job.table} to have it made anew, then `skygraph sync {job.table}`"
        if self.key != list(job.key):
            raise SourceError(f"{job.raw} has the key {', '.join(self.key)}, sync_jobs says {', '.join(job.key)}", hint=redo)
        changes = []
        names = [c.name for c in source.columns]
        new = [c for c in source.columns if c.name not in here]
        for column in source.columns:
            if column.name in here and here[column.name] != column.type:
                if not _holds(column.type, here[column.name]) or column.name in job.key:
                    raise SourceError(
                        f"{job.raw}.{column.name} is {here[column.name]}, at the source it is now {column.type} ({column.source_type})",
                        hint=redo,
                    )
                changes.append(f"modify column {quote(column.name)} {column.type}")
                self.notes.append(f"{column.name} was widened from {here[column.name]} to {column.type}")
        for column in new:
            at = names.index(column.name)
            where = f"after {quote(names[at - 1])}" if at else "first"
            changes.append(f"add column if not exists {quote(column.name)} {column.type} {where}")
            self.notes.append(f"{column.name} is new at the source")
        if new:
            self._forget_mark()
        for change in changes:
            lake.command(f"alter table {quote_table(job.raw)}{lake.placement.on_cluster} {change}", retry=True)
        ours = {c.name for c in RAW_COLUMNS}
        gone = [name for name in here if name not in ours and name not in names and job.columns.get(name) != "drop"]
        if gone:
            self.notes.append(f"{', '.join(gone)} {'is' if len(gone) == 1 else 'are'} no longer at the source; kept as it was")
        return not self.physical, bool(new)

    def _forget_mark(self) -> None:
        """Before a change that needs all rows read: a run that ends halfway leaves no mark that hides them from the next."""
        if self.state and (self.state.watermark or self.state.position):
            self.state = dataclasses.replace(self.state, watermark=None, position="", version=self.state.version + 1)
            self.ledger.move_mark(self.state)

    # --- versions and marks

    def _first_version(self) -> int:
        """Above every row and state that is there, whatever the clock says: what is read last wins."""
        return max(_micros(self.started), self.highest + 1, self.state.version + 1 if self.state else 0)

    def _version(self) -> int:
        """The next version: each statement that writes has one of its own."""
        self._next_version += 1
        return self._next_version

    def move_mark(self, mark: Watermark | None, position: str) -> None:
        """The last step: everything up to the mark is in."""
        job = self.job
        state = TableState(
            job.table, job.source, mark, self.run_id, _now(), self._version(), job.from_, job.watermark, position, self.spec,
            print=self.print,
        )  # fmt: skip
        self.ledger.move_mark(state)

    def _not_in_the_future(self, mark: Watermark | None) -> Watermark | None:
        """A row with a time to come must not hide the rows until then: the mark stops at now, and such rows are read again."""
        if mark is None or not isinstance(mark.value, dt.datetime) or mark.value <= self.started:
            return mark
        if mark.value > _now() + _CLOCKS_DIFFER:
            self.notes.append(f"a watermark lies in the future ({mark.text()}): rows from now on are read in every run")
        return Watermark(self.started)

    def _highest(self, source: SourceTable, relation: str) -> Watermark | None:
        """The highest watermark of a relation of the lake, for sources that cannot say it before they are read."""
        if not self.job.watermark:
            return None
        column = source.column(self.job.watermark)
        name = quote(column.name)
        found = self.lake.facts(f"select max({_as_mark(name, column.type)}) from {relation} where {name} is not null having count() > 0")
        return _mark_of(found[0][0], column.type) if found else None

    # --- pulling

    def _landed(self, source: SourceTable) -> list[SourceColumn]:
        return list(source.columns)

    def _load(self, source: SourceTable) -> None:
        """The first rows of a table: straight into it."""
        names = [c.name for c in source.columns]
        columns = ", ".join(map(quote, names))
        live = f" where not ({self.flag})" if self.job.deleted_column else ""
        try:
            with self.connector.rows(source, names) as select:
                rows, self.bytes = self.lake.fill(
                    f"insert into {quote_table(self.job.raw)} ({columns}, {_OUR_COLUMNS})\n"
                    f"select {columns}, {{version:UInt64}}, 0, now64(3), {{run:String}} from (\n{select}\n){live}",
                    {"version": self._version(), "run": self.run_id},
                    tag=self.tag,
                )
        except SkyGraphError as error:
            if not is_misfit(error):
                raise
            # what has landed of it stays: it is compared, as all that is current
            self.is_careful = True
            self._count_each_once(quote_table(self.job.raw))
            stage = self._pull(source, None)
            try:
                self._merge(source, stage, is_all=True)
            finally:
                stage.drop()
            return
        self.reached("pulled")
        self.read = self.inserted = self.compared = rows
        # of a key that is unique at the source no two rows have come, so the physical ones are the current ones
        landed = quote_table(self.job.raw) if source.is_unique else current(self.job.raw)
        if rows != self.lake.facts(f"select count() from {landed}", history=source.is_unique)[0][0]:
            try:
                self._count_each_once(quote_table(self.job.raw))
            finally:
                self.lake.command(f"truncate table {quote_table(self.job.raw)}{self.lake.placement.on_cluster}", retry=True)
            raise LakeError(f"{self.job.raw} does not hold the {rows} rows that were read; run it again")

    def _pull(self, source: SourceTable, within: Span | Ranges | None, *, only: str = "") -> Stage:
        """Rows of the source in a stage, each key once; what does not fit goes to the quarantine. The caller drops the stage."""
        exact = [only] if only else []
        if isinstance(within, Span) and not within.position:
            exact.append(self._exactly(source, within))
        stage = self._pull_few(source, within, exact) or self._pull_all(source, within, exact)
        try:
            self.reached("pulled")
            if not source.is_unique or self.is_careful:
                rows, self.staged = self.staged, self._count_each_once(quote_table(stage.table))
                if rows != self.staged and not self.is_careful:
                    raise LakeError(f"{self.job.raw}: of {rows} rows that were staged {self.staged} are left; run it again")
        except BaseException:
            stage.drop()
            raise
        return stage

    def _pull_few(self, source: SourceTable, within: Span | Ranges | None, exact: Sequence[str]) -> Stage | None:
        """A span of few rows, in a stage in memory: a third less work than one on disk. None when they are many, or a value does not fit.

        Such a stage is empty once the lake was started anew, so what is not in it may never be taken for gone (see `_merge`).
        """
        is_far = not (getattr(self.connector, "is_near", False) or getattr(self.connector, "copies", False))
        if not (is_far and isinstance(within, Span)) or self.is_careful or self.job.deleted_column or self.lake.placement.cluster:
            return None
        stage = Stage(self.lake, self._landed(source), in_memory=True)
        is_whole = False
        try:
            rows, size = self._fill(stage, source, within, exact, f" limit {_FEW + 1}", {"max_memory_usage": _FEW_BYTES})
            is_whole = rows <= _FEW
        except SkyGraphError as error:
            self.is_careful = is_misfit(error)
            if not (self.is_careful or isinstance(error, QueryError) and error.code == _OUT_OF_MEMORY):
                raise
        finally:
            if not is_whole:
                stage.drop()
        if not is_whole:
            return None
        self._count_read(rows, size)
        return stage

    def _pull_all(self, source: SourceTable, within: Span | Ranges | None, exact: Sequence[str]) -> Stage:
        """All rows within, in a stage on disk; carefully, when a value does not fit."""
        stage = Stage(self.lake, self._landed(source))
        try:
            if not self.is_careful:
                try:
                    self._count_read(*self._fill(stage, source, within, exact))
                except SkyGraphError as error:
                    if not is_misfit(error):
                        raise
                    self.is_careful = True
                    self.lake.command(f"truncate table {quote_table(stage.table)}{self.lake.placement.on_cluster}", retry=True)
            if self.is_careful:
                with self._rows(source, within, as_text=True) as select:
                    self._count_read(*self.quarantine.sort_out(select, stage, source, where=" and ".join(exact), tag=self.tag))
        except BaseException:
            stage.drop()
            raise
        return stage

    def _fill(
        self, stage: Stage, source: SourceTable, within: Span | Ranges | None, exact: Sequence[str], limit: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> tuple[int, int]:  # fmt: skip
        """The rows of the source, as their types are, into a stage; rows and bytes."""
        where = f"\nwhere {' and '.join(exact)}" if exact else ""
        with self._rows(source, within) as select:
            insert = f"insert into {quote_table(stage.table)}\nselect * from (\n{select}\n){where}{limit}"
            return self.lake.fill(insert, tag=self.tag, settings=settings)

    def _count_read(self, rows: int, size: int) -> None:
        self.staged = rows
        self.read += rows
        self.bytes += size

    @contextmanager
    def _rows(self, source: SourceTable, within: Span | Ranges | None, *, as_text: bool = False) -> Iterator[str]:
        with self.connector.rows(source, [c.name for c in source.columns], within=within, as_text=as_text) as select:
            yield select

    def _exactly(self, source: SourceTable, span: Span) -> str:
        """The exact condition of a span, for the engine."""
        column = source.column(span.column)
        parts = []
        if span.low is not None:
            parts.append(f"{quote(column.name)} >= {_literal(span.low)}")
        if span.high is not None:
            parts.append(f"{quote(column.name)} < {_literal(span.high)}")
        inside = " and ".join(parts) or "true"
        return f"({inside} or {quote(column.name)} is null)" if span.nulls and column.type.startswith("Nullable(") else f"({inside})"

    def _count_each_once(self, relation: str) -> int:
        """The rows of a relation, each key once: of a key that stands twice only one row could be current, and nobody could say which."""
        job = self.job
        key = f"({self._key})" if len(job.key) > 1 else self._key
        ((rows, keys),) = self.lake.facts(f"select count(), uniqExact({key}) from {relation}", history=True)
        if rows == keys:
            return int(rows)
        found = self.lake.facts(
            f"select {', '.join(f'toString({quote(k)})' for k in job.key)}, count() from {relation} group by {self._key} "
            "having count() > 1 limit 3 settings max_bytes_before_external_group_by = 1073741824",
            history=True,
        )
        examples = [f"({', '.join(map(str, row[:-1]))})" for row in found]
        raise SourceError(
            f"the key ({', '.join(job.key)}) of {job.from_} is not unique at the source, for example {', '.join(examples)}",
            hint="name the columns that make a row unique under `key:`",
        )

    # --- merging

    @property
    def flag(self) -> str:
        """The value of `_deleted` for a row of the source."""
        return f"toUInt8(ifNull(toBool({quote(self.job.deleted_column)}), false))" if self.job.deleted_column else "0"

    def _merge(self, source: SourceTable, stage: Stage, *, is_all: bool = False) -> None:
        """Insert the staged rows that are new or differ from the current ones, then see that they are current."""
        names = [c.name for c in source.columns]
        columns = ", ".join(map(quote, names))
        staged = quote_table(stage.table)
        if not (rows := self.staged):
            return
        live = f"not ({self.flag})" if self.job.deleted_column else "true"
        hashed, total = row_hash(names), rows_checksum(names)
        passes = math.ceil(rows / _ROWS_A_PASS)  # sets in memory stay small, whatever the table's size
        seen = self.compared
        for n in range(passes):
            part = f"sipHash64({self._key}) % {passes} = {n}" if passes > 1 else "true"
            mine = f"{staged} where {live} and {part}"
            same = f"select {self._key}, {hashed} from {mine}"
            self.biography.keep(f"select {self._key} from {mine}", source.columns, self.physical, unless=same, staged=rows, tag=self.tag)
            if is_all or not self.job.watermark or rows < _MANY:
                here = f"{current(self.job.raw)} where {part if is_all else f'({self._key}) in (select {self._key} from {mine})'}"
                self._insert(columns, f"{mine} and ({self._key}, {hashed}) not in (select {self._key}, {hashed} from {here})")
                self._see_current(mine, total)
            else:
                self._merge_by_mark(source, mine, columns, hashed, total)
        if not self.job.deleted_column and self.compared - seen != rows:
            raise LakeError(f"{self.job.raw}: of {rows} rows that were staged {self.compared - seen} are left; run it again")
        if self.job.deleted_column:
            flagged = f"select {self._key} from {staged} where not ({live})"
            self._bury(source, f"in ({flagged})", values=f"{staged} where not ({live})")
        self.quarantine.forget_good(stage)

    def _merge_by_mark(self, source: SourceTable, mine: str, columns: str, hashed: str, total: str) -> None:
        """Rows past everything that ever landed are new; only the others are compared, value by value, with the current ones."""
        if self.inserted:
            self._look()
        column = source.column(self.job.watermark)
        mark, raw = quote(column.name), quote_table(self.job.raw)
        # a row without a watermark is compared too
        unmarked = f" or {mark} is null" if "Nullable(" in column.type else ""
        old = f"({_up_to(mark, self.last)}{unmarked})"
        first = self._next_version + 1

        def known(of: str, limit: str = "") -> str:
            # the current row of a key is the one of its highest version: few columns are read of all rows, all columns of those alone
            newest = (
                f"select {self._key}, max(_version) from {raw} where ({self._key}) in (select {self._key} from {mine} and {old}{limit}) "
                f"and _version < {first} group by {self._key}"
            )
            return f"select {of} from {raw} where ({self._key}, _version) in ({newest}) and _deleted = 0"

        # of few rows to compare the hashes are asked for once, and stand in the statements
        # without aliases: any word may be the name of a column
        hashes = known(f"groupArray(hex({hashed}))", f" limit {_COMPARED}")
        ((many, listed),) = self.lake.facts(f"select count(), ({hashes}) from {mine} and {old}", history=True)
        fold = f"select count(), {total}"
        if many <= _COMPARED:
            same = f"{old} and hex({hashed}) in ({', '.join(map(quote_text, listed or ['']))})"
            kept = f"{mine} and {same}"
        else:
            kept = f"{mine} and {old} and ({self._key}, {hashed}) in ({known(f'{self._key}, {hashed}')})"
            same = f"{old} and ({self._key}) in (select {self._key} from {kept})"
        is_any = bool(listed) or many > _COMPARED
        added = self._insert(columns, f"{mine} and not ({same})" if is_any else mine, history=True)
        either = f"({fold} from {kept})" if is_any and added != self.staged else "(0, 0)"
        here = f"({fold} from {raw} where _version >= {first} and _deleted = 0 and _run_id = {quote_text(self.run_id)})"
        sides = ", ".join(f"tupleElement({side}, {n})" for side in (here, either) for n in (1, 2))
        ((rows, sums, *others),) = self.lake.facts(f"{fold}, {sides} from {mine}", history=True)
        landed_rows, landed_sums, kept_rows, kept_sums = (int(v or 0) for v in others)
        self._same((rows, sums), (landed_rows + kept_rows, (landed_sums + kept_sums) % _WRAP))

    def _insert(self, columns: str, rows: str, *, history: bool = False) -> int:
        added, _ = self.lake.fill(
            f"insert into {quote_table(self.job.raw)} ({columns}, {_OUR_COLUMNS})\n"
            f"select {columns}, {{version:UInt64}}, 0, now64(3), {{run:String}} from {rows}",
            {"version": self._version(), "run": self.run_id},
            tag=self.tag,
            history=history,
        )
        self.inserted += added
        return added

    def _see_current(self, staged: str, total: str) -> None:
        """See that the staged rows are the current ones of their keys now."""
        fold = f"select count(), {total}"
        here = f"({fold} from {current(self.job.raw)} where ({self._key}) in (select {self._key} from {staged}))"
        ((*read, rows, sums),) = self.lake.facts(f"{fold}, tupleElement({here}, 1), tupleElement({here}, 2) from {staged}")
        self._same((read[0], read[1]), (int(rows or 0), int(sums or 0)))

    def _same(self, read: tuple[int, int], here: tuple[int, int]) -> None:
        """Keep the checksums of both sides; an error when they differ."""
        if read != here:
            raise LakeError(
                f"{self.job.raw}: of {read[0]} rows that were read {here[0]} are current, or their values differ",
                hint="something else writes to the table? the watermark was not moved; run it again",
            )
        self.compared += read[0]
        self.sums.append((read[1], here[1]))

    def _bury(self, source: SourceTable, condition: str, *, also: str = "true", values: str = "") -> None:
        """A tombstone for every current key that meets the condition: with the last known values, or those of `values`."""
        names = ", ".join(quote(c.name) for c in source.columns)
        here = current(self.job.raw)
        if self.quarantine.count() and not values:  # a row that does not fit is at the source all the same
            also += f" and {self.quarantine.key_text()} not in ({self.quarantine.keys()})"
        origin = f"{here} where ({self._key}) {condition} and {also}"
        if values:
            origin = f"{values} and ({self._key}) in (select {self._key} from {here} where ({self._key}) {condition})"
        if self.biography.keep(f"select {self._key} from {origin}", source.columns, self.physical, tag=self.tag) == 0:
            return  # no current key meets it
        self.deleted += self.lake.fill(
            f"insert into {quote_table(self.job.raw)} ({names}, {_OUR_COLUMNS})\n"
            f"select {names}, {{version:UInt64}}, 1, now64(3), {{run:String}} from {origin}",
            {"version": self._version(), "run": self.run_id},
            tag=self.tag,
        )[0]

    # --- sweeping

    def _can_fingerprint(self, source: SourceTable) -> bool:
        numbers = [source.column(k).type for k in self.job.key]
        if self.job.deletes != "sweep" or not isinstance(self.connector, HasFingerprints) or not all(map(is_whole_number, numbers)):
            return False
        return not self.quarantine.count()  # those rows differ in every run: their keys are listed with the others

    def _sweep_keys(self, source: SourceTable) -> None:
        """List every key of the source, once, with what tells a changed row, and mend what differs."""
        job = self.job
        whole = getattr(self.connector, "is_near", False)  # reading all of it costs little more than reading its keys
        content = [c.name for c in source.columns] if whole else [*job.key, *([job.watermark] if job.watermark else [])]
        content = list(dict.fromkeys(job.key)) if self.is_careful else list(dict.fromkeys(content))
        probe = Stage(self.lake, [*(source.column(k) for k in job.key), SourceColumn("_hash", "FixedString(16)", "")])
        try:
            try:
                rows = self._probe(source, probe, content)
            except SkyGraphError as error:
                if self.is_careful or not is_misfit(error):
                    raise
                # an old row does not fit: what the others hold is compared as texts that were cast
                self.is_careful = True
                self.lake.command(f"truncate table {quote_table(probe.table)}{self.lake.placement.on_cluster}", retry=True)
                content = list(dict.fromkeys(job.key))
                rows = self._probe(source, probe, content)
            self.ranges, self.keys_listed = 1, rows
            probed = quote_table(probe.table)
            self._count_each_once(probed)
            known = f"select {self._key}, {row_hash(content)} from {current(job.raw)}"
            differs = f"select {self._key} from {probed} where ({self._key}, `_hash`) not in ({known})"
            if self.quarantine.count():
                differs += f" and {self.quarantine.key_text()} not in ({self.quarantine.keys()})"
            if self.lake.facts(f"select 1 from ({differs}) limit 1"):
                self.ranges_differing = 1
                stage = self._pull(source, None, only=f"({self._key}) in ({differs})")
                try:
                    self._merge(source, stage)
                finally:
                    stage.drop()
            self.quarantine.forget_gone(probe, has_rows=False)
            self._bury(source, f"not in (select {self._key} from {probed})")
        finally:
            probe.drop()

    def _probe(self, source: SourceTable, probe: Stage, content: Sequence[str]) -> int:
        """The keys of all rows of the source, with the hash of some columns, into the probe; returns how many."""
        columns = list(dict.fromkeys([*self.job.key, *content]))
        keys = ", ".join(
            f"assumeNotNull({parse_text(quote(k), source.column(k).type)})" if self.is_careful else quote(k) for k in self.job.key
        )
        hashed = row_hash(content)
        if self.is_careful:
            hashed = f"sipHash128(tuple({keys}))"
            known = " and ".join(f"{parse_text(quote(k), source.column(k).type)} is not null" for k in self.job.key)
        with self.connector.rows(source, columns, as_text=self.is_careful) as select:
            where = f"\nwhere {known}" if self.is_careful else ""
            return self.lake.fill(
                f"insert into {quote_table(probe.table)}\nselect {keys}, {hashed} from (\n{select}\n){where}", tag=self.tag
            )[0]

    def _sweep_ranges(self, source: SourceTable, behind: Span | None) -> None:
        """Compare ranges of keys by fingerprint, those that differ in smaller ones, and read only what differs then."""
        assert isinstance(self.connector, HasFingerprints)
        job, column = self.job, self.job.key[0]
        columns = list(job.key)
        if job.watermark and not self._tracks(source) and _fingerprints_mark(source.column(job.watermark).type):
            columns.append(job.watermark)
        bounds = [_NO_LOW, *self._quantiles(column, min(_FIRST_RANGES, self.physical // _ROWS_A_RANGE), "true")]
        there = self.connector.fingerprints(source, columns, bounds, within=None, behind=behind)
        here = self._fingerprints(source, columns, bounds, "true")
        bad = differing(there, here)
        self.ranges, self.ranges_differing = len(bounds), len(bad)
        if not bad and self._tracks(source):
            rows_there, firsts, seconds = (sum(getattr(f, side) for f in there.values()) for side in ("rows", "first", "second"))
            self.print = f"{rows_there} {firsts} {seconds}"
        ends = [*bounds[1:], _NO_HIGH]
        wide = [(bounds[n], ends[n]) for n in bad]
        if not wide:
            return
        leaves = wide
        covered = sum(there.get(n, _NOTHING).rows + here.get(n, _NOTHING).rows for n in bad)
        if covered > 4 * _KEYS_A_LEAF:
            within = Ranges(column, merge_ranges(wide))
            inner: list[int] = []
            for n, (low, high) in zip(bad, wide, strict=True):
                count = max(there.get(n, _NOTHING).rows, here.get(n, _NOTHING).rows)
                inner += [low, *self._quantiles(column, min(64, count // _KEYS_A_LEAF), _inside(quote(column), [(low, high)])), high]
            cuts = sorted({b for b in inner if b < _NO_HIGH})
            condition = _inside(f"here.{quote(column)}", within.ranges)
            small = differing(
                self.connector.fingerprints(source, columns, cuts, within=within, behind=behind),
                self._fingerprints(source, columns, cuts, condition),
            )
            cut_ends = [*cuts[1:], _NO_HIGH]
            leaves = [(cuts[n], cut_ends[n]) for n in small]
            if not leaves:
                return  # what differed has been put right at the source meanwhile
        listed = Ranges(column, merge_ranges(leaves))
        before = self.read
        stage = self._pull(source, listed)
        try:
            self.keys_listed = self.read - before
            self._merge(source, stage)
            inside = _inside(quote(column), listed.ranges)
            self._bury(source, f"not in (select {self._key} from {quote_table(stage.table)})", also=inside)
        finally:
            stage.drop()

    def _quantiles(self, column: str, count: int, condition: str) -> list[int]:
        """At most `count` numbers that cut the current keys into parts of about the same size, in order."""
        if count < 2:
            return []
        levels = ", ".join(f"{n / count:.6f}" for n in range(1, count))
        found = self.lake.facts(
            f"select arraySort(arrayDistinct(arrayMap(x -> toInt64(x), quantiles({levels})(toInt64({quote(column)}))))) "
            f"from {current(self.job.raw)} where {condition}"
        )
        return [int(n) for n in found[0][0]]

    def _fingerprints(self, source: SourceTable, columns: Sequence[str], bounds: Sequence[int], condition: str) -> dict[int, Fingerprint]:
        """The lake's side of `HasFingerprints.fingerprints`."""
        numbers = [_number(source.column(c)) for c in columns]
        listed = f"[{', '.join(f'toInt64({b})' for b in bounds)}]"
        found = self.lake.facts(
            f"select b, count(), sum(x), sum({mixed('x', CLICKHOUSE)}) from (\n"
            f"select roundDown(toInt64(here.{quote(columns[0])}), {listed}) as b, toInt64({fold(numbers, CLICKHOUSE)}) as x\n"
            f"from {quote_table(self.job.raw)} as here final where {condition}) group by b"
        )
        at = {b: n for n, b in enumerate(bounds)}
        return {at[b]: Fingerprint(rows, int(g), int(h)) for b, rows, g, h in found}

    # --- the report

    def _report(self, mode: str, mark: Watermark | None, to: Watermark | None) -> SyncRun:
        if said := self.biography.finish(replaced=bool(self.physical and self.inserted + self.deleted)):
            self.notes.append(said)
        sums = [f"{sum(side) % (1 << 64):016x}" for side in zip(*self.sums, strict=True)] or ["", ""]
        return SyncRun(
            run_id=self.run_id,
            table=self.job.table,
            source=self.job.source,
            mode=mode,
            status="ok",
            started_at=self.started,
            finished_at=_now(),
            watermark_from=mark.text() if mark else "",
            watermark_to=to.text() if to else "",
            inserted=self.inserted,
            deleted=self.deleted,
            rows_read=self.read,
            unchanged=max(0, self.compared - self.inserted),
            quarantined=self.quarantine.set_apart,
            bytes=self.bytes,
            source_checksum=sums[0],
            lake_checksum=sums[1],
            ranges=self.ranges,
            ranges_differing=self.ranges_differing,
            keys_listed=self.keys_listed,
            note="; ".join(self.notes),
        )


_NOTHING = Fingerprint(0, 0, 0)


def _shape(source: SourceTable) -> str:
    """The columns of a table in a few letters, to see that they are the same as before."""
    seen = [source.identity, *((c.name, "" if c.is_guessed else c.source_type) for c in source.columns)]
    return f"{zlib.crc32(repr(seen).encode()):08x}"


def is_misfit(error: SkyGraphError) -> bool:
    """Whether an error says that a value does not fit its column."""
    if isinstance(error, QueryError):
        return error.code in _CAST_CODES or DOES_NOT_FIT in error.message
    return isinstance(error, Misfit)


def landing(job: TableJob, table: SourceTable) -> tuple[SourceColumn, ...]:
    """The columns that land: those of the source, less the dropped ones, cast ones with their given type."""
    for name in job.columns:
        table.column(name)
    ours = {c.name for c in RAW_COLUMNS}
    found = []
    for column in table.columns:
        given = job.columns.get(column.name)
        if given == "drop":
            continue
        if column.name in ours:
            raise UsageError(
                f"{job.from_} has a column {column.name}, a name SkyGraph uses itself", hint=f"drop it under `columns:` of {job.table}"
            )
        found.append(SourceColumn(column.name, given or column.type, column.source_type, column.is_guessed and not given))
    return tuple(found)


def at_or_past(column: SourceColumn, low: Watermark, high: Watermark | None, *, with_high: bool) -> str:
    """The condition: at or past `low`, and at most, or before, `high`."""
    name = quote(column.name)
    return f"{name} >= {_literal(low)}" + (f" and {name} {'<=' if with_high else '<'} {_literal(high)}" if high is not None else "")


def _literal(mark: Watermark) -> str:
    if mark.kind == "time":
        return f"toDateTime64({quote_text(mark.text())}, 6, 'UTC')"
    return mark.text() if mark.kind == "integer" else quote_text(mark.text())


def _up_to(name: str, mark: Watermark | None) -> str:
    """The condition: at most the mark, of which a time is known to the microsecond."""
    if mark is None:
        return "false"
    if isinstance(mark.value, dt.datetime):
        return f"{name} < {_literal(Watermark(mark.value + dt.timedelta(microseconds=1)))}"
    return f"{name} <= {_literal(mark)}"


def _as_mark(name: str, type_: str) -> str:
    """An expression of a watermark column whose value Python reads as a time, a number or a text."""
    return f"toDateTime64({name}, 6, 'UTC')" if "Date" in type_ else name


def _mark_of(value: Any, type_: str) -> Watermark | None:
    """A value of `_as_mark` as it came: a time as a text."""
    if value is None:
        return None
    return Watermark(dt.datetime.fromisoformat(value)) if "Date" in type_ else Watermark(value)


def _fingerprints_mark(type_: str) -> bool:
    bare = type_.removeprefix("Nullable(").removesuffix(")") if type_.startswith("Nullable(") else type_
    return is_whole_number(bare) or bare.startswith("DateTime")


def _number(column: SourceColumn) -> str:
    """A column as a whole number: a time in microseconds since 1970, no value as 0."""
    name = f"here.{quote(column.name)}"
    if "DateTime" in column.type:
        name = f"toUnixTimestamp64Micro(toDateTime64({name}, 6, 'UTC'))"
    return f"toInt64(ifNull({name}, 0))" if column.type.startswith("Nullable(") else f"toInt64({name})"


def _inside(name: str, ranges: Sequence[tuple[int, int]]) -> str:
    """A condition: the number lies in one of the ranges."""
    parts = []
    for low, high in ranges:
        part = [f"toInt64({name}) >= toInt64({low})"] if low > _NO_LOW else []
        part += [f"toInt64({name}) < toInt64({high})"] if high < _NO_HIGH else []
        parts.append(" and ".join(part) or "true")
    return f"({' or '.join(parts) or 'false'})"


_WHOLE = ["Int8", "Int16", "Int32", "Int64", "Int128", "Int256"]
_UNSIGNED = ["UInt8", "UInt16", "UInt32", "UInt64", "UInt128", "UInt256"]


def _holds(wide: str, narrow: str) -> bool:
    """Whether a column of type `wide` holds every value of type `narrow` unchanged.

    >>> _holds("Nullable(Int64)", "Int32"), _holds("Int32", "Int64"), _holds("Decimal(12, 2)", "Decimal(10, 2)")
    (True, False, True)
    """
    if wide == narrow:
        return True
    if wide.startswith("Nullable("):
        return _holds(wide[9:-1], narrow[9:-1] if narrow.startswith("Nullable(") else narrow)
    if narrow.startswith("Nullable("):
        return False
    for family in (_WHOLE, _UNSIGNED, ["Float32", "Float64"]):
        if wide in family and narrow in family:
            return family.index(wide) >= family.index(narrow)
    if wide in _WHOLE and narrow in _UNSIGNED:
        return _WHOLE.index(wide) > _UNSIGNED.index(narrow)
    a, b = (re.fullmatch(r"Decimal\((\d+), (\d+)\)", t) for t in (wide, narrow))
    if a and b:
        return int(a[2]) == int(b[2]) and int(a[1]) >= int(b[1])
    return False


def _now() -> dt.datetime:
    """The time to the millisecond, as the ledger keeps it."""
    now = dt.datetime.now(dt.timezone.utc)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _micros(time: dt.datetime) -> int:
    return int(time.timestamp() * 1_000_000)
