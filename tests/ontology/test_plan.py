"""What a reload would mean: breaking or not, who is touched, counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.ontology import Ontology, Store, load_ontology
from workbench.ontology.check import object_counts
from workbench.ontology.plan import plan, texts_of

PERSON, ORDER, TAG = "objects/person.yml", "objects/order.yml", "objects/tag.yml"
ORDERED_BY, TAGGED = "links/ordered_by.yml", "links/tagged.yml"
COMPUTED = "  double: {type: number, expression: weight * 2}\n  fourfold: {type: number, expression: double * 2}\n"

# file, what is replaced, by what, and the differences: change, name, detail, who is touched
CASES = [
    pytest.param(TAG, "title: tag", "title: tag\ndescription: x", [("changed", "Tag", "description", "link tagged")], id="description"),
    pytest.param(
        PERSON, "  vip:       {type: boolean}\n", "", [("breaking", "Person.vip", "removed", "notebooks/jobs/a.ipynb")], id="removed"
    ),
    pytest.param(
        PERSON,
        "  vip: ",
        "  star: ",
        [("breaking", "Person.vip", "removed", "notebooks/jobs/a.ipynb"), ("added", "Person.star", "boolean", "")],
        id="renamed",
    ),
    pytest.param(
        PERSON,
        "  vip:       {type: boolean}",
        "  star: {type: boolean, aliases: vip}",
        [
            ("changed", "Person.vip", "renamed to star; the old name goes on as an alias", "notebooks/jobs/a.ipynb"),
            ("added", "Person.star", "boolean", ""),
        ],
        id="renamed-with-an-alias",
    ),
    pytest.param(
        PERSON, "name:      {type: string,", "name: {type: integer,", [("breaking", "Person.name", "type string -> integer", "")], id="type"
    ),
    pytest.param(
        PERSON,
        "weight:    {type: number, unit: kg}",
        "weight: {type: number, unit: g}",
        [("changed", "Person.weight", "unit kg -> g", "computed Person.double, computed Person.fourfold")],
        id="unit-under-computed",
    ),
    pytest.param(
        ORDER,
        "number:    {type: integer}",
        "number: {type: decimal}",
        [("changed", "Order.number", "type integer -> decimal", "link tagged")],
        id="wider",
    ),
    pytest.param(
        ORDER,
        "key: order_id",
        "key: shop",
        [("breaking", "Order", "key order_id -> shop", "link ordered_by, link tagged")],
        id="key",
    ),
    pytest.param(
        ORDERED_BY,
        "many_to_one",
        "one_to_one",
        [("breaking", "ordered_by", "cardinality many to one -> one to one", "views/old.txt")],
        id="narrower",
    ),
    pytest.param(
        ORDERED_BY,
        "reverse: orders",
        "reverse: bought",
        [("breaking", "ordered_by", "reverse orders -> bought", "views/old.txt")],
        id="reverse",
    ),
    pytest.param(
        TAGGED,
        "{tag: tag_name}",
        "{tag: other}",
        [("changed", "tagged", "joined in another way: it may lead to other objects", "views/old.txt")],
        id="via",
    ),
    pytest.param(
        TAG,
        "type: Tag\n",
        "type: Label\naliases: Tag\n",
        [
            ("changed", "Tag", "renamed to Label; the old name goes on as an alias", "link tagged"),
            ("added", "Label", "renamed from Tag", ""),
        ],
        id="type-renamed",
    ),
]


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, str]:
    """A notebook that names Person and vip, one that names vip alone, a saved view, and what cannot be read."""
    workspace = tmp_path / "w"
    for name, source in (("jobs/a", "bench.objects('Person').where(vip=True)"), ("explore/b", "vip = 1  # no Persons here")):
        path = workspace / f"notebooks/{name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": source.splitlines(keepends=True)}]}), encoding="utf-8")
    (workspace / "notebooks/jobs/half.ipynb").write_text('{"cells": [')
    (workspace / "views").mkdir()
    (workspace / "views/old.txt").write_text("Orders/orders\n", encoding="utf-8")
    return texts_of(workspace)


@pytest.mark.parametrize(("file", "old", "new", "expected"), CASES)
def test_an_edit_is_planned(
    folder: Path, models: list[str], texts: dict[str, str], file: str, old: str, new: str, expected: list[tuple[str, str, str, str]]
) -> None:
    with (folder / PERSON).open("a", encoding="utf-8") as person:
        person.write(COMPUTED)
    before = load_ontology(folder, models=models)
    text = (folder / file).read_text("utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    if "Label" in new:
        link = folder / TAGGED
        link.write_text(link.read_text("utf-8").replace("to: Tag\n", "to: Label\n"), encoding="utf-8")
    found = plan(before, load_ontology(folder, models=models), texts)
    assert sorted((i.change, i.name, i.detail, ", ".join(i.touches)) for i in found.items) == sorted(expected)
    order = ["breaking", "changed", "added"]
    assert [i.change for i in found.items] == sorted((i.change for i in found.items), key=order.index)


def test_nothing_to_do_says_so(ontology: Ontology) -> None:
    assert "nothing to take" in str(plan(ontology, ontology, {}))


def test_objects_are_counted_before_and_after(store: Store, ontology: Ontology, folder: Path, models: list[str]) -> None:
    path = folder / TAG
    path.write_text(path.read_text("utf-8").replace("model: dim_tags", "model: bridge_order_tag").replace("tag: {", "tag_name: {")
                    .replace("key: tag", "key: tag_name").replace("title: tag", "title: tag_name"), encoding="utf-8")  # fmt: skip
    link = folder / TAGGED
    link.write_text(link.read_text("utf-8").replace("{tag: tag_name}", "{tag_name: tag_name}"), encoding="utf-8")
    new = load_ontology(folder, models=models)
    found = plan(ontology, new, {})
    counted = found.with_counts(*(object_counts(store.lake, o, store.relations, found.types) for o in (ontology, new)))
    assert counted.to_dict()["objects"] == {"Tag": {"before": 3, "after": 6}}
    assert "objects before" in str(counted)
