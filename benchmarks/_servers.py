"""What the benchmarks of sync share: a PostgreSQL and a workspace with a lake of their own, TPC-H, figures of a process.

Everything is on loopback, in temporary folders, and ends with the benchmark.
"""

from __future__ import annotations

import contextlib
import inspect
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postgres import PostgresServer

    from workbench.lake import Lake
    from workbench.settings import Settings

__all__ = ["cpu_seconds", "free_port", "load_tpch", "open_lake", "own_postgres", "own_workspace", "peak_mb", "table_of"]

REPOSITORY = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for this benchmark: the server of the tests (fsync off), without their log of every statement."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from postgres import postgres_server

    serve = inspect.unwrap(postgres_server)()
    server: PostgresServer = next(serve)
    try:
        with server.connect() as db:
            db.execute("alter database postgres set log_statement = 'none'")
            db.execute("alter database postgres set log_min_error_statement = 'panic'")
        yield server
    finally:
        next(serve, None)


@contextlib.contextmanager
def own_workspace() -> Iterator[Settings]:
    """The settings of an empty workspace; its embedded lake is stopped and its folder removed at the end."""
    from workbench.lake import Lake
    from workbench.settings import Settings

    folder = Path(tempfile.mkdtemp(prefix="skygraph-benchmark-"))
    for name in ("sync_jobs", "dbt", "ontology", "notebooks"):
        (folder / name).mkdir()
    ports = {"lake_http_port": free_port(), "lake_tcp_port": free_port()}
    settings = Settings.load(folder, environ={}, **ports)
    lake = Lake(settings)
    try:
        lake.ping()
        yield settings
    finally:
        lake.close()
        assert lake.embedded is not None
        lake.embedded.stop()
        shutil.rmtree(folder, ignore_errors=True)


def open_lake(folder: str, http: int, tcp: int) -> Lake:
    """The lake of a workspace that another process of the benchmark made."""
    from workbench.lake import Lake
    from workbench.settings import Settings

    return Lake(Settings.load(folder, environ={}, lake_http_port=http, lake_tcp_port=tcp))


def peak_mb() -> float:
    """The most memory that this process has held, in MB."""
    try:
        # unlike getrusage, this leaves out what the process was forked from
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def cpu_seconds(*roots: int) -> float:
    """Processor seconds that these processes and their children, ended ones too, have used; 0 where the system does not say.

    On a machine that others use too it is a steadier figure than the time that passed.
    """
    import os

    ticks, parents = {}, {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):
                    fields = Path(f"/proc/{name}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                    parents[int(name)] = int(fields[1])
                    ticks[int(name)] = sum(map(int, fields[11:15]))
    wanted = set(roots)
    while found := {pid for pid, parent in parents.items() if parent in wanted and pid not in wanted}:
        wanted |= found
    return sum(ticks.get(pid, 0) for pid in wanted) / os.sysconf("SC_CLK_TCK")


# --- TPC-H

_TPCH = {
    "orders": (
        "o_orderkey bigint, o_custkey bigint, o_orderstatus text, o_totalprice numeric(15,2), o_orderdate date, o_orderpriority text, "
        "o_clerk text, o_shippriority integer, o_comment text",
        "o_orderkey",
    ),
    "lineitem": (
        "l_orderkey bigint, l_partkey bigint, l_suppkey bigint, l_linenumber integer, l_quantity numeric(15,2), "
        "l_extendedprice numeric(15,2), l_discount numeric(15,2), l_tax numeric(15,2), l_returnflag text, l_linestatus text, "
        "l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct text, l_shipmode text, l_comment text",
        "l_orderkey, l_linenumber",
    ),
}


def find_tpchgen() -> str:
    """The generator: beside this Python, or on the path.

    Raises:
        SystemExit: it is not installed.
    """
    beside = Path(sys.executable).with_name("tpchgen-cli")
    found = str(beside) if beside.exists() else shutil.which("tpchgen-cli")
    if not found:
        raise SystemExit("tpchgen-cli is not installed: pip install tpchgen-cli==4.0.0")
    return found


def load_tpch(server: PostgresServer, *, scale: float) -> dict[str, int]:
    """Generate `orders` and `lineitem` into the server, with an indexed `updated_at`; rows by table."""
    generator, rows = find_tpchgen(), {}
    for table, (columns, key) in _TPCH.items():
        with server.connect() as db:
            db.execute(f"create unlogged table loading ({columns})")
            words = [generator, "csv", "-s", str(scale), "--tables", table, "--stdout"]
            with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as made:
                assert made.stdout is not None
                with db.cursor().copy("copy loading from stdin (format csv, header true)") as copy:
                    while block := made.stdout.read(1 << 20):
                        copy.write(block)
            if made.returncode:
                raise SystemExit(f"{' '.join(words)} failed with status {made.returncode}")
            first = key.partition(",")[0]
            db.execute(
                f"create table {table} as select *, timestamptz '2024-01-01 00:00:00+00' + {first} * interval '1 second' as updated_at "
                "from loading"
            )
            db.execute("drop table loading")
            db.execute(f"alter table {table} alter updated_at set not null, add primary key ({key})")
            db.execute(f"create index on {table} (updated_at)")
            db.execute(f"vacuum analyze {table}")
            ((rows[table],),) = db.execute(f"select count(*) from {table}").fetchall()
    return rows


# --- tables for people


def table_of(head: list[str], rows: list[list[Any]]) -> str:
    """Rows as a table of text, numbers to the right."""
    texts = [[str(v) for v in row] for row in [head, *rows]]
    widths = [max(len(row[n]) for row in texts) for n in range(len(head))]
    lines = ["  ".join(v.ljust(w) if n == 0 else v.rjust(w) for n, (v, w) in enumerate(zip(row, widths, strict=True))) for row in texts]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
