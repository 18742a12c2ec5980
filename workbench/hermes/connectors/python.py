"""A Python function of the workspace that yields rows: Arrow batches or tables, pandas DataFrames, dicts, or lists of dicts.

The function is a generator, or returns anything that can be iterated, or one table. It may take `since`: the watermark to go on from
(an aware datetime in UTC, an int or a str), None for everything. What it yields is copied into the lake batch by batch.

| Arrow and pandas | dicts, by the values of the first batch | lands as |
| --- | --- | --- |
| integers, unsigned too; floats | int of 64 bits; float, or both | the same; Int64; Float64 |
| bool | bool | Bool |
| decimal(p, s) | Decimal | Decimal(p, s); Decimal(38, s) with the most digits after the point |
| date | date | Date32 |
| timestamp of s, ms, us; of ns | datetime, without a zone UTC | DateTime64(6, 'UTC'); DateTime64(9, 'UTC') |
| list of those | | Array(...); no list is an empty one |
| struct, map, a list of them | dict, list, tuple, set | String: JSON text |
| text, binary | str, bytes | String |
| | UUID | UUID |
| time of day | time | DateTime64(6, 'UTC') on 1970-01-01; String |
| duration | | Int64, in its own unit |
| | values of several kinds, or None alone | String |

A column is Nullable unless it is of the key or an Array. `types:` under the table, or an attribute `types` of the function, gives
ClickHouse types instead; with a type for every column the function need not be asked what it yields before it is read.
"""

from __future__ import annotations

import datetime as dt
import importlib
import importlib.util
import inspect
import io
import itertools
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TextIO

from workbench.errors import Misfit, QueryError, SkyGraphError, SourceError, UnknownName, UsageError
from workbench.hermes.connector import SourceColumn, SourceTable, Span, Stage
from workbench.hermes.landing import NULLABLE_TEXT, Mode, arrow_kind, bare, can_be_null, landable_array, landed, nothing, value_text
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_table
from workbench.log import logger

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 10_000
_LINES_LOGGED = 1000


@dataclass(frozen=True)
class Options:
    """`module`: a file of the workspace, such as sync_jobs/feeds.py, or the name of a module that can be imported."""

    module: str


@dataclass(frozen=True)
class TableOptions:
    """`types`: ClickHouse types by column, for columns that the first rows do not tell right."""

    types: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Batch:
    """Some rows: Arrow columns by name, and the engine's type of each."""

    columns: dict[str, pa.Array]
    kinds: dict[str, str]
    types: dict[str, str]  # what they land as, without Nullable
    sources: dict[str, str]
    size: int


@dataclass
class _Call:
    """One call of the function, its batches not yet read, and where the read ones are."""

    batches: Iterator[_Batch]
    first: _Batch | None
    stage: Stage | None = None
    kinds: dict[str, str] = field(default_factory=dict)
    done: bool = False


# what a column of dicts is called after; an Arrow type has another name
_PYTHON_TYPES = {"int", "float", "str", "bool", "datetime", "date", "time", "Decimal", "UUID", "bytes", "dict", "list", "NoneType"}


class Connector:
    """The functions of one module."""

    options_class: ClassVar[type] = Options
    table_options_class: ClassVar[type] = TableOptions

    def __init__(self, options: Options, *, workspace: Path, lake: Lake) -> None:
        self.workspace = workspace.resolve()
        self.lake = lake
        self.name = options.module
        self.path: Path | None = None
        if options.module.endswith(".py") or "/" in options.module:
            self.path = (self.workspace / options.module).resolve()
            if not self.path.is_relative_to(self.workspace):
                raise UsageError(f"the module {options.module} is not in the workspace {self.workspace}", hint="move it there")
        elif not all(part.isidentifier() for part in options.module.split(".")):
            raise UsageError(f"{options.module!r} is no module", hint="write a file such as sync_jobs/feeds.py, or the name of a module")
        self._module: Any = None
        self._calls: dict[tuple[str, str], _Call] = {}

    # --- the contract

    def describe(self, table: str, *, key: Sequence[str], options: TableOptions | None = None) -> SourceTable:
        """See `Connector.describe`. Calls the function for its first rows, unless the types of all columns are given."""
        function = self._function(table)
        given = self._given(table, function, options or TableOptions())
        types, sources = dict(given), {name: "given" for name in given}
        if not given or set(key) - set(given):
            first = self._call(table, None, given).first
            if first is None and not given:
                raise SourceError(
                    f"{self._where(function)}: {table} yields no row, so its columns are not known",
                    hint="give them under `types:` of the table, or yield an empty Arrow table with a schema",
                )
            if first is not None:
                types = {name: given.get(name, type_) for name, type_ in first.types.items()} | given
                sources = first.sources | sources
        columns = [
            SourceColumn(
                n, t if n in key or not can_be_null(t) else f"Nullable({t})", sources[n], set(sources[n].split(", ")) <= _PYTHON_TYPES
            )
            for n, t in types.items()
        ]
        return SourceTable(table, tuple(columns), options or TableOptions())

    def high_mark(self, table: SourceTable, column: str) -> Watermark | None:
        """See `Connector.high_mark`. None: a function says nothing before it is read."""
        table.column(column)
        return None

    @contextmanager
    def rows(self, table: SourceTable, columns: Sequence[str], *, within: Span | None = None, as_text: bool = False) -> Iterator[str]:
        """See `Connector.rows`. Calls the function once for a lower bound; what it yielded is kept until `close`."""
        wanted = [table.column(c) for c in columns]
        given = self._given(table.name, self._function(table.name), table.options or TableOptions())
        call = self._read(table, within.low if within else None, given)
        mode: Mode = "text" if as_text else "strict"
        if call.stage is None:
            yield f"select {', '.join(f'{nothing(c.type, mode)} as {quote(c.name)}' for c in wanted)} where false"
            return
        body = []
        for n, column in enumerate(wanted):
            kind = call.kinds.get(column.name, NULLABLE_TEXT)
            value = f"source.{quote(column.name)}" if column.name in call.kinds else f"cast(null as {NULLABLE_TEXT})"
            body.append(f"{landed(value, kind, column.type, mode, n)} as {quote(column.name)}")
        try:
            yield f"select {', '.join(body)} from {quote_table(call.stage.table)} as source"
        except QueryError as error:
            number = error.message.partition("skygraph: column ")[2].partition(" does not fit")[0]
            if not number.isdigit():
                raise
            raise self._misfit(table, call, wanted[int(number)]) from None

    def close(self) -> None:
        """See `Connector.close`. A generator that was not read to its end is closed."""
        for call in self._calls.values():
            if call.stage is not None:
                call.stage.drop()
            close = getattr(call.batches, "close", None)
            if close is not None:
                close()
        self._calls.clear()

    # --- the function

    def _function(self, table: str) -> Callable[..., Any]:
        module = self._load()
        found = getattr(module, table, None)
        own = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_") and not isinstance(v, type)]
        if found is None or not callable(found):
            raise UnknownName(f"function of {self.name}", table, own)
        return found  # type: ignore[no-any-return]

    def _load(self) -> Any:
        if self._module is not None:
            return self._module
        if self.path is None:
            with self._errors(f"{self.name} cannot be imported"), _captured(self.name):
                try:
                    self._module = importlib.import_module(self.name)
                except ModuleNotFoundError as error:
                    if error.name and self.name.startswith(error.name):
                        raise SourceError(
                            f"there is no module {self.name}", hint="install it, or write a file such as sync_jobs/feeds.py"
                        ) from None
                    raise
            return self._module
        if not self.path.is_file():
            raise SourceError(f"there is no file {self.path}", hint="check `module:` in sync_jobs")
        name = f"skygraph_source_{self.path.stem}_{uuid.uuid4().hex[:8]}"
        spec = importlib.util.spec_from_file_location(name, self.path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses and pickle look there
        try:
            with self._errors(f"{self.name} cannot be imported"), _captured(self.name):
                spec.loader.exec_module(module)
        finally:
            sys.modules.pop(name, None)
        self._module = module
        return module

    def _given(self, table: str, function: Callable[..., Any], options: TableOptions) -> dict[str, str]:
        given = options.types or getattr(function, "types", None) or {}
        if not isinstance(given, Mapping) or not all(isinstance(t, str) for t in given.values()):
            raise UsageError(f"the types of {table} are {given!r}", hint="write a ClickHouse type for each column: id: Int64")
        return {str(name): bare(type_.strip()) for name, type_ in given.items()}

    def _call(self, table: str, since: Watermark | None, given: Mapping[str, str]) -> _Call:
        """Call the function and take its first batch; the same call again for the same bound."""
        function = self._function(table)
        takes = _takes_since(function)
        at = (table, f"{since.kind} {since.text()}" if since is not None and takes else "")
        if at not in self._calls:
            batches = self._batches(table, function, since if takes else None, given)
            self._calls[at] = call = _Call(batches, None)
            call.first = next(batches, None)
        return self._calls[at]

    def _read(self, table: SourceTable, since: Watermark | None, given: Mapping[str, str]) -> _Call:
        """All that a call yields, in a stage."""
        call = self._call(table.name, since, given)
        if call.done or call.first is None:
            call.done = True
            return call
        if call.stage is not None:
            raise SourceError(f"{self.name}: {table.name} failed before; it is not called again in this run")
        call.kinds = call.first.kinds
        call.stage = Stage(self.lake, [SourceColumn(n, k, "") for n, k in call.kinds.items()])
        import pyarrow as pa

        batch: _Batch | None = call.first
        while batch is not None:
            call.stage.insert(pa.table(batch.columns))
            call.first = batch = None  # let go of the rows before the next are made
            batch = next(call.batches, None)
        call.first = _Batch({}, call.kinds, {}, {}, 0)
        call.done = True
        return call

    def _batches(self, table: str, function: Callable[..., Any], since: Watermark | None, given: Mapping[str, str]) -> Iterator[_Batch]:
        where = self._where(function)
        words = {"since": since.value if since else None} if _takes_since(function) else {}
        first: _Batch | None = None
        row = 0
        for piece in self._pieces(table, function, words):
            is_dicts = isinstance(piece, list)
            batch = _from_dicts(where, table, piece, row, first, given) if is_dicts else _from_arrow(where, table, piece, first)
            row += batch.size
            first = first or _Batch({}, batch.kinds, batch.types, batch.sources, 0)
            yield batch

    def _pieces(self, table: str, function: Callable[..., Any], words: dict[str, Any]) -> Iterator[Any]:
        """What the function yields, as Arrow record batches or lists of at most 10,000 dicts."""
        what = f"{self.name}: {table} failed"
        with self._errors(what), _captured(self.name):
            made = function(**words)
        where = self._where(function)
        if inspect.iscoroutine(made) or inspect.isasyncgen(made):
            if inspect.iscoroutine(made):
                made.close()
            raise SourceError(f"{where}: {table} is an async function", hint="write it without async")
        if made is None:
            raise SourceError(f"{where}: {table} returned None", hint="yield batches, DataFrames or dicts")
        single = isinstance(made, Mapping) or _is_table(made)
        if not single and (isinstance(made, (str, bytes)) or not isinstance(made, Iterable)):
            raise SourceError(f"{where}: {table} returned {_named(made)}", hint="yield batches, DataFrames or dicts")
        source = iter([made] if single else made)
        try:
            over = False
            while not over:
                dicts: list[Any] = []
                other: Any = _END
                # one batch of what it yields: dicts are gathered, until there are enough or something else comes
                with self._errors(what), _captured(self.name):
                    while other is _END and len(dicts) < _BATCH_ROWS:
                        value = next(source, _END)
                        if value is _END:
                            over = True
                            break
                        if isinstance(value, Mapping):
                            dicts.append(value)
                        elif isinstance(value, (list, tuple)) and all(isinstance(v, Mapping) for v in value):
                            dicts.extend(value)
                        else:
                            other = value
                for at in range(0, len(dicts), _BATCH_ROWS):
                    yield dicts[at : at + _BATCH_ROWS]
                if other is not _END and not _is_table(other):
                    raise SourceError(
                        f"{where}: {table} yielded {_named(other)}", hint="yield Arrow batches, DataFrames, dicts or lists of dicts"
                    )
                if other is not _END:
                    yield from _arrow_pieces(other)
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                with self._errors(what), _captured(self.name):
                    close()

    # --- words

    def _where(self, function: Callable[..., Any]) -> str:
        """The function's file and line."""
        code = getattr(inspect.unwrap(function), "__code__", None)
        return f"{self._shown(code.co_filename)}:{code.co_firstlineno}" if code else self.name

    def _shown(self, file: str) -> str:
        path = Path(file)
        return str(path.relative_to(self.workspace)) if path.is_relative_to(self.workspace) else file

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Whatever the user's code raises, as a SourceError with the file and line of it."""
        try:
            yield
        except (SkyGraphError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # sys.exit() too
            at = ""
            if isinstance(error, SyntaxError) and error.filename:
                at = f"{self._shown(error.filename)}:{error.lineno}: "
            else:
                frames = []
                step = error.__traceback__
                while step is not None:
                    frames.append((step.tb_frame.f_code.co_filename, step.tb_lineno))
                    step = step.tb_next
                # the deepest line of the user's own: below it, libraries
                own = [f for f in frames if self.path is not None and f[0] == str(self.path)]
                own = own or [f for f in frames if Path(f[0]).is_relative_to(self.workspace)] or frames[1:]
                at = f"{self._shown(own[-1][0])}:{own[-1][1]}: " if own else ""
            said = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())[:500]
            raise SourceError(f"{what}: {at}{type(error).__name__}{': ' + said if said else ''}") from error

    def _misfit(self, table: SourceTable, call: _Call, column: SourceColumn) -> Misfit:
        assert call.stage is not None
        value, kind = f"source.{quote(column.name)}", call.kinds[column.name]
        shown, fits = landed(value, kind, column.type, "text", 0), landed(value, kind, column.type, "lenient", 0)
        null = f"({shown}) is not null and " if column.type.startswith("Nullable(") else ""
        found = self.lake.scalar(f"select {shown} from {quote_table(call.stage.table)} as source where {null}({fits}) is null limit 1")
        return Misfit(
            f"{self.name}: {table.name} yielded a value of {column.name} that does not fit {column.type}, for example {found!r:.80}",
            hint="correct it in the function, or give the column another type under `types:` or `columns:`",
        )


_END = object()


def _takes_since(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "since" or p.kind is p.VAR_KEYWORD for p in parameters)


def _named(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


# --- what it yields


def _is_table(value: Any) -> bool:
    """An Arrow batch or table, or anything that gives one (pandas, polars)."""
    return hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__") or _is_pandas(value)


def _is_pandas(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "iloc")


def _arrow_pieces(value: Any) -> Iterator[Any]:
    import pyarrow as pa

    if isinstance(value, pa.RecordBatch):
        table = pa.Table.from_batches([value])
    elif _is_pandas(value):
        if not hasattr(value, "columns"):  # a Series
            value = value.to_frame()
        arrays = []
        for at in range(value.shape[1]):
            column = value.iloc[:, at]
            try:
                arrays.append(pa.Array.from_pandas(column))
            except (pa.ArrowException, TypeError, ValueError):  # values of several kinds
                texts = [None if _is_none(v) or isinstance(v, float) and v != v else value_text(_plain_value(v)) for v in column]
                arrays.append(pa.array([t.encode() if isinstance(t, str) else t for t in texts], pa.binary()))
        table = pa.table(arrays, names=[str(name) for name in value.columns])
    else:
        table = pa.table(value)
    # an empty table has a schema: it says the columns
    yield from (table.slice(at, 50_000).combine_chunks() for at in range(0, max(table.num_rows, 1), 50_000))


def _from_arrow(where: str, table: str, piece: pa.Table, first: _Batch | None) -> _Batch:
    import pyarrow as pa

    names = piece.schema.names
    if doubled := sorted({n for n in names if names.count(n) > 1}):
        raise SourceError(f"{where}: {table} yielded the column {doubled[0]!r} twice", hint="rename one")
    arrays = {}
    for name, values in zip(names, piece.columns, strict=True):
        one = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        arrays[str(name)] = one.chunk(0) if isinstance(one, pa.ChunkedArray) else one
    kinds = {name: arrow_kind(a.type) for name, a in arrays.items()}
    if first is not None:
        _same_columns(where, table, list(arrays), first)
        for name, kind in kinds.items():
            if kind == first.kinds[name]:
                continue
            if pa.types.is_null(arrays[name].type):
                arrays[name] = pa.nulls(len(arrays[name]), _arrow_of(first.kinds[name]))
            elif first.kinds[name] == NULLABLE_TEXT:
                arrays[name] = pa.array([None if v is None else value_text(v) for v in arrays[name].to_pylist()], pa.string())
            else:
                raise SourceError(
                    f"{where}: {table} changed its columns: {name} was {first.sources[name]}, then {arrays[name].type}",
                    hint="give every batch one schema",
                )
    sources = {name: str(a.type) for name, a in arrays.items()}
    types = {name: bare(kind) for name, kind in kinds.items()}
    columns = {name: landable_array(a) for name, a in arrays.items()}
    return _Batch(columns, first.kinds if first else kinds, types, sources, piece.num_rows)


def _arrow_of(kind: str) -> Any:
    """An Arrow type that a column of this kind takes nulls of."""
    import pyarrow as pa

    return pa.list_(pa.string()) if kind.startswith("Array(") else pa.string()


def _same_columns(where: str, table: str, names: Sequence[str], first: _Batch) -> None:
    if set(names) == set(first.kinds):
        return
    new, gone = [n for n in names if n not in first.kinds], [n for n in first.kinds if n not in names]
    said = "; ".join([*([f"new: {', '.join(new)}"] if new else []), *([f"gone: {', '.join(gone)}"] if gone else [])])
    raise SourceError(f"{where}: {table} changed its columns between batches: {said}", hint="yield the same columns every time")


def _from_dicts(where: str, table: str, rows: list[Mapping[str, Any]], row: int, first: _Batch | None, given: Mapping[str, str]) -> _Batch:
    """Dicts as columns of texts, which the engine casts: a value that does not fit is then a row's trouble, not the batch's."""
    import pyarrow as pa

    names = list(first.kinds if first else dict.fromkeys([*given, *itertools.chain.from_iterable(rows)]))
    known = set(names)
    for at, one in enumerate(rows, row + 1):
        if not known.issuperset(one):
            new = next(n for n in one if n not in known)
            raise SourceError(
                f"{where}: {table} yielded a new column {new!r} in row {at}",
                hint="yield it in the first rows too (None will do), or give all columns under `types:`",
            )
    if not all(isinstance(name, str) and name for name in names):
        raise SourceError(f"{where}: {table} yielded a column that is not named by a text", hint="use texts as keys")
    columns, types, sources = {}, {}, {}
    for name in names:
        values = [_plain_value(one.get(name)) for one in rows]
        if first is None:
            types[name], sources[name] = (given[name], "given") if name in given else _type_of(values)
        elif first.kinds[name] != NULLABLE_TEXT:
            raise SourceError(f"{where}: {table} yielded Arrow, then dicts", hint="yield one of them")
        texts = [None if _is_none(v) else value_text(v) for v in values]
        columns[name] = pa.array([t.encode("utf-8", "surrogatepass") if isinstance(t, str) else t for t in texts], pa.binary())
    return _Batch(columns, first.kinds if first else dict.fromkeys(names, NULLABLE_TEXT), types, sources, len(rows))


def _plain_value(value: Any) -> Any:
    """A scalar of NumPy or pandas as the Python value that it is."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return value


def _is_none(value: Any) -> bool:
    """None, and what pandas has for it in a column of objects."""
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _type_of(values: Iterable[Any]) -> tuple[str, str]:
    """The type that Python values land as, and what they are in words.

    >>> _type_of([1, None, 2]), _type_of([1, 2.5]), _type_of([1, "x"])
    (('Int64', 'int'), ('Float64', 'float, int'), ('String', 'int, str'))
    """
    seen: dict[type, list[Any]] = {}
    for value in values:
        if not _is_none(value):
            seen.setdefault(type(value), []).append(value)
    kinds = {_kind(t) for t in seen}
    words = ", ".join(sorted(t.__name__ for t in seen)) or "None"
    if kinds == {"int"}:
        numbers = [int(v) for found in seen.values() for v in found]
        if min(numbers) >= -(2**63) and max(numbers) < 2**63:
            return "Int64", words
        return ("UInt64" if min(numbers) >= 0 and max(numbers) < 2**64 else "String"), words
    if kinds and kinds <= {"int", "float"}:
        is_exact = all(abs(v) <= 2**53 for t, found in seen.items() if _kind(t) == "int" for v in found)
        return ("Float64" if is_exact else "String"), words
    if kinds == {"Decimal"}:
        exponents = [v.as_tuple().exponent for found in seen.values() for v in found]
        if any(isinstance(e, str) for e in exponents):  # NaN, Infinity
            return "String", words
        return f"Decimal(38, {min(38, max(0, *(-int(e) for e in exponents), 0))})", words
    simple = {"bool": "Bool", "datetime": "DateTime64(6, 'UTC')", "date": "Date32", "UUID": "UUID"}
    return (simple.get(next(iter(kinds)), "String") if len(kinds) == 1 else "String"), words


def _kind(type_: type) -> str:
    for kind in (bool, int, float, dt.datetime, dt.date, Decimal, uuid.UUID):
        if issubclass(type_, kind):
            return kind.__name__
    return "other"


# --- what it prints


class _Captured(io.TextIOBase):
    """Stands in for stdout or stderr while functions of users run: what they write goes to the log, line by line.

    The main thread writes through, unless it is the one that runs a function; so nothing of a command's own is lost.
    """

    def __init__(self, real: TextIO) -> None:
        self.real = real
        self.sinks: dict[int, _Sink] = {}

    def write(self, text: str) -> int:
        sink = self.sinks.get(threading.get_ident())
        if sink is None and threading.current_thread() is not threading.main_thread():
            sink = next(iter(self.sinks.values()), None)  # a thread that a function began
        return self.real.write(text) if sink is None else sink.write(text)

    def flush(self) -> None:
        self.real.flush()

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class _Sink:
    """Lines of one function, to the log."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.rest = ""
        self.lines = 0

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        if len(self.rest) > 10_000:
            lines, self.rest = [*lines, self.rest], ""
        for line in lines:
            self.lines += 1
            if self.lines <= _LINES_LOGGED and line.strip():
                logger(module=self.source).info("the function wrote", text=line[:1000])
        return len(text)


_lock = threading.Lock()
_standing: list[_Captured] = []
_running = 0


@contextmanager
def _captured(source: str) -> Iterator[None]:
    """What this thread, and threads that it begins, write to stdout and stderr goes to the log."""
    global _running
    me = threading.get_ident()
    sink = _Sink(source)
    with _lock:
        _running += 1
        if _running == 1:
            _standing[:] = [_Captured(sys.stdout), _Captured(sys.stderr)]
            sys.stdout, sys.stderr = _standing
        mine = list(_standing)
        for stream in mine:
            stream.sinks[me] = sink
    try:
        yield
    finally:
        sink.write("\n" if sink.rest else "")
        with _lock:
            for stream in mine:
                stream.sinks.pop(me, None)
            _running -= 1
            if _running == 0:
                for name, stream in zip(("stdout", "stderr"), mine, strict=True):
                    if getattr(sys, name) is stream:
                        setattr(sys, name, stream.real)
                _standing.clear()
