"""`skygraph lint`: every planted fault is found, with its line and what to write instead; none is found in our own workspaces."""

# ruff: noqa: E501 - a planted fault is easier to read on one line
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.bench import Workbench
from workbench.cli import run
from workbench.errors import UsageError
from workbench.lint import Finding, LintReport, lint
from workbench.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
KEYS = {"raw.orders": ("id",), "raw.lines": ("order_id", "line"), "raw.customers": ("id",)}
MODEL, DASHBOARD, NOTEBOOK = "dbt/models/marts/m.sql", "notebooks/dashboards/d.ipynb", "notebooks/explore/e.ipynb"

# name, file, its text (a notebook's only cell), kind, line, a part of the corrected text
PLANTED: list[tuple[str, str, str, str, int, str]] = [
    ("a source without the macro", MODEL, "select id\nfrom {{ source('raw', 'orders') }}\n", "raw read", 2, "from {{ current('orders') }}"),
    ("a raw table by its name", MODEL, "select id\nfrom raw.orders\n", "raw read", 2, "from {{ current('orders') }}"),
    ("quoted names", MODEL, "select id from `raw`.`orders`", "raw read", 1, "from {{ current('orders') }}"),
    ("the joined side", MODEL, "select o.id\nfrom {{ current('orders') }} o\njoin {{ source('raw', 'lines') }} l on o.id = l.order_id",
     "raw read", 3, "join {{ current('lines') }} l"),
    ("in a subquery of IN", MODEL, "select id from {{ current('orders') }}\nwhere id in (select order_id from raw.lines)", "raw read", 2,
     "{{ current('lines') }}"),
    ("in one arm of a union", MODEL, "select id from {{ current('orders') }}\nunion all\nselect id from raw.customers", "raw read", 3,
     "from {{ current('customers') }}"),
    ("in a common table", MODEL, "with o as (\n  select * from {{ source('raw', 'orders') }}\n)\nselect count() from o", "raw read", 2,
     "{{ current('orders') }}"),
    ("behind an IF of Jinja", MODEL, "select 1\n{% if true %}\nfrom raw.orders\n{% else %}\nfrom raw.lines final\n{% endif %}", "raw read", 3, ""),
    ("in a singular test", "dbt/tests/t.sql", "select * from {{ source('raw', 'orders') }} where id is null", "raw read", 1,
     "{{ current('orders') }}"),
    ("in a macro", "dbt/macros/n.sql", "{% macro n() %}\nselect count() from {{ source('raw', 'orders') }}\n{% endmacro %}", "raw read", 2,
     "{{ current('orders') }}"),
    ("PREWHERE in a model", MODEL, "select id from {{ current('orders') }}\nprewhere status = 'open'", "prewhere", 2, "where status"),
    ("final = 0 in a model", MODEL, "select id from {{ current('orders') }}\nsettings final = 0", "setting", 2, "{{ current('orders') }}"),
    ("a skip index that answers inexactly", MODEL,
     "select id from {{ current('orders') }} settings use_skip_indexes_if_final_exact_mode = 0", "setting", 1, "{{ current('orders') }}"),
    ("partitions that are not merged", MODEL,
     "select id from {{ current('orders') }} settings do_not_merge_across_partitions_select_final = 1", "setting", 1, "{{ current("),
    ("final off in config()", MODEL, "{{ config(query_settings={'final': 0}) }}\nselect id from {{ current('orders') }}", "setting", 1, "config"),
    ("final off in YAML", "dbt/models/marts/m.yml", "models:\n  - name: m\n    config:\n      query_settings:\n        final: 0\n",
     "setting", 5, ""),
    ("a test of a source", "dbt/models/staging/s.yml",
     "sources:\n  - name: raw\n    tables:\n      - name: orders\n        columns:\n          - name: id\n            data_tests: [unique]\n",
     "raw read", 7, "staging model"),
    ("argMax behind a condition", MODEL,
     "select id, argMax(status, _version) as status\nfrom raw.orders\nwhere status = 'open' and _deleted = 0\ngroup by id",
     "filter before dedup", 2, "select id, status from {{ current('orders') }} where status = 'open'"),
    ("LIMIT BY behind a condition", MODEL,
     "select * from raw.orders where amount > 5 order by id, _version desc limit 1 by id", "filter before dedup", 1,
     "select * from {{ current('orders') }} where amount > 5"),
    ("row_number behind a condition", MODEL,
     "select id from (\n  select id, row_number() over (partition by id order by _version desc) as n\n  from raw.orders where status = 'open'\n"
     ") where n = 1", "filter before dedup", 3, "select id from {{ current('orders') }} where status = 'open'"),
    ("DISTINCT ON behind a condition", MODEL,
     "select distinct on (id) id, status from raw.orders where status = 'open' order by id, _version desc", "filter before dedup", 1,
     "from {{ current('orders') }} where status = 'open'"),
    ("the newest version of those that meet it", MODEL,
     "select * from {{ current('orders') }} where (id, _version) in\n(select id, max(_version) from raw.orders where status = 'open' group by id)",
     "filter before dedup", 2, "where status = 'open'"),
    ("deleted rows left out first", MODEL, "select id, argMax(amount, _version) from raw.orders where _deleted = 0 group by id",
     "flag before dedup", 1, "select id, amount from {{ current('orders') }}"),
    ("no thought of deleted keys", MODEL, "select id, argMax(amount, _version) as amount from raw.orders group by id", "deleted keys", 1,
     "select id, amount from {{ current('orders') }}"),
    ("versions merged by hand", MODEL, "select id, argMax(amount, _version) as a from raw.orders group by id having argMax(_deleted, _version) = 0",
     "dedup by hand", 1, "select id, amount as a from {{ current('orders') }}"),
    ("a key condition is none before dedup", MODEL,
     "select order_id, argMax(product, _version) p, argMax(_deleted, _version) d from raw.lines where order_id = 4 group by order_id, line",
     "dedup by hand", 1, "where order_id = 4"),
    ("a materialized view", MODEL, "{{ config(materialized='materialized_view') }}\nselect sum(amount) from {{ source('raw', 'orders') }}",
     "engine view", 2, "materialized='table'"),
    ("a materialized view by hand", "dbt/setup.sql", "create materialized view marts.v engine = MergeTree order by id as select id from raw.orders",
     "engine view", 1, ""),
    ("a dictionary of a table", "dbt/setup.sql",
     "create dictionary marts.d (id UInt64, name String) primary key id\nsource(clickhouse(table 'customers' db 'raw')) layout(flat()) lifetime(0)",
     "dictionary", 2, "query 'select * from raw.customers final'"),
    ("a dictionary of a query", "dbt/setup.sql",
     "create dictionary marts.d (id UInt64, name String) primary key id\nsource(clickhouse(query 'select id, name from raw.customers'))\n"
     "layout(flat()) lifetime(0)", "dictionary", 2, "raw.customers FINAL"),
    ("--raw in a dashboard", DASHBOARD, "%%skygraph sql big --raw\nselect * from raw.orders", "raw asked for", 1, "%%skygraph sql big"),
    ("--raw on one line", DASHBOARD, '%skygraph sql "select 1 from raw.orders" --raw', "raw asked for", 1, '%skygraph sql "select 1 from raw.orders"'),
    ("raw=True in a dashboard", DASHBOARD, 'x = 1\nbench.sql("select 1 from raw.orders", raw=True)', "raw asked for", 2, "bench.sql"),
    ("query_history in a dashboard", DASHBOARD, 'bench.lake.query_history("select count() from raw.orders")', "raw asked for", 1, "bench.sql"),
    ("history of a table in a job", "notebooks/jobs/j.ipynb", 'bench.lake.history("raw.orders")', "raw asked for", 1, "bench.sql"),
    ("history=True", DASHBOARD, 'bench.lake.rows("select 1 from raw.orders", history=True)', "raw asked for", 1, "bench.sql"),
    ("PREWHERE in a cell", NOTEBOOK, "%%skygraph sql\nselect * from raw.orders\nprewhere status = 'open'", "prewhere", 3, "where status"),
    ("PREWHERE in Python", NOTEBOOK, 'x = bench.sql("""select *\nfrom raw.orders\nprewhere id = 1""")', "prewhere", 3, "where id"),
    ("final off in Python", NOTEBOOK, 'bench.sql(f"select {x} from raw.orders settings final = 0")', "setting", 1, "from raw.orders"),
    ("the engine's own counts", DASHBOARD, "bench.sql(\"select sum(rows) from system.parts where database = 'raw'\")", "engine counts", 1,
     "count()"),
    ("clickhouse_connect", NOTEBOOK, "import pandas\nimport clickhouse_connect", "own client", 2, "bench.sql"),
    ("its statement", NOTEBOOK, 'import clickhouse_driver\nc.execute("select sum(amount) from raw.orders")', "raw read", 2, "raw.orders FINAL"),
    ("its statement in pandas", NOTEBOOK, 'from clickhouse_connect import get_client\nq = """\nselect *\nfrom raw.orders\n"""\npd.read_sql(q, c)',
     "raw read", 4, "raw.orders FINAL"),
    ("sqlalchemy", NOTEBOOK, 'e = create_engine("clickhouse://localhost/raw")', "own client", 1, "bench.sql"),
    ("another SQL magic", NOTEBOOK, "%%sql\nselect *\nfrom raw.orders", "own client", 1, "%%skygraph sql"),
    ("its cell", NOTEBOOK, "%%sql\nselect *\nfrom raw.orders", "raw read", 3, "raw.orders FINAL"),
    ("the command-line client", NOTEBOOK, '!clickhouse-client -q "select 1 from raw.orders"', "own client", 1, "skygraph sql"),
    ("curl", NOTEBOOK, "!curl 'http://localhost:8123/?query=select+1'", "own client", 1, "skygraph sql"),
    ("HTTP by hand", NOTEBOOK, "import httpx\nhttpx.post('http://localhost:8123', content='select 1')", "own client", 2, "bench.sql"),
    ("a Python file", "notebooks/tools.py", "import chdb\n", "own client", 1, "bench.sql"),
]  # fmt: skip


def write(folder: Path, file: str, text: str) -> None:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".ipynb":
        cells = [{"cell_type": "markdown", "source": "from raw.orders"}, {"cell_type": "code", "source": text.splitlines(keepends=True)}]
        text = json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("file", "text", "kind", "line", "corrected"), [pytest.param(*p[1:], id=p[0]) for p in PLANTED])
def test_planted_fault_is_found_where_it_is(tmp_path: Path, file: str, text: str, kind: str, line: int, corrected: str) -> None:
    write(tmp_path, file, text)
    found = lint(tmp_path, KEYS).findings
    there = [f for f in found if (f.kind, f.line) == (kind, line)]
    assert len(there) == 1, found
    assert there[0].file == file and there[0].cell == (2 if file.endswith("ipynb") else 0)
    assert " ".join(corrected.split()) in " ".join(there[0].corrected.split()), there[0].corrected
    assert there[0].text == text.splitlines()[line - 1].strip() and there[0].why


def test_there_are_twenty_kinds_of_faults_planted() -> None:
    assert len(PLANTED) >= 20 and len({p[3] for p in PLANTED}) >= 10


RIGHT = [
    ("the macro", MODEL, "select id from {{ current('orders') }} where status = 'open'"),
    ("FINAL by hand", MODEL, "select id from {{ source('raw', 'orders') }} as o final where status = 'open'"),
    ("a model", MODEL, "select * from {{ ref('stg_orders') }} join {{ ref('fct_lines') }} using (id)"),
    (
        "a condition behind a dedup",
        MODEL,
        "select id from (select id, argMax(s, _version) as s from {{ current('orders') }} group by id) where s = 'x'",
    ),
    (
        "argMax of something else",
        MODEL,
        "select customer, argMax(id, amount) from {{ current('orders') }} where amount > 5 group by customer",
    ),
    ("a name of its own", MODEL, "with raw_orders as (select 1 as id) select * from raw_orders"),
    ("a word in a text and a comment", MODEL, "-- from raw.orders prewhere\nselect 'from raw.orders prewhere' as x"),
    ("a comment of Jinja", MODEL, "{# from raw.orders #}\nselect 1"),
    ("on purpose", MODEL, "select count() as versions\nfrom raw.orders -- raw on purpose"),
    ("a cell of SQL", DASHBOARD, "%%skygraph sql\nselect count() from raw.orders where status = 'open'"),
    ("bench.sql", DASHBOARD, 'bench.sql("select count() from raw.orders")'),
    ("a question about physical rows in a notebook", NOTEBOOK, 'bench.lake.query_history("select count() from raw.orders")'),
    ("--raw in a notebook", NOTEBOOK, "%%skygraph sql --raw\nselect count() from raw.orders"),
    ("tests of a model", "dbt/models/marts/m.yml", "models:\n  - name: m\n    columns:\n      - name: id\n        data_tests: [unique]\n"),
    ("a cell that is no Python", NOTEBOOK, "def ("),
    ("a URL of something else", NOTEBOOK, "httpx.get('http://localhost:8100/api/v1/objects/Customer')"),
]


@pytest.mark.parametrize(("file", "text"), [pytest.param(*r[1:], id=r[0]) for r in RIGHT])
def test_what_reads_current_rows_is_no_fault(tmp_path: Path, file: str, text: str) -> None:
    write(tmp_path, file, text)
    assert lint(tmp_path, KEYS).findings == ()


def test_a_model_that_is_itself_a_table_of_versions_is_read_final(tmp_path: Path) -> None:
    write(tmp_path, "dbt/models/marts/log.sql", "{{ config(engine='ReplacingMergeTree(v)', order_by='id') }}\nselect 1 as id, 2 as v")
    write(tmp_path, "dbt/models/marts/m.sql", "select id\nfrom {{ ref('log') }}")
    write(tmp_path, "dbt/models/marts/n.sql", "select id from {{ ref('log') }} final")
    (found,) = lint(tmp_path, KEYS).findings
    assert (found.file, found.line, found.corrected) == ("dbt/models/marts/m.sql", 2, "from {{ ref('log') }} final")


@pytest.mark.parametrize("folder", [".", "examples/flights", "workbench/starter/workspace", "workbench/health/workspace"])
def test_our_own_workspaces_have_no_fault(folder: str) -> None:
    report = Workbench(Settings.load(REPOSITORY / folder, environ={})).lint()
    assert report.findings == () and report.files >= 3


def test_lint_answers_in_three_ways_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sync_jobs").mkdir()
    write(tmp_path, MODEL, "select id\nfrom raw.orders")
    monkeypatch.chdir(tmp_path)
    assert run(["lint"]) == 1
    said = capsys.readouterr().out
    assert f"{MODEL}:2: raw read: raw.orders keeps every version" in said
    assert "+ from {{ current('orders') }}" in said and "1 place(s)" in said
    assert run(["lint", "--json"]) == 1
    data: Any = json.loads(capsys.readouterr().out)
    assert data["findings"][0]["line"] == 2
    write(tmp_path, MODEL, "select id from {{ current('orders') }}")
    assert run(["lint", MODEL]) == 0
    assert isinstance(Workbench(Settings.load(tmp_path, environ={})).lint()._repr_html_(), str)


def test_bad_files_and_paths_are_said_or_left_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file or folder"):
        lint(tmp_path, KEYS, ["nowhere"])
    assert lint(tmp_path, KEYS) == LintReport((), 0)
    (tmp_path / "dbt").mkdir()
    (tmp_path / "dbt/x.ipynb").write_text("no json")
    assert lint(tmp_path, KEYS).findings == (Finding("dbt/x.ipynb", 0, 1, "not read", "it is no notebook: not JSON"),)
    (tmp_path / "dbt/x.ipynb").unlink()
    (tmp_path / "dbt/m.sql").write_bytes(b"select '\xff'")
    with pytest.raises(UsageError, match="cannot be read"):
        lint(tmp_path, KEYS)
