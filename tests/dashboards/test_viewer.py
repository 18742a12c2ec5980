"""The read-only user of the embedded lake, and a workbench that is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench import Workbench
from workbench.errors import LakeUnavailable, QueryError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.settings import Settings


@pytest.fixture(scope="module")
def viewer(built_shop: Workbench) -> Workbench:
    """The built shop, seen by somebody who may look."""
    return Workbench(Settings.load(built_shop.settings.workspace, environ={}, role="viewer"))


def test_a_viewer_reads_marts_and_history(viewer: Workbench, built_shop: Workbench) -> None:
    count = "select count() as n from marts.fct_invoices"
    assert viewer.lake.rows(count) == built_shop.lake.rows(count)
    assert viewer.lake.rows("select getSetting('final') as f, getSetting('session_timezone') as tz") == [{"f": True, "tz": "UTC"}]
    assert viewer.objects("Customer").where(country="Brazil").count() == 5
    assert [s.label for s in viewer.snapshots().snapshots] == ["opening"]
    assert {t.table: t.last_status for t in viewer.sync_status().tables}["invoices"] == "ok"
    assert viewer.lineage("Invoice").raw[0]["lag_s"] > 0


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("select count() from raw.invoices", 497),
        ("select count() from staging.stg_invoices", 497),
        ("select * from skygraph.quarantine", 497),
        ("select * from system.query_log", 497),
        ("select * from system.users", 497),
        ("select * from system.processes", 497),
        ("select * from file('/etc/passwd', 'LineAsString')", 497),
        ("select * from url('http://127.0.0.1:1/', 'CSV', 'a String')", 497),
        ("select * from remote('127.0.0.1', 'raw', 'invoices')", 497),
        ("select * from python('x')", 446),
        ("create table marts.mine (a Int8) engine = Memory", 497),
        ("insert into marts.fct_invoices values (1)", 497),
        ("select 1 settings max_threads = 64", 164),
        ("select 1 settings format_template_row = '/etc/passwd'", 164),
        ("select number from numbers(100000000) order by rand()", 241),
    ],
)
def test_a_viewer_reads_nothing_else(viewer: Workbench, sql: str, code: int) -> None:
    with pytest.raises(QueryError) as refused:
        viewer.lake.rows(sql)
    assert refused.value.code == code, str(refused.value)[:200]


def test_a_viewer_sees_no_name_of_what_it_may_not_read(viewer: Workbench) -> None:
    seen = {row["database"] for row in viewer.lake.rows("select distinct database from system.columns")}
    assert "marts" in seen
    assert not seen & {"raw", "staging"}
    with pytest.raises(QueryError):  # the owner's password, in the lake's own folder
        viewer.lake.rows("select file('credentials.json') as secret")


def test_a_viewer_writes_nothing(viewer: Workbench) -> None:
    for write in (
        lambda: viewer.lake.command("drop table marts.fct_invoices"),
        lambda: viewer.lake.insert_stream("marts.fct_invoices", iter([b"{}"]), "JSONEachRow"),
        lambda: viewer.snapshot(label="mine"),
    ):
        with pytest.raises(UsageError, match="read-only view"):
            write()


def test_a_viewer_starts_nothing(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path, environ={}, role="viewer")
    with pytest.raises(LakeUnavailable, match="does not run; `skygraph up`"):
        Lake(settings).ping()
    run = tmp_path / ".skygraph/lake/run"  # as a release without viewers left it, while it still runs
    run.mkdir(parents=True)
    (run / "server.json").write_text(json.dumps({"pid": 1, "http": 1, "tcp": 2}))
    with pytest.raises(LakeUnavailable, match="`skygraph restart clickhouse`"):
        Lake(settings).ping()


def test_a_viewer_of_a_server_needs_a_sign_in_that_only_reads(built_shop: Workbench, tmp_path: Path) -> None:
    at = built_shop.lake.address
    owners = f"http://{at.user}:{at.password}@{at.host}:{at.port}"
    with pytest.raises(UsageError, match="needs a sign-in of its own"):
        Lake(Settings.load(tmp_path, environ={}, role="viewer", clickhouse_url=owners)).ping()
    with pytest.raises(UsageError, match="readonly = 1"):
        Lake(Settings.load(tmp_path, environ={}, role="viewer", clickhouse_url=owners, viewer_url=owners)).ping()
    with pytest.raises(UnknownName, match="did you mean viewer"):
        Settings.load(tmp_path, environ={}, role="veiwer")
