"""Sets and cards of objects, on a real server."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from workbench.errors import ExitCode, LakeError, QueryError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.ontology import ObjectSet, Ontology, Store, check_columns

SLOW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def keys(objects: ObjectSet) -> list[Any]:
    return [row[objects.object_type.key] for row in objects]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("city=London", [1, 4], id="equal"),
        pytest.param("city!=London", [2, 5], id="unequal-leaves-null-out"),
        pytest.param("city not in London, Paris", [5], id="not-in-leaves-null-out"),
        pytest.param("city in Paris, London", [1, 2, 4], id="in"),
        pytest.param("city=", [5], id="empty-text-is-not-null"),
        pytest.param("city is null", [3], id="null"),
        pytest.param("city is not null", [1, 2, 4, 5], id="not-null"),
        pytest.param("name~DAN", [4], id="contains-ignores-case"),
        pytest.param("name~ZOË", [3], id="contains-beyond-ascii"),
        pytest.param("name^=ev", [5], id="starts-with"),
        pytest.param('name="Dan ""the man"""', [4], id="quoted"),
        pytest.param("score=10.50", [1, 2], id="decimal"),
        pytest.param("score>3.249999999999999999999", [1, 2, 4], id="decimal-is-exact"),
        pytest.param("score in 3.25, 10.5", [1, 2, 4], id="decimals"),
        pytest.param("score in 1.05E+1, 1E-30", [1, 2], id="decimals-with-exponents"),
        pytest.param("score=0.325E+1", [4], id="decimal-with-an-exponent"),
        pytest.param("score>1E-30", [1, 2, 4], id="small-decimal"),
        pytest.param("weight>=70.25", [2, 4], id="number"),
        pytest.param("weight in 50, 60.5", [1, 5], id="numbers"),
        pytest.param("vip=yes", [1, 5], id="boolean"),
        pytest.param("vip in no", [2, 4], id="booleans"),
        pytest.param("born_on<1985-12-10", [4], id="date"),
        pytest.param("born_on in 2000-02-29, 1990-01-01", [2, 5], id="dates"),
        pytest.param("seen_at=2026-01-01T00:00:00.123Z", [1], id="time-to-the-millisecond"),
        pytest.param("seen_at>2026-01-02T12:30:00+01:00", [2, 4, 5], id="time-with-a-zone"),
        pytest.param("seen_at in 2026-01-03, 2026-01-02T12:00:00", [2, 4], id="times"),
        pytest.param("person_id>=4", [4, 5], id="integer"),
        pytest.param("boss_id=-1", [], id="negative-against-unsigned"),
    ],
)
def test_conditions_find_the_right_people(store: Store, text: str, expected: list[int]) -> None:
    found = store.objects("Person").where(text)
    assert keys(found) == expected
    assert found.count() == len(expected)


def test_keywords_say_the_same_as_texts(store: Store) -> None:
    people = store.objects("Person")
    assert keys(people.where(city="London", score__gt=Decimal("4"))) == [1]
    assert keys(people.where(city=None)) == [3]
    assert keys(people.where(city__ne=None, vip=True)) == [1, 5]
    assert keys(people.where(person_id__in=[2, 3], name__startswith="b")) == [2]
    assert keys(people.where(person_id__in=[])) == []
    assert keys(people.where(born_on=dt.date(2000, 2, 29))) == [5]
    assert keys(people.where("person_id>1", city__isnull=False, weight__lt=71)) == [4, 5]


def test_columns_come_typed_and_in_the_order_of_the_yaml(store: Store) -> None:
    table = store.objects("Person").to_arrow()
    assert table.column_names == list(store.ontology.object_type("Person").properties)
    row = table.to_pylist()[0]
    assert row["score"] == Decimal("10.50")
    assert row["born_on"] == dt.date(1985, 12, 10)
    assert row["seen_at"] == dt.datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=dt.timezone.utc)
    assert list(store.objects("Person").to_pandas()["name"])[:2] == ["Ada", "Bob"]


SORTS = ["person_id", "-person_id", "score", "-score", "city", "-city", "seen_at", "-vip", "weight"]


@pytest.mark.parametrize("by", SORTS)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_visit_every_object_once_in_the_order_of_the_whole(store: Store, by: str, size: int) -> None:
    whole = store.objects("Person").sort(by)
    expected, seen, after = keys(whole), [], None
    while page := keys(whole.limit(size).after(after)):
        seen += page
        after = page[-1]
    assert seen == expected
    assert sorted(seen) == [1, 2, 3, 4, 5]


def test_nulls_sort_last_both_ways_and_ties_by_key(store: Store) -> None:
    assert keys(store.objects("Person").sort("score")) == [4, 1, 2, 3, 5]
    assert keys(store.objects("Person").sort("-score")) == [1, 2, 4, 3, 5]


def test_a_page_after_an_object_that_is_gone_says_so(store: Store) -> None:
    assert keys(store.objects("Person").after(0)) == [1, 2, 3, 4, 5]
    with pytest.raises(UnknownName, match="gone"):
        store.objects("Person").sort("score").after(77).to_arrow()


def test_links_lead_each_object_once_and_nulls_nowhere(store: Store) -> None:
    orders = store.objects("Order")
    assert keys(orders.linked("ordered_by")) == [1, 2]
    assert keys(store.objects("Person").linked("orders")) == ["n-1", "n-2", "s-1"]
    assert keys(store.objects("Person").where(city="London").linked("orders")) == ["n-1", "n-2"]
    assert keys(orders.linked("tagged")) == ["gift", "rush"]
    assert keys(store.objects("Tag").linked("orders")) == ["n-1", "n-2", "s-1"]
    assert keys(store.objects("Tag").where(tag="rush").linked("orders").linked("ordered_by")) == [1, 2]
    assert keys(store.objects("Person").where(person_id=1).linked("reports").linked("reports")) == [4]
    assert keys(store.objects("Person").where(name="Eve").linked("orders")) == []


def test_a_hop_starts_from_the_limited_set(store: Store) -> None:
    best = store.objects("Order").sort("-total").limit(3)
    assert keys(best) == ["n-2", "x-1", "s-2"]
    assert keys(best.linked("ordered_by")) == [1]
    assert best.count() == 3
    paged = store.objects("Order").sort("-total").after("x-1").limit(2)
    assert keys(paged) == ["s-2", "s-1"]
    assert keys(paged.linked("ordered_by")) == [2]


def test_walking_a_link_and_back_contains_the_linked_ones(store: Store) -> None:
    for name in store.ontology.object_types:
        everything = store.objects(name)
        for end in store.ontology.links_of(name):
            for key in keys(everything):
                one = everything.where(**{everything.object_type.key: key})
                there = one.linked(end.name)
                if there.count():
                    assert key in keys(there.linked(end.back)), (name, key, end.name)


@SLOW
@example("\r\n\t")
@example("\\N")
@example(" leading")
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_stays_a_value(store: Store, text: str) -> None:
    lake = store.lake
    lake.command("truncate table small.dim_tags")
    lake.command("insert into small.dim_tags select {t:String}", {"t": text})
    tags = store.objects("Tag")
    stored = keys(tags)
    assert stored == [text]
    assert keys(tags.where(tag=text)) == [text]
    assert keys(tags.where(tag__in=[text, "other"])) == [text]
    assert keys(tags.where(tag__contains=text)) == [text]
    assert keys(tags.where(tag__startswith=text)) == [text]
    assert keys(tags.where('tag="' + text.replace('"', '""') + '"')) == [text]
    assert keys(tags.where(tag__ne=text)) == []
    assert keys(tags.after(text)) == []
    assert store.object("Tag", text).key == text


@pytest.mark.parametrize("text", ["' or 1=1 --", "x`; drop table small.dim_tags; --", "{p0:String}", "\\", "\\'", "$$", "a\0b", "%s %(x)s"])
def test_injections_find_nothing(store: Store, text: str) -> None:
    assert keys(store.objects("Tag").where(tag=text)) == []
    assert keys(store.objects("Tag").where(tag__in=[text])) == []
    assert store.objects("Tag").count() == 3
    with pytest.raises(UnknownName):
        store.object("Tag", text)


def test_a_set_shows_its_first_rows_and_how_many_there_are(store: Store) -> None:
    shown = str(store.objects("Person").limit(2))
    assert "rows 1-2 of 5" in shown
    assert "Ada" in shown
    assert "Zoë" not in shown
    assert "no object" in str(store.objects("Person").where(city="Rome"))
    assert "1 row after 4, of 5" in str(store.objects("Person").after(4))
    html = store.objects("Person")._repr_mimebundle_()["text/html"]
    assert "<td" in html
    page = store.objects("Person").limit(2).to_dict()
    assert (page["total"], [r["person_id"] for r in page["rows"]]) == (5, [1, 2])
    assert keys(store.objects("Person").after(page["next"])) == [3, 4, 5]
    assert store.objects("Person").limit(5).to_dict()["next"] is None


def test_the_sql_is_readable_and_shows_its_values(store: Store) -> None:
    sql = store.objects("Person").where(city="London").linked("orders").sql()
    assert "-- p0 = 'London'" in sql
    assert sql.count("select") == 2


def test_a_card_has_properties_units_and_counts(store: Store) -> None:
    card = store.object("Person", "1")
    assert card.title == "Ada"
    assert {link["name"]: link["count"] for link in card.to_dict()["links"]} == {"orders": 2, "reports_to": 0, "reports": 2}
    text = str(card)
    assert "USD" in text
    assert "orders" in text
    assert store.object("Order", "n-1").to_dict()["links"] == [
        {"name": "ordered_by", "type": "Person", "many": False, "count": 1},
        {"name": "tagged", "type": "Tag", "many": True, "count": 2},
    ]


@pytest.mark.parametrize(
    ("type_name", "key", "near"),
    [
        pytest.param("Person", "6", "5 (Eve)", id="integer"),
        pytest.param("Person", "ada", "1 (Ada)", id="title-instead-of-key"),
        pytest.param("Order", "n1", "n-1", id="text"),
        pytest.param("Tag", "", "gift", id="empty"),
        pytest.param("Person", str(2**70), "1 (Ada)", id="too-large"),
    ],
)
def test_an_unknown_key_names_near_ones(store: Store, type_name: str, key: str, near: str) -> None:
    with pytest.raises(UnknownName) as caught:
        store.object(type_name, key)
    assert near in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE


def test_unknown_names_are_said_with_the_nearest(store: Store) -> None:
    with pytest.raises(UnknownName, match="Person"):
        store.objects("Persn")
    with pytest.raises(UnknownName, match="city"):
        store.objects("Person").where("cty=London")
    with pytest.raises(UnknownName, match="reports"):
        store.objects("Person").linked("report")
    with pytest.raises(UnknownName, match="score"):
        store.objects("Person").sort("-scor")
    with pytest.raises(UsageError, match="limit"):
        store.objects("Person").limit(-1)


def test_a_model_that_is_not_built_says_run_dbt(store: Store, ontology: Ontology, lake: Lake) -> None:
    without = Store(lake, ontology, {m: r for m, r in store.relations.items() if m != "fct_orders"})
    with pytest.raises(LakeError, match=r"fct_orders has no table .* run skygraph dbt run"):
        without.objects("Order").count()
    with pytest.raises(LakeError, match="fct_orders"):
        without.objects("Person").linked("orders").to_arrow()
    assert "run skygraph dbt run" in str(without.object("Person", 1))
    lake.command("drop table small.fct_orders")
    with pytest.raises(LakeError, match=r"Order: its model fct_orders has no table .* run skygraph dbt run"):
        store.objects("Order").to_arrow()
    lake.command("drop table small.bridge_order_tag")
    with pytest.raises(LakeError, match="run skygraph dbt run"):
        store.objects("Tag").linked("orders").to_arrow()


def test_a_column_that_vanished_is_an_error_and_never_another_answer(store: Store, lake: Lake) -> None:
    lake.command("alter table small.bridge_order_tag rename column order_number to number")
    with pytest.raises(QueryError, match="ontology check"):
        store.objects("Order").linked("tagged").to_arrow()
    lake.command("alter table small.fct_orders drop column person_id")
    with pytest.raises(QueryError, match="ontology check"):
        store.objects("Order").linked("ordered_by").to_arrow()


def test_a_text_property_over_numbers_can_be_read_and_asked(lake: Lake, store: Store, tmp_path: Path) -> None:
    lake.command("create or replace table small.dim_tags (tag Int64) engine = MergeTree order by tag as select number from numbers(12)")
    tags = store.objects("Tag")
    assert keys(tags.where(tag="3")) == [3]
    assert keys(tags.where(tag__in=["3", "4"])) == [3, 4]
    assert keys(tags.where(tag__contains="1")) == [1, 10, 11]
    assert store.object("Tag", "3").key == 3


def test_the_lake_and_the_model_are_compared(store: Store, lake: Lake) -> None:
    columns = {model: lake.columns(f"small.{model}") for model in store.relations}
    assert check_columns(store.ontology, columns) == []
