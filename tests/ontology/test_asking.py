"""What is asked of sets of objects, on a real server: conditions, pages, groups, facets, files; and what spoils a model."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import re
import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ontology.test_path import PERSON_TESTS, VALUES
from workbench.errors import LakeError, QueryError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.lake.client import Lake as LakeClient
from workbench.ontology import ObjectSet, ObjectType, Ontology, Property, Store
from workbench.ontology.query import AllOf, AnyOf, Condition, Linked, NotOf, Test

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def keys(objects: ObjectSet) -> list[Any]:
    return [row[objects.object_type.key] for row in objects]


def pages(objects: ObjectSet, size: int) -> list[Any]:
    """The keys that paging visits."""
    seen: list[Any] = []
    place: str | None = None
    while True:
        page = objects.page(size, place)
        seen += page.rows.column(objects.object_type.key).to_pylist()
        place = page.next
        if place is None:
            return seen
        assert len(seen) < 1000, "the pages go round in circles"


# --- conditions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("city=London or vip=no", [1, 2, 4], id="or"),
        pytest.param("not city=London", [2, 5], id="not-leaves-null-out"),
        pytest.param("not (city=London or vip=yes)", [2], id="not-of-or"),
        pytest.param("(city=Paris or city is null) and person_id>2", [3], id="group"),
        pytest.param("score between 3 and 4", [4], id="between"),
        pytest.param("orders.total>5", [1, 2], id="linked"),
        pytest.param("orders.total>100", [], id="linked-none"),
        pytest.param("has orders", [1, 2], id="has"),
        pytest.param("not has orders", [3, 4, 5], id="has-not"),
        pytest.param("not orders.total>10", [2, 3, 4, 5], id="not-linked"),
        pytest.param("not has reports_to", [1, 5], id="not-linked-by-null"),
        pytest.param("reports.orders.shop=south", [1], id="linked-twice"),
        pytest.param("orders.shop=north and orders.total<6", [1], id="linked-of-any"),
        pytest.param("has orders[shop=north and total<5]", [], id="linked-of-one"),
        pytest.param("orders.tagged.tag=rush", [1, 2], id="linked-by-a-bridge"),
    ],
)
def test_joined_and_linked_conditions_find_the_right_people(store: Store, text: str, expected: list[int]) -> None:
    found = store.objects("Person").where(text)
    assert keys(found) == expected
    assert found.count() == len(expected)
    assert keys(store.at(found.text)) == expected


def test_links_can_stand_before_a_keyword(store: Store) -> None:
    assert keys(store.objects("Person").where(orders__total__gt=10)) == [1]
    assert keys(store.objects("Order").where(ordered_by__city=None)) == []
    assert keys(store.objects("Order").where(ordered_by__reports_to__name="Ada")) == ["s-1"]
    with pytest.raises(UnknownName, match="did you mean total"):
        store.objects("Person").where(orders__totl__gt=10)


def _truth(row: dict[str, Any], test: Test, world: dict[str, list[dict[str, Any]]]) -> bool | None:
    """What a test is of a person, computed in Python: True, False, or None where a value is missing."""
    if isinstance(test, Condition):
        value = row[test.property]
        if test.op in ("is null", "is not null"):
            return (value is None) == (test.op == "is null")
        if value is None:
            return None
        return {
            "=": lambda v: value == v, "!=": lambda v: value != v, "<": lambda v: value < v, "<=": lambda v: value <= v,
            ">": lambda v: value > v, ">=": lambda v: value >= v, "in": lambda v: value in v, "not in": lambda v: value not in v,
        }[test.op](test.value)  # fmt: skip
    if isinstance(test, Linked):
        return any(test.test is None or _truth(far, test.test, world) for far in _reached(row, test.link, world))
    if isinstance(test, NotOf):
        inner = _truth(row, test.test, world)
        return None if inner is None else not inner
    truths = [_truth(row, t, world) for t in test.tests]
    decided = isinstance(test, AnyOf)
    return decided if decided in truths else None if None in truths else not decided


def _reached(row: dict[str, Any], link: str, world: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    near, type_name, far = {
        "orders": ("person_id", "Order", "person_id"),
        "ordered_by": ("person_id", "Person", "person_id"),
        "reports": ("person_id", "Person", "boss_id"),
    }[link]
    return [other for other in world[type_name] if row[near] is not None and other[far] == row[near]]


@st.composite
def _near_values(draw: st.DrawFn, test: Test) -> Test:
    """The same test with values that people have, so that it is not always empty."""
    if isinstance(test, Linked):
        return Linked(test.link, None if test.test is None else draw(_near_values(test.test)))
    if isinstance(test, NotOf):
        return NotOf(draw(_near_values(test.test)))
    if isinstance(test, (AllOf, AnyOf)):
        return replace(test, tests=tuple(draw(_near_values(t)) for t in test.tests))
    values = st.sampled_from(HAVE[test.property]) | VALUES[test.property]
    if test.op.startswith("is"):
        return test
    return Condition(test.property, test.op, tuple(draw(st.lists(values, max_size=3))) if test.op.endswith("in") else draw(values))


UTC = dt.timezone.utc
HAVE: dict[str, list[Any]] = {
    "person_id": [1, 2, 3, 4, 5, 99],
    "city": ["London", "Paris", ""],
    "score": [Decimal("10.50"), Decimal("3.25")],
    "weight": [60.5, 80.0, 50.0],
    "vip": [True, False],
    "born_on": [dt.date(1985, 12, 10), dt.date(1970, 1, 1)],
    "seen_at": [dt.datetime(2026, 1, 1, 0, 0, 0, 123000, UTC), dt.datetime(2026, 1, 3, tzinfo=UTC)],
}


@FEW
@given(test=PERSON_TESTS.flatmap(_near_values))
def test_filters_agree_with_the_same_data_in_pandas(store: Store, test: Test) -> None:
    world = {
        name: [{k: None if v is None or v != v else v for k, v in row.items()} for row in frame.astype(object).to_dict("records")]
        for name in ("Person", "Order")
        for frame in [store.objects(name).to_pandas()]
    }
    for row in world["Person"]:
        row["seen_at"] = None if row["seen_at"] is None else row["seen_at"].to_pydatetime()
        row["boss_id"] = None if row["boss_id"] is None else int(row["boss_id"])
    people = store.objects("Person")
    found = ObjectSet(store, replace(people.query, conditions=(test,)))
    assert keys(found) == [row["person_id"] for row in world["Person"] if _truth(row, test, world) is True]
    assert found.count() == len(keys(found))


@FEW
@given(test=PERSON_TESTS.flatmap(_near_values), back=st.sampled_from(["orders", "reports", "reports_to"]))
def test_walking_a_link_and_back_holds_every_object_that_has_one(store: Store, test: Test, back: str) -> None:
    people = store.objects("Person")
    chosen = ObjectSet(store, replace(people.query, conditions=(test,)))
    end = store.ontology.link_end("Person", back)
    there_and_back = set(keys(chosen.linked(end.name).linked(end.back)))
    having = set(keys(ObjectSet(store, replace(chosen.query, conditions=(test, Linked(end.name))))))
    assert having <= there_and_back
    assert chosen.count() - len(having) == chosen.dangling(end.name)


def test_words_are_searched_in_the_title(store: Store) -> None:
    people = store.objects("Person")
    assert keys(people.search("THE dan")) == [4]
    assert keys(people.search("zoË")) == [3]
    assert keys(people.search("e")) == [4, 5, 3][:0] + keys(people.where("name~e").sort("name"))
    assert keys(people.search("e").search("v")) == [5]
    assert keys(people.search("")) == keys(people)
    assert keys(people.search("nobody")) == []
    assert keys(people.search("a").sort("-person_id")) == [4, 1]
    assert pages(people.search("a"), 1) == keys(people.search("a"))


def test_links_without_a_target_are_counted(store: Store) -> None:
    orders = store.objects("Order")
    assert orders.dangling("ordered_by") == 2
    assert orders.dangling("ordered_by", with_value=True) == 1
    assert orders.where(shop="south").dangling("ordered_by") == 1
    assert store.objects("Person").dangling("orders") == 3
    assert store.objects("Tag").dangling("orders") == 1


# --- pages


@pytest.fixture
def moving(lake: Lake) -> Store:
    """Things in a table of versions, that change while they are read; `at` has ties, NULLs and not-a-numbers."""
    lake.command("create database live")
    lake.command(
        "create table live.things (id Int64, at Nullable(Float64), seen Nullable(DateTime64(9, 'UTC')), name String, _version UInt64, "
        "_deleted UInt8) engine = ReplacingMergeTree(_version, _deleted) order by id"
    )
    lake.command(
        "insert into live.things select number * 2, [null, nan, 0.1, -inf, 3][1 + number % 5], if(number % 4 = 0, null, "
        "fromUnixTimestamp64Nano(toInt64(1700000000000000000 + number % 7), 'UTC')), toString(number), 1, 0 from numbers(200)"
    )
    lake.command("insert into live.things select id, at, seen, 'changed', 2, id % 6 = 0 from live.things where id % 4 = 0")
    kinds = {"id": "integer", "at": "number", "seen": "timestamp", "name": "string"}
    thing = ObjectType("Thing", "", "things", "id", "name", {n: Property(n, k) for n, k in kinds.items()})
    return Store(lake, Ontology({"Thing": thing}, {}), {"things": "`live`.`things`"})


@pytest.mark.parametrize("by", ["id", "-id", "at", "-at", "seen", "-seen", "name", "-name"])
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_pages_visit_every_object_once_in_order(moving: Store, by: str, size: int) -> None:
    whole = moving.objects("Thing").sort(by)
    expected = keys(whole)
    assert len(expected) == whole.count() == 166
    assert pages(whole, size if size > 1 else 5) == expected


@FEW
@given(by=st.sampled_from(["id", "-id", "at", "-at", "seen", "name"]), size=st.integers(1, 60), data=st.data())
def test_what_is_added_before_the_cursor_moves_nothing(moving: Store, by: str, size: int, data: st.DataObject) -> None:
    things = moving.objects("Thing").sort(by)
    expected = keys(things)
    seen: list[int] = []
    place = None
    added = 0
    try:
        while True:
            page = things.page(size, place)
            seen += [k for k in page.rows.column("id").to_pylist() if k % 2 == 0]
            if page.next is None:
                break
            place = page.next
            if data.draw(st.booleans()):
                # another object with the sort value of the first one read, and a key before it: before the cursor either way
                first = expected[0]
                added += 2
                key = first - 1 - added if by != "-id" else first + 1 + added
                moving.lake.command(
                    "insert into live.things select {k:Int64}, at, seen, name, 1, 0 from live.things final where id = {f:Int64}",
                    {"k": key, "f": first},
                )
    finally:
        moving.lake.command("delete from live.things where id % 2 != 0")
    assert seen == expected


def test_a_page_of_another_order_or_type_is_refused(moving: Store, store: Store) -> None:
    place = moving.objects("Thing").sort("at").page(2).next
    with pytest.raises(UsageError, match="begin at the first page"):
        moving.objects("Thing").sort("-at").page(2, place)
    with pytest.raises(UsageError, match="begin at the first page"):
        store.objects("Person").page(2, place)
    with pytest.raises(UsageError, match="pass the `next`"):
        moving.objects("Thing").page(2, "5")
    with pytest.raises(UsageError, match="from 1"):
        moving.objects("Thing").page(0)


FORGED = st.tuples(
    st.just("Thing"),
    st.sampled_from(["", "at", "-at", "seen", "name", "id"]),
    *[
        st.none()
        | st.tuples(
            st.sampled_from("idfsbDt"), st.text("-0123456789.:e+ nainf", max_size=30) | st.datetimes().map(str) | st.integers().map(str)
        )
        for _ in range(2)
    ],
)


@FEW
@given(parts=FORGED)
def test_a_forged_place_is_refused_or_read_and_never_fails_in_the_lake(moving: Store, parts: tuple[Any, ...]) -> None:
    place = "~" + base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")
    things = moving.objects("Thing")
    by = parts[1]
    try:
        page = (things.sort(by) if by else things).page(3, place)
    except UsageError:
        return
    assert page.rows.num_rows <= 3


def test_a_page_by_key_reads_only_what_is_behind_the_cursor(lake: Lake) -> None:
    lake.command("create database big")
    lake.command("create table big.rows (id UInt64, v UInt64, _version UInt64) engine = ReplacingMergeTree(_version) order by id")
    lake.command("insert into big.rows select number, number % 7, 1 from numbers(300000)")
    lake.command("insert into big.rows select number, number % 7, 2 from numbers(0, 300000) where number % 50 = 0")
    row = ObjectType("Row", "", "rows", "id", "id", {"id": Property("id", "integer"), "v": Property("v", "integer")})
    rows = Store(lake, Ontology({"Row": row}, {}), {"rows": "`big`.`rows`"}).objects("Row")
    place = rows.after(290_000).page(1).next
    assert place is not None
    statement = rows.store.compiler.objects(rows.after(place).limit(50).query)
    plan = "\n".join(lake.query(f"explain indexes = 1, actions = 1 {statement.sql}", statement.parameters).column(0).to_pylist())
    read, every = (int(n) for n in plan.rpartition("Granules: ")[2].split()[0].split("/"))
    assert read < every
    assert re.search(r"read ?type: inorder", plan, re.IGNORECASE)


# --- groups and facets


def test_objects_are_counted_and_added_up_by_value(store: Store) -> None:
    groups = store.objects("Person").group_by("city", sums=("score", "weight"))
    assert groups.rows == (
        ("London", 2, Decimal("13.75"), 130.75),
        ("", 1, None, 50.0),
        ("Paris", 1, Decimal("10.50"), 80.0),
        (None, 1, None, None),
    )
    assert not groups.is_cut
    assert store.objects("Person").group_by("city", limit=1).is_cut
    assert store.objects("Order").where("total>5").group_by("shop").rows == (("south", 2), ("north", 1), (None, 1))
    by_month = store.objects("Person").group_by("seen_at", by="month")
    assert by_month.rows == ((dt.date(2026, 1, 1), 4), (None, 1))
    assert store.objects("Person").group_by("seen_at by month").rows == by_month.rows
    assert [row[0].year if row[0] else None for row in store.objects("Person").group_by("born_on by year").rows] == [
        1970,
        1985,
        1990,
        2000,
        None,
    ]
    assert store.objects("Person").limit(2).group_by("vip").rows == ((False, 1), (True, 1))
    assert "sum of score" in str(groups)


@pytest.mark.parametrize(
    ("property", "options", "message"),
    [
        ("cty", {}, "did you mean city"),
        ("city", {"by": "month"}, "no month to group by"),
        ("born_on", {"by": "hour"}, "no hour"),
        ("born_on", {"by": "mont"}, "did you mean month"),
        ("city", {"sums": ["name"]}, "only numbers"),
        ("city", {"limit": 0}, "from 1"),
    ],
)
def test_what_cannot_be_grouped_is_said(store: Store, property: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        store.objects("Person").group_by(property, **options)


def test_facets_count_the_values_of_several_properties(store: Store) -> None:
    facets = store.objects("Person").facets("city", "vip", "score", top=2)
    assert not facets.is_sampled
    assert facets.rows == 5
    assert (facets["city"].values, facets["city"].other_count, facets["city"].null_count, facets["city"].distinct) == (
        (("London", 2), ("", 1)), 1, 1, 3,
    )  # fmt: skip
    assert facets["vip"].values == ((False, 2), (True, 2))
    assert facets["score"].values == ((Decimal("10.50"), 2), (Decimal("3.25"), 1))
    assert [f.property for f in store.objects("Person").facets()][:2] == ["name", "city"]
    assert [f.property for f in store.objects("Person").facets(top=2)] == ["city", "boss_id", "score", "vip"]
    empty = store.objects("Person").where(city="Rome").facets("city")
    assert (empty.rows, empty["city"].values, empty.is_sampled) == (0, (), False)
    hurried = store.objects("Person").facets("city", budget_s=0)
    assert (hurried.rows, hurried.is_sampled) == (5, False), "too few to sample"
    one = store.objects("Person").where(city="London").limit(1).facets("vip")
    assert one["vip"].values == ((True, 1),)
    assert "London" in str(facets)


def test_facets_beyond_the_budget_are_of_a_sample_and_say_so(lake: Lake) -> None:
    lake.command("create database big")
    lake.command(
        "create table big.rows engine = MergeTree order by id as "
        "select number as id, concat('v', toString(number % 4)) as v, cityHash64(number) as w from numbers(3000000)"
    )
    kinds = {"id": "integer", "v": "string", "w": "string"}
    row = ObjectType("Row", "", "rows", "id", "id", {n: Property(n, k) for n, k in kinds.items()})
    rows = Store(lake, Ontology({"Row": row}, {}), {"rows": "`big`.`rows`"}).objects("Row")
    sampled = rows.facets("v", "w", budget_s=0.001)
    assert sampled.is_sampled
    assert sampled["v"].is_sampled
    assert "sample" in str(sampled)
    assert sampled.rows < 1_000_000
    assert 0.5 < sampled.rows / sampled.share / 3_000_000 < 2
    assert {value for value, _ in sampled["v"].values} == {"v0", "v1", "v2", "v3"}
    assert all(0.2 < count / sampled.rows < 0.3 for _, count in sampled["v"].values)
    exact = rows.facets("v", budget_s=60)
    assert not exact.is_sampled
    assert dict(exact["v"].values) == {f"v{i}": 750_000 for i in range(4)}


# --- files


def test_files_hold_what_the_set_holds(store: Store, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    people = store.objects("Person").sort("-score")
    for name in ("csv", "parquet", "jsonl", "arrow"):
        assert people.write(tmp_path / f"people.{name}") == (tmp_path / f"people.{name}").stat().st_size
    assert pa.parquet.read_table(tmp_path / "people.parquet").column("person_id").to_pylist() == keys(people)
    assert pa.ipc.open_file(str(tmp_path / "people.arrow")).read_all().column("person_id").to_pylist() == keys(people)
    assert pa.csv.read_csv(tmp_path / "people.csv").column("name").to_pylist() == [row["name"] for row in people]
    lines = [json.loads(line) for line in (tmp_path / "people.jsonl").read_text("utf-8").splitlines()]
    assert [line["score"] for line in lines] == ["10.50", "10.50", "3.25", None, None]
    assert lines[0]["seen_at"] == "2026-01-01T00:00:00.123Z"
    assert (tmp_path / "people.csv").read_text("utf-8").splitlines()[4].startswith('3,"Zoë",,1,,')
    assert pa.csv.read_csv(io.BytesIO(b"".join(people.limit(2).stream("csv")))).num_rows == 2


def test_a_file_is_written_whole_or_not_at_all(moving: Store, tmp_path: Path) -> None:
    target = tmp_path / "things.csv"
    target.write_text("before", "utf-8")
    moving.lake.command(
        "create or replace view live.broken as select number as id, toFloat64(throwIf(number = 2000000, 'broken off')) as at, "
        "cast(null as Nullable(DateTime64(9, 'UTC'))) as seen, randomPrintableASCII(100) as name from system.numbers limit 3000000"
    )
    broken = Store(moving.lake, moving.ontology, {"things": "`live`.`broken`"}).objects("Thing")
    statement = moving.lake.stream("select * from live.broken settings max_threads = 1", None, "CSV")
    with pytest.raises(LakeError):
        for _ in statement:
            pass
    with pytest.raises(LakeError):
        broken.write(target)
    assert target.read_text("utf-8") == "before"
    assert [p.name for p in tmp_path.iterdir() if "things" in p.name] == ["things.csv"]
    with pytest.raises(UnknownName, match="unknown format 'xls'"):
        moving.objects("Thing").write(tmp_path / "a.xls")
    with pytest.raises(UsageError, match="cannot be written"):
        moving.objects("Thing").write(tmp_path / "nowhere" / "a.csv")


# --- what spoils a model


def test_a_property_without_a_column_reads_as_empty_and_says_so(store: Store, lake: Lake) -> None:
    lake.command("alter table small.dim_people drop column score")
    again = Store(lake, store.ontology, store.relations)
    assert again.missing == {"Person": frozenset({"score"})}
    assert [text for text in again.warnings if "score has no column in dim_people" in text]
    people = again.objects("Person")
    assert keys(people) == [1, 2, 3, 4, 5]
    assert {row["score"] for row in people} == {None}
    assert keys(people.where("city=London or vip=no").sort("-weight")) == [2, 4, 1]
    assert "score has no column" in str(people)
    assert "score has no column" in str(again.object("Person", 1))
    assert "score has no column" in people.linked("orders").warnings[0]
    assert people.to_dict()["warnings"]
    assert "score" not in [f.property for f in people.facets()]
    for ask in (people.where("score>1").count, people.sort("score").to_arrow, people.facets, people.group_by):
        with pytest.raises(QueryError, match=r"Person.score: dim_people has no column 'score' in the lake; run skygraph ontology check"):
            ask() if ask not in (people.facets, people.group_by) else ask("score")


def test_a_column_that_goes_while_a_set_is_held_is_noticed(store: Store, lake: Lake) -> None:
    people = store.objects("Person")
    assert {row["score"] for row in people} != {None}
    lake.command("alter table small.dim_people drop column score")
    assert {row["score"] for row in people} == {None}
    assert "score has no column" in str(people)


def test_a_join_without_a_column_is_an_error_and_its_count_is_left_out(store: Store, lake: Lake) -> None:
    lake.command("alter table small.dim_people drop column boss_id")
    card = store.object("Person", 1)
    assert {link["name"]: link["count"] for link in card.to_dict()["links"]} == {"orders": 2, "reports_to": None, "reports": None}
    with pytest.raises(QueryError, match="boss_id"):
        store.objects("Person").linked("reports").count()


def test_rows_without_a_key_are_no_objects(lake: Lake, store: Store) -> None:
    lake.command("create or replace table small.dim_tags (tag Nullable(String)) engine = MergeTree order by tuple()")
    lake.command("insert into small.dim_tags values ('a'), (null), ('b'), (null), ('c')")
    tags = store.objects("Tag")
    assert keys(tags) == ["a", "b", "c"]
    assert tags.count() == 3
    assert pages(tags, 1) == ["a", "b", "c"]
    assert "without tag are no objects" in str(tags)
    assert store.duplicates("Tag") == (0, 0, 2)


def test_rows_that_share_a_key_are_all_shown_and_said(lake: Lake, store: Store) -> None:
    lake.command("insert into small.dim_people select * from small.dim_people where person_id in (2, 3)")
    lake.command("insert into small.dim_people select * from small.dim_people where person_id = 3")
    people = store.objects("Person")
    assert people.count() == 9
    assert store.duplicates("Person") == (2, 6, 0)
    for by in ("person_id", "-score", "city"):
        for size in (1, 2, 3, 4):
            assert pages(people.sort(by), size) == keys(people.sort(by)), (by, size)
    assert "4 rows of dim_people have the key 3; this is one of them" in str(store.object("Person", 3))


def test_a_model_that_is_rebuilt_is_read_all_the_while(store: Store, lake: Lake, settings: Any) -> None:
    people = store.objects("Person")
    stop, failures = threading.Event(), []
    own = LakeClient(settings)

    def rebuild() -> None:
        try:
            while not stop.is_set():
                own.command("create or replace table small.dim_people_new engine = MergeTree order by person_id "
                            "as select * from small.dim_people")  # fmt: skip
                own.command("exchange tables small.dim_people and small.dim_people_new")
        except LakeError as error:
            failures.append(error)

    builder = threading.Thread(target=rebuild)
    builder.start()
    try:
        for _ in range(60):
            assert keys(people.where("has orders or city=London")) == [1, 2, 4]
            assert people.facets("city").rows == 5
    finally:
        stop.set()
        builder.join()
        own.close()
    assert not failures


def test_a_computed_property_is_asked_like_any_other(store: Store) -> None:
    person = store.ontology.object_type("Person")
    double = Property("heavy", "number", expression="weight * 2")
    more = Property("heavier", "number", expression="heavy + person_id", aliases=("heft",))
    changed = replace(person, properties={**person.properties, "heavy": double, "heavier": more})
    with_more = Store(store.lake, replace(store.ontology, object_types={**store.ontology.object_types, "Person": changed}), store.relations)
    people = with_more.objects("Person")
    assert [row["heavier"] for row in people] == [122.0, 162.0, None, 144.5, 105.0]
    assert keys(people.where("heavier>140")) == [2, 4]
    assert keys(people.where("heft>140").sort("-heft")) == [2, 4]
    assert pages(people.sort("-heavier"), 2) == keys(people.sort("-heavier")) == [2, 4, 1, 5, 3]
    assert keys(with_more.objects("Order").where("ordered_by.heavier>130")) == ["s-1"]
    assert keys(people.where("heavy>140").linked("orders")) == ["s-1"]
    assert people.group_by("heavy", sums=("heavier",)).rows[0][1] == 1
    assert people.facets("heavier")["heavier"].distinct == 4
    assert with_more.object("Person", 1).values["heavy"] == 121.0
    with_more.lake.command("alter table small.dim_people drop column weight")
    assert {row["heavier"] for row in people} == {None}
    with pytest.raises(QueryError, match="weight"):
        people.where("heavier>1").count()


# --- values stay values

HARD = [
    "' or 1=1 --", "x`; drop table small.dim_tags; --", "{p0:String}", "\\", "\\'", "$$", "%s %(x)s", "]", '"', "a\nb", "')", "or 1=1",
    "🙂👩‍👩‍👧‍👦", "\u202eשלום عالم", "é" * 10_000, "'" * 10_000, "a" * 10_000 + "🙂", "\\N", "null", "a\0b",
]  # fmt: skip
ANY = st.sampled_from(HARD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@FEW
@given(text=ANY)
def test_a_hard_text_is_a_value_wherever_one_stands(store: Store, text: str) -> None:
    tags = store.objects("Tag")
    quoted = '"' + text.replace('"', '""') + '"'
    other = [t for t in ("gift", "rush", "unused") if t != text]
    assert keys(tags.where(f"tag={quoted} or tag in ({quoted})")) == [t for t in ("gift", "rush", "unused") if t == text]
    assert keys(tags.where(f"not (tag={quoted})")) == other
    assert keys(store.at(tags.where(tag__ne=text).text)) == other
    assert keys(store.at(f"Tag[tag!={quoted}] limit=9")) == other
    assert keys(store.objects("Order").where(f"tagged.tag={quoted}")) == keys(store.objects("Order").where(tagged__tag=text))
    assert tags.search(text).count() == sum(all(w.casefold() in t for w in text.split()) for t in ("gift", "rush", "unused"))
    assert keys(tags.after(text)) == [t for t in ("gift", "rush", "unused") if t.encode() > text.encode()]
    assert keys(store.objects("Tag").where(tag__contains=text, tag__startswith=text)) == [
        t for t in ("gift", "rush", "unused") if t.startswith(text.lower())
    ]
    assert tags.where(tag__ne=text).group_by("tag").rows == tuple((t, 1) for t in other)
    assert sorted(v for v, _ in tags.where(tag__ne=text).facets("tag")["tag"].values) == other
    assert tags.count() == 3


@FEW
@given(text=ANY)
def test_a_hard_text_is_no_name(store: Store, text: str) -> None:
    people = store.objects("Person")
    asks = [
        lambda: store.objects(text), lambda: store.at(text), lambda: people.linked(text), lambda: people.sort(text),
        lambda: people.group_by(text), lambda: people.group_by("city", sums=(text,)), lambda: people.group_by("born_on", by=text or "x"),
        lambda: people.facets(text), lambda: people.where(**{text or "x": 1}), lambda: people.dangling(text),
        lambda: people.stream(text), lambda: people.page(2, text),  # type: ignore[arg-type]
        lambda: store.object("Person", f"no {text}"), lambda: people.where(f"{text}=1 or"),
    ]  # fmt: skip
    for ask in asks:
        with pytest.raises(UsageError):
            ask()
    assert people.count() == 5


def test_long_texts_and_many_values_reach_the_lake(lake: Lake, store: Store) -> None:
    long = "🙂" * 10_000
    lake.command("insert into small.dim_tags select repeat('🙂', 10000)")
    tags = store.objects("Tag")
    assert keys(tags.where(tag=long)) == [long]
    assert keys(tags.where(tag__contains=long[:9_999]).limit(3)) == [long]
    assert pages(tags, 1) == keys(tags)
    assert store.object("Tag", long).title == long
    people = store.objects("Person")
    assert people.where(person_id__in=list(range(30_000))).count() == 5
    assert people.where(person_id__not_in=list(range(4, 30_000))).count() == 3
    for many in ({"person_id__in": range(10**6)}, {"name": "x" * 200_000}):
        with pytest.raises(UsageError, match="more than the lake takes"):
            people.where(**many).count()
    with pytest.raises(UsageError, match="1,200 values in one question are more than the lake takes"):
        people.where(" or ".join(f"person_id={n}" for n in range(1200))).count()
    assert people.where(" or ".join(f"person_id={n}" for n in range(890))).count() == 5


def test_bytes_that_are_no_text_are_shown_and_nothing_else_suffers(store: Store, lake: Lake) -> None:
    lake.command("insert into small.dim_people (person_id, name, city) values (6, unhex('41FF00'), unhex('FE'))")
    people = store.objects("Person")
    assert [row["name"] for row in people.where("person_id>=5")] == ["Eve", "A\\xff\x00"]
    assert store.object("Person", 6).title == "A\\xff\x00"
    assert ("\\xfe", 1) in people.group_by("city").rows
    assert ("\\xfe", 1) in people.facets("city", "name")["city"].values
    assert pages(people, 2) == [1, 2, 3, 4, 5, 6]
    with pytest.raises(UnknownName):
        store.object("Person", 77)
    with pytest.raises(QueryError, match="Person.name holds bytes that are not UTF-8.*toValidUTF8"):
        pages(people.sort("name"), 1)


def test_keys_that_are_no_text_end_a_page_with_an_error(store: Store, lake: Lake) -> None:
    lake.command("insert into small.dim_tags values (unhex('FF')), ('\\\\xff')")
    assert keys(store.objects("Tag")) == ["\\xff", "gift", "rush", "unused", "\\xff"]
    assert pages(store.objects("Tag"), 2)[:2] == ["\\xff", "gift"]
    lake.command("insert into small.dim_tags values (unhex('FF01'))")
    with pytest.raises(QueryError, match="Tag.tag holds bytes"):
        pages(store.objects("Tag"), 5)


# --- columns of every type that a property may stand over


COLUMNS = {
    "fixed": ("FixedString(4)", "string", "leftPad(toString(number), 4, 'x')"),
    "uuid": ("UUID", "string", "toUUID(concat('00000000-0000-0000-0000-0000000000', leftPad(toString(number), 2, '0')))"),
    "enum": ("Enum8('a' = 1, 'it\\'s' = 2, 'c' = 3)", "string", "['c', 'a', 'it\\'s'][number % 3 + 1]"),
    "ip4": ("IPv4", "string", "toIPv4(concat('10.0.0.', toString(number)))"),
    "ip6": ("IPv6", "string", "toIPv6(concat('::', toString(number)))"),
    "whole_text": ("Int32", "string", "number"),
    "decimal_text": ("Decimal(10, 3)", "string", "number / 4"),
    "coded": ("LowCardinality(Nullable(String))", "string", "if(number % 4 = 0, null, concat('v', toString(number % 3)))"),
    "hash": ("UInt64", "integer", "18446744073709551615 - number"),
    "huge": ("Int128", "integer", "toInt128(number) * 1000000000000000000"),
    "cents": ("Decimal(10, 2)", "number", "number / 4"),
    "small": ("BFloat16", "number", "number / 8"),
    "second": ("DateTime", "timestamp", "toDateTime('2020-01-01 00:00:00') + number"),
    "local": ("DateTime('America/New_York')", "timestamp", "toDateTime('2020-11-01 05:00:00') + number * 600"),
    "midnight": ("Date", "timestamp", "toDate('2020-01-01') + number"),
    "day": ("Date", "date", "toDate('2020-01-01') + number"),
}


@pytest.fixture
def many_types(lake: Lake) -> Store:
    """Things with a property over each of COLUMNS, and a type with each of these as its key."""
    lake.command("create database t")
    lake.command(f"create table t.typed (id Int64, {', '.join(f'{n} {c[0]}' for n, c in COLUMNS.items())}) engine = MergeTree order by id")
    lake.command(f"insert into t.typed select number, {', '.join(c[2] for c in COLUMNS.values())} from numbers(20)")
    properties = {n: Property(n, t) for n, t in [("id", "integer"), *((n, c[1]) for n, c in COLUMNS.items())]}
    types = {"Thing": ObjectType("Thing", "", "typed", "id", "id", properties)}
    types |= {f"By_{n}": ObjectType(f"By_{n}", "", "typed", n, n, {"id": properties["id"], n: properties[n]}) for n in COLUMNS}
    return Store(lake, Ontology(types), {"typed": "`t`.`typed`"})


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_any_type_is_read_filtered_and_paged(many_types: Store, name: str) -> None:
    things = many_types.objects("Thing")
    value = things.limit(2).to_arrow().to_pylist()[1][name]
    expected = {"string": (str, int, Decimal, UUID), "integer": (int, Decimal), "number": (float, Decimal)}
    assert isinstance(value, expected.get(COLUMNS[name][1], (dt.date,))), "not plain bits, nor a number for a time"
    assert not isinstance(value, dt.date) or value.year == 2020
    found = things.where(**{name: value})
    assert 1 in keys(found)
    assert keys(things.where(**{f"{name}__in": [value]})) == keys(found) == keys(many_types.at(found.text))
    assert found.count() + things.where(**{f"{name}__ne": value}).count() + things.where(**{name: None}).count() == 20
    for by in (name, f"-{name}"):
        assert pages(things.sort(by), 3) == keys(things.sort(by)), by
    assert sum(n for _, n in things.facets(name, top=20)[name].values) == 20 - things.where(**{name: None}).count()


@pytest.mark.parametrize("name", [n for n in COLUMNS if n not in ("coded", "enum")])
def test_a_key_of_any_type_pages_and_opens_its_object(many_types: Store, name: str) -> None:
    things = many_types.objects(f"By_{name}")
    assert len(set(pages(things, 3))) == 20
    key = things.limit(2).to_arrow().to_pylist()[1][name]
    assert many_types.object(f"By_{name}", key).key == key
    with pytest.raises(UnknownName, match="unknown By_"):
        many_types.object(f"By_{name}", "zzz")
    assert pages(things.after(key), 3) == pages(things, 3)[2:]


@pytest.mark.parametrize("name", [n for n, c in COLUMNS.items() if c[1] == "string"])
def test_a_text_that_is_no_value_of_the_column_equals_nothing(many_types: Store, name: str) -> None:
    things = many_types.objects("Thing")
    assert things.where(**{name: "zzz"}).count() == things.where(**{f"{name}__in": ["zzz", "yyy"]}).count() == 0
    assert things.where(**{f"{name}__ne": "zzz"}).count() == things.where(**{f"{name}__not_in": ["zzz"]}).count()
    assert things.where(**{f"{name}__ne": "zzz"}).count() == 20 - things.where(**{name: None}).count()


def test_decimals_of_any_size_stand_in_one_list(store: Store) -> None:
    orders = store.objects("Order")
    total = next(row["total"] for row in orders if row["total"] is not None)
    listed = [Decimal("1e37"), Decimal("1e-37"), total]
    assert keys(orders.where(total__in=listed)) == keys(orders.where(total=total)) != []
    assert keys(orders.where(f"total in 1e37, {total}000, 123456789012345678901234567890.5")) == keys(orders.where(total=total))


def test_periods_are_right_in_every_year_and_in_utc(lake: Lake) -> None:
    lake.command("create database t")
    lake.command("create table t.old (id Int64, at DateTime64(3, 'UTC'), day Date32, local DateTime('America/New_York')) "
                 "engine = MergeTree order by id")  # fmt: skip
    lake.command("insert into t.old values (1, '1950-05-05 10:10:10', '1950-05-05', '2020-12-31 21:30:00'), "
                 "(2, '2200-08-09 23:59:59.999', '2200-08-09', '2020-12-31 21:30:00')")  # fmt: skip
    properties = {n: Property(n, t) for n, t in [("id", "integer"), ("at", "timestamp"), ("day", "date"), ("local", "timestamp")]}
    properties["hour"] = Property("hour", "timestamp", expression="toStartOfHour(local)")
    olds = Store(lake, Ontology({"Old": ObjectType("Old", "", "old", "id", "id", properties)}), {"old": "`t`.`old`"}).objects("Old")
    utc = dt.timezone.utc

    def groups(name: str, by: str) -> list[Any]:
        return [row[0] for row in olds.group_by(name, by=by).rows]

    for name in ("at", "day"):
        assert groups(name, "year") == [dt.date(1950, 1, 1), dt.date(2200, 1, 1)]
        assert groups(name, "quarter") == [dt.date(1950, 4, 1), dt.date(2200, 7, 1)]
        assert groups(name, "month") == [dt.date(1950, 5, 1), dt.date(2200, 8, 1)]
        assert groups(name, "week") == [dt.date(1950, 5, 1), dt.date(2200, 8, 4)]
        assert groups(name, "day") == [dt.date(1950, 5, 5), dt.date(2200, 8, 9)]
    assert groups("at", "hour") == [dt.datetime(1950, 5, 5, 10, tzinfo=utc), dt.datetime(2200, 8, 9, 23, tzinfo=utc)]
    assert groups("local", "hour") == [dt.datetime(2021, 1, 1, 2, tzinfo=utc)]
    assert groups("local", "year") == [dt.date(2021, 1, 1)]
    assert [row["hour"] for row in olds] == [dt.datetime(2021, 1, 1, 2, tzinfo=utc)] * 2
