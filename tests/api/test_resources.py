"""What the API answers: objects in pages and files, the model, snapshots, sync and health, on the Chinook shop."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.api.conftest import TestClient, add_model
from tests.conftest import free_port
from workbench import Workbench
from workbench.answer import to_json
from workbench.api import create_app
from workbench.api._app import READ_LIMIT_S, resources
from workbench.lake import Lake
from workbench.log import write_logs
from workbench.settings import Settings

JSON = {"content-type": "application/json"}
OBJECTS = "/api/v1/objects"


# --- objects


def test_a_read_has_its_time_and_a_file_has_all_it_needs(api: TestClient, busy_shop: Workbench) -> None:
    began = dt.datetime.now(dt.timezone.utc)
    assert api.get(f"{OBJECTS}/Customer").status_code == api.get(f"{OBJECTS}/Customer?format=csv").status_code == 200
    busy_shop.lake.command("system flush logs")
    limits = busy_shop.lake.rows(
        "select Settings['max_execution_time'] as limit, query like '%FORMAT CSVWithNames%' or formatted_query like '%CSV%' as is_file "
        "from system.query_log where type = 'QueryFinish' and query like '%dim_customers%' and query_kind = 'Select' "
        "and event_time_microseconds >= {began:DateTime64(6, 'UTC')}",
        {"began": began},
    )
    assert {bool(row["is_file"]): float(row["limit"] or 0) for row in limits} == {False: READ_LIMIT_S, True: 0.0}


def test_a_page_of_objects(api: TestClient, busy_shop: Workbench) -> None:
    asked = {"where": ["country=Brazil", "total_spent>37"], "sort": "-total_spent", "limit": 2, "count": True}
    answer = api.get(f"{OBJECTS}/Customer", params=asked)
    assert answer.status_code == 200
    page = answer.json()
    same = busy_shop.objects("Customer").where(country="Brazil").where("total_spent>37").sort("-total_spent")
    assert page["rows"] == to_json(same.limit(2).to_arrow().to_pylist())
    assert page["total"] == same.count() > 2
    assert page["type"] == "Customer"
    assert answer.headers["link"] == f'<{page["next"]}>; rel="next"'
    assert api.get(OBJECTS, params={"text": page["text"], "limit": 2}).json()["rows"] == page["rows"]


def test_a_limit_in_the_text_of_a_set_is_the_size_of_its_pages(api: TestClient) -> None:
    page = api.get(OBJECTS, params={"text": "Customer sort=-total_spent limit=3", "count": True}).json()
    assert (len(page["rows"]), page["total"]) == (3, 59)
    following = api.get(page["next"]).json()["rows"]
    assert len(following) == 3 and not {r["customer_id"] for r in following} & {r["customer_id"] for r in page["rows"]}
    assert len(api.get(OBJECTS, params={"text": "Customer limit=3", "limit": 5}).json()["rows"]) == 5
    refused = api.get(OBJECTS, params={"text": "Customer limit=5000"})
    assert (refused.status_code, refused.json()["message"]) == (400, "a page has at most 1000 objects, not 5000")


@pytest.mark.parametrize("asked", [{}, {"sort": "-unit_price"}, {"sort": "composer", "where": "milliseconds>100000"}], ids=str)
def test_following_next_visits_every_object_once(api: TestClient, busy_shop: Workbench, asked: dict[str, str]) -> None:
    here: str | None = f"{OBJECTS}/Track?{'&'.join(f'{k}={quote(v)}' for k, v in asked.items())}&limit=700"
    keys, pages = [], 0
    while here:
        page = api.get(here).json()
        keys += [row["track_id"] for row in page["rows"]]
        here, pages = page["next"], pages + 1
    known = busy_shop.objects("Track").where(*[asked["where"]] if "where" in asked else [])
    assert len(keys) == len(set(keys)) == known.count()
    assert set(keys) == set(known.to_arrow().column("track_id").to_pylist())
    assert pages == -(-len(keys) // 700)


def test_one_object_and_where_it_leads(api: TestClient, busy_shop: Workbench) -> None:
    card = api.get(f"{OBJECTS}/Customer/1").json()
    assert card == to_json(busy_shop.object("Customer", 1))
    invoices = next(link for link in card["links"] if link["name"] == "invoices")
    page = api.get(f"{OBJECTS}/Customer/1/links/invoices", params={"count": True, "limit": 3}).json()
    assert (page["type"], page["total"], len(page["rows"])) == ("Invoice", invoices["count"], 3)
    following = api.get(page["next"]).json()
    assert {row["customer_id"] for row in page["rows"] + following["rows"]} == {1}


def test_a_set_leads_to_the_set_of_what_it_is_linked_to(api: TestClient, busy_shop: Workbench) -> None:
    page = api.get(OBJECTS, params={"text": "Customer[country=Brazil]/invoices", "count": True}).json()
    assert page["type"] == "Invoice"
    assert page["total"] == busy_shop.objects("Customer").where(country="Brazil").linked("invoices").count() > 0


def test_a_key_may_be_any_text(lake: Lake, settings: Settings) -> None:
    keys = ["a/b", "a%2Fb", "links", "a b?c#d", "é", "facets", "...", "%", "x/links/y", "'", "\\", "{k}", "ØÆ", "‮abc", "x" * 2000]
    add_model(settings.workspace, "Tag", "dim_tags", "tag", "string")
    lake.create_database("marts")
    lake.command("create table marts.dim_tags (tag String) engine = MergeTree order by tag")
    lake.insert("marts.dim_tags", pa.table({"tag": keys}))
    with TestClient(create_app(Workbench(settings)), base_url="http://localhost") as asks:
        for key in keys:
            answer = asks.get(f"{OBJECTS}/Tag/{quote(key, safe='')}")
            assert (answer.status_code, answer.json().get("key")) == (200, key), answer.text
        here, seen = f"{OBJECTS}/Tag?limit=2", []
        while here:  # a cursor holds a key, whatever is in it
            page = asks.get(here).json()
            seen += [row["tag"] for row in page["rows"]]
            here = page["next"]
        assert sorted(seen) == sorted(keys)


def test_files_are_the_whole_set(api: TestClient, busy_shop: Workbench) -> None:
    found = {
        form: api.get(f"{OBJECTS}/Invoice", params={"format": form, "sort": "invoice_id"}) for form in ("csv", "jsonl", "parquet", "arrow")
    }
    keys = busy_shop.objects("Invoice").sort("invoice_id").to_arrow().column("invoice_id").to_pylist()
    rows = list(csv.DictReader(io.StringIO(found["csv"].text)))
    assert [int(row["invoice_id"]) for row in rows] == keys
    lines = [json.loads(line) for line in found["jsonl"].text.splitlines()]
    assert [line["invoice_id"] for line in lines] == keys
    assert isinstance(lines[0]["total"], str)  # a decimal, exactly
    assert pq.read_table(io.BytesIO(found["parquet"].content)).column("invoice_id").to_pylist() == keys
    for form, answer in found.items():
        assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''Invoice.{form}"
    assert found["csv"].headers["content-type"].startswith("text/csv")
    few = api.get(f"{OBJECTS}/Invoice", params={"format": "jsonl", "limit": 3, "where": "total>5"}).text.splitlines()
    assert len(few) == 3


def test_groups_and_facets(api: TestClient, busy_shop: Workbench) -> None:
    groups = api.get("/api/v1/groups/Customer", params={"by": "country", "sum": "total_spent", "limit": 3}).json()
    assert groups == to_json(busy_shop.objects("Customer").group_by("country", ("total_spent",), 3))
    assert groups["groups"][0]["value"] == "USA"
    facets = api.get(
        "/api/v1/facets/Customer", params={"property": ["country", "company"], "where": "country!=USA", "top": 4, "budget_s": 30}
    )
    told = {facet["property"]: facet for facet in facets.json()["facets"]}
    assert set(told) == {"country", "company"}
    assert len(told["country"]["values"]) == 4
    assert facets.json()["rows"] == busy_shop.objects("Customer").where("country!=USA").count()


MISTAKES = [
    ("/api/v1/objects/Custmer", 404, "unknown object type 'Custmer'", ["Customer"]),
    ("/api/v1/objects/Customer/999", 404, "unknown Customer '999'", None),
    ("/api/v1/objects/Customer/first", 404, "unknown Customer 'first'", None),
    ("/api/v1/objects/Customer/1/links/invoics", 404, "'invoics'", ["invoices"]),
    ("/api/v1/objects/Customer/999/links/invoices", 404, "unknown Customer '999'", None),
    ("/api/v1/objects/Customer?where=contry=Brazil", 400, "'contry'", ["country"]),
    ("/api/v1/objects/Customer?where=total_spent>much", 400, "'much' is not a decimal number", None),
    ("/api/v1/objects/Customer?where=(country=Brazil", 400, "", None),
    ("/api/v1/objects/Customer?sort=totl_spent", 400, "'totl_spent'", ["total_spent"]),
    ("/api/v1/objects/Customer?limit=0", 400, "limit", None),
    ("/api/v1/objects/Customer?limit=1001", 400, "at most 1000", None),
    ("/api/v1/objects/Customer?limit=ten", 400, "limit", None),
    ("/api/v1/objects/Customer?after=5", 400, "'5' is not the place of a page", None),
    ("/api/v1/objects/Customer?format=xlsx", 400, "format", None),
    ("/api/v1/objects/Customer?format=csv&after=x", 400, "a file has no pages", None),
    ("/api/v1/objects/Customer?format=csv&where=contry=1", 400, "'contry'", ["country"]),
    ("/api/v1/objects", 400, "text", None),
    ("/api/v1/objects?text=Customer/invoics", 400, "'invoics'", ["invoices"]),
    ("/api/v1/objects?text=Customer[", 400, "", None),
    ("/api/v1/groups/Customer", 400, "by", None),
    ("/api/v1/groups/Customer?by=contry", 400, "'contry'", ["country"]),
    ("/api/v1/groups/Custmer?by=country", 404, "'Custmer'", ["Customer"]),
    ("/api/v1/facets/Customer?property=contry", 400, "'contry'", ["country"]),
    ("/api/v1/facets/Customer", 400, "property", None),
    ("/api/v1/snapshots/openin/diff/opening", 404, "unknown snapshot 'openin'", ["opening"]),
    ("/api/v1/snapshots/opening/diff/opening?limit=-1", 400, "limit", None),
    ("/api/v1/objects/Genre?as_of=openin", 400, "unknown snapshot 'openin'", ["opening"]),
    ("/api/v1/objects/Genre?as_of=2001-01-01", 400, "before the first snapshot", None),
    ("/api/v1/facets/Genre?property=name&as_of=2100-01-01", 400, "in the future", None),
    ("/api/v1/snapshots/history/Genre/none", 404, "unknown Genre 'none'", None),
    ("/api/v1/snapshots/opening/diff/opening?type=Genres", 400, "'Genres'", ["Genre"]),
]


@pytest.mark.parametrize(("path", "status", "told", "near"), MISTAKES, ids=[path for path, *_ in MISTAKES])
def test_a_mistake_says_what_and_what_to_do(api: TestClient, path: str, status: int, told: str, near: list[str] | None) -> None:
    answer = api.get(path)
    said = answer.json()
    assert answer.status_code == status, said
    assert told in said["message"]
    assert said["request_id"] == answer.headers["x-request-id"]
    assert near is None or said["nearest"][:1] == near
    assert {"error", "message", "hint", "retryable", "request_id"} <= set(said)


@pytest.mark.parametrize("hard", ["' or 1=1 --", "\\'; drop table x", "{k:String}", "\x00", "${X}", "%s", "𝕏", "؟" * 1000, ") or (1=1"])
def test_a_value_stays_a_value(api: TestClient, hard: str) -> None:
    quoted = '"' + hard.replace("\\", "\\\\").replace('"', '\\"') + '"'
    for asked in ({"where": f"country={quoted}"}, {"search": hard}):
        answer = api.get(f"{OBJECTS}/Customer", params=asked)
        assert answer.status_code in (200, 400), answer.text
        assert answer.status_code == 400 or answer.json()["rows"] == []
    assert api.get(f"{OBJECTS}/Customer/{quote(hard, safe='')}").status_code == 404
    assert api.get(f"{OBJECTS}/{quote(hard, safe='')}").status_code == 404


# --- ETag, gzip


@pytest.mark.parametrize(
    "path",
    ["/api/v1/ontology", f"{OBJECTS}/Genre", f"{OBJECTS}/Customer/1", "/api/v1/facets/Customer?property=country", "/api/v1/snapshots"],
)
def test_what_has_not_changed_is_not_sent_again(api: TestClient, path: str) -> None:
    first = api.get(path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for asked in (tag, f'"x", {tag}', "*", tag.removeprefix("W/")):
        again = api.get(path, headers={"if-none-match": asked})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert api.get(path, headers={"if-none-match": '"another"'}).content == first.content


def test_the_tag_of_the_model_is_its_fingerprint(api: TestClient, busy_shop: Workbench) -> None:
    answer = api.get("/api/v1/ontology")
    assert answer.headers["etag"] == f'W/"{busy_shop.ontology.fingerprint}"'
    assert answer.json()["fingerprint"] == busy_shop.ontology.fingerprint
    assert [t["name"] for t in answer.json()["object_types"]] == list(busy_shop.ontology.object_types)


def test_large_answers_are_compressed_for_who_takes_it(api: TestClient) -> None:
    plain = api.get(f"{OBJECTS}/Track?limit=200", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with api.stream("GET", f"{OBJECTS}/Track?limit=200", headers={"accept-encoding": "gzip"}) as packed:
        raw = b"".join(packed.iter_raw())
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["etag"] == plain.headers["etag"]
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 3


# --- the model, live


def test_a_saved_file_is_served(own_api: TestClient, own_shop: Workbench, until: Callable[..., None]) -> None:
    before = own_api.get("/api/v1/ontology")
    path = own_shop.settings.workspace / "ontology/objects/genre.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("A kind of music", "Any kind of music"), encoding="utf-8")
    until(lambda: own_api.get("/api/v1/ontology").headers["etag"] != before.headers["etag"])
    assert own_api.get("/api/v1/ontology", headers={"if-none-match": before.headers["etag"]}).status_code == 200


def test_reload_says_what_changed_or_every_problem(own_api: TestClient, own_shop: Workbench) -> None:
    def reload() -> tuple[int, dict[str, object]]:
        answer = own_api.post("/api/v1/ontology/reload", headers=JSON)
        return answer.status_code, answer.json()

    folder = own_shop.settings.workspace / "ontology"
    assert own_api.get("/api/v1/ontology").status_code == 200
    own_shop.live.close()  # nobody else reads the files meanwhile
    good = (folder / "objects/genre.yml").read_text(encoding="utf-8")
    (folder / "links/of_kind.yml").write_text(
        "link: of_kind\nfrom: Track\nto: Genre\ncardinality: many_to_one\njoin: {genre_id: genre_id}\nreverse: kind_of\n", encoding="utf-8"
    )
    status, said = reload()
    assert (status, said["link_types"]) == (200, {"added": ["of_kind"], "changed": [], "removed": []})

    (folder / "objects/genre.yml").write_text(good.replace("key: ", "kee: "), encoding="utf-8")
    (folder / "links/of_kind.yml").write_text("link: of_kind\nfrom: Trak\n", encoding="utf-8")
    status, said = reload()
    assert (status, said["error"]) == (422, "InvalidFiles")
    problems = said["problems"]
    assert isinstance(problems, list)
    assert {Path(p["file"]).name for p in problems} == {"genre.yml", "of_kind.yml"}
    assert all(p["line"] >= 1 for p in problems)

    assert own_api.get(f"{OBJECTS}/Genre").status_code == 200  # the old model stays, and says so
    model = own_api.get("/api/v1/ontology")
    assert {Path(p["file"]).name for p in model.json()["problems"]} == {"genre.yml", "of_kind.yml"}
    assert model.headers["etag"] != f'W/"{own_shop.ontology.fingerprint}"'
    assert own_api.get("/health").status_code == 503


# --- snapshots, sync, health


def test_snapshots_are_taken_listed_and_compared(api: TestClient) -> None:
    taken = api.post("/api/v1/snapshots", json={"label": "by the api", "types": ["Genre", "Artist"]})
    assert taken.status_code == 201
    assert taken.json()["types"] == ["Genre", "Artist"]
    listed = api.get("/api/v1/snapshots").json()["snapshots"]
    assert {k: v for k, v in taken.json().items() if k != "skipped"} in listed
    diff = api.get(f"/api/v1/snapshots/opening/diff/{quote('by the api')}?type=Genre").json()
    assert (diff["a"]["label"], diff["b"]["label"], diff["changes"]) == ("opening", "by the api", [])


def test_objects_are_answered_as_of_a_snapshot(api: TestClient) -> None:
    now = api.get(f"{OBJECTS}/Track?limit=3&sort=-track_id&count=true").json()
    then = api.get(f"{OBJECTS}/Track?limit=3&sort=-track_id&count=true&as_of=opening").json()
    assert (then["rows"], then["total"], then["as_of"]["label"]) == (now["rows"], now["total"], "opening")
    following = api.get(then["next"]).json()
    assert (following["as_of"]["seq"], len(following["rows"])) == (then["as_of"]["seq"], 3)
    card = api.get(f"{OBJECTS}/Playlist/1?as_of=opening").json()
    assert card["links"] == api.get(f"{OBJECTS}/Playlist/1").json()["links"]
    linked = "/links/contains?limit=2&sort=-track_id&as_of=opening"
    assert api.get(f"{OBJECTS}/Playlist/1{linked}").json()["rows"] == api.get(f"{OBJECTS}/Playlist/1{linked[:-14]}").json()["rows"]
    path = quote("Customer[country=Brazil]/invoices as_of=opening")
    assert api.get(f"{OBJECTS}?text={path}").json()["as_of"]["label"] == "opening"
    for asked in ("groups/Customer?by=country", "facets/Customer?property=country"):
        assert api.get(f"/api/v1/{asked}&as_of=opening").json() == api.get(f"/api/v1/{asked}").json()
    life = api.get("/api/v1/snapshots/history/Genre/1").json()
    assert [v["kind"] for v in life["versions"]] == ["added"]
    events = api.get("/api/v1/snapshots/events?bins=5").json()
    assert events["snapshots"] >= 1 and {e["type"] for e in events["events"]} >= {"Track", "Genre"}
    assert api.get("/api/v1/snapshots/size").json()["bytes"] > 0
    assert api.post("/api/v1/snapshots/prune", json={"plan": True}).json()["is_plan"]


def test_sync_runs_a_table_and_says_where_it_stands(api: TestClient) -> None:
    report = api.post("/api/v1/sync/genres", json={"full": True}).json()
    assert (report["failed"], [run["table"] for run in report["tables"]]) == (False, ["genres"])
    standing = {t["table"]: t for t in api.get("/api/v1/sync").json()["tables"]}
    assert standing["genres"]["last_status"] == "ok"
    assert standing["genres"]["lag_s"] < 600
    unknown = api.post("/api/v1/sync/genrs", headers=JSON)
    assert (unknown.status_code, unknown.json()["nearest"]) == (404, ["genres"])


def test_every_line_that_a_request_causes_has_its_id(api: TestClient, tmp_path: Path) -> None:
    path = write_logs(tmp_path, "api.log")
    assert api.post("/api/v1/sync/genres", headers={**JSON, "x-request-id": "the-sync"}).status_code == 200
    assert api.get(f"{OBJECTS}/Custmer", headers={"x-request-id": "the-read"}).status_code == 404
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(line["event"], line["request_id"]) for line in lines] == [
        ("table synced", "the-sync"), ("request", "the-sync"), ("request", "the-read"),
    ]  # fmt: skip


def test_a_second_sync_of_a_table_is_told_that_one_runs(api: TestClient, busy_shop: Workbench) -> None:
    """While another process holds the table, as far as this one can tell."""
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with busy_shop.hermes._locked("genres"):
            inside.set()
            assert go_on.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    assert inside.wait(30)
    try:
        refused = api.post("/api/v1/sync/genres", headers=JSON)
    finally:
        go_on.set()
        other.join()
    assert refused.status_code == 409
    assert refused.json()["retryable"]
    assert api.post("/api/v1/sync/genres", headers=JSON).status_code == 200


def test_the_catalog_is_searched(api: TestClient) -> None:
    every = {(e["kind"], e["name"]) for e in api.get("/api/v1/catalog").json()["entries"]}
    found = [(e["kind"], e["name"]) for e in api.get("/api/v1/catalog?text=genre").json()["entries"]]
    assert set(found) < every
    assert found[0] == ("object type", "Genre")
    assert {kind for kind, _ in every} >= {"raw", "mart", "object type"}


def test_health_tells_each_part_with_its_age_and_is_never_kept(api: TestClient) -> None:
    answer = api.get("/health")
    assert answer.status_code == 200
    parts = {part["part"]: part for part in answer.json()["parts"]}
    assert {"clickhouse", "ontology", "sync"} <= set(parts)
    assert all(part["checked_at"].endswith("+00:00") and part["ok"] == (part["status"] == "ok") for part in parts.values())
    assert all(parts[name]["ok"] for name in ("clickhouse", "ontology", "snapshots"))
    assert 0 <= answer.json()["looked_s"] < 20
    assert parts["sync"]["age_s"] >= 0
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


def test_a_column_that_is_gone_is_said_and_is_no_fault_of_the_api(own_shop: Workbench) -> None:
    path = own_shop.settings.workspace / "ontology/objects/genre.yml"
    path.write_text(path.read_text("utf-8").rstrip() + "\n  colour: {type: string}\n", encoding="utf-8")
    with TestClient(create_app(own_shop), base_url="http://localhost") as client:
        assert client.get(f"{OBJECTS}/Genre").json()["rows"][0]["colour"] is None
        for address in (f"{OBJECTS}/Genre?where=colour%3Dred", f"{OBJECTS}/Genre?sort=colour", "/api/v1/facets/Genre?property=colour",
                        "/api/v1/groups/Genre?by=colour"):  # fmt: skip
            answer = client.get(address)
            assert (answer.status_code, answer.json()["hint"]) == (503, "run skygraph ontology check"), address
            assert "has no column 'colour'" in answer.json()["message"]


def test_health_says_which_models_have_no_table(own_shop: Workbench) -> None:
    add_model(own_shop.settings.workspace, "Ghost", "dim_ghosts", "ghost_id", "integer")
    with TestClient(create_app(own_shop), base_url="http://localhost") as client:
        part = client.get("/health").json()["parts"][1]
    assert "no table in the lake yet: dim_ghosts (run `skygraph dbt run`)" in part["detail"]


def test_without_a_lake_reads_are_503_and_health_says_which_part(chinook: Path) -> None:
    settings = Settings.load(chinook, environ={}, clickhouse_url=f"http://me:hunter2@127.0.0.1:{free_port()}")
    with TestClient(create_app(Workbench(settings)), base_url="http://localhost") as asks:
        read = asks.get(f"{OBJECTS}/Genre")
        assert (read.status_code, read.json()["error"], read.json()["retryable"]) == (503, "LakeUnavailable", True)
        assert int(read.headers["retry-after"]) > 0
        assert "hunter2" not in read.text
        health = asks.get("/health")
        assert health.status_code == 503
        parts = {part["part"]: part["status"] for part in health.json()["parts"]}
        assert (parts["clickhouse"], parts["ontology"]) == ("down", "unknown")  # nobody can say what the lake has
        assert asks.get("/health/live").json() == {"alive": True}
        assert asks.get("/api/v1/ontology").status_code == 200  # needs no lake


def test_a_model_that_is_not_built_is_503_with_what_to_do(chinook: Path, lake_url: str) -> None:
    settings = Settings.load(chinook, environ={}, clickhouse_url=lake_url)
    with TestClient(create_app(Workbench(settings)), base_url="http://localhost") as asks:
        answer = asks.get(f"{OBJECTS}/Genre")
    assert (answer.status_code, answer.json()["hint"]) == (503, "run skygraph dbt run")


# --- the schema


def test_every_resource_is_in_the_schema(api: TestClient) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    assert resources() == ["catalog", "docs", "health", "objects", "ontology", "snapshots", "sync"]
    assert set(paths) == {
        "/health", "/health/live", "/api/v1/canary", "/api/v1/catalog",
        "/api/v1/ontology", "/api/v1/ontology/reload", OBJECTS, f"{OBJECTS}/{{type}}", f"{OBJECTS}/{{type}}/{{key}}",
        f"{OBJECTS}/{{type}}/{{key}}/links/{{link}}", "/api/v1/groups/{type}", "/api/v1/facets/{type}", "/api/v1/snapshots",
        "/api/v1/snapshots/{a}/diff/{b}", "/api/v1/snapshots/events", "/api/v1/snapshots/history/{type}/{key}", "/api/v1/snapshots/size",
        "/api/v1/snapshots/prune", "/api/v1/sync", "/api/v1/sync/{table}",
    }  # fmt: skip


def test_many_readers_at_once_get_whole_answers(api: TestClient) -> None:
    wanted = {n: api.get(f"{OBJECTS}/Track?limit=50&where=track_id>{n}").content for n in range(0, 800, 100)}
    wrong: list[object] = []

    def read(n: int) -> None:
        for _ in range(5):
            got = api.get(f"{OBJECTS}/Track?limit=50&where=track_id>{n}")
            if got.content != wanted[n]:
                wrong.append((n, got.status_code, got.content[:200]))

    readers = [threading.Thread(target=read, args=(n,)) for n in wanted]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not wrong
