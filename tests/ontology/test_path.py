"""The short text of a set of objects, and the cursor of a page, without a server."""

from __future__ import annotations

import datetime as dt
import shlex
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import UnknownName, UsageError
from workbench.grammar import Command, Grammar, arg, flag
from workbench.ontology import Ontology
from workbench.ontology.path import parse_path, parse_test, write_path, write_test, write_words
from workbench.ontology.query import (
    AllOf,
    AnyOf,
    Condition,
    Cursor,
    Hop,
    Linked,
    NotOf,
    ObjectQuery,
    Sort,
    Test,
    cursor_after,
    exact_value,
)

EASY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

LONDON = Condition("city", "=", "London")
VIP = Condition("vip", "=", True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("city=London and vip=yes", AllOf((LONDON, VIP))),
        ("city=London or vip=yes and score>1", AnyOf((LONDON, AllOf((VIP, Condition("score", ">", Decimal(1))))))),
        ("(city=London or vip=yes) and score>1", AllOf((AnyOf((LONDON, VIP)), Condition("score", ">", Decimal(1))))),
        ("not city=London", NotOf(LONDON)),
        ("not(city=London) AND NOT vip = yes", AllOf((NotOf(LONDON), NotOf(VIP)))),
        ("city=New York and vip=yes", AllOf((Condition("city", "=", "New York"), VIP))),
        ('city="Rock and Roll" and vip=yes', AllOf((Condition("city", "=", "Rock and Roll"), VIP))),
        ("city=Andorra", Condition("city", "=", "Andorra")),
        ("city=Land or vip=yes", AnyOf((Condition("city", "=", "Land"), VIP))),
        ("city= and vip=yes", AllOf((Condition("city", "=", ""), VIP))),
        ("(name~(a) or vip=yes)", AnyOf((Condition("name", "contains", "(a)"), VIP))),
        ("name~:)", Condition("name", "contains", ":)")),
        ("city in London, Paris and vip=yes", AllOf((Condition("city", "in", ("London", "Paris")), VIP))),
        ('city in ("a) and b", c) or vip=yes', AnyOf((Condition("city", "in", ("a) and b", "c")), VIP))),
        ("city in ()", Condition("city", "in", ())),
        ('city in ""', Condition("city", "in", ("",))),
        ("score between 1 and 2 and vip=yes", AllOf((AllOf((Condition("score", ">=", 1), Condition("score", "<=", 2))), VIP))),
        ("city is null or city is not null", AnyOf((Condition("city", "is null"), Condition("city", "is not null")))),
        ("orders.total>5", Linked("orders", Condition("total", ">", Decimal(5)))),
        ("reports.orders.shop=north", Linked("reports", Linked("orders", Condition("shop", "=", "north")))),
        ("has orders and not has reports", AllOf((Linked("orders"), NotOf(Linked("reports"))))),
        ("has orders[total>5 and shop=a]", Linked("orders", AllOf((Condition("total", ">", 5), Condition("shop", "=", "a"))))),
        ("has reports.orders", Linked("reports", Linked("orders"))),
        ("orders.total between 1 and 2", Linked("orders", AllOf((Condition("total", ">=", 1), Condition("total", "<=", 2))))),
    ],
    ids=str,
)
def test_conditions_are_joined_as_written(ontology: Ontology, text: str, expected: Test) -> None:
    person = ontology.object_type("Person")
    found = parse_test(text, person, ontology)
    assert found == expected
    assert parse_test(write_test(found), person, ontology) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("city=a and", "'' is not a condition on Person"),
        ("city=a and or vip=yes", "'or vip=yes' is not a condition"),
        ("(city=a", "must close"),
        ("city=Rock and Roll", r"'Roll' is not a condition on Person \(at character 15"),
        ("score between 1", "the upper end"),
        ("orders.totl>1", "did you mean total"),
        ("order.total>1", "did you mean orders"),
        ("has ordrs", "did you mean orders"),
        ("has orders[totl=1]", "did you mean total"),
        ("has orders[total=1", "must close"),
        ("vip=perhaps", "neither true nor false"),
        ("(" * 60 + "vip=yes" + ")" * 60, "brackets deep"),
        ("not " * 60 + "vip=yes", "brackets deep"),
        ("city in (a", "must close"),
        ('city in ("a" b)', "is not a list"),
    ],
)
def test_what_is_not_understood_is_said(ontology: Ontology, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_test(text, ontology.object_type("Person"), ontology)


@pytest.mark.parametrize(
    "text",
    [
        "Person",
        "Person[city=London]/orders[total>10] sort=-total limit=5",
        'Person[city="New York"] search="ann lee"',
        "Person{sort=-score limit=3}/orders/tagged",
        'Person[city=x]{search="a b" limit=2}/orders',
        "Person after=3",
        'Order after="north 1"',
        "Order[has ordered_by[(city=London and vip=yes)]]",
    ],
)
def test_a_path_is_written_as_it_was_read(ontology: Ontology, text: str) -> None:
    assert write_path(parse_path(text, ontology)) == text


def test_a_path_says_what_it_says(ontology: Ontology) -> None:
    people = ObjectQuery("Person", (LONDON,), sort=Sort("score", descending=True), limit=3)
    expected = ObjectQuery("Order", (Condition("total", ">", Decimal(10)),), limit=5, search="n", source=Hop(people, "orders"))
    assert parse_path("Person[city=London]{sort=-score limit=3} / orders[total>10] search=n limit=5", ontology) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with an object type"),
        ("Persn", "did you mean Person"),
        ("Person/ordes", "did you mean orders"),
        ("Person/", "a link must stand"),
        ("Person[city=a", "must close"),
        ("Person[city=a]]", "not part of a set"),
        ("Person sort=-scor", "did you mean score"),
        ("Person limit=ten", "'ten'"),
        ("Person limit=-1", "'-1'"),
        ("Person limit=1 limit=2", "each once"),
        ("Person foo=1", r"'foo=1' is not part of a set of objects \(at character 8"),
        ("Person{limit=1", "must close"),
        ("Person after=x", "not a whole number"),
        ("Person where=1", "sort=, search=, limit=, after= and as_of="),
        ("Person" + "/reports" * 40, "at most"),
    ],
)
def test_a_wrong_path_is_said(ontology: Ontology, text: str, message: str) -> None:
    from workbench.ontology.query import Compiler

    with pytest.raises(UsageError, match=message):
        query = parse_path(text, ontology)
        Compiler(ontology, {t.model: t.model for t in ontology.object_types.values()}).objects(query)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["and", "or", "a]b", 'a"b', "x) or (y", "", " a ", "~"]
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "person_id": st.integers(-(2**63), 2**63 - 1),
    "city": TEXTS,
    "score": st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=3),
    "weight": st.floats(allow_nan=False),
    "vip": st.booleans(),
    "born_on": st.dates(dt.date(1900, 1, 1), dt.date(2299, 1, 1)),
    "seen_at": st.datetimes(dt.datetime(1900, 1, 2), dt.datetime(2299, 1, 1), timezones=st.just(dt.timezone.utc)),
}


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    """Any condition on a person."""
    name = draw(st.sampled_from(sorted(VALUES)))
    op = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "in", "not in", "is null", "is not null"]))
    if op.startswith("is"):
        return Condition(name, op)
    if op.endswith("in"):
        return Condition(name, op, tuple(draw(st.lists(VALUES[name], max_size=3))))
    return Condition(name, op, draw(VALUES[name]))


def _joined(inner: st.SearchStrategy[Test]) -> st.SearchStrategy[Test]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    back_and_forth = inner.map(lambda test: Linked("orders", Linked("ordered_by", test)))
    return several.map(AllOf) | several.map(AnyOf) | inner.map(NotOf) | inner.map(lambda t: Linked("reports", t)) | back_and_forth


PERSON_TESTS: st.SearchStrategy[Test] = st.recursive(conditions() | st.just(Linked("orders")), _joined, max_leaves=6)
SORTS = st.none() | st.builds(Sort, st.sampled_from(sorted(VALUES)), st.booleans())


@st.composite
def queries(draw: st.DrawFn) -> ObjectQuery:
    """Any query that ends at people."""

    def people(source: Hop | None) -> ObjectQuery:
        tests = tuple(draw(st.lists(PERSON_TESTS, max_size=2)))
        if len(tests) == 1 and isinstance(tests[0], AllOf):
            tests = tests[0].tests  # as `where` has them
        sort = draw(SORTS)
        search = " ".join(draw(TEXTS).split())
        place = draw(st.none() | VALUES["person_id"])
        return ObjectQuery("Person", tests, sort, draw(st.none() | st.integers(0, 10**6)), place, source, search)

    query = people(None)
    for _ in range(draw(st.integers(0, 2))):
        query = people(Hop(query, "reports"))
    return query


@EASY
@given(query=queries())
def test_a_text_reproduces_its_query(ontology: Ontology, query: ObjectQuery) -> None:
    assert parse_path(write_path(query), ontology) == query


@EASY
@given(query=queries())
def test_the_words_of_a_set_reproduce_it_in_a_shell(ontology: Ontology, query: ObjectQuery) -> None:
    grammar = Grammar("skygraph")
    options = [flag(f"--{name}", help=name, default=None) for name in ("sort", "search", "limit", "after")]
    grammar.add(Command("objects", print, (arg("type", help="a path"), *options), "Objects."))
    typed = shlex.split(shlex.join(["objects", *write_words(query)]))
    values = grammar.parse(typed).values
    found = parse_path(values["type"], ontology)
    rest = {name: value for name, value in values.items() if name != "type" and value is not None}
    quoted = " ".join(f'{name}="{value.replace(chr(34), chr(34) * 2)}"' for name, value in rest.items())
    assert parse_path(f"{write_path(found)} {quoted}", ontology) == query


@EASY
@given(text=st.text(max_size=60) | st.text('Person/orders[]{}()"=<>~^, andornothasinis.null', max_size=80).map(lambda t: f"Person[{t}"))
def test_no_text_breaks_the_reader(ontology: Ontology, text: str) -> None:
    try:
        query = parse_path(text, ontology)
    except UsageError as error:
        assert "\n" not in str(error) or "\n" in text
        return
    assert parse_path(write_path(query), ontology) == query


@EASY
@given(text=st.text(max_size=40) | st.text("~WyJQZXJzb24iLCIiLFsiaSIsIjIiXSxudWxsXQ", min_size=2, max_size=60))
def test_a_forged_cursor_is_no_cursor_or_a_whole_one(text: str) -> None:
    found = Cursor.parse(text)
    assert found is None or Cursor.parse(str(found)) == found


@EASY
@given(name=st.sampled_from(sorted(VALUES)), data=st.data())
def test_a_cursor_keeps_values_exactly(ontology: Ontology, name: str, data: st.DataObject) -> None:
    person = ontology.object_type("Person")
    key, value = data.draw(VALUES["person_id"]), data.draw(st.none() | VALUES[name])
    cursor = cursor_after(person, Sort(name), key, value)
    assert Cursor.parse(str(cursor)) == cursor
    assert cursor.key == ("i", str(key))
    assert cursor.value == (None if value is None else exact_value(value)) or name == "person_id"


def test_names_that_are_not_there_are_said_with_the_nearest(ontology: Ontology) -> None:
    with pytest.raises(UnknownName, match="did you mean city"):
        parse_path("Person[cty=1]", ontology)
