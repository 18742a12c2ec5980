"""The model as a value: whole, immutable, kept as JSON, compared."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import UnknownName, UsageError
from workbench.lake.sql import quote
from workbench.ontology import LinkType, ObjectType, Ontology, OntologyList, Property, TypeDetail, load_ontology
from workbench.ontology.answers import TypeGraph
from workbench.ontology.model import Via, diff
from workbench.ontology.values import PROPERTY_TYPES, check_format

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(str.strip)


@st.composite
def ontologies(draw: st.DrawFn) -> Ontology:
    types = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        properties = {
            p: Property(
                p,
                draw(st.sampled_from(sorted(PROPERTY_TYPES))),
                draw(TEXTS | st.just("")),
                draw(TEXTS | st.just("")),
                aliases=draw(st.sampled_from([(), (f"also_{p}",), (f"also_{p}", f"was_{p}")])),
                deprecated=draw(TEXTS | st.just("")),
            )  # fmt: skip
            for p in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
        }
        key, title = (draw(st.sampled_from(sorted(properties))) for _ in range(2))
        more = draw(st.sampled_from(sorted(properties)))
        computed = Property(f"{name}_computed", "number", "", "", f"toFloat64({quote(more)}) + 1", ",.2f")
        properties[computed.name] = computed
        also = draw(st.sampled_from([(), (f"also_{name}",)]))
        types[name] = ObjectType(name, draw(TEXTS | st.just("")), draw(TEXTS), key, title, properties, also, draw(TEXTS | st.just("")))
    links = {}
    spoken = draw(st.lists(NAMES, max_size=6, unique=True))
    for name, reverse in zip(spoken[::2], spoken[1::2], strict=False):
        one, other = (types[draw(st.sampled_from(sorted(types)))] for _ in range(2))
        near, far = (draw(st.sampled_from(sorted(p.name for p in t.stored))) for t in (one, other))
        cardinality = draw(st.sampled_from(["one_to_one", "many_to_one", "one_to_many", "many_to_many"]))
        same = one.properties[near].kind.joins(other.properties[far].kind)
        via = Via(draw(TEXTS), {near: draw(TEXTS)}, {far: draw(TEXTS)}) if cardinality == "many_to_many" else None
        if via is None and not same:
            continue
        join = {} if via else {near: far}
        also, old = draw(st.sampled_from([(), (f"also_{name}",)])), draw(TEXTS | st.just(""))
        links[name] = LinkType(name, draw(TEXTS | st.just("")), one.name, other.name, cardinality, join, via, reverse, also, old)
    return Ontology(types, links)


def written(value: Any) -> str:
    return yaml.safe_dump({k: v for k, v in value.items() if v not in ("", None, {}, [])}, allow_unicode=True, sort_keys=False)


def write(ontology: Ontology, folder: Path) -> None:
    for kind in ("objects", "links"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for old in (folder / kind).iterdir():
            old.unlink()
    data = ontology.to_dict()
    for i, raw in enumerate(data["object_types"].values()):
        (folder / "objects" / f"{i}.yml").write_text(
            written(
                {
                    "type": raw["name"],
                    **{k: raw[k] for k in ("description", "model", "key", "title", "aliases", "deprecated")},
                    "properties": {n: {k: v for k, v in p.items() if v} for n, p in raw["properties"].items()},
                }
            ),
            encoding="utf-8",
        )
    for i, raw in enumerate(data["link_types"].values()):
        via = raw["via"]
        (folder / "links" / f"{i}.yml").write_text(
            written(
                {
                    "link": raw["name"],
                    "description": raw["description"],
                    "from": raw["from_type"],
                    "to": raw["to_type"],
                    "cardinality": raw["cardinality"],
                    "join": raw["join"],
                    "reverse": raw["reverse"],
                    "aliases": raw["aliases"],
                    "deprecated": raw["deprecated"],
                    "via": via and {"model": via["model"], "from": via["from_columns"], "to": via["to_columns"]},
                }
            ),
            encoding="utf-8",
        )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ontology=ontologies())
def test_files_to_model_to_json_and_back_is_the_same_model(tmp_path: Path, ontology: Ontology) -> None:
    write(ontology, tmp_path)
    models = {t.model for t in ontology.object_types.values()} | {v.via.model for v in ontology.link_types.values() if v.via}
    read = load_ontology(tmp_path, models=models)
    assert read == ontology
    kept = Ontology.from_dict(json.loads(json.dumps(read.to_dict())))
    assert kept == ontology
    assert not diff(kept, ontology)
    assert kept.fingerprint == ontology.fingerprint
    ElementTree.fromstring(TypeGraph(kept).svg())
    str(OntologyList(kept))
    for shown in kept.object_types.values():
        json.dumps(TypeDetail(kept, shown).to_dict())


def test_the_fingerprint_changes_with_anything(ontology: Ontology) -> None:
    person = ontology.object_type("Person")
    city = person.properties["city"]
    others = [
        replace(person, deprecated="x"), replace(person, aliases=("Human",)),
        replace(person, properties=dict(reversed(person.properties.items()))),
        *(replace(person, properties={**person.properties, "city": replace(city, **{field: "x"})})
          for field in ("description", "unit", "expression", "format", "deprecated")),
    ]  # fmt: skip
    prints = {Ontology({**ontology.object_types, "Person": p}, ontology.link_types).fingerprint for p in [person, *others]}
    assert len(prints) == len(others) + 1
    assert Ontology.from_dict(ontology.to_dict()).fingerprint == ontology.fingerprint


def test_a_model_kept_before_there_were_aliases_is_read(ontology: Ontology) -> None:
    data = json.loads(json.dumps(ontology.to_dict()))
    for kind in ("object_types", "link_types"):
        for raw in data[kind].values():
            del raw["aliases"], raw["deprecated"]
            for p in raw.get("properties", {}).values():
                del p["expression"], p["format"], p["aliases"], p["deprecated"]
    assert Ontology.from_dict(data) == ontology


@pytest.mark.parametrize(
    ("type", "format", "value", "shown"),
    [
        ("decimal", ",.2f", Decimal("1234.5"), "1,234.50"),
        ("number", ".1%", 0.1234, "12.3%"),
        ("integer", "d", 2026, "2026"),
        ("date", "%d.%m.%Y", dt.date(2026, 1, 31), "31.01.2026"),
        ("timestamp", "%H:%M", dt.datetime(2026, 1, 31, 12, tzinfo=dt.timezone(dt.timedelta(hours=2))), "10:00"),
        ("integer", ",d", None, ""),
        ("integer", "", 1234, "1,234"),
    ],
)
def test_values_are_shown_by_the_format(type: str, format: str, value: Any, shown: str) -> None:
    assert not format or check_format(format, type) == ""
    assert Property("p", type, format=format).show(value) == shown


def test_the_model_cannot_be_changed(ontology: Ontology) -> None:
    with pytest.raises(TypeError):
        ontology.object_types["Person"] = None  # type: ignore[index]
    with pytest.raises(TypeError):
        del ontology.object_types["Person"].properties["name"]  # type: ignore[attr-defined]


def test_a_self_link_is_seen_both_ways(ontology: Ontology) -> None:
    ends = {e.name: (e.to_type, e.many, e.reverse, e.back) for e in ontology.links_of("Person")}
    assert ends == {
        "orders": ("Order", True, True, "ordered_by"),
        "reports_to": ("Person", False, False, "reports"),
        "reports": ("Person", True, True, "reports_to"),
    }


def test_diff_names_what_was_added_changed_and_removed(ontology: Ontology) -> None:
    person = ontology.object_type("Person")
    turned = replace(person, properties=dict(reversed(list(person.properties.items()))))
    types = {n: t for n, t in ontology.object_types.items() if n != "Tag"} | {"Person": turned, "Thing": person}
    found = diff(ontology, Ontology(types, ontology.link_types))
    assert found.to_dict() == {
        "object_types": {"added": ("Thing",), "changed": ("Person",), "removed": ("Tag",)},
        "link_types": {"added": (), "changed": (), "removed": ()},
    }
    assert not diff(ontology, ontology)


@pytest.mark.parametrize(
    "damage",
    [
        None,
        [],
        "x",
        {},
        {"object_types": {}},
        {"object_types": [], "link_types": {}},
        {"object_types": {"A": {}}, "link_types": {}},
        {
            "object_types": {},
            "link_types": {
                "x": {
                    "name": "x",
                    "description": "",
                    "from_type": "A",
                    "to_type": "A",
                    "cardinality": "one_to_one",
                    "join": {"a": "a"},
                    "via": None,
                    "reverse": "y",
                }
            },
        },
    ],
    ids=str,
)
def test_damaged_json_is_a_value_error(damage: Any) -> None:
    with pytest.raises(ValueError, match="not a kept"):
        Ontology.from_dict(damage)


@pytest.mark.parametrize(
    ("type", "value", "expected"),
    [
        ("integer", " -12 ", -12),
        ("integer", 3.0, 3),
        ("integer", Decimal("4"), 4),
        ("decimal", "1.90", Decimal("1.90")),
        ("decimal", 0.1, Decimal("0.1")),
        ("decimal", "1e3", Decimal("1000")),
        ("number", "1e3", 1000.0),
        ("string", 5, "5"),
        ("boolean", "No", False),
        ("boolean", True, True),
        ("date", "2026-01-31", dt.date(2026, 1, 31)),
        ("timestamp", "2026-01-31", dt.datetime(2026, 1, 31, tzinfo=dt.timezone.utc)),
        ("timestamp", "2026-01-31T12:00:00+02:00", dt.datetime(2026, 1, 31, 10, tzinfo=dt.timezone.utc)),
    ],
)
def test_values_are_read_by_the_property_type(type: str, value: Any, expected: Any) -> None:
    assert PROPERTY_TYPES[type].parse(value) == expected


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("integer", "1.5"),
        ("integer", "1_000"),
        ("integer", ""),
        ("integer", True),
        ("integer", 2**64),
        ("integer", None),
        ("integer", float("nan")),
        ("integer", float("inf")),
        ("integer", "٣"),
        ("decimal", "nan"),
        ("decimal", "1_0"),
        ("decimal", "1e40"),
        ("decimal", "1e-40"),
        ("decimal", "ten"),
        ("decimal", True),
        ("number", "nan"),
        ("number", "x"),
        ("number", []),
        ("string", b"x"),
        ("string", "\ud800"),
        ("string", ["a"]),
        ("boolean", "maybe"),
        ("boolean", 2),
        ("date", "31.01.2026"),
        ("date", "0001-01-01"),
        ("date", dt.datetime(2026, 1, 1)),
        ("timestamp", "soon"),
        ("timestamp", "2300-01-01"),
        ("timestamp", "1900-01-01T00:00:00+14:00"),
    ],
    ids=str,
)
def test_a_bad_value_says_type_property_and_value(type: str, value: Any) -> None:
    object_type = ObjectType("Thing", "", "things", "p", "p", {"p": Property("p", type)})
    with pytest.raises(UsageError, match=rf"Thing\.p \({type}\): ") as caught:
        object_type.parse("p", value)
    assert repr(value) in str(caught.value)


def test_unknown_names_are_said_with_the_nearest(ontology: Ontology) -> None:
    with pytest.raises(UnknownName, match="unknown object type 'Persn'; did you mean Person"):
        ontology.object_type("Persn")
    with pytest.raises(UnknownName, match="ordered_by"):
        ontology.link_type("orderedby")
    with pytest.raises(UnknownName, match="unknown link of Tag 'order'; did you mean orders"):
        ontology.link_end("Tag", "order")


@pytest.mark.parametrize(
    ("type", "column", "holds"),
    [
        ("integer", "UInt8", True),
        ("integer", "Nullable(Int64)", True),
        ("integer", "String", False),
        ("integer", "Float64", False),
        ("decimal", "Decimal(18, 2)", True),
        ("decimal", "Int32", True),
        ("decimal", "Float64", False),
        ("number", "Float32", True),
        ("number", "Decimal(10, 2)", True),
        ("string", "LowCardinality(Nullable(String))", True),
        ("string", "Int64", True),
        ("string", "UUID", True),
        ("string", "Enum8('a' = 1)", True),
        ("string", "Array(String)", False),
        ("string", "FixedString(3)", True),
        ("boolean", "Bool", True),
        ("boolean", "UInt8", True),
        ("boolean", "Int64", False),
        ("date", "Date32", True),
        ("date", "DateTime", False),
        ("timestamp", "DateTime64(3, 'UTC')", True),
        ("timestamp", "Date", True),
        ("timestamp", "String", False),
    ],
)
def test_a_property_type_holds_a_column_type_or_not(type: str, column: str, holds: bool) -> None:
    assert PROPERTY_TYPES[type].holds(column) is holds
