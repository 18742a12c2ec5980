"""How fast rows of PostgreSQL reach the lake: the bare engine, Hermes and dlt side by side, on TPC-H orders and lineitem.

Each measurement is a process of its own, whose peak memory is read; contestants take turns to be first. Figures are medians.

    python benchmarks/sync.py [--scale 1] [--rounds 3] [--idle 200] [--dlt PYTHON]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from _servers import cpu_seconds, load_tpch, open_lake, own_postgres, own_workspace, peak_mb, table_of

if TYPE_CHECKING:
    from workbench.lake import Lake

KEYS = {"orders": ("o_orderkey",), "lineitem": ("l_orderkey", "l_linenumber")}
_COLUMN = {"orders": "o_totalprice", "lineitem": "l_extendedprice"}
_USER = "bench"
_WARM = 30  # iterations of one idle table


# --- one measurement, in a process of its own


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Do what the job says; seconds, rows and peak memory. Imports and the first answer of the lake are not counted."""
    found: dict[str, Any] = _bare(job) if job["what"] == "bare" else _idle(job) if job["what"] == "idle" else _hermes(job)
    return {**found, "peak_mb": peak_mb()}


def _bare(job: dict[str, Any]) -> dict[str, Any]:
    """One INSERT ... SELECT with the engine's own settings, over HTTP."""
    started, cpu = time.perf_counter(), time.process_time()
    rows = _post(job["lake"], job["sql"])
    return {"seconds": time.perf_counter() - started, "rows": rows, "client_cpu": time.process_time() - cpu}


def _post(lake: dict[str, Any], sql: str) -> int:
    """Run a statement without any client library; rows written."""
    url = f"http://127.0.0.1:{lake['http_port']}/?" + urlencode({"wait_end_of_query": 1})
    head = {"X-ClickHouse-User": lake["username"], "X-ClickHouse-Key": lake["password"]}
    with urllib.request.urlopen(urllib.request.Request(url, sql.encode(), head)) as answer:
        answer.read()
        return int(json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"])


def _hermes_of(job: dict[str, Any]) -> Any:
    from workbench.hermes.sync import Hermes
    from workbench.hermes.tables import Source, SyncPlan, TableJob

    lake = open_lake(job["folder"], *job["ports"])
    jobs = {
        t["table"]: TableJob(t["table"], "tpch", t["from"], tuple(t["key"]), t["watermark"], deletes=t["deletes"]) for t in job["tables"]
    }
    folder = Path(job["folder"])
    plan = SyncPlan({"tpch": Source("tpch", "postgres", {"dsn": job["dsn"]})}, jobs, {})
    hermes = Hermes(lake, plan, folder, folder / ".skygraph", keeps_open=True)
    lake.ping()
    return hermes


def _hermes(job: dict[str, Any]) -> dict[str, Any]:
    """One sync of the job's table, in a scheduler that runs: a small table has been synced before."""
    hermes = _hermes_of(job)
    warm, *timed = hermes.plan.tables
    _ok(hermes.sync([warm]))
    started, cpu = time.perf_counter(), time.process_time()
    report = _ok(hermes.sync(timed))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    hermes.close()
    (run,) = report.runs
    return {"seconds": seconds, "rows": run.rows_read, "inserted": run.inserted, "deleted": run.deleted, "mode": run.mode,
            "client_cpu": cpu}  # fmt: skip


def _idle(job: dict[str, Any]) -> dict[str, Any]:
    """Iterations of a warm scheduler over tables with nothing new; before each, `elsewhere` is run at the source."""
    import psycopg

    hermes = _hermes_of(job)
    _ok(hermes.sync())
    _ok(hermes.sync())
    took, cpu = [], time.process_time()
    with psycopg.connect(job["dsn"], autocommit=True) as db:
        for _ in range(job["times"]):
            if job["elsewhere"]:
                db.execute(job["elsewhere"])
            started = time.perf_counter()
            report = _ok(hermes.sync())
            took.append(time.perf_counter() - started)
    cpu = (time.process_time() - cpu) / job["times"]
    hermes.close()
    modes = sorted({run.mode for run in report.runs})
    return {"seconds": statistics.median(took), "rows": len(report.runs), "mode": ", ".join(modes), "client_cpu": cpu}


def _ok(report: Any) -> Any:
    """The report; an error of any run ends the measurement."""
    for run in report.runs:
        if run.error:
            raise SystemExit(f"{run.table}: {run.error}")
    return report


# --- the benchmark


class Benchmark:
    """Both servers, the contestants, and what was measured of them."""

    def __init__(self, lake: Lake, folder: Path, ports: tuple[int, int], server: Any, dlt: str) -> None:
        self.lake, self.folder, self.ports, self.server, self.dlt = lake, folder, ports, server, dlt
        at = lake.address
        self.reach = {"host": "127.0.0.1", "port": at.tcp_port, "http_port": at.port, "username": at.user, "password": at.password,
                      "secure": 0, "database": "dlt"}  # fmt: skip
        self.dsn = server.dsn(user=_USER, password=_USER)
        self.measured: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        self.dlt_round = 0
        self.postmaster = int((Path(server.folder) / "data/postmaster.pid").read_text(encoding="utf-8").split()[0])

    def run(self, at: tuple[str, str, str], what: str, **more: Any) -> None:
        """Measure once, in a process of its own, and keep it under (part, table, contestant)."""
        job = {"what": what, "dsn": self.dsn, "lake": self.reach, "folder": str(self.folder), "ports": self.ports, **more}
        words = [sys.executable, __file__, "--measure"]
        if what == "dlt":
            words = [self.dlt, str(Path(__file__).with_name("_dlt.py"))]
        self.settle()
        before = self.cpu()
        done = subprocess.run(words, input=json.dumps(job), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{at}: {done.stderr[-3000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        found["servers_cpu"] = self.cpu() - before
        self.measured.setdefault(at, []).append(found)
        said = f"{found['seconds']:8.3f} s {found['rows']:>9} rows {found['peak_mb']:6.0f} MB"
        print(f"  {' '.join(at):<40} {said} {found['client_cpu']:6.2f} + {found['servers_cpu']:.2f} s CPU", file=sys.stderr, flush=True)

    def settle(self) -> None:
        """Wait until the lake has merged what the contestant before left behind: each pays for its own parts alone."""
        deadline, idle = time.monotonic() + 300, 0
        while time.monotonic() < deadline:
            idle = 0 if self.lake.scalar("select count() from system.merges") else idle + 1
            if idle == 5:
                return
            time.sleep(0.2)
        raise SystemExit("the lake goes on merging for five minutes")

    def cpu(self) -> float:
        """Processor seconds of both servers so far."""
        return float(cpu_seconds(self.lake.address.pid, self.postmaster))

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL at the source; its rows, if it gives any."""
        with self.server.connect() as db:
            found = db.execute(sql)
            return list(found.fetchall()) if found.description else []

    def statement(self, table: str, where: str = "") -> str:
        """The bare engine's statement."""
        source = f"postgresql('127.0.0.1:{self.server.port}', 'postgres', '{table}', '{_USER}', '{_USER}')"
        return f"insert into bare.{table} select *, toUnixTimestamp64Micro(now64(6)), 0, now64(3), 'bare' from {source}{where}"

    def job(self, table: str, suffix: str = "", deletes: str = "sweep") -> list[dict[str, Any]]:
        """A small table to warm up on, and a table of TPC-H."""
        warm = {"table": "warm", "from": "warm", "key": ["id"], "watermark": "updated_at", "deletes": "none"}
        return [warm, {"table": table + suffix, "from": table, "key": KEYS[table], "watermark": "updated_at", "deletes": deletes}]

    def take_turns(self, number: int, turns: list[Any]) -> None:
        """Let the contestants run, another one first in each round."""
        for n in range(len(turns)):
            turns[(n + number) % len(turns)]()

    def dlt_load(self, part: str, table: str) -> None:
        """One run of dlt's pipeline of this table."""
        more = {"table": table, "pipeline": f"{table}_{self.dlt_round}", "folder": str(self.folder / f"dlt{self.dlt_round}")}
        self.run((part, table, "dlt"), "dlt", **{**more, "dsn": self.dsn})

    # --- the parts

    def full(self, rounds: int, dlt_rounds: int) -> None:
        """First loads."""
        self.lake.create_database("bare")
        for table in KEYS:  # makes the table to copy for the bare engine, and reads the source once
            self.run(("warm-up", table, "hermes"), "hermes", tables=self.job(table))
            ddl = str(self.lake.scalar(f"select create_table_query from system.tables where database = 'raw' and name = '{table}'"))
            self.lake.command(ddl.replace(f"raw.{table}", f"bare.{table}", 1))
        for number in range(rounds):
            if with_dlt := self.dlt and number < dlt_rounds:
                self.dlt_round = number
                self.lake.command("drop database if exists dlt sync")
                self.lake.create_database("dlt")
            for table in KEYS:
                self.lake.command(f"truncate table bare.{table} sync")
                self.lake.command(f"drop table raw.{table} sync")
                turns = [
                    lambda t=table: self.run(("full", t, "bare engine"), "bare", sql=self.statement(t)),
                    lambda t=table: self.run(("full", t, "hermes"), "hermes", tables=self.job(t)),
                ]
                if with_dlt:
                    turns.append(lambda t=table: self.dlt_load("full", t))
                self.take_turns(number, turns)

    def changed(self, rounds: int, dlt_rounds: int) -> None:
        """1% of the rows changed, and once more with 100 of them deleted for the sweep."""
        for table in KEYS:
            self.run(("first load", table, "hermes, none"), "hermes", tables=self.job(table, "_none", "none"))
            for number in range(rounds):
                ((mark,),) = self.execute(f"select max(updated_at) at time zone 'UTC' from {table}")
                first = KEYS[table][0]
                self.execute(
                    f"update {table} set {_COLUMN[table]} = {_COLUMN[table]} + 1, updated_at = clock_timestamp() "
                    f"where {first} / 32 % 100 = {number + 7}"
                )
                where = f" where updated_at > '{mark:%Y-%m-%d %H:%M:%S.%f}'"
                turns = [
                    lambda t=table, w=where: self.run(("1% changed", t, "bare engine"), "bare", sql=self.statement(t, w)),
                    lambda t=table: self.run(("1% changed", t, "hermes, none"), "hermes", tables=self.job(t, "_none", "none")),
                    lambda t=table: self.run(("1% changed", t, "hermes, sweep"), "hermes", tables=self.job(t)),
                ]
                if self.dlt and number < dlt_rounds:
                    turns.append(lambda t=table: self.dlt_load("1% changed", t))
                self.take_turns(number, turns)
                gone = f"select {first} from {table} where {first} / 32 % 100 = {number + 57} limit 100"
                self.execute(f"delete from {table} where {first} in ({gone})")
                self.run(("100 deleted", table, "hermes, sweep"), "hermes", tables=self.job(table))

    def nothing(self, rounds: int, dlt_rounds: int) -> None:
        """Nothing changed since the last run."""
        for table in KEYS:
            ((mark,),) = self.execute(f"select max(updated_at) at time zone 'UTC' from {table}")
            where = f" where updated_at > '{mark:%Y-%m-%d %H:%M:%S.%f}'"
            for number in range(rounds):
                self.run(("nothing", table, "bare engine"), "bare", sql=self.statement(table, where))
                if self.dlt and number < dlt_rounds:
                    self.dlt_load("nothing", table)
            elsewhere = "update warm set note = note || 'x', updated_at = now() where id = 1"
            for deletes, suffix in (("none", "_none"), ("sweep", "")):
                tables = self.job(table, suffix, deletes)[1:]
                self.run(("nothing", table, f"hermes, {deletes}"), "idle", tables=tables, elsewhere="", times=_WARM)
                times = 3 if deletes == "sweep" else 10
                self.run(("busy elsewhere", table, f"hermes, {deletes}"), "idle", tables=tables, elsewhere=elsewhere, times=times)

    def idle(self, count: int) -> None:
        """So many idle tables in one iteration."""
        for n in range(count):
            self.execute(
                f"create table idle_{n} as select id, note, updated_at from warm; "
                f"alter table idle_{n} add primary key (id); create index on idle_{n} (updated_at)"
            )
        tables = [
            {"table": f"idle_{n}", "from": f"idle_{n}", "key": ["id"], "watermark": "updated_at", "deletes": "sweep"} for n in range(count)
        ]
        elsewhere = "update warm set note = note || 'x', updated_at = now() where id = 1"
        self.run(("nothing", f"{count} tables", "hermes, sweep"), "idle", tables=tables, elsewhere="", times=5)
        self.run(("busy elsewhere", f"{count} tables", "hermes, sweep"), "idle", tables=tables, elsewhere=elsewhere, times=2)

    # --- the answer

    def table(self) -> str:
        """What was measured: medians, rows a second, and how many times the bare engine's seconds or rows a second."""
        rows = []
        for (part, table, who), all_ in self.measured.items():
            if part in ("warm-up", "first load"):
                continue
            seconds = statistics.median(m["seconds"] for m in all_)
            bare = self.measured.get((part, table, "bare engine"))
            ratio = statistics.median(m["seconds"] for m in bare) / seconds if bare else None
            spread = f"{min(m['seconds'] for m in all_):.3f}-{max(m['seconds'] for m in all_):.3f}"
            many = all_[-1]["rows"] if part in ("full", "1% changed") else ""
            speed = f"{many / seconds:,.0f}" if many else ""
            peak = max(m["peak_mb"] for m in all_)
            faster = f"{ratio:.2f}x" if ratio else ""
            # what a process of its own costs the servers is in it: the small table that it syncs first, its connections
            servers = f"{statistics.median(m['servers_cpu'] for m in all_):.2f}" if part in ("full", "1% changed", "100 deleted") else ""
            client = f"{statistics.median(m['client_cpu'] for m in all_):.3f}"
            rows.append([
                f"{part}: {table}, {who}", many, f"{seconds:.3f}", spread, speed, faster, f"{peak:.0f}", client, servers,
                all_[-1].get("mode", ""),
            ])  # fmt: skip
        return table_of(["", "rows", "seconds", "min-max", "rows/s", "speed", "client MB", "client CPU", "servers CPU", "mode"], rows)


def _can_dlt(python: str) -> bool:
    code = "import connectorx, psycopg2, clickhouse_driver, dlt.sources.sql_database; from dlt.destinations import clickhouse"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def main() -> None:
    """Measure all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1, help="of TPC-H (default 1: 1.5 and 6 million rows)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dlt-rounds", type=int, help="rounds of dlt, which takes longest (default: as many)")
    parser.add_argument("--idle", type=int, default=200, help="idle tables in one iteration (default 200)")
    parser.add_argument("--dlt", default=sys.executable, help="a Python that has dlt[clickhouse] and connectorx (default: this one)")
    parser.add_argument("--parts", default="full,changed,nothing,idle", help="some of them, in this order; the later need `full`")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(json.load(sys.stdin))))
        return
    from workbench.lake import Lake

    dlt_rounds = options.rounds if options.dlt_rounds is None else options.dlt_rounds
    dlt = options.dlt if _can_dlt(options.dlt) else ""
    if not dlt:
        print(f"dlt is left out: {options.dlt} has no dlt[clickhouse] and connectorx (pip install them, or give --dlt PYTHON)", flush=True)
    with own_postgres() as server, own_workspace() as settings:
        lake = Lake(settings)
        bench = Benchmark(lake, settings.workspace, (settings.lake_http_port, settings.lake_tcp_port), server, dlt)
        bench.execute(f"create role {_USER} login superuser password '{_USER}'")
        bench.execute("create table warm (id integer primary key, note text, updated_at timestamptz not null)")
        bench.execute("insert into warm select n, 'x', now() from generate_series(1, 20) as n")
        if {"full", "changed", "nothing"} & set(options.parts.split(",")):
            print(f"TPC-H at scale {options.scale:g}: {load_tpch(server, scale=options.scale)} rows", flush=True)
        if "full" in options.parts:
            bench.full(options.rounds, dlt_rounds)
        if "changed" in options.parts:
            bench.changed(options.rounds, dlt_rounds)
        if "nothing" in options.parts:
            bench.nothing(options.rounds, dlt_rounds)
        if "idle" in options.parts:
            bench.idle(options.idle)
        lake.close()
    print(bench.table())


if __name__ == "__main__":
    main()
