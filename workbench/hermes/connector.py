"""What a connector is, and how one is found.

A connector reads one source and never writes to it. It is a module `connectors/<name>.py` with two names: `Options`, a
frozen dataclass of what may stand under the source in `tables.yml`, and `Connector`, the class below. An outside package
adds one by an entry point in the group `skygraph.connectors` that names such a module.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from workbench.errors import UnknownName
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Connector", "SourceColumn", "SourceTable", "connector_names", "find_connector", "staged"]


@dataclass(frozen=True)
class SourceColumn:
    """A column as it lands: its name, its ClickHouse type, and its type at the source as the source calls it."""

    name: str
    type: str
    source_type: str


@dataclass(frozen=True)
class SourceTable:
    """A table of a source, described: where it is (`name`, in the source's words) and its columns in order."""

    name: str
    columns: tuple[SourceColumn, ...]

    def column(self, name: str) -> SourceColumn:
        """A column by name.

        Raises:
            UnknownName: there is none; names the nearest.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise UnknownName(f"column of {self.name}", name, [c.name for c in self.columns])


class Connector(Protocol):
    """One source. Made with its options, the workspace folder and the lake; used by one thread at a time."""

    options_class: ClassVar[type]

    def __init__(self, options: Any, *, workspace: Path, lake: Lake) -> None: ...

    def describe(self, table: str, *, key: Sequence[str]) -> SourceTable:
        """Describe a table. Key columns and columns that cannot be null are described as not Nullable.

        Raises:
            UnknownName: no such table at the source; names the nearest.
            SourceError: the source cannot be read; SourceUnavailable when trying again may help.
        """
        ...

    def high_mark(self, table: SourceTable, column: str) -> Watermark | None:
        """The highest watermark at the source now; None when no row has one."""
        ...

    def rows(
        self, table: SourceTable, columns: Sequence[str], *, watermark: str = "", since: Watermark | None = None
    ) -> AbstractContextManager[str]:
        """A SELECT that the lake can run, valid inside the `with`: these columns, with the described names and types.

        With `since` it gives at least the rows whose watermark is at or past it and the rows that have none; it may give
        more. The engine pulls by itself wherever it can reach the source; elsewhere the connector stages batches first.

        Raises:
            SourceError: a value does not fit its column; says which, never changes it silently.
        """
        ...

    def close(self) -> None:
        """Let go of the source."""
        ...


def connector_names() -> list[str]:
    """Names that `connector:` may have: the modules of `connectors/` and the entry points of outside packages."""
    from workbench.hermes import connectors

    own = [m.name for m in pkgutil.iter_modules(connectors.__path__) if not m.name.startswith("_")]
    return sorted({*own, *(e.name for e in entry_points(group="skygraph.connectors"))})


def find_connector(name: str) -> type[Connector]:
    """The connector class of that name; imports that one alone.

    Raises:
        UnknownName: there is none; names the nearest.
    """
    for entry in entry_points(group="skygraph.connectors", name=name):
        return entry.load().Connector  # type: ignore[no-any-return]
    if name not in connector_names():
        raise UnknownName("connector", name, connector_names())
    module = importlib.import_module(f"workbench.hermes.connectors.{name}")
    return module.Connector  # type: ignore[no-any-return]


def option_names(connector: type[Connector]) -> dict[str, bool]:
    """The options of a connector, and whether each must be given."""
    fields = dataclasses.fields(connector.options_class)
    return {f.name: f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING for f in fields}


@contextmanager
def staged(lake: Lake, columns: Sequence[SourceColumn], batches: Iterator[pa.RecordBatch]) -> Iterator[str]:
    """Batches put into a table of their own in the lake, as the SELECT that `Connector.rows` gives; dropped at the end.

    For sources that the engine cannot reach. Memory is bounded by one batch.
    """
    import uuid

    table = f"skygraph._stage_{uuid.uuid4().hex}"
    body = ", ".join(f"{quote(c.name)} {c.type}" for c in columns)
    engine = lake.placement.engine("MergeTree")
    lake.create_database("skygraph")
    lake.command(f"create table {quote_table(table)}{lake.placement.on_cluster} ({body}) engine = {engine} order by tuple()")
    try:
        for batch in batches:
            lake.insert(table, batch)
        yield f"select {', '.join(quote(c.name) for c in columns)} from {quote_table(table)}"
    finally:
        lake.command(f"drop table if exists {quote_table(table)}{lake.placement.on_cluster} sync", retry=True)
