"""Snapshots of objects beside a full copy and beside `dbt snapshot`, and reads of the past beside the same reads of the present.

    python benchmarks/eidolon.py [--objects 5000000] [--rounds 3] [--no-dbt]

One type of ten properties, a MergeTree table as dbt makes one. After the first snapshot, 0.1% and then 10% of the objects get other
values in a new table that takes the place of the old one, as a dbt run does it. The full copy is `create table ... as select` of the same
table; `dbt snapshot` is the command, with strategy `check` on all columns, on the same table, its start-up said apart. Reads of the past
and of the present take turns, when merges have ended, and the best of the rounds counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _servers import own_workspace

if TYPE_CHECKING:
    from workbench.lake import Lake
    from workbench.settings import Settings

COLUMNS: dict[str, tuple[str, str]] = {
    "order_id": ("Int64", "integer"),
    "customer_id": ("Int64", "integer"),
    "title": ("String", "string"),
    "country": ("LowCardinality(String)", "string"),
    "status": ("LowCardinality(Nullable(String))", "string"),
    "amount": ("Decimal(12, 2)", "decimal"),
    "quantity": ("Int32", "integer"),
    "placed_at": ("DateTime64(3, 'UTC')", "timestamp"),
    "note": ("Nullable(String)", "string"),
    "weight": ("Float64", "number"),
}


def build(lake: Lake, objects: int, version: int, share: float) -> None:
    """The model anew; this part of its objects have values that no version before had."""
    v = f"if(cityHash64(number, {version}) % 100000 < {int(share * 100000)}, {version}, 0)"
    if version > 1:
        lake.command("drop table if exists marts.before sync")
        lake.command("rename table marts.orders to marts.before")
    columns = ", ".join(f"{n} {t}" for n, (t, _) in COLUMNS.items())
    lake.command(f"create table marts.orders ({columns}) engine = MergeTree order by order_id")
    made = (
        "number as n, cityHash64(n) % 500000, concat('order ', toString(n), ' of ', hex(cityHash64(n, 1) % 65536)), "
        "['Brazil', 'Canada', 'Chile', 'France', 'Ghana', 'India', 'Japan', 'Kenya', 'Norway', 'Peru'][1 + cityHash64(n, 6) % 10], "
        f"['open', 'paid', 'sent', null][1 + (cityHash64(n, 2) + {v}) % 4], (cityHash64(n, {v}, 3) % 100000) / 100, n % 50, "
        "toDateTime64('2020-01-01 00:00:00', 3, 'UTC') + toIntervalSecond(cityHash64(n, 4) % 100000000), "
        "if(n % 3 = 0, null, hex(cityHash64(n, 5) % 1000000)), n / 7"
    )
    if version == 1:
        lake.command(f"insert into marts.orders select {made} from numbers({objects})")
    else:
        changed = f"cityHash64(order_id, {version}) % 100000 < {int(share * 100000)}"
        kept = ", ".join(n for n in COLUMNS if n not in ("amount", "status"))
        lake.command(
            f"insert into marts.orders ({kept}, amount, status) select {kept}, if({changed}, amount + {version}, amount), "
            f"if({changed}, 'back', status) from marts.before"
        )
    lake.command("optimize table marts.orders final")


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and the answer."""
    started = time.perf_counter()
    found = action()
    return time.perf_counter() - started, found


def turns(rounds: int, *actions: Callable[[], Any]) -> list[float]:
    """The best seconds of each, in turns."""
    best = [float("inf")] * len(actions)
    for _ in range(rounds):
        for i, action in enumerate(actions):
            best[i] = min(best[i], timed(action)[0])
    return best


def dbt_project(settings: Settings) -> None:
    """A dbt project with one snapshot of the same table."""
    root = settings.workspace / "dbt"
    (root / "snapshots").mkdir(parents=True)
    (root / "dbt_project.yml").write_text("name: bench\nversion: '1.0.0'\nprofile: skygraph\nsnapshot-paths: [snapshots]\n")
    (root / "snapshots" / "orders.sql").write_text(
        "{% snapshot orders_snapshot %}{{ config(target_schema='kept', strategy='check', unique_key='order_id', check_cols='all') }}"
        "select * from marts.orders{% endsnapshot %}\n"
    )
    profile = Path(__file__).resolve().parents[1] / "dbt" / "profiles.yml"
    (root / "profiles.yml").write_text(profile.read_text())


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-dbt", action="store_true")
    args = parser.parse_args()
    with own_workspace() as settings:
        from workbench.eidolon import Eidolon
        from workbench.lake import Lake
        from workbench.ontology import ObjectType, Ontology, Property, Store
        from workbench.transforms import Transforms

        lake = Lake(settings)
        lake.ping()
        lake.create_database("marts")
        lake.create_database("kept")
        order = {n: Property(n, kind) for n, (_, kind) in COLUMNS.items()}
        ontology = Ontology({"Order": ObjectType("Order", "", "orders", "order_id", "title", order)}, {})
        twin = Eidolon(lake, lambda: ontology, lambda: {"orders": "`marts`.`orders`"}, settings.state_dir)
        transforms = Transforms(lake, settings.workspace / "dbt", settings.state_dir / "log", keeps_runs=False)
        if not args.no_dbt:
            dbt_project(settings)
            transforms.run(["parse"])

        def copy() -> None:
            lake.command("drop table if exists kept.copy sync")
            lake.command("create table kept.copy engine = MergeTree order by order_id as select * from marts.orders")

        def disk(database: str, like: str) -> int:
            where = f"database = '{database}' and table like '{like}' and active"
            return int(lake.scalar(f"select sum(bytes_on_disk) from system.parts where {where}") or 0)

        print(f"{args.objects:,} objects of {len(COLUMNS)} properties")
        for version, share, name in ((1, 0.0, "first"), (2, 0.001, "0.1% changed"), (3, 0.1, "10% changed")):
            build(lake, args.objects, version, share)
            before = disk("eidolon", "object_Order")
            copy_s = turns(args.rounds, copy)[0]
            take_s, taken = timed(lambda name=name: twin.take(label=name))
            again_s, _ = timed(twin.take)
            grown = disk("eidolon", "object_Order") - before
            line = f"{name}: full copy {copy_s:.2f} s, snapshot {take_s:.2f} s ({take_s / copy_s:.2f}x), {taken.rows_added:,} versions, "
            line += f"{grown / max(taken.rows_added, 1):.0f} bytes each; nothing changed since: {again_s * 1000:.0f} ms"
            if not args.no_dbt:
                dbt_s, report = timed(lambda: transforms.run(["snapshot"]))
                node_s = sum(n.seconds or 0 for n in report.nodes)
                line += f"; dbt snapshot {dbt_s:.2f} s, {node_s:.2f} s of it the statement ({dbt_s / take_s:.1f}x, {node_s / take_s:.1f}x)"
                if report.failed:
                    line += f" FAILED: {report.nodes[0].message if report.nodes else report.error}"
            print(line, flush=True)
        print(f"on disk: history {disk('eidolon', 'object_Order') / 1e6:.0f} MB, a full copy {disk('kept', 'copy') / 1e6:.0f} MB")

        store = Store(lake, ontology, {"orders": "`marts`.`orders`"}, past=twin.past)
        now, then = store.objects("Order"), store.objects("Order").as_of("10% changed")
        first = store.objects("Order").as_of("first")
        late = args.objects - 1000
        questions: dict[str, Callable[[Any], Any]] = {
            "one object": lambda s: s.where(order_id=late).to_arrow(),
            "page 1": lambda s: s.page(50),
            "deep page": lambda s: s.after(late).page(50),
            "top 50 by amount": lambda s: s.sort("-amount").page(50),
            "count": lambda s: s.count(),
            "count where": lambda s: s.where("amount>900").count(),
            "facet": lambda s: s.facets("country", budget_s=60),
            "group with sum": lambda s: s.group_by("country", sums=["amount"]),
        }
        while lake.scalar("select count() from system.merges"):  # that the last take has set off
            time.sleep(0.5)
        print("as of: ms of the present, of the newest snapshot, of the first, and by what they are slower")
        for name, ask in questions.items():
            ask(now), ask(then), ask(first)
            a, b, c = (s * 1000 for s in turns(args.rounds, lambda: ask(now), lambda: ask(then), lambda: ask(first)))  # noqa: B023
            print(f"  {name:18} {a:8.1f} {b:8.1f} {c:8.1f}   {b / a:5.2f}x {c / a:5.2f}x", flush=True)
        for a_name, b_name in (("first", "0.1% changed"), ("first", "10% changed")):
            count_s, diff = timed(lambda a=a_name, b=b_name: twin.diff(a, b, limit=0))
            list_s, _ = timed(lambda a=a_name, b=b_name: twin.diff(a, b))
            print(
                f"diff {a_name} to {b_name}: {diff.total:,} changes counted in {count_s:.2f} s, with the first 1,000 listed {list_s:.2f} s"
            )
        lake.close()


if __name__ == "__main__":
    main()
