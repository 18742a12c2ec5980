"""REST: JSON over HTTP(S). Pages are fetched one by one and staged in the lake; memory is bounded by one page.

| in the JSON of the first rows | lands as |
| --- | --- |
| `true`, `false` | Bool |
| whole numbers that fit | Int64 |
| numbers with a fraction or an exponent, with or without whole ones | Float64 |
| text, ISO 8601 with a time of day; without a zone UTC | DateTime64(6, 'UTC') |
| text, ISO 8601 date | Date32 |
| an object | a column per field, `customer.name` as `customer_name` |
| an object below `flatten` levels, a list | String, its JSON |
| other text, mixed kinds, larger numbers, only null | String |

Types come from the first `sample` rows, or from `types:`. Every column is Nullable but those of the key. Numbers are read with
all their digits: `types: {price: "Decimal(10, 2)"}` lands them exactly. A later value that does not fit its column is a Misfit;
in the rows `as_text` such a value stands in double quotes, so that no cast of the engine takes it for one that fits. A field
that neither the first rows nor `types:` have is an error: it would be lost otherwise.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urljoin

from workbench.errors import Misfit, QueryError, SourceError, SourceUnavailable, nearest
from workbench.hermes.connector import Ranges, SourceColumn, SourceTable, Span, Stage
from workbench.hermes.connectors._rest_http import Answer, Http, shown_url
from workbench.hermes.connectors._rest_values import (
    Shape,
    bare,
    collision,
    expression,
    is_null,
    learn,
    shown,
    takes_null,
    text_of,
    type_of,
    writer,
)
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_text

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 10_000
_BATCH_CHARACTERS = 16_000_000
_PAGING = ("none", "page", "offset", "cursor", "link")


@dataclass(frozen=True)
class Options:
    """`url`: where the paths of the tables begin. Sign-in: `token` (bearer), or `user` and `password` (basic), or `headers`.

    `params`: query parameters of every request. `timeout`: for one answer to go on. `retries`: of one request, at most, and
    `give_up_after`: its total time with all waiting. `max_page_mb`: the largest answer.
    """

    url: str
    token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: str = "30 seconds"
    retries: str = "8"
    give_up_after: str = "5 minutes"
    max_page_mb: str = "64"


@dataclass(frozen=True)
class TableOptions:
    """Where the rows of a table are, how its pages follow each other, and what its values mean; see docs/connectors/rest.md."""

    path: str = ""
    records: str = ""
    paging: str = "none"
    page_param: str = ""
    first_page: str = ""
    size_param: str = ""
    page_size: str = ""
    cursor_param: str = ""
    cursor: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    since_param: str = ""
    since_format: str = "iso"
    null_values: Sequence[str] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    flatten: str = "5"
    sample: str = "1000"


class Connector:
    """One HTTP server. `wait` and `clock` are for who does not want to wait by the real clock."""

    options_class: ClassVar[type] = Options
    table_options_class: ClassVar[type] = TableOptions

    def __init__(
        self,
        options: Options,
        *,
        workspace: Path,
        lake: Lake,
        wait: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lake = lake
        self.http = Http(options, wait=wait, clock=clock)
        self._tables: dict[tuple[str, str], _Table] = {}

    # --- the contract

    def describe(self, table: str, *, key: Sequence[str], options: Any = None) -> SourceTable:
        """See `Connector.describe`. Fetches the first pages, and keeps them for `rows`."""
        given = options or TableOptions()
        known = self._table(table, given)
        columns = []
        for name, kinds in known.shape.kinds.items():
            if not name or "\0" in name:
                raise SourceError(f"{known.where}: a field has the name {name!r}, which no column can have")
            base, source_type = type_of(kinds)
            type_ = known.types.get(name, base)
            if name in key:
                type_ = bare(type_)
            elif not re.match(r"(Nullable|LowCardinality|Array|Map|Tuple|JSON|Dynamic|Variant)\b", type_):
                type_ = f"Nullable({type_})"
            columns.append(SourceColumn(name, type_, source_type, name not in known.types))
        return SourceTable(table, tuple(columns), given)

    def high_mark(self, table: SourceTable, column: str) -> Watermark | None:
        """See `Connector.high_mark`: a server cannot be asked before its rows are read."""
        table.column(column)
        return None

    @contextmanager
    def rows(
        self, table: SourceTable, columns: Sequence[str], *, within: Span | Ranges | None = None, as_text: bool = False
    ) -> Iterator[str]:
        """See `Connector.rows`."""
        wanted = [table.column(c) for c in columns]
        known = self._table(table.name, table.options or TableOptions())
        copied = self._copied(known, table, within if isinstance(within, Span) else None)
        if not as_text:
            for column in wanted:
                if (message := copied.misfits.get(column.name)) is not None:
                    raise Misfit(message, hint="correct it at the source, or give the column another type under `types:` or `columns:`")
        body = ", ".join(quote(c.name) if as_text else f"{expression(c)} as {quote(c.name)}" for c in wanted)
        yield f"select {body} from ({copied.stage.select}) as source"

    def stop(self) -> None:
        """End the waiting and reading of another thread: it gets a SourceUnavailable."""
        self.http.stopped.set()

    def close(self) -> None:
        """See `Connector.close`."""
        for known in self._tables.values():
            for copied in known.copies:
                copied.stage.drop()
        self._tables.clear()
        self.http.close()

    # --- tables

    def _table(self, name: str, options: TableOptions) -> _Table:
        """What is known of a table; the first pages are fetched when nothing is."""
        at = (name, repr(options))
        if at not in self._tables:
            plan = _parse(name, options, self.http.where)
            types = {c: self._type(plan, c, t) for c, t in plan.types.items()}
            first = _Pages(self.http, plan, {})
            sample: list[list[dict[str, Any]]] = []
            while sum(map(len, sample)) < plan.sample and (page := first.read()) is not None:
                sample.append(page)
            where = f"{self.http.where} {plan.name}"
            shape = learn([r for page in sample for r in page], plan.types, plan.null_values, plan.flatten, where)
            if not shape.kinds:
                raise SourceError(
                    f"{where} has no rows yet, so its columns are not known", hint="name them, and their types, under `types:`"
                )
            self._tables[at] = _Table(plan, where, types, shape, sample, first)
        return self._tables[at]

    def _type(self, plan: _Plan, column: str, type_: str) -> str:
        try:
            return str(self.lake.scalar(f"select toTypeName(defaultValueOfTypeName({quote_text(type_)}))"))
        except QueryError:
            raise SourceError(
                f"table {plan.name}: `types:` gives {column} the type {type_!r}, which the lake does not know",
                hint="write a ClickHouse type, such as Int64, Decimal(10, 2) or DateTime64(3, 'UTC')",
            ) from None

    def _copied(self, known: _Table, table: SourceTable, within: Span | None) -> _Copy:
        """A stage that has at least the rows of the span; the server is asked when none has."""
        types = tuple((c.name, c.type) for c in table.columns)
        since: Watermark | None = None
        column = within.column if within else ""
        # a server that compares leaves out the rows without a value
        if within and known.plan.since_param and not (within.nulls and column in known.shape.with_null):
            since = within.low
        for copied in known.copies:
            if copied.types == types and copied.has(column, since):
                return copied
        text = "" if since is None else _since_text(since, known.plan.since_format)
        if since is not None:
            pages = _Pages(self.http, known.plan, {known.plan.since_param: text})
            found = self._copy(known, table, iter(pages.read, None))
        else:
            first, known.first = known.first, None
            sample, known.sample = known.sample, []
            if first is None:  # an earlier copy took them, and failed or had other types
                first, sample = _Pages(self.http, known.plan, {}), []
            found = self._copy(known, table, _both(sample, iter(first.read, None)))
        copied = _Copy(found[0], column, since, types, found[1])
        known.copies.append(copied)
        return copied

    def _copy(self, known: _Table, table: SourceTable, pages: Iterable[list[dict[str, Any]]]) -> tuple[Stage, dict[str, str]]:
        """Rows into a stage of texts, and for each column with values that do not fit: what to say of the first."""
        import pyarrow as pa

        columns = table.columns
        writers = [writer(c.type) for c in columns]
        misfits: dict[str, str] = {}
        waiting: list[list[bytes | None]] = [[] for _ in columns]
        size = row = 0
        nulls = known.plan.null_values
        stage = Stage(self.lake, [SourceColumn(c.name, "Nullable(String)", c.source_type) for c in columns])

        def batch() -> pa.RecordBatch:
            made = pa.RecordBatch.from_arrays([pa.array(v, pa.binary()) for v in waiting], names=[c.name for c in columns])
            for values in waiting:
                values.clear()
            return made

        try:
            for page in pages:
                for record in page:
                    row += 1
                    cells = known.cells(record, row)
                    for column, write, values in zip(columns, writers, waiting, strict=True):
                        value = cells.get(column.name)
                        if is_null(value, nulls):
                            values.append(None)
                            if not takes_null(column.type) and column.name not in misfits:
                                misfits[column.name] = f"{known.where}: row {row} has no value in {column.name}, which cannot be null"
                            continue
                        try:
                            text = write(value)
                        except ValueError:
                            raw = text_of(value)
                            text = json.dumps(raw, ensure_ascii=False)
                            if column.name not in misfits:
                                misfits[column.name] = (
                                    f"{known.where}: {column.name} of row {row} does not fit {column.type}: {shown(value)}"
                                )
                        size += len(text)
                        # a half of a surrogate pair is no text: it stays as its escape
                        values.append(text.encode("utf-8", "backslashreplace"))
                    if len(waiting[0]) >= _BATCH_ROWS or size >= _BATCH_CHARACTERS:
                        stage.insert(batch())
                        size = 0
            stage.insert(batch())
        except BaseException:
            stage.drop()
            raise
        return stage, misfits


# --- what a table is


@dataclass(frozen=True)
class _Plan:
    """The options of a table, read."""

    name: str
    path: str
    records: tuple[str, ...] | None
    paging: str
    page_param: str
    first_page: int
    size: Mapping[str, str]
    cursor_param: str
    cursor: tuple[str, ...]
    params: Mapping[str, str]
    since_param: str
    since_format: str
    null_values: frozenset[str]
    types: Mapping[str, str]
    flatten: int
    sample: int


@dataclass
class _Copy:
    """Rows that are in the lake: all, or those whose `column` is at or past `since`."""

    stage: Stage
    column: str
    since: Watermark | None
    types: tuple[tuple[str, str], ...]
    misfits: dict[str, str]

    def has(self, column: str, since: Watermark | None) -> bool:
        """Whether it holds at least the rows at or past that mark."""
        if self.since is None:
            return True
        return since is not None and (column, since.kind) == (self.column, self.since.kind) and not self.since.later_than(since)


@dataclass
class _Table:
    """What is known of a table in the lifetime of a connector."""

    plan: _Plan
    where: str
    types: Mapping[str, str]
    shape: Shape
    sample: list[list[dict[str, Any]]]
    first: _Pages | None
    copies: list[_Copy] = field(default_factory=list)

    def cells(self, record: Mapping[str, Any], row: int) -> dict[str, Any]:
        """The values of a row by column."""
        into: dict[str, Any] = {}
        self._cells(record, (), "", into, row)
        return into

    def _cells(self, record: Mapping[str, Any], path: tuple[str, ...], prefix: str, into: dict[str, Any], row: int) -> None:
        paths = self.shape.paths
        for key, value in record.items():
            name = prefix + key
            if name in self.shape.kinds:
                if name in into or paths.setdefault(name, (path, key)) != (path, key):
                    raise collision(self.where, name)
                into[name] = value
            elif value == {} or is_null(value, self.plan.null_values):
                continue  # nothing is lost
            elif isinstance(value, dict) and len(path) < self.plan.flatten:
                self._cells(value, (*path, key), f"{name}_", into, row)
            else:
                raise SourceError(
                    f"{self.where}: row {row} has the field {name} ({shown(value)}), which the first rows do not have",
                    hint=f"name it: `types: {{{name}: String}}`, or with a type that fits; or read more rows first with `sample:`",
                )


def _parse(table: str, given: TableOptions, where: str) -> _Plan:
    """The options of a table, checked.

    Raises:
        SourceError: one is wrong.
    """

    def wrong(message: str, hint: str) -> SourceError:
        return SourceError(f"{where}, table {table}: {message}", hint=hint)

    def whole(name: str, default: int) -> int:
        text = str(getattr(given, name)).strip() or str(default)
        if not re.fullmatch(r"\d{1,9}", text):
            raise wrong(f"{name} is {text!r}", "write a whole number")
        return int(text)

    if given.paging not in _PAGING:
        near = nearest(given.paging, _PAGING)
        raise wrong(f"unknown paging {given.paging!r}", f"did you mean {near[0]}?" if near else f"it is {', '.join(_PAGING)}")
    for name in ("params", "types"):
        if not isinstance(getattr(given, name), Mapping):
            raise wrong(f"{name} is {getattr(given, name)!r}", f"write it as `{name}: {{name: value}}`")
    if bool(given.size_param) != bool(given.page_size):
        raise wrong("only one of size_param and page_size is given", "give both: the parameter, and how many rows a page should have")
    if given.paging == "cursor" and not given.cursor:
        raise wrong("paging: cursor without `cursor:`", "say where the answer has the next cursor or the next address, such as meta.next")
    if given.paging != "cursor" and (given.cursor or given.cursor_param):
        raise wrong(f"a cursor, but paging is {given.paging}", "write `paging: cursor`")
    form = given.since_format
    if "%" not in form and form not in ("iso", "date", "unix", "unix_ms"):
        raise wrong(f"unknown since_format {form!r}", "it is iso, date, unix, unix_ms, or a pattern such as %Y-%m-%d %H:%M:%S")
    default_param = {"page": "page", "offset": "offset"}.get(given.paging, "")
    nulls = [given.null_values] if isinstance(given.null_values, str) else given.null_values
    return _Plan(
        name=table,
        path=given.path or table,
        records=tuple(p for p in given.records.split(".") if p) if given.records else None,
        paging=given.paging,
        page_param=given.page_param or default_param,
        first_page=whole("first_page", 0 if given.paging == "offset" else 1),
        size={given.size_param: str(whole("page_size", 0))} if given.size_param else {},
        cursor_param=given.cursor_param,
        cursor=tuple(given.cursor.split(".")) if given.cursor else (),
        params={str(k): str(v) for k, v in given.params.items()},
        since_param=given.since_param,
        since_format=form,
        null_values=frozenset(map(str, nulls)),
        types={str(k): str(v) for k, v in given.types.items()},
        flatten=whole("flatten", 5),
        sample=max(1, whole("sample", 1000)),
    )


def _since_text(mark: Watermark, form: str) -> str:
    """A mark as the parameter that asks for rows from there on; a little earlier, for servers that mean `later than`.

    >>> at = Watermark(dt.datetime(2024, 1, 2, 3, 4, 5))
    >>> [_since_text(at, form) for form in ("iso", "date", "unix", "unix_ms", "%d.%m.%Y %H:%M")]
    ['2024-01-02T03:04:04Z', '2024-01-01', '1704164644', '1704164644000', '02.01.2024 03:04']
    >>> _since_text(Watermark(12), "iso"), _since_text(Watermark("A-7"), "iso")
    ('11', 'A-7')
    """
    if isinstance(mark.value, str):
        return mark.value
    if isinstance(mark.value, int):
        return str(mark.value - 1)
    at = (mark.value - (dt.timedelta(days=1) if form == "date" else dt.timedelta(seconds=1))).replace(microsecond=0)
    if form in ("unix", "unix_ms"):
        return str(int(at.timestamp()) * (1000 if form == "unix_ms" else 1))
    return at.strftime({"iso": "%Y-%m-%dT%H:%M:%SZ", "date": "%Y-%m-%d"}.get(form, form))


def _both(sample: list[list[dict[str, Any]]], rest: Iterator[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    while sample:
        yield sample.pop(0)
    yield from rest


# --- pages


class _Pages:
    """The pages of a table, one after another."""

    def __init__(self, http: Http, plan: _Plan, extra: Mapping[str, str]) -> None:
        self.http, self.plan = http, plan
        self.base = {**plan.params, **plan.size, **extra}
        first: dict[str, str] = {}
        if plan.page_param and plan.paging in ("page", "offset", "link"):
            first[plan.page_param] = str(plan.first_page)
        self._next: str | None = http.address(plan.path, {**self.base, **first})
        self._number = plan.first_page
        self._read = 0  # rows, with those that stood on two pages
        self._field: str | None = None
        self._seen: set[bytes] = set()
        self._asked = {self._next}
        self._last: set[bytes] = set()

    def read(self) -> list[dict[str, Any]] | None:
        """The rows of the next page, those left out that the page before had too; None after the last page.

        Raises:
            SourceError: the pages do not come to an end, or are no rows.
        """
        if self._next is None:
            return None
        url = self._next
        answer = self.http.ask(url, first=self._read == 0)
        found = self._records(answer, url)
        marks = [hashlib.blake2b(repr(r).encode("utf-8", "surrogatepass"), digest_size=16).digest() for r in found]
        if found:
            page = hashlib.blake2b(b"".join(marks), digest_size=16).digest()
            if page in self._seen:
                raise SourceError(
                    f"{shown_url(url, self.http)} gives the same {len(found)} rows as a page before it",
                    hint="the server does not turn the page: check the parameter names (page_param, cursor_param ...) and `paging:`",
                )
            self._seen.add(page)
        self._read += len(found)
        self._next = self._following(answer, url, len(found))
        if self._next is not None:
            if self._next in self._asked:
                raise SourceError(
                    f"{shown_url(url, self.http)} names a next page that was read already",
                    hint="the cursor of the server repeats: check `cursor:` and `cursor_param:`",
                )
            self._asked.add(self._next)
        else:
            total = answer.headers.get("x-total-count", "")
            if total.isdigit() and self._read < int(total) and set(self.base) <= set(self.plan.size):
                raise SourceUnavailable(
                    f"{shown_url(url, self.http)} says there are {total} rows (X-Total-Count), but only {self._read} came",
                    hint="set `paging:`, or, if rows were deleted meanwhile, run it again",
                )
        kept = [r for r, mark in zip(found, marks, strict=True) if mark not in self._last]
        self._last = set(marks)
        return kept

    def _following(self, answer: Answer, url: str, count: int) -> str | None:
        """The address of the page after this one; None when it was the last."""
        plan = self.plan
        if plan.paging in ("page", "offset"):
            if not count:
                return None
            self._number += 1 if plan.paging == "page" else count
            return self.http.address(plan.path, {**self.base, plan.page_param: str(self._number)})
        if plan.paging == "link":
            link = answer.links.get("next", {}).get("url", "")
            return self._go(url, link, "the Link header") if link else None
        if plan.paging == "cursor":
            cursor = self._cursor(answer.body, url)
            if cursor in (None, "", False):
                return None
            if not isinstance(cursor, str):
                raise SourceError(f"{shown_url(url, self.http)}: {'.'.join(plan.cursor)} is {shown(cursor)}, not a cursor")
            if plan.cursor_param and not re.match(r"https?://", cursor):
                return self.http.address(plan.path, {**self.base, plan.cursor_param: str(cursor)})
            if not re.match(r"https?://|/|\?", cursor):
                raise SourceError(
                    f"{shown_url(url, self.http)}: the next cursor {shown(cursor)} is not an address",
                    hint="say with `cursor_param:` which parameter takes it",
                )
            return self._go(url, cursor, "the answer")
        more = answer.links.get("next") or next((k for k in ("next", "next_url", "@odata.nextLink") if _is_address(answer.body, k)), "")
        more = more or next((k for k in ("has_more", "hasMore") if isinstance(answer.body, dict) and answer.body.get(k) is True), "")
        if more:
            what = "a Link header to a next page" if isinstance(more, dict) else f"more rows ({more})"
            hint = "`paging: link`" if isinstance(more, dict) else "`paging: cursor` or another kind"
            raise SourceError(f"{shown_url(url, self.http)} has {what}, but `paging:` is none", hint=f"set {hint}")
        return None

    def _go(self, url: str, link: str, says: str) -> str:
        """An address that the server gave, with the parameters of every request."""
        to = urljoin(url, link)
        self.http.require_same_host(to, says)
        return self.http.with_params(to)

    def _cursor(self, body: Any, url: str) -> Any:
        at = body
        for step in self.plan.cursor:
            if not isinstance(at, dict):
                raise SourceError(
                    f"{shown_url(url, self.http)} has no {'.'.join(self.plan.cursor)}: there is no object to look into",
                    hint="check `cursor:`; when the next page stands in a Link header write `paging: link`",
                )
            if step not in at:
                # at the end it may be left out; but a name that is only written wrongly would end the pages too
                if near := [n for n in nearest(step, at) if at[n] not in (None, "", False)]:
                    raise SourceError(
                        f"{shown_url(url, self.http)} has no {'.'.join(self.plan.cursor)}", hint=f"did you mean {near[0]}? check `cursor:`"
                    )
                return None
            at = at[step]
            if at is None:
                return None
        return at

    def _records(self, answer: Answer, url: str) -> list[dict[str, Any]]:
        found = self._dig(answer.body, url)
        for n, record in enumerate(found, 1):
            if not isinstance(record, dict):
                raise SourceError(
                    f"{shown_url(url, self.http)}: row {n} is {shown(record)}, not an object with fields",
                    hint="many servers have an option for rows as objects; set it under `params:`",
                )
        return found

    def _dig(self, body: Any, url: str) -> list[Any]:
        plan = self.plan
        if plan.records is not None:
            at = body
            for step in plan.records:
                if not isinstance(at, dict) or step not in at:
                    known = list(at) if isinstance(at, dict) else []
                    near = nearest(step, known)
                    there = f"there is {', '.join(known[:8])}" if known else "that is not an object"
                    raise SourceError(
                        f"{shown_url(url, self.http)} has no {'.'.join(plan.records)}",
                        hint=f"did you mean {near[0]}?" if near else f"{there}; check `records:`",
                    )
                at = at[step]
            if at is None:
                return []
            return at if isinstance(at, list) else [at]
        if isinstance(body, list):
            return body
        fields = body if isinstance(body, dict) else {}
        if self._field is not None and self._field in fields:
            lists = [self._field]
        else:
            lists = [k for k, v in fields.items() if isinstance(v, list)]
        if len(lists) != 1:
            seen = f"the lists {', '.join(lists)}" if lists else f"no list, but {shown(body)}"
            raise SourceError(f"{shown_url(url, self.http)} has {seen}", hint="say where the rows are with `records:`")
        self._field = lists[0]
        return list(fields[self._field] or [])


def _is_address(body: Any, key: str) -> bool:
    return isinstance(body, dict) and isinstance(body.get(key), str) and bool(re.match(r"https?://|/", body[key]))
