"""Backups: whole or not there, restored aside and proved before the swap; and the move of a whole lake to another server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import free_port
from workbench import Workbench
from workbench.errors import LakeError, SkyGraphError, UsageError
from workbench.lake import Lake
from workbench.lake.backup import BackupReport, move, read_tables
from workbench.settings import Settings

# a backup that halts while the engine writes it
_HALTING = """
import signal, sys
from workbench import Workbench
from workbench.settings import Settings

def progress(message, done, total):
    if message.startswith("writing"):
        print("writing", flush=True)
        signal.pause()

Workbench(Settings.load(), progress=progress).backup(sys.argv[1])
"""

DATABASES = ["raw", "staging", "marts", "eidolon"]


@pytest.fixture(scope="module")
def made(built_shop: Workbench, tmp_path_factory: pytest.TempPathFactory) -> BackupReport:
    """A backup of the shop, outside its workspace."""
    return built_shop.backup(tmp_path_factory.mktemp("backups é"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Workbench]:
    """An empty folder with a lake of its own."""
    folder = tmp_path / "new place é"
    folder.mkdir()
    bench = Workbench(Settings.load(folder, environ={}, lake_http_port=free_port(), lake_tcp_port=free_port()))
    yield bench
    bench.close()
    assert bench.lake.embedded is not None
    bench.lake.embedded.stop()


def contents(bench: Workbench) -> dict[str, tuple[int, str]]:
    """Current rows and checksum of every table, and that every view is there."""
    return {t.table: (t.rows, t.checksum) for t in read_tables(bench.lake, DATABASES, lambda *_: None)}


def test_a_backup_comes_back_in_an_empty_folder_row_for_row(
    made: BackupReport, built_shop: Workbench, elsewhere: Workbench, tmp_path: Path
) -> None:
    before = contents(built_shop)
    assert made.manifest.rows > 15_000
    assert all(t.checksum for t in made.manifest.tables if not t.is_view)
    report = elsewhere.restore(made.manifest.folder)
    assert contents(elsewhere) == before
    assert "dbt/dbt_project.yml" in report.files
    assert elsewhere.object("Customer", 1).to_dict() == built_shop.object("Customer", 1).to_dict()
    assert [s.label for s in elsewhere.snapshots().snapshots] == ["opening"]
    assert not elsewhere.sync("genres").runs[0].inserted  # the watermark is as old as its rows, so that nothing is brought twice
    assert not list((elsewhere.settings.state_dir / "backups").iterdir())  # what was linked for the engine is gone

    # what is there is not overwritten by the way, and a damaged backup changes nothing
    with pytest.raises(UsageError, match="raw, staging, marts, eidolon, skygraph have tables already; say --replace"):
        elsewhere.restore(made.manifest.folder)
    elsewhere.lake.command("alter table marts.dim_genres delete where true settings mutations_sync = 1")
    changed = contents(elsewhere)
    damaged = Path(elsewhere.backup(tmp_path / "b").manifest.folder)
    told = json.loads((damaged / "manifest.json").read_text("utf-8"))
    told["tables"][0]["checksum"] = "1"
    (damaged / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(LakeError, match=f"{told['tables'][0]['table']} came back with .* nothing was changed"):
        elsewhere.restore(str(damaged), replace=True)
    assert contents(elsewhere) == changed
    assert not [row for row in elsewhere.lake.rows("show databases") if "__" in row["name"]]

    # a restore that was killed: in the middle of its swap all comes back as it was, after it nothing that was before does
    elsewhere.lake.command("rename database raw to raw__before_restore")
    elsewhere.lake.command("rename database marts to marts__before_restore")
    elsewhere.lake.create_database("raw")  # stands for the one that was swapped in already
    with pytest.raises(UsageError, match="tables already"):
        elsewhere.restore(made.manifest.folder)
    assert contents(elsewhere) == changed
    for name in ("marts__before_restore", "skygraph__swapped"):
        elsewhere.lake.create_database(name)
    report = elsewhere.restore(made.manifest.folder, replace=True)
    assert report.notes == ("an earlier restore was cut short; its databases were put in order first",)
    assert contents(elsewhere) == before
    assert not [row for row in elsewhere.lake.rows("show databases") if "__" in row["name"]]


def test_a_backup_that_is_killed_leaves_the_good_ones_good(made: BackupReport, built_shop: Workbench, tmp_path: Path) -> None:
    first = built_shop.backup(tmp_path)
    home = built_shop.settings.state_dir / "backups"
    environ = {**os.environ, **built_shop.settings.environment()}
    words = [sys.executable, "-c", _HALTING, str(tmp_path)]
    killed = subprocess.Popen(words, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "writing\n"
    assert list(home.glob(f".partial-*-{killed.pid}"))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert [m.name for m in built_shop.backups.all(tmp_path).backups] == [first.manifest.name]
    assert built_shop.backups.find(str(tmp_path)).tables == first.manifest.tables

    second = built_shop.backup(tmp_path, keep=1)  # deletes the older, and what the killed one left
    assert second.deleted == (first.manifest.name,)
    assert [p.name for p in tmp_path.iterdir()] == [second.manifest.name]
    assert not list(home.glob(".partial-*"))


def test_files_of_a_backup_that_were_changed_are_refused(made: BackupReport, built_shop: Workbench, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", made.manifest.folder, str(copy)], check=True)
    (copy / "workspace.tar.gz").write_bytes(b"x")
    with pytest.raises(SkyGraphError, match="is not what the manifest says"):
        built_shop.restore(str(copy), replace=True)
    (copy / "manifest.json").unlink()
    with pytest.raises(UsageError, match="unknown backup"):
        built_shop.restore(str(copy), replace=True)


def test_a_server_without_a_disk_for_backups_is_told_what_to_set(settings: Settings, lake: Lake) -> None:
    with pytest.raises(UsageError, match="no disk of it is named for backups.*SKYGRAPH_BACKUP_DISK"):
        Workbench(settings).backup()


def test_a_lake_moves_to_a_server_and_every_table_is_equal(built_shop: Workbench, lake: Lake, lake_url: str) -> None:
    lake.create_database("raw")
    lake.command("create table raw._moving_genres (x Int8) engine = MergeTree order by x")  # of a move that was killed
    moved = built_shop.move(lake_url)
    there = Workbench(Settings.load(built_shop.settings.workspace, environ={}, clickhouse_url=lake_url))
    assert contents(there) == contents(built_shop)
    assert there.object("Customer", 1).to_dict() == built_shop.object("Customer", 1).to_dict()
    assert not moved.there_already
    assert "raw._moving_genres" not in {f"raw.{t}" for t in lake.tables("raw")}

    # asked for again it finds all there; other rows are not overwritten by the way
    views = sum(t.is_view for t in moved.tables)
    assert len(built_shop.move(lake_url).there_already) == len(moved.tables) - views
    lake.command("alter table marts.dim_genres delete where true settings mutations_sync = 1")
    with pytest.raises(UsageError, match="the server has marts.dim_genres already, with other rows; say --replace"):
        built_shop.move(lake_url)
    built_shop.move(lake_url, replace=True)
    assert contents(there) == contents(built_shop)

    password = str(urlsplit(lake_url).password)
    for one in (lake, built_shop.lake):
        one.command("system flush logs")
        assert one.scalar("select count() from system.query_log where position(query, {p:String}) > 0", {"p": password}) == 0
    there.close()


def test_a_move_takes_the_versions_that_are_not_current_too(elsewhere: Workbench, lake: Lake) -> None:
    elsewhere.lake.create_database("raw")
    elsewhere.lake.command("create table raw.pairs (id Int64, _version UInt64) engine = ReplacingMergeTree(_version) order by id")
    elsewhere.lake.command("system stop merges raw.pairs")
    for version in (1, 2):
        elsewhere.lake.command("insert into raw.pairs select number, {v:UInt64} from numbers(10)", {"v": version})
    lake.command("system stop merges")
    try:
        (copy,) = move(elsewhere.lake, lake, ["raw"]).tables
        assert lake.query_history("select count() from raw.pairs").column(0)[0].as_py() == 20
    finally:
        lake.command("system start merges")
    assert (copy.rows, lake.scalar("select count() from raw.pairs")) == (10, 10)
    assert elsewhere.lake.query_history("select count() from raw.pairs").column(0)[0].as_py() == 20
