"""What text files say of their columns in their first rows, and the options that they are read with. Pure, and private to `file`."""

from __future__ import annotations

import csv
import datetime as dt
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workbench.errors import SourceError, UsageError

FORMATS = {"csv": "csv", "tsv": "tsv", "tab": "tsv", "parquet": "parquet", "pq": "parquet", "jsonl": "jsonl", "ndjson": "jsonl",
           "json": "jsonl"}  # fmt: skip
_CHUNK = 1 << 20


@dataclass(frozen=True)
class TableOptions:
    """`path`: the files, relative to the base (default: `from`); `*`, `?`, `**`, `{a,b}` and `{1..9}` stand for several.

    `format`: csv, tsv, jsonl or parquet (default: by the name). For text files: `delimiter` (one character), `quote` (`"`, `'` or none),
    `header` (true or false), `names` (of the columns of files without a header), `skip` (lines before the header), `null_values`
    (texts that mean null), `encoding` (default UTF-8). `optional`: true when there may be no file yet.
    """

    path: str = ""
    format: str = ""
    delimiter: str = ""
    quote: str = '"'
    header: str = "true"
    names: Sequence[str] = ()
    skip: str = "0"
    null_values: Sequence[str] = ()
    encoding: str = "utf-8"
    optional: str = "false"


def is_true(text: str) -> bool:
    return text.lower() == "true"


def codec_of(options: TableOptions) -> str:
    import codecs

    name = codecs.lookup(options.encoding).name
    return "utf-8" if name in ("utf-8", "ascii", "utf-8-sig") else name


def check_options(table: str, options: TableOptions) -> None:
    """Raises UsageError for a word that is none of those it may be."""
    for name in ("header", "optional"):
        if getattr(options, name).lower() not in ("true", "false"):
            raise UsageError(f"table {table}: {name} is {getattr(options, name)!r}", hint="it is true or false")
    if options.delimiter and len(delimiter_of(options.delimiter)) != 1 or not delimiter_of(options.delimiter or ",").isascii():
        raise UsageError(f"table {table}: the delimiter {options.delimiter!r} is not one character", hint="write `,`, `;`, `|` or `\\t`")
    if options.quote not in ('"', "'", "none"):
        raise UsageError(f"table {table}: quote is {options.quote!r}", hint="it is a double quote, a single quote or none")
    if not options.skip.isdigit():
        raise UsageError(f"table {table}: skip is {options.skip!r}", hint="it is the number of lines before the header")
    for name in ("names", "null_values"):
        if isinstance(getattr(options, name), str):
            raise UsageError(f"table {table}: {name} is one text", hint=f"write it as a list: {name}: [{getattr(options, name)}]")
    if len(set(options.names)) < len(options.names):
        raise UsageError(f"table {table}: `names:` has a name twice", hint="give every column a name of its own")
    if options.names and is_true(options.header):
        raise UsageError(f"table {table}: `names:` are for files without a header", hint="write header: false too")
    try:
        codec_of(options)
    except LookupError:
        raise UsageError(f"table {table}: unknown encoding {options.encoding!r}", hint="utf-8, utf-16, latin-1, cp1252 ...") from None


def delimiter_of(text: str) -> str:
    return "\t" if text in ("\\t", "tab") else text


# --- what the first rows say

_TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)? ?(?:Z|[+-]\d\d(?::?\d\d)?)?"
_KINDS: dict[str, re.Pattern[str]] = {
    "Int64": re.compile(r"-?(?:0|[1-9]\d{0,18})"),
    "Float64": re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?"),
    "Bool": re.compile(r"true|false", re.IGNORECASE),
    "Date32": re.compile(r"(?:19\d\d|2[0-2]\d\d)-\d\d-\d\d"),
    "DateTime64(6, 'UTC')": re.compile(_TIME),
    "DateTime64(9, 'UTC')": re.compile(_TIME),
}


class Guess:
    """What type the values of a column are of, narrowed value by value."""

    def __init__(self) -> None:
        self.left = list(_KINDS)
        self.any = False

    def see(self, text: str, among: Sequence[str] | None = None) -> None:
        self.any = True
        self.left = [kind for kind in self.left if (among is None or kind in among) and _is_of(kind, text)]

    @property
    def type(self) -> str:
        return self.left[0] if self.any and self.left else "String"

    @property
    def seen(self) -> str:
        return f"text that reads as {self.type}" if self.any else "text, without a value in the first rows"


def _is_of(kind: str, text: str) -> bool:
    if not _KINDS[kind].fullmatch(text):
        return False
    if kind == "Int64":
        return -(2**63) <= int(text) < 2**63
    if kind == "Float64":
        # more digits than a float keeps: an identifier or an amount, which it would change
        return sum(c.isdigit() for c in text.partition("e")[0].strip("0")) <= 17
    if kind == "DateTime64(6, 'UTC')" and re.search(r"[.,]\d{6}0*[1-9]", text):
        return False
    if kind.startswith("Date"):
        try:
            dt.date.fromisoformat(text[:10])
        except ValueError:
            return False
    return True


def decode(name: str, raw: bytes, encoding: str, *, whole: bool) -> str:
    """The beginning of a text file as text, without a byte order mark."""
    import codecs

    utf8 = codecs.lookup(encoding).name in ("utf-8", "ascii", "utf-8-sig")
    if utf8 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise SourceError(f"{name} is UTF-16 text", hint="write `encoding: utf-16` under the table")
    decoder = codecs.getincrementaldecoder("utf-8" if utf8 else encoding)()
    try:
        text = decoder.decode(raw, final=whole)
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f"{name} is not {encoding} text: byte {error.object[error.start]:#04x} in line {row}",
            hint="write `encoding: latin-1`, or whatever it is, under the table" if utf8 else "check `encoding:`",
        ) from None
    if "\0" in text[:10_000]:
        raise SourceError(f"{name} is not {encoding} text: it has NUL bytes", hint="check `encoding:` and `format:`")
    return text.removeprefix("\ufeff")


def guess_csv(
    name: str, text: str, whole: bool, options: TableOptions, format_: str, guesses: dict[str, Guess], left: int
) -> tuple[list[str], int, int]:
    """Look at the first rows of one CSV file; its columns, how many values were looked at, and the lines before its data."""
    if "\r" in text[:_CHUNK] and "\n" not in text:
        raise SourceError(f"{name} has lines that end in a carriage return alone", hint="have it written with line feeds")
    delimiter = delimiter_of(options.delimiter or ("\t" if format_ == "tsv" else ","))
    before = int(options.skip)
    lines = io.StringIO(text, newline="")
    for _ in range(before):
        lines.readline()
    if options.quote == "none":
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quotechar=options.quote)
    csv.field_size_limit(2**31 - 1)
    nulls = {"", *options.null_values}
    try:
        first = next(reader, None)
        if first is None:
            return [], 0, before
        if is_true(options.header):
            names = [n or f"column_{at}" for at, n in enumerate(first, 1)]
            skip = before + 1  # the engine counts rows, however many lines they have
            rows: Iterator[list[str]] = reader
        else:
            names = [*options.names, *(f"column_{n}" for n in range(len(options.names) + 1, len(first) + 1))]
            if len(options.names) > len(first):
                raise SourceError(f"{name} has {len(first)} columns, `names:` has {len(names)}", hint="check `names:` and `delimiter:`")
            skip, rows = before, itertools.chain([first], reader)
        if doubled := sorted({n for n in names if names.count(n) > 1}):
            raise SourceError(f"{name} has the column {doubled[0]!r} twice", hint="rename one, or write header: false, skip: 1 and names:")
        if any("\0" in n for n in names):
            raise SourceError(f"{name} has a column name with a NUL in it", hint="check `encoding:` and `format:`")
        columns = [guesses.setdefault(n, Guess()) for n in names]
        used = 0
        previous: list[str] | None = None
        for row in rows:
            if used >= left:
                break
            # the last row of an opening may be cut
            if previous is not None:
                used += _see(columns, previous, nulls)
            previous = row
        else:
            if previous is not None and whole:
                used += _see(columns, previous, nulls)
    except csv.Error as error:
        raise SourceError(f"{name} is not a well-formed {format_} file at about row {reader.line_num}: {error}") from None
    return names, used, skip


def _see(columns: Sequence[Guess], row: Sequence[str], nulls: set[str]) -> int:
    for guess, value in zip(columns, row, strict=False):
        if value not in nulls and (guess.left or not guess.any):
            guess.see(value)
    return len(columns)


def guess_lines(name: str, text: str, whole: bool, options: TableOptions, guesses: dict[str, Guess], left: int) -> tuple[list[str], int]:
    """Look at the first JSON lines of one file; its columns, and how many values were looked at."""
    found: dict[str, None] = {}
    used = 0
    stripped = text.lstrip()
    if stripped.startswith("["):
        raise SourceError(f"{name} is one JSON array", hint="have it written as JSON lines: an object a line")
    lines = text.split("\n")
    for at, line in enumerate(lines if whole else lines[:-1], 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_int=_Number, parse_float=_Number)
        except ValueError as error:
            raise SourceError(
                f"{name} is not a well-formed jsonl file at row {at}: {error}", hint="it has one JSON object a line"
            ) from None
        if not isinstance(row, dict):
            raise SourceError(
                f"{name} is not a well-formed jsonl file at row {at}: {line[:40]!r} is no object", hint="one JSON object a line"
            )
        for key, value in row.items():
            found.setdefault(key)
            guess = guesses.setdefault(key, Guess())
            if value is None or value in options.null_values if isinstance(value, str) else value is None:
                continue
            used += 1
            if used > left:
                continue
            if isinstance(value, _Number):
                guess.see(str(value), ("Int64", "Float64"))
            elif isinstance(value, bool):
                guess.see(str(value), ("Bool",))
            elif isinstance(value, str):
                guess.see(value, [k for k in _KINDS if k.startswith("Date")])
            else:
                guess.see("", ())
    if "" in found:
        raise SourceError(f"{name} has an object with an empty key", hint="rename it")
    return list(found), used


class _Number(str):
    """A number of JSON, as it is written."""
