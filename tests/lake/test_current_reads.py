"""The contract of current reads: any statement over versioned tables answers as the same statement over deduplicated copies.

`versions` has tables with many versions of a key, tombstones, keys that came back and parts that are never merged; `plain` has tables
of the rows that are current, found in Python, and nothing else. Every shape of SELECT in `current_reads.sql` is asked of both.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import SkyGraphError
from workbench.lake import Lake
from workbench.lake.sql import RAW_COLUMNS, Column, create_replacing

COLUMNS = {
    "orders": [
        ("id", "UInt32"), ("customer", "Nullable(UInt32)"), ("status", "LowCardinality(String)"), ("amount", "Decimal(12, 2)"),
        ("placed_on", "Date"), ("note", "Nullable(String)"), ("tags", "Array(String)"), ("extra", "Map(String, Int64)"),
        ("place", "Tuple(city String, zip UInt32)"),
    ],
    "customers": [("id", "UInt32"), ("name", "String"), ("country", "String"), ("boss", "Nullable(UInt32)")],
    "lines": [("order_id", "UInt32"), ("line", "UInt16"), ("product", "String"), ("quantity", "Int32")],
    "prices": [("product", "String"), ("since", "DateTime64(3, 'UTC')"), ("price", "Float64")],
}  # fmt: skip
KEYS = {"orders": ["id"], "customers": ["id"], "lines": ["order_id", "line"], "prices": ["product", "since"]}
_INDEXES = "index by_status status type set(10) granularity 1, index by_amount amount type minmax granularity 1, "\
    "index by_note note type bloom_filter(0.01) granularity 1"  # fmt: skip
_STATUS = ("new", "paid", "sent", "void")
_WORDS = ("lamp", "desk", "chair", "rug", "vase")
_COUNTRIES = ("Brazil", "Chile", "Peru", "Ghana")


def _row(table: str, rng: random.Random, key: tuple[Any, ...]) -> dict[str, Any]:
    if table == "orders":
        return {
            "id": key[0], "customer": rng.choice([None, *range(1, 41)]), "status": rng.choice(_STATUS),
            "amount": str(Decimal(rng.randrange(0, 50_000)) / 100),
            "placed_on": f"2026-{rng.randrange(1, 11):02}-{rng.randrange(1, 29):02}",
            "note": rng.choice([None, "", "gift", "late", "it's"]), "tags": rng.sample(_WORDS, rng.randrange(4)),
            "extra": {w: rng.randrange(9) for w in rng.sample(_WORDS, rng.randrange(3))},
            "place": {"city": rng.choice(_COUNTRIES), "zip": rng.randrange(5)},
        }  # fmt: skip
    if table == "customers":
        boss = rng.choice([None, *range(1, key[0])]) if key[0] > 1 else None
        return {"id": key[0], "name": f"{rng.choice(_WORDS)} {rng.randrange(99)}", "country": rng.choice(_COUNTRIES), "boss": boss}
    if table == "lines":
        return {"order_id": key[0], "line": key[1], "product": rng.choice(_WORDS), "quantity": rng.randrange(-2, 9)}
    return {"product": key[0], "since": key[1], "price": rng.randrange(1, 99)}


def _keys(table: str) -> list[tuple[Any, ...]]:
    if table == "orders":
        return [(n,) for n in range(1, 201)]
    if table == "customers":
        return [(n,) for n in range(1, 41)]
    if table == "lines":
        return [(n, m) for n in range(1, 121) for m in range(1, 4)]
    return [(w, f"2026-{m:02}-01 00:00:00.000") for w in _WORDS for m in (1, 4, 8)]


def fill(lake: Lake, *, seed: int = 7, rounds: int = 12) -> None:
    """Make both databases: in each round a part per table with new versions, deletions and returns of some keys."""
    rng = random.Random(seed)
    for database in ("versions", "plain"):
        lake.create_database(database)
    version = 0
    for table, columns in COLUMNS.items():
        own = [Column(n, t) for n, t in columns]
        lake.command(create_replacing(f"versions.{table}", [*own, *RAW_COLUMNS], key=KEYS[table], version="_version", deleted="_deleted"))
        lake.command(f"system stop merges versions.{table}")
        if table == "orders":
            for index in _INDEXES.split(", index "):
                lake.command(f"alter table versions.orders add index {index.removeprefix('index ')}")
        lake.command(create_replacing(f"plain.{table}", [*own, *RAW_COLUMNS], key=KEYS[table], version="_version"))
        current: dict[tuple[Any, ...], dict[str, Any] | None] = {}
        for number in range(rounds):
            keys = _keys(table) if number == 0 else rng.sample(_keys(table), max(2, len(_keys(table)) // 8))
            part = []
            for key in keys:
                version += 1
                before = current.get(key)
                deleted = number > 0 and before is not None and rng.random() < 0.3
                own_values = before if deleted and before else _row(table, rng, key)
                row = {**own_values, "_version": version, "_deleted": int(deleted), "_run_id": f"r{number}"}
                current[key] = None if deleted else row
                part.append(row)
            _insert(lake, f"versions.{table}", part)
        _insert(lake, f"plain.{table}", [row for row in current.values() if row is not None])
    for d in ("versions", "plain"):
        for view in VIEWS:
            lake.command(view.format(d=d))


def _insert(lake: Lake, table: str, rows: list[dict[str, Any]]) -> None:
    lake.insert_stream(table, iter(["".join(json.dumps(row) + "\n" for row in rows).encode()]), "JSONEachRow")


VIEWS = (
    "create view {d}.paid as select id, customer, amount, placed_on from {d}.orders where status = 'paid'",
    "create view {d}.paid_by_customer as select customer, count() as orders, sum(amount) as total from {d}.paid group by customer",
    "create view {d}.full as select o.id as id, o.amount as amount, c.name as name, c.country as country from {d}.orders as o "
    "left join {d}.customers as c on o.customer = c.id",
    "create view {d}.of_status as select id, amount from {d}.orders where status = {{s:String}}",
    "create view {d}.lines_of as select order_id, sum(quantity) as pieces, count() as lines from {d}.lines group by order_id",
    "create view {d}.full_paid as select p.id as id, l.pieces as pieces from {d}.paid as p join {d}.lines_of as l on p.id = l.order_id",
    "create table {d}.all_orders as {d}.orders engine = Merge('{d}', '^orders$')",
)

# a set in a table, and a dictionary: what they hold was taken by a read of current rows
ALSO = (
    "create table {d}.customers_ids engine = Set as select id from {d}.customers where country = 'Peru'",
    "create dictionary {d}.names (id UInt64, name String) primary key id "
    "source(clickhouse(query 'select id, name from {d}.customers final' user '{user}' password '{password}' "
    "port {tcp} host '127.0.0.1')) layout(flat()) lifetime(0)",
)


def shapes() -> list[str]:
    """The statements, a line each."""
    text = Path(__file__).with_name("current_reads.sql").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("--")]


@pytest.fixture(scope="module")
def both(own_lake: Lake) -> Lake:
    """A lake with the versioned tables and their plain copies."""
    fill(own_lake)
    for d in ("versions", "plain"):
        for statement in ALSO:
            own_lake.command(statement.format(d=d, **_at(own_lake)))
    return own_lake


def _at(lake: Lake) -> dict[str, Any]:
    return {"tcp": lake.address.tcp_port, "user": lake.address.user, "password": lake.address.password}


def _answer(lake: Lake, sql: str) -> list[str]:
    return [repr(list(row.values())) for row in lake.query(sql).to_pylist()]


def test_the_tables_have_what_makes_reads_wrong(both: Lake) -> None:
    for table in COLUMNS:
        physical = both.query_history(f"select count() from versions.{table}").column(0)[0].as_py()
        keys = both.query_history(f"select uniqExact({', '.join(KEYS[table])}) from versions.{table}").column(0)[0].as_py()
        current = both.scalar(f"select count() from versions.{table}")
        parts = both.scalar(f"select count() from system.parts where database = 'versions' and table = '{table}' and active")
        assert physical > keys > current > 0 and parts == 12


def test_every_shape_of_query_answers_as_over_deduplicated_tables(both: Lake) -> None:
    assert len(shapes()) >= 150 and len(set(shapes())) == len(shapes())
    wrong, would_be_wrong = [], 0
    for shape in shapes():
        versioned, plain = (shape.format(d=d, **_at(both)) for d in ("versions", "plain"))
        try:
            expected, found = _answer(both, plain), _answer(both, versioned)
        except SkyGraphError as error:
            wrong.append(f"{shape}\n    {error}")
            continue
        if " order by " not in shape.rpartition(")")[2]:
            expected, found = sorted(expected), sorted(found)
        if found != expected:
            wrong.append(f"{shape}\n    {found[:3]}\n    {expected[:3]}")
        raw = both.query_history(versioned).to_pylist()
        would_be_wrong += sorted(repr(list(row.values())) for row in raw) != sorted(expected)
    assert not wrong, "\n".join(wrong)
    # the tables are such that nearly every shape shows a forgotten FINAL
    assert would_be_wrong > 0.75 * len(shapes())


# --- any schema, any edits, any query of a small grammar, against pandas over the deduplicated rows

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "Int64": st.integers(-3, 3), "String": st.sampled_from(["", "a", "b", "ab", "it's"]), "Nullable(Int32)": st.none() | st.integers(-2, 2),
    "Date": st.sampled_from(["2026-01-01", "2026-02-01", "2026-03-01"]),
}  # fmt: skip


@st.composite
def _worlds(draw: st.DrawFn) -> tuple[list[str], list[str], list[list[tuple[Any, ...]]]]:
    """Types of the key and of the other columns, and parts of rows: key, values, deleted."""
    key = draw(st.lists(st.sampled_from(["Int64", "String", "Date"]), min_size=1, max_size=2))
    rest = draw(st.lists(st.sampled_from(sorted(_VALUES)), min_size=1, max_size=3))
    row = st.tuples(st.tuples(*(_VALUES[t] for t in key)), st.tuples(*(_VALUES[t] for t in rest)), st.booleans())
    return key, rest, draw(st.lists(st.lists(row, min_size=1, max_size=12), min_size=1, max_size=5))


@st.composite
def _questions(draw: st.DrawFn, types: list[str]) -> tuple[str, Callable[[pd.DataFrame], pd.DataFrame], list[str], str]:
    """A condition as SQL and as a filter, columns to group by, and an aggregated column ('' for a count)."""
    names = [f"c{n}" for n in range(len(types))]

    def condition(depth: int) -> tuple[str, Callable[[pd.DataFrame], Any]]:
        kind = draw(st.sampled_from(["=", "<", ">=", "in", "null", "and", "or"])) if depth else "="
        if kind in ("and", "or"):
            (a, fa), (b, fb) = condition(depth - 1), condition(depth - 1)
            return f"({a} {kind} {b})", (lambda d: fa(d) & fb(d)) if kind == "and" else (lambda d: fa(d) | fb(d))
        n = draw(st.integers(0, len(types) - 1))
        if kind == "null":
            return f"{names[n]} is null", lambda d: d[names[n]].isna()
        values = [draw(_VALUES[types[n]].filter(lambda v: v is not None)) for _ in range(2)]
        literal = [str(v) if isinstance(v, int) else "'" + v.replace("'", "''") + "'" for v in values]
        if kind == "in":
            return f"{names[n]} in ({', '.join(literal)})", lambda d: d[names[n]].isin(values)
        compare = {"=": "eq", "<": "lt", ">=": "ge"}[kind]

        def meets(d: pd.DataFrame) -> Any:
            here = d[names[n]].notna()
            return here & getattr(d[names[n]].where(here, values[0]), compare)(values[0])

        return f"{names[n]} {kind} {literal[0]}", meets

    sql, meets = condition(2)
    groups = draw(st.lists(st.sampled_from(names), unique=True, max_size=2))
    numbers = [name for name, t in zip(names, types, strict=True) if "Int" in t]
    return sql, meets, groups, draw(st.sampled_from(["", *numbers]))


# ways of the engine to read FINAL that change speed and not rows; a statement may set them
_HOW: list[dict[str, int]] = [
    {}, {"optimize_move_to_prewhere_if_final": 1}, {"use_skip_indexes_if_final": 0}, {"query_plan_optimize_lazy_final": 1},
    {"split_parts_ranges_into_intersecting_and_non_intersecting_final": 0}, {"enable_vertical_final": 0}, {"max_threads": 1},
]  # fmt: skip


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_question_about_any_table_answers_as_pandas_over_its_current_rows(own_lake: Lake, data: st.DataObject) -> None:
    key, rest, parts = data.draw(_worlds())
    types = [*key, *rest]
    names = [f"c{n}" for n in range(len(types))]
    own_lake.create_database("any")
    own_lake.command("drop table if exists any.t sync")
    columns = [Column(n, t) for n, t in zip(names, types, strict=True)]
    ddl = create_replacing(
        "any.t", [*columns, *RAW_COLUMNS], key=names[: len(key)], version="_version", deleted="_deleted", settings="index_granularity = 2"
    )
    # what would let an older version answer: a version in another partition than the older one, and indexes of changing columns
    moving = [n for n, t in zip(names, types, strict=True) if n not in names[: len(key)] and "Nullable" not in t]
    if moving and data.draw(st.booleans()):
        ddl = ddl.replace("\norder by", f"\npartition by {data.draw(st.sampled_from(moving))}\norder by")
    own_lake.command(ddl)
    for name in names[len(key) :]:
        own_lake.command(
            f"alter table any.t add index i{name} {name} type {data.draw(st.sampled_from(['minmax', 'set(4)']))} granularity 1"
        )
    own_lake.command("system stop merges any.t")
    current: dict[tuple[Any, ...], tuple[Any, ...] | None] = {}
    version = 0
    for part in parts:
        rows = []
        for of, values, deleted in part:
            version += 1
            rows.append({**dict(zip(names, (*of, *values), strict=True)), "_version": version, "_deleted": int(deleted), "_run_id": ""})
            current[of] = None if deleted else (*of, *values)
        _insert(own_lake, "any.t", rows)
    frame = pd.DataFrame([row for row in current.values() if row is not None], columns=names, dtype=object)
    for _ in range(5):
        sql, meets, groups, number = data.draw(_questions(types))
        measure = f"sum({number})" if number else "count()"
        picked = ", ".join([*(f"toString({g}) as g{n}" for n, g in enumerate(groups)), f"{measure} as m"])
        by = f" group by {', '.join(groups)}" if groups else ""
        how = data.draw(st.sampled_from(_HOW))
        found = own_lake.query(f"select {picked} from any.t where {sql}{by}", settings=how).to_pylist()
        kept = frame[meets(frame).astype(bool)] if len(frame) else frame
        expected: dict[Any, Any] = {} if groups else {(): 0 if not number else _sum(kept, number, types)}
        for values, group in kept.groupby(groups, dropna=False) if groups else ():
            of = tuple(
                None if pd.isna(v) else str(int(v)) if isinstance(v, float) else str(v)
                for v in (values if isinstance(values, tuple) else (values,))
            )
            expected[of] = _sum(group, number, types) if number else len(group)
        if not groups and not number:
            expected = {(): len(kept)}
        assert {tuple(row[f"g{n}"] for n in range(len(groups))): row["m"] for row in found} == expected


def _sum(frame: pd.DataFrame, name: str, types: list[str]) -> int | None:
    """As SQL adds up: without nulls; null where there is nothing else and the column may be null."""
    there = frame[name].dropna()
    return None if there.empty and types[int(name[1:])].startswith("Nullable") else int(there.sum())
