"""What is kept: one state of the lake, rules of retention, sizes, files, many snapshots, time, and who changed what."""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.eidolon.conftest import ITEM, Shop, item
from tests.eidolon.test_laws import copy_of
from workbench.eidolon import Behind, Trace
from workbench.eidolon.retention import chosen, parse_keep
from workbench.errors import LakeError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.ontology import Store
from workbench.ontology.model import LinkType, Ontology
from workbench.settings import Settings
from workbench.transforms import Transforms


class ListeningLake(Lake):
    """A lake that remembers the statements that wrote."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.written: list[str] = []

    def _write(self, sql: str, *args: Any, **options: Any) -> Any:
        self.written.append(sql)
        return super()._write(sql, *args, **options)


NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.timezone.utc)


# --- one state of the lake


def test_all_types_are_of_one_moment_while_four_write(shop: Shop) -> None:
    """Each of four writes an item and then its tags, all the time: no pair ever stands without the item that it had."""
    lock, stop, number = threading.Lock(), threading.Event(), iter(range(1, 1_000_000))

    def write() -> None:
        while not stop.is_set():
            with lock:
                n = next(number)
                shop.lake.command(f"insert into shop.items (item_id, note) values ({n}, 'x')")
                shop.lake.command(f"insert into shop.item_tags values ({n}, 'a'), ({n}, 'b')")

    @contextmanager
    def quiet() -> Any:
        with lock:
            yield

    shop.fill("items", [])
    shop.twin.quiet = quiet
    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    try:
        taken = [shop.twin.take() for _ in range(3)]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert taken[-1].counts["Item"] > taken[0].counts["Item"]
    for snapshot in taken:
        assert snapshot.links["tagged"] == 2 * snapshot.counts["Item"]
        store = Store(shop.lake, shop.ontology, shop.twin.relations(), past=shop.twin.past).at_point(snapshot.seq)
        items, pairs = store.relations[f"Item as of #{snapshot.seq}"], store.relations[f"link tagged as of #{snapshot.seq}"]
        assert shop.lake.scalar(f"select count() from {pairs} as p where p.item not in (select item_id from {items} as i)") == 0


def test_a_lake_that_never_rests_is_said_so_and_leaves_nothing(shop: Shop) -> None:
    shop.fill("items", [item(1)])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            shop.lake.command("insert into shop.items (item_id, note) select max(item_id) + 1, '' from shop.items")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        try:
            taken = shop.twin.take()
        except LakeError as error:
            assert "shop.items changed while it was read" in str(error)
            assert not shop.twin.list().snapshots
        else:  # it found the lake at rest for a moment: then all is of that moment
            assert taken.counts["Item"] == shop.twin.measure(taken, "Item")
    finally:
        stop.set()
        writer.join()


def test_a_view_that_changes_while_it_is_read_is_read_again(shop: Shop) -> None:
    shop.lake.command("create view shop.seen as select * from shop.items")
    shop.fill("items", [item(1)])
    relations, writes = shop.twin.relations, iter([2, 3])
    shop.twin.relations = lambda: {**relations(), "items": "`shop`.`seen`"}
    build = shop.twin.trace

    def trace(model: str) -> Trace | None:  # asked while the types are recorded
        if model == "items" and (n := next(writes, None)):
            shop.lake.command(f"insert into shop.items (item_id, note) values ({n}, '')")
        return build(model)

    shop.twin.take()
    shop.lake.command("insert into shop.items (item_id, note) values (9, '')")
    shop.twin.trace = trace
    taken = shop.twin.take()
    assert (taken.seq, taken.counts["Item"], shop.twin.measure("latest", "Item")) == (2, 4, 4)


def test_a_take_waits_while_models_are_built_and_says_who_builds_them(shop: Shop) -> None:
    shop.fill("items", [item(1)])
    answers = iter(["dbt builds the models now", "dbt builds the models now", "", ""])
    shop.twin.building = lambda: next(answers)
    assert shop.twin.take().counts["Item"] == 1
    shop.twin.building = lambda: "dbt builds the models now"
    shop.twin.wait_s = 0
    with pytest.raises(LakeError, match="there is no snapshot: dbt builds the models now"):
        shop.twin.take()


def test_a_type_whose_table_has_not_changed_is_not_read(shop: Shop) -> None:
    shop.fill("items", [item(1, name="Pen")])
    shop.fill("tags", [{"tag": "new", "colour": None}])
    first = shop.twin.take()
    shop.fill("tags", [{"tag": "old", "colour": None}])
    # the same rows in another table that takes the place of the first, as after a dbt run
    shop.lake.command("create table shop.anew as shop.items")
    shop.lake.command("insert into shop.anew select * from shop.items")
    shop.lake.command("exchange tables shop.anew and shop.items")
    shop.twin.lake = heard = ListeningLake(shop.lake.settings)
    second = shop.twin.take()
    heard.close()
    assert not any("insert into `eidolon`.`object_Item`" in sql for sql in heard.written)
    assert any("insert into `eidolon`.`object_Tag`" in sql for sql in heard.written)
    assert (second.counts, second.rows_added) == ({"Item": 1, "Tag": 1}, 2)
    assert second.id != first.id


# --- what is kept


def test_rules_keep_the_last_of_each_period_and_the_newest() -> None:
    rules = parse_keep("all for 1 day, daily for 2 days, monthly for 1 year")
    now = dt.datetime(2026, 3, 10, 12)
    taken = [(n, now - dt.timedelta(hours=6 * (400 - n))) for n in range(401)]
    kept = chosen(rules, taken, now)
    assert [n for n in kept if n >= 396] == [396, 397, 398, 399, 400]
    older = [f"{at:%m-%d %H}" for n, at in taken if n in kept and n < 396]
    assert older == ["11-30 18", "12-31 18", "01-31 18", "02-28 18", "03-07 06", "03-07 18", "03-08 18", "03-09 06"]
    assert chosen(rules, taken, now + dt.timedelta(days=4000)) == [400]
    for wrong in ("", "daily for", "monthly, daily", "all for 3 fortnights", "7 days"):
        with pytest.raises(UsageError):
            parse_keep(wrong)


def test_what_is_kept_reads_as_before_a_prune_and_what_only_others_showed_is_gone(shop: Shop) -> None:
    shop.fill("tags", [{"tag": "new", "colour": "red"}])
    kept = {}
    for i in range(12):
        rows = [item(1, name=f"Pen {i}"), item(2, name=f"Ink {i // 4}"), *([item(3)] if i % 3 == 0 else [])]
        shop.fill("items", rows)
        shop.fill("item_tags", [{"item": 1 + i % 2, "tag": "new"}])
        shop.twin.clock = lambda i=i: NOON + dt.timedelta(hours=6 * i)  # type: ignore[misc]
        shop.twin.take()
        kept[i + 1] = copy_of(shop)
    shop.twin.clock = lambda: NOON + dt.timedelta(days=30)
    plan = shop.twin.prune("daily", plan=True)
    assert (len(plan.removed), plan.kept, len(shop.twin.list().snapshots)) == (8, 4, 12)
    rows = shop.history_rows()
    done = shop.twin.prune("daily")
    left = [s.seq for s in shop.twin.list().snapshots]
    assert (done.removed, left) == (plan.removed, [2, 6, 10, 12])
    assert (done.versions > 0, shop.history_rows()) == (True, rows - done.versions)
    for seq in left:
        assert copy_of(shop, seq) == kept[seq]
    diff = shop.twin.diff(6, 10)
    assert {c.type: c.total for c in diff.counts}["Item"] == 3
    events = {(e.seq, e.type): (e.added, e.removed, e.changed) for e in shop.twin.events().events}
    assert events[10, "Item"] == next((c.added, c.removed, c.changed) for c in diff.counts if c.type == "Item")
    assert [v.seq for v in shop.twin.show("Item", 1).versions] == left
    assert shop.twin.prune("daily").removed == ()
    with pytest.raises(UnknownName):
        shop.twin.find("#3")
    shop.fill("items", [item(1, name="after")])
    assert shop.twin.take().seq == 13


def test_the_size_of_the_history_is_told_by_part(shop: Shop) -> None:
    shop.fill("items", [item(1), item(2)])
    shop.twin.take()
    shop.fill("items", [item(1, name="x")])
    shop.twin.take()
    parts = {p["name"]: p for p in shop.twin.size().to_dict()["parts"]}
    assert (parts["Item"]["objects"], parts["Item"]["versions"]) == (1, 3)
    assert parts["Item"]["bytes"] > 0 and "Item" in str(shop.twin.size())


def test_an_exported_snapshot_comes_back_into_an_empty_lake_as_it_was(shop: Shop, tmp_path: Path) -> None:
    shop.fill("items", [item(1, name="é", title=0.1), item(2, is_new=True, seen_at=NOON)])
    shop.fill("tags", [{"tag": "new", "colour": None}])
    shop.fill("item_tags", [{"item": 1, "tag": "new"}])
    first, kept = shop.twin.take(label="first"), copy_of(shop)
    report = shop.twin.export("first", tmp_path / "out")
    assert {name.split("(")[1].rstrip(")"): n for name, n, _ in report.files} == {"object:Item": 2, "object:Tag": 1, "link:tagged": 1}
    with pytest.raises(UsageError, match="is there already"):
        shop.twin.export("first", tmp_path / "out")
    shop.lake.command("drop database eidolon sync")
    back = shop.twin.import_(tmp_path / "out")
    assert (back.id, back.label, back.taken_at, back.counts) == (first.id, "first", first.taken_at, first.counts)
    assert copy_of(shop, back.seq) == kept
    assert shop.twin.take().rows_added == 0
    (tmp_path / "out" / "000.parquet").write_bytes(b"no")
    with pytest.raises(UsageError, match=r"000.parquet cannot be read"):
        shop.twin.import_(tmp_path / "out")
    with pytest.raises(UsageError, match="is no exported snapshot"):
        shop.twin.import_(tmp_path)
    assert len(shop.twin.list().snapshots) == 2


# --- diffs


def test_links_of_a_join_are_gained_and_lost_with_either_side(shop: Shop) -> None:
    noted = LinkType("noted", "", "Item", "Tag", "many_to_one", {"note": "tag"}, None, "notes_of")
    shop.ontology = Ontology(shop.ontology.object_types, {**shop.ontology.link_types, "noted": noted})
    shop.fill("tags", [{"tag": "a", "colour": None}, {"tag": "b", "colour": None}])
    shop.fill("items", [item(1, note="a"), item(2, note="b"), item(3, note="c"), item(4, note="a")])
    shop.twin.take()
    shop.fill("tags", [{"tag": "a", "colour": "red"}, {"tag": "c", "colour": None}])  # b goes, c comes, a changes in nothing that joins
    rows = [item(1, note="a", name="new"), item(2, note="b"), item(3, note="c"), item(4, note="c"), item(5, note="a")]
    shop.fill("items", rows)
    shop.twin.take()
    found = {k.link: (k.gained, k.lost) for k in shop.twin.diff(1, 2).links}
    assert found == {"noted": (3, 2), "tagged": (0, 0)}  # 3-c, 4-c, 5-a; 2-b, 4-a
    assert {k.link: (k.gained, k.lost) for k in shop.twin.diff(2, 1).links}["noted"] == (2, 3)
    assert "noted  Item  Tag       3     2" in str(shop.twin.diff(1, 2))


def test_a_diff_is_narrowed_grouped_and_written_to_files(shop: Shop, tmp_path: Path) -> None:
    shop.fill("items", [item(n, name="a", note="x") for n in range(1, 6)])
    shop.twin.take()
    shop.fill("items", [item(1, name="b", note="x"), item(2, name="b", note="y"), item(3, name="a", note="x"), item(9)])
    shop.twin.take()
    diff = shop.twin.diff(1, 2)
    assert [(c.type, c.property, c.count) for c in diff.cells] == [("Item", "name", 2), ("Item", "note", 1)]
    assert [c.key for c in shop.twin.diff(1, 2, properties=["note"], kinds=["changed"]).changes] == ["2"]
    assert shop.twin.diff(1, 2, kinds=["added"]).total == 1
    with pytest.raises(UnknownName, match="did you mean added"):
        shop.twin.diff(1, 2, kinds=["aded"])
    assert shop.twin.export_diff(1, 2, path=tmp_path / "d.csv") > 0
    lines = (tmp_path / "d.csv").read_text().splitlines()
    assert lines[0] == '"type","link","change","key","title","property","old","new","run_ids","true_at"'
    assert len([line for line in lines if '"changed"' in line]) == 3
    shop.twin.export_diff(1, 2, path=tmp_path / "d.parquet", kinds=["added"])
    assert (tmp_path / "d.parquet").read_bytes()[:4] == b"PAR1"
    with pytest.raises(UnknownName, match="format"):
        shop.twin.export_diff(1, 2, path=tmp_path / "d.xls")


def test_a_change_names_the_run_that_brought_its_row_and_when_it_became_true(shop: Shop) -> None:
    shop.lake.create_database("raw")
    shop.lake.command("create table raw.items (id Int64, seen DateTime, _version UInt64, _deleted UInt8, _synced_at DateTime64(3, 'UTC'), "
                      "_run_id String) engine = ReplacingMergeTree(_version, _deleted) order by id")  # fmt: skip
    shop.twin.trace = lambda model: Trace("raw.items", "id", "seen") if model == "items" else None
    shop.twin.runs = lambda model, since, until: [Behind("run-2", "raw.items", until, 2, 1)] if model == "items" else []
    shop.fill("items", [item(1, name="a"), item(2), item(3)])
    shop.twin.take()
    shop.lake.command(
        "insert into raw.items values (1, '2026-11-20 10:00:00', 2, 0, now64(3), 'run-2'), "
        "(2, '2026-11-20 11:00:00', 3, 1, now64(3), 'run-2')"
    )
    shop.fill("items", [item(1, name="b"), item(3, note="by another table")])
    shop.twin.take()
    diff = shop.twin.diff(1, 2)
    assert {c.key: (c.kind, c.runs, str(c.true_at)[:19]) for c in diff.changes} == {
        "1": ("changed", ("run-2",), "2026-11-20 10:00:00"),
        "2": ("removed", ("run-2",), "2026-11-20 11:00:00"),
        "3": ("changed", (), "None"),
    }
    assert [(b.run_id, b.type, b.objects) for b in diff.behind] == [("run-2", "Item", 2)]
    assert [v.runs for v in shop.twin.show("Item", 2).versions] == [(), ("run-2",)]
    assert json.loads(json.dumps(diff.to_dict(), default=str))["behind"][0]["objects"] == 2


# --- many of them


def test_ten_thousand_snapshots_are_found_listed_and_compared_at_once(shop: Shop) -> None:
    shop.fill("items", [item(1, name="a")])
    shop.twin.clock = lambda: NOON
    first = shop.twin.take()
    shop.lake.command(
        "insert into eidolon.snapshots "
        "select * except number replace(seq + number as seq, taken_at + toIntervalMinute(number) as taken_at) "
        "from eidolon.snapshots array join range(1, 10000) as number"
    )
    shop.fill("items", [item(1, name="b")])
    shop.twin.clock = lambda: NOON + dt.timedelta(days=7)
    assert shop.twin.take().seq == 10_001
    started = dt.datetime.now()
    assert shop.twin.find("yesterday 12:00").seq == 1 + 6 * 1440
    assert (shop.twin.find("#5000").seq, shop.twin.find(first.id[:8]).seq) == (5000, 10_000)
    listed = shop.twin.list(50)
    assert (len(listed.snapshots), listed.total) == (50, 10_001)
    assert shop.twin.diff(1, "latest").total == 1
    events = shop.twin.events(bins=7)
    assert (events.snapshots, sum(e.total for e in events.events if e.type == "Item")) == (10_001, 10_001)
    assert len(events.events) == 7
    assert (dt.datetime.now() - started).total_seconds() < 30  # on a busy machine; a tenth of a second each otherwise


def test_a_key_that_comes_back_is_another_version_and_no_change_across_the_gap(shop: Shop) -> None:
    for rows in ([item(1, name="a")], [], [item(1, name="a")]):
        shop.fill("items", rows)
        shop.twin.take()
    assert [c.kind for c in shop.twin.diff(1, 2).changes] == ["removed"]
    assert shop.twin.diff(1, 3).total == 0
    assert [c.kind for c in shop.twin.diff(2, 3).changes] == ["added"]
    shop.ontology = Ontology({"Item": replace(ITEM, aliases=("Thing",))})
    assert shop.twin.show("Thing", 1).versions[-1].kind == "added"


def test_who_builds_models_is_seen_from_another_process_and_from_a_plain_terminal(shop: Shop, tmp_path: Path) -> None:
    project = tmp_path / "dbt"
    (project / "models/marts").mkdir(parents=True)
    (project / "models/marts/items.sql").write_text("select 1")
    here, there = (Transforms(shop.lake, project, tmp_path / "log") for _ in range(2))
    assert there.building() == ""
    with here._running("build"):
        assert there.building() == "dbt builds the models now"
    with here._running("ls"):
        assert there.building() == ""
    # a plain dbt has made a model and not written its results yet
    shop.lake.create_database("marts")
    shop.lake.command("create table marts.items (id Int64) engine = MergeTree order by id")
    results = project / "target/run_results.json"
    results.parent.mkdir()
    results.write_text("{}")
    os.utime(results, (0, 0))
    assert there.building() == "dbt has just made marts.items and not ended yet"
    os.utime(results)
    assert there.building() == ""
