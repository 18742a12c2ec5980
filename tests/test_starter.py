"""A new workspace is right as it is, and nothing is overwritten."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from workbench import Workbench
from workbench.cli import run
from workbench.errors import UnknownName, UsageError
from workbench.hermes import load_plan
from workbench.settings import Settings
from workbench.starter import example_names, make_workspace

REPOSITORY = Path(__file__).resolve().parents[1]
STARTER = REPOSITORY / "workbench/starter/workspace"
FOLDERS = ["dbt", "notebooks", "ontology", "sync_jobs"]


def test_a_new_workspace_is_right(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "deep/my wörkspace"
    assert run(["init", str(folder)]) == 0
    assert sorted(p.name for p in folder.iterdir()) == FOLDERS
    capfd.readouterr()
    assert run(["ontology", "check", "--json", "--workspace", str(folder)]) == 0
    assert json.loads(capfd.readouterr().out)["ok"]
    assert run(["ontology", "list", "--workspace", str(folder)]) == 0
    assert not (folder / ".skygraph/lake").exists(), "a check of no type needs no lake"


def test_in_a_new_workspace_dbt_runs_after_sync(tmp_path: Path) -> None:
    folder = make_workspace(tmp_path / "new")
    plan = folder / "sync_jobs/tables.yml"
    assert load_plan(folder).jobs["transform"].after == ("tables",)
    plan.write_text(plan.read_text(encoding="utf-8").replace("#  nightly_snapshot", "  nightly_snapshot"), encoding="utf-8")
    jobs = Workbench(Settings.load(folder, environ={})).jobs()
    assert {job.name: job.when for job in jobs.jobs} == {"transform": "after tables", "nightly_snapshot": "at 02:00"}
    assert not jobs.scheduler["problems"]


@pytest.mark.usefixtures("lake")
def test_a_new_workspace_works_with_nothing_in_it(tmp_path: Path, lake_url: str) -> None:
    bench = Workbench(Settings.load(make_workspace(tmp_path / "new"), environ={}, clickhouse_url=lake_url))
    assert not bench.sync().failed
    assert not bench.dbt("build").failed
    assert not bench.ontology_check().failed
    assert not bench.health().failed
    bench.close()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "dbt").mkdir()
    (tmp_path / "dbt/mine.sql").write_text("select 1", encoding="utf-8")
    with pytest.raises(UsageError, match="has a dbt/ already"):
        make_workspace(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["dbt"]
    assert [p.name for p in (tmp_path / "dbt").iterdir()] == ["mine.sql"]


def test_a_folder_with_other_things_in_it_is_fine(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    make_workspace(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "sync_jobs/tables.yml").is_file()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be made a workspace"):
        make_workspace(tmp_path / "file/new")


def test_examples_are_named() -> None:
    assert {"chinook", "flights"} <= set(example_names())


@pytest.mark.parametrize("name", example_names())
def test_an_example_is_a_workspace(name: str, tmp_path: Path) -> None:
    folder = make_workspace(tmp_path / name, name)
    assert sorted(p.name for p in folder.iterdir()) == FOLDERS
    assert not [p for p in folder.rglob("*") if p.name in ("target", "logs", ".ipynb_checkpoints", "__pycache__")]
    pages = {p.name for p in (folder / "notebooks/dashboards").glob("*.ipynb")}
    assert pages >= {"overview.ipynb", "explorer.ipynb", "twin.ipynb"}
    bench = Workbench(Settings.load(folder, environ={}))
    assert bench.hermes.plan.tables
    assert bench.ontology.object_types


def test_an_unknown_example_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean chinook"):
        make_workspace(tmp_path / "new", "chinok")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("project", [REPOSITORY / "dbt", REPOSITORY / "examples/flights/dbt"], ids=["chinook", "flights"])
def test_macros_and_profile_are_the_same_everywhere(project: Path) -> None:
    shared = ["profiles.yml", *(str(p.relative_to(STARTER / "dbt")) for p in (STARTER / "dbt/macros").iterdir())]
    differ = [name for name in shared if (project / name).read_bytes() != (STARTER / "dbt" / name).read_bytes()]
    assert not differ
    assert len(shared) > 2


def test_dashboards_of_any_workspace_are_the_same_everywhere() -> None:
    mine = {path.name: path.read_bytes() for path in (STARTER / "notebooks/dashboards").glob("*.ipynb")}
    assert set(mine) == {"overview.ipynb", "explorer.ipynb", "twin.ipynb"}
    assert {name: (REPOSITORY / "notebooks/dashboards" / name).read_bytes() for name in mine} == mine


def test_every_file_of_a_new_workspace_comes_with_the_package() -> None:
    """pyproject's patterns reach every file, those with a dot too."""
    import tomllib

    patterns = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    packed = {p for pattern in patterns["workbench.starter"] for p in STARTER.parent.glob(pattern) if p.is_file()}
    there = {Path(root) / name for root, _, names in os.walk(STARTER) for name in names}
    assert there <= packed
