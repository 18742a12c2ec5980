"""Expressions of computed properties: the names in them, what is refused, and what the engine says."""

from __future__ import annotations

import pytest

from workbench.lake import Lake
from workbench.lake.sql import quote
from workbench.ontology.expression import expand, names_in, probe, what_is_wrong

COLUMNS = {"total": "Decimal(18, 2)", "lines": "Nullable(Int64)", "name": "String", "day": "Date", "odd name": "String", "date": "Date"}

# expression, the properties in it
GOOD = [
    pytest.param("total / nullIf(lines, 0)", ["total", "lines"], id="arithmetic"),
    pytest.param("`odd name` || ' of ' || name", ["odd name", "name"], id="quoted"),
    pytest.param('upper("odd name")', ["odd name"], id="double-quoted"),
    pytest.param("'total' || \"name\" || 'it''s \\' lines'", ["name"], id="names-in-strings"),
    pytest.param("cast(total as Nullable(Decimal(10, 1))) + lines", ["total", "lines"], id="cast"),
    pytest.param("total::Float64 + lines", ["total", "lines"], id="double-colon"),
    pytest.param("(lines::Nullable(Int64)) + lines::Nullable(Int64)", ["lines"], id="double-colon-twice"),
    pytest.param("case when lines > 3 and not name like 'A%' then 'big' else null end", ["lines", "name"], id="case"),
    pytest.param("day + interval 1 day", ["day"], id="a-unit-and-a-property-of-its-name"),
    pytest.param("date > date '2026-01-01'", ["date"], id="a-literal-and-a-property-of-its-name"),
    pytest.param("name in ('a', 'b') and lines between 1 and 2", ["name", "lines"], id="in"),
    pytest.param("format('{} {}', name, `odd name`)", ["name", "odd name"], id="a-function-named-like-a-clause"),
    pytest.param("splitByChar(' ', name)[1]", ["name"], id="element"),
    pytest.param("lines > 1 ? 'many' : 'one'", ["lines"], id="question-mark"),
    pytest.param("-lines * 1.5e3 + .5 % 2", ["lines"], id="numbers"),
    pytest.param("dateDiff('year', day, today())", ["day"], id="functions-without-arguments"),
]

# expression, what is said
BAD = [
    pytest.param("", "is empty", id="empty"),
    pytest.param("(select 1)", "'select' may not stand", id="subquery"),
    pytest.param("total; drop table x", "';' may not stand", id="statement-end"),
    pytest.param("total) from system.users --", "')' closes nothing", id="closes-what-it-did-not-open"),
    pytest.param("total -- x", "begins a comment", id="comment"),
    pytest.param("total /* x */", "begins a comment", id="block-comment"),
    pytest.param("sum(total)", "'sum' counts over many objects", id="aggregate"),
    pytest.param("sumIf(total, lines > 1)", "counts over many objects", id="aggregate-with-a-tail"),
    pytest.param("`sum`(total)", "'sum' counts over many objects", id="aggregate-quoted"),
    pytest.param("lagInFrame(total) over ()", "'lagInFrame' may not stand", id="window"),
    pytest.param("arrayJoin([1, 2])", "'arrayJoin' may not stand", id="more-rows"),
    pytest.param("file('/etc/passwd')", "'file' may not stand", id="file"),
    pytest.param("dictGet('d', 'a', lines)", "'dictGet' may not stand", id="dictionary"),
    pytest.param("lines in other_table", "'in' needs a list", id="in-table"),
    pytest.param("*", "'*' may not stand for columns", id="star"),
    pytest.param("tuple(*)", "'*' may not stand for columns", id="star-inside"),
    pytest.param("columns('a')", "'columns' may not stand", id="columns"),
    pytest.param("raw.invoices.total", "'.' may not stand between names", id="dotted"),
    pytest.param("{p0:String}", "'{' may not stand", id="parameter"),
    pytest.param("total as x", "'as' may stand only in cast", id="alias"),
    pytest.param("arrayMap(x -> x, [1])", "'->' may not stand", id="lambda"),
    pytest.param("'no end", "has no end", id="open-string"),
    pytest.param("`no end", "has no end", id="open-name"),
    pytest.param("(total", "'(' is not closed", id="open-parenthesis"),
    pytest.param("[total)", "')' closes nothing", id="crossed"),
    pytest.param("$$x$$", "'$' may not stand", id="heredoc"),
]


@pytest.mark.parametrize(("expression", "names"), GOOD)
def test_a_scalar_is_taken_its_names_found_and_the_engine_agrees(lake: Lake, expression: str, names: list[str]) -> None:
    assert what_is_wrong(expression) == ""
    assert list(names_in(expression)) == names
    assert lake.query(probe(COLUMNS, [expand(expression, quote)])).num_rows == 1


@pytest.mark.parametrize(("expression", "says"), BAD)
def test_what_is_no_scalar_of_the_object_is_refused_by_its_words(expression: str, says: str) -> None:
    assert says in what_is_wrong(expression)


@pytest.mark.parametrize(
    "expression", ["kurtPop(total)", "total + ", "nosuch(total)", "name + 1", "lines lines", "exponentialMovingAverage(2)(total, lines)"]
)
def test_the_engine_refuses_what_the_words_do_not_show(lake: Lake, expression: str) -> None:
    from workbench.errors import QueryError

    assert what_is_wrong(expression) == ""
    with pytest.raises(QueryError):
        lake.query(probe(COLUMNS, [expand(expression, quote)]))
