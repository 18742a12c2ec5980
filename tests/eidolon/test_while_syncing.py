"""Snapshots taken while four syncs write: what came from one source at one time never stands half in a snapshot."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from workbench import Workbench
from workbench.eidolon import Eidolon
from workbench.lake import Lake
from workbench.ontology.model import ObjectType, Ontology, Property
from workbench.settings import Settings

TABLES = ("customers", "invoices", "invoice_lines", "payments")
PLAN = "sources: {shop: {connector: sqlite, path: shop.sqlite}}\ntables:\n" + "".join(
    f"  {table}: {{source: shop, from: {table}, key: [id], watermark: at, every: 1 minute, lookback: 1 minute}}\n" for table in TABLES
)


def test_no_line_stands_without_the_invoice_that_it_had(
    lake: Lake, settings: Settings, workspace: Path, until: Callable[..., None]
) -> None:
    """Each sale is a row of all four tables in one transaction, and each table has a sync that never rests.

    A snapshot that has a sale's row of one table has all that the lake had of the others when that row's run began.
    """
    with closing(sqlite3.connect(workspace / "shop.sqlite")) as source:
        source.execute("pragma journal_mode = wal")
        for table in TABLES:
            source.execute(f"create table {table} (id integer primary key, at text not null)")
    (workspace / "sync_jobs/tables.yml").write_text(PLAN, encoding="utf-8")
    types = {t.title().replace("_", ""): t for t in TABLES}
    ontology = Ontology({n: ObjectType(n, "", t, "id", "id", {"id": Property("id", "integer")}) for n, t in types.items()}, {})
    relations = {t: f"(select id from raw.{t} final where _deleted = 0)" for t in TABLES}
    stop, troubles = threading.Event(), list[BaseException]()

    def during(work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as error:
                troubles.append(error)
                stop.set()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    numbers = itertools.count(1)
    writing = sqlite3.connect(workspace / "shop.sqlite", check_same_thread=False, timeout=30)

    def sell() -> None:
        stop.wait(0.01)  # a hundred sales a second; without a rest each sync would read again what it reads for minutes
        n = next(numbers)
        with writing:
            for table in TABLES:
                writing.execute(f"insert into {table} values ({n}, strftime('%Y-%m-%d %H:%M:%f', 'now'))")

    benches = {table: Workbench(settings) for table in TABLES}
    twin = Eidolon(lake, lambda: ontology, lambda: relations, settings.state_dir, quiet=lambda: benches["customers"].hermes.paused())
    threads = [during(sell)]
    try:
        threads += [during(lambda t=table: assert_ok(benches[t], t)) for table in TABLES]  # type: ignore[misc]
        until(lambda: stop.is_set() or all(lake.columns(f"raw.{t}") for t in TABLES))
        until(lambda: stop.is_set() or all(lake.scalar(f"select count() from raw.{t}") for t in TABLES))
        taken = [twin.take() for _ in range(2) if not stop.is_set()]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        writing.close()
        for bench in benches.values():
            bench.close()
    assert not troubles, troubles

    # the rows of each run in the order of the runs: all that was there when one began, and all that is there with the next
    ends = {}
    for table in TABLES:
        runs = lake.rows(
            "select started_at, finished_at, newest from (\n"
            f"select run_id, started_at, finished_at from skygraph.sync_runs where table = '{table}' and status = 'ok'\n"
            f") as r inner join (select _run_id, max(id) as newest from raw.{table} group by _run_id) as i\n"
            "on r.run_id = i._run_id order by started_at"
        )
        ends[table] = ([r["newest"] for r in runs], [r["started_at"] for r in runs], [r["finished_at"] for r in runs])
        assert len(runs) > 5
    assert taken[-1].counts["Invoices"] > taken[0].counts["Invoices"] > 0
    for snapshot in taken:
        held = {types[name]: count for name, count in snapshot.counts.items()}
        for child, parent in itertools.permutations(TABLES, 2):
            rows, starts, _ = ends[child]
            begun = starts[rows.index(held[child])]  # the run that brought the newest row of this table
            then, _, finished = ends[parent]
            had = bisect_right(finished, begun)
            assert had == 0 or held[parent] >= then[had - 1], (snapshot.seq, child, parent)


def assert_ok(bench: Workbench, table: str) -> None:
    report = bench.sync(table)
    assert not report.failed, str(report)
