"""kill -9 of the lake in the middle of a sync: the next command brings it back, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.journey.conftest import Shop, open_shop


@pytest.fixture
def big_shop(tmp_path: Path) -> Shop:
    """A workspace with a source large enough that a kill lands inside a sync."""
    shop = open_shop(tmp_path / "big")
    for name in ("sync_jobs", "dbt", "ontology"):
        for path in sorted((shop.folder / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    (shop.folder / "data").mkdir()
    source = sqlite3.connect(shop.folder / "data/big.sqlite")
    for table in ("a", "b", "c"):
        source.execute(f"create table {table} (id integer primary key, body text, updated_at datetime)")
        source.execute(
            f"insert into {table} with recursive n(i) as (select 1 union all select i + 1 from n where i < 400000) "
            "select i, hex(randomblob(20)), datetime('2020-01-01', '+' || i || ' seconds') from n"
        )
    source.commit()
    source.close()
    tables = "".join(f"  {t}: {{source: s, key: [id], watermark: updated_at}}\n" for t in ("a", "b", "c"))
    text = f"sources:\n  s: {{connector: sqlite, path: data/big.sqlite}}\ntables:\n{tables}"
    (shop.folder / "sync_jobs/tables.yml").write_text(text, encoding="utf-8")
    return shop


def test_kill_of_the_lake_during_a_sync_loses_nothing_and_a_rerun_converges(big_shop: Shop) -> None:
    bench = big_shop.bench()
    assert bench.lake.embedded is not None
    try:
        bench.lake.ping()
        seen: list[int] = []
        for _ in range(2):
            engine = bench.lake.embedded.address()
            assert engine is not None
            running = big_shop.start("sync")
            deadline = time.monotonic() + 60
            while not _rows(big_shop) and running.poll() is None and time.monotonic() < deadline:
                pass  # until the first rows are acknowledged
            seen.append(_rows(big_shop))
            os.kill(engine.pid, signal.SIGKILL)
            running.communicate(timeout=120)
            after = _rows(big_shop)  # a read like any other brings the lake back
            assert after >= seen[-1], "acknowledged rows are gone"
        again = big_shop.run("sync")
        assert again.returncode == 0, again.stderr
        compared = big_shop.json("sync", "compare")
        assert [(t["equal"], t["current_rows"]) for t in compared] == [(True, 400_000)] * 3
        assert any(seen), "no kill landed inside a sync"
    finally:
        bench.close()
        bench.lake.embedded.stop()


def _rows(shop: Shop) -> int:
    """Physical rows in the raw tables now; 0 while the lake is away."""
    bench = shop.bench()
    try:
        found = bench.lake.query("select sum(total_rows) from system.tables where database = 'raw'")
        return int(found.column(0)[0].as_py() or 0)
    finally:
        bench.close()
