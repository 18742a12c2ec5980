"""The Python connector against real functions in real files, through the real lake."""

from __future__ import annotations

import datetime as dt
import json
import resource
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import Misfit, SourceError, UnknownName, UsageError
from workbench.hermes.connector import SourceTable, Span
from workbench.hermes.connectors.python import Connector, Options, TableOptions
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake

UTC = dt.timezone.utc
Opener = Callable[..., Connector]


@pytest.fixture
def feeds(workspace: Path, lake: Lake) -> Iterator[Opener]:
    """Writes `sync_jobs/feeds.py` and opens it."""
    opened: list[Connector] = []

    def open_(text: str) -> Connector:
        (workspace / "sync_jobs/feeds.py").write_text(textwrap.dedent(text), encoding="utf-8")
        opened.append(Connector(Options("sync_jobs/feeds.py"), workspace=workspace, lake=lake))
        return opened[-1]

    yield open_
    for connector in opened:
        connector.close()


def read(connector: Connector, table: SourceTable, lake: Lake, **how: Any) -> list[tuple[Any, ...]]:
    names = [c.name for c in table.columns]
    with connector.rows(table, names, **how) as select:
        return [tuple(row.values()) for row in lake.query(select).to_pylist()]


def types(table: SourceTable) -> dict[str, str]:
    return {c.name: c.type for c in table.columns}


# --- what lands


def test_dicts_land_by_value(feeds: Opener, lake: Lake) -> None:
    connector = feeds("""
        import datetime as dt, decimal, uuid
        def orders():
            yield {"id": 1, "text": "it's 'é' 🦆", "no": None, "x": 1.5, "yes": True, "at": dt.datetime(2024, 2, 29, 23, 59, 59, 123456),
                   "zone": dt.datetime(2024, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), "day": dt.date(1969, 7, 20),
                   "amount": decimal.Decimal("1.50"), "u": uuid.UUID(int=1), "nested": {"a": [1, {"b": None}]}, "list": [1, "é"],
                   "mixed": 1, "big": 2**70, "raw": b"\\xff\\x00"}
            yield [{"id": 2, "mixed": "one", "amount": decimal.Decimal("-2.125")}]
    """)
    table = connector.describe("orders", key=["id"])
    assert types(table) == {
        "id": "Int64", "text": "Nullable(String)", "no": "Nullable(String)", "x": "Nullable(Float64)", "yes": "Nullable(Bool)",
        "at": "Nullable(DateTime64(6, 'UTC'))", "zone": "Nullable(DateTime64(6, 'UTC'))", "day": "Nullable(Date32)",
        "amount": "Nullable(Decimal(38, 3))", "u": "Nullable(UUID)", "nested": "Nullable(String)", "list": "Nullable(String)",
        "mixed": "Nullable(String)", "big": "Nullable(String)", "raw": "Nullable(String)",
    }  # fmt: skip
    names = [c.name for c in table.columns if c.name not in ("raw", "u")]
    with connector.rows(table, names) as select:
        first, second = lake.query(f"select * from ({select}) order by id").to_pylist()
        with connector.rows(table, ["id", "raw", "u"]) as other:
            assert lake.query(f"select hex(raw) as r, toString(u) as u from ({other}) where id = 1").to_pylist() == [
                {"r": "FF00", "u": str(uuid.UUID(int=1))}
            ]
    assert first == {
        "id": 1, "text": "it's 'é' 🦆", "no": None, "x": 1.5, "yes": True, "at": dt.datetime(2024, 2, 29, 23, 59, 59, 123456, UTC),
        "zone": dt.datetime(2024, 1, 1, tzinfo=UTC), "day": dt.date(1969, 7, 20), "amount": Decimal("1.500"),
        "nested": '{"a":[1,{"b":null}]}', "list": '[1,"é"]', "mixed": "1", "big": str(2**70),
    }  # fmt: skip
    assert (second["id"], second["mixed"], second["amount"], second["text"]) == (2, "one", Decimal("-2.125"), None)


def test_arrow_lands_with_its_types(feeds: Opener, lake: Lake) -> None:
    connector = feeds("""
        import datetime as dt, decimal
        import pyarrow as pa
        def batches():
            t = pa.table({
                "u64": pa.array([2**64 - 1], pa.uint64()), "i8": pa.array([-128], pa.int8()), "f": pa.array([1.5], pa.float32()),
                "s": ["a"], "ms": pa.array([1], pa.timestamp("ms")), "ns": pa.array([1], pa.timestamp("ns", tz="Europe/Berlin")),
                "d": pa.array([1], pa.date32()), "dec": pa.array([decimal.Decimal("1.23")], pa.decimal128(10, 2)), "b": [True],
                "l": [[1, None]], "st": [{"a": 1}], "m": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())), "none": pa.nulls(1),
                "dict": pa.array(["x"]).dictionary_encode(), "t": pa.array([1], pa.time32("s")), "ls": [["x"]],
            })
            yield t
            yield t.to_batches()[0]
    """)
    table = connector.describe("batches", key=["i8"])
    assert types(table) == {
        "u64": "Nullable(UInt64)", "i8": "Int8", "f": "Nullable(Float32)", "s": "Nullable(String)",
        "ms": "Nullable(DateTime64(6, 'UTC'))", "ns": "Nullable(DateTime64(9, 'UTC'))", "d": "Nullable(Date32)",
        "dec": "Nullable(Decimal(10, 2))", "b": "Nullable(Bool)", "l": "Array(Nullable(Int64))", "st": "Nullable(String)",
        "m": "Nullable(String)", "none": "Nullable(String)", "dict": "Nullable(String)", "t": "Nullable(DateTime64(6, 'UTC'))",
        "ls": "Array(Nullable(String))",
    }  # fmt: skip
    with connector.rows(table, list(types(table))) as select:
        found = lake.query(f"select * except ns, toString(ns) as ns from ({select})").to_pylist()
    assert len(found) == 2
    assert found[0] == found[1] == {
        "u64": 2**64 - 1, "i8": -128, "f": 1.5, "s": "a", "ms": dt.datetime(1970, 1, 1, 0, 0, 0, 1000, UTC), "d": dt.date(1970, 1, 2),
        "dec": Decimal("1.23"), "b": True, "l": [1, None], "st": '{"a":1}', "m": '[["k",1]]', "none": None, "dict": "x",
        "t": dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "ls": ["x"], "ns": "1970-01-01 00:00:00.000000001",
    }  # fmt: skip


def test_dataframes_land(feeds: Opener, lake: Lake) -> None:
    connector = feeds("""
        import pandas as pd
        def frame():
            return pd.DataFrame({"id": [1, 2], "name": ["a", None], "at": pd.to_datetime(["2024-01-01", None]), "x": [1.5, None]})
        def mixed():
            yield pd.DataFrame({"id": [1, "two"], "n": pd.array([1, None], dtype="Int64")})
    """)
    table = connector.describe("frame", key=["id"])
    assert types(table)["id"] == "Int64"
    assert types(table)["at"].startswith("Nullable(DateTime64(")
    assert [row[:2] for row in read(connector, table, lake)] == [(1, "a"), (2, None)]
    mixed = connector.describe("mixed", key=[])
    assert types(mixed) == {"id": "Nullable(String)", "n": "Nullable(Int64)"}
    assert read(connector, mixed, lake) == [("1", 1), ("two", None)]


def test_given_types_hold_and_the_function_is_not_asked_before(feeds: Opener, lake: Lake, workspace: Path) -> None:
    connector = feeds("""
        from pathlib import Path
        def codes():
            Path(__file__).with_name("called").touch()
            yield {"code": "007", "n": "1"}
        codes.types = {"code": "String", "n": "UInt8"}
    """)
    table = connector.describe("codes", key=["code"])
    assert types(table) == {"code": "String", "n": "Nullable(UInt8)"}
    assert not (workspace / "sync_jobs/called").exists()
    assert read(connector, table, lake) == [("007", 1)]
    other = connector.describe("codes", key=[], options=TableOptions({"code": "Int64", "n": "String"}))
    assert types(other) == {"code": "Nullable(Int64)", "n": "Nullable(String)"}


def test_since_is_given_and_one_call_serves_every_read_of_a_span(feeds: Opener, lake: Lake, workspace: Path) -> None:
    connector = feeds("""
        from pathlib import Path
        def events(since=None):
            with open(Path(__file__).with_name("calls"), "a") as calls:
                calls.write(repr(since) + "\\n")
            for n in range(since or 0, 5):
                yield {"n": n}
    """)
    table = connector.describe("events", key=["n"])
    calls = workspace / "sync_jobs/calls"
    assert read(connector, table, lake) == [(n,) for n in range(5)]
    assert calls.read_text() == "None\n"  # described and read by one call
    span = Span("n", Watermark(3))
    assert read(connector, table, lake, within=span) == [(3,), (4,)]
    assert read(connector, table, lake, within=span, as_text=True) == [("3",), ("4",)]
    assert calls.read_text() == "None\n3\n"
    assert connector.high_mark(table, "n") is None
    connector.close()
    assert [t for t in lake.tables("skygraph") if t.startswith("_stage")] == []


def test_a_value_that_does_not_fit_fails_the_plain_read_and_is_shown_as_text(feeds: Opener, lake: Lake) -> None:
    connector = feeds("""
        def orders():
            for n in range(20_000):
                yield {"id": n, "amount": n}
            yield {"id": 20_000, "amount": "12 apples"}
    """)
    table = connector.describe("orders", key=["id"])
    with pytest.raises(Misfit, match=r"orders yielded a value of amount that does not fit Nullable\(Int64\), for example '12 apples'"):
        read(connector, table, lake)
    shown = read(connector, table, lake, as_text=True)
    assert len(shown) == 20_001
    assert ("20000", "12 apples") in shown


# --- what goes wrong


WRONG = {
    "raises": ("def f():\n    yield {'a': 1}\n    raise ValueError('no page')", r"f failed: sync_jobs/feeds.py:3: ValueError: no page"),
    "exits": ("import sys\ndef f():\n    sys.exit(3)\n    yield", r"sync_jobs/feeds.py:3: SystemExit: 3"),
    "in a library": ("import json\ndef f():\n    yield json.loads('{')", r"sync_jobs/feeds.py:3: JSONDecodeError"),
    "nothing": ("def f():\n    yield from []", r"sync_jobs/feeds.py:1: f yields no row, so its columns are not known; give them"),
    "None": ("def f():\n    pass", r"sync_jobs/feeds.py:1: f returned None; yield"),
    "a number": ("def f():\n    return 5", r"f returned 5 \(int\)"),
    "numbers": ("def f():\n    yield 5", r"f yielded 5 \(int\)"),
    "async": ("async def f():\n    return []", r"f is an async function; write it without async"),
    "new column": (
        "def f():\n    for n in range(10_001):\n        yield {'a': n} if n < 10_000 else {'a': n, 'b': 1}",
        r"f yielded a new column 'b' in row 10001",
    ),
    "columns of batches": (
        "import pyarrow as pa\ndef f():\n    yield pa.table({'a': [1], 'b': [1]})\n    yield pa.table({'a': [1], 'c': [1]})",
        r"sync_jobs/feeds.py:2: f changed its columns between batches: new: c; gone: b",
    ),
    "type of batches": (
        "import pyarrow as pa\ndef f():\n    yield pa.table({'a': [1]})\n    yield pa.table({'a': ['x']})",
        r"f changed its columns: a was int64, then string",
    ),
    "twice": ("import pyarrow as pa\ndef f():\n    yield pa.table([[1], [2]], names=['a', 'a'])", r"f yielded the column 'a' twice"),
    "syntax": ("x = 1\ndef f(:\n    pass", r"sync_jobs/feeds.py cannot be imported: sync_jobs/feeds.py:2: SyntaxError"),
    "import": ("import nonsense_module\n", r"cannot be imported: sync_jobs/feeds.py:1: ModuleNotFoundError"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors_say_the_file_and_the_line(feeds: Opener, lake: Lake, name: str) -> None:
    text, says = WRONG[name]
    connector = feeds(text)
    with pytest.raises(SourceError, match=says):
        read(connector, connector.describe("f", key=[]), lake)


def test_names_that_stand_for_nothing(feeds: Opener, lake: Lake, workspace: Path) -> None:
    with pytest.raises(UnknownName, match="unknown function of sync_jobs/feeds.py 'ordrs'; did you mean orders"):
        feeds("def orders():\n    yield {}").describe("ordrs", key=[])
    for module, says in {
        "sync_jobs/none.py": "there is no file .*none.py",
        "no_such_module": "there is no module no_such_module",
        "../outside.py": "is not in the workspace",
        "not a module": "is no module",
    }.items():
        with pytest.raises((SourceError, UsageError), match=says):
            Connector(Options(module), workspace=workspace, lake=lake).describe("f", key=[])


def test_an_importable_module_is_read(lake: Lake, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "my_feeds_of_a_package.py").write_text("def f():\n    yield {'a': 1}\n")
    monkeypatch.syspath_prepend(str(workspace))
    connector = Connector(Options("my_feeds_of_a_package"), workspace=workspace, lake=lake)
    assert read(connector, connector.describe("f", key=["a"]), lake) == [(1,)]
    connector.close()


def test_an_empty_table_with_a_schema_says_its_columns(feeds: Opener, lake: Lake) -> None:
    connector = feeds("import pyarrow as pa\ndef f():\n    yield pa.schema([('a', pa.int32())]).empty_table()")
    table = connector.describe("f", key=["a"])
    assert types(table) == {"a": "Int32"}
    assert read(connector, table, lake) == []
    none = feeds("def f():\n    return []\nf.types = {'a': 'Int64'}")
    assert read(none, none.describe("f", key=["a"]), lake) == []


def test_what_a_function_prints_goes_to_the_log(feeds: Opener, lake: Lake, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from workbench.log import write_logs

    log = write_logs(tmp_path / "log")
    connector = feeds("""
        import sys, threading
        print("at import")
        def f():
            print("from the function")
            sys.stderr.write("a warning\\n")
            thread = threading.Thread(target=print, args=("from a thread",))
            thread.start(); thread.join()
            yield {"a": 1}
            print("without an end", end="")
    """)
    before = sys.stdout, sys.stderr
    assert read(connector, connector.describe("f", key=["a"]), lake) == [(1,)]
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("", "")
    said = [json.loads(line)["text"] for line in log.read_text().splitlines() if "the function wrote" in line]
    assert said == ["at import", "from the function", "a warning", "from a thread", "without an end"]


def test_a_generator_that_is_not_read_to_its_end_is_closed(feeds: Opener, lake: Lake, workspace: Path) -> None:
    connector = feeds("""
        from pathlib import Path
        def f():
            try:
                for n in range(1_000_000_000):
                    yield {"n": n}
            finally:
                Path(__file__).with_name("closed").touch()
    """)
    connector.describe("f", key=["n"])
    connector.close()
    assert (workspace / "sync_jobs/closed").exists()


def test_two_million_rows_in_bounded_memory(feeds: Opener, lake: Lake) -> None:
    connector = feeds("""
        import pyarrow as pa
        def f():
            for start in range(0, 2_000_000, 50_000):
                numbers = range(start, start + 50_000)
                yield pa.table({"n": pa.array(numbers), "text": [f"row {n} of a text that takes some room" for n in numbers]})
        def dicts():
            for n in range(300_000):
                yield {"n": n, "text": f"row {n} of a text that takes some room"}
    """)
    warm = connector.describe("dicts", key=["n"])
    with connector.rows(warm, ["n"]) as select:
        assert lake.scalar(f"select count() from ({select})") == 300_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table = connector.describe("f", key=["n"])
    with connector.rows(table, ["n", "text"]) as select:
        assert lake.query(f"select count() as c, sum(n) as s, uniqExact(text) as u from ({select})").to_pylist() == [
            {"c": 2_000_000, "s": 1_999_999_000_000, "u": 2_000_000}
        ]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 100, f"{grown:.0f} MiB more; all rows at once are about 200"
