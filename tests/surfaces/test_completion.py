"""Tab completion offers the live names, in a shell too, and starts nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench import Workbench
from workbench.commands import complete
from workbench.settings import Settings

BIN = Path(sys.executable).parent


def _offered(bench: Workbench, line: str) -> list[str]:
    words = line.split()
    return complete(bench, words, "" if line.endswith(" ") else words.pop())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("sync inv", ["invoices", "invoice_lines"]),
        ("objects Cust", ["Customer"]),
        ("object cust", ["Customer"]),
        ("object Customer 5", ["5", "50", "51", "52", "53", "54", "55", "56", "57", "58", "59"]),
        ("links Customer 1 ", ["bought", "invoices", "supported_by"]),
        ("objects Customer --sort tot", ["total_spent"]),
        ("objects Customer --sort -tot", ["-total_spent"]),
        ("objects Customer --where cou", ["country"]),
        ("objects Customer --sort=-tot", ["--sort=-total_spent"]),
        ("objects Customer/inv", ["Customer/invoices"]),
        ("objects Customer[tot", ["Customer[total_spent"]),
        ("objects Customer/invoices[lines.un", ["Customer/invoices[lines.unit_price"]),
        (
            "objects Customer[country=Brazil]/invoices/",
            ["Customer[country=Brazil]/invoices/lines", "Customer[country=Brazil]/invoices/placed_by"],
        ),
        ("objects Customer/invoices --where lin", ["line_count", "lines."]),
        ("objects Customer --where invoices.tot", ["invoices.total"]),
        ("objects Customer --group-by cou", ["country"]),
        ("ontology show In", ["Invoice", "InvoiceLine"]),
        ("inspect raw.inv", ["raw.invoice_lines", "raw.invoices"]),
        ("inspect skygraph.sync_s", ["skygraph.sync_state"]),
        ("snapshot diff op", ["opening"]),
        ("snapshot take Gen", ["Genre"]),
        ("dbt bu", ["build"]),
        ("dbt run --select stg_invoice", ["stg_invoice_lines", "stg_invoices"]),
        ("lab ", ["notebooks/explore/quickstart.ipynb"]),
        ("logs c", ["clickhouse"]),
        ("up ", ["clickhouse"]),
        ("completion ", ["bash"]),
        ("init x --example ch", ["chinook"]),
    ],
)
def test_live_names_are_offered(built_shop: Workbench, line: str, offered: list[str]) -> None:
    found = _offered(built_shop, line)
    assert [name for name in found if name in offered] == offered
    assert all(name.casefold().startswith(line.split(" ")[-1].casefold()) for name in found)


@pytest.mark.parametrize("line", ["object Customer ", "inspect ", "snapshot diff ", "sync ", "object Nothing ", "links Customer 1 "])
def test_nothing_is_started_for_a_name(chinook: Path, line: str) -> None:
    bench = Workbench(Settings.load(chinook, environ={}))
    _offered(bench, line)
    assert not (chinook / ".skygraph/lake").exists()


@pytest.mark.parametrize("line", ["sync ", "object ", "objects Customer --sort ", "links Customer 1 "])
def test_broken_files_offer_nothing_and_say_nothing(chinook: Path, line: str) -> None:
    (chinook / "sync_jobs/tables.yml").write_text("tables: [", encoding="utf-8")
    (chinook / "ontology/objects/customer.yml").write_text("type: [", encoding="utf-8")
    offered = _offered(Workbench(Settings.load(chinook, environ={})), line)
    assert set(offered) <= {"status", "serve", "compare", "verify", "backfill", "rewind", "lookback", "quarantine"}, (
        "the verbs are known; tables, types, keys and properties are not"
    )


@pytest.mark.parametrize(
    ("typed", "offered"),
    [(["obj"], ["object", "objects"]), (["sync", "invo"], ["invoices", "invoice_lines"]), (["objects", "Customer", "--so"], ["--sort"])],
)
def test_bash_completes_a_line(chinook: Path, typed: list[str], offered: list[str]) -> None:
    words = " ".join(f"'{word}'" for word in ["skygraph", *typed])
    script = f"""
        eval "$(skygraph completion)"
        COMP_WORDS=({words}); COMP_CWORD={len(typed)}
        _skygraph; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=chinook, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == offered
    assert not done.stderr
