"""Health says ok of nothing that it did not see working, and the canary proves the whole way by one row."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import copy_workspace, free_port
from workbench import Workbench
from workbench.errors import LakeUnavailable, UsageError
from workbench.health import HealthReport, Watch
from workbench.health.canary import canary_job
from workbench.hermes import SyncPlan
from workbench.lake import as_it_runs
from workbench.presence import read_facts
from workbench.scheduling import read_parameters
from workbench.scheduling.plan import Plan, find_notebook
from workbench.settings import Settings


def status_of(bench: Workbench, part: str) -> tuple[str, str]:
    """Status and detail of a part, looked at now."""
    (found,) = [p for p in bench.health().parts if p["part"] == part]
    return found["status"], found["detail"]


@pytest.fixture
def shop(built_shop: Workbench, tmp_path: Path) -> Iterator[Workbench]:
    """A workspace of one's own on the shop's lake, with what dbt knows of it and a copy of the source."""
    folder = copy_workspace(tmp_path / "shop é")
    origin = built_shop.settings.workspace
    shutil.copytree(origin / "dbt/target", folder / "dbt/target")
    shutil.copytree(origin / ".skygraph/demo", folder / ".skygraph/demo")
    at = built_shop.lake.address
    url = f"http://{at.user}:{quote(at.password)}@{at.host}:{at.port}"
    bench = Workbench(Settings.load(folder, environ={}, clickhouse_url=url, api_port=free_port()))
    yield bench
    bench.close()


def test_what_was_seen_is_ok_and_what_was_never_seen_is_unknown(shop: Workbench) -> None:
    report = shop.health()
    assert not report.failed
    found = {p["part"]: p["status"] for p in report.parts}
    assert [found[p] for p in ("clickhouse", "ontology", "source shop", "dbt", "snapshots", "disk")] == ["ok"] * 6
    assert [found[p] for p in ("backup", "skygraph-api", "skygraph-sync", "lab")] == ["unknown"] * 4
    assert report.status != "ok"
    assert all(p["ok"] == (p["status"] == "ok") and p["checked_at"].tzinfo for p in report.parts)


def test_a_look_starts_no_lake_even_when_one_goes_away_under_it(workspace: Path) -> None:
    bench = Workbench(Settings.load(workspace, environ={}, lake_http_port=free_port(), lake_tcp_port=free_port()))
    assert status_of(bench, "clickhouse") == ("down", "the embedded lake does not run; `skygraph up` starts it")
    with as_it_runs(), pytest.raises(LakeUnavailable, match="does not run"):
        bench.lake.ping()  # as a check does that has seen it running a moment before
    assert bench.lake.embedded is not None
    assert bench.lake.embedded.keeper_pid() is None


def test_a_table_behind_its_interval_is_late_and_one_never_synced_is_unknown(shop: Workbench) -> None:
    path = shop.settings.workspace / "sync_jobs/tables.yml"
    text = path.read_text("utf-8").replace("every: 5 minutes", "every: 1 second")
    text = text.replace("tables:\n", "tables:\n  genres_again: {source: shop, from: genre, key: [id]}\n", 1)
    path.write_text(text, encoding="utf-8")
    status, detail = status_of(shop, "table invoices")
    assert (status, detail) == ("late", "is synced every 1 s: `skygraph sync invoices`")
    assert status_of(shop, "table genres_again")[0] == "unknown"
    assert status_of(shop, "sync")[0] == "late"
    assert status_of(shop, "table genres")[0] in ("ok", "late")


def test_a_source_that_is_gone_is_down_and_says_so(shop: Workbench) -> None:
    source = shop.settings.workspace / ".skygraph/demo/chinook.sqlite"
    source.write_bytes(b"not a database at all" * 100)
    status, detail = status_of(shop, "source shop")
    assert status == "down"
    assert "chinook.sqlite" in detail
    assert shop.health().failed


def test_the_last_dbt_run_is_kept_wherever_it_ran_and_a_failed_one_is_down(shop: Workbench) -> None:
    broken = shop.settings.workspace / "dbt/models/staging/stg_broken.sql"
    broken.write_text("select no_such_column from system.one", encoding="utf-8")
    assert shop.dbt("run", "--select", "stg_broken").failed
    last = shop.transforms.last_runs()[0]
    assert (last.success, last.failed, last.counts, last.is_outside) == (False, ("stg_broken",), {"model error": 1}, False)
    status, detail = status_of(shop, "dbt")
    assert status == "down"
    assert "failed: stg_broken" in detail

    # a plain terminal tells us nothing but what dbt writes
    broken.write_text("select 1 as one", encoding="utf-8")
    from workbench.transforms import environment

    words = [str(Path(sys.executable).with_name("dbt")), "run", "--select", "stg_genres", "--profiles-dir", "."]
    done = subprocess.run(
        words, cwd=shop.settings.workspace / "dbt", env={**os.environ, **environment(shop.lake.address)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    last = shop.transforms.last_runs()[0]
    assert (last.is_outside, last.success, last.verb) == (True, True, "run")
    assert status_of(shop, "dbt")[0] != "down"
    assert shop.dbt("run", "--select", "stg_genres").success  # the lake is everybody's: what it tells last is well again
    assert [run.success for run in shop.transforms.last_runs()[:2]] == [True, False]


def test_the_canary_goes_all_the_way_and_is_seen_nowhere_else(shop: Workbench, until: Callable[..., None]) -> None:
    before = _lists(shop)
    short = shop.canary()
    assert (short.status, list(short.hops)) == ("short", ["source", "sync", "dbt", "ontology"])
    assert status_of(shop, "canary")[0] == "unknown"  # nobody saw the API

    environ = shop.settings.environment()
    words = [sys.executable, "-P", "-m", "workbench.api"]
    api = subprocess.Popen(words, env=environ, cwd=shop.settings.workspace, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    folder = shop.settings.state_dir / "api"
    try:
        until(lambda: read_facts(folder) or api.poll() is not None)
        flight = shop.canary()
        assert (flight.status, list(flight.hops)) == ("ok", ["source", "sync", "dbt", "ontology", "api"]), flight.error
        assert flight.run_id != short.run_id
        assert all(seconds > 0 for seconds in flight.hops.values())
        status, detail = status_of(shop, "canary")
        assert status == "ok"
        assert f"slowest hop {flight.slowest}" in detail
        assert status_of(shop, "skygraph-api")[0] == "ok"
        api.send_signal(signal.SIGKILL)  # it leaves its address behind: nobody stopped it
        api.wait()
        assert status_of(shop, "skygraph-api")[0] == "down"
    finally:
        api.kill()
        api.wait()

    # a row that is lost is said, with the hop
    source = shop.settings.state_dir / "canary/workspace/source.sqlite"
    source.unlink()
    source.mkdir()
    lost = shop.canary()
    assert (lost.failed_hop, lost.failed) == ("source", True)
    assert status_of(shop, "canary")[0] == "down"
    source.rmdir()
    assert shop.canary().status == "short"
    assert status_of(shop, "canary")[0] == "unknown"
    assert _lists(shop) == before


def _lists(bench: Workbench) -> dict[str, Any]:
    """What a user's lists name."""
    return {
        "catalog": sorted(e.name for e in bench.catalog().entries),
        "sync": sorted(t.table for t in bench.sync_status().tables),
        "types": sorted(bench.ontology.object_types),
        "models": sorted(bench.transforms.models()),
        "dbt runs": len(bench.transforms.last_runs(limit=100)),
        "files": sorted(str(p) for p in bench.settings.workspace.rglob("*") if ".skygraph" not in p.parts and "target" not in p.parts),
    }


def test_the_scheduler_gets_the_canary_unless_that_is_turned_off(workspace: Path) -> None:
    job = canary_job(Settings.load(workspace, environ={}, canary="10 minutes"))
    assert job is not None
    plan = Plan.of(SyncPlan({}, {}, {}), [job])
    assert [(name, j.when) for name, j in plan.jobs.items()] == [("skygraph_canary", "every 10 minutes")]
    found = find_notebook(workspace, job.notebook)
    assert found is not None
    assert list(read_parameters(found)) == ["notify"]
    assert canary_job(Settings.load(workspace, environ={}, canary="off")) is None
    with pytest.raises(UsageError, match="SKYGRAPH_CANARY"):
        canary_job(Settings.load(workspace, environ={}, canary="often"))


# --- the last look, kept


def test_whoever_asks_is_answered_at_once_though_a_look_hangs(monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]) -> None:
    monkeypatch.setattr("workbench.health.watch._HUNG_S", 0.6)
    monkeypatch.setattr("workbench.health.watch._FRESH_S", 0.0)
    hold, looks = threading.Event(), []

    def look() -> HealthReport:
        looks.append(1)
        if len(looks) > 1:
            hold.wait(30)
        return HealthReport(({"part": "lake", "ok": True, "status": "ok", "detail": "", "age_s": None, "checked_at": None},))

    watch = Watch(look)
    assert watch.report()[0].status == "ok"
    until(lambda: watch.report() and len(looks) > 1)  # the second one hangs
    started = time.monotonic()
    report, age_s = watch.report()
    assert time.monotonic() - started < 0.3
    assert report.status == "ok"
    assert age_s > 0  # and says how old it is
    until(lambda: watch.report()[0].failed)  # until nobody can say any more
    assert "the checks hang" in watch.report()[0].parts[0]["detail"]
    hold.set()
    until(lambda: watch.report()[0].status == "ok")
    watch.close()
