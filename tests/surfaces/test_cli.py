"""The program `skygraph`: exit status, one line for an error, stdout for data, and the same workspace in a plain shell."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench import Workbench

BIN = Path(sys.executable).parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def skygraph(busy_shop: Workbench) -> Run:
    """Runs the program, in the built shop unless told otherwise."""

    def run(*words: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "skygraph"), *words], cwd=cwd or busy_shop.settings.workspace, env={**os.environ, **variables},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


@pytest.fixture
def closed_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_version_and_help(skygraph: Run, tmp_path: Path) -> None:
    assert re.fullmatch(r"skygraph \d+\.\d+\.\d+\n", skygraph("--version", cwd=tmp_path).stdout)
    assert "usage: skygraph" in skygraph(cwd=tmp_path).stdout
    assert skygraph("--help", cwd=tmp_path).returncode == 0


# --- exit status


def test_status_0_for_an_answer(skygraph: Run) -> None:
    done = skygraph("objects", "Customer", "--where", "country=Brazil", "--json")
    assert done.returncode == 0
    assert [row["country"] for row in json.loads(done.stdout)["rows"]] == ["Brazil"] * 5
    assert not done.stderr


def test_status_1_for_a_failure(skygraph: Run, chinook: Path) -> None:
    (chinook / "ontology/objects/genre.yml").write_text("type: Genre\nmodel: dim_genre\nkye: genre_id\n", encoding="utf-8")
    done = skygraph("ontology", "check", cwd=chinook)
    assert done.returncode == 1
    assert "genre.yml:2" in done.stdout
    assert "genre.yml:3" in done.stdout
    assert not done.stderr
    refused = skygraph("sql", "select nothing")
    assert refused.returncode == 1
    assert refused.stderr.startswith("skygraph: ")
    assert not refused.stdout


def test_status_2_for_wrong_words(skygraph: Run) -> None:
    done = skygraph("sync", "invoces")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "skygraph: unknown table 'invoces'; did you mean invoices or invoice_lines?\n"


LAKE_LINES = [("sql", "select 1"), ("sync",), ("objects", "Customer"), ("up",), ("inspect", "invoices"), ("dbt", "run")]


@pytest.mark.parametrize("words", LAKE_LINES, ids=" ".join)
def test_status_3_for_a_lake_that_does_not_answer(skygraph: Run, chinook: Path, closed_port: int, words: tuple[str, ...]) -> None:
    url = f"http://somebody:hunter2@127.0.0.1:{closed_port}"
    done = skygraph(*words, cwd=chinook, SKYGRAPH_CLICKHOUSE_URL=url)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert str(closed_port) in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert not done.stdout
    assert not (chinook / ".skygraph/lake").exists()
    if words == ("up",):  # the supervisor is there, with nothing to supervise
        assert skygraph("down", cwd=chinook, SKYGRAPH_CLICKHOUSE_URL=url).returncode == 0


def test_health_says_what_is_down(skygraph: Run, chinook: Path, closed_port: int) -> None:
    done = skygraph("health", cwd=chinook, SKYGRAPH_CLICKHOUSE_URL=f"http://127.0.0.1:{closed_port}")
    assert done.returncode == 1
    assert re.search(r"^DOWN +clickhouse: ", done.stdout, flags=re.MULTILINE)
    assert not done.stderr


def test_a_traceback_is_shown_only_with_debug(skygraph: Run) -> None:
    assert "Traceback" not in skygraph("objects", "Custmer").stderr
    assert "Traceback" in skygraph("objects", "Custmer", "--debug").stderr
    assert "Traceback" in skygraph("--debug", "objects", "Custmer").stderr


# --- the workspace


def test_the_workspace_is_the_nearest_one_upward(skygraph: Run, busy_shop: Workbench) -> None:
    deep = busy_shop.settings.workspace / "notebooks/explore"
    assert _workspace(skygraph("settings", "--json", cwd=deep)) == (str(busy_shop.settings.workspace), "default")


def test_the_workspace_by_environment_and_by_option(skygraph: Run, busy_shop: Workbench, chinook: Path, tmp_path: Path) -> None:
    shop = str(busy_shop.settings.workspace)
    assert _workspace(skygraph("settings", "--json", cwd=tmp_path, SKYGRAPH_WORKSPACE=shop)) == (shop, "environment")
    for words in (("--workspace", shop, "settings"), ("settings", f"--workspace={shop}")):
        done = skygraph(*words, "--json", cwd=tmp_path, SKYGRAPH_WORKSPACE=str(chinook))
        assert _workspace(done) == (shop, "argument")
    assert _workspace(skygraph("settings", "--json", "--workspace", ".", cwd=chinook)) == (str(chinook), "argument")


def _workspace(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    (row,) = [row for row in json.loads(done.stdout) if row["setting"] == "workspace"]
    return row["value"], row["from"]


# --- secrets


def test_the_password_is_printed_by_env_alone(skygraph: Run, busy_shop: Workbench) -> None:
    password = busy_shop.lake.address.password
    assert password in skygraph("env").stdout
    for words in (("ps",), ("settings",), ("health",), ("up",), ("logs", "-n", "500"), ("logs", "workbench", "-n", "500")):
        done = skygraph(*words)
        assert password not in done.stdout + done.stderr, words


def test_the_password_of_a_url_is_masked(skygraph: Run, chinook: Path, closed_port: int) -> None:
    url = f"http://me:hunter2@127.0.0.1:{closed_port}"
    for words in (("settings",), ("settings", "--json"), ("ps",), ("health",), ("sql", "select 1", "--debug")):
        done = skygraph(*words, cwd=chinook, SKYGRAPH_CLICKHOUSE_URL=url)
        assert "hunter2" not in done.stdout + done.stderr, words
    wrong = skygraph("settings", cwd=chinook, SKYGRAPH_CLICKHOUSE_URL="clickhouse://me:hunter2@host")
    assert wrong.returncode == 2
    assert "hunter2" not in wrong.stdout + wrong.stderr


# --- stdout


def test_a_reader_that_goes_away_is_no_error(busy_shop: Workbench) -> None:
    script = f"set -o pipefail; '{BIN}/skygraph' sql 'select number from numbers(100000)' --json | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=busy_shop.settings.workspace, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[\n0\n"
    assert not done.stderr


def test_progress_goes_to_stderr(skygraph: Run) -> None:
    done = skygraph("sync", "genres", "media_types", "--json")
    assert [run["table"] for run in json.loads(done.stdout)["tables"]] == ["genres", "media_types"]
    assert "[2/2]" in done.stderr


def test_lines_are_never_wrapped(skygraph: Run) -> None:
    wide = "a" * 300
    assert f"-- p0 = '{wide}'\n" in skygraph("objects", "Genre", "--sql", "--where", f"genre_name={wide}").stdout


def test_a_terminal_that_lacks_letters_is_no_error(skygraph: Run) -> None:
    done = skygraph("object", "Customer", "1", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "Lu\\xeds" in done.stdout


# --- dbt


def test_dbt_runs_one_model(skygraph: Run) -> None:
    done = skygraph("dbt", "run", "--select", "staging.stg_invoices")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Completed successfully" in done.stdout
    assert "stg_invoices" in done.stdout


def test_dbt_runs_in_a_plain_shell(busy_shop: Workbench) -> None:
    script = """
        set -euo pipefail
        eval "$(skygraph env)"
        cd dbt
        dbt run --profiles-dir .
        dbt run --select staging.stg_invoices
        dbt test --profiles-dir .
    """
    environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=busy_shop.settings.workspace, env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert done.stdout.count("Completed successfully") == 3
    assert busy_shop.lake.address.password not in done.stdout + done.stderr


# --- files that are not there


def test_a_folder_that_is_no_workspace_is_said_to_be_none(skygraph: Run, tmp_path: Path) -> None:
    for words in (("sync",), ("objects", "Customer"), ("health",), ("demo", "--no-serve")):
        done = skygraph(*words, cwd=tmp_path)
        assert done.returncode == 2, words
        assert "is not a SkyGraph workspace" in done.stderr
        assert "skygraph init" in done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing was started or made there"


def test_an_empty_workspace_is_told_what_it_lacks(skygraph: Run, tmp_path: Path) -> None:
    (tmp_path / "sync_jobs").mkdir()
    for words, told in ((("dbt", "run"), "there is no dbt project"), (("demo", "--no-serve"), "has no sample source")):
        done = skygraph(*words, cwd=tmp_path)
        assert done.returncode in (1, 2), words
        assert told in done.stderr
        assert done.stderr.count("\n") == 1


def test_state_that_cannot_be_written_is_told_in_one_line(skygraph: Run, chinook: Path) -> None:
    shutil.rmtree(chinook / ".skygraph", ignore_errors=True)
    (chinook / ".skygraph").write_text("in the way", encoding="utf-8")
    done = skygraph("up", cwd=chinook)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert ".skygraph" in done.stderr
