"""What current rows cost and what forgetting them would: the error meter, the price tag, merging on demand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from workbench.errors import QueryError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.lake.merging import optimize
from workbench.lake.meter import METER_TABLE, measure_error
from workbench.lake.price import PRICES_TABLE, overlap_of, price, prices, run_priced
from workbench.lake.sql import MERGED_WHEN_IDLE, RAW_COLUMNS, Column, create_replacing

KEYS = 100_000
COLUMNS = [Column("id", "UInt64"), Column("shop_id", "UInt32"), Column("amount", "Decimal(12, 2)"), Column("status", "String")]


def make(lake: Lake, table: str, *, updated: str = "", parts: int = 4) -> None:
    """A table of one merged part, and `parts` more with new versions of the keys that `updated` picks; a tenth of those deleted."""
    lake.create_database("raw")
    lake.command(create_replacing(table, [*COLUMNS, *RAW_COLUMNS], key=["id"], version="_version", deleted="_deleted"))
    values = "number, number % 10, 10 + number % 7, ['open', 'paid'][1 + number % 2]"
    lake.command(f"insert into {table} select {values}, 1, 0, now64(3), 'r1' from numbers({KEYS})")
    lake.command(f"optimize table {table} final")
    lake.command(f"system stop merges {table}")
    for part in range(parts if updated else 0):
        lake.command(
            f"insert into {table} select {values.replace('10 +', '20 +')}, {part + 2}, number % 10 = 0, now64(3), 'r2' "
            f"from numbers({KEYS}) where {updated} and cityHash64(number) % {parts} = {part}"
        )


# --- the error meter


def test_meter_says_how_wrong_raw_would_be_for_the_count_and_each_amount(lake: Lake) -> None:
    make(lake, "raw.orders", updated="number % 5 = 0")
    meter = measure_error(lake, "raw.orders")
    assert [a.aggregate for a in meter.aggregates] == ["count()", "sum(amount)"], "ids and keys are no amounts"
    count, amount = meter.aggregates
    assert (count.raw, count.current) == (KEYS + KEYS // 5, KEYS - KEYS // 10)
    assert count.share == pytest.approx(1.2 / 0.9 - 1) and count.words == "33.3% too high"
    assert amount.current == lake.scalar("select sum(amount) from raw.orders")
    assert meter.worst == amount and "raw would be" in str(meter) and amount.words in str(meter)


def test_meter_takes_any_aggregate_and_says_right_or_different_where_there_is_no_share(lake: Lake) -> None:
    make(lake, "raw.orders", updated="number % 5 = 0")
    asked = ["uniqExact(id)", "countIf(status = 'paid') as paid", "max(_run_id)", "max(amount)", "arraySort(groupUniqArray(status))"]
    found = {a.aggregate: a.words for a in measure_error(lake, "raw.orders", asked).aggregates}
    assert found == {
        "uniqExact(id)": "11.1% too high", "countIf(status = 'paid')": "20.0% too high", "max(_run_id)": "right", "max(amount)": "right",
        "arraySort(groupUniqArray(status))": "right",
    }  # fmt: skip


def test_meter_keeps_each_measurement_so_that_the_trend_as_merges_go_on_can_be_seen(lake: Lake) -> None:
    make(lake, "raw.orders", updated="number % 5 = 0")
    measure_error(lake, "raw.orders", ["count()"])
    lake.command("system start merges raw.orders")
    optimize(lake, "raw.orders")
    meter = measure_error(lake, "raw.orders", ["count()"])
    assert [e["parts"] for e in meter.aggregates[0].earlier] == [5] and meter.parts == 1
    assert meter.aggregates[0].earlier[0]["share"] == pytest.approx(1 / 3)
    # merging leaves the tombstones of deleted keys, which raw still counts
    assert meter.aggregates[0].share == pytest.approx(1 / 9)
    assert "over time, as merges go on" in str(meter)
    assert lake.scalar(f"select count() from {METER_TABLE}") == 2
    measure_error(lake, "raw.orders", ["count()"], keep=False)
    assert lake.scalar(f"select count() from {METER_TABLE}") == 2


@pytest.mark.parametrize(
    ("aggregate", "says"),
    [("sum(amount), count()", "not one expression"), ("", "not one expression|no expression"), ("sum(", "does not parse"),
     ("1 from raw.orders --", "not one expression"), ("*", "not one expression")],
)  # fmt: skip
def test_meter_refuses_what_is_not_one_aggregate(lake: Lake, aggregate: str, says: str) -> None:
    make(lake, "raw.orders")
    with pytest.raises(UsageError, match=says):
        measure_error(lake, "raw.orders", [aggregate])


def test_meter_names_what_is_wrong_with_table_or_column(lake: Lake) -> None:
    make(lake, "raw.orders")
    lake.command("create table raw.plain (a Int64) engine = MergeTree order by a")
    with pytest.raises(UnknownName, match=r"raw\.order'.*raw\.orders"):
        measure_error(lake, "raw.order")
    with pytest.raises(UsageError, match="keeps no versions"):
        measure_error(lake, "raw.plain")
    with pytest.raises(QueryError, match="amont"):
        measure_error(lake, "raw.orders", ["sum(amont)"])
    with pytest.raises(QueryError, match="aggregate"):
        measure_error(lake, "raw.orders", ["amount"])


# --- the price tag


def test_overlap_is_what_share_of_rows_lies_in_key_ranges_of_several_parts(lake: Lake) -> None:
    make(lake, "raw.merged")
    make(lake, "raw.scattered", updated="number % 5 = 0")
    make(lake, "raw.clustered", updated=f"number >= {KEYS // 2}")
    merged, scattered, clustered = (overlap_of(lake, f"raw.{t}") for t in ("merged", "scattered", "clustered"))
    assert merged is not None and scattered is not None and clustered is not None
    assert (merged.share, merged.parts, merged.depth) == (0.0, 1, 1.0)
    assert scattered.share > 0.9 and scattered.rows == KEYS + KEYS // 5 and scattered.depth > 3
    # the upper half of the first part, and all of the others
    assert clustered.share == pytest.approx(1.0 / 1.5, abs=0.1)
    assert overlap_of(lake, "system.numbers") is None


def test_price_before_a_query_knows_the_key_range_and_says_why_and_what_helps(lake: Lake) -> None:
    make(lake, "raw.clustered", updated=f"number >= {KEYS // 2}")
    low = price(lake, f"select sum(amount) from raw.clustered where id < {KEYS // 4}").reads[0]
    high = price(lake, f"select sum(amount) from raw.clustered where id > {3 * KEYS // 4}").reads[0]
    assert low.overlapping_rows == 0 and low.parts == 1 and 0 < low.rows < KEYS / 2
    assert high.overlapping_rows > 0.9 * high.rows > 0 and high.parts == 5
    assert high.current_ms > 2 * high.raw_ms and low.current_ms < 2 * low.raw_ms + 1
    # the same as if the table were two hundred times as large
    told = price(lake, "select sum(amount) from raw.clustered")
    assert not told.is_dear and told.advice == ()
    large = dataclasses.replace(
        told, predicted_ms=told.predicted_ms * 200, predicted_raw_ms=told.predicted_raw_ms * 200,
        reads=tuple(dataclasses.replace(r, current_ms=r.current_ms * 200, raw_ms=r.raw_ms * 200) for r in told.reads),
    )  # fmt: skip
    assert large.is_dear and "`skygraph optimize raw.clustered`" in large.advice[0] and "5 parts" in large.advice[0]


def test_price_of_a_statement_without_versions_is_that_of_the_raw_read(lake: Lake) -> None:
    for statement in ("select 1", "select count() from system.one", "show databases", "describe system.one"):
        told = price(lake, statement)
        assert told.reads == () and told.predicted_ms == told.predicted_raw_ms and not told.is_dear


def test_a_priced_run_gives_the_current_rows_and_keeps_predicted_against_actual(lake: Lake) -> None:
    make(lake, "raw.orders", updated="number % 5 = 0")
    for _ in range(6):
        table, told = run_priced(lake, "select count() as n from raw.orders where status = {s:String}", {"s": "open"})
    assert table.to_pylist() == [{"n": lake.scalar("select count() from raw.orders where status = 'open'")}]
    assert told.actual_ms is not None and told.off_by is not None and told.off_by >= 1 and "it took" in told.words
    kept = prices(lake)
    assert len(kept.rows) == 6 and kept.rows[0]["tables"] == ["raw.orders"] and kept.within_twice is not None
    # from the fifth on, the speed of this machine is known
    known = lake.rows(f"select model_ms, predicted_ms from {PRICES_TABLE} order by at")
    assert all(r["predicted_ms"] == r["model_ms"] for r in known[:5]) and known[5]["predicted_ms"] != known[5]["model_ms"]
    run_priced(lake, "select 1")
    assert len(prices(lake).rows) == 6, "a statement over no versions has no price"


def test_price_refuses_what_a_query_refuses(lake: Lake) -> None:
    make(lake, "raw.orders")
    with pytest.raises(UsageError, match="PREWHERE"):
        price(lake, "select 1 from raw.orders prewhere id = 1")
    with pytest.raises(QueryError, match="no_such"):
        price(lake, "select no_such from raw.orders")
    with pytest.raises(QueryError):
        price(lake, "drop table raw.orders")
    assert lake.scalar("select count() from raw.orders") == KEYS


# --- merging


def test_optimize_merges_with_progress_and_changes_no_current_row(lake: Lake) -> None:
    make(lake, "raw.orders", updated="number % 5 = 0")
    checksum = "select count(), sum(cityHash64(id, amount, status)) from raw.orders"
    before, said = lake.rows(checksum), []
    lake.command("system start merges raw.orders")
    report = optimize(lake, "raw.orders", progress=lambda message, done, total: said.append((message, done, total)))
    assert (report.parts_before, report.parts_after) == (5, 1) and report.rows_after == KEYS < report.rows_before
    assert report.share_before > 0.9 and report.share_after == 0
    assert lake.rows(checksum) == before
    assert said[-1] == ("", 0, 0)
    settings = lake.scalar("select engine_full from system.tables where database = 'raw' and name = 'orders'")
    assert "min_age_to_force_merge_seconds = 600" in settings, "a table made before tables had it gets it now"


def test_an_idle_table_is_merged_wholly_by_itself(lake: Lake, until: Callable[..., None]) -> None:
    lake.create_database("raw")
    soon = MERGED_WHEN_IDLE.replace("= 600", "= 1")
    lake.command(create_replacing("raw.idle", [*COLUMNS, *RAW_COLUMNS], key=["id"], version="_version", settings=soon))
    # one large part and one of two rows: what the engine's usual merges leave as it is
    lake.command(f"insert into raw.idle select number, 1, 1, 'open', 1, 0, now64(3), 'r1' from numbers({KEYS})")
    lake.command("insert into raw.idle select number, 1, 2, 'paid', 2, 0, now64(3), 'r2' from numbers(2)")
    until(lambda: lake.scalar("select count() from system.parts where active and database = 'raw' and table = 'idle'") == 1, seconds=120)
    assert lake.query_history("select count() from raw.idle").column(0)[0].as_py() == KEYS


def test_optimize_refuses_what_has_no_versions(lake: Lake) -> None:
    make(lake, "raw.orders")
    lake.command("create view raw.v as select * from raw.orders")
    with pytest.raises(UsageError, match="keeps no versions"):
        optimize(lake, "raw.v")
    with pytest.raises(UnknownName, match=r"raw\.orders"):
        optimize(lake, "raw.ordres")
