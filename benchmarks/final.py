"""Current rows beside the best hand-written ways, and the price tag's predictions beside what it took.

    python benchmarks/final.py [--rows 10000000] [--rounds 5] [--parts ways,prices,idle]

A raw table of many keys in one merged part, a tenth of them updated in 15 more parts that are not merged: scattered over all keys, or in
the last tenth of them. The ways take turns within each round, and the best of the rounds counts, so that what else the machine does hits
all alike and as little as may be.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from _servers import own_workspace, table_of

if TYPE_CHECKING:
    from workbench import Workbench
    from workbench.lake import Lake

UPDATED_PARTS = 15
_MADE = (
    "number as id, cityHash64(id) % 1000000, ['open', 'paid', 'sent', 'void'][1 + cityHash64(id, {v}, 2) % 4], "
    "(cityHash64(id, {v}, 3) % 100000) / 100, "
    "toDateTime64('2020-01-01 00:00:00', 3, 'UTC') + toIntervalSecond(cityHash64(id, {v}, 4) % 100000000), "
    "if(id % 3 = 0, null, hex(cityHash64(id, 5) % 1000000)), {v}, {d}, now64(3), 'r{v}'"
)
EVERY = "id, customer, status, amount, placed_at, note"


def fill(lake: Lake, table: str, rows: int, where: str) -> None:
    """One merged part of every key; then, for a condition, 15 parts of new versions, one deletion in 97."""
    from workbench.lake.sql import MERGED_WHEN_IDLE, RAW_COLUMNS, Column, create_replacing

    kinds = ["UInt64", "UInt32", "LowCardinality(String)", "Decimal(12, 2)", "DateTime64(3, 'UTC')", "Nullable(String)"]
    columns = [Column(n, t) for n, t in zip(EVERY.split(", "), kinds, strict=True)]
    lake.create_database("raw")
    lake.command(
        create_replacing(
            table, [*columns, *RAW_COLUMNS], key=["id"], version="_version", deleted="_deleted", settings=MERGED_WHEN_IDLE
        )
    )  # fmt: skip
    lake.command(f"insert into {table} select {_MADE.format(v=1, d=0)} from numbers({rows})")
    lake.command(f"optimize table {table} final")
    lake.command(f"system stop merges {table}")
    for part in range(UPDATED_PARTS if where else 0):
        made = _MADE.format(v=2 + part, d="id % 97 = 0")
        lake.command(f"insert into {table} select {made} from numbers({rows}) where {where.format(part=part, from_=rows * 9 // 10)}")


SCATTERED = "cityHash64(number, 9) % 150 = {part}"
CLUSTERED = "number >= {from_} and cityHash64(number, 9) % 15 = {part}"


def ways(rows: int) -> dict[str, dict[str, str]]:
    """By shape and way: the statement. `ours` is what a user writes; the others are written for a client that sets nothing."""
    key, late = rows * 7 // 9, rows * 95 // 100
    plain = {
        "count": "select count() from {t}",
        "sum": "select sum(amount) from {t}",
        "group by": "select status, sum(amount), count() from {t} group by status",
        "point": f"select {EVERY} from {{t}} where id = {key}",
        "page": f"select {EVERY} from {{t}} where id > {late} order by id limit 51",
        "top 50": f"select {EVERY} from {{t}} order by placed_at desc limit 50",
    }
    own = [c for c in EVERY.split(", ") if c != "id"]
    arg_max = ", ".join(f"argMax({c}, _version) as of_{c}" for c in own)
    kept = "group by id having argMax(_deleted, _version) = 0"
    by_arg_max = {
        "count": f"select count() from (select id from {{t}} {kept})",
        "sum": f"select sum(of_amount) from (select argMax(amount, _version) as of_amount from {{t}} {kept})",
        "group by": "select of_status, sum(of_amount), count() from (select argMax(status, _version) as of_status, "
        f"argMax(amount, _version) as of_amount from {{t}} {kept}) group by of_status",
        "point": f"select id, {arg_max} from {{t}} where id = {key} {kept}",
        "page": f"select id, {arg_max} from {{t}} where id > {late} {kept} order by id limit 51",
        "top 50": f"select id, {arg_max} from {{t}} {kept} order by of_placed_at desc limit 50",
    }

    def limit_by(columns: str, where: str = "") -> str:
        return (
            f"(select * from (select {columns}, _deleted from {{t}} {where} order by id, _version desc limit 1 by id) where _deleted = 0)"
        )

    by_limit = {
        "count": f"select count() from {limit_by('id')}",
        "sum": f"select sum(amount) from {limit_by('id, amount')}",
        "group by": f"select status, sum(amount), count() from {limit_by('id, status, amount')} group by status",
        "point": f"select {EVERY} from {limit_by(EVERY, f'where id = {key}')}",
        "page": f"select {EVERY} from {limit_by(EVERY, f'where id > {late}')} order by id limit 51",
        "top 50": f"select {EVERY} from {limit_by(EVERY)} order by placed_at desc limit 50",
    }
    return {
        shape: {
            "ours": sql,
            "FINAL": sql.replace("{t}", "{t} final"),
            "argMax": by_arg_max[shape],
            "LIMIT BY": by_limit[shape],
            "raw (wrong)": sql,
        }
        for shape, sql in plain.items()
    }


def race(bench: Workbench, table: str, rows: int, rounds: int) -> list[list[object]]:
    """Rows of a report: per shape the processor milliseconds of each way, and ours by the best of the others that are right.

    Processor time is steadier than time passed where others use the machine too; the last column is of time passed. What it takes to
    look at a statement before it is read first is not in it.
    """
    lake = bench.lake
    best: dict[tuple[str, str], float] = {}
    answers: dict[tuple[str, str], str] = {}
    texts: dict[tuple[str, str], str] = {}
    for shape, statements in ways(rows).items():
        for turn in range(rounds):
            names = list(statements)
            for way in names[turn % len(names) :] + names[: turn % len(names)]:
                at = (shape, way)
                texts[at] = statements[way].format(t=table)
                read = bench.sql(texts[at]).to_arrow if way == "ours" else partial(lake.query_history, texts[at])
                seconds, answer = timed(read)
                best[at] = min(best.get(at, 1e9), seconds)
                answers[at] = repr(sorted(str(list(r.values())) for r in answer.to_pylist()))
    lake.command("system flush logs")
    spent = {}
    for (shape, way), text in texts.items():
        spent[shape, way] = lake.rows(
            "select min(ProfileEvents['OSCPUVirtualTimeMicroseconds']) / 1000 as ms from system.query_log "
            "where type = 'QueryFinish' and startsWith(query, {q:String}) and (Settings['final'] = '1') = {ours:Bool}",
            {"q": text + "\n", "ours": way == "ours"},
        )[0]["ms"]
    found: list[list[object]] = []
    for shape, statements in ways(rows).items():
        right = [w for w in statements if w not in ("ours", "raw (wrong)")]
        if shape != "top 50":  # several rows may share a time
            assert all(answers[shape, w] == answers[shape, "ours"] for w in right), f"{shape}: the ways disagree"
        by_processor = spent[shape, "ours"] / min(spent[shape, w] for w in right)
        by_clock = best[shape, "ours"] / min(best[shape, w] for w in right)
        found.append([shape, *(f"{spent[shape, w]:.0f}" for w in statements), f"{by_processor:.2f}", f"{by_clock:.2f}"])
    return found


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and what it gave."""
    started = time.perf_counter()
    answer = run()
    return time.perf_counter() - started, answer


def priced(lake: Lake, tables: list[str], rows: int, rounds: int) -> None:
    """Run every shape on every table with a price tag; how often the prediction was within twice of what it took.

    Of time passed, the first round teaches the price tag the speed of this machine and is not counted. Of processor time, which is
    steadier where others use the machine too, one factor is taken for all: the median.
    """
    from workbench.lake.price import run_priced

    extra = {
        "facet": "select note, count() as n from {t} group by note order by n desc limit 10",
        "filter": "select count(), sum(amount) from {t} where status = 'paid' and customer < 1000",
        "half": f"select sum(amount) from {{t}} where id < {rows // 2}",
        "join": "select count() from {t} as a join {t} as b on a.id = b.customer where b.status = 'void'",
    }
    statements = {shape: found["ours"] for shape, found in ways(rows).items()} | extra
    took: dict[tuple[str, str], list[float]] = {}
    modelled: dict[tuple[str, str], float] = {}
    off: list[float] = []
    for turn in range(rounds + 1):
        for table in tables:
            for shape, sql in statements.items():
                _, told = run_priced(lake, sql.format(t=table))
                assert told.off_by is not None
                modelled[shape, table] = told.model_ms
                if turn:
                    off.append(told.off_by)
    lake.command("system flush logs")
    for table in tables:
        for shape, sql in statements.items():
            spent = lake.rows(
                "select ProfileEvents['OSCPUVirtualTimeMicroseconds'] / 1000 as ms from system.query_log "
                "where type = 'QueryFinish' and startsWith(query, {q:String}) and Settings['final'] = '1' order by ms",
                {"q": sql.format(t=table) + "\n"},
            )
            took[shape, table] = [row["ms"] for row in spent]
    unit = statistics.median(statistics.median(ms) / modelled[at] for at, ms in took.items())
    report, good = [], 0
    for (shape, table), spent_ms in took.items():
        least, predicted = statistics.median(spent_ms), modelled[shape, table] * unit
        factor = max(least, predicted) / min(least, predicted)
        good += factor <= 2
        report.append([f"{shape}, {table.removeprefix('raw.')}", f"{predicted:.0f}", f"{least:.0f}", f"{factor:.2f}"])
    print(table_of(["shape and table", "predicted", "processor ms", "off by"], report))
    print(f"\nwithin twice, in processor time: {good} of {len(report)} = {good / len(report):.0%}")
    print(f"within twice, in time passed: {sum(o <= 2 for o in off)} of {len(off)} = {sum(o <= 2 for o in off) / len(off):.0%}")
    slow, _ = timed(lambda: [told_price(lake, statements["group by"].format(t=t)) for t in tables])
    print(f"a price before a statement takes {slow / len(tables) * 1000:.0f} ms")


def told_price(lake: Lake, sql: str) -> object:
    """A price without a run."""
    from workbench.lake.price import price

    return price(lake, sql)


def idle(lake: Lake, table: str, rows: int, rounds: int) -> None:
    """What a table costs after its idle time: merged, as the settings of raw tables have it done. Current against raw."""
    lake.command(f"system start merges {table}")
    seconds, _ = timed(lambda: lake.command(f"optimize table {table} final"))
    print(f"merging {table} took {seconds:.1f} s")
    report = []
    for shape, statements in ways(rows).items():
        best = {"ours": 1e9, "raw (wrong)": 1e9}
        for _ in range(rounds):
            for way in best:
                read = lake.query if way == "ours" else lake.query_history
                best[way] = min(best[way], timed(partial(read, statements[way].format(t=table)))[0])
        report.append([shape, *(f"{best[w] * 1000:.1f}" for w in best), f"{best['ours'] / best['raw (wrong)']:.2f}"])
    print(table_of(["merged", "current (ms)", "raw (ms)", "current / raw"], report))


def main() -> None:
    """Make the tables, race, price, merge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default="ways,prices,idle")
    options = parser.parse_args()
    from workbench import Workbench

    with own_workspace() as settings:
        bench = Workbench(settings)
        lake = bench.lake
        tables = {"raw.scattered": SCATTERED, "raw.clustered": CLUSTERED, "raw.merged": ""}
        for table, where in tables.items():
            fill(lake, table, options.rows, where)
        run(bench, list(tables), options.rows, options.rounds, options.parts)
        bench.close()


def run(bench: Workbench, tables: list[str], rows: int, rounds: int, parts: str) -> None:
    """The parts that were asked for, over tables that are there."""
    lake = bench.lake
    if "ways" in parts:
        for table in tables:
            print(f"\n{table}, {rows:,} keys, processor ms")
            head = [*next(iter(ways(rows).values())), "ours / best", "by the clock"]
            print(table_of(["shape", *head], race(bench, table, rows, rounds)), flush=True)
        from workbench.lake.explain import how_to_read

        point = ways(rows)["point"]["ours"].format(t=tables[0])
        look = min(timed(partial(how_to_read, lake, point))[0] for _ in range(10))
        print(f"\nto look at a statement before it is read takes {look * 1000:.1f} ms", flush=True)
    if "prices" in parts:
        print("\nprices")
        priced(lake, tables, rows, rounds)
    if "idle" in parts:
        print("\nafter ten idle minutes")
        idle(lake, tables[0], rows, rounds)


if __name__ == "__main__":
    main()
