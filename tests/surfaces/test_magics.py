"""`%skygraph` in a real IPython shell: the verbs, cells of SQL, mistakes in one line, and tab completion."""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench import Workbench


@pytest.fixture(scope="module")
def shell() -> Iterator[Any]:
    """One shell for this file, with the extension loaded. It writes no history."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    made = InteractiveShell(config=config)
    InteractiveShell._instance = made  # `get_ipython()` finds it, as in a kernel
    made.colors = "nocolor"
    made.run_line_magic("load_ext", "workbench")
    yield made
    InteractiveShell._instance = None
    made.atexit_operations()
    atexit.unregister(made.atexit_operations)


@pytest.fixture
def ip(shell: Any, built_shop: Workbench, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The shell, in the built shop's folder, with no variable of the user."""
    monkeypatch.chdir(built_shop.settings.workspace)
    shell.reset(new_session=False)
    return shell


def _run(ip: Any, code: str) -> Any:
    done = ip.run_cell(code)
    done.raise_error()
    return done.result


def _mistake(ip: Any, code: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a cell that is wrong shows."""
    from IPython.core.error import UsageError

    capsys.readouterr()
    done = ip.run_cell(code)
    assert isinstance(done.error_in_exec, UsageError)
    out, err = capsys.readouterr()
    shown = out + err
    assert "Traceback" not in shown
    assert shown.count("\n") == 1, shown
    return shown


# --- verbs


def test_a_verb_answers_with_its_value(ip: Any) -> None:
    answer = _run(ip, "%skygraph objects Customer --where country=Brazil --sort -total_spent --limit 2")
    assert answer.to_pandas()["country"].tolist() == ["Brazil", "Brazil"]
    shown, _ = ip.display_formatter.format(answer)
    assert "<table>" in shown["text/html"]
    assert "Luís Gonçalves" in shown["text/plain"]


def test_an_answer_is_kept_in_a_variable(ip: Any) -> None:
    _run(ip, "x = %skygraph object Customer 1")
    assert ip.user_ns["x"].key == 1
    assert _run(ip, "x.values['country']") == "Brazil"


def test_json_is_text_that_can_be_read_back(ip: Any) -> None:
    _run(ip, "x = %skygraph links Customer 1 --json")
    assert json.loads(repr(ip.user_ns["x"])) == ip.user_ns["x"].data
    assert {"link": "invoices", "type": "Invoice", "objects": 7} in ip.user_ns["x"].data


def test_help_is_printed(ip: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(ip, "%skygraph") is None
    assert "ontology list" in capsys.readouterr().out
    assert _run(ip, "%skygraph objects --help") is None
    assert "--where" in capsys.readouterr().out


def test_dbt_answers_with_a_report(ip: Any, capsys: pytest.CaptureFixture[str]) -> None:
    report = _run(ip, "%skygraph dbt run --select staging.stg_genres")
    assert report.counts() == {"model success": 1}
    assert "Completed" not in capsys.readouterr().out


def test_another_workspace_by_option(ip: Any, chinook: Path) -> None:
    _run(ip, f"x = %skygraph settings --workspace '{chinook}'")
    assert str(chinook) in str(ip.user_ns["x"].rows[0])


def test_quotes_as_in_a_shell(ip: Any) -> None:
    answer = _run(ip, "%skygraph objects Customer --where 'country=United Kingdom' 'full_name^=E'")
    assert [c["full_name"] for c in answer.to_arrow().to_pylist()] == ["Emma Jones"]


# --- cells of SQL


def test_a_cell_of_sql_with_bound_variables(ip: Any) -> None:
    ip.user_ns |= {"country": "Brazil'; drop table raw.customer --", "least": 10}
    answer = _run(ip, "%%skygraph sql\nselect {country:String} as c, count() as n\nfrom raw.invoices where total > {least:Int32}")
    assert answer.to_dict() == [{"c": "Brazil'; drop table raw.customer --", "n": 64}]


def test_a_cell_of_sql_names_its_answer(ip: Any) -> None:
    _run(ip, "%%skygraph sql found\nselect count() as n from raw.genres")
    assert ip.user_ns["found"].to_pandas()["n"].tolist() == [25]
    _run(ip, "%%skygraph sql found --raw\nselect count() as n from raw.genres")
    assert ip.user_ns["found"].raw


def test_braces_are_not_expanded(ip: Any) -> None:
    ip.user_ns["x"] = "expanded"
    answer = _run(ip, "%skygraph sql \"select '{x}' as a, '$x' as b\"")
    assert answer.to_dict() == [{"a": "{x}", "b": "$x"}]


# --- mistakes


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("%skygraph obects Customer", "did you mean objects"),
        ("%skygraph objects Custmer", "did you mean Customer"),
        ("%skygraph objects Customer --wher x", "did you mean --where"),
        ("%skygraph object Customer 999", "unknown Customer '999'"),
        ("%skygraph sql 'select nothing'", "nothing"),
        ("%skygraph objects 'Customer", "close the quotation mark"),
        ("%%skygraph sql 1x\nselect 1", "cannot be the name of a variable"),
        ("%%skygraph sql\nselect {nowhere:String}", "there is no variable nowhere"),
        ("%%skygraph objects\nCustomer", "other verbs stand on one line"),
        ("%%skygraph sql\n  \n", "the statement is empty"),
    ],
)
def test_a_mistake_is_told_in_one_line(ip: Any, capsys: pytest.CaptureFixture[str], code: str, told: str) -> None:
    assert told in _mistake(ip, code, capsys)


def test_debug_shows_the_traceback(ip: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ip.run_cell("%skygraph objects Custmer --debug")
    out, err = capsys.readouterr()
    assert "Traceback" in out + err
    assert "UnknownName" in out + err


@pytest.mark.parametrize("verb", ["up", "down", "env", "lab", "completion"])
def test_verbs_of_a_shell_are_refused_with_a_hint(ip: Any, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert f"run `skygraph {verb}` in a terminal" in _mistake(ip, f"%skygraph {verb}", capsys)


def test_a_file_with_problems_is_told_with_its_lines(ip: Any, chinook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (chinook / "sync_jobs/tables.yml").write_text("sorces: {}\n", encoding="utf-8")
    ip.run_cell(f"%skygraph sync --workspace '{chinook}'")
    out, err = capsys.readouterr()
    assert "tables.yml:1: " in out + err
    assert "Traceback" not in out + err


def test_no_answer_shows_the_password(ip: Any, built_shop: Workbench) -> None:
    password = built_shop.lake.address.password
    for verb in ("ps", "settings", "health", "logs", "settings --json"):
        answer = _run(ip, f"%skygraph {verb}")
        shown, _ = ip.display_formatter.format(answer)
        assert password not in "".join(shown.values()) + repr(answer), verb
    _run(ip, "import workbench; b = workbench.connect()")
    for code in ("b", "b.lake", "b.lake.address", "b.settings", "b.transforms"):
        assert password not in repr(_run(ip, code)), code


# --- completion


def _completed(ip: Any, text: str) -> list[str]:
    from IPython.core.completer import provisionalcompleter

    with provisionalcompleter():
        return [c.text for c in ip.Completer.completions(text, len(text))]


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("%skygraph ob", ["object", "objects"]),
        ("x = %skygraph ontology s", ["schema", "show"]),
        ("a = 1\n%skygraph sync inv", ["invoices", "invoice_lines"]),
        ("%%skygraph s", ["snapshot", "sql", "sync", "settings"]),
        ("%skygraph objects Customer --so", ["--sort"]),
        ("%skygraph objects Cus", ["Customer"]),
        ("%skygraph object Customer 58", ["58"]),
        ("%skygraph links Customer 1 inv", ["invoices"]),
        ("%skygraph snapshot diff op", ["opening"]),
        ("%skygraph inspect raw.inv", ["raw.invoices", "raw.invoice_lines"]),
        ("    %skygraph objects Customer --where cou", ["country"]),
        ("%skygraph objects 'Customer[total_spent>5 and cou", ["'Customer[total_spent>5 and country"]),
        ("%skygraph objects 'Customer[city=\"São Paulo\"]/invoices' --where tot", ["total"]),
    ],
)
def test_tab_offers_verbs_options_and_live_names(ip: Any, text: str, offered: list[str]) -> None:
    assert set(_completed(ip, text)) == set(offered)


@pytest.mark.parametrize("text", ["print('%skygraph ob", "skygraph_x = ob", "# %skygraph ob"])
def test_tab_elsewhere_is_left_alone(ip: Any, text: str) -> None:
    assert "objects" not in _completed(ip, text)


def test_loading_again_leaves_one_matcher(ip: Any) -> None:
    for line in ("reload_ext workbench", "reload_ext workbench", "load_ext workbench"):
        ip.run_line_magic(*line.split())
        assert [getattr(m, "matcher_identifier", "") for m in ip.Completer.custom_matchers].count("workbench.magics.complete") == 1
    assert _completed(ip, "%skygraph ob") == ["object", "objects"]


def test_unloading_takes_everything_away(ip: Any) -> None:
    ip.run_line_magic("unload_ext", "workbench")
    try:
        assert ip.Completer.custom_matchers == []
        assert ip.find_line_magic("skygraph") is None
        assert ip.find_cell_magic("skygraph") is None
    finally:
        ip.run_line_magic("load_ext", "workbench")


def test_a_saved_type_is_in_the_views_and_completed_within_a_second(
    shell: Any, chinook: Path, monkeypatch: pytest.MonkeyPatch, until: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """No restart and no reload: saving is enough, and a mistake keeps what there was and is said under the next answer."""
    from workbench.magics import register
    from workbench.ontology import OBJECT_TYPES, live

    monkeypatch.chdir(chinook)
    register(shell)  # so that the magic's workbench is that of this folder
    try:
        assert _completed(shell, "%skygraph ontology show Med") == ["MediaType"]
        assert "Medley" not in OBJECT_TYPES
        genre = chinook / "ontology/objects/genre.yml"
        text = genre.read_text("utf-8").replace("type: Genre", "type: Medley")
        (chinook / "ontology/objects/medley.yml").write_text(text, encoding="utf-8")
        until(lambda: "Medley" in OBJECT_TYPES, seconds=1.0)
        assert _completed(shell, "%skygraph ontology show Med") == ["MediaType", "Medley"]
        genre.write_text("type: Genre\nmodel: [\n", encoding="utf-8")
        assert live._live is not None
        until(lambda: live._live.problems, seconds=1.0)
        assert "Genre" in OBJECT_TYPES
        capsys.readouterr()
        _run(shell, "%skygraph settings")
        assert "the last good model is used: ontology/objects/genre.yml:3: is not YAML" in capsys.readouterr().out
    finally:
        if live._live is not None:
            live._live.close()
        register(shell)
