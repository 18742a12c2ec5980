"""The file connector against real files, a real HTTP server and a small S3-compatible one, through the real lake."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import Misfit, SourceError, SourceUnavailable, UsageError
from workbench.hermes.connector import SourceTable, Span
from workbench.hermes.connectors.file import Connector, Options, TableOptions
from workbench.hermes.landing import parse_text
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake

UTC = dt.timezone.utc
PSEUDO = ("_file", "_modified", "_row")


class Files:
    """A folder of files, and the connectors opened on it."""

    def __init__(self, folder: Path, lake: Lake, *, staged: bool) -> None:
        self.folder, self.lake, self.staged = folder, lake, staged
        self.opened: list[Connector] = []

    def put(self, name: str, body: str | bytes, *, at: float | None = None) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body.encode() if isinstance(body, str) else body)
        if at is not None:
            os.utime(path, (at, at))
        return path

    def open(self, **options: Any) -> Connector:
        self.opened.append(Connector(Options(**{"path": str(self.folder), **options}), workspace=self.folder, lake=self.lake))
        return self.opened[-1]

    def describe(self, table: str, *, key: tuple[str, ...] = (), **options: Any) -> tuple[Connector, SourceTable]:
        connector = self.open()
        return connector, connector.describe(table, key=key, options=TableOptions(**options))

    def read(self, table: str, **options: Any) -> list[tuple[Any, ...]]:
        """The file's own columns of all rows, in order of file and row."""
        connector, described = self.describe(table, **options)
        return rows(connector, described, self.lake)


def rows(connector: Connector, table: SourceTable, lake: Lake, *columns: str, **how: Any) -> list[tuple[Any, ...]]:
    names = list(columns) or [c.name for c in table.columns if c.name not in PSEUDO]
    more = [n for n in ("_file", "_row") if n not in names]
    with connector.rows(table, [*names, *more], **how) as select:
        found = lake.query(f"select * from ({select}) order by _file, toUInt64(_row)")
    return [tuple(row[n] for n in names) for row in found.to_pylist()]


def types(table: SourceTable) -> dict[str, str]:
    return {c.name: c.type for c in table.columns if c.name not in PSEUDO}


@pytest.fixture(params=["by the engine", "copied first"])
def files(request: pytest.FixtureRequest, tmp_path: Path, lake: Lake) -> Iterator[Files]:
    """A folder that the engine may read, and one that it may not."""
    away = Path(tempfile.mkdtemp(prefix="skygraph-away-")) if request.param == "copied first" else None
    folder = (away or tmp_path) / "it's the shöp, [1]"
    folder.mkdir()
    made = Files(folder, lake, staged=away is not None)
    yield made
    for connector in made.opened:
        connector.close()
    assert [t for t in lake.tables("skygraph") if t.startswith("_stage")] == []
    if away:
        shutil.rmtree(away)


BY_THE_ENGINE = pytest.mark.parametrize("files", ["by the engine"], indirect=True)


# --- text files


def test_csv_lands_by_value(files: Files) -> None:
    files.put("a.csv", 'id,text,zip,x,yes,day,at,none\n1,"it\'s ""é"", 🦆",00501,1.5,true,2024-02-29,2024-01-01T02:00:00+02:00,\n'
              '-2,"two\nlines",12345,1e3,FALSE,1969-07-20,2024-02-29 23:59:59.123456,\n3,,,,,,,\n4,"",NA,0,true,,,\n')  # fmt: skip
    connector, table = files.describe("a.csv", key=("id",))
    assert types(table) == {
        "id": "Int64", "text": "Nullable(String)", "zip": "Nullable(String)", "x": "Nullable(Float64)", "yes": "Nullable(Bool)",
        "day": "Nullable(Date32)", "at": "Nullable(DateTime64(6, 'UTC'))", "none": "Nullable(String)",
    }  # fmt: skip
    assert rows(connector, table, files.lake) == [
        (1, 'it\'s "é", 🦆', "00501", 1.5, True, dt.date(2024, 2, 29), dt.datetime(2024, 1, 1, tzinfo=UTC), None),
        (-2, "two\nlines", "12345", 1000.0, False, dt.date(1969, 7, 20), dt.datetime(2024, 2, 29, 23, 59, 59, 123456, UTC), None),
        (3, None, None, None, None, None, None, None),
        (4, "", "NA", 0.0, True, None, None, None),
    ]
    shown = rows(connector, table, files.lake, "id", "at", as_text=True)
    assert shown[:2] == [("1", "2024-01-01 00:00:00.000000"), ("-2", "2024-02-29 23:59:59.123456")]
    with connector.rows(table, ["id"]) as select:
        assert ("_stage_" in select, " file(" in select) == (files.staged, not files.staged)


def test_each_file_says_its_name_its_time_and_its_rows(files: Files) -> None:
    files.put("in/a.csv", "v\n10\n20\n", at=1_700_000_000.25)
    files.put("in/b.csv", "v\n30\n", at=1_700_000_100)
    connector, table = files.describe("in/*.csv", key=("_file", "_row"))
    assert rows(connector, table, files.lake, "_file", "_row", "v", "_modified") == [
        ("in/a.csv", 1, 10, dt.datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC)),
        ("in/a.csv", 2, 20, dt.datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC)),
        ("in/b.csv", 1, 30, dt.datetime(2023, 11, 14, 22, 15, 0, 0, UTC)),
    ]
    assert connector.high_mark(table, "_modified") == Watermark(dt.datetime(2023, 11, 14, 22, 15, tzinfo=UTC))
    assert connector.high_mark(table, "_file") == Watermark("in/b.csv")
    assert connector.high_mark(table, "v") == Watermark(30)


def test_files_before_the_mark_are_not_opened(files: Files) -> None:
    for n in range(3):
        files.put(f"{n}.csv", f"v\n{n}\n", at=1_700_000_000 + n)
    connector, table = files.describe("*.csv")
    at = Watermark(dt.datetime.fromtimestamp(1_700_000_001, UTC))
    (files.folder / "0.csv").unlink()  # reading it would fail
    assert rows(connector, table, files.lake, "v", within=Span("_modified", at)) == [(1,), (2,)]
    high = Watermark(dt.datetime.fromtimestamp(1_700_000_002, UTC))
    assert rows(connector, table, files.lake, "v", within=Span("_modified", at, high)) == [(1,)]
    assert rows(connector, table, files.lake, "v", within=Span("_file", Watermark("2.csv"))) == [(2,)]
    late = Watermark(dt.datetime(2030, 1, 1, tzinfo=UTC))
    assert rows(connector, table, files.lake, "v", within=Span("_modified", late)) == []


def test_files_with_other_columns_are_joined_by_name(files: Files) -> None:
    files.put("1.csv", "id,a\n1,x\n")
    files.put("2.csv", "b,id\n2.5,2\n")
    files.put("3.csv", "")
    connector, table = files.describe("*.csv", key=("id",))
    assert types(table) == {"id": "Int64", "a": "Nullable(String)", "b": "Nullable(Float64)"}
    assert rows(connector, table, files.lake) == [(1, "x", None), (2, None, 2.5)]


def test_more_files_than_one_statement_takes(files: Files) -> None:
    for n in range(150):
        files.put(f"{n:03}.csv", f"v\n{n}\n")
    connector, table = files.describe("*.csv")
    assert rows(connector, table, files.lake) == [(n,) for n in range(150)]
    assert rows(connector, table, files.lake, "v", within=Span("_file", Watermark("148.csv"))) == [(148,), (149,)]


DIALECTS: dict[str, tuple[str, str | bytes, dict[str, Any], list[tuple[Any, ...]]]] = {
    "semicolons": ("a.csv", "id;t\n1;a,b\n", {"delimiter": ";"}, [(1, "a,b")]),
    "tabs": ("a.tsv", 'id\tt\n1\t a b \n2\t"a\tb"\n3\t\n', {}, [(1, " a b "), (2, "a\tb"), (3, None)]),
    "single quotes": ("a.csv", "id,t\n1,'a,''b'\n", {"quote": "'"}, [(1, "a,'b")]),
    "no quotes": ("a.csv", 'id,t\n1,"a\n', {"quote": "none"}, [(1, '"a')]),
    "no header": ("a.csv", "1,a\n2,b\n", {"header": "false"}, [(1, "a"), (2, "b")]),
    "names": ("a.csv", "1,a\n", {"header": "false", "names": ["n", "t"]}, [(1, "a")]),
    "lines before": ("a.csv", "made by hand\n\nid,t\n1,a\n", {"skip": "2"}, [(1, "a")]),
    "windows": ("a.csv", b'\xef\xbb\xbfid,t\r\n1,"a\r\nb"\r\n2,\r\n', {}, [(1, "a\r\nb"), (2, None)]),
    "header of two lines": ("a.csv", '"id\nno",t\n1,a\n', {}, [(1, "a")]),
    "no name": ("a.csv", ",t\n0,a\n", {}, [(0, "a")]),
    "nulls": ("a.csv", "id,t\n1,NA\nNA,-\n", {"null_values": ["NA", "-"]}, [(1, None), (None, None)]),
    "latin-1": ("a.csv", "id,t\n1,é\n".encode("latin-1"), {"encoding": "latin-1"}, [(1, "é")]),
    "utf-16": ("a.csv", "id,t\n1,é🦆\n".encode("utf-16"), {"encoding": "utf-16"}, [(1, "é🦆")]),
    "gzip": ("a.csv.gz", gzip.compress(b"id,t\n1,a\n"), {}, [(1, "a")]),
    "bz2": ("a.csv.bz2", bz2.compress(b"id,t\n1,a\n"), {}, [(1, "a")]),
    "zstd": ("a.csv.zst", bytes(pa.compress(b"id,t\n1,a\n", "zstd", asbytes=True)), {}, [(1, "a")]),
    "another name": ("data.txt", "id,t\n1,a\n", {"format": "csv"}, [(1, "a")]),
    "only a header": ("a.csv", "id,t\n", {}, []),
    "no last line end": ("a.csv", "id,t\n1,a", {}, [(1, "a")]),
    "looks null": ("a.csv", "id,t\n1,\\N\n2,NULL\n", {}, [(1, "\\N"), (2, "NULL")]),
    "json lines": (
        "a.jsonl",
        '{"id": 1, "t": "00501", "o": {"a": [1, "é"]}, "l": [1, "2"]}\n\n{"t": null, "id": 2, "new": 1.50}\n',
        {},
        [(1, "00501", '{"a": [1, "é"]}', '[1, "2"]', None), (2, None, None, None, 1.5)],
    ),
    "json, large numbers": ("a.ndjson", '{"id": 12345678901234567890123}\n', {}, [("12345678901234567890123",)]),
    "json, times": ("a.json", '{"at": "2024-01-01T00:00:00Z", "n": "5"}\n', {}, [(dt.datetime(2024, 1, 1, tzinfo=UTC), "5")]),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_text_files_of_all_kinds(files: Files, name: str) -> None:
    file, body, options, expected = DIALECTS[name]
    files.put(file, body)
    assert files.read(file, **options) == expected


def test_any_name_of_a_column(files: Files) -> None:
    names = ["select", "it's two `words`", "Grüße 🦆?", "back\\slash", "100% $1 {x:String} --", "a.b", 'do"uble']
    files.put("a.csv", ",".join('"' + n.replace('"', '""') + '"' for n in names) + "\n" + ",".join("1234567") + "\n")
    connector, table = files.describe("a.csv")
    assert list(types(table)) == names
    assert rows(connector, table, files.lake) == [(1, 2, 3, 4, 5, 6, 7)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=8),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_text_in_quotes_is_read_back(files: Files, table: list[list[str]]) -> None:
    quoted = "\n".join(",".join('"' + v.replace('"', '""') + '"' for v in row) for row in table)
    files.put("t.csv", f"a,b\n{quoted}\n")
    connector, described = files.describe("t.csv")
    shown = rows(connector, described, files.lake, "a", "b", as_text=True)
    connector.close()
    times = [c.type for c in described.columns if c.name in "ab"]
    if not any("Date" in t for t in times):
        assert shown == [tuple(row) for row in table]


# --- values that do not fit


FITS: dict[str, tuple[list[str], list[str]]] = {
    "Int64": (["0", "-9223372036854775808", "9223372036854775807"], ["9223372036854775808", "1.5", "1e3", " 1", "", "1 ", "007", "+7"]),
    "UInt8": (["255"], ["256", "-1"]),
    "Float64": (["1.5", "-1e300", "inf", "nan"], ["1e400", "1,5", "x"]),
    "Decimal(10, 2)": (["12345678.90", "-0.01", "+1", "1.100"], ["123456789", "0.125", "1e2", "x", ""]),
    "Bool": (["true", "false", "1", "0"], ["2", "maybe"]),
    "Date32": (["2024-02-29", "1900-01-01", "2299-12-31"], ["2024-02-30", "2023-02-29", "2024-1-5", "2024-01-01 00:00:00"]),
    "Date": (["1970-01-01", "2149-06-06"], ["2149-06-07", "1969-12-31"]),
    "DateTime64(6, 'UTC')": (
        ["2024-02-29 23:59:59.123456", "1900-01-01T00:00:00Z", "2024-01-01", "2024-01-01 10:00", "2024-01-01 00:00:00.1234560"],
        ["2024-02-30 00:00:00", "2024-01-01 24:00:00", "2024-01-01 00:00:00.1234567", "01/02/2024", "1700000000"],
    ),
    "UUID": (["550e8400-e29b-41d4-a716-446655440000"], ["x"]),
    "Enum8('a' = 1, 'it\\'s' = 2)": (["a", "it's"], ["b"]),
    "FixedString(3)": (["abc"], ["abcd"]),
    "LowCardinality(String)": (["a"], []),
}  # fmt: skip


@pytest.mark.parametrize("type_", FITS)
def test_a_text_is_a_value_wholly_and_exactly_or_not_at_all(lake: Lake, type_: str) -> None:
    for texts, fits in zip(FITS[type_], (True, False), strict=True):
        for text in texts:
            found = lake.scalar(
                f"select ({parse_text('t', type_)}) is not null from (select materialize({{t:Nullable(String)}}) as t)", {"t": text}
            )
            assert (text, bool(found)) == (text, fits)
    assert lake.scalar(f"select ({parse_text('t', type_)}) is null from (select cast(null as Nullable(String)) as t)")


@pytest.mark.parametrize("type_", ["Int64", "Decimal(10, 2)", "Date32", "DateTime64(6, 'UTC')", "Float64", "UInt8", "Bool"])
def test_a_value_that_does_not_fit_fails_and_is_shown_as_text(files: Files, type_: str) -> None:
    good, bad = FITS[type_][0][0], next(t for t in FITS[type_][1] if t.strip())
    files.put("a.csv", f'id,v\n1,"{good}"\n2,"{bad}"\n3,\n')
    connector, described = files.describe("a.csv", key=("id",))
    table = SourceTable(
        described.name,
        tuple(type(c)(c.name, f"Nullable({type_})" if c.name == "v" else c.type, c.source_type) for c in described.columns),
        described.options,
    )
    with pytest.raises(Misfit, match=r"v has a value that does not fit Nullable\(.*, for example .* in row 2 of a.csv"):
        rows(connector, table, files.lake)
    assert [r[1] for r in rows(connector, table, files.lake, "id", "v", as_text=True)][1:] == [bad, None]
    # a span or columns without it are read
    assert rows(connector, table, files.lake, "id") == [(1,), (2,), (3,)]


def test_null_in_a_key_does_not_fit(files: Files) -> None:
    files.put("a.csv", "id,v\n1,1\n,2\n")
    connector, table = files.describe("a.csv", key=("id",))
    with pytest.raises(Misfit, match="id has a value that does not fit Int64, for example None in row 2"):
        rows(connector, table, files.lake)
    assert rows(connector, table, files.lake, "id", as_text=True) == [("1",), (None,)]


def test_a_value_late_in_a_large_file_that_does_not_fit(files: Files) -> None:
    body = "id,v\n" + "".join(f"{n},{n}\n" for n in range(600_000))
    files.put("a.csv", body + "600000,twelve\n")
    connector, table = files.describe("a.csv", key=("id",))
    assert types(table)["v"] == "Nullable(Int64)"
    with pytest.raises(Misfit, match="for example 'twelve' in row 600001 of a.csv"), connector.rows(table, ["v"]) as select:
        files.lake.query(f"select sum(v) from ({select})")
    with connector.rows(table, ["id", "_row"]) as select:
        assert files.lake.scalar(f"select countIf(id + 1 = _row) from ({select}) where id > 10") == 600_000 - 10


# --- malformed files


def test_a_broken_quote_in_row_one_million(files: Files) -> None:
    lines = [f'{n},"note {n}"\n' for n in range(1, 1_100_001)]
    lines[999_999] = '1000000,"no"te"\n'
    files.put("a.csv", "id,note\n" + "".join(lines))
    connector, table = files.describe("a.csv", key=("id",))
    with pytest.raises(SourceError, match=r"a.csv is not a well-formed csv file at about row 100000[01]: ") as error:
        with connector.rows(table, ["id", "note"], as_text=True) as select:
            files.lake.query(f"select count(), max(note) from ({select})")
    assert not isinstance(error.value, Misfit)
    assert len(str(error.value)) < 300


BROKEN: dict[str, tuple[str, str | bytes, str]] = {
    "an open quote": ("a.csv", 'id,t\n1,"a\n2,b\n', "a.csv is not a well-formed csv file"),
    "too few values": ("a.csv", "id,t\n1,a\n2\n3,c\n", "a.csv is not a well-formed csv file at about row 2"),
    "too many values": ("a.csv", "id,t\n1,a,x\n", "a.csv is not a well-formed csv file at about row 1"),
    "a name twice": ("a.csv", "id,t,id\n1,a,2\n", "a.csv has the column 'id' twice"),
    "our own name": ("a.csv", "_file,t\n1,a\n", "a.csv has a column _file, a name that stands"),
    "utf-16": ("a.csv", "id,t\n1,a\n".encode("utf-16"), "a.csv is UTF-16 text; write `encoding: utf-16`"),
    "latin-1": ("a.csv", "id,t\n1,a\n2,é\n".encode("latin-1"), "a.csv is not utf-8 text: byte 0xe9 in line 3; write `encoding: latin-1`"),
    "latin-1, late": ("a.csv", b"id,t\n" + b"1,aaaaaaaa\n" * 900_000 + b"2,\xe9\n", "is not (UTF|utf)-8"),
    "carriage returns": ("a.csv", "id,t\r1,a\r", "carriage return alone"),
    "binary": ("a.csv", b"id\0,t\0\n", "NUL bytes"),
    "gzip cut short": ("a.csv.gz", gzip.compress(os.urandom(50_000).hex().encode())[:20_000], "a.csv.gz is"),
    "no parquet": ("a.parquet", b"id,t\n1,a\n", "a.parquet is not a .*[Pp]arquet file"),
    "broken json": ("a.jsonl", '{"id": 1}\n{"id": 2,\n', "a.jsonl is not a well-formed jsonl file at row 2"),
    "json array": ("a.json", '[{"id": 1}]', "a.json is one JSON array"),
    "json numbers": ("a.jsonl", "1\n2\n", "is no object"),
    "empty": ("a.csv", "", "there is no header and no row yet, so id is not known"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_malformed_files_are_said(files: Files, name: str) -> None:
    file, body, says = BROKEN[name]
    files.put(file, body)
    with pytest.raises(SourceError, match=says) as error:
        files.read(file, key=("id",))
    assert error.value.hint
    assert not isinstance(error.value, Misfit)


def test_a_parquet_file_cut_short(files: Files) -> None:
    path = files.folder / "a.parquet"
    pq.write_table(pa.table({"id": list(range(10_000))}), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match="a.parquet is not a .*[Pp]arquet file"):
        files.describe("a.parquet")


def test_a_file_that_is_being_written(files: Files) -> None:
    path = files.put("a.csv", "id,t\n1,a\n2,b\n")
    connector, table = files.describe("a.csv", key=("id",))
    path.write_text('id,t\n1,a\n2,"b\n')  # rewritten after it was listed, and not done yet
    with pytest.raises(SourceUnavailable, match="a.csv was changed while it was read; run it again"):
        rows(connector, table, files.lake)
    path.write_text("id,t\n1,a\n2,b\n3,c\n")
    connector, table = files.describe("a.csv", key=("id",))
    assert rows(connector, table, files.lake) == [(1, "a"), (2, "b"), (3, "c")]


@BY_THE_ENGINE
def test_files_that_are_not_there_and_words_that_are_wrong(files: Files) -> None:
    files.put("orders.csv", "id\n1\n")
    for table, options, says in [
        ("ordres.csv", {}, "no file matches .*ordres.csv; there is orders.csv"),
        ("*.parquet", {}, r"no file matches .*\*.parquet"),
        ("orders", {}, "'orders' does not tell the format; write format"),
        ("orders", {"format": "parket"}, "unknown format 'parket'; did you mean parquet"),
        ("orders.csv", {"delimiter": "::"}, "the delimiter '::' is not one character"),
        ("orders.csv", {"header": "maybe"}, "header is 'maybe'; it is true or false"),
        ("orders.csv", {"quote": "x"}, "quote is 'x'"),
        ("orders.csv", {"encoding": "latin-99"}, "unknown encoding 'latin-99'"),
        ("orders.csv", {"names": "id"}, "names is one text; write it as a list"),
        ("orders.csv", {"names": ["id"]}, "`names:` are for files without a header"),
        ("orders.csv", {"names": ["a", "b"], "header": "false"}, "has 1 columns, `names:` has 2"),
        ("orders.csv", {"skip": "-1"}, "skip is '-1'"),
    ]:
        with pytest.raises((SourceError, UsageError), match=says):
            files.describe(table, **options)
    connector, table_ = files.describe("*.parquet", key=("_file", "_row"), optional="true")
    assert rows(connector, table_, files.lake, "_file") == []
    for options, says in [
        ({"path": "ftp://x"}, "ftp:// address"),
        ({"path": "s3://b", "key": "k"}, "one of `key` and `secret`"),
        ({"key": "k", "secret": "s"}, "but no s3:// path"),
        ({"path": "s3://b", "endpoint": "store"}, "endpoint"),
    ]:
        with pytest.raises(UsageError, match=says):
            files.open(**options)
    with pytest.raises(SourceError, match="there is no folder"):
        files.open(path=str(files.folder / "none")).describe("a.csv", key=[])


# --- Parquet


def test_parquet_lands_by_value(files: Files) -> None:
    table = pa.table({
        "i8": pa.array([1, None], pa.int8()), "u64": pa.array([2**64 - 1, 0], pa.uint64()), "f": pa.array([1.5, None], pa.float32()),
        "s": ["a", None], "bin": [b"ab", None], "ms": pa.array([1, None], pa.timestamp("ms")),
        "us": pa.array([1, None], pa.timestamp("us", tz="Europe/Berlin")), "d": pa.array([1, None], pa.date32()),
        "dec": pa.array([Decimal("1.23"), None], pa.decimal128(10, 2)), "b": [True, None], "l": [[1, None], []],
        "st": [{"a": 1, "b": "é"}, {"a": None, "b": None}], "ls": [[{"a": 1}], []], "dict": pa.array(["x", "y"]).dictionary_encode(),
        "dur": pa.array([5, None], pa.duration("s")), "strs": [["a"], []], "h": pa.array([0.5, None], pa.float16()),
        "t": pa.array([1, None], pa.time64("us")),
    })  # fmt: skip
    pq.write_table(table, files.folder / "a.parquet")
    connector, described = files.describe("a.parquet", key=("u64",))
    assert types(described) == {
        "i8": "Nullable(Int8)", "u64": "UInt64", "f": "Nullable(Float32)", "s": "Nullable(String)", "bin": "Nullable(String)",
        "ms": "Nullable(DateTime64(6, 'UTC'))", "us": "Nullable(DateTime64(6, 'UTC'))", "d": "Nullable(Date32)",
        "dec": "Nullable(Decimal(10, 2))", "b": "Nullable(Bool)", "l": "Array(Nullable(Int64))", "st": "Nullable(String)",
        "ls": "Nullable(String)", "dict": "Nullable(String)", "dur": "Nullable(Int64)", "strs": "Array(Nullable(String))",
        "h": "Nullable(Float32)", "t": "Nullable(DateTime64(6, 'UTC'))",
    }  # fmt: skip
    first, second = rows(connector, described, files.lake)
    moment = dt.datetime(1970, 1, 1, tzinfo=UTC)
    assert first == (
        1, 2**64 - 1, 1.5, "a", "ab", moment + dt.timedelta(milliseconds=1), moment + dt.timedelta(microseconds=1), dt.date(1970, 1, 2),
        Decimal("1.23"), True, [1, None], '{"a":1,"b":"é"}', '[{"a":1}]', "x", 5, ["a"], 0.5, moment + dt.timedelta(microseconds=1),
    )  # fmt: skip
    assert second == (None, 0, *[None] * 8, [], '{"a":null,"b":null}', "[]", "y", None, [], None, None)
    shown = rows(connector, described, files.lake, "ms", "dec", "l", "b", as_text=True)
    assert shown[0] == ("1970-01-01 00:00:00.001000", "1.23", "[1,NULL]", "true")


def test_parquet_files_of_one_pattern_whose_types_differ(files: Files) -> None:
    pq.write_table(pa.table({"id": [1], "v": [10]}), files.folder / "1.parquet")
    pq.write_table(pa.table({"id": [2], "v": ["x"], "new": [True]}), files.folder / "2.parquet")
    connector, table = files.describe("*.parquet", key=("id",))
    assert types(table) == {"id": "Int64", "v": "Nullable(String)", "new": "Nullable(Bool)"}
    assert rows(connector, table, files.lake) == [(1, "10", None), (2, "x", True)]
    assert rows(connector, table, files.lake, "_file", "_row") == [("1.parquet", 1), ("2.parquet", 1)]


# --- http(s)


class Web(BaseHTTPRequestHandler):
    """Scripted answers: a path's bytes, or what a broken server does."""

    pages: dict[str, bytes]
    asked: list[tuple[str, str, str]]
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append((self.command, path, self.headers.get("Authorization", "")))
        if path == "/no-head.csv" and not with_body:
            self.reply(405)
        elif path == "/private.csv" and not self.headers.get("Authorization"):
            self.reply(401)
        elif path == "/busy.csv":
            self.reply(503)
        elif path == "/page.csv":
            self.reply(200, b"<html>sign in</html>" if with_body else b"", {"Content-Type": "text/html; charset=utf-8"})
        elif path in self.pages:
            body = self.pages[path]
            headers = {"Last-Modified": formatdate(1_700_000_000, usegmt=True)} if path != "/no-head.csv" else {}
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(body)), "Accept-Ranges": "none"}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)
        else:
            self.reply(404)

    def reply(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


Serve = Callable[[type[BaseHTTPRequestHandler]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    running: list[ThreadingHTTPServer] = []

    def start(handler: type[BaseHTTPRequestHandler]) -> str:
        running.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_address[1]}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def web(serve: Serve) -> str:
    Web.pages = {
        "/a.csv": b"id,t\n1,a\n2,b\n", "/b.csv": b"id,t\n3,c\n", "/private.csv": b"id\n7\n", "/no-head.csv": b"id\n8\n",
        "/big.csv.gz": gzip.compress(b"id\n" + b"".join(b"%d\n" % n for n in range(1000))),
    }  # fmt: skip
    Web.asked = []
    return serve(Web)


@BY_THE_ENGINE
def test_files_at_addresses(files: Files, web: str) -> None:
    connector = files.open(path=web)
    table = connector.describe("{a,b}.csv", key=["id"])
    assert rows(connector, table, files.lake, "id", "t", "_file", "_row") == [
        (1, "a", "a.csv", 1),
        (2, "b", "a.csv", 2),
        (3, "c", "b.csv", 1),
    ]
    assert connector.high_mark(table, "_modified") == Watermark(dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC))
    with connector.rows(table, ["id"]) as select:
        assert " url(" in select
    whole = connector.describe("big.csv.gz", key=["id"])
    with connector.rows(whole, ["id"]) as select:
        assert files.lake.scalar(f"select sum(id) from ({select})") == 499_500
    other = connector.describe(f"{web}/no-head.csv", key=["id"])
    assert rows(connector, other, files.lake) == [(8,)]
    with pytest.raises(SourceError, match="does not say when it was changed; choose another watermark"):
        connector.high_mark(other, "_modified")


@BY_THE_ENGINE
def test_headers_never_stand_in_a_statement(files: Files, web: str) -> None:
    secret = "tell-nobody-about-this"
    base = web.replace("://", f"://ann:{secret}@")
    for options in ({"path": web, "headers": {"Authorization": f"Bearer {secret}"}}, {"path": base}):
        connector = files.open(**options)
        assert secret not in repr(Options(**{**options, "path": ""}))
        table = connector.describe("private.csv", key=["id"])
        with connector.rows(table, ["id"]) as select:
            assert secret not in select
            assert files.lake.query(select).to_pylist() == [{"id": 7}]
    assert all(sign_in for _, path, sign_in in Web.asked if path == "/private.csv")
    files.lake.command("system flush logs")
    needle = f"%{secret[:12]}%' || '{secret[12:]}"
    assert (
        files.lake.scalar(f"select count() from system.query_log where query like '{needle}%' and query not like '%system.query_log%'") == 0
    )
    with pytest.raises(SourceError, match="private.csv answered 401") as error:
        files.open(path=web).describe("private.csv", key=[])
    assert secret not in str(error.value)


@BY_THE_ENGINE
def test_servers_that_do_not_answer_right(files: Files, web: str, serve: Serve) -> None:
    class Short(Web):
        def answer(self, *, with_body: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            if with_body:
                self.wfile.write(b"id\n1\n")
            self.close_connection = True

    def said(base: str, table: str, **options: Any) -> SourceError:
        connector = files.open(path=base, **options)
        with pytest.raises(SourceError) as error:
            described = connector.describe(table, key=["id"])
            rows(connector, described, files.lake)
        return error.value

    assert "none.csv answered 404" in str(said(web, "none.csv"))
    assert isinstance(busy := said(web, "busy.csv"), SourceUnavailable)
    assert "answered 503" in str(busy)
    assert "answered a web page" in str(said(web, "page.csv"))
    refused = said("http://127.0.0.1:1", "a.csv")
    assert isinstance(refused, SourceUnavailable)
    assert "does not answer: [Errno 111] Connection refused" in str(refused)
    assert "no safe connection" in str(said(web.replace("http:", "https:"), "a.csv"))
    assert "does not answer" in str(said("http://no-such-host.invalid", "a.csv"))
    short = said(serve(Short), "a.csv", headers={"X-Any": "1"})
    assert "sent 5 of 1000 bytes" in str(short) or "IncompleteRead" in str(short)


# --- S3-compatible stores


class Store(BaseHTTPRequestHandler):
    """As much of S3 as a reader asks for: list, head, get, with the sign-in checked by its key."""

    objects: dict[str, bytes]
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.asked.append(f"{self.command} {self.path}")
        if "Credential=READER/" not in self.headers.get("Authorization", ""):
            return self.reply(403, b"<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>")
        query = parse_qs(parts.query, keep_blank_values=True)
        key = unquote(parts.path).removeprefix("/bucket").lstrip("/")
        if "list-type" in query:
            prefix = query.get("prefix", [""])[0]
            found = "".join(
                f"<Contents><Key>{k}</Key><Size>{len(v)}</Size><LastModified>2023-11-14T22:13:20.000Z</LastModified><ETag>1</ETag></Contents>"
                for k, v in self.objects.items()
                if k.startswith(prefix)
            )
            body = f"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
            return self.reply(200, body.encode())
        if key not in self.objects:
            return self.reply(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
        data = self.objects[key]
        span = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if span[1] and self.command == "GET":
            low, high = int(span[0] or 0), int(span[2] or len(data) - 1)
            part = data[low : high + 1]
            return self.reply(206, part, {"Content-Range": f"bytes {low}-{low + len(part) - 1}/{len(data)}"})
        return self.reply(200, data)

    def reply(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        more = {
            "Content-Type": "application/xml",
            "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT",
            "ETag": '"1"',
            "Accept-Ranges": "bytes",
        }
        for name, value in {**more, **(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@BY_THE_ENGINE
def test_files_in_a_store(files: Files, serve: Serve) -> None:
    parquet = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": [1, 2]}), parquet)
    Store.objects = {"in/a.csv": b"id,t\n1,a\n", "in/b.csv": b"id,t\n2,b\n", "in/c.parquet": parquet.getvalue().to_pybytes(), "x.csv": b""}
    Store.asked = []
    at = serve(Store)
    secret = "tell-nobody-about-this"
    connector = files.open(path="s3://bucket/in", key="READER", secret=secret, endpoint=at)
    table = connector.describe("*.csv", key=["id"])
    assert types(table) == {"id": "Int64", "t": "Nullable(String)"}
    assert rows(connector, table, files.lake, "id", "t", "_file", "_row") == [(1, "a", "a.csv", 1), (2, "b", "b.csv", 1)]
    assert connector.high_mark(table, "_modified") == Watermark(dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC))
    assert any("list-type=2" in line and "prefix=in" in line for line in Store.asked)
    assert not any("x.csv" in line for line in Store.asked)
    other = connector.describe("c.parquet", key=["id"])
    assert rows(connector, other, files.lake) == [(1,), (2,)]
    with pytest.raises(SourceError, match="no file matches"):
        connector.describe("none*.csv", key=["id"])
    with pytest.raises(SourceError, match="the store refused the key") as refused:
        files.open(path="s3://bucket/in", key="STRANGER", secret=secret, endpoint=at).describe("*.csv", key=["id"])
    assert secret not in str(refused.value)
    files.lake.command("system flush logs")
    logged = files.lake.query("select query from system.query_log where query ilike '%s3(%READER%'").column(0).to_pylist()
    assert logged
    assert not [query for query in logged if secret in query]


def test_readable_is_the_folder(tmp_path: Path) -> None:
    assert Connector.readable(Options("in"), tmp_path) == tmp_path / "in"
    assert Connector.readable(Options(), tmp_path) == tmp_path
    with pytest.raises(SourceError):
        Connector.readable(Options("https://example.com"), tmp_path)
