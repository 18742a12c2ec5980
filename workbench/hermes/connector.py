"""What a connector is, and how one is found.

A connector reads one source and never writes to it. It is a module `connectors/<name>.py` with a class `Connector`, as below,
and the frozen dataclasses that it names: `options_class`, what may stand under the source in `tables.yml`, and
`table_options_class`, what may stand under a table of it (`query`, `path`, ...). An outside package adds one by an entry point
in the group `skygraph.connectors` that names such a module.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import pkgutil
import socket
import sys
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from workbench.errors import LakeError, QueryError, UnknownName
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Connector",
    "Fingerprint",
    "HasFingerprints",
    "HasPositions",
    "NoTableOptions",
    "Ranges",
    "SourceColumn",
    "SourceTable",
    "Span",
    "Stage",
    "TracksTransactions",
    "connector_names",
    "find_connector",
    "staged",
]


STAGE_PREFIX = "_stage_"
_NO_DATABASE = 81


def machine() -> str:
    """This machine in a few letters, for names of things that only it may clean up."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


@dataclass(frozen=True)
class SourceColumn:
    """A column as it lands: its name, its ClickHouse type, and its type at the source as the source calls it.

    A type that was guessed from values (of a CSV file, say) counts only until the raw table has one; after that a value that
    does not fit is the value's fault.
    """

    name: str
    type: str
    source_type: str
    is_guessed: bool = False


@dataclass(frozen=True)
class SourceTable:
    """A table of a source, described: where it is (`name` and `options`, in the source's words) and its columns in order.

    `rows` is about how many rows it has, where the source knows that without counting. `identity` is another text once the table
    or a column of it was made anew, though names and types are the same: what was read before says nothing of it. With
    `tracks_rows` a connector that tracks transactions knows which rows of this table they wrote. With `is_unique` the source sees to it
    that no key of the described key columns stands twice in what one statement reads.
    """

    name: str
    columns: tuple[SourceColumn, ...]
    options: Any = None
    rows: int | None = None
    identity: str = ""
    tracks_rows: bool = False
    is_unique: bool = False

    def column(self, name: str) -> SourceColumn:
        """A column by name.

        Raises:
            UnknownName: there is none; names the nearest.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise UnknownName(f"column of {self.name}", name, [c.name for c in self.columns])


@dataclass(frozen=True)
class Span:
    """Some rows of a table: low <= `column` < high, None for no bound; with `nulls` also the rows that have no value there.

    With a `position` (of a source that has them) also the rows that were changed since, whatever their value there.
    """

    column: str
    low: Watermark | None = None
    high: Watermark | None = None
    nulls: bool = False
    position: str = ""


@dataclass(frozen=True)
class Ranges:
    """Some rows of a table: those whose whole number in `column` lies in one of the ranges, low <= number < high."""

    column: str
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Fingerprint:
    """The keys of one range at one side: how many, two sums over them, and how many of their rows are to be read anyway."""

    rows: int
    first: int
    second: int
    stale: int = 0


@dataclass(frozen=True)
class NoTableOptions:
    """Nothing more can be said of a table of this connector than `from`."""


class Connector(Protocol):
    """One source. Made with its options, the workspace folder and the lake; used by one thread at a time.

    A connector that copies rows into the lake first (`Stage`) keeps what it has copied until `close`, so that a second `rows`
    of the same span does not ask the source again.
    """

    options_class: ClassVar[type]
    table_options_class: ClassVar[type]

    def __init__(self, options: Any, *, workspace: Path, lake: Lake) -> None: ...

    def describe(self, table: str, *, key: Sequence[str], options: Any = None) -> SourceTable:
        """Describe a table. Key columns and columns that cannot be null are described as not Nullable.

        `table` is what stands under `from:`; `options` is a `table_options_class`, None for one without any option given.

        Raises:
            UnknownName: no such table at the source; names the nearest.
            SourceError: the source cannot be read; SourceUnavailable when trying again may help.
        """
        ...

    def high_mark(self, table: SourceTable, column: str) -> Watermark | None:
        """The highest watermark at the source now; None when no row has one, or when the source cannot say before it is read.

        A row that is not there yet and gets a lower watermark later is late: the connector gives a lower mark than the highest
        where it can know of such rows.
        """
        ...

    def rows(
        self, table: SourceTable, columns: Sequence[str], *, within: Span | Ranges | None = None, as_text: bool = False
    ) -> AbstractContextManager[str]:
        """A SELECT that the lake can run, valid inside the `with`: these columns, with the described names and types.

        It gives at least the rows of the span, all rows for None; it may give more. `Ranges` are only asked of a connector that
        has fingerprints. The engine pulls by itself wherever it can
        reach the source; elsewhere the connector stages batches first. A value that does not fit its column makes the SELECT,
        or this call, fail; it is never changed silently.

        With `as_text` every column is a Nullable(String): the value as a text that the engine casts to the described type (a
        time as `YYYY-MM-DD hh:mm:ss.ffffff` in UTC, an array as JSON, text as it is), whether it fits or not. Then no value makes
        it fail: it is how rows that do not fit are set apart.

        Raises:
            SourceError: the source cannot be read as asked. Misfit: a value does not fit its column; says which.
        """
        ...

    def close(self) -> None:
        """Let go of the source, and drop what was staged."""
        ...


@runtime_checkable
class HasPositions(Protocol):
    """A connector whose source counts its changes, so that it can tell for certain that nothing changed."""

    def position(self) -> str:
        """Where the source is now. Asked before rows are read, so that a change that no read sees is after it."""
        ...

    def unchanged(self, position: str) -> bool:
        """Whether nothing at all can have changed at the source since the position. False when in doubt."""
        ...


@runtime_checkable
class TracksTransactions(HasPositions, Protocol):
    """A connector that also knows of open transactions, and takes `Span.position`."""

    def safe_mark(self, table: SourceTable, column: str, high: Watermark) -> tuple[Watermark, bool]:
        """The mark below which no row can appear any more, at most `high`; and whether the source can say so.

        Where it cannot, the next run reads by the position as well as by the mark.
        """
        ...

    def is_written(self, table: SourceTable, span: Span, position: str, *, anywhere: bool) -> bool:
        """Whether a row of the span, or with `anywhere` of the table, was written since the position. True when in doubt."""
        ...


@runtime_checkable
class HasFingerprints(Protocol):
    """A connector whose source can compute fingerprints of key ranges by itself, so that few keys need to be listed."""

    def fingerprints(
        self, table: SourceTable, columns: Sequence[str], bounds: Sequence[int], *, within: Ranges | None, behind: Span | None
    ) -> dict[int, Fingerprint]:
        """Fingerprints (see `ranges.py`) of `columns` by range of the first of them; a range without a row is left out.

        Range n holds bounds[n] <= number < bounds[n + 1]; the last one has no end. `stale` counts the rows that were changed
        since the position of `behind` though they lie under its low mark. A watermark among the columns is read as a whole number:
        a time in microseconds since 1970 in UTC, no value as 0.
        """
        ...


def connector_names() -> list[str]:
    """Names that `connector:` may have: the modules of `connectors/` and the entry points of outside packages."""
    from workbench.hermes import connectors

    own = [m.name for m in pkgutil.iter_modules(connectors.__path__) if not m.name.startswith("_")]
    return sorted({*own, *(e.name for e in _outside())})


def _outside() -> tuple[EntryPoint, ...]:
    """The entry points of outside packages. Looking for them reads the metadata of every package, so it is done when one was installed."""
    changed = []
    for place in sys.path:
        with suppress(OSError):
            changed.append((place, os.stat(place or ".").st_mtime_ns))
    return _entry_points(tuple(changed))


@lru_cache(maxsize=4)
def _entry_points(seen: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group="skygraph.connectors"))


def find_connector(name: str) -> type[Connector]:
    """The connector class of that name; imports that one alone.

    Raises:
        UnknownName: there is none; names the nearest.
    """
    for entry in (e for e in _outside() if e.name == name):
        return entry.load().Connector  # type: ignore[no-any-return]
    if name not in connector_names():
        raise UnknownName("connector", name, connector_names())
    module = importlib.import_module(f"workbench.hermes.connectors.{name}")
    return module.Connector  # type: ignore[no-any-return]


def option_names(options: type) -> dict[str, bool]:
    """The fields of an options class, and whether each must be given."""
    fields = dataclasses.fields(options)
    return {f.name: f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING for f in fields}


class Stage:
    """A table of its own in the lake, for rows that the engine cannot fetch by itself. Memory is bounded by one batch.

    One that is `in_memory` is for few rows; it is on this server alone, and empty once the lake was started anew.
    Its name tells the process that made it (`skygraph._stage_<machine>_<pid>_...`): what a dead one left is dropped by the next sync.
    """

    def __init__(self, lake: Lake, columns: Sequence[SourceColumn], *, in_memory: bool = False) -> None:
        self.lake = lake
        self.columns = tuple(columns)
        self.table = f"skygraph.{STAGE_PREFIX}{machine()}_{os.getpid()}_{uuid.uuid4().hex[:16]}"
        body = ", ".join(f"{quote(c.name)} {c.type}" for c in columns)
        engine = "Memory" if in_memory else f"{lake.placement.engine('MergeTree')} order by tuple()"
        create = f"create table {quote_table(self.table)}{lake.placement.on_cluster} ({body}) engine = {engine}"
        try:
            lake.command(create)
        except QueryError as error:
            if error.code != _NO_DATABASE:
                raise
            lake.create_database("skygraph")
            lake.command(create)

    def insert(self, batch: pa.RecordBatch | pa.Table) -> int:
        """Append a batch, by column name; returns its rows."""
        return self.lake.insert(self.table, batch)

    @property
    def select(self) -> str:
        """The SELECT of what was inserted."""
        return f"select {', '.join(quote(c.name) for c in self.columns)} from {quote_table(self.table)}"

    def drop(self) -> None:
        """Drop the table. An error of the lake is not raised: the next sync drops it."""
        with suppress(LakeError):
            self.lake.command(f"drop table if exists {quote_table(self.table)}{self.lake.placement.on_cluster} sync", retry=True)


@contextmanager
def staged(lake: Lake, columns: Sequence[SourceColumn], batches: Iterator[pa.RecordBatch]) -> Iterator[str]:
    """Batches put into a stage of their own, as the SELECT that `Connector.rows` gives; dropped at the end."""
    stage = Stage(lake, columns)
    try:
        for batch in batches:
            stage.insert(batch)
        yield stage.select
    finally:
        stage.drop()
