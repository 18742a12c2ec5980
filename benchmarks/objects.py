"""Questions about objects beside the same SQL by hand: 10 million of them, 10% updated, in a ReplacingMergeTree model.

    python benchmarks/objects.py [--rows 10000000] [--rounds 5]

Orders by key, updated in 15 parts that are not merged, and customers, a tenth as many. For each question: the milliseconds of ours
(`ObjectSet`), those of the SQL that one would write by hand (run the same way, over current rows), and the ratio. Ours and the other
take turns, and the best of the rounds counts, so that what else the machine does hits both alike and as little as may be.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from _servers import own_workspace, table_of

if TYPE_CHECKING:
    from workbench.lake import Lake
    from workbench.ontology import Store

COLUMNS = ["order_id", "customer_id", "title", "country", "status", "amount", "placed_at", "note"]


def fill(lake: Lake, rows: int) -> None:
    """The two models: every order once, then a tenth of them again in 15 parts, none of it merged with the rest."""
    customers = max(rows // 10, 10)
    lake.create_database("marts")
    lake.command(
        "create table marts.orders (order_id UInt64, customer_id UInt64, title String, country LowCardinality(String), "
        "status LowCardinality(Nullable(String)), amount Decimal(12, 2), placed_at DateTime64(3, 'UTC'), note Nullable(String), "
        "_version UInt64) engine = ReplacingMergeTree(_version) order by order_id"
    )
    lake.command(
        "create table marts.customers (customer_id UInt64, name String, segment UInt8) engine = MergeTree order by customer_id "
        f"as select number, concat('customer ', toString(cityHash64(number) % 100000)), number % 10 from numbers({customers})"
    )
    made = (
        f"number as n, cityHash64(n) % {customers}, concat('order ', toString(n), ' of ', hex(cityHash64(n, 1) % 65536)), "
        "['Brazil', 'Canada', 'Chile', 'France', 'Ghana', 'India', 'Japan', 'Kenya', 'Norway', 'Peru'][1 + cityHash64(n, {v}) % 10], "
        "['open', 'paid', 'sent', null][1 + cityHash64(n, {v}, 2) % 4], (cityHash64(n, {v}, 3) % 100000) / 100, "
        "toDateTime64('2020-01-01 00:00:00', 3, 'UTC') + toIntervalSecond(cityHash64(n, 4) % 100000000), "
        "if(n % 3 = 0, null, hex(cityHash64(n, 5) % 1000000)), {v}"
    )
    lake.command(f"insert into marts.orders select {made.format(v=1)} from numbers({rows})")
    lake.command("optimize table marts.orders final")
    lake.command("system stop merges marts.orders")
    for part in range(15):
        picked = f"cityHash64(number, 9) % 150 = {part}"
        lake.command(f"insert into marts.orders select {made.format(v=2 + part)} from numbers({rows}) where {picked}")


def make_store(lake: Lake) -> Store:
    """Orders and customers as object types, linked."""
    from workbench.ontology import LinkType, ObjectType, Ontology, Property, Store

    kinds = ["integer", "integer", "string", "string", "string", "decimal", "timestamp", "string"]
    order = {name: Property(name, kind) for name, kind in zip(COLUMNS, kinds, strict=True)}
    customer = {n: Property(n, k) for n, k in (("customer_id", "integer"), ("name", "string"), ("segment", "integer"))}
    types = {
        "Order": ObjectType("Order", "", "orders", "order_id", "title", order),
        "Customer": ObjectType("Customer", "", "customers", "customer_id", "name", customer),
    }
    join = {"customer_id": "customer_id"}
    link = LinkType("placed_by", "", "Order", "Customer", "many_to_one", join, None, "orders")
    return Store(lake, Ontology(types, {"placed_by": link}), {"orders": "`marts`.`orders`", "customers": "`marts`.`customers`"})


def questions(lake: Lake, store: Store, rows: int) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """By name: how it is asked here, and the SQL by hand."""
    orders, customers = store.objects("Order"), store.objects("Customer")
    every, customer = ", ".join(COLUMNS), "(select customer_id from marts.customers where segment = 3)"
    # a place near the end of the order: as far as page 1,000,000 of ten
    late = rows - 1000
    by_key = orders.after(late - 1).page(1).next
    by_amount = orders.sort("amount").after(late).page(1).next
    amount = lake.scalar(f"select amount from marts.orders where order_id = {late}")

    def by_hand(sql: str) -> Callable[[], Any]:
        return lambda: lake.query(sql)

    facet = "select {0}, count() as n from marts.orders group by {0} order by n desc limit 10"
    facets = ("country", "status", "note")
    return {
        "page 1, by key": (lambda: orders.page(50), by_hand(f"select {every} from marts.orders order by order_id limit 51")),
        "page 1,000,000, by key": (
            lambda: orders.page(50, by_key),
            by_hand(f"select {every} from marts.orders where order_id > {late} order by order_id limit 51"),
        ),
        "page 1, by amount": (
            lambda: orders.sort("amount").page(50),
            by_hand(f"select {every} from marts.orders order by amount, order_id limit 51"),
        ),
        "a late page, by amount": (
            lambda: orders.sort("amount").page(50, by_amount),
            by_hand(
                f"select {every} from marts.orders where amount > {amount} or (amount = {amount} and order_id > {late}) "
                "order by amount, order_id limit 51"
            ),
        ),
        "count": (orders.count, by_hand("select count() from marts.orders")),
        "filter, count": (
            orders.where("country=Peru and amount>990").count,
            by_hand("select count() from marts.orders where country = 'Peru' and amount > 990"),
        ),
        "filter, page 1": (
            lambda: orders.where("country=Peru and amount>990").page(50),
            by_hand(f"select {every} from marts.orders where country = 'Peru' and amount > 990 order by order_id limit 51"),
        ),
        "search, count": (
            orders.search("of beef").count,
            by_hand("select count() from marts.orders where title ilike '%of%' and title ilike '%beef%'"),
        ),
        "facets of 3 properties": (lambda: orders.facets(*facets, budget_s=60), lambda: [lake.query(facet.format(p)) for p in facets]),
        "facets, in the budget or sampled": (lambda: orders.facets(*facets), lambda: [lake.query(facet.format(p)) for p in facets]),
        "hop from 100,000, count": (
            customers.where(segment=3).linked("orders").count,
            by_hand(f"select count() from marts.orders where customer_id in {customer}"),
        ),
        "hop from 100,000, page 1": (
            lambda: customers.where(segment=3).linked("orders").page(50),
            by_hand(f"select {every} from marts.orders where customer_id in {customer} order by order_id limit 51"),
        ),
        "group by country, sum": (
            lambda: orders.group_by("country", sums=("amount",)),
            by_hand("select country, count() as n, sum(amount) from marts.orders group by country order by n desc limit 51"),
        ),
        "group by month": (
            lambda: orders.group_by("placed_at", by="month"),
            by_hand("select toStartOfMonth(placed_at) as m, count() as n from marts.orders group by m order by n desc limit 51"),
        ),
    }  # fmt: skip


def milliseconds(ask: Callable[[], Any]) -> float:
    """How long one answer takes."""
    started = time.perf_counter()
    ask()
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Fill, ask in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="questions whose name has this text")
    chosen = parser.parse_args()
    from workbench.lake import Lake

    with own_workspace() as settings:
        lake = Lake(settings)
        started = time.perf_counter()
        fill(lake, chosen.rows)
        store = make_store(lake)
        print(f"{chosen.rows:,} orders, 10% updated in 15 parts; filled in {time.perf_counter() - started:.0f} s", flush=True)
        lines = []
        for name, (ours, theirs) in questions(lake, store, chosen.rows).items():
            if chosen.only not in name:
                continue
            ours(), theirs()
            taken = [(milliseconds(ours), milliseconds(theirs)) for _ in range(chosen.rounds)]
            mine, other = (min(t) for t in zip(*taken, strict=True))
            lines.append([name, f"{mine:,.0f}", f"{other:,.0f}", f"{mine / other:.2f}"])
        print(table_of(["question", "ours, ms", "by hand, ms", "ratio"], lines))
        shown = store.objects("Order").facets("country", "status", "note")
        print(f"facets in {shown.elapsed_s * 1000:,.0f} ms: {'sampled' if shown.is_sampled else 'exact'}, {shown.rows:,} rows counted")
        lake.close()


if __name__ == "__main__":
    main()
