"""Editing while reading: whole models, the last good one, views."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.errors import InvalidFiles, UnknownName
from workbench.ontology import LINK_TYPES, OBJECT_TYPES, LiveOntology, Ontology, OntologyList, set_live


@pytest.fixture
def live(folder: Path, models: list[str], tmp_path: Path) -> LiveOntology:
    return LiveOntology(folder, lambda: models, tmp_path / "state" / "ontology.json")


@pytest.fixture
def again(folder: Path, models: list[str], live: LiveOntology) -> LiveOntology:
    """The same folder as another process would see it."""
    return LiveOntology(folder, lambda: models, live.last_good)


@pytest.fixture
def registered(live: LiveOntology) -> Iterator[LiveOntology]:
    set_live(live)
    yield live
    set_live(None)


def rename(folder: Path, old: str, new: str) -> None:
    for path in sorted(folder.rglob("*.yml")):
        path.write_text(path.read_text("utf-8").replace(old, new), encoding="utf-8")


def test_a_reload_swaps_the_model_and_says_what_changed(live: LiveOntology, folder: Path) -> None:
    assert live.ontology
    assert not live.reload().changes
    before = live.ontology
    rename(folder, "Tag", "Label")
    assert live.ontology is before
    report = live.reload()
    assert report.to_dict() == {
        "object_types": {"added": ("Label",), "changed": (), "removed": ("Tag",)},
        "link_types": {"added": (), "changed": ("tagged",), "removed": ()},
        "type_count": 3,
        "link_count": 3,
        "degraded": [],
    }
    assert "Label" in str(report)
    assert "Label" in live.ontology.object_types


def test_a_bad_edit_keeps_the_model_and_says_so(live: LiveOntology, folder: Path) -> None:
    before = live.ontology
    rename(folder, "model: dim_tags", "model: dim_tag")
    with pytest.raises(InvalidFiles, match="dim_tag"):
        live.reload()
    assert live.ontology is before
    assert live.problems is not None
    assert "last good model" in str(OntologyList(live.ontology, live.problems))
    rename(folder, "model: dim_tag", "model: dim_tags")
    live.reload()
    assert live.problems is None


def test_a_process_that_starts_on_wrong_files_uses_the_last_good_model(live: LiveOntology, again: LiveOntology, folder: Path) -> None:
    good = live.ontology
    (folder / "objects" / "tag.yml").write_text("type: [")
    assert again.ontology == good
    assert again.problems is not None
    assert again.origins == {}


def test_a_process_that_reloads_first_compares_with_the_last_good_model(live: LiveOntology, again: LiveOntology, folder: Path) -> None:
    assert live.ontology
    rename(folder, "Tag", "Label")
    assert again.reload().changes.object_types.removed == ("Tag",)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'{"format": 1}', b'{"format": 1, "ontology": {}}', b"\xff", b"[" * 100_000])
def test_without_a_readable_last_good_model_the_problems_are_raised(
    live: LiveOntology, again: LiveOntology, folder: Path, damage: bytes
) -> None:
    assert live.ontology
    live.last_good.write_bytes(damage)
    (folder / "objects" / "tag.yml").write_text("type: [")
    with pytest.raises(InvalidFiles):
        again.ontology  # noqa: B018
    rename(folder, "type: [", "type: Tag\nmodel: dim_tags\nkey: tag\nproperties: {tag: {type: string}}")
    assert "Tag" in again.ontology.object_types


def test_a_folder_that_cannot_be_written_costs_only_the_keeping(folder: Path, models: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    live = LiveOntology(folder, lambda: models, tmp_path / "file" / "ontology.json")
    assert len(live.ontology.object_types) == 3


def test_another_process_knows_the_model_before_the_last_one_that_was_taken(live: LiveOntology, again: LiveOntology, folder: Path) -> None:
    assert live.ontology and again.previous is None
    rename(folder, "Tag", "Label")
    live.reload()
    assert again.ontology == live.ontology  # it loads the same files, and keeps what is kept
    for taken in (live, again):
        assert taken.previous is not None
        assert "Tag" in taken.previous.object_types
    live.reload()
    assert again.previous == live.previous


def test_nothing_is_left_beside_the_last_good_model(live: LiveOntology, folder: Path) -> None:
    for old, new in (("Tag", "Label"), ("Label", "Tag")):
        assert live.ontology
        rename(folder, old, new)
        live.reload()
    assert [p.name for p in live.last_good.parent.iterdir()] == ["ontology.json"]


def test_readers_see_a_whole_model_while_it_is_reloaded(live: LiveOntology, folder: Path) -> None:
    mixed: list[Ontology] = []
    stop = threading.Event()
    assert live.ontology

    def look() -> None:
        while not stop.is_set():
            seen = live.ontology
            if ("Tag" in seen.object_types) == ("Label" in seen.object_types) or (
                seen.link_type("tagged").to_type not in seen.object_types
            ):
                mixed.append(seen)

    readers = [threading.Thread(target=look) for _ in range(4)]
    for reader in readers:
        reader.start()
    for i in range(10):
        rename(folder, *(("Tag", "Label") if i % 2 == 0 else ("Label", "Tag")))
        live.reload()
    stop.set()
    for reader in readers:
        reader.join()
    assert not mixed


def test_the_views_are_empty_before_connecting() -> None:
    set_live(None)  # another test of the run may have connected
    assert len(OBJECT_TYPES) == 0
    assert "workbench.connect()" in repr(OBJECT_TYPES)
    assert dict(LINK_TYPES) == {}


def test_the_views_always_show_the_current_model(registered: LiveOntology, folder: Path) -> None:
    view = OBJECT_TYPES
    assert "Tag" in view
    assert repr(LINK_TYPES) == "<LINK_TYPES: ordered_by, reports_to, tagged>"
    rename(folder, "Tag", "Label")
    registered.reload()
    assert "Label" in view
    assert view._ipython_key_completions_() == ["Order", "Person", "Label"]  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        view["x"] = None  # type: ignore[index]


def test_the_views_say_what_is_wrong_when_there_is_no_model(registered: LiveOntology, folder: Path) -> None:
    (folder / "objects" / "tag.yml").write_text("type: [")
    assert "tag.yml" in repr(OBJECT_TYPES)
    assert OBJECT_TYPES._ipython_key_completions_() == []  # type: ignore[attr-defined]


def test_a_view_names_the_nearest_type(registered: LiveOntology) -> None:
    with pytest.raises(UnknownName, match="Person"):
        registered.ontology.object_type("Persn")
    with pytest.raises(KeyError):
        OBJECT_TYPES["Persn"]


def test_the_import_is_light() -> None:
    heavy = ("pyarrow", "pandas", "clickhouse_connect", "rich", "IPython", "dbt.cli")
    code = f"import sys, workbench.ontology; sys.exit(', '.join(m for m in {heavy!r} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
