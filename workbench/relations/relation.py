"""A statement as a value: lazy, its variables bound when it was made, read when it is looked at, usable in the next statement."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from uuid import uuid4

from workbench.answer import Answer, Block, Grid, Note, render_html, render_text
from workbench.errors import QueryError, SkyGraphError, UnknownName, UsageError
from workbench.lake import Lake, Running, reads_with, watched
from workbench.lake.explain import how_to_read
from workbench.lake.files import FORMATS, Format, format_of, write_file
from workbench.lake.sql import Column, quote
from workbench.relations.binding import Bound, bind
from workbench.relations.cells import value_of
from workbench.relations.kept import Kept, Shelf, Sort
from workbench.relations.statement import parse_statement, unique_names
from workbench.widgets.task import is_live

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["First", "Relation", "define"]

FIRST = 100  # rows that an answer shows of itself
_FRESH_S = 1.0  # so long the types that the lake told of an answer are taken for those it has

_DEEPEST = 30  # relations inside each other
_LONGEST = 200_000  # characters of a statement with all that it refers to
_GONE = (60, 81)

Progress = Callable[[str, int, int], None]
_T = TypeVar("_T")


@dataclass(frozen=True)
class First:
    """The first rows of an answer, as they were at a moment; `is_all` when there are no others."""

    columns: tuple[Column, ...]
    rows: list[list[Any]]
    is_all: bool
    seconds: float
    read_at: dt.datetime


@dataclass(frozen=True, eq=False)
class Relation(Answer):
    """A SELECT that is run when it is looked at, each time anew; only its first rows, once shown, stay as they were.

    Its variables were bound and the relations it names were taken as they were when it was made: a name given to something else
    later changes nothing here. `sql` and `parameters` are the whole statement. Nothing is written, except by `page` and the grid, which
    keep the answer on the server for as long as somebody pages through it.
    """

    lake: Lake = field(repr=False)
    statement: str
    sql: str = field(repr=False)
    parameters: Mapping[str, Bound] = field(repr=False)
    columns: tuple[Column, ...] = field(repr=False)
    raw: bool = False
    name: str = ""
    is_rows: bool = True  # False: it only tells (SHOW, DESCRIBE, EXPLAIN)
    depth: int = 1
    how: Mapping[str, Any] = field(default_factory=dict, repr=False)  # settings of the engine that it is read with
    shelf: Shelf = field(default=None, repr=False)  # type: ignore[assignment]  # always given by `define`
    progress: Progress = field(default=lambda *_: None, repr=False)
    connect: Callable[[], Lake] | None = field(default=None, repr=False)  # makes further connections, for the grid
    id: str = field(default_factory=lambda: uuid4().hex, repr=False)
    made: float = field(default_factory=time.monotonic, repr=False)

    # --- what it is

    @cached_property
    def names(self) -> list[str]:
        """The names of its columns, each once: a second `a` is `a_2`."""
        return unique_names([column.name for column in self.columns])

    @property
    def source(self) -> str:
        """The statement as it stands in FROM, each column under a name of its own."""
        if self.names == [column.name for column in self.columns]:
            return f"(\n{self.sql}\n)"
        return f"(with _named ({', '.join(map(quote, self.names))}) as (\n{self.sql}\n) select * from _named)"

    # --- reading

    @cached_property
    def first(self) -> First:
        """Its first hundred rows, read once."""
        started, read_at = time.perf_counter(), dt.datetime.now(dt.timezone.utc)
        sql = f"select * from (\n{self.sql}\n) limit {FIRST + 1}" if self.is_rows else self.sql
        columns, rows = self._read(lambda: self.lake.values(sql, self.parameters, history=self.raw))
        is_all = not self.is_rows or len(rows) <= FIRST
        return First(columns, rows if not self.is_rows else rows[:FIRST], is_all, time.perf_counter() - started, read_at)

    def look(self, *, counted: bool = True) -> Relation:
        """Read what it shows of itself, so that a mistake is told now; itself."""
        _ = self.first, counted and self._total
        return self

    def grid(self) -> Any:
        """Its rows to scroll, sort, sum up and save: a widget. A live notebook shows a relation so by itself."""
        from workbench.relations.pages import Pages
        from workbench.widgets import ResultGrid

        folder = None if self.lake.is_read_only else Path.cwd()
        return ResultGrid(Pages(self, lake=self.connect, folder=folder), text=lambda: str(self))

    @cached_property
    def _total(self) -> int:
        """All its rows, counted once for what is shown."""
        return len(self.first.rows) if self.first.is_all else self.count()

    def count(self) -> int:
        """How many rows it has, counted by the server now."""
        if not self.is_rows:
            return len(self.first.rows)
        sql = f"select count() from (\n{self.sql}\n)"
        return int(self._read(lambda: self.lake.values(sql, self.parameters, history=self.raw))[1][0][0])

    def to_arrow(self) -> pa.Table:
        """All rows as Arrow, read now: times aware, enums by name, decimals exact."""
        read = self.lake.query_history if self.raw else self.lake.query
        # a table may get columns of other types meanwhile, so types are asked for again, but for those that were told a moment ago
        is_fresh = self.is_rows and time.monotonic() - self.made < _FRESH_S
        types = [column.type for column in self.columns] if is_fresh else None
        table = self._read(lambda: self.lake.meaning(read(self.sql, self.parameters), self.sql, self.parameters, types=types))
        return table.rename_columns(unique_names(table.column_names))

    def to_pandas(self) -> Any:
        """All rows as a DataFrame, read now."""
        return self.to_arrow().to_pandas()

    def page(self, offset: int = 0, limit: int = FIRST, *, sort: str = "") -> pa.Table:
        """Some rows, by their place: of the answer as it was kept on the server with the first page that was asked for.

        `sort` is a column, `-column` for the largest first; the order is that of all rows, and no value comes last.

        Raises:
            UnknownName: no such column.
            UsageError: a negative place, this user may not write, or the answer is too large to be kept.
        """
        if offset < 0 or limit < 0:
            raise UsageError(f"rows {offset} to {offset + limit} are no part of an answer", hint="count from 0")
        order = self._sort(sort)
        kept = self.keep()
        table = self._read(lambda: self._meant(kept.page(offset, limit, order)))
        return table.rename_columns(self.names)

    def stream(self, format: Format) -> Iterator[bytes]:
        """The whole answer as a file's bytes, written by the server: no row passes through Python. As `objects --to`."""
        if format not in FORMATS:
            raise UnknownName("format", str(format), FORMATS)
        sql = f"select * from {self.source}" if self.is_rows else self.sql
        return self._read(lambda: self.lake.stream(sql, self.parameters, FORMATS[format], history=self.raw))

    def to_file(self, path: str | Path, format: Format | None = None) -> int:
        """Write the whole answer to a file, whole or not at all; the bytes written. Without a format, the file's ending says it."""
        target = Path(path).expanduser()
        chosen = format_of(target, format)
        with self._told():
            return write_file(target, self.stream(chosen))  # type: ignore[arg-type]

    def keep(self, *, lake: Lake | None = None, listen: Callable[[Running], None] | None = None) -> Kept:
        """The answer in a table on the server, kept now unless it is already; for up to four hours.

        `lake` is the connection that writes it, `listen` hears how that goes; without, progress does.
        """
        if not self.is_rows:
            raise UsageError("this statement only tells; it has no pages", hint="to_arrow() has all of it")

        def keep(listen: Callable[[Running], None]) -> Kept:
            with reads_with(self.how):
                return self.shelf.keep(
                    self.id, self.sql, self.parameters, self.columns, raw=self.raw, lake=lake or self.lake, listen=listen
                )

        if listen is not None:
            return keep(listen)
        try:
            return keep(self._say)
        finally:
            self.progress("", 0, 0)

    def kept(self) -> Kept | None:
        """The answer as it is kept, if it is."""
        return self.shelf.found(self.id)

    def _meant(self, sql: str) -> pa.Table:
        return self.lake.meaning(self.lake.query(sql), sql)

    def _sort(self, text: str) -> Sort | None:
        name = text.removeprefix("-") if text not in self.names else text
        if not text:
            return None
        if name not in self.names:
            raise UnknownName("column", name, self.names)
        return self.names.index(name), name != text

    # --- progress and errors

    def _say(self, running: Running) -> None:
        self.progress(str(running), running.rows, max(running.total_rows, running.rows + 1) if running.total_rows else -1)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Progress of what is read in here."""
        try:
            with watched(self._say):
                yield
        finally:
            self.progress("", 0, 0)

    def _read(self, run: Callable[[], _T]) -> _T:
        try:
            with self._told(), reads_with(self.how):
                return run()
        except QueryError as error:
            raise in_the_words_of_the_statement(error, self.lake) from None

    # --- looks

    def to_dict(self) -> Any:
        """All rows, as objects."""
        table = self.to_arrow()
        return [dict(zip(table.column_names, row, strict=True)) for row in _rows(table)]

    def blocks(self) -> Iterator[Block]:
        """The first rows and a line that says how many there are."""
        first = self.first
        rows = [[value_of(v, c.type) for v, c in zip(row, first.columns, strict=True)] for row in first.rows[:FIRST]]
        yield Grid(unique_names([c.name for c in first.columns]), rows, empty="no rows", null="NULL")
        if first.is_all and len(rows) == len(first.rows):
            count = f"{len(rows):,} row(s)"
        elif is_live() and "_total" not in self.__dict__:  # the grid beside this counts, while somebody looks already
            count = f"rows 1-{len(rows)} of more"
        else:
            count = f"rows 1-{len(rows)} of {self._total:,}, exact"
        yield Note(f"{count}, {'physical' if self.raw else 'current'} rows, {first.seconds * 1000:.0f} ms", "quiet")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        try:
            blocks = list(self.blocks())  # asked once for both looks
        except SkyGraphError as error:
            blocks = [Note(str(error), "bad")]
            return {"text/plain": render_text(blocks), "text/html": render_html(blocks)}
        static = {"text/plain": render_text(blocks), "text/html": render_html(blocks)}
        # the table is what a stored notebook shows, the grid is for whoever can click
        if not is_live():
            return static
        found = self.grid()._repr_mimebundle_()
        return {**(found[0] if isinstance(found, tuple) else found or {}), **static}

    def __repr__(self) -> str:
        return f"<Relation{' ' + self.name if self.name else ''}: {', '.join(self.names[:8])}{', ...' if len(self.names) > 8 else ''}>"

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        return True  # a relation is there, whether or not it has rows; len() asks the lake

    def __iter__(self) -> NoReturn:
        raise UsageError("a relation is not read row by row", hint="to_arrow() or to_pandas() have all rows, page(offset, limit) some")

    def __getitem__(self, key: Any) -> NoReturn:
        raise UsageError("a relation has no items", hint="to_pandas()[...] has columns, page(offset, limit) rows")


def define(
    lake: Lake, text: str, values: Mapping[str, Any], *, shelf: Shelf, raw: bool = False, name: str = "", progress: Progress | None = None,
    connect: Callable[[], Lake] | None = None,
) -> Relation:  # fmt: skip
    """A relation of a statement, whose `{name:Type}` and `{name}` are found in `values`. Asks the lake for its columns, runs nothing.

    Raises:
        UsageError: it is no single read, or a variable is missing or of another type; says which. Or it reads a view that spoils
            current rows.
        UnknownName: a table that is not there; names the nearest.
        QueryError: the lake refused it.
    """
    found = parse_statement(text)
    for asked, form in (*((n, f"{{{n}:...}}") for n in found.placeholders), *((n, f"{{{n}}}") for n in found.references)):
        if asked not in values:
            raise UsageError(f"the statement asks for {form}, but there is no variable {asked}")
    parameters: dict[str, Bound] = {}
    for asked, type_ in found.placeholders.items():
        if isinstance(values[asked], Relation):
            raise UsageError(f"{{{asked}:{type_}}}: {asked} is a relation, not a value", hint=f"write {{{asked}}} to read from it")
        parameters[asked] = bind(asked, values[asked], type_)
    inner: dict[str, tuple[str, Mapping[str, str]]] = {}
    depth = 1
    for reference in found.references:
        relation = _relation(reference, values[reference], lake, raw=raw)
        depth = max(depth, relation.depth + 1)
        renamed: dict[str, str] = {}
        for old, bound in relation.parameters.items():
            renamed[old] = _free(old, parameters)
            parameters[renamed[old]] = bound
        inner[reference] = (relation.sql, renamed)
    sql = found.compose(inner)
    how = how_to_read(lake, sql) if found.is_rows and not raw else {}
    if depth > _DEEPEST or len(sql) > _LONGEST:
        said = (
            f"{depth} relations stand inside each other"
            if depth > _DEEPEST
            else f"with its relations the statement has {len(sql):,} letters"
        )
        raise UsageError(f"{said}, which is too many", hint="a cell that names itself grows with each run: give it another name")
    made = Relation(lake, found.text, sql, parameters, (), raw=raw, name=name, is_rows=found.is_rows, depth=depth, how=how, shelf=shelf,
                    progress=progress or (lambda *_: None), connect=connect)  # fmt: skip
    columns = _columns(made) if found.is_rows else made.first.columns
    object.__setattr__(made, "columns", columns)
    return made


def _relation(name: str, value: Any, lake: Lake, *, raw: bool) -> Relation:
    """What `{name}` stands for."""
    if not isinstance(value, Relation):
        kind = type(value).__name__
        raise UsageError(
            f"{{{name}}}: {name} is no relation but a {kind}",
            hint=f"{{{name}:Type}} binds a value; `%%skygraph sql {name}` makes a relation",
        )
    if value.lake.settings != lake.settings:
        raise UsageError(
            f"{{{name}}}: {name} is a relation of another workspace", hint="to_file() and a source of `tables.yml` bring rows across"
        )
    if not value.is_rows:
        raise UsageError(f"{{{name}}}: {name} only tells something ({value.statement.split()[0].upper()}); it has no rows to select from")
    if value.raw != raw:
        kinds = ("all physical rows", "current rows") if value.raw else ("current rows", "all physical rows")
        raise UsageError(f"{{{name}}}: {name} is of {kinds[0]}, this statement of {kinds[1]}", hint="say --raw for both or for none")
    return value


def _free(name: str, taken: Mapping[str, Any]) -> str:
    count, chosen = 1, f"p1_{name}"
    while chosen in taken:
        count, chosen = count + 1, f"p{count + 1}_{name}"
    return chosen


def _columns(relation: Relation) -> tuple[Column, ...]:
    """Name and type of each column of a statement, which is not run for it."""
    lake = relation.lake
    try:
        _, rows = lake.values(f"describe (\n{relation.sql}\n)", relation.parameters, history=relation.raw)
    except QueryError as error:
        raise in_the_words_of_the_statement(error, lake, is_composed=relation.depth > 1) from None
    return tuple(Column(row[0], row[1]) for row in rows)


def in_the_words_of_the_statement(error: QueryError, lake: Lake, *, is_composed: bool = True) -> SkyGraphError:
    """An error of the lake as one of the statement: an unknown table with the nearest names, a place as line and column."""
    unknown = re.search(r"identifier '([^']+)'|Table (\S+) does not exist", error.message) if error.code == 60 else None
    if unknown:
        return lake.unknown_table(unknown[1] or unknown[2])

    def place(match: re.Match[str]) -> str:
        near = match[1].strip()
        if is_composed or match[2] is None:
            return f"at {near}" if near else "at its end"
        return f"at line {int(match[2]) - 1}, column {match[3]}" + (f", at {near}" if near else "")

    said = re.sub(r"failed at position \d+ \((.*?)\)(?: \(line (\d+), col (\d+)\))?: .*$", place, error.message, flags=re.DOTALL)
    return QueryError(said, code=error.code, hint=error.hint)


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """The rows of a table; text that is not UTF-8, which a String of ClickHouse may hold, as bytes."""

    def values(name: str, column: pa.ChunkedArray) -> list[Any]:
        try:
            return list(column.to_pylist())
        except UnicodeDecodeError:
            pass
        try:
            return list(column.cast("binary").to_pylist())
        except NotImplementedError:
            raise SkyGraphError(f"column {name} holds text that is not UTF-8", hint="select hex(...) of it") from None

    return list(zip(*(values(name, column) for name, column in zip(table.column_names, table.columns, strict=True)), strict=True))
