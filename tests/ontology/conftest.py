"""A small world for the ontology's tests: people with bosses, their orders, and tags through a bridge."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.lake import Lake
from workbench.ontology import Ontology, Store, load_ontology

MODELS = ["dim_people", "fct_orders", "dim_tags", "bridge_order_tag"]

FILES = {
    "objects/person.yml": """\
type: Person
description: Somebody who orders.
model: dim_people
key: person_id
title: name
properties:
  person_id: {type: integer}
  name:      {type: string, description: First and last name}
  city:      {type: string}
  boss_id:   {type: integer}
  score:     {type: decimal, unit: USD}
  weight:    {type: number, unit: kg}
  vip:       {type: boolean}
  born_on:   {type: date}
  seen_at:   {type: timestamp}
""",
    "objects/order.yml": """\
type: Order
model: fct_orders
key: order_id
title: order_id
properties:
  order_id:  {type: string}
  shop:      {type: string}
  number:    {type: integer}
  person_id: {type: integer}
  total:     {type: decimal, unit: USD}
""",
    "objects/tag.yml": """\
type: Tag
model: dim_tags
key: tag
title: tag
properties:
  tag: {type: string}
""",
    "links/ordered_by.yml": """\
link: ordered_by
description: Who placed the order.
from: Order
to: Person
cardinality: many_to_one
join: {person_id: person_id}
reverse: orders
""",
    "links/reports_to.yml": """\
link: reports_to
from: Person
to: Person
cardinality: many_to_one
join: {boss_id: person_id}
reverse: reports
""",
    "links/tagged.yml": """\
link: tagged
from: Order
to: Tag
cardinality: many_to_many
via:
  model: bridge_order_tag
  from: {shop: at_shop, number: order_number}
  to: {tag: tag_name}
reverse: orders
""",
}

TABLES = """
create database small;
create table small.dim_people (person_id UInt32, name String, city LowCardinality(Nullable(String)), boss_id Nullable(UInt32),
    score Nullable(Decimal(10, 2)), weight Nullable(Float64), vip Nullable(Bool), born_on Nullable(Date),
    seen_at Nullable(DateTime64(3, 'UTC'))) engine = MergeTree order by person_id;
insert into small.dim_people values
    (1, 'Ada', 'London', null, 10.50, 60.5, true, '1985-12-10', '2026-01-01 00:00:00.123'),
    (2, 'Bob', 'Paris', 1, 10.50, 80, false, '1990-01-01', '2026-01-02 12:00:00.000'),
    (3, 'Zoë', null, 1, null, null, null, null, null),
    (4, 'Dan "the man"', 'London', 2, 3.25, 70.25, false, '1970-01-01', '2026-01-03 00:00:00.000'),
    (5, 'Eve', '', null, null, 50, true, '2000-02-29', '2026-01-04 00:00:00.000');
create table small.fct_orders (order_id String, shop Nullable(String), number Nullable(Int64), person_id Nullable(Int64),
    total Decimal(18, 2)) engine = MergeTree order by order_id;
insert into small.fct_orders values ('n-1', 'north', 1, 1, 5), ('n-2', 'north', 2, 1, 15.5), ('s-1', 'south', 1, 2, 7),
    ('s-2', 'south', 2, 99, 8), ('x-1', null, 1, null, 9);
create table small.dim_tags (tag String) engine = MergeTree order by tag;
insert into small.dim_tags values ('gift'), ('rush'), ('unused');
create table small.bridge_order_tag (at_shop Nullable(String), order_number Int32, tag_name String) engine = MergeTree order by tag_name;
insert into small.bridge_order_tag values ('north', 1, 'gift'), ('north', 2, 'gift'), ('south', 1, 'rush'), (null, 1, 'rush'),
    ('north', 1, 'rush'), ('north', 1, 'rush')
"""


@pytest.fixture
def models() -> list[str]:
    """The dbt models of the small world."""
    return list(MODELS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The small world's ontology folder, without a mistake."""
    root = tmp_path / "ontology"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def ontology(folder: Path) -> Ontology:
    """The small world's model."""
    return load_ontology(folder, models=MODELS)


@pytest.fixture
def store(lake: Lake, ontology: Ontology) -> Store:
    """The small world in the lake."""
    for statement in TABLES.split(";\n"):
        lake.command(statement)
    return Store(lake, ontology, {model: f"`small`.`{model}`" for model in MODELS})
