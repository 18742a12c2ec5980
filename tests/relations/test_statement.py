"""The text of a statement: where variables and relations stand in it, and what is no single read."""

from __future__ import annotations

import pytest

from workbench.errors import UsageError
from workbench.relations.statement import parse_statement, unique_names


def composed(text: str, inner: str = "select 1") -> str:
    found = parse_statement(text)
    return " ".join(found.compose({name: (inner, {}) for name in found.references}).split())


@pytest.mark.parametrize(
    ("text", "placeholders", "references"),
    [
        ("select {a:Int8}", {"a": "Int8"}, ()),
        ("select { a : Array(Nullable(String)) } from {b}", {"a": "Array(Nullable(String))"}, ("b",)),
        ("select '{a:Int8} {b}', \"{c}\", `{d}` -- {e}\n from {f} /* {g} /* {h} */ {i} */ # {j}", {}, ("f",)),
        ("select 'it''s {a}', 'it\\'s {a}', $tag$ {a} $tag$, $$ {b} $$ from t", {}, ()),
        ("select {'k': 1} as m, {größe:String}", {"größe": "String"}, ()),
        ("with x as (select 1) select * from x join {größe} on 1", {}, ("größe",)),
        ("select {e:Enum8('a' = 1, 'b' = 2)}, {e:Enum8('a' = 1, 'b' = 2)}", {"e": "Enum8('a' = 1, 'b' = 2)"}, ()),
    ],
)
def test_variables_and_relations_are_found_outside_texts_and_comments(
    text: str, placeholders: dict[str, str], references: tuple[str, ...]
) -> None:
    found = parse_statement(text)
    assert (dict(found.placeholders), found.references) == (placeholders, references)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the statement is empty"),
        (" ;; -- nothing\n", "the statement is empty"),
        ("select 1; select 2", "line 1, column 9: a second statement follows"),
        ("select 1;\n\ndrop table x;", "a second statement follows"),
        ("drop table x", "DROP does not read"),
        ("  insert into x select 1", "INSERT does not read"),
        ("create table x (a Int8) engine = Memory", "CREATE does not read"),
        ("set final = 0", "SET does not read"),
        ("kill query where 1", "KILL does not read"),
        ("123", "does not read"),
        ("select 1 format CSV", "names a FORMAT of its own"),
        ("select 1 FORMAT JSON settings max_threads = 1", "names a FORMAT of its own"),
        ("select 1 into outfile 'x.csv'", "names a file of its own"),
        ("select (1", "a bracket is not closed"),
        ("select 1) union all (select 2", "line 1, column 9: nothing is open that ) could close"),
        ("select\n 'a", "line 2, column 2: the mark ' is not closed"),
        ("select 1 /* a", "the comment is not closed"),
        ("select {a:Int8}, {a:String}", "{a:...} is asked for as Int8 and as String"),
    ],
)
def test_what_is_no_single_read_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_statement(text)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["select 1;", "select 1 -- ;\n;\n", "select ';'", "(select 1) union all (select 2)", "from t select 1"])
def test_one_statement_may_end_with_its_mark(text: str) -> None:
    assert parse_statement(text).is_rows


@pytest.mark.parametrize("text", ["select format from t", "select a as format from t", "select format(1, 2)", "select 1 as into"])
def test_a_column_may_be_called_as_a_clause(text: str) -> None:
    assert parse_statement(text).is_rows


@pytest.mark.parametrize("text", ["show tables", "describe raw.x", "explain select 1", "exists raw.x"])
def test_a_statement_that_only_tells_is_known(text: str) -> None:
    assert not parse_statement(text).is_rows


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("select * from {a}", "select * from ( select 1 ) as `a`"),
        ("select * from {a} where a.x", "select * from ( select 1 ) as `a` where a.x"),
        ("select * from {a} as b", "select * from ( select 1 ) as b"),
        ("select * from {a} b join {c} using x", "select * from ( select 1 ) b join ( select 1 ) as `c` using x"),
        ("select * from {a}, {b} limit 1", "select * from ( select 1 ) as `a`, ( select 1 ) as `b` limit 1"),
        ("select * from t where x in {a} and y", "select * from t where x in ( select 1 ) and y"),
        ("select * from t where x in ({a})", "select * from t where x in (( select 1 ))"),
        ("select ({a}) as n", "select (( select 1 )) as n"),
        ("with q as (select * from {a}) select * from q", "with q as (select * from ( select 1 ) as `a`) select * from q"),
        ("select * from (select * from {a}) as a", "select * from (select * from ( select 1 ) as `a`) as a"),
        ("select 1 from t union all select * from {a}", "select 1 from t union all select * from ( select 1 ) as `a`"),
        ("select * from {a} -- done", "select * from ( select 1 ) as `a`"),
    ],
)
def test_a_relation_stands_in_from_under_its_name_unless_it_has_another_there(text: str, meant: str) -> None:
    assert composed(text) == meant


def test_a_comment_at_the_end_of_a_relation_does_not_swallow_what_follows() -> None:
    inner = parse_statement("select 1 -- one").text
    assert composed("select * from {a}", inner) == "select * from ( select 1 ) as `a`"


def test_the_placeholders_of_a_relation_get_names_of_their_own() -> None:
    found = parse_statement("select {x:Int8} from {a}")
    text = found.compose({"a": ("select {x:String}, '{x:String}'", {"x": "p1_x"})})
    assert "select {p1_x:String}, '{x:String}'" in text
    assert text.startswith("select {x:Int8} from")


def test_columns_get_names_of_their_own() -> None:
    assert unique_names(["a", "a", "a_2", "", ""]) == ["a", "a_3", "a_2", "", "_2"]
