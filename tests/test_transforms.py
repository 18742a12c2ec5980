"""dbt in this process: runs, tests and builds with their events, failing rows, and mistakes of a project."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import LakeUnavailable, TransformError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.settings import Settings
from workbench.starter import make_workspace
from workbench.transforms import Transforms, environment

FILES = {
    "models/staging/stg_things.sql": "select toInt32(number) as thing_id, concat('thing ', toString(number)) as name from numbers(5)",
    "models/marts/dim_things.sql": "select thing_id, name from {{ ref('stg_things') }}",
    "models/marts/dim_things.yml": """\
version: 2
models:
  - name: dim_things
    description: Things,
      each once.
    columns:
      - name: thing_id
        data_tests: [not_null, unique]
""",
    "tests/assert_names_are_short.sql": "select thing_id, name from {{ ref('dim_things') }} where length(name) > 10",
}
MODELS = {"stg_things", "dim_things"}
TESTS = {"not_null_dim_things_thing_id", "unique_dim_things_thing_id", "assert_names_are_short"}


@pytest.fixture
def project(lake: Lake, tmp_path: Path) -> Transforms:
    """A small project of a new workspace: a view, a table, three tests."""
    folder = make_workspace(tmp_path / "small wörkspace")
    for name, text in FILES.items():
        _write(folder / "dbt" / name, text)
    return Transforms(lake, folder / "dbt", tmp_path / "log")


def _write(path: Path, text: str) -> None:
    """Write a file; a second write is never in the same tick of the clock."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if path.stat().st_mtime_ns <= before:
        os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


def _break(project: Transforms) -> None:
    """One thing twice, with a long name."""
    path = "models/staging/stg_things.sql"
    _write(project.project / path, FILES[path] + " union all select 3, 'a very long name'")


def test_a_run_builds_every_model(project: Transforms, lake: Lake) -> None:
    report = project.run(["run"])
    assert report.success
    assert report.counts() == {"model success": 2}
    assert [n.name for n in report.nodes] == ["stg_things", "dim_things"]
    assert lake.query("select count() from marts.dim_things").column(0).to_pylist() == [5]
    assert project.relations() == {"stg_things": "`staging`.`stg_things`", "dim_things": "`marts`.`dim_things`"}


def test_a_model_that_forgets_the_macro_is_built_from_current_rows_all_the_same(project: Transforms, lake: Lake) -> None:
    lake.create_database("raw")
    lake.command("create table raw.things (id Int32, state String, _version UInt64) engine = ReplacingMergeTree(_version) order by id")
    lake.command("system stop merges raw.things")
    for version, state in enumerate(("old", "new")):
        lake.command(f"insert into raw.things values (1, '{state}', {version}), (2, '{state}', {version})")
    _write(project.project / "models/marts/careless.sql", "select id, state from raw.things where state = 'old' or id = 2")
    _write(project.project / "tests/no_old.sql", "select * from raw.things where state = 'old'")
    assert project.run(["build", "--select", "careless", "no_old"]).success
    assert lake.query_history("select id, state from marts.careless").to_pylist() == [{"id": 2, "state": "new"}]


def test_a_database_that_was_dropped_is_made_again(project: Transforms, lake: Lake) -> None:
    assert project.run(["run"]).success
    for database in ("marts", "staging"):
        lake.command(f"drop database {database} sync")
    assert project.run(["run"]).success


def test_a_run_of_one_model_touches_no_other(project: Transforms) -> None:
    report = project.run(["run", "--select", "staging.stg_things"])
    assert [n.name for n in report.nodes] == ["stg_things"]
    assert list(project.relations()) == ["stg_things"]


def test_a_build_runs_and_tests(project: Transforms) -> None:
    report = project.run(["build"])
    assert report.success
    assert report.counts() == {"model success": 2, "test pass": 3}
    assert all(n.seconds is not None and n.seconds >= 0 for n in report.nodes)
    assert project.built_at() is not None


def test_every_node_is_heard_to_start_and_to_end(project: Transforms) -> None:
    heard: list[Mapping[str, Any]] = []
    project.run(["build"], listen=heard.append)
    for name in MODELS | TESTS:
        own = [event["status"] for event in heard if event["name"] == name]
        assert own == ["started", "success" if name in MODELS else "pass"], name
    assert {event["kind"] for event in heard} == {"model", "test"}


def test_rows_that_make_a_test_fail_can_be_read(project: Transforms) -> None:
    _break(project)
    heard: list[Mapping[str, Any]] = []
    assert project.run(["run"]).success
    report = project.run(["test"], listen=heard.append)
    assert report.failed
    failed = {n.name: n.failures for n in report.nodes if n.status == "fail"}
    assert failed == {"unique_dim_things_thing_id": 1, "assert_names_are_short": 1}
    assert project.failing_rows("assert_names_are_short")["rows"] == [{"thing_id": 3, "name": "a very long name"}]
    assert project.failing_rows("unique_dim_things_thing_id")["rows"] == [{"unique_field": 3, "n_records": 2}]
    assert [e["status"] for e in heard if e["name"] == "assert_names_are_short"] == ["started", "fail"]
    assert "assert_names_are_short: fail" in str(report)
    with pytest.raises(UnknownName, match="did you mean assert_names_are_short"):
        project.failing_rows("assert_names_are_shrt")


def test_a_failing_test_holds_back_what_stands_on_it(project: Transforms) -> None:
    unique = "version: 2\nmodels: [{name: stg_things, columns: [{name: thing_id, data_tests: [unique]}]}]\n"
    _write(project.project / "models/staging/stg_things.yml", unique)
    _break(project)
    report = project.run(["build"])
    assert report.failed
    assert {n.name: n.status for n in report.nodes}["dim_things"] == "skipped"
    assert project.built_at() is None


def test_a_model_that_the_lake_refuses_is_in_the_report(project: Transforms) -> None:
    _write(project.project / "models/marts/dim_things.sql", "select nothing from {{ ref('stg_things') }}")
    report = project.run(["build"])
    assert report.failed
    (wrong,) = [n for n in report.nodes if n.status == "error"]
    assert wrong.name == "dim_things"
    assert "nothing" in wrong.message
    assert "\n" not in wrong.message
    assert "dim_things: error: " in str(report)
    assert {n.status for n in report.nodes if n.kind == "test"} == {"skipped"}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("models/marts/dim_things.sql", "select * from {{ ref('nowhere') }}"),
        ("models/marts/dim_things.sql", "select {{ from"),
        ("models/marts/dim_things.yml", "models: [{name"),
        ("dbt_project.yml", "name: ["),
    ],
    ids=["unknown ref", "broken template", "broken yaml", "broken project"],
)
def test_a_project_that_does_not_parse_is_told_in_one_line(project: Transforms, file: str, text: str) -> None:
    _write(project.project / file, text)
    with pytest.raises(TransformError) as told:
        project.run(["run"])
    assert "\n" not in str(told.value)
    assert "dbt.log" in str(told.value)
    _write(project.project / file, FILES.get(file, (make_workspace(project.project.parent / "other") / "dbt/dbt_project.yml").read_text()))
    assert project.run(["run"]).success


def test_no_project_is_told_with_what_makes_one(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(TransformError, match="skygraph init"):
        Transforms(lake, tmp_path / "dbt", tmp_path / "log").run(["run"])


def test_words_that_are_not_dbts(project: Transforms) -> None:
    with pytest.raises(UnknownName, match="did you mean build"):
        project.run(["biuld"])
    with pytest.raises(UsageError, match="No such option"):
        project.run(["run", "--selct", "stg_things"])


def test_a_lake_that_does_not_answer_is_said_before_dbt_starts(tmp_path: Path) -> None:
    folder = make_workspace(tmp_path / "w")
    lake = Lake(Settings.load(folder, environ={}, clickhouse_url="http://127.0.0.1:1"))
    with pytest.raises(LakeUnavailable):
        Transforms(lake, folder / "dbt", tmp_path / "log").run(["run"])


def test_the_environment_is_as_before(project: Transforms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYGRAPH_DBT_HOST", "elsewhere.example")
    before = dict(os.environ)
    project.run(["run"])
    assert dict(os.environ) == before
    _write(project.project / "dbt_project.yml", "name: [")
    with pytest.raises(TransformError):
        project.run(["run"])
    assert dict(os.environ) == before


def test_nothing_is_printed_unless_asked_for(project: Transforms, capfd: pytest.CaptureFixture[str]) -> None:
    project.run(["run"])
    assert capfd.readouterr().out == ""
    project.run(["run"], show=True)
    out = capfd.readouterr().out
    assert "Completed successfully" in out
    assert project.lake.address.password not in out


def test_ls_gives_its_lines(project: Transforms) -> None:
    report = project.run(["ls", "--resource-type", "model"])
    assert sorted(report.lines) == ["skygraph.marts.dim_things", "skygraph.staging.stg_things"]
    assert report.to_dict()["lines"] == list(report.lines)


def test_models_are_known_before_dbt_has_run(project: Transforms) -> None:
    assert {name: m.table for name, m in project.models().items()} == {"stg_things": "staging.stg_things", "dim_things": "marts.dim_things"}
    project.run(["parse"])
    assert project.models()["dim_things"].description == "Things, each once."
    assert {n["name"] for n in project.nodes()} == MODELS | TESTS


def test_what_is_built_grows_old_when_a_file_changes(project: Transforms) -> None:
    assert project.built_at() is None
    project.run(["build"])
    built = project.built_at()
    assert built is not None
    assert built >= project.changed_at()
    later = time.time_ns() + 5_000_000_000
    os.utime(project.project / "models/marts/dim_things.sql", ns=(later, later))
    assert project.changed_at() > built
    project.run(["run", "--select", "dim_things"])
    assert project.built_at() is None, "one model is not all of them"


def test_two_runs_at_once_wait_for_each_other(project: Transforms) -> None:
    reports: list[Any] = []
    threads = [threading.Thread(target=lambda: reports.append(project.run(["run"]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [r.success for r in reports] == [True, True]


def test_the_password_has_a_name_that_dbt_hides(lake: Lake) -> None:
    variables = environment(lake.address)
    hidden = {name for name in variables if name.startswith("DBT_ENV_SECRET")}
    assert {name for name, value in variables.items() if value == lake.address.password} == hidden
