"""The main job as its user sees it: the numbers of the story, and that nothing else changes."""

from __future__ import annotations

import csv
import datetime as dt
import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.journey.conftest import Shop, open_shop

Told = tuple[Shop, dict[str, Any]]


def test_before_the_day_the_lake_holds_the_shop_as_the_files_have_it(told: Told) -> None:
    _, report = told
    files = sorted((REPOSITORY / "sync_jobs/sample/chinook").glob("*.csv"))
    rows = sum(len(list(csv.reader(path.read_text(encoding="utf-8").splitlines(keepends=True)))) - 1 for path in files)
    assert (report["before"]["tables"], report["before"]["source_rows"]) == (len(files), rows) == (11, 15_607)
    assert report["before"]["headlines"] == {"invoices": 412, "revenue": "2328.60"}
    assert (report["before"]["types"], report["before"]["links"]) == (10, 11)


def test_after_the_day_both_sides_have_the_same_checksum(told: Told) -> None:
    _, report = told
    assert report["equal"] is True
    assert len(report["tables"]) == 11
    for table in report["tables"]:
        assert (table["source_rows"], table["source_checksum"]) == (table["current_rows"], table["current_checksum"]), table
        assert table["physical_rows"] >= table["current_rows"]
    assert report["physical_rows"] > report["current_rows"] == 15_634


def test_current_rows_equal_the_source_value_by_value(told: Told) -> None:
    """Compared outside the engine, so that a fault of its checksum or of its reading of SQLite would show."""
    shop, _ = told
    bench = shop.bench()
    source = sqlite3.connect(shop.folder / ".skygraph/demo/chinook.sqlite")
    compared = 0
    for job in bench.hermes.plan.tables.values():
        lake = bench.lake.current(job.raw)
        names = [n for n in lake.column_names if n not in ("_version", "_deleted", "_synced_at", "_run_id")]
        quoted = ", ".join(f'"{n}"' for n in names)
        there = source.execute(f'select {quoted} from "{job.from_}" order by id').fetchall()
        here = [tuple(row[n] for n in names) for row in lake.to_pylist()]
        assert [tuple(map(_plain, row)) for row in here] == [tuple(map(_plain, row)) for row in there], job.table
        compared += len(here)
    source.close()
    bench.close()
    assert compared == 15_634


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.") + f"{value.microsecond // 1000:03d}"
    return float(value) if isinstance(value, Decimal) else value


def test_the_second_sync_inserted_only_what_the_day_changed(told: Told) -> None:
    _, report = told
    assert report["day"]["tables"] == {
        "customers": {"inserted": 3, "deleted": 0},
        "invoices": {"inserted": 8, "deleted": 0},  # seven of the day, one late
        "invoice_lines": {"inserted": 21, "deleted": 0},
        "tracks": {"inserted": 5, "deleted": 0},
        "playlists": {"inserted": 0, "deleted": 1},
        "playlist_tracks": {"inserted": 0, "deleted": 1},
    }
    assert report["after"]["headlines"] == {"invoices": 420, "revenue": "2353.99"}


def test_the_diff_names_exactly_the_days_changes(told: Told) -> None:
    shop, report = told
    told_changes = {(c["type"], c["kind"], c["key"]) for c in report["diff"]["changes"]}
    assert report["diff"]["truncated"] is False
    source = sqlite3.connect(shop.folder / ".skygraph/demo/chinook.sqlite")
    day = "2012-01-02"
    new_invoices = [(i, c) for i, c in source.execute("select id, customer from invoice where id > 412")]
    new_lines = source.execute("select id, track, invoice from invoiceline where id > 2240").fetchall()
    priced = [i for (i,) in source.execute("select id from track where updated_at like ?", (f"{day}%",))]
    corrected = [i for (i,) in source.execute("select id from customer where updated_at like ?", (f"{day}%",))]
    source.close()
    buyers = dict(new_invoices)
    expected = {("Invoice", "added", str(i)) for i, _ in new_invoices}
    expected |= {("InvoiceLine", "added", str(i)) for i, _, _ in new_lines}
    expected |= {("Customer", "changed", str(c)) for c in {*buyers.values(), *corrected}}
    expected |= {("Track", "changed", str(t)) for t in {*(t for _, t, _ in new_lines), *priced}}
    expected |= {("Playlist", "removed", "6"), ("Playlist", "changed", "16"), ("contains", "removed", '["16","2206"]')}
    expected |= {("bought", "added", json.dumps([str(buyers[i]), str(t)], separators=(",", ":"))) for _, t, i in new_lines}
    assert told_changes == expected
    values = {(c["type"], c["key"], p["name"]): (p["old"], p["new"]) for c in report["diff"]["changes"] for p in c["properties"]}
    assert values["Playlist", "16", "track_count"] == ("15", "14")
    assert values["Track", "2003", "unit_price"] == ("0.99", "1.29")
    assert values["Customer", "55", "city"] == ("Sidney", "Sydney")


def test_running_it_again_changes_nothing(told: Told) -> None:
    shop, first = told
    before = shop.json("snapshot", "list")
    again = shop.json("demo", "--no-serve")
    assert again["brought_now"] == 0
    assert {k: again[k] for k in ("before", "day", "after", "diff")} == {k: first[k] for k in ("before", "day", "after", "diff")}
    assert shop.json("snapshot", "list") == before


def test_no_read_of_a_raw_table_forgot_final(told: Told) -> None:
    """What reached the server: each read of `raw` has FINAL, by the keyword or the setting, or says that it is of history."""
    shop, _ = told
    for line in ("sync status", "objects Customer", "inspect tracks", "inspect tracks --key 2003", "snapshot take"):
        assert shop.run(*line.split()).returncode == 0
    for words in (["sql", "select count() from raw.tracks"], ["sql", "--raw", "select count() from raw.tracks"]):
        assert shop.run(*words).returncode == 0
    bench = shop.bench()
    bench.lake.command("system flush logs")
    logged = bench.lake.query(
        "select query, Settings['final'] as final, log_comment from system.query_log "
        "where type = 'QueryFinish' and is_initial_query and arrayExists(t -> startsWith(t, 'raw.'), tables) "
        "and query_kind in ('Select', 'Insert', 'Explain')"
    ).to_pylist()
    bench.close()
    reads = [q for q in logged if "select" in q["query"].lower()]
    assert len(reads) > 50
    forgot = [q["query"] for q in reads if not _is_current(q)]
    assert forgot == []


def _is_current(query: dict[str, Any]) -> bool:
    if query["final"] == "1" or query["log_comment"] == "skygraph: history":
        return True
    # dbt's staging views say it themselves: every mention of a raw table in them is followed by FINAL
    import re

    mentions = re.findall(r"`?raw`?\.`?\w+`?(\s+final\b)?", query["query"], re.IGNORECASE)
    return query["query"].lower().lstrip().startswith("/*") and (not mentions or all(m.strip() for m in mentions))


def test_the_same_demo_on_a_server_given_by_its_address(lake_url: str, lake: Any, tmp_path: Path, told: Told) -> None:
    shop = open_shop(tmp_path / "remote", SKYGRAPH_CLICKHOUSE_URL=lake_url)
    report = shop.json("demo", "--no-serve")
    _, local = told
    assert report["lake"]["embedded"] is False
    assert not (shop.folder / ".skygraph/lake").exists()
    assert report["tables"] != [] and report["equal"] is True
    assert {t["table"]: t["source_checksum"] for t in report["tables"]} == {t["table"]: t["source_checksum"] for t in local["tables"]}
    assert report["before"]["headlines"] == local["before"]["headlines"]
    assert report["after"]["id"] == local["after"]["id"]  # the same data, the same snapshot


def test_a_workspace_without_a_sample_says_so_in_one_line(workspace: Path, lake_url: str, tmp_path: Path) -> None:
    shop = Shop(workspace, {**open_shop(tmp_path / "x").environ, "SKYGRAPH_CLICKHOUSE_URL": lake_url})
    done = shop.run("demo", "--no-serve")
    assert done.returncode == 2
    assert "has no sample source" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["workbench"])
def test_the_package_knows_nothing_of_the_sample(name: str) -> None:
    words = ("chinook", "invoice", "playlist", "flight", "nyc")
    inside = [
        (path, word)
        for path in (REPOSITORY / name).rglob("*.py")
        for word in words
        # docstrings and hints may show an example; code must not
        for line in path.read_text(encoding="utf-8").splitlines()
        if word in line.lower() and f'"{word}' in line.lower() and "country" not in line and ">>>" not in line
    ]
    assert inside == []


def test_the_story_holds_when_the_sample_file_was_lost(tmp_path: Path) -> None:
    shop = open_shop(tmp_path / "lost")
    try:
        first = shop.json("demo", "--no-serve")
        (shop.folder / ".skygraph/demo/chinook.sqlite").unlink()
        again = shop.json("demo", "--no-serve")
        assert again["equal"] is True
        assert (again["current_rows"], again["brought_now"]) == (first["current_rows"], 0)
    finally:
        shop.run("down")
