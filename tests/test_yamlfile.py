"""Hand-written YAML: plain data, every mistake with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import Problem
from workbench.yamlfile import Fields, read_yaml


def read(tmp_path: Path, text: str | bytes) -> tuple[Any, list[str]]:
    file = tmp_path / "a.yml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    problems: list[Problem] = []
    entry = read_yaml(file, problems, name="a.yml")
    return entry, [str(p) for p in problems]


def test_values_know_their_lines(tmp_path: Path) -> None:
    entry, problems = read(tmp_path, "# a comment\na: 1\nb:\n  c: x\n  d: [1,\n      2]\n")
    assert problems == []
    assert entry.plain() == {"a": 1, "b": {"c": "x", "d": [1, 2]}}
    assert (entry.value["a"].line, entry.value["b"].line, entry.value["b"].value["c"].line) == (2, 3, 4)
    assert [item.line for item in entry.value["b"].value["d"].value] == [5, 6]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("at: 2026-01-01", "2026-01-01"),
        ("at: 2026-01-01 10:00:00", "2026-01-01 10:00:00"),
        ("at: 02:00", "02:00"),
        ("at: 10:30:00", "10:30:00"),
        ("code: 0123", "0123"),
        ("code: 1_000", "1_000"),
        ("code: 0x1F", "0x1F"),
        ("n: 12", 12),
        ("n: -7", -7),
        ("n: 0", 0),
        ("x: 1.5", 1.5),
        ("x: 1e3", "1e3"),
        ("t: true", True),
        ("t: null", None),
        ("t:", None),
        ('t: "12"', "12"),
        ("t: 'yes'", "yes"),
        ("t: é 🦆", "é 🦆"),
        ("t: <<", "<<"),
        ("t: =", "="),
    ],
)
def test_scalar_is_what_was_written(tmp_path: Path, text: str, value: Any) -> None:
    entry, problems = read(tmp_path, text)
    assert problems == []
    (found,) = entry.plain().values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("word", ["on", "no", "yes", "off", "null", "2024", "1.5", "<<", "~"])
def test_key_is_the_word_that_was_written(tmp_path: Path, word: str) -> None:
    entry, problems = read(tmp_path, f"{word}: 1")
    assert (problems, entry.plain()) == ([], {word: 1})


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        pytest.param("a: &x 1\nb: 2", 1, "uses the anchor or alias 'x'", id="anchor"),
        pytest.param("a: 1\nb: *x", 2, "uses the anchor or alias 'x'", id="alias of nothing"),
        pytest.param("a: 1\nb: !!python/object:os.system x", 2, "uses the tag", id="tag of Python"),
        pytest.param("a: 1\nb: !mine x", 2, "uses the tag '!mine'", id="tag of a scalar"),
        pytest.param("a: !mine {b: 1}", 1, "uses the tag '!mine'", id="tag of a mapping"),
        pytest.param("a: !mine [b]", 1, "uses the tag '!mine'", id="tag of a list"),
        pytest.param("a: !!str 5", 1, "uses the tag", id="tag of YAML"),
        pytest.param("a: !!set {b, c}", 1, "uses the tag", id="set"),
        pytest.param("a: 1\nb: 2\na: 3", 3, "the key 'a' stands twice (first on line 1)", id="doubled key"),
        pytest.param("a:\n  b: 1\n  b: 1", 3, "the key 'b' stands twice (first on line 2)", id="doubled inner key"),
        pytest.param("[a, b]: 1", 1, "a key must be a plain word", id="list as a key"),
        pytest.param("? {a: 1}\n: 1", 1, "a key must be a plain word", id="mapping as a key"),
        pytest.param("a: 1\nb: [1, 2\nc: 3", 3, "is not YAML", id="bracket left open"),
        pytest.param("a: 1\n\tb: 2", 2, "is not YAML", id="tab"),
        pytest.param("a: 'x\nb: 2\n", 3, "is not YAML", id="quote left open"),
        pytest.param("a: 1\n b: 2", 2, "is not YAML", id="indentation"),
        pytest.param("a: 1\n---\nb: 2", 2, "is not YAML", id="two documents"),
        pytest.param("a: x: y", 1, "is not YAML", id="colon in a value"),
        pytest.param(b"a: 1\nb: Z\xfcrich\n", 2, "is not UTF-8 text; save it as UTF-8", id="Latin-1"),
        pytest.param("a: 1\nb: x\n".encode("utf-16"), 1, "is not UTF-8", id="UTF-16"),
        pytest.param(b"a: 1\nb: \x07\n", 2, "is not YAML", id="control character"),
        pytest.param("", 1, "is empty", id="empty"),
        pytest.param("# only\n", 1, "is empty", id="comments alone"),
        pytest.param("a: " + "[" * 500 + "]" * 500, 1, "is not YAML", id="depth"),
    ],
)
def test_mistake_is_one_problem_with_its_line(tmp_path: Path, text: str | bytes, line: int, says: str) -> None:
    _, problems = read(tmp_path, text)
    (problem,) = problems
    assert problem.startswith(f"a.yml:{line}: " if line else "a.yml: ")
    assert says in problem


def test_every_anchor_and_tag_is_said(tmp_path: Path) -> None:
    _, problems = read(tmp_path, "a: &x 1\nb: !t 2\nc: *x\n")
    assert [p.split(" ")[0] for p in problems] == ["a.yml:1:", "a.yml:2:", "a.yml:3:"]


def test_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    problems: list[Problem] = []
    assert read_yaml(tmp_path / "no.yml", problems) is None
    assert read_yaml(tmp_path, problems) is None
    assert [p.line for p in problems] == [0, 0]
    assert "cannot be read: No such file" in problems[0].message


RELAXED = settings(deadline=None)  # the machine that runs the tests may be busy
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(categories=["L"]), min_size=1), inner, max_size=4),
    max_leaves=12,
)


@RELAXED
@given(plain.filter(lambda value: value is not None))
def test_what_a_program_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    file = tmp_path_factory.getbasetemp() / "written.yml"
    file.write_text(yaml.dump(value, Dumper=Plain, allow_unicode=True), encoding="utf-8")
    problems: list[Problem] = []
    entry = read_yaml(file, problems)
    assert problems == []
    assert entry is not None
    assert entry.plain() == value


# --- fields


def fields(tmp_path: Path, text: str) -> tuple[Fields, list[Problem]]:
    problems: list[Problem] = []
    file = tmp_path / "a.yml"
    file.write_text(text, encoding="utf-8")
    entry = read_yaml(file, problems, name="a.yml")
    assert entry is not None
    return Fields(entry, "a thing", problems), problems


def test_fields_say_everything_that_is_wrong_with_a_mapping(tmp_path: Path) -> None:
    taken, problems = fields(tmp_path, "name: [x]\nkind: rond\nkeys: {a: 1}\nparts: x\nextra: 1\n")
    assert taken.text("name") == ""
    assert taken.choice("kind", ["round", "square"]) == ""
    assert taken.texts("keys") == []
    assert taken.mapping("parts") == {}
    assert taken.text("title") == ""
    taken.done()
    assert [str(p) for p in problems] == [
        "a.yml:1: 'name' of a thing must be text",
        "a.yml:2: unknown kind 'rond' of a thing; did you mean 'round'?",
        "a.yml:3: 'keys' of a thing must be a list of names",
        "a.yml:4: 'parts' of a thing must be a mapping of keys to values",
        "a.yml:1: a thing needs the key 'title'",
        "a.yml:5: unknown key 'extra' of a thing; known keys: name, kind, keys, parts, title",
    ]


def test_fields_take_what_is_right_without_a_word(tmp_path: Path) -> None:
    taken, problems = fields(tmp_path, "name: 12\nkind: round\nkeys: a\nparts: {b: 1}\n")
    assert taken.text("name") == "12"
    assert taken.choice("kind", ["round"]) == "round"
    assert taken.texts("keys") == ["a"]
    assert {k: (v.value, v.line) for k, v in taken.mapping("parts").items()} == {"b": (1, 4)}
    assert taken.text("other", "default") == "default"
    assert taken.line("kind") == 2
    taken.done()
    assert problems == []


def test_what_is_no_mapping_is_one_problem(tmp_path: Path) -> None:
    taken, problems = fields(tmp_path, "- a\n")
    assert taken.text("name") == ""
    assert taken.texts("keys") == []
    taken.done()
    assert [str(p) for p in problems] == ["a.yml:1: a thing must be a mapping of keys to values"]
