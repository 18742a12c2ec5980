"""Reading the folder: every mistake at once, with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import ExitCode, InvalidFiles
from workbench.lake.sql import quote
from workbench.ontology import Ontology, check_columns, load_ontology
from workbench.ontology.load import load_with_origins

PERSON, ORDER, TAG = "objects/person.yml", "objects/order.yml", "objects/tag.yml"
ORDERED_BY, REPORTS_TO, TAGGED = "links/ordered_by.yml", "links/reports_to.yml", "links/tagged.yml"


def problems(folder: Path, models: list[str]) -> list[str]:
    with pytest.raises(InvalidFiles) as caught:
        load_ontology(folder, models=models)
    assert caught.value.exit_code == ExitCode.FAILED
    return [str(p) for p in caught.value.problems]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


# file, what is replaced, by what, and what the one problem says
CASES = [
    pytest.param(PERSON, "type: Person", "type: [Person", "objects/person.yml:2: is not YAML", id="does-not-parse"),
    pytest.param(
        PERSON,
        "description: Some",
        "descripton: Some",
        "person.yml:2: unknown key 'descripton' of an object type; did you mean 'description'?",
        id="unknown-key",
    ),
    pytest.param(
        PERSON,
        "unit: USD",
        "units: USD",
        "person.yml:11: unknown key 'units' of property 'score'; did you mean 'unit'?",
        id="unknown-key-of-a-property",
    ),
    pytest.param(
        PERSON,
        "type: decimal",
        "type: decimals",
        "person.yml:11: unknown type 'decimals' of property 'score'; did you mean 'decimal'?",
        id="unknown-property-type",
    ),
    pytest.param(PERSON, "{type: boolean}", "boolean", "person.yml:13: property 'vip' must be a mapping", id="property-not-a-mapping"),
    pytest.param(
        PERSON,
        "model: dim_people",
        "model: dim_peple",
        "person.yml:3: there is no dbt model 'dim_peple'; did you mean 'dim_people'?",
        id="unknown-model",
    ),
    pytest.param(
        PERSON,
        "key: person_id",
        "key: persn_id",
        "person.yml:4: key 'persn_id' is not one of the properties; did you mean 'person_id'?",
        id="key-not-a-property",
    ),
    pytest.param(
        PERSON,
        "title: name",
        "title: nam",
        "person.yml:5: title 'nam' is not one of the properties; did you mean 'name'?",
        id="title-not-a-property",
    ),
    pytest.param(PERSON, "key: person_id\n", "", "person.yml:1: an object type needs the key 'key'", id="no-key"),
    pytest.param(TAG, "type: Tag", "type: Order", "tag.yml:1: 'Order' is already in ontology/objects/order.yml:1", id="doubled-type"),
    pytest.param(
        REPORTS_TO,
        "link: reports_to",
        "link: ordered_by",
        "reports_to.yml:1: 'ordered_by' is already in ontology/links/ordered_by.yml:1",
        id="doubled-link",
    ),
    pytest.param(
        PERSON,
        "type: Person",
        "type: Per son",
        "person.yml:1: the type 'Per son' of an object type is not an identifier",
        id="type-not-an-identifier",
    ),
    pytest.param(
        PERSON, "  vip: ", "  v.i.p: ", "person.yml:13: the property name 'v.i.p' is not an identifier", id="property-not-an-identifier"
    ),
    pytest.param(
        ORDERED_BY,
        "reverse: orders",
        "reverse: 2nd",
        "ordered_by.yml:7: the reverse '2nd' of a link type is not an identifier",
        id="reverse-not-an-identifier",
    ),
    pytest.param(
        ORDERED_BY,
        "to: Person",
        "to: Persn",
        "ordered_by.yml:4: to 'Persn' is not an object type; did you mean 'Person'?",
        id="unknown-type",
    ),
    pytest.param(
        ORDERED_BY,
        "{person_id: person_id}",
        "{persn_id: person_id}",
        "ordered_by.yml:6: join: Order has no property 'persn_id'; did you mean 'person_id'?",
        id="join-missing-property-from",
    ),
    pytest.param(
        ORDERED_BY,
        "{person_id: person_id}",
        "\n  person_id: persn_id",
        "ordered_by.yml:7: join: Person has no property 'persn_id'; did you mean 'person_id'?",
        id="join-missing-property-to",
    ),
    pytest.param(
        ORDERED_BY,
        "{person_id: person_id}",
        "{shop: person_id}",
        "ordered_by.yml:6: join: 'shop' is string and 'person_id' is integer; they are never equal",
        id="join-of-different-types",
    ),
    pytest.param(
        ORDERED_BY,
        "{person_id: person_id}",
        "{}",
        "ordered_by.yml:6: 'join' of a link type must name at least one property",
        id="empty-join",
    ),
    pytest.param(
        ORDERED_BY,
        "many_to_one",
        "many_to_on",
        "ordered_by.yml:5: unknown cardinality 'many_to_on' of a link type; did you mean 'many_to_one'?",
        id="unknown-cardinality",
    ),
    pytest.param(ORDERED_BY, "many_to_one", "many_to_many", "ordered_by.yml:5: a many_to_many link needs a via", id="many-without-via"),
    pytest.param(
        TAGGED, "many_to_many", "one_to_many", "tagged.yml:4: a link with a via is many_to_many, not one_to_many", id="via-without-many"
    ),
    pytest.param(TAGGED, "  model: bridge_order_tag\n", "", "tagged.yml:5: a via needs the key 'model'", id="via-without-model"),
    pytest.param(TAGGED, "  to: {tag: tag_name}\n", "", "tagged.yml:5: a via needs the key 'to'", id="via-without-columns"),
    pytest.param(
        TAGGED,
        "{shop:",
        "{shopp:",
        "tagged.yml:7: via from: Order has no property 'shopp'; did you mean 'shop'?",
        id="via-missing-property",
    ),
    pytest.param(TAGGED, "bridge_order_tag", "bridge_tag", "tagged.yml:6: there is no dbt model 'bridge_tag'", id="via-unknown-model"),
    pytest.param(
        TAGGED,
        "reverse: orders",
        "reverse: orders\njoin: {order_id: tag}",
        "tagged.yml:10: a link has a join or a via, not both",
        id="join-and-via",
    ),
    pytest.param(REPORTS_TO, "reverse: reports", "reverse: orders", "Person has two links named 'orders'", id="one-name-for-two-links"),
    pytest.param(
        REPORTS_TO, "reverse: reports", "reverse: reports_to", "Person has two links named 'reports_to' both ways", id="one-name-both-ways"
    ),
    pytest.param(REPORTS_TO, "reverse: reports\n", "", "reports_to.yml:1: a link type needs the key 'reverse'", id="no-reverse"),
    pytest.param(REPORTS_TO, "link: reports_to", "- link: reports_to", "links/reports_to.yml:2: is not YAML", id="half-a-list"),
    pytest.param(TAG, "{type: string}", "{type: string, format: ',.2f'}", "tag.yml:6: the format ',.2f'", id="format-of-a-string"),
    pytest.param(
        PERSON, "unit: USD", "format: '%d'", "person.yml:11: the format '%d' of property 'score': a decimal", id="format-of-a-number"
    ),
    pytest.param(PERSON, "{type: date}", "{type: date, format: '%H:%M'}", "person.yml:14: the format '%H:%M'", id="format-of-a-date"),
    pytest.param(PERSON, "unit: USD", "aliases: [a b]", "person.yml:11: the alias 'a b' of property 'score' is not", id="alias-not-a-name"),
    pytest.param(PERSON, "unit: USD", "aliases: city", "person.yml:11: the alias 'city' of 'score' is taken", id="alias-is-a-property"),
    pytest.param(PERSON, "unit: USD", "aliases: [a, a]", "person.yml:11: the alias 'a' of 'score' is taken", id="alias-twice"),
    pytest.param(TAG, "title: tag", "aliases: [Person]", "tag.yml:4: the alias 'Person' of 'Tag' is taken", id="alias-is-a-type"),
    pytest.param(
        TAGGED, "to: Tag", "to: Tag\naliases: reports_to", "tagged.yml:4: the alias 'reports_to' of 'tagged' is", id="alias-is-a-link"
    ),
    pytest.param(REPORTS_TO, "to: Person", "to: Person\naliases: reports", "Person has two links named 'reports'", id="alias-is-a-reverse"),
    pytest.param(
        PERSON,
        "unit: USD",
        "expression: scores + 1",
        "person.yml:11: expression of 'score': Person has no property 'scores'",
        id="expression-of-an-unknown-property",
    ),
    pytest.param(
        PERSON,
        "unit: USD",
        "expression: score + 1",
        "person.yml:11: expression of 'score' refers to itself: score -> score",
        id="expression-of-itself",
    ),
    pytest.param(
        PERSON,
        "{type: number, unit: kg}",
        "{type: number, expression: x}\n  x: {type: number, expression: y}\n  y: {type: number, expression: weight}",
        "person.yml:12: expression of 'weight' refers to itself: weight -> x -> y -> weight",
        id="expressions-in-a-circle",
    ),
    pytest.param(PERSON, "unit: USD", "expression: (select 1)", "person.yml:11: expression of 'score': 'select' may not", id="subquery"),
    pytest.param(
        PERSON, "unit: USD", "expression: ''", "person.yml:11: 'expression' of property 'score' must be text", id="empty-expression"
    ),
    pytest.param(
        ORDER,
        "order_id:  {type: string}",
        "order_id: {type: string, expression: upper(shop)}",
        "order.yml:3: key 'order_id' is computed; a key is a column",
        id="computed-key",
    ),
    pytest.param(
        PERSON,
        "boss_id:   {type: integer}",
        "boss_id: {type: integer, expression: person_id + 1}",
        "reports_to.yml:5: join: 'boss_id' of Person is computed",
        id="computed-join",
    ),
    pytest.param(TAG, "type: Tag", "type: Tag\n---\ntype: Tag", "tag.yml:2: is not YAML of one document", id="two-documents"),
]


@pytest.mark.parametrize(("file", "old", "new", "expected"), CASES)
def test_one_mistake_is_said_once_with_file_and_line(folder: Path, models: list[str], file: str, old: str, new: str, expected: str) -> None:
    edit(folder / file, old, new)
    found = problems(folder, models)
    assert len(found) == 1, found
    assert expected in found[0]
    assert found[0].startswith("ontology/")


FILES = (PERSON, ORDER, TAG, ORDERED_BY, REPORTS_TO, TAGGED)
PIECES = st.sampled_from([*"\n:{}[#'é\t", "", "- ", "  ", "&a ", "*a", "!!python/none ", "null", "type", "? "])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.sampled_from(FILES), at=st.floats(0, 1), cut=st.integers(0, 30), piece=PIECES)
def test_any_bad_edit_is_problems_with_files_and_never_another_error(
    folder: Path, models: list[str], file: str, at: float, cut: int, piece: str
) -> None:
    path = folder / file
    text = path.read_text("utf-8")
    start = int(at * len(text))
    path.write_text(text[:start] + piece + text[start + cut :], encoding="utf-8")
    found = None
    try:
        load_ontology(folder, models=models)
    except InvalidFiles as error:
        found = error.problems
    finally:
        path.write_text(text, encoding="utf-8")
    if found is not None:
        assert {p.file for p in found} <= {f"ontology/{name}" for name in FILES}
        assert any(p.line for p in found) or "is empty" in found[0].message


def test_every_mistake_is_said_at_once(folder: Path, models: list[str]) -> None:
    edit(folder / PERSON, "key: person_id", "key: nobody")
    edit(folder / ORDER, "model: fct_orders", "model: fct_order")
    edit(folder / TAGGED, "  model: bridge_order_tag\n", "")
    (folder / "objects/binary.yml").write_bytes(b"type: \xff\n")
    (folder / "objects/empty.yml").write_text("")
    (folder / "links/list.yml").write_text("- a\n")
    found = problems(folder, models)
    assert [p.split(": ")[0] for p in found if "link type needs" not in p] == [
        "ontology/links/list.yml:1",
        "ontology/links/tagged.yml:5",
        "ontology/objects/binary.yml:1",
        "ontology/objects/empty.yml:1",
        "ontology/objects/order.yml:2",
        "ontology/objects/person.yml:4",
    ]


def test_no_folder_and_no_files_are_an_empty_ontology(tmp_path: Path) -> None:
    assert load_ontology(tmp_path / "ontology", models=[]) == Ontology()
    (tmp_path / "ontology" / "objects").mkdir(parents=True)
    assert load_ontology(tmp_path / "ontology", models=[]) == Ontology()


@pytest.mark.parametrize(
    "name", [".person.yml.swp", "person.yml~", "#person.yml#", ".#person.yml", "README.md", "person.yml.bak", ".DS_Store"]
)
def test_other_files_are_left_alone(folder: Path, models: list[str], ontology: Ontology, name: str) -> None:
    (folder / "objects" / name).write_bytes(b"\0 not: [yaml")
    (folder / "objects" / "more.yml").mkdir()
    assert load_ontology(folder, models=models) == ontology


def test_a_title_left_out_is_the_key(folder: Path, models: list[str]) -> None:
    edit(folder / TAG, "title: tag\n", "")
    assert load_ontology(folder, models=models).object_type("Tag").title == "tag"


def test_columns_of_the_lake_are_compared_with_file_and_line(folder: Path, models: list[str]) -> None:
    ontology, origins = load_with_origins(folder, models=models)
    columns = {
        "dim_tags": {"tag": "Int64"},
        "fct_orders": {"order_id": "String", "shop": "String", "number": "String", "persn_id": "Int64", "total": "Float64"},
        "bridge_order_tag": {"at_shop": "String", "order_no": "Int64", "tag_name": "String"},
    }
    assert [str(p) for p in check_columns(ontology, columns, origins)] == [
        "ontology/links/tagged.yml:5: via: bridge_order_tag has no column 'order_number'; did you mean 'order_no'?",
        "ontology/objects/order.yml:8: 'number' is integer, but its column in fct_orders is String; declare it string",
        "ontology/objects/order.yml:9: fct_orders has no column 'person_id'; did you mean 'persn_id'?",
        "ontology/objects/order.yml:10: 'total' is decimal, but its column in fct_orders is Float64; declare it number",
    ]
    assert len(check_columns(ontology, columns)) == 4


def test_the_repositorys_own_ontology_loads() -> None:
    root = Path(__file__).resolve().parents[2]
    models = {path.stem for path in (root / "dbt" / "models").rglob("*.sql")}
    ontology = load_ontology(root / "ontology", models=models)
    assert (len(ontology.object_types), len(ontology.link_types)) == (10, 11)


def test_chains_and_explosions_of_expressions_are_bounded(folder: Path, models: list[str]) -> None:
    text = (folder / TAG).read_text("utf-8")
    doubling = "".join(f"  p{i}: {{type: string, expression: 'p{i + 1} || p{i + 1}'}}\n" for i in range(25)) + "  p25: {type: string}\n"
    (folder / TAG).write_text(text + doubling, encoding="utf-8")
    assert "too large" in problems(folder, models)[0]
    chain = "".join(f"  p{i}: {{type: string, expression: p{i + 1}}}\n" for i in range(3000)) + "  p3000: {type: string}\n"
    (folder / TAG).write_text(text + chain, encoding="utf-8")
    assert "too large" in problems(folder, models)[0]


def test_everything_a_file_may_say_is_in_the_model(folder: Path, models: list[str]) -> None:
    (folder / TAG).write_text(
        "type: Tag\nmodel: dim_tags\nkey: tag\ntitle: shown\naliases: [Label, Mark]\ndeprecated: use Topic\nproperties:\n"
        "  tag: {type: string, aliases: name, deprecated: use shown}\n"
        "  shown: {type: string, expression: upper(tag)}\n"
        "  length: {type: integer, expression: 'length(shown) + length(`tag`)', format: ',d', unit: letters}\n",
        encoding="utf-8",
    )
    edit(folder / TAGGED, "to: Tag", "to: Tag\naliases: [marked]\ndeprecated: use topics")
    ontology = load_ontology(folder, models=models)
    tag = ontology.object_type("Mark")
    assert (tag.name, tag.aliases, tag.deprecated) == ("Tag", ("Label", "Mark"), "use Topic")
    assert (tag.property("name").name, tag.property("name").deprecated) == ("tag", "use shown")
    assert [p.name for p in tag.stored] == ["tag"]
    assert tag.sql("length", quote) == "(length((upper(`tag`))) + length(`tag`))"
    assert tag.property("length").show(12345) == "12,345"
    assert ontology.link_end("Order", "marked").name == "tagged"
    assert ontology.link_type("marked").deprecated == "use topics"
