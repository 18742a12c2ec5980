"""REST, against a real HTTP server on loopback whose answers are scripted: pages, types, patience, secrets, bad servers."""

from __future__ import annotations

import datetime as dt
import json
import logging
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from workbench.errors import Misfit, SourceError, SourceUnavailable, UnknownName
from workbench.hermes.connector import SourceTable, Span, find_connector
from workbench.hermes.connectors._rest_http import Backoff, retry_after_s
from workbench.hermes.connectors.rest import Connector, Options, TableOptions
from workbench.hermes.watermark import Watermark
from workbench.lake import Lake

UTC = dt.timezone.utc
SECRET = "s3cr3t-value/+x"


@dataclass
class Asked:
    """A request: its path, its parameters, its headers with names in lower case."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Reply:
    """An answer. A `body` that is no bytes is sent as JSON; `length` may promise more than comes."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


class Site:
    """The outside world: a server whose answers a test writes."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Reply] = lambda _: Reply([])
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                asked = Asked(parts.path, dict(parse_qsl(parts.query)), {k.lower(): v for k, v in self.headers.items()})
                site.asked.append(asked)
                reply = site.answer(asked)
                body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                headers = {"Content-Type": "application/json", **reply.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) if reply.length is None else reply.length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._handler, self._port = Handler, 0
        self.open()

    def open(self) -> None:
        """Listen, on the port of before."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def rows(self, *rows: Any) -> None:
        """Answer everything with these rows."""
        self.answer = lambda _: Reply(list(rows))

    def replies(self, *replies: Reply) -> None:
        """Answer with these, one after another; the last one again and again."""
        waiting = list(replies)
        self.answer = lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


Open = Callable[..., Connector]


@pytest.fixture
def opened(site: Site, lake: Lake, workspace: Path, clock: Clock) -> Iterator[Open]:
    """Opens connectors on the site, with its clock; closed at the end, and nothing staged is left."""
    made: list[Connector] = []

    def connect(**options: Any) -> Connector:
        made.append(Connector(Options(**{"url": site.url, **options}), workspace=workspace, lake=lake, wait=clock.wait, clock=clock))
        return made[-1]

    yield connect
    for connector in made:
        connector.close()
    assert [t for t in lake.tables("skygraph") if t.startswith("_stage_")] == []


def read(connector: Connector, table: SourceTable, *, as_text: bool = False, within: Span | None = None) -> list[dict[str, Any]]:
    names = [c.name for c in table.columns]
    with connector.rows(table, names, within=within, as_text=as_text) as select:
        found: list[dict[str, Any]] = connector.lake.query(f"select * from ({select}) order by 1").to_pylist()
    return found


def pull(connector: Connector, table: str = "t", key: tuple[str, ...] = ("id",), **options: Any) -> list[dict[str, Any]]:
    return read(connector, connector.describe(table, key=key, options=TableOptions(**options)))


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


def some(*numbers: int) -> list[dict[str, int]]:
    return [{"id": n} for n in numbers]


# --- paging


def test_one_answer_is_read_once_for_describe_rows_and_text(site: Site, opened: Open) -> None:
    site.rows({"id": 1, "name": "a"}, {"id": 2, "name": None})
    connector = opened()
    table = connector.describe("shops/7/customers", key=["id"])
    assert [(c.name, c.type, c.source_type) for c in table.columns] == [
        ("id", "Int64", "integer"),
        ("name", "Nullable(String)", "text"),
    ]
    assert read(connector, table) == [{"id": 1, "name": "a"}, {"id": 2, "name": None}]
    assert read(connector, table, as_text=True) == [{"id": "1", "name": "a"}, {"id": "2", "name": None}]
    assert [a.path for a in site.asked] == ["/shops/7/customers"]
    assert connector.high_mark(table, "id") is None


def test_an_empty_page_ends_pages_not_a_short_one(site: Site, opened: Open) -> None:
    # the server gives at most two rows whatever is asked for
    pages = {"1": some(1, 2), "2": some(3, 4), "3": some(5)}
    site.answer = lambda asked: Reply(pages.get(asked.query["_page"], []))
    assert ids(pull(opened(), paging="page", page_param="_page", size_param="_limit", page_size="100")) == [1, 2, 3, 4, 5]
    assert [a.query for a in site.asked] == [{"_page": str(n), "_limit": "100"} for n in (1, 2, 3, 4)]


def test_offsets_count_the_rows_that_came(site: Site, opened: Open) -> None:
    rows = some(*range(7))
    site.answer = lambda asked: Reply({"items": rows[int(asked.query["skip"]) :][:3], "total": 7})
    assert ids(pull(opened(), paging="offset", page_param="skip", params={"sort": "id"})) == list(range(7))
    assert [a.query["skip"] for a in site.asked] == ["0", "3", "6", "7"]
    assert {a.query["sort"] for a in site.asked} == {"id"}


def test_cursor_in_a_parameter(site: Site, opened: Open) -> None:
    pages = {"": (some(1), "/a+b="), "/a+b=": ([], "c"), "c": (some(2), None)}

    def answer(asked: Asked) -> Reply:
        rows, cursor = pages[asked.query.get("after", "")]
        return Reply({"data": {"rows": rows}, "meta": {"next": cursor}})

    site.answer = answer
    assert ids(pull(opened(), records="data.rows", paging="cursor", cursor="meta.next", cursor_param="after")) == [1, 2]


def test_next_address_in_the_answer(site: Site, opened: Open) -> None:
    site.replies(
        Reply({"rows": some(1), "next": "/t?from=2"}), Reply({"rows": some(2), "next": f"{site.url}/t?from=3"}), Reply({"rows": some(3)})
    )
    assert ids(pull(opened(params={"api_key": SECRET}), paging="cursor", cursor="next")) == [1, 2, 3]
    assert [a.query for a in site.asked] == [
        {"api_key": SECRET},
        {"from": "2", "api_key": SECRET},
        {"from": "3", "api_key": SECRET},
    ]


def test_link_header(site: Site, opened: Open) -> None:
    site.replies(Reply(some(1), headers={"Link": f'<{site.url}/t?p=1>; rel="first", <{site.url}/t?p=2>; rel="next"'}), Reply(some(2)))
    assert ids(pull(opened(), paging="link")) == [1, 2]


def test_row_that_moves_to_the_next_page_is_taken_once(site: Site, opened: Open) -> None:
    site.replies(Reply(some(3, 2)), Reply(some(2, 1)), Reply([]))
    assert ids(pull(opened(), paging="page")) == [1, 2, 3]


def test_large_table_is_staged_page_by_page(site: Site, opened: Open) -> None:
    site.answer = lambda asked: Reply(some(*range(at := int(asked.query["offset"]), min(at + 4000, 30_000))))
    connector = opened()
    table = connector.describe("t", key=["id"], options=TableOptions(paging="offset"))
    assert len(site.asked) == 1  # the sample; the rest is read when it is needed
    with connector.rows(table, ["id"]) as select:
        assert connector.lake.query(f"select count() as n, sum(id) as s from ({select})").to_pylist() == [{"n": 30_000, "s": 449985000}]


@pytest.mark.parametrize(
    ("options", "replies", "said"),
    [
        pytest.param({"paging": "page"}, [Reply(some(1, 2))], "same 2 rows as a page before it.*page_param", id="the same page forever"),
        pytest.param(
            {"paging": "cursor", "cursor": "c", "cursor_param": "after"},
            [Reply({"r": some(n), "c": "x"}) for n in (1, 2, 3)],
            "next page that was read already",
            id="a cursor that repeats",
        ),
        pytest.param(
            {"paging": "cursor", "cursor": "next", "cursor_param": "after"},
            [Reply({"r": some(1), "next_": "x"})],
            "has no next; did you mean next_",
            id="a cursor written wrongly",
        ),
        pytest.param(
            {"paging": "cursor", "cursor": "next"}, [Reply({"r": some(1), "next": "x"})], "not an address.*cursor_param", id="no parameter"
        ),
        pytest.param(
            {}, [Reply(some(1), headers={"Link": '</t?p=2>; rel="next"'})], "Link header to a next page.*paging: link", id="Link unread"
        ),
        pytest.param({}, [Reply({"r": some(1), "next": "/t?p=2"})], "more rows \\(next\\), but `paging:` is none", id="next unread"),
        pytest.param({}, [Reply({"r": some(1), "has_more": True})], "more rows \\(has_more\\)", id="has_more unread"),
        pytest.param({}, [Reply(some(1), headers={"X-Total-Count": "9"})], "there are 9 rows .* only 1 came", id="fewer than the total"),
    ],
)
def test_pages_that_would_lose_rows_or_never_end_are_refused(
    site: Site, opened: Open, options: dict[str, Any], replies: list[Reply], said: str
) -> None:
    site.replies(*replies)
    with pytest.raises(SourceError, match=f"{site.url}/t.*{said}"):
        pull(opened(), **options)


@pytest.mark.parametrize(
    ("body", "options", "said"),
    [
        ({"a": [1], "b": []}, {}, "has the lists a, b; say where the rows are with `records:`"),
        ({"error": "no"}, {}, 'has no list, but {"error":"no"}'),
        ({"data": {"item": []}}, {"records": "data.items"}, "has no data.items; did you mean item"),
        ([1, 2], {}, "row 1 is 1, not an object"),
        ([[1], [2]], {}, "row 1 is \\[1\\], not an object"),
        ([], {}, "has no rows yet.*`types:`"),
        ([{"a_b": 1, "a": {"b": 2}}], {}, "two fields of a row would be the column a_b; set `flatten: 0`"),
        ([{"": 1}], {}, "a field has the name ''"),
    ],
)
def test_answers_without_rows_are_said(site: Site, opened: Open, body: Any, options: dict[str, Any], said: str) -> None:
    site.answer = lambda _: Reply(body)
    with pytest.raises(SourceError, match=said):
        pull(opened(), **options)


# --- only what is new


def test_since_is_asked_for_and_a_wider_copy_is_used_again(site: Site, opened: Open) -> None:
    rows = [{"id": n, "at": f"2024-01-0{n}T00:00:00Z"} for n in (1, 2, 3)]
    site.answer = lambda asked: Reply([r for r in rows if str(r["at"]) > asked.query.get("updated_after", "")])
    connector = opened()
    table = connector.describe("t", key=["id"], options=TableOptions(since_param="updated_after"))
    low, lower = (Watermark(dt.datetime(2024, 1, day, tzinfo=UTC)) for day in (3, 2))
    # the server means `later than`: the row at the mark is there all the same
    assert ids(read(connector, table, within=Span("at", low=low, nulls=True))) == [3]
    assert ids(read(connector, table, within=Span("at", low=lower))) == [2, 3]
    assert [a.query.get("updated_after") for a in site.asked] == [None, "2024-01-02T23:59:59Z", "2024-01-01T23:59:59Z"]
    between = Watermark(dt.datetime(2024, 1, 2, 12, tzinfo=UTC))
    assert ids(read(connector, table, within=Span("at", low=between))) == [2, 3]  # of the copy from `lower` on
    assert ids(read(connector, table)) == [1, 2, 3]  # all came with the sample
    assert len(site.asked) == 3


def test_rows_without_a_watermark_are_not_left_to_a_server_that_compares(site: Site, opened: Open) -> None:
    site.rows({"id": 1, "at": "2024-01-01T00:00:00Z"}, {"id": 2})
    connector = opened()
    table = connector.describe("t", key=["id"], options=TableOptions(since_param="since"))
    assert ids(read(connector, table, within=Span("at", low=Watermark(dt.datetime(2024, 1, 1)), nulls=True))) == [1, 2]
    assert [a.query for a in site.asked] == [{}]


# --- types


TYPED = [
    ("whole", [1, -5], "Int64", [1, -5]),
    ("long", [9007199254740993, 1], "Int64", [9007199254740993, 1]),
    ("too large", [99999999999999999999, 1], "String", ["99999999999999999999", "1"]),
    ("fraction", [1.5, 2], "Float64", [1.5, 2.0]),
    ("long and fraction", [9007199254740993, 0.5], "String", ["9007199254740993", "0.5"]),
    ("yes", [True, False], "Bool", [True, False]),
    ("yes and 1", [True, 1], "String", ["true", "1"]),
    ("postal code", [12209, "05021"], "String", ["12209", "05021"]),
    ("time", ["2024-02-29T23:59:59.5+01:00", "1900-01-01 00:00"], "DateTime64(6, 'UTC')",
     [dt.datetime(2024, 2, 29, 22, 59, 59, 500000, UTC), dt.datetime(1900, 1, 1, tzinfo=UTC)]),
    ("day", ["1969-07-20", "2299-12-31"], "Date32", [dt.date(1969, 7, 20), dt.date(2299, 12, 31)]),
    ("day and time", ["2024-01-01", "2024-01-01T10:00Z"], "DateTime64(6, 'UTC')",
     [dt.datetime(2024, 1, 1, tzinfo=UTC), dt.datetime(2024, 1, 1, 10, tzinfo=UTC)]),
    ("no day", ["2024-02-31", "2024-02-01"], "String", ["2024-02-31", "2024-02-01"]),
    ("too early", ["0001-01-01T00:00:00", "2024-01-01T00:00:00"], "String", ["0001-01-01T00:00:00", "2024-01-01T00:00:00"]),
    ("too fine", ["2024-01-01T00:00:00.123456789Z", None], "String", ["2024-01-01T00:00:00.123456789Z", None]),
    ("text", ["it's \\ \"é\" 🦆\n\t\0", ""], "String", ["it's \\ \"é\" 🦆\n\t\0", ""]),
    ("list", [[1, {"a": 2.50}], []], "String", ['[1,{"a":2.5}]', "[]"]),
    ("nothing", [None, None], "String", [None, None]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "type_", "landed"), [t[1:] for t in TYPED], ids=[t[0] for t in TYPED])
def test_types_are_inferred_and_values_land_as_they_are(site: Site, opened: Open, values: list[Any], type_: str, landed: list[Any]) -> None:
    site.rows(*({"id": n, "select `v`": v} for n, v in enumerate(values)))
    connector = opened()
    table = connector.describe("t", key=["id"])
    assert table.column("select `v`").type == f"Nullable({type_})"
    assert [row["select `v`"] for row in read(connector, table)] == landed


def test_numbers_keep_all_their_digits(site: Site, opened: Open) -> None:
    site.answer = lambda _: Reply(b'[{"id": 1, "d": 12345678901234567890.123456789012345678, "l": [1.10, 1e400], "m": "7.50"}]')
    row = pull(opened(), types={"d": "Decimal(60, 20)", "m": "Decimal(10,2)"})[0]
    assert row["d"] == Decimal("12345678901234567890.12345678901234567800")
    assert row["l"] == "[1.10,1e400]"
    assert row["m"] == Decimal("7.50")


def test_objects_become_columns(site: Site, opened: Open) -> None:
    site.rows(
        {"id": 1, "customer": {"name": "a", "address": {"city": "x", "geo": {"lat": 1}}}, "maybe": None, "mixed": {"a": 1}},
        {"id": 2, "customer": None, "maybe": {"of": True}, "mixed": "none"},
        {"id": 3, "customer": {}, "mixed": None},
    )
    first, second, third = pull(opened(), flatten="2")
    assert list(first) == ["id", "customer_name", "customer_address_city", "customer_address_geo", "mixed", "maybe_of"]
    assert list(first.values()) == [1, "a", "x", '{"lat":1}', '{"a":1}', None]
    assert list(second.values()) == [2, None, None, None, "none", True]
    assert list(third.values()) == [3, None, None, None, None, None]
    assert pull(opened(), flatten="0")[0]["customer"] == '{"name":"a","address":{"city":"x","geo":{"lat":1}}}'
    assert pull(opened(), types={"customer": "String"})[0]["customer"] == '{"name":"a","address":{"city":"x","geo":{"lat":1}}}'


def test_given_types_and_texts_that_mean_null(site: Site, opened: Open) -> None:
    site.rows(
        {"id": 1, "shipped": "NULL", "day": "1996-07-04 00:00:00.000", "tags": ["it's", None], "unix": 1700000000.25, "n": 5},
        {"id": 2, "shipped": "1996-07-16 00:00:00.000", "day": "", "tags": [], "unix": None, "n": 6},
    )
    given = {
        "day": "Date32", "tags": "Array(Nullable(String))", "unix": "DateTime64(3, 'Asia/Tokyo')", "n": "UInt8", "later": "UUID",
    }  # fmt: skip
    connector = opened()
    table = connector.describe("t", key=["id"], options=TableOptions(null_values=["NULL", ""], types=given))
    assert [c.type for c in table.columns] == [
        "Int64", "Nullable(DateTime64(6, 'UTC'))", "Nullable(Date32)", "Array(Nullable(String))",
        "Nullable(DateTime64(3, 'Asia/Tokyo'))", "Nullable(UInt8)", "Nullable(UUID)",
    ]  # fmt: skip
    first, second = read(connector, table)
    assert (first["shipped"], first["day"], first["tags"]) == (None, dt.date(1996, 7, 4), ["it's", None])
    assert first["unix"].astimezone(UTC) == dt.datetime(2023, 11, 14, 22, 13, 20, 250000, UTC)
    assert (second["shipped"], second["day"], second["tags"], second["n"]) == (dt.datetime(1996, 7, 16, tzinfo=UTC), None, [], 6)
    with pytest.raises(SourceError, match="gives n the type 'Intt', which the lake does not know"):
        connector.describe("t", key=["id"], options=TableOptions(types={"n": "Intt"}))


MISFITS = [
    ("Int64", "many"), ("Int64", "05021"), ("Int64", 1.5), ("Int64", True), ("Int64", 2**63), ("Int64", ""), ("UInt8", 256), ("UInt8", -1),
    ("Float64", "x"), ("Float64", 2**53 + 1), ("Decimal(10, 2)", 1.234), ("Decimal(10, 2)", 123456789.0), ("Bool", "yes"), ("Bool", 2),
    ("Date32", "2024-02-31"), ("Date32", "0001-01-01"), ("Date32", "2024-01-01T10:00:00Z"), ("Date", "1969-12-31"),
    ("DateTime64(6, 'UTC')", "soon"), ("DateTime64(6, 'UTC')", "2024-02-31T00:00:00"), ("DateTime64(6, 'UTC')", "2024-01-01T25:00:00"),
    ("DateTime64(6, 'UTC')", 1700000000000), ("DateTime64(3, 'UTC')", "2024-01-01T00:00:00.1234Z"),
    ("DateTime('UTC')", "1969-12-31T00:00:00Z"),
    ("DateTime64(6, 'UTC')", "2024-01-01T00:00:00.1234567Z"), ("Int64", {"a": 1}), ("Float64", [1]),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "value"), MISFITS, ids=str)
def test_value_that_does_not_fit_is_a_misfit_and_as_text_no_cast_takes_it(site: Site, opened: Open, type_: str, value: Any) -> None:
    site.rows({"id": 1, "v": None, "w": 1}, {"id": 7, "v": value, "w": 1})
    connector = opened()
    table = connector.describe("t", key=["id"], options=TableOptions(types={"v": type_}))
    with pytest.raises(Misfit, match=r"rest http://.* t: v of row 2 does not fit Nullable\(.*; correct it at the source"):
        read(connector, table)
    with connector.rows(table, ["id", "w"]) as select:  # the others are read
        assert connector.lake.query(f"select sum(w) as n from ({select})").to_pylist() == [{"n": 2}]
    with connector.rows(table, ["id", "v"], as_text=True) as select:
        bare = type_.replace("'", "\\'")
        row = connector.lake.query(f"select v, accurateCastOrNull(v, '{bare}') as cast from ({select}) where id = '7'").to_pylist()[0]
    shown = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    assert json.loads(row["v"]) == shown
    assert row["cast"] is None
    assert len(site.asked) == 1


def test_null_in_the_key_is_a_misfit(site: Site, opened: Open) -> None:
    site.rows({"id": 1}, {"id": None})
    with pytest.raises(Misfit, match="row 2 has no value in id, which cannot be null"):
        pull(opened())


def test_later_field_that_is_new_is_not_lost(site: Site, opened: Open) -> None:
    site.replies(Reply([{"id": 1, "a": {"b": 1}}]), Reply([{"id": 2, "discount": None}, {"id": 3, "discount": 0.1}]), Reply([]))
    with pytest.raises(SourceError, match=r"row 3 has the field discount \(0.1\), which the first rows do not have; name it"):
        pull(opened(), paging="page", sample="1")
    site.replies(Reply([{"id": 1}]), Reply([{"id": 2, "discount": 0.1}]), Reply([]))
    assert pull(opened(), paging="page", sample="1", types={"discount": "Float64"})[1] == {"id": 2, "discount": 0.1}


def test_table_without_rows_is_read_when_its_types_are_given(site: Site, opened: Open) -> None:
    assert pull(opened(), types={"id": "Int64", "name": "String"}) == []


def test_columns_that_were_cast_or_dropped(site: Site, opened: Open) -> None:
    site.rows({"id": 1, "amount": 1.50, "secret": "x"})
    connector = opened()
    described = connector.describe("t", key=["id"])
    columns = (described.column("id"), type(described.column("amount"))("amount", "Decimal(10, 2)", "number"))
    assert read(connector, SourceTable("t", columns, described.options)) == [{"id": 1, "amount": Decimal("1.50")}]


def test_other_encodings_and_marks(site: Site, opened: Open) -> None:
    for body, kind in (
        (b'\xef\xbb\xbf[{"id": "\xc3\xa9"}]', "application/json"),
        ('[{"id": "é"}]'.encode("utf-16"), "application/json; charset=utf-16"),
        ('[{"id": "é"}]'.encode("latin-1"), "application/json; charset=iso-8859-1"),
    ):
        site.replies(Reply(body, headers={"Content-Type": kind}))
        assert pull(opened()) == [{"id": "é"}]
    site.answer = lambda _: Reply(rb'[{"id": "\ud800"}]')
    assert pull(opened()) == [{"id": "\\ud800"}]


# --- patience


def test_backoff_grows_to_its_most_and_gives_up() -> None:
    backoff = Backoff(retries=9, within_s=300, first_s=1, most_s=8)
    assert [backoff.pause_s(n, elapsed_s=0) for n in range(1, 11)] == [1, 2, 4, 8, 8, 8, 8, 8, 8, None]
    assert backoff.pause_s(3, elapsed_s=0, chance=0) == 2
    assert backoff.pause_s(1, elapsed_s=290, asked_s=11) is None
    assert backoff.pause_s(1, elapsed_s=290, asked_s=10) == 10
    assert backoff.pause_s(4, elapsed_s=0, asked_s=0) == 8


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("60", 60), ("1.5", 1.5), ("Wed, 21 Oct 2015 07:29:00 GMT", 60), ("Wed, 21 Oct 2015 07:00:00 GMT", 0), ("soon", None), ("", None)],
)
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after_s(header, now=dt.datetime(2015, 10, 21, 7, 28, tzinfo=UTC)) == seconds


def test_429_for_a_minute_is_waited_out(site: Site, opened: Open, clock: Clock) -> None:
    site.answer = lambda _: Reply(some(1)) if clock.now >= 60 else Reply(status=429)
    assert ids(pull(opened())) == [1]
    assert 60 <= clock.now <= 120


def test_retry_after_is_kept(site: Site, opened: Open, clock: Clock) -> None:
    date = {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}
    site.replies(Reply(status=429, headers={"Retry-After": "37"}), Reply(status=503, headers={"Retry-After": "21"}), Reply(some(1)))
    assert ids(pull(opened())) == [1]
    assert clock.waits == [37, 21]
    site.replies(Reply(status=429, headers=date))
    with pytest.raises(SourceUnavailable, match=r"429 Too Many Requests and asks to wait [\d,]+ s; given up after 1 tries"):
        pull(opened())
    assert clock.waits == [37, 21]


@pytest.mark.parametrize("reply", [Reply(status=500), Reply(status=503), Reply(b'[{"id"', length=100), Reply(b'[{"id": 1')], ids=repr)
def test_what_may_pass_is_tried_again_and_given_up_in_time(site: Site, opened: Open, clock: Clock, reply: Reply) -> None:
    site.replies(reply, reply, Reply(some(1)))
    assert ids(pull(opened())) == [1]
    site.replies(reply)
    with pytest.raises(SourceUnavailable, match="given up after 9 tries in "):
        pull(opened())
    assert clock.now <= 600


def test_server_that_dies_between_pages_is_waited_for(site: Site, opened: Open, clock: Clock, lake: Lake) -> None:
    site.answer = lambda asked: Reply(some(*range(at := int(asked.query["offset"]), min(at + 2, 4))))
    connector = opened(retries="3")
    table = connector.describe("t", key=["id"], options=TableOptions(paging="offset", sample="1"))
    site.close()
    with pytest.raises(SourceUnavailable, match="refused the connection; given up after 4 tries"):
        read(connector, table)
    assert len(clock.waits) == 3
    assert [t for t in lake.tables("skygraph") if t.startswith("_stage_")] == []
    site.open()
    assert ids(read(connector, table)) == [0, 1, 2, 3]  # from the first page on


def test_waiting_ends_when_it_is_stopped(site: Site, lake: Lake, workspace: Path) -> None:
    connector = Connector(Options(url=site.url), workspace=workspace, lake=lake)

    def answer(_: Asked) -> Reply:
        connector.stop()
        return Reply(status=429, headers={"Retry-After": "200"})

    site.answer = answer
    with pytest.raises(SourceUnavailable, match="interrupted"):
        connector.describe("t", key=["id"])
    connector.close()


# --- servers that are not what they should be


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (Reply(b"<!DOCTYPE html><title>Sign  in</title>", headers={"Content-Type": "text/html"}), SourceError, r"a web page \('Sign in'\)"),
        (Reply(b"  <HTML>hello"), SourceError, "a web page, not with JSON"),
        (Reply(b"id,name\n1,a"), SourceError, r"does not answer with JSON \(.*\): id,name 1,a"),
        (Reply(b"\xff\xfe\xfd", headers={"Content-Type": "application/json"}), SourceError, "bytes that are no text|not answer with JSON"),
        (Reply(b"[" * 200_000), SourceError, "nested too deep|cut off"),
        (Reply(status=401), SourceUnavailable, r"refused the sign-in \(401 Unauthorized\); check `token:`"),
        (Reply(status=403), SourceUnavailable, "refused the sign-in"),
        (Reply(status=404), UnknownName, "unknown path of rest .*the server answers 404"),
        (Reply({"why": "no such\nfield"}, status=400), SourceError, r"answers 400 Bad Request: .*no such\\nfield"),
        (Reply(b" " * (2**20 + 1)), SourceError, "larger than 1 MB; ask for smaller pages"),
        (Reply(status=302, headers={"Location": "/t"}), SourceError, "redirects more than 5 times"),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, Reply) else "",
)
def test_bad_answers_are_said(site: Site, opened: Open, reply: Reply, error: type[Exception], said: str) -> None:
    site.replies(reply)
    with pytest.raises(error, match=said):
        pull(opened(max_page_mb="1", retries="0"))


def test_redirect_on_the_same_server_is_followed(site: Site, opened: Open) -> None:
    site.answer = lambda asked: Reply(some(1)) if asked.path == "/new" else Reply(status=308, headers={"Location": "/new"})
    assert ids(pull(opened())) == [1]


@pytest.mark.parametrize("way", ["redirect", "link", "cursor", "path", "https"])
def test_credentials_do_not_go_to_another_server(site: Site, opened: Open, way: str) -> None:
    other = Site()
    to = f"{other.url}/t" if way != "https" else f"https{site.url.removeprefix('http')}/t"
    if way in ("redirect", "https"):
        reply = Reply(status=302, headers={"Location": to})
    else:
        reply = Reply({"rows": some(1), "next": to}, headers={"Link": f'<{to}>; rel="next"'} if way == "link" else {})
    site.replies(reply)
    options: dict[str, Any] = {"link": {"paging": "link"}, "cursor": {"paging": "cursor", "cursor": "next"}, "path": {"path": to}}.get(
        way, {}
    )
    with pytest.raises(
        SourceError, match="leads to another server, https?://127.0.0.1:.*credentials are sent to the server of `url:` alone"
    ):
        pull(opened(token=SECRET), **options)
    assert other.asked == []
    other.close()


def test_closed_port_and_a_port_without_tls(site: Site, opened: Open, clock: Clock) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    with pytest.raises(SourceUnavailable, match=f"rest http://127.0.0.1:{closed} refused the connection; is the server up"):
        pull(opened(url=f"http://127.0.0.1:{closed}"))
    with pytest.raises(SourceUnavailable, match="no TLS: .*does the server speak https there"):
        pull(opened(url=f"https{site.url.removeprefix('http')}"))
    with pytest.raises(SourceUnavailable, match="the host name is not known"):
        pull(opened(url="http://no-such-host.invalid"))
    assert clock.waits == []  # a wrong address does not get better


# --- sign-in and secrets


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({"token": SECRET}, f"Bearer {SECRET}"),
        ({"user": "ada", "password": "pässword"}, "Basic YWRhOnDDpHNzd29yZA=="),
        ({"headers": {"Authorization": f"Key {SECRET}"}}, f"Key {SECRET}"),
    ],
)
def test_sign_in(site: Site, opened: Open, options: dict[str, Any], header: str) -> None:
    site.rows({"id": 1})
    pull(opened(**options))
    assert site.asked[0].headers["authorization"] == header
    assert site.asked[0].headers["accept"] == "application/json"


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"you sent": SECRET}, status=400),
        Reply(status=401),
        Reply(status=500),
        Reply(f"<html><title>{SECRET}</title>".encode()),
        Reply(SECRET.encode()),
        Reply({"r": some(1), "next": f"http://other.invalid/?access_token={SECRET}"}),
        Reply({"a": [], "b": []}),
    ],
    ids=repr,
)
def test_secrets_are_in_no_error_and_no_log(site: Site, opened: Open, reply: Reply, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    site.replies(reply)
    secret = {"token": SECRET, "headers": {"X-Key": SECRET}, "params": {"api_key": SECRET}}
    assert SECRET not in repr(Options(url=site.url, **secret))  # type: ignore[arg-type]
    with pytest.raises(SourceError) as caught:
        pull(opened(**secret, retries="1"), params={"my_token": "tkn-9"}, paging="cursor", cursor="next")
    said = f"{caught.value} {caught.value.__cause__!r} {caplog.text}"
    for form in (SECRET, "s3cr3t", "tkn-9"):
        assert form not in said
    assert site.asked[0].query == {"my_token": "tkn-9", "api_key": SECRET}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "ftp://x"}, "not the address of a server"),
        ({"url": "https://"}, "not the address of a server"),
        ({"url": "http://h:99999"}, "not the address of a server"),
        ({"url": "https://h/x?key=1"}, "query parameters go under `params:`"),
        ({"url": "https://ada:s3cr3t@h/"}, "has a user in it; give `user:` and `password:`"),
        ({"token": "a\n"}, "the header 'Authorization' has a character that HTTP does not allow"),
        ({"token": "a", "user": "b"}, "two kinds of sign-in"),
        ({"headers": "X: 1"}, "`headers:` is not a mapping"),
        ({"retries": "many"}, "check timeout, retries, give_up_after and max_page_mb"),
        ({"timeout": "long"}, "check timeout"),
    ],
)
def test_wrong_source_options_are_said(lake: Lake, workspace: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        Connector(Options(**{"url": "http://127.0.0.1:1", **options}), workspace=workspace, lake=lake)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"paging": "pages"}, "table t: unknown paging 'pages'; did you mean page"),
        ({"paging": "cursor"}, "without `cursor:`"),
        ({"cursor": "next"}, "a cursor, but paging is none"),
        ({"page_size": "10"}, "only one of size_param and page_size"),
        ({"flatten": "-1"}, "flatten is '-1'; write a whole number"),
        ({"since_format": "rfc"}, "unknown since_format 'rfc'"),
        ({"types": ["id"]}, "types is \\['id'\\]"),
    ],
)
def test_wrong_table_options_are_said(opened: Open, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        pull(opened(), **options)


def test_unknown_column_and_the_name_of_the_connector(site: Site, opened: Open) -> None:
    site.rows({"id": 1})
    connector = opened()
    table = connector.describe("t", key=["id"])
    with pytest.raises(UnknownName, match="unknown column of t 'idd'; did you mean id"):
        connector.high_mark(table, "idd")
    assert find_connector("rest").options_class is Options


# --- a shop for the contract of all connectors


class RestShop:
    """The tables of a SQLite database, given by the site as JSON, in pages of 100 by offset."""

    connector = "rest"
    pulls = "_stage_"

    def __init__(self, path: Path) -> None:
        self._open = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._open.row_factory = sqlite3.Row
        self._lock = threading.Lock()
        self._site = Site()
        self._site.answer = self._answer
        self.options = {"url": self._site.url}

    def run(self, sql: str, values: Any = ()) -> None:
        with self._lock:
            self._open.execute(sql, values)

    def close(self) -> None:
        self._site.close()
        self._open.close()

    def _answer(self, asked: Asked) -> Reply:
        name = asked.path.lstrip("/").replace('"', '""')
        with self._lock:
            try:
                rows = self._open.execute(f'select * from "{name}" limit 100 offset ?', (int(asked.query.get("offset", 0)),)).fetchall()
            except sqlite3.OperationalError:
                return Reply({"error": "no such table"}, status=404)
        return Reply([dict(row) for row in rows])


def test_shop_over_http(lake: Lake, workspace: Path, tmp_path: Path) -> None:
    shop = RestShop(tmp_path / "shop.db")
    shop.run("create table orders (id integer primary key, note text)")
    for n in range(250):
        shop.run("insert into orders values (?, ?)", (n, f"n{n}"))
    connector = Connector(Options(url=shop.options["url"]), workspace=workspace, lake=lake)
    assert len(pull(connector, "orders", paging="offset")) == 250
    with pytest.raises(UnknownName, match="'/oders'"):
        connector.describe("oders", key=["id"])
    connector.close()
    shop.close()
