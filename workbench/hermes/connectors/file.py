"""Files: CSV, TSV, JSON lines and Parquet; in a folder, at http(s) addresses, or in an S3-compatible store.

The engine reads a file itself when it may open it. Otherwise (a folder that it was not given, another machine, an encoding other
than UTF-8, an address that needs a header) the bytes are copied into a table of the lake first, and read there.

| in CSV and TSV every value of the first rows is | in JSON lines | lands as |
| --- | --- | --- |
| a whole number without leading zeros, of 64 bits | the same, not quoted | Int64 |
| a number with a point or an exponent | the same, not quoted | Float64 |
| true or false | true or false | Bool |
| YYYY-MM-DD | a text like that | Date32 |
| an ISO 8601 time with a day; without a zone UTC | a text like that | DateTime64(6, 'UTC'), with more digits DateTime64(9, 'UTC') |
| anything else, or no value at all | anything else, objects and arrays too | String |

| in Parquet | lands as |
| --- | --- |
| integers, unsigned too; floats; decimals | the same: Int8 ... UInt64, Float32, Float64, Decimal(p, s) |
| bool; date | Bool; Date32 |
| timestamp of s, ms, us; of ns | DateTime64(6, 'UTC'); DateTime64(9, 'UTC'); without a zone UTC |
| a list of those | Array(...); no list is an empty one |
| struct, map, a list of them | String: its JSON text |
| text, binary | String |
| time of day | DateTime64(6, 'UTC'), on 1970-01-01 |

The first rows are those of the files in order of their names, up to half a million values. A column is Nullable unless it is of the
key or an Array. An unquoted empty field is null, a quoted one is an empty text. Every table also has `_file` (String: the path
from the base), `_modified` (DateTime64(3, 'UTC')) and `_row` (UInt64: the row's number in its file, from 1).
"""

from __future__ import annotations

import datetime as dt
import glob
import itertools
import os
import re
import shutil
import ssl
import tempfile
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote as quote_url
from urllib.parse import unquote, urlsplit, urlunsplit

from workbench.errors import LakeError, Misfit, QueryError, SourceError, SourceUnavailable, UsageError, nearest
from workbench.hermes.connector import SourceColumn, SourceTable, Span, Stage
from workbench.hermes.connectors._file_guess import (
    FORMATS,
    Guess,
    TableOptions,
    check_options,
    codec_of,
    decode,
    delimiter_of,
    guess_csv,
    guess_lines,
    is_true,
)
from workbench.hermes.landing import (
    NULLABLE_TEXT,
    Mode,
    arrow_kind,
    as_texts,
    bare,
    can_be_null,
    landable_array,
    landed,
    landing_type,
    nothing,
)
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_table, quote_text

if TYPE_CHECKING:
    pass

_COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_PSEUDO = (
    SourceColumn("_file", "String", "the path of the file"),
    SourceColumn("_modified", "DateTime64(3, 'UTC')", "when the file was changed"),
    SourceColumn("_row", "UInt64", "the number of the row"),
)
_SAMPLE_VALUES = 500_000
_SAMPLE_BYTES = 8 << 20  # at most of one file
_CHUNK = 1 << 20
_AT_ONCE = 64  # files in one statement
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_TIMEOUT_S = 30.0
# an engine that cannot reach an address tries for minutes by default; whether it can was asked before
_PATIENCE = {"http_max_tries": 2, "http_connection_timeout": 5, "s3_max_redirects": 3, "s3_retry_attempts": 2}
# the engine's numbers of "these bytes are not of that format" and of "nobody answers there"
_DAMAGED = {6, 25, 26, 27, 33, 41, 49, 72, 117, 128, 131, 173, 271, 354, 432, 536, 561, 620, 632, 636, 1001}
_AWAY = {86, 198, 209, 210, 499, 1000}


@dataclass(frozen=True)
class Options:
    """`path`: the base: a folder, an http(s) address or s3://bucket/folder; left out, the workspace.

    `key`, `secret`: of an S3-compatible store, from ${NAME}; `endpoint`: its address when it is not Amazon's. `headers`: sent with
    every request to an http(s) address.
    """

    path: str = ""
    key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    endpoint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class _File:
    """One file as it was listed. `kinds` are its columns: name to the type that they are read as, in order."""

    name: str
    address: str
    modified: dt.datetime
    size: int
    stamp: tuple[int, int] = (0, 0)
    kinds: Mapping[str, str] = field(default_factory=dict)
    skip: int = 0

    @property
    def compression(self) -> str:
        return next((c for end, c in _COMPRESSED.items() if urlsplit(self.address).path.endswith(end)), "")


@dataclass
class _Layout:
    """A described table: its files, in order of their names, and how they are read."""

    format: str
    options: TableOptions
    files: list[_File]
    through_python: bool
    stage: Stage | None = None
    staged: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)  # files whose last quote is known to be closed

    @property
    def kinds(self) -> dict[str, str]:
        """What a stage of all files has: the type of the first file with the column, a text where they differ."""
        found: dict[str, str] = {}
        for file in self.files:
            for name, kind in file.kinds.items():
                found[name] = kind if found.get(name, kind) == kind else NULLABLE_TEXT
        return found


class Connector:
    """Files under one base."""

    options_class: ClassVar[type] = Options
    table_options_class: ClassVar[type] = TableOptions

    def __init__(self, options: Options, *, workspace: Path, lake: Lake) -> None:
        self.lake = lake
        self.options = options
        self.base = options.path
        scheme = urlsplit(options.path).scheme if "://" in options.path else ""
        if scheme not in ("", "http", "https", "s3", "file"):
            raise UsageError(f"the path of a file source is a {scheme}:// address", hint="it is a folder, http(s):// or s3://bucket/folder")
        self.kind = "http" if scheme.startswith("http") else scheme if scheme == "s3" else "folder"
        self.headers = {str(k): str(v) for k, v in dict(options.headers).items()}
        if self.kind == "http":
            self.base = self._signed_off(options.path)
        elif self.kind == "folder":
            self.folder = _folder(options, workspace)
        if bool(options.key) != bool(options.secret):
            raise UsageError("a file source has one of `key` and `secret`", hint="give both, or none for a store that anybody may read")
        if options.endpoint and not re.match(r"https?://[^/]", options.endpoint):
            raise UsageError("the endpoint of a file source is not an http(s) address", hint="write it as https://store.example.com")
        if self.kind != "s3" and (options.key or options.endpoint):
            raise UsageError("a file source has a key or an endpoint but no s3:// path", hint="write path: s3://bucket/folder")
        self._layouts: dict[str, _Layout] = {}
        self._downloads: Path | None = None

    @staticmethod
    def readable(options: Options, workspace: Path) -> Path:
        """The folder that an embedded engine should be allowed to read.

        Raises:
            SourceError: the source is no folder.
        """
        if "://" in options.path and not options.path.startswith("file://"):
            raise SourceError("this file source is no folder")
        return _folder(options, workspace)

    # --- the contract

    def describe(self, table: str, *, key: Sequence[str], options: TableOptions | None = None) -> SourceTable:
        """See `Connector.describe`. Lists the files, reads the first rows of them, and all of their headers."""
        layout = self._look(table, options or TableOptions())
        types = self._types(layout)
        if not types and (unknown := [k for k in key if k not in {c.name for c in _PSEUDO}]):
            where = self._shown((options or TableOptions()).path or table)
            raise SourceError(
                f"{where}: there is no header and no row yet, so {unknown[0]} is not known",
                hint="sync it once there is, or use `key: [_file, _row]`",
            )
        columns = [
            SourceColumn(n, t if n in key or not can_be_null(t) else f"Nullable({t})", s, s.startswith("text"))
            for n, (t, s) in types.items()
        ]
        if taken := [c.name for c in _PSEUDO if c.name in types]:
            raise SourceError(
                f"{self._where(layout)} has a column {taken[0]}, a name that stands for the file's own facts",
                hint="rename it in the file, or give the columns names by `header: false`, `skip: 1` and `names:`",
            )
        return SourceTable(table, (*columns, *_PSEUDO), options or TableOptions())

    def high_mark(self, table: SourceTable, column: str) -> Watermark | None:
        """See `Connector.high_mark`. Of `_modified` and `_file` without reading a file."""
        layout = self._layout(table)
        wanted = table.column(column)
        if column == "_modified":
            if unknown := [f.name for f in layout.files if f.modified == _EPOCH]:
                raise SourceError(f"{unknown[0]}: the server does not say when it was changed", hint="choose another watermark")
            return max((Watermark(f.modified) for f in layout.files), key=lambda m: m.text(), default=None)
        if column == "_file":
            return max((Watermark(f.name) for f in layout.files), key=lambda m: m.text().encode(), default=None)
        with self._reading(layout, table, [wanted]):
            value = self.lake.scalar(
                f"select maxOrNull({quote(column)}) from (\n{self._select(layout, layout.files, [wanted], 'lenient')}\n)"
            )
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            value = dt.datetime(value.year, value.month, value.day)
        return Watermark(value) if isinstance(value, (dt.datetime, int, str)) and not isinstance(value, bool) else None

    @contextmanager
    def rows(self, table: SourceTable, columns: Sequence[str], *, within: Span | None = None, as_text: bool = False) -> Iterator[str]:
        """See `Connector.rows`. By `_modified` or `_file`, files outside of the span are not opened."""
        layout = self._layout(table)
        wanted = [table.column(c) for c in columns]
        files = [f for f in layout.files if within is None or _is_within(f, within)]
        with self._reading(layout, table, wanted):
            self._refuse_open_quotes(layout, files)
            yield self._select(layout, files, wanted, "text" if as_text else "strict")

    def close(self) -> None:
        """See `Connector.close`."""
        for layout in self._layouts.values():
            if layout.stage is not None:
                layout.stage.drop()
        self._layouts.clear()
        if self._downloads is not None:
            shutil.rmtree(self._downloads, ignore_errors=True)
            self._downloads = None

    # --- what there is

    def _layout(self, table: SourceTable) -> _Layout:
        known = self._layouts.get(repr((table.name, table.options)))
        return known or self._look(table.name, table.options or TableOptions())

    def _look(self, table: str, options: TableOptions) -> _Layout:
        pattern = options.path or table
        check_options(table, options)
        format_ = options.format.lower() or _format_of(pattern)
        if format_ not in FORMATS:
            near = nearest(format_, FORMATS)
            raise UsageError(
                f"table {table}: {f'unknown format {format_!r}' if format_ else f'the name {pattern!r} does not tell the format'}",
                hint=f"did you mean {near[0]}?" if near else "write format: csv, tsv, jsonl or parquet",
            )
        format_ = FORMATS[format_]
        files = sorted(self._list(pattern), key=lambda f: f.name.encode())
        if not files and not is_true(options.optional):
            raise SourceError(
                f"no file matches {self._shown(pattern)}{self._nearest_file(pattern)}",
                hint="check `path:`, or write optional: true when there may be none yet",
            )
        through_python = not self._engine_reads(files, options)
        layout = _Layout(format_, options, [], through_python)
        for file in files:
            if file.size == 0 and not file.compression and self.kind == "folder":
                continue  # nothing in it: no row and no column
            layout.files.append(file)
        self._layouts[repr((table, options))] = layout
        return layout

    def _list(self, pattern: str) -> list[_File]:
        if self.kind == "s3":
            return self._list_s3(pattern)
        if self.kind == "http" or re.match(r"https?://", pattern):
            return [self._head(address) for address in _braces(self._address(pattern))]
        found: dict[str, _File] = {}
        for one in [pattern] if (self.folder / pattern).is_file() else _braces(pattern):
            for name in [one] if (self.folder / one).is_file() else glob.glob(one, root_dir=self.folder, recursive=True):
                path = self.folder / name
                if path.is_file():
                    try:
                        seen = path.stat()
                        with open(path, "rb"):
                            pass
                    except OSError as error:
                        raise SourceError(f"{path} cannot be read: {error.strerror}", hint="check its rights") from None
                    changed = dt.datetime.fromtimestamp(seen.st_mtime_ns // 1_000_000 / 1000, dt.timezone.utc)
                    found[name] = _File(name, str(path), changed, seen.st_size, (seen.st_mtime_ns, seen.st_size))
        return list(found.values())

    def _nearest_file(self, pattern: str) -> str:
        """Words about names like that; nothing where it cannot be known."""
        if self.kind != "folder" or "://" in pattern:
            return ""
        if not self.folder.is_dir():
            return f": there is no folder {self.folder}"
        near = nearest(pattern, [p.name for p in itertools.islice(self.folder.iterdir(), 10_000)])
        return f"; there is {' and '.join(near)}" if near else ""

    def _shown(self, pattern: str) -> str:
        if self.kind == "folder" and "://" not in pattern:
            return str(self.folder / pattern)
        return self._address(pattern) if self.kind != "s3" else self._s3_address(pattern)

    def _where(self, layout: _Layout) -> str:
        return layout.files[0].name if layout.files else "the table"

    # --- http(s)

    def _signed_off(self, address: str) -> str:
        """The address without user and password; those go into a header, so that no SQL text ever has them."""
        parts = urlsplit(address)
        if parts.username or parts.password:
            sign_in = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            self.headers.setdefault("Authorization", "Basic " + b64encode(sign_in.encode()).decode())
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def _address(self, pattern: str) -> str:
        if re.match(r"https?://", pattern):
            return self._signed_off(pattern)
        return f"{self.base.rstrip('/')}/{pattern.lstrip('/')}" if self.base else pattern

    def _head(self, address: str) -> _File:
        try:
            answer = self._ask(address, "HEAD")
        except _NoHead:
            answer = self._ask(address, "GET")
        with answer:
            told = answer.headers.get("Last-Modified")
            size = answer.headers.get("Content-Length")
        try:
            modified = parsedate_to_datetime(told) if told else _EPOCH
        except ValueError:
            modified = _EPOCH
        name = address[len(self.base) :].lstrip("/") if self.base and address.startswith(self.base) else address
        return _File(name, address, modified, int(size) if size else -1)

    def _ask(self, address: str, method: str) -> Any:
        request = urllib.request.Request(address, method=method, headers={"User-Agent": "skygraph", **self.headers})
        try:
            return urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            if method == "HEAD" and error.code in (400, 403, 405, 501):
                raise _NoHead from None
            said = f"{address} answered {error.code} {error.reason}"
            if error.code in (401, 403):
                raise SourceError(said, hint="check `headers:` of the source") from None
            if error.code in (404, 410):
                raise SourceError(said, hint="check `path:`") from None
            raise (SourceUnavailable if error.code in (408, 425, 429) or error.code >= 500 else SourceError)(said) from None
        except urllib.error.URLError as error:
            raise _away(address, error.reason) from None
        except (OSError, HTTPException) as error:
            raise _away(address, error) from None

    # --- s3

    def _s3_address(self, pattern: str) -> str:
        parts = urlsplit(self.base)
        folder = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
        root = f"{self.options.endpoint.rstrip('/')}/{parts.netloc}" if self.options.endpoint else f"s3://{parts.netloc}"
        return f"{root}/{folder}{pattern.lstrip('/')}"

    def _s3(self, address: str, format_: str, structure: str = "") -> str:
        """The engine's table function; the server masks the secret in its query log."""
        sign_in = f"{quote_text(self.options.key)}, {quote_text(self.options.secret)}" if self.options.key else "NOSIGN"
        return f"s3({quote_text(address)}, {sign_in}, {quote_text(format_)}{', ' + quote_text(structure) if structure else ''})"

    def _list_s3(self, pattern: str) -> list[_File]:
        """Listed by the engine, which alone speaks to the store."""
        base = urlsplit(self._s3_address("")).path.lstrip("/") if self.options.endpoint else self._s3_address("")[len("s3://") :]
        found = []
        for one in _braces(pattern):
            address = self._s3_address(one)
            with self._store_errors(address):
                seen = self.lake.query(
                    f"select _path, _size, toDateTime64(_time, 3, 'UTC') from {self._s3(address, 'One')}",
                    settings={**_PATIENCE, "s3_throw_on_zero_files_match": 0},
                )
            for path, size, changed in zip(*(c.to_pylist() for c in seen.columns), strict=True):
                name = str(path).removeprefix(base)
                found.append(_File(name, self._s3_address(name), changed or _EPOCH, int(size or 0)))
        return found

    @contextmanager
    def _store_errors(self, address: str) -> Iterator[None]:
        try:
            yield
        except QueryError as error:
            said = self._masked(error.message)
            if re.search(r"\b(404|NoSuch\w+)\b", said) or "does not exist" in said:
                return
            if re.search(r"\b403\b|AccessDenied|SignatureDoesNotMatch|InvalidAccessKeyId", said):
                raise SourceError(f"{address}: the store refused the key", hint="check `key:` and `secret:` of the source") from None
            raise (SourceUnavailable if error.code in _AWAY else SourceError)(f"{address}: {said[:300]}") from None

    def _masked(self, text: str) -> str:
        for secret in (self.options.secret, *self.headers.values()):
            if secret:
                text = text.replace(secret, "***")
        return text

    # --- the first rows

    def _types(self, layout: _Layout) -> dict[str, tuple[str, str]]:
        """Column to the type it lands as, without Nullable, and its type in the file. Fills in the columns of every file."""
        if layout.format == "parquet":
            layout.files = [_with(f, kinds=self._parquet_kinds(layout, f)) for f in layout.files]
            return {name: (landing_type(kind), kind) for name, kind in layout.kinds.items()}
        guesses: dict[str, Guess] = {}
        left, files = _SAMPLE_VALUES, []
        for file in layout.files:
            text, whole = self._opening(layout, file, _SAMPLE_BYTES if left > 0 else _CHUNK)
            if layout.format == "jsonl":
                kinds, used = guess_lines(file.name, text, whole, layout.options, guesses, left)
            else:
                kinds, used, skip = guess_csv(file.name, text, whole, layout.options, layout.format, guesses, left)
                file = _with(file, skip=skip)
            left -= used
            files.append(_with(file, kinds={name: NULLABLE_TEXT for name in kinds}))
        layout.files = files
        return {name: (guess.type, guess.seen) for name, guess in guesses.items()}

    def _opening(self, layout: _Layout, file: _File, most: int) -> tuple[str, bool]:
        """The first bytes of a text file as text, and whether they are all of it."""
        import pyarrow as pa

        if self.kind == "s3":
            function = self._function(file, "LineAsString", "line String")
            with self._reading(layout, None, []):
                lines = self.lake.query(f"select line from {function} limit 20000", settings=_PATIENCE)
            # a line feed is what the engine cuts at; the last row of a limit may be cut in a quoted field
            raw = b"\n".join(v.as_buffer().to_pybytes() for v in lines.column(0).cast(pa.binary())) + b"\n"
            whole = lines.num_rows < 20000
        else:
            opened = open(file.address, "rb") if _is_local(file) else self._ask(file.address, "GET")  # noqa: SIM115
            with opened:
                if "text/html" in str(getattr(opened, "headers", {}).get("Content-Type", "")):
                    raise SourceError(f"{file.address} answered a web page, not a {layout.format} file", hint="check `path:`")
                try:
                    raw = _plain(opened, file.compression).read(most + 1)
                except (OSError, HTTPException) as error:
                    raise self._damaged(file, str(error)) from None
            whole = len(raw) <= most
        return decode(file.name, raw[:most], layout.options.encoding, whole=whole), whole

    def _damaged(self, file: _File, said: str) -> SourceError:
        return SourceError(f"{file.name} is cut short or damaged: {said}", hint="have it written again")

    def _parquet_kinds(self, layout: _Layout, file: _File) -> dict[str, str]:
        if layout.through_python:
            import pyarrow as pa
            import pyarrow.parquet as pq

            try:
                return {f.name: arrow_kind(f.type) for f in pq.read_schema(self._local(file))}
            except (pa.ArrowException, OSError) as error:
                raise SourceError(f"{file.name} is not a Parquet file, or one cut short: {error}", hint="have it written again") from None
        with self._reading(layout, None, []):
            seen = self.lake.query(f"describe table {self._function(file, 'Parquet', '')}", settings=_PATIENCE)
        return {
            str(n): re.sub(r"\s*\n\s*", " ", str(t)) for n, t in zip(*(seen.column(c).to_pylist() for c in ("name", "type")), strict=True)
        }

    # --- reading

    def _engine_reads(self, files: Sequence[_File], options: TableOptions) -> bool:
        """Whether the engine opens these files, and they are the ones that were listed."""
        if self.kind == "s3":
            return True
        if codec_of(options) != "utf-8" or self.headers or any(re.search(r"[*?{}\\\x00-\x1f]", f.address) for f in files if _is_local(f)):
            return False
        if any(re.search(r"[*{}\\|]", f.address) for f in files if not _is_local(f)):
            return False
        with_bytes = [f for f in files if f.size]
        for file in [with_bytes[0], with_bytes[-1]] if with_bytes else []:
            try:
                # the first line is read: only then is the file opened
                function = self._function(file, "LineAsString", "line String")
                seen = self.lake.query(f"select _size, length(line) from {function} limit 1", settings={**_PATIENCE, "http_max_tries": 1})
            except QueryError:
                return False
            if seen.num_rows != 1 or file.size >= 0 and seen.column(0)[0].as_py() not in (file.size, None):
                return False
        return True

    def _function(self, file: _File, format_: str, structure: str) -> str:
        if self.kind == "s3":
            return self._s3(file.address, format_, structure)
        name = "file" if _is_local(file) else "url"
        return f"{name}({quote_text(file.address)}, {quote_text(format_)}{', ' + quote_text(structure) if structure else ''})"

    def _select(self, layout: _Layout, files: Sequence[_File], wanted: Sequence[SourceColumn], mode: Mode) -> str:
        if not files:
            return f"select {', '.join(f'{nothing(c.type, mode)} as {quote(c.name)}' for c in wanted)} where false"
        if not layout.through_python and layout.stage is None and len(files) <= _AT_ONCE:
            return "\nunion all ".join(self._from_engine(layout, f, wanted, mode) for f in files)
        self._copy(layout, files)
        assert layout.stage is not None
        kinds = {**layout.kinds, **{c.name: c.type for c in _PSEUDO}}
        names = ", ".join(quote_text(f.name) for f in files)
        some = f" where source.`_file` in ({names})" if len(files) < len(layout.staged) else ""
        expressions = self._expressions(layout, wanted, {c.name: (f"source.{quote(c.name)}", kinds[c.name]) for c in wanted}, mode)
        return f"select {expressions} from {quote_table(layout.stage.table)} as source{some}"

    def _from_engine(self, layout: _Layout, file: _File, wanted: Sequence[SourceColumn], mode: Mode) -> str:
        """The SELECT of one file, read by the engine."""
        given: dict[str, tuple[str, str]] = {
            "_file": (quote_text(file.name), "String"),
            "_modified": (f"toDateTime64({quote_text(Watermark(file.modified).text()[:-3])}, 3, 'UTC')", "DateTime64(3, 'UTC')"),
            "_row": ("toUInt64(assumeNotNull(source._row_number) + 1)", "UInt64"),
        }
        engine_names = _engine_names(layout.format, file)
        for name, kind in file.kinds.items():
            given[name] = (f"source.{quote(engine_names[name])}", kind)
        missing = (f"cast(null as {NULLABLE_TEXT})", NULLABLE_TEXT)
        expressions = self._expressions(layout, wanted, {c.name: given.get(c.name, missing) for c in wanted}, mode)
        settings = {**_PATIENCE, **_settings(layout, file)}
        if any(c.name == "_row" for c in wanted):
            settings["input_format_parallel_parsing"] = 0  # with it the numbers are of a part of the file
        if layout.format == "parquet":
            structure = ", ".join(f"{quote(n)} {k}" for n, k in file.kinds.items() if any(c.name == n for c in wanted))
        else:
            structure = ", ".join(f"{quote(n)} {NULLABLE_TEXT}" for n in engine_names.values())
        if not structure:  # nothing of the file but its facts: a column is read for the number of rows
            structure = ", ".join(f"{quote(n)} {k}" for n, k in itertools.islice(file.kinds.items(), 1))
        shown = ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items())
        return (
            f"select * from (select {expressions} from {self._function(file, _engine_format(layout), structure)} as source "
            f"settings {shown})"
        )

    def _expressions(self, layout: _Layout, wanted: Sequence[SourceColumn], given: Mapping[str, tuple[str, str]], mode: Mode) -> str:
        found = []
        own = {c.name for c in _PSEUDO}
        for n, column in enumerate(wanted):
            value, kind = given[column.name]
            if layout.format != "parquet" and column.name not in own:
                if nulls := list(layout.options.null_values):
                    value = f"if({value} in ({', '.join(map(quote_text, nulls))}), null, {value})"
                if mode == "strict" and bare(column.type) == "String":
                    bad = f"throwIf(ifNull(not isValidUTF8({value}), false), 'skygraph: column {n} is not UTF-8')"
                    value = f"if({bad} = 0, {value}, null)"
            found.append(f"{landed(value, kind, column.type, mode, n)} as {quote(column.name)}")
        return ", ".join(found)

    def _refuse_open_quotes(self, layout: _Layout, files: Sequence[_File]) -> None:
        """The engine takes a quote that is never closed, in the last column, for one value up to the end of the file.

        Then the number of quotes is odd, and the last value has line feeds in it.
        """
        if layout.through_python or layout.format not in ("csv", "tsv") or layout.options.quote == "none":
            return
        mark = quote_text(layout.options.quote)
        for file in files:
            if file.name in layout.closed or not file.kinds:
                continue
            lines = self._function(file, "LineAsString", "line String")
            if self.lake.scalar(f"select sum(countSubstrings(line, {mark})) % 2 from {lines}"):
                last = list(file.kinds)[-1]
                body = self._from_engine(layout, file, [_PSEUDO[2], SourceColumn(last, NULLABLE_TEXT, "")], "text")
                self._refuse_open_quote(layout, file, body, last)
            layout.closed.add(file.name)

    def _refuse_open_quote(self, layout: _Layout, file: _File, body: str, last: str) -> None:
        at, value = "toUInt64(`_row`)", f"argMax(tuple({quote(last)}), toUInt64(`_row`)).1"
        found = self.lake.query(f"select toUInt64(max({at})) as row, position({value}, '\\n') > 0 from (\n{body}\n)")
        row, has_line = (found.column(n)[0].as_py() for n in (0, 1))
        if not has_line:
            return
        if _is_local(file):
            if _stamp(file.address) != file.stamp:
                raise SourceUnavailable(f"{file.name} was changed while it was read", hint="run it again when it is written")
            if not file.compression and _tail(file.address).rstrip(b"\r\n").endswith(layout.options.quote.encode()):
                return
        raise SourceError(
            f"{file.name} is not a well-formed {layout.format} file at about row {row}: a quote is opened there and never closed",
            hint="have it written again; or check `delimiter:` and `quote:`",
        )

    # --- copying into the lake first

    def _copy(self, layout: _Layout, files: Sequence[_File]) -> None:
        """Have these files in the stage: all of their columns, as they are."""
        if layout.stage is None:
            own = [SourceColumn(name, kind, "") for name, kind in layout.kinds.items()]
            layout.stage = Stage(self.lake, [*own, *_PSEUDO])
        todo = [f for f in files if f.name not in layout.staged]
        if not layout.through_python:
            every = [*(SourceColumn(n, k, "") for n, k in layout.kinds.items()), *_PSEUDO]
            names = ", ".join(quote(c.name) for c in every)
            raw = _Layout(layout.format, TableOptions(**{**vars(layout.options), "null_values": ()}), layout.files, False)
            for at in range(0, len(todo), _AT_ONCE):
                # as they are: what does not fit is found when the stage is read
                chunk = [self._from_engine(raw, f, every, "lenient") for f in todo[at : at + _AT_ONCE]]
                text = "\nunion all ".join(chunk)
                self.lake.command(f"insert into {quote_table(layout.stage.table)} ({names})\n{text}", settings={"max_query_size": 64 << 20})
                layout.staged.update(f.name for f in todo[at : at + _AT_ONCE])
            return
        for file in todo:
            try:
                if layout.format == "parquet":
                    self._copy_parquet(layout.stage, file, layout.kinds)
                else:
                    self._copy_text(layout, layout.stage, file)
            except (LakeError, SourceError) as error:
                # rows of half a file are in it: it is made anew
                layout.stage.drop()
                layout.stage = None
                layout.staged.clear()
                if _is_local(file) and _stamp(file.address) != file.stamp:
                    raise SourceUnavailable(f"{file.name} was changed while it was read", hint="run it again when it is written") from None
                if isinstance(error, QueryError) and error.code in _DAMAGED:
                    raise self._malformed(layout, file.name, error) from None
                raise
            layout.staged.add(file.name)

    def _copy_text(self, layout: _Layout, stage: Stage, file: _File) -> None:
        """Send the bytes of a text file, decoded, for the engine to take apart. Memory is bounded by a chunk."""
        engine_names = _engine_names(layout.format, file)
        structure = ", ".join(f"{quote(n)} {NULLABLE_TEXT}" for n in engine_names.values())
        names = ", ".join(map(quote, [*engine_names, "_file", "_modified", "_row"]))
        values = ", ".join(map(quote, engine_names.values()))
        settings = {**_settings(layout, file), "max_threads": 1, "max_insert_threads": 1, "input_format_parallel_parsing": 0}
        modified = quote_text(Watermark(file.modified).text()[:-3])
        head = (
            f"insert into {quote_table(stage.table)} ({names}) select {values}, {quote_text(file.name)}, "
            f"toDateTime64({modified}, 3, 'UTC'), rowNumberInAllBlocks() + 1 from input({quote_text(structure)}) "
            f"settings {', '.join(f'{k} = {_literal(v)}' for k, v in settings.items())} format {_engine_format(layout)}\n"
        )
        path = self._local(file)

        mark, quotes = layout.options.quote.encode(), 0

        def body() -> Iterator[bytes]:
            import codecs

            nonlocal quotes

            yield head.encode()
            decoder = codecs.getincrementaldecoder(codec_of(layout.options))()
            with open(path, "rb") as opened:
                plain = _plain(opened, file.compression)
                while raw := plain.read(_CHUNK):
                    if text := decoder.decode(raw).encode():
                        quotes += text.count(mark)
                        yield text
                yield decoder.decode(b"", final=True).encode()

        try:
            # the statement and its data in one body, as it is read
            self.lake._call(lambda client: client.raw_insert(insert_block=body()), retry=False)
        except UnicodeError as error:
            raise SourceError(f"{file.name} is not {layout.options.encoding}: {error}", hint="check `encoding:`") from None
        except OSError as error:
            raise self._damaged(file, str(error)) from None
        if quotes % 2 and layout.format in ("csv", "tsv") and layout.options.quote != "none":
            last = list(file.kinds)[-1]
            where = f"where `_file` = {quote_text(file.name)}"
            self._refuse_open_quote(layout, file, f"select `_row`, {quote(last)} from {quote_table(stage.table)} {where}", last)

    def _copy_parquet(self, stage: Stage, file: _File, kinds: Mapping[str, str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        row = 1
        try:
            opened = pq.ParquetFile(self._local(file))
            with opened:
                for batch in opened.iter_batches(batch_size=50_000):
                    columns = {}
                    for name, values in zip(batch.schema.names, batch.columns, strict=True):
                        landable = landable_array(values)
                        columns[name] = as_texts(landable) if kinds[name] == NULLABLE_TEXT else landable
                    size = batch.num_rows
                    columns["_file"] = pa.repeat(pa.scalar(file.name), size)
                    columns["_modified"] = pa.repeat(pa.scalar(file.modified, pa.timestamp("ms", tz="UTC")), size)
                    columns["_row"] = pa.array(range(row, row + size), pa.uint64())
                    row += size
                    stage.insert(pa.table(columns))
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(file, str(error)) from None

    def _local(self, file: _File) -> Path:
        """The file on this machine's disk: itself, or a copy that `close` removes."""
        if _is_local(file):
            return Path(file.address)
        if self._downloads is None:
            self._downloads = Path(tempfile.mkdtemp(prefix="skygraph-file-"))
        copy = self._downloads / quote_url(file.address, safe="")[-200:]
        if copy.exists():
            return copy
        part = copy.with_name("part")
        with self._ask(file.address, "GET") as answer, open(part, "wb") as out:
            try:
                shutil.copyfileobj(answer, out, _CHUNK)
            except (OSError, HTTPException) as error:
                raise _away(file.address, error) from None
            told = answer.headers.get("Content-Length")
        if told and part.stat().st_size != int(told):
            raise SourceUnavailable(f"{file.address} sent {part.stat().st_size} of {told} bytes", hint="run it again")
        os.replace(part, copy)
        return copy

    # --- errors of the engine, in the words of the source

    @contextmanager
    def _reading(self, layout: _Layout, table: SourceTable | None, wanted: Sequence[SourceColumn]) -> Iterator[None]:
        try:
            yield
        except QueryError as error:
            said = " ".join(self._masked(error.message).split())
            if match := re.search(r"skygraph: column (\d+) (is not UTF-8|does not fit)", said):
                column = wanted[int(match[1])]
                if match[2] == "is not UTF-8":
                    raise SourceError(
                        f"{self._where(layout)}: {column.name} has text that is not UTF-8{self._example(layout, column, utf8=True)}",
                        hint="write `encoding: latin-1`, or whatever it is, under the table",
                    ) from None
                raise Misfit(
                    f"{self._where(layout)}: {column.name} has a value that does not fit {column.type}{self._example(layout, column)}",
                    hint="correct it in the file, or give the column another type under `columns:`",
                ) from None
            named = re.search(r"\(in file/uri ([^)]*)\)", said)
            file = next((f for f in layout.files if named and f.address.endswith(named[1].lstrip("/"))), None)
            if error.code in _AWAY and len(layout.files) == 1:
                file = layout.files[0]
            if error.code not in _DAMAGED | _AWAY or not (named or file):
                if self._masked(error.message) != error.message:
                    raise QueryError(said, code=error.code, hint=error.hint) from None
                raise
            changed = [f.name for f in layout.files if _is_local(f) and _stamp(f.address) != f.stamp]
            if changed:
                raise SourceUnavailable(f"{changed[0]} was changed while it was read", hint="run it again when it is written") from None
            raise self._malformed(layout, file.name if file else named[1] if named else "", error) from None

    def _malformed(self, layout: _Layout, name: str, error: QueryError) -> SourceError:
        """The error for a file that the engine cannot fetch or take apart."""
        said = " ".join(self._masked(error.message).split())
        if error.code in _AWAY:
            return SourceUnavailable(f"{name} cannot be fetched: {_brief(said)}", hint="run it again, or check the address")
        row = re.search(r"\(at row (\d+)\)", said)
        at = f" at about row {row[1]}" if row else ""
        hint = "have it written again" + ("" if layout.format == "parquet" else "; or check `delimiter:` and `quote:`")
        return SourceError(f"{name} is not a well-formed {layout.format} file{at}: {_brief(said)}", hint=hint)

    def _example(self, layout: _Layout, column: SourceColumn, *, utf8: bool = False) -> str:
        """Words about the first value that does not fit; nothing when it cannot be found."""
        wanted = [_PSEUDO[0], _PSEUDO[2], column]
        for file in layout.files:
            shown = self._select(layout, [file], wanted, "text")
            fits = self._select(layout, [file], wanted, "lenient")
            name = quote(column.name)
            # the same rows twice, side by side: by their number
            wrong = f"not isValidUTF8({name})" if utf8 else f"{name} is not null" if column.type.startswith("Nullable(") else "true"
            good = "" if utf8 else f" and `_row` not in (select `_row` from ({fits}) where {name} is not null)"
            try:
                found = self.lake.query(f"select `_row`, {'null' if utf8 else name} from (\n{shown}\n) where {wrong}{good} limit 1")
            except LakeError:
                return ""
            if found.num_rows:
                row, value = (found.column(n)[0].as_py() for n in (0, 1))
                text = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."
                return f", for example {text if not utf8 else 'that'} in row {row} of {file.name}"
        return ""


class _NoHead(Exception):
    """The server does not answer HEAD."""


# --- names and addresses


def _folder(options: Options, workspace: Path) -> Path:
    return (workspace / Path(options.path.removeprefix("file://")).expanduser()).resolve()


def _is_local(file: _File) -> bool:
    return "://" not in file.address


def _stamp(path: str) -> tuple[int, int]:
    try:
        seen = os.stat(path)
    except OSError:
        return (-1, -1)
    return seen.st_mtime_ns, seen.st_size


def _tail(path: str) -> bytes:
    """The last bytes of a file."""
    with open(path, "rb") as opened:
        opened.seek(max(0, opened.seek(0, os.SEEK_END) - 4096))
        return opened.read()


def _format_of(pattern: str) -> str:
    """The format by the end of the name, '' for none.

    >>> _format_of("in/*.csv.gz"), _format_of("https://example.com/a.parquet?v=1"), _format_of("data")
    ('csv', 'parquet', '')
    """
    name = urlsplit(pattern).path if "://" in pattern else pattern
    for end in _COMPRESSED:
        name = name.removesuffix(end)
    dot = name.rpartition(".")[2].lower() if "." in name.rpartition("/")[2] else ""
    return dot if dot in FORMATS else ""


def _braces(pattern: str) -> list[str]:
    """The patterns that `{a,b}` and `{1..3}` stand for.

    >>> _braces("d{1..3}/{a,b}.csv")
    ['d1/a.csv', 'd1/b.csv', 'd2/a.csv', 'd2/b.csv', 'd3/a.csv', 'd3/b.csv']
    """
    found = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", pattern)
    if not found:
        return [pattern]
    if found[1]:
        width = len(found[1]) if found[1].startswith("0") else 0
        if int(found[2]) - int(found[1]) > 10_000:
            raise UsageError(f"{pattern!r} stands for more than 10,000 files", hint="make the range smaller")
        parts = [str(n).zfill(width) for n in range(int(found[1]), int(found[2]) + 1)]
    else:
        parts = found[3].split(",")
    return [more for part in parts for more in _braces(pattern[: found.start()] + part + pattern[found.end() :])]


def _is_within(file: _File, span: Span) -> bool:
    """Whether a file may have rows of the span."""
    if span.column not in ("_modified", "_file"):
        return True
    at: Any = file.modified if span.column == "_modified" else file.name.encode()
    low, high = ((m.value.encode() if isinstance(m.value, str) else m.value) if m else None for m in (span.low, span.high))
    if any(isinstance(bound, bytes) != isinstance(at, bytes) for bound in (low, high) if bound is not None):
        return True
    return (low is None or at >= low) and (high is None or at < high)


def _away(address: str, reason: object) -> SourceError:
    said = " ".join(str(reason).split())[:200]
    if isinstance(reason, ssl.SSLError):
        return SourceError(f"{address}: no safe connection: {said}", hint="the server's certificate must be one that this machine trusts")
    hint = "is the server up, and the port right?" if "refused" in said else "check the address, and run it again"
    return SourceUnavailable(f"{address} does not answer: {said}", hint=hint)


def _brief(text: str) -> str:
    """The first sentence of an engine's message about a file, without its dump of rows."""
    text = re.split(r"\(at row|: Row \d+:|\(in file/uri|You can specify the structure|While executing", text)[0]
    text = re.sub(r"^.*?Error: (Code: \d+\. )?", "", text).removeprefix("DB::Exception: ")
    text = re.sub(r" \(\w+\) \(version [^)]*\)", "", text)
    return re.sub(r"(before: '.{40}).*", r"\1...'", text).strip(" :.")[:300]


def _with(file: _File, **changes: Any) -> _File:
    return _File(**{**vars(file), **changes})


def _engine_format(layout: _Layout) -> str:
    return {"parquet": "Parquet", "jsonl": "JSONEachRow"}.get(layout.format, "CSV")


def _engine_names(format_: str, file: _File) -> dict[str, str]:
    """Column to its name for the engine: in CSV by place, whatever the header says."""
    if format_ in ("csv", "tsv"):
        return {name: f"c{n}" for n, name in enumerate(file.kinds, 1)}
    return {name: name for name in file.kinds}


def _settings(layout: _Layout, file: _File) -> dict[str, Any]:
    """Settings of the engine that read the text as it stands."""
    if layout.format == "parquet":
        return {"input_format_parquet_allow_missing_columns": 0}
    if layout.format == "jsonl":
        return {
            "input_format_json_read_bools_as_strings": 1, "input_format_json_read_numbers_as_strings": 1,
            "input_format_json_read_objects_as_strings": 1, "input_format_json_read_arrays_as_strings": 1,
            "input_format_skip_unknown_fields": 1, "input_format_null_as_default": 1,
        }  # fmt: skip
    options = layout.options
    return {
        "format_csv_delimiter": delimiter_of(options.delimiter or ("\t" if layout.format == "tsv" else ",")),
        "format_csv_null_representation": "", "input_format_csv_trim_whitespaces": 0, "input_format_csv_detect_header": 0,
        "input_format_csv_skip_first_lines": file.skip, "input_format_csv_allow_whitespace_or_tab_as_delimiter": 1,
        "format_csv_allow_double_quotes": int(options.quote == '"'), "format_csv_allow_single_quotes": int(options.quote == "'"),
        "input_format_csv_allow_variable_number_of_columns": 0, "input_format_csv_empty_as_default": 1,
        "input_format_csv_skip_trailing_empty_lines": 1,
    }  # fmt: skip


def _literal(value: Any) -> str:
    return quote_text(value) if isinstance(value, str) else str(int(value))


def _plain(opened: Any, compression: str) -> Any:
    """A file-like object of the bytes without compression."""
    import pyarrow as pa

    return pa.input_stream(opened, compression=compression) if compression else opened
