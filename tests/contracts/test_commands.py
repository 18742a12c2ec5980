"""Every verb keeps the same promises: help, JSON that is data only, text and HTML, and mistakes told in one line."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from workbench import Workbench
from workbench.answer import to_json
from workbench.cli import run
from workbench.commands import GRAMMAR
from workbench.grammar import Argument, Command

COMMANDS = [pytest.param(command, id=name) for name, command in GRAMMAR.commands.items()]

# a line for every verb that answers; `{new}` is a folder that does not exist yet
LINES = [
    "init {new}", "init {new} --example chinook", "up clickhouse", "ps", "logs", "logs workbench -n 2", "logs skygraph-api",
    "env", "health", "settings", "completion", "canary", "backup {new} --keep 2", "backup list",
    "sync genres media_types", "sync status", "sync compare", "sync verify genres",
    "sync rewind media_types 2007-01-01", "sync backfill genres --from 2007-01-01 --chunks 2", "sync lookback genres",
    "sync quarantine list genres", "sync quarantine replay", "dbt ls", "dbt run --select staging.stg_genres",
    "objects Customer --where country=Brazil total_spent>10 --sort -total_spent --limit 3", "objects Genre --sql",
    "objects Customer[country=Brazil]/invoices --where lines.quantity>0 --search 1 --sql", "objects Customer --facets",
    "objects Invoice --group-by billing_country --sum total", "objects Genre --to {new}.csv",
    "objects Customer --after 5 --limit 2", "object Customer 1", "links Customer 1",
    "links Customer 1 invoices --where total>1 --sort -total --limit 2",
    "ontology list", "ontology show Invoice", "ontology show", "ontology check", "ontology plan", "ontology reload", "ontology schema",
    "run jobs/snapshot.ipynb -p types Genre -p label line --timeout 300", "jobs", "jobs history --limit 3",
    "catalog", "catalog invoice total", "inspect invoices", "inspect invoices --key 5",
    "sql select(1)", "sql select(1) --raw", "sql select(1) --show", "sql select(1) --price", "sql select(1) --to {new}.csv", "prices",
    "lint", "meter invoices", "optimize genres", "fork list",
    "objects Customer --as-of opening --limit 2", "object Customer 1 --as-of opening", "links Customer 1 invoices --as-of opening",
    "snapshot events", "snapshot size", "snapshot prune --plan", "snapshot export opening {new}",
    "snapshot take Genre --label again", "snapshot list", "snapshot diff opening opening",
    "snapshot show Customer 1",
]  # fmt: skip

# these serve until they are interrupted, end or replace what the other tests use, or need a fork or an exported snapshot
ELSEWHERE = {"demo", "lab", "down", "restart", "sync serve", "restore", "move", "fork diff", "fork drop", "snapshot import"}

MISTAKES = [
    ("obects Customer", "unknown verb 'obects'; did you mean objects"),
    ("frobnicate", "unknown verb 'frobnicate'; see `skygraph --help`"),
    ("ontolgy list", "did you mean ontology"),
    ("ontology", "needs one of list, show, check, plan, reload, schema"),
    ("ontology lst", "'lst'; did you mean list"),
    ("snapshot lits", "'lits'; did you mean list"),
    ("--jsn ps", "'--jsn'; did you mean --json"),
    ("ps --jsn", "'--jsn'; did you mean --json"),
    ("objects Customer --wher country=Brazil", "'--wher'; did you mean --where"),
    ("objects", "skygraph objects: needs TYPE"),
    ("object Customer", "skygraph object: needs KEY"),
    ("objects Customer Genre", "'Genre' is one word too many"),
    ("objects Customer --limit ten", "--limit: 'ten' is not a whole number"),
    ("objects Customer --limit -1", "--limit: '-1' is not a whole number"),
    ("objects Customer --sort", "--sort: expected one argument"),
    ("objects Custmer", "unknown object type 'Custmer'; did you mean Customer"),
    ("objects Customer --where contry=Brazil", "unknown property of Customer 'contry'; did you mean country"),
    ("objects Customer --where country", "'country' is not a condition"),
    ("objects Customer[country=Brazil", "comes where a bracket must close"),
    ("objects Customer/invoics", "unknown link of Customer 'invoics'; did you mean invoices"),
    ("objects Customer --where invoices.totl>5", "unknown property of Invoice 'totl'; did you mean total"),
    ("objects Customer --group-by contry", "unknown property of Customer 'contry'; did you mean country"),
    ("objects Customer --group-by country --sum city", "Customer.city is string: only numbers can be summed"),
    ("objects Customer --sum total_spent", "--sum adds up groups"),
    ("objects Customer --facets --sql", "one of --group-by, --facets, --to and --sql"),
    ("objects Customer --to customers.xls", "unknown format 'xls'"),
    ("objects Customer --where total_spent>much", "'much' is not a decimal number"),
    ("objects Customer --sort totl_spent", "'totl_spent'; did you mean total_spent"),
    ("objects Customer --after last", "'last' is not a whole number"),
    ("object Custmer 1", "did you mean Customer"),
    ("object Customer 999", "unknown Customer '999'; near it: 59"),
    ("object Customer Helena", "unknown Customer 'Helena'"),
    ("links Customer 999 invoices", "unknown Customer '999'"),
    ("links Customer 1 invoics", "'invoics'; did you mean invoices"),
    ("links Customer 1 --sort total", "name the LINK that --where and --sort are about"),
    ("ontology show Genres", "did you mean Genre"),
    ("sync invoces", "unknown table 'invoces'; did you mean invoices"),
    ("sync --all invoices", "sync --all takes no table"),
    ("sync compare invoces", "did you mean invoices"),
    ("inspect invoces", "did you mean raw.invoices"),
    ("inspect raw.invoces", "did you mean raw.invoices"),
    ("inspect invoices --key 9999", "unknown key of raw.invoices '9999'"),
    ("sql ;", "the statement is empty"),
    ("snapshot take Genres", "did you mean Genre"),
    ("snapshot diff openin opening", "unknown snapshot 'openin'; did you mean opening"),
    ("snapshot diff opening", "needs B"),
    ("snapshot show Customer 999", "unknown Customer '999'"),
    ("snapshot import {new}", ""),
    ("fork drop nowhere", "unknown fork 'nowhere'"),
    ("fork diff nowhere", "unknown fork 'nowhere'"),
    ("meter invoces", "did you mean raw.invoices"),
    ("optimize invoces", "did you mean raw.invoices"),
    ("objects Customer --as-of openin", "openin"),
    ("logs clickhose", "unknown service 'clickhose'; did you mean clickhouse"),
    ("up clickhose", "did you mean clickhouse"),
    ("logs -n few", "'few' is not a whole number"),
    ("completion zsh", "'zsh'"),
    ("lab nowhere.ipynb", "there is no notebook nowhere.ipynb"),
    ("dbt rnu", "unknown dbt verb 'rnu'; did you mean run"),
    ("dbt run --selct stg_genres", "No such option"),
    ("init {new} --example chinok", "did you mean chinook"),
    ("--workspace {new} ps", "there is no folder"),
    ("ps --workspace", "--workspace: expected one argument"),
]


@pytest.fixture
def line(busy_shop: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """The words of a line, for the built shop."""
    monkeypatch.setenv("SKYGRAPH_WORKSPACE", str(busy_shop.settings.workspace))
    return lambda text: text.format(new=tmp_path / "new").split()


def _dest(argument: Argument) -> str:
    named = next((n for n in argument.names if n.startswith("--")), argument.names[0]).lstrip("-").replace("-", "_")
    return str(argument.options.get("dest", named))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_verb_has_help(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command.name.split(), "--help"]) == 0
    shown = capsys.readouterr()
    assert command.help.splitlines()[0] in shown.out
    assert shown.out.startswith(f"usage: skygraph {command.name}")
    assert all(argument.help for argument in command.arguments)
    assert not shown.err


@pytest.mark.parametrize("command", COMMANDS)
def test_arguments_are_the_parameters_of_the_function(command: Command) -> None:
    bench, *parameters = inspect.signature(command.run).parameters.values()
    assert bench.name == "bench"
    offered = {_dest(argument): argument for argument in command.arguments}
    taken = {p.name: p for p in parameters} if not command.passes else {p.name: p for p in parameters if p.name != "show"}
    assert set(offered) == set(taken)
    parser = GRAMMAR.parser(command)
    for name, parameter in taken.items():
        if parameter.default is not inspect.Parameter.empty:
            assert (parser.get_default(name) or None) == (parameter.default or None), name


def test_the_lines_below_are_of_every_verb() -> None:
    assert {GRAMMAR.parse(text.split()).command.name for text in LINES} == set(GRAMMAR.commands) - ELSEWHERE


@pytest.mark.parametrize("text", LINES)
def test_json_is_one_document_and_nothing_else(line: Callable[[str], list[str]], text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*line(text), "--json"]) == 0
    said = capfd.readouterr().out
    json.loads(said, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("text", LINES)
def test_answers_show_as_text_and_as_html(
    busy_shop: Workbench, line: Callable[[str], list[str]], text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    parsed = GRAMMAR.parse(line(text))
    answer = parsed.command.run(busy_shop, **parsed.values)
    shown = answer._repr_mimebundle_()
    assert shown["text/plain"].strip()
    assert "object at 0x" not in shown["text/plain"]
    _Balanced().check(shown["text/html"])
    out, _ = capfd.readouterr()
    assert not out, "a command prints nothing itself"


@pytest.mark.parametrize(("text", "told"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_a_mistake_is_told_in_one_line(line: Callable[[str], list[str]], text: str, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(line(text)) == 2
    out, err = capfd.readouterr()
    assert told in err
    assert err.count("\n") == 1
    assert not out
    assert err.startswith("skygraph")
    assert "skygraph: skygraph" not in err


def test_a_mistake_is_json_when_json_was_asked_for(line: Callable[[str], list[str]], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(line("objects Custmer --json")) == 2
    out, err = capfd.readouterr()
    assert json.loads(out) == {
        "error": "UnknownName", "message": "unknown object type 'Custmer'", "hint": "did you mean Customer?", "retryable": False,
    }  # fmt: skip
    assert err.count("\n") == 1


HARD = ["<script>alert(1)</script>", "<b>bold</b>", "a & b", '"><img src=x onerror=alert(1)>', "\x1b[31mred", "𝕏 \0 é"]


@pytest.mark.parametrize("hard", HARD)
def test_values_and_names_are_escaped(busy_shop: Workbench, hard: str) -> None:
    answer = busy_shop.sql("select {v:String} as `<i>name</i>`", parameters={"v": hard})
    shown = answer._repr_html_()
    assert "<script" not in shown
    assert "<img" not in shown
    assert "<i>" not in shown
    assert "<b>" not in shown
    _Balanced().check(shown)
    assert answer.to_dict() == [{"<i>name</i>": hard}]


def test_bytes_that_are_no_text_are_shown_in_hex(busy_shop: Workbench) -> None:
    answer = busy_shop.sql("select unhex('FF00') as b, 'é' as t union all select 'plain', 'x'")
    assert {row["b"] for row in to_json(answer)} == {"ff00", "plain"}
    assert "ff00" in str(answer)
    assert "ff00" in answer._repr_html_()


class _Balanced(HTMLParser):
    """Fails on a tag that is not closed, or closed and not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def check(self, text: str) -> None:
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag
