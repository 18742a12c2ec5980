"""Conditions as written, and the SQL of queries, without a server."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from workbench.errors import UnknownName, UsageError
from workbench.ontology import Ontology
from workbench.ontology.path import parse_test
from workbench.ontology.query import Compiler, Condition, Hop, ObjectQuery, Sort, keyword_tests, parse_sort

RELATIONS = {m: f"`small`.`{m}`" for m in ("dim_people", "fct_orders", "dim_tags", "bridge_order_tag")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("city=Brazil", Condition("city", "=", "Brazil")),
        (" city = New York ", Condition("city", "=", "New York")),
        ("city==x", Condition("city", "=", "x")),
        ("city<>x", Condition("city", "!=", "x")),
        ("city!=x=y", Condition("city", "!=", "x=y")),
        ("city=<3", Condition("city", "=", "<3")),
        ('city="  x "', Condition("city", "=", "  x ")),
        ('city=""', Condition("city", "=", "")),
        ('city="', Condition("city", "=", '"')),
        ("city=in a, b", Condition("city", "=", "in a, b")),
        ("city~a\nb", Condition("city", "contains", "a\nb")),
        ("city^=The", Condition("city", "starts with", "The")),
        ("city in Brazil,Canada", Condition("city", "in", ("Brazil", "Canada"))),
        ('city IN ("a, b", c)', Condition("city", "in", ("a, b", "c"))),
        ("city not  in a", Condition("city", "not in", ("a",))),
        ('city in "say ""hi""",x', Condition("city", "in", ('say "hi"', "x"))),
        ("person_id in 1, 2", Condition("person_id", "in", (1, 2))),
        ("city is null", Condition("city", "is null")),
        ("city IS NOT NULL ", Condition("city", "is not null")),
        ("score>=10", Condition("score", ">=", Decimal(10))),
        ("score>-1.5", Condition("score", ">", Decimal("-1.5"))),
    ],
    ids=str,
)
def test_conditions_are_read_as_written(ontology: Ontology, text: str, expected: Condition) -> None:
    assert parse_test(text, ontology.object_type("Person"), ontology) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a condition"),
        ("city", "is not a condition"),
        ("=x", "is not a condition"),
        ("city like x", "is not a condition"),
        ("score=ten", r"Person.score \(decimal\): 'ten' is not a decimal number"),
        ("score~1", "for text"),
        ('city in "a', "is not a list"),
        ("score=", "is not a decimal"),
        ("person_id in 1,x", "not a whole number"),
    ],
)
def test_what_is_not_a_condition_is_said(ontology: Ontology, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_test(text, ontology.object_type("Person"), ontology)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"cty": 1}, "did you mean city"),
        ({"cty__gt": 1}, "did you mean city"),
        ({"city__like": 1}, "the endings are"),
        ({"city": ["a"]}, "city__in"),
        ({"city__in": "abc"}, "needs a list"),
        ({"city__in": [["a"]]}, "is not text"),
        ({"score__gt": None}, "not a decimal"),
        ({"weight__contains": "1"}, "for text"),
    ],
)
def test_wrong_keywords_are_said(ontology: Ontology, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        keyword_tests(ontology, ontology.object_type("Person"), **keywords)


def test_sorts_are_read_as_written(ontology: Ontology) -> None:
    person = ontology.object_type("Person")
    assert parse_sort("-score", person) == Sort("score", descending=True)
    assert str(parse_sort("score", person)) == "score"
    with pytest.raises(UnknownName, match="score"):
        parse_sort("-scor", person)


def test_a_simple_query_reads_simply(ontology: Ontology) -> None:
    query = ObjectQuery("Tag", (Condition("tag", "=", "gift"),), limit=5)
    statement = Compiler(ontology, RELATIONS).objects(query)
    assert statement.sql == ("select `tag`\nfrom `small`.`dim_tags`\nwhere `tag` = {p0:String}\norder by `tag`\nlimit {p1:UInt64}")
    assert statement.parameters == {"p0": "gift", "p1": 5}
    assert Compiler(ontology, RELATIONS).count(query.whole).sql == ("select count()\nfrom `small`.`dim_tags`\nwhere `tag` = {p0:String}")


def test_a_chain_of_hops_is_one_statement_with_full_names_inside(ontology: Ontology) -> None:
    query = ObjectQuery("Tag", source=Hop(ObjectQuery("Order", (Condition("number", ">", 1),)), "tagged"))
    assert (
        Compiler(ontology, RELATIONS).objects(query).sql
        == """\
select `tag`
from `small`.`dim_tags`
where `tag` in (
        select t1.`tag_name`
        from `small`.`bridge_order_tag` as t1
        where (t1.`at_shop`, t1.`order_number`) in (
            select
                t2.`shop`,
                t2.`number`
            from `small`.`fct_orders` as t2
            where t2.`number` > {p0:Int64}
        )
    )
order by `tag`"""
    )


def test_a_relation_may_be_a_select(ontology: Ontology) -> None:
    relations = {**RELATIONS, "dim_people": "(select * from eidolon.people where at = 1)"}
    query = ObjectQuery("Order", source=Hop(ObjectQuery("Person"), "orders"))
    assert "from (select * from eidolon.people where at = 1) as t1" in Compiler(ontology, relations).objects(query).sql


def test_a_hop_to_another_type_is_refused(ontology: Ontology) -> None:
    with pytest.raises(UsageError, match="leads to Order"):
        Compiler(ontology, RELATIONS).objects(ObjectQuery("Tag", source=Hop(ObjectQuery("Person"), "orders")))
