from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from workbench import Workbench
from workbench.answer import to_json
from workbench.errors import UnknownName


def test_everything_of_the_workspace_is_listed_with_rows_and_age(built_shop: Workbench) -> None:
    found = {(e.kind, e.name): e for e in built_shop.catalog().entries}
    assert {kind for kind, _ in found} == {"object type", "mart", "staging", "raw"}
    assert {name for kind, name in found if kind == "object type"} == set(built_shop.ontology.object_types)
    assert {name for kind, name in found if kind == "raw"} == {f"raw.{t}" for t in built_shop.hermes.plan.tables}
    for kind, name in [("object type", "Invoice"), ("mart", "fct_invoices"), ("staging", "stg_invoices"), ("raw", "raw.invoices")]:
        entry = found[kind, name]
        assert entry.rows == built_shop.lake.scalar("select count() from raw.invoices")
        assert entry.is_there and entry.description and entry.columns
        assert (entry.age_s is None) == (kind == "staging"), "a view is as old as what it reads"
        assert not {c for c, _, _ in entry.columns} & {"_version", "_deleted", "_synced_at", "_run_id"}
    assert found["mart", "fct_invoices"].comes_from == ("staging.stg_invoice_lines", "staging.stg_invoices")
    assert found["staging", "stg_invoices"].comes_from == ("raw.invoices",)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        pytest.param("Invoice", "Invoice", id="its name"),
        pytest.param("MARTS.fct_invoices", "fct_invoices", id="its table, in any case"),
        pytest.param("support rep", "Customer", id="words of a column"),
        pytest.param("first and last", "Customer", id="words of a description"),
    ],
)
def test_words_find_entries_by_name_column_and_description(built_shop: Workbench, text: str, first: str) -> None:
    names = [e.name for e in built_shop.catalog(text).entries]
    assert first in names[:3]


def test_one_that_is_named_is_shown_with_columns_and_sample_rows(built_shop: Workbench) -> None:
    catalog = built_shop.catalog("Genre")
    (entry,) = catalog.entries
    assert [c[0] for c in entry.columns] == list(built_shop.ontology.object_types["Genre"].properties)
    assert len(entry.sample) == 5 and set(entry.sample[0]) == {c[0] for c in entry.columns}
    assert entry.sample[0][built_shop.ontology.object_types["Genre"].title] in str(catalog)
    assert to_json(catalog)[0]["columns"][0]["type"] == "integer"


def test_sample_rows_are_for_people_whatever_the_columns_hold(built_shop: Workbench) -> None:
    built_shop.lake.command(
        "create table raw.oddities (id Int64, at DateTime, kind Enum8('a' = 1), said String) engine = MergeTree order by id"
    )
    try:
        built_shop.lake.command("insert into raw.oddities values (1, '2020-01-01 10:00:00', 'a', unhex('61FF'))")
        (entry,) = built_shop.catalog("raw.oddities").entries
        assert to_json(entry.sample) == [{"id": 1, "at": "2020-01-01T10:00:00+00:00", "kind": "a", "said": "a\ufffd"}]
    finally:
        built_shop.lake.command("drop table raw.oddities")


def test_nothing_found_names_what_is_near(built_shop: Workbench) -> None:
    assert "did you mean Invoice" in str(built_shop.catalog("Invoyce"))
    assert built_shop.catalog("Invoyce").to_dict() == []


def test_lineage_leads_from_the_type_to_the_source(built_shop: Workbench) -> None:
    lineage = built_shop.lineage("InvoiceLine")
    assert lineage.mart == "marts.fct_invoice_lines" and lineage.mart_age_s is not None
    assert "staging.stg_invoice_lines" in lineage.staging
    raw = {r["table"]: r for r in lineage.raw}
    lines = raw["raw.invoice_lines"]
    assert lines["connector"] == "sqlite" and lines["source"].startswith("shop: ") and lines["last_run"] == "ok"
    status = {t.table: t for t in built_shop.sync_status().tables}["invoice_lines"]
    assert lines["watermark"] == status.watermark != ""
    with pytest.raises(UnknownName, match="did you mean|Invoice"):
        built_shop.lineage("Invoise")


def test_a_project_that_dbt_never_parsed_has_a_catalog_all_the_same(built_shop: Workbench, tmp_path: Path) -> None:
    from workbench.transforms import Transforms

    project = tmp_path / "dbt"
    shutil.copytree(built_shop.settings.workspace / "dbt", project, ignore=shutil.ignore_patterns("target", "logs"))
    transforms = Transforms(built_shop.lake, project, tmp_path / "log")
    assert transforms.parents("fct_invoices") == ([], [])
    assert transforms.source_docs() == {}
