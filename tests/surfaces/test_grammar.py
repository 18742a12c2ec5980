"""Lines are understood: verbs of one and two words, options anywhere, dbt's own words untouched."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.errors import UnknownName, UsageError
from workbench.grammar import Command, Grammar, HelpAsked, arg, flag, whole


def _run(**values: Any) -> dict[str, Any]:
    return values


@pytest.fixture
def grammar() -> Grammar:
    made = Grammar("sky")
    made.add(Command("sync", _run, (arg("tables", help="t", nargs="*", completes="table"), flag("--full", help="f")), "Sync."))
    made.add(Command("sync status", _run, (), "Status."))
    made.add(
        Command(
            "objects",
            _run,
            (
                arg("type", help="t", completes="type", metavar="TYPE"),
                flag("--where", help="w", nargs="+", action="extend", default=[], completes="property"),
                flag("--sort", help="s", default="", completes="property"),
                flag("--limit", help="l", type=whole, default=50),
            ),
            "Objects.",
        )
    )
    made.add(Command("ontology list", _run, (), "List."))
    made.add(Command("ontology show", _run, (arg("type", help="t", completes="type"),), "Show."))
    made.add(Command("dbt", _run, (arg("args", help="dbt's words"),), "dbt.", passes=True))
    return made


@pytest.mark.parametrize(
    ("words", "name", "values"),
    [
        ("sync", "sync", {"tables": [], "full": False}),
        ("sync a b --full", "sync", {"tables": ["a", "b"], "full": True}),
        ("sync --full a", "sync", {"tables": ["a"], "full": True}),
        ("sync a --full b", "sync", {"tables": ["a", "b"], "full": True}),
        ("sync status", "sync status", {}),
        ("ontology show T", "ontology show", {"type": "T"}),
        ("objects T --where a=1 b>2 --limit 3", "objects", {"type": "T", "where": ["a=1", "b>2"], "sort": "", "limit": 3}),
        ("objects T --where a=1 --where b>2", "objects", {"type": "T", "where": ["a=1", "b>2"], "sort": "", "limit": 50}),
        ("objects --limit=3 T", "objects", {"type": "T", "where": [], "sort": "", "limit": 3}),
        ("objects T --sort -total", "objects", {"type": "T", "where": [], "sort": "-total", "limit": 50}),
        ("objects T --sort=-total", "objects", {"type": "T", "where": [], "sort": "-total", "limit": 50}),
        ("objects -- -5", "objects", {"type": "-5", "where": [], "sort": "", "limit": 50}),
        ("objects -5", "objects", {"type": "-5", "where": [], "sort": "", "limit": 50}),
    ],
)
def test_a_line_is_understood(grammar: Grammar, words: str, name: str, values: dict[str, Any]) -> None:
    parsed = grammar.parse(words.split())
    assert (parsed.command.name, parsed.values) == (name, values)


@pytest.mark.parametrize("words", ["--json --workspace W sync a", "sync --workspace W a --json", "--workspace=W sync --json a"])
def test_global_options_stand_anywhere(grammar: Grammar, words: str) -> None:
    parsed = grammar.parse(words.split())
    assert (parsed.command.name, parsed.values["tables"], parsed.json, parsed.workspace) == ("sync", ["a"], True, "W")


def test_words_of_dbt_go_through_unread(grammar: Grammar) -> None:
    parsed = grammar.parse(["--workspace", "W", "dbt", "run", "--select", "a+", "--vars", "{x: 1}", "--debug", "--json", "--full-refresh"])
    assert parsed.values == {"args": ["run", "--select", "a+", "--vars", "{x: 1}", "--debug", "--full-refresh"]}
    assert (parsed.json, parsed.workspace) == (True, "W")
    assert grammar.parse(["dbt", "run", "--help"]).values == {"args": ["run", "--help"]}


@pytest.mark.parametrize("words", ["", "--help", "-h", "help", "--json --help"])
def test_help_lists_every_verb(grammar: Grammar, words: str) -> None:
    with pytest.raises(HelpAsked) as asked:
        grammar.parse(words.split())
    assert all(f"  {name}" in asked.value.text for name in grammar.commands)


@pytest.mark.parametrize("words", ["objects --help", "objects -h", "objects T --limit x --help", "help objects"])
def test_help_of_a_verb_has_its_arguments(grammar: Grammar, words: str) -> None:
    with pytest.raises(HelpAsked) as asked:
        grammar.parse(words.split())
    assert "usage: sky objects" in asked.value.text
    assert "--limit" in asked.value.text
    assert "--workspace" in asked.value.text


@pytest.mark.parametrize("words", ["ontology --help", "help ontology"])
def test_help_of_a_first_word_lists_what_follows_it(grammar: Grammar, words: str) -> None:
    with pytest.raises(HelpAsked) as asked:
        grammar.parse(words.split())
    assert "ontology list" in asked.value.text
    assert "sync" not in asked.value.text


@pytest.mark.parametrize(
    ("words", "near"),
    [("snyc", ["sync"]), ("ontology shwo", ["show"]), ("objects T --limt 3", ["--limit"]), ("objects T --limt=3", ["--limit"])],
)
def test_an_unknown_word_names_the_nearest(grammar: Grammar, words: str, near: list[str]) -> None:
    with pytest.raises(UnknownName) as told:
        grammar.parse(words.split())
    assert told.value.nearest == near


def test_an_abbreviated_option_is_not_guessed(grammar: Grammar) -> None:
    with pytest.raises(UnknownName, match="--ful"):
        grammar.parse(["sync", "--ful"])


WRONG = ["objects", "objects T U", "objects T --limit", "objects T --limit 1.5", "objects T --sort --limit 3", "ontology"]


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_line_never_ends_the_process(grammar: Grammar, words: str) -> None:
    with pytest.raises(UsageError):
        grammar.parse(words.split())


NAMES = {"table": ["invoices", "invoice_lines", "tracks"], "type": ["Customer", "Invoice"], "property": ["city", "country"]}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", ["dbt", "objects", "ontology", "sync"]),
        ("o", ["objects", "ontology"]),
        ("--json o", ["objects", "ontology"]),
        ("--workspace W o", ["objects", "ontology"]),
        ("sync ", ["status", "invoices", "invoice_lines", "tracks"]),
        ("sync inv", ["invoices", "invoice_lines"]),
        ("sync invoices ", ["invoice_lines", "tracks"]),
        ("sync --f", ["--full"]),
        ("sync --full --f", []),
        ("ontology ", ["list", "show"]),
        ("ontology s", ["show"]),
        ("ontology show cu", ["Customer"]),
        ("objects ", ["Customer", "Invoice"]),
        ("objects Customer ", []),
        ("objects Customer --", ["--where", "--sort", "--limit", "--json", "--workspace", "--debug"]),
        ("objects Customer --sort c", ["city", "country"]),
        ("objects Customer --limit ", []),
        ("objects Customer --where city=x ", ["city", "country"]),
        ("nothing ", []),
    ],
)
def test_completion_offers_what_may_stand_next(grammar: Grammar, line: str, offered: list[str]) -> None:
    words = line.split()
    token = "" if not line or line.endswith(" ") else words.pop()
    assert grammar.complete(words, token, lambda kind, before: NAMES.get(kind, [])) == offered
