"""A workspace's model against dbt and the lake: keys, columns, docs; what health, reload and plan say of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from workbench import Workbench
from workbench.errors import InvalidFiles
from workbench.lake import Lake
from workbench.ontology import LiveOntology, Ontology, Store
from workbench.ontology.check import columns_of, doc_findings, key_findings, missing_columns, problems_at
from workbench.ontology.load import load_with_origins
from workbench.settings import Settings


def test_doubled_and_missing_keys_are_counted_and_said_at_the_key(store: Store, lake: Lake, folder: Path, models: list[str]) -> None:
    lake.command("insert into small.dim_tags values ('gift'), ('gift'), ('rush')")
    lake.command("create or replace table small.fct_orders engine = MergeTree order by tuple() as"
                 " select nullIf(order_id, 'x-1') as order_id, * except order_id from small.fct_orders")  # fmt: skip
    ontology, origins = load_with_origins(folder, models=models)
    columns = columns_of(lake, {model: f"small.{model}" for model in models})
    said: list[str] = []
    found = problems_at(key_findings(lake, ontology, store.relations, columns, lambda name, done: said.append(f"{done} {name}")), origins)
    assert [str(p) for p in found] == [
        "ontology/objects/order.yml:3: the key 'order_id' is null in 1 rows of fct_orders; they are no objects",
        "ontology/objects/tag.yml:3: the key 'tag' is not unique in dim_tags: 3 rows too many, the first of gift, rush",
    ]
    assert said == ["0 Order", "1 Person", "2 Tag"]


def test_a_table_that_goes_away_while_keys_are_counted_is_passed_over(
    store: Store, lake: Lake, ontology: Ontology, models: list[str]
) -> None:
    columns = columns_of(lake, {model: f"small.{model}" for model in models})
    lake.command("drop table small.dim_people sync")
    assert list(key_findings(lake, ontology, store.relations, columns)) == []


def test_columns_are_looked_up_for_all_models_at_once(store: Store, lake: Lake, ontology: Ontology) -> None:
    tables = {"dim_people": "small.dim_people", "dim_tags": "small.dim_tags", "gone": "small.gone", "elsewhere": "nosuch.x"}
    columns = columns_of(lake, tables)
    assert list(columns) == ["dim_people", "dim_tags"]
    assert columns["dim_people"] == lake.columns("small.dim_people")
    assert columns_of(lake, {}) == {}
    assert missing_columns(ontology, columns) == {}
    lake.command("alter table small.dim_people drop column weight, drop column vip")
    assert missing_columns(ontology, columns_of(lake, tables)) == {"Person": frozenset({"weight", "vip"})}


def test_properties_that_a_models_own_docs_do_not_name_are_found(ontology: Ontology) -> None:
    found = list(doc_findings(ontology, {"dim_tags": ["tag"], "fct_orders": ["order_id", "shop", "number", "total"], "dim_people": []}))
    assert found == [(("type", "Order", "person_id"), "dbt's docs of fct_orders do not name 'person_id'")]


# --- a whole workspace


@pytest.fixture
def bench(store: Store, lake_url: str, folder: Path, models: list[str]) -> Iterator[Workbench]:
    """The small world as a workspace, its models' tables in the lake."""
    root = folder.parent
    (root / "dbt/models/small").mkdir(parents=True)
    for model in models:
        (root / f"dbt/models/small/{model}.sql").write_text("select 1\n", encoding="utf-8")
    opened = Workbench(Settings.load(root, environ={}, clickhouse_url=lake_url))
    yield opened
    opened.close()


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text("utf-8") + text, encoding="utf-8")


def ontology_line(bench: Workbench) -> Mapping[str, Any]:
    (line,) = [p for p in bench.health().parts if p["part"] == "ontology"]
    return line


def test_a_lost_column_is_said_by_check_reload_and_health_and_the_rest_works(bench: Workbench, folder: Path) -> None:
    assert not bench.ontology_check().failed
    assert bench.ontology
    bench.lake.command("alter table small.dim_people drop column weight")
    append(folder / "objects/tag.yml", "deprecated: edited meanwhile\n")
    check = bench.ontology_check()
    assert check.failed
    assert [(p.file, p.line) for p in check.problems] == [("ontology/objects/person.yml", 12)]
    report = bench.ontology_reload()
    assert report.degraded == check.problems
    assert str(check.problems[0]) in bench.warning
    assert ontology_line(bench)["status"] == "late"  # it works, but for a part
    assert str(check.problems[0]) in ontology_line(bench)["detail"]
    assert bench.objects("Tag").count() == 3
    assert bench.objects("Person").count() == 5
    assert bench.ontology.object_type("Tag").deprecated == "edited meanwhile"


def test_a_bad_edit_is_said_with_file_and_line_wherever_people_look(bench: Workbench, folder: Path) -> None:
    path = folder / "objects/tag.yml"
    good = path.read_text("utf-8")
    assert bench.ontology
    path.write_text(good.replace("model: dim_tags", "model: dim_tag"), encoding="utf-8")
    with pytest.raises(InvalidFiles, match="the last good model stays in use"):
        bench.ontology_reload()
    where = "ontology/objects/tag.yml:2: there is no dbt model 'dim_tag'"
    assert where in bench.warning
    assert where in str(bench.ontology_list())
    assert not ontology_line(bench)["ok"]
    assert where in ontology_line(bench)["detail"]
    assert bench.objects("Tag").count() == 3
    path.write_text(good, encoding="utf-8")
    bench.ontology_reload()
    assert bench.warning == ""


def test_a_computed_property_is_planned_taken_queried_and_snapshot(bench: Workbench, folder: Path) -> None:
    path = folder / "objects/person.yml"
    assert bench.ontology
    path.write_text(path.read_text("utf-8").replace("title: name", "title: shown"), encoding="utf-8")
    append(path, "  half:  {type: number, expression: weight / 2, format: ',.1f'}\n  shown: {type: string, expression: upper(name)}\n")
    planned = bench.ontology_plan().to_dict()
    assert [(i["change"], i["name"]) for i in planned["items"]] == [
        ("changed", "Person"),
        ("added", "Person.half"),
        ("added", "Person.shown"),
    ]
    assert planned["objects"] == {"Person": {"before": 5, "after": 5}}
    assert not planned["applied"]
    assert not bench.ontology_check().failed
    assert bench.ontology_reload().changes.object_types.changed == ("Person",)
    assert bench.ontology_plan().is_applied
    rows = bench.objects("Person").where("half>35").to_arrow().to_pylist()
    assert [(r["shown"], r["half"]) for r in rows] == [("BOB", 40.0), ('DAN "THE MAN"', 35.125)]
    assert bench.object("Person", 1).title == "ADA"
    taken = bench.snapshot("Person", label="computed")
    assert bench.eidolon.measure(taken, "Person", "half") == bench.eidolon.measure(taken, "Person", "weight") / 2
    json.dumps(bench.ontology_show("Person").to_dict())


def test_eight_readers_get_no_error_and_no_mixed_answer_while_the_model_is_reloaded(
    store: Store, lake: Lake, folder: Path, models: list[str], tmp_path: Path, until: Callable[..., None]
) -> None:
    """Two models under one name: tags by name, and pairs by name. Whoever asks gets an answer that fits the model asked."""
    live = LiveOntology(folder, lambda: models, tmp_path / "k.json")
    tag, tagged = folder / "objects/tag.yml", folder / "links/tagged.yml"
    first = {path: path.read_text("utf-8") for path in (tag, tagged)}
    pairs = first[tag].replace("dim_tags", "bridge_order_tag").replace("tag: {", "tag_name: {")
    second = {
        tag: pairs.replace("key: tag", "key: tag_name").replace("title: tag", "title: tag_name"),
        tagged: first[tagged].replace("{tag: tag_name}", "{tag_name: tag_name}"),
    }
    expected = {"dim_tags": (3, 3), "bridge_order_tag": (6, 6)}  # all objects, and those that are linked
    wrong: list[object] = []
    asked: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                ontology = live.ontology
                model = ontology.object_type("Tag").model
                now = Store(lake, ontology, store.relations)
                count, linked = now.objects("Tag").count(), now.objects("Order").linked("tagged").count()
                if count != expected[model][0] or linked != (2 if model == "dim_tags" else 6):
                    wrong.append((model, count, linked))
                asked.add(model)
            except Exception as error:
                wrong.append(error)
                return

    assert live.ontology
    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    try:
        for i in range(12):
            for path, text in (second if i % 2 == 0 else first).items():
                path.write_text(text, encoding="utf-8")
            assert live.reload().changes
            model = live.ontology.object_type("Tag").model
            asked.discard(model)
            until(lambda model=model: model in asked)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not wrong, wrong[:3]
    assert asked == set(expected)
