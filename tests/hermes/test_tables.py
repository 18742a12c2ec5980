"""`sync_jobs/*.yml`: what it means, and every problem at once with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.errors import InvalidFiles, SourceError, UnknownName
from workbench.hermes import load_plan

GOOD = """\
sources:
  shop:
    connector: sqlite
    path: .skygraph/shop.sqlite
  erp: {connector: postgres, dsn: "postgresql://me:${ERP_PASSWORD}@db:5432/erp", schema: sales}
tables:
  invoices:
    source: shop
    from: invoice
    key: [id]
    watermark: updated_at
    every: 5 minutes
    lookback: 10 minutes
    deletes: sweep
    columns: {notes: drop, amount: "Decimal(12, 2)"}
  customers: {source: erp, key: id, deletes: "column:is gone"}
jobs:
  nightly: {notebook: jobs/a.ipynb, at: "02:00"}
"""


def write(workspace: Path, text: str, name: str = "tables.yml") -> None:
    (workspace / "sync_jobs" / name).write_text(text, encoding="utf-8")


def problems(workspace: Path) -> list[str]:
    with pytest.raises(InvalidFiles) as caught:
        load_plan(workspace)
    return [str(p) for p in caught.value.problems]


def test_plan_has_what_was_written(workspace: Path) -> None:
    write(workspace, GOOD)
    plan = load_plan(workspace)
    invoices = plan.table("raw.invoices")
    assert (invoices.source, invoices.from_, invoices.key, invoices.watermark) == ("shop", "invoice", ("id",), "updated_at")
    assert (invoices.every_s, invoices.lookback, invoices.deletes, invoices.raw) == (300.0, 600.0, "sweep", "raw.invoices")
    assert dict(invoices.columns) == {"notes": "drop", "amount": "Decimal(12, 2)"}
    customers = plan.table("customers")
    assert (customers.from_, customers.watermark, customers.every_s, customers.deleted_column) == ("customers", "", None, "is gone")
    nightly = plan.jobs["nightly"]
    assert (nightly.notebook, nightly.when, nightly.timeout_s, nightly.overlap) == ("jobs/a.ipynb", "at 02:00", 3600.0, "skip")


def test_files_beside_it_are_merged(workspace: Path) -> None:
    write(workspace, GOOD)
    write(workspace, "tables:\n  orders: {source: shop, key: id}\n", "more.yml")
    assert sorted(load_plan(workspace).tables) == ["customers", "invoices", "orders"]
    write(workspace, "tables:\n  invoices: {source: shop, key: id}\n", "more.yml")
    assert problems(workspace) == ["sync_jobs/tables.yml:7: table 'invoices' stands in sync_jobs/more.yml:2 already"]


def test_missing_or_empty_folder_is_an_empty_plan(workspace: Path, tmp_path: Path) -> None:
    assert load_plan(workspace).tables == {}
    assert load_plan(tmp_path / "nowhere").tables == {}
    with pytest.raises(UnknownName, match="tables.yml has no table yet"):
        load_plan(workspace).table("x")


def test_unknown_table_names_the_nearest(workspace: Path) -> None:
    write(workspace, GOOD)
    with pytest.raises(UnknownName, match="unknown table 'invoces'; did you mean invoices"):
        load_plan(workspace).table("raw.invoces")


def test_every_problem_is_said_at_once_with_file_and_line(workspace: Path) -> None:
    write(
        workspace,
        """\
sources:
  shop:
    connector: sqllite
    path: x
  erp:
    connector: postgres
    shema: s
tables:
  invoices:
    source: shp
    kye: [id]
    every: sometimes
    lookback: 10 minutes
    deletes: swep
    columns: {id: , note: drop}
  2nd: {source: shop, key: [id], watermark: at, columns: {at: drop}}
  good: {source: shop, key: [id]}
tabels: {}
""",
    )
    write(workspace, "tables: [a]\n", "b.yml")
    write(workspace, "tables:\n  a: {\n", "c.yml")
    said = problems(workspace)
    expected = [
        ("sync_jobs/b.yml:1:", "'tables' of a sync_jobs file must be a mapping"),
        ("sync_jobs/c.yml:", "is not YAML"),
        ("sync_jobs/tables.yml:3:", "unknown connector 'sqllite' of source 'shop'; did you mean 'sqlite'?"),
        ("sync_jobs/tables.yml:5:", "source 'erp' (postgres) needs the key 'dsn'"),
        ("sync_jobs/tables.yml:7:", "unknown key 'shema' of source 'erp' (postgres); did you mean 'schema'?"),
        ("sync_jobs/tables.yml:9:", "table 'invoices' needs the key 'key' (there is 'kye')"),
        ("sync_jobs/tables.yml:10:", "unknown source 'shp'; did you mean 'shop'?"),
        ("sync_jobs/tables.yml:11:", "unknown key 'kye' of table 'invoices'; did you mean 'key'?"),
        ("sync_jobs/tables.yml:12:", "'sometimes' is not a duration"),
        ("sync_jobs/tables.yml:13:", "has a lookback but no watermark"),
        ("sync_jobs/tables.yml:14:", "unknown deletes 'swep' of table 'invoices'; it is sweep, none or column:NAME"),
        ("sync_jobs/tables.yml:15:", "column 'id' of table 'invoices': `drop` or a ClickHouse type"),
        ("sync_jobs/tables.yml:16:", "table '2nd': a raw table's name has letters"),
        ("sync_jobs/tables.yml:16:", "column 'at' of table '2nd' is its key or watermark; keep it"),
        ("sync_jobs/tables.yml:18:", "unknown key 'tabels' of a sync_jobs file; did you mean 'tables'?"),
    ]
    for start, text in expected:
        assert any(line.startswith(start) and text in line for line in said), f"{start} {text}\nnot in\n" + "\n".join(said)
    assert len(said) == len(expected)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:hunter2@db/erp",
        "postgresql://me:hunter2${X}@db/erp",
        "postgresql://me:hun/ter2@db/erp",
        "postgresql://:hunter2@db/erp",
        "host=db user=me password=hunter2",
        "host=db user=me PASSWORD = 'hunter2'",
        "postgresql://me@db/erp?password=hunter2",
        "postgresql://me@db/erp?sslpassword=hunter2",
    ],
)
def test_password_in_a_dsn_is_refused_and_not_repeated(workspace: Path, dsn: str) -> None:
    write(workspace, f'sources:\n  erp:\n    connector: postgres\n    dsn: "{dsn}"\n')
    (said,) = problems(workspace)
    assert said.startswith("sync_jobs/tables.yml:4: source 'erp' has a password in the file; write it as ${NAME}")
    assert "ter2" not in said


@pytest.mark.parametrize(
    "dsn",
    [
        "${ERP_DSN}", "postgresql://me:${P}@db/erp", "postgresql://me@db/erp", "postgresql://db:5432/erp", "host=db password=${P}",
        "postgresql://${U}:${P}@db:5432/erp?sslmode=require", "postgresql://me@[::1]:5432/erp",
    ],
)  # fmt: skip
def test_dsn_without_a_password_of_its_own_is_taken(workspace: Path, dsn: str) -> None:
    write(workspace, f'sources:\n  erp: {{connector: postgres, dsn: "{dsn}"}}\n')
    assert load_plan(workspace).sources["erp"].options["dsn"] == dsn


def test_variables_are_put_in_when_the_source_is_opened(workspace: Path) -> None:
    write(workspace, GOOD)
    erp = load_plan(workspace).sources["erp"]
    assert erp.resolved({"ERP_PASSWORD": "p${X}"})["dsn"] == "postgresql://me:p${X}@db:5432/erp"
    with pytest.raises(SourceError, match="source erp: ERP_PASSWORD is not set; export ERP_PASSWORD"):
        erp.resolved({})
    assert "ERP_PASSWORD" not in repr(erp)
