"""What if: rows edited and left out in a branch of the lake, marts built of them, compared, thrown away; the base is never touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journey.conftest import Shop, open_shop
from workbench import Workbench
from workbench.errors import QueryError, SkyGraphError, TransformError, UnknownName, UsageError


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A shop of its own, synced and built."""
    shop: Shop = open_shop(tmp_path_factory.mktemp("fork") / "shop")
    made = shop.bench()
    try:
        assert not made.sync().failed
        assert made.dbt("run").success
        yield made
    finally:
        made.close()
        shop.run("down")


def sums(bench: Workbench) -> dict[str, tuple[int, int]]:
    """Rows and a checksum of every table that is not a fork's."""
    tables = bench.lake.query(
        "select concat(database, '.', name) as t from system.tables where database in ('raw', 'staging', 'marts') order by t"
    ).column("t")
    found = {}
    for name in tables.to_pylist():
        row = bench.lake.query(f"select count() as n, groupBitXor(sipHash64(*)) as h from {name}").to_pylist()[0]
        found[name] = (row["n"], row["h"])
    return found


def test_an_edit_flows_through_the_marts_of_the_fork_and_nowhere_else(bench: Workbench) -> None:
    before = sums(bench)
    assert len(before) > 20
    fork = bench.fork("A")
    assert fork.edit("invoices", "billingcountry = 'Brazil'", total=100) == 35
    assert fork.keep("employees", "title != 'IT Staff'") == 2
    with pytest.raises(UnknownName, match="did you mean total"):
        fork.edit("invoices", "1", totl=1)
    fork.build()
    brazil = {"country": "Brazil"}
    assert [float(c.to_pandas()["total_spent"].sum()) for c in (s.objects("Customer").where(**brazil) for s in (fork.store, bench.store))] \
        == [3500.0, pytest.approx(190.1)]  # fmt: skip
    diff = fork.diff()
    counts = {c.type: (c.added, c.removed, c.changed) for c in diff.counts}
    assert counts["Invoice"] == (0, 0, 35)
    assert counts["Customer"] == (0, 0, 5)
    assert counts["Employee"][1] == 2
    assert counts["Track"] == (0, 0, 0)
    (spent,) = [p for c in diff.changes if c.type == "Customer" and c.key == "1" for p in c.properties if p.name == "total_spent"]
    assert (spent.old, spent.new) == ("39.62", "700.00")
    assert fork.diff("Genre").total == 0
    assert sums(bench) == before
    # it is still there for the next one who asks, and gone when it is dropped
    assert bench.fork("A").diff("Invoice").total == 35
    assert [f["name"] for f in bench.forks.all().to_dict()] == ["A"]
    assert bench.forks.drop("A").to_dict() == []
    assert not (bench.settings.state_dir / "forks/A").exists()
    assert bench.lake.scalar("select count() from system.databases where name like 'fork%'") == 0
    assert sums(bench) == before


def test_a_fork_begins_as_the_base_is(bench: Workbench) -> None:
    fork = bench.fork("same")
    assert set(fork.diff().not_built) == set(bench.ontology.object_types), "nothing is built yet"
    fork.build()
    assert fork.diff().total == 0
    assert not fork.diff().not_built
    fork.drop()


@pytest.mark.parametrize(
    "where",
    ["", "1) or (1", "1; drop table raw.invoices", "1 -- all", "total > '", "1) settings final=0 --", "(total > 1", "1 /* x", "1 # x"],
)
def test_a_condition_that_is_more_than_one_is_refused(bench: Workbench, where: str) -> None:
    fork = bench.fork("B")
    for change in (lambda: fork.edit("invoices", where, total=1), lambda: fork.keep("invoices", where)):
        with pytest.raises(UsageError, match="is not one condition"):
            change()


def test_what_is_wrong_is_told(bench: Workbench) -> None:
    fork = bench.fork("B")
    before = sums(bench)
    for name in ("", "a-b", "1a", "x" * 32, "a`b", "../x"):
        with pytest.raises(UsageError, match="a fork cannot be called"):
            bench.fork(name)
    with pytest.raises(UnknownName, match="invoices"):
        fork.edit("invoises", "1", total=1)
    with pytest.raises(UnknownName):
        fork.edit("invoices", "1", _version=1)
    with pytest.raises(UsageError, match="nothing to set"):
        fork.edit("invoices", "1")
    with pytest.raises(QueryError):
        fork.keep("invoices", "no_such_column = 1")
    with pytest.raises(SkyGraphError):
        fork.edit("invoices", "1", total="plenty")
    with pytest.raises(UnknownName, match="there is no fork|unknown fork|fork"):
        bench.forks.drop("nobody")
    assert fork.edit("customers", "firstname = 'It''s'", company="O'Brien; drop") == 0
    bench.forks.drop("B")
    assert sums(bench) == before


def test_a_model_that_would_land_in_the_base_stops_the_fork(bench: Workbench) -> None:
    macro: Path = bench.transforms.project / "macros/generate_schema_name.sql"
    kept = macro.read_text(encoding="utf-8")
    # a project that names schemas in a way of its own, which the fork's macro does not see
    macro.write_text(kept.replace("{% macro generate_schema_name(", "{% macro default__generate_schema_name("), encoding="utf-8")
    try:
        fork = bench.fork("C")
        assert all(m.table.startswith("fork_C__") for m in fork.transforms.models().values())
        fork.drop()
        ours = bench.transforms.project / "macros/zz.sql"
        ours.write_text(
            "{% macro generate_schema_name(a, b) %}marts{% endmacro %}\n{% macro generate_schema_name (a, b) %}x{% endmacro %}", "utf-8"
        )
        with pytest.raises(TransformError):
            bench.fork("D")
        ours.unlink()
        assert bench.lake.scalar("select count() from system.databases where name like 'fork_D%'") == 0
    finally:
        macro.write_text(kept, encoding="utf-8")
