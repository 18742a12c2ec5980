"""Saving files while the model is in use: every way in which editors save, bad edits, deleted folders, many readers."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import InvalidFiles
from workbench.lake import Lake
from workbench.ontology import LiveOntology, Ontology, Store
from workbench.ontology.check import columns_of, lake_findings

Until = Callable[..., None]


@pytest.fixture
def live(folder: Path, models: list[str], tmp_path: Path, until: Until) -> Iterator[LiveOntology]:
    """The small world, watched: a first save has been heard."""
    found = LiveOntology(folder, lambda: models, tmp_path / "state" / "ontology.json")
    assert found.ontology
    found.watch()
    path = folder / "objects/tag.yml"
    text = path.read_text("utf-8")
    for saved, heard in ((text + "description: heard\n", "heard"), (text, "")):
        path.write_text(saved, encoding="utf-8")
        until(lambda heard=heard: found.ontology.object_type("Tag").description == heard)
    yield found
    found.close()


def in_place(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def by_rename(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.swp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def over_a_backup(path: Path, text: str) -> None:
    os.rename(path, path.with_name(path.name + "~"))
    path.write_text(text, encoding="utf-8")


def in_pieces(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        for piece in (text[:20], text[20:]):
            file.write(piece)
            file.flush()


@pytest.mark.parametrize("save", [in_place, by_rename, over_a_backup, in_pieces])
def test_a_saved_file_is_in_the_model_within_a_second(
    live: LiveOntology, folder: Path, until: Until, save: Callable[[Path, str], None]
) -> None:
    path = folder / "objects/tag.yml"
    for name in ("first", "second", "third"):
        save(path, path.read_text("utf-8").split("description")[0] + f"description: {name}\n")
        until(lambda name=name: live.ontology.object_type("Tag").description == name, seconds=1.0)
    assert live.problems is None


def test_a_bad_save_keeps_the_model_says_where_and_ends_with_a_good_one(live: LiveOntology, folder: Path, until: Until) -> None:
    before, path = live.ontology, folder / "objects/tag.yml"
    good = path.read_text("utf-8")
    path.write_text(good.replace("dim_tags", "dim_tgs"), encoding="utf-8")
    until(lambda: live.problems, seconds=5)
    assert live.ontology is before
    assert live.problems is not None
    assert str(live.problems.problems[0]).startswith("ontology/objects/tag.yml:2: there is no dbt model 'dim_tgs'")
    path.write_text(good + "description: right again\n", encoding="utf-8")
    until(lambda: live.problems is None, seconds=5)
    assert live.ontology.object_type("Tag").description == "right again"


def test_a_new_and_a_deleted_file_are_heard(live: LiveOntology, folder: Path, until: Until) -> None:
    (folder / "objects/label.yml").write_text(
        "type: Label\nmodel: dim_tags\nkey: tag\nproperties:\n  tag: {type: string}\n", encoding="utf-8"
    )
    until(lambda: "Label" in live.ontology.object_types, seconds=5)
    (folder / "objects/label.yml").unlink()
    until(lambda: "Label" not in live.ontology.object_types, seconds=5)


def test_a_replaced_folder_is_heard_and_listened_to(live: LiveOntology, folder: Path, until: Until) -> None:
    other = folder.with_name("other")
    shutil.copytree(folder, other)
    tag = other / "objects/tag.yml"
    tag.write_text(tag.read_text("utf-8") + "description: of another folder\n", encoding="utf-8")
    os.rename(folder, folder.with_name("old"))
    os.rename(other, folder)
    until(lambda: live.ontology.object_type("Tag").description == "of another folder", seconds=5)
    path = folder / "objects/tag.yml"
    before = path.read_text("utf-8")
    for name in ("saved there", "and again", "and once more"):
        path.write_text(before.replace("of another folder", name), encoding="utf-8")
        until(lambda name=name: live.ontology.object_type("Tag").description == name, seconds=5)


def test_a_deleted_folder_keeps_the_model_and_one_that_comes_back_is_heard(live: LiveOntology, folder: Path, until: Until) -> None:
    before = live.ontology
    shutil.copytree(folder, folder.with_name("kept"))
    shutil.rmtree(folder)
    until(lambda: live.problems, seconds=5)
    assert live.ontology is before
    assert "ontology:1: has no file" in str(live.problems)
    os.rename(folder.with_name("kept"), folder)
    until(lambda: live.problems is None, seconds=5)
    assert live.ontology == before


def test_listeners_hear_of_swaps_and_problems_and_a_broken_one_harms_nobody(live: LiveOntology, folder: Path, until: Until) -> None:
    heard: list[tuple[bool, int]] = []

    def broken() -> None:
        raise RuntimeError("no")

    live.subscribe(broken)
    end = live.subscribe(lambda: heard.append((live.problems is None, len(live.ontology.object_types))))
    path = folder / "objects/tag.yml"
    good = path.read_text("utf-8")
    path.write_text("type: [", encoding="utf-8")
    until(lambda: heard == [(False, 3)], seconds=5)
    path.write_text(good + "description: x\n", encoding="utf-8")
    until(lambda: heard == [(False, 3), (True, 3)], seconds=5)
    end()
    path.write_text(good, encoding="utf-8")
    until(lambda: not live.ontology.object_type("Tag").description, seconds=5)
    assert len(heard) == 2


def test_watching_starts_when_the_model_is_used_and_ends_with_close(folder: Path, models: list[str], tmp_path: Path, until: Until) -> None:
    live = LiveOntology(folder, lambda: models, tmp_path / "kept.json")

    def watchers() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name == "ontology-watch"]

    before = len(watchers())
    live.watch(when_used=True)
    assert len(watchers()) == before
    assert live.ontology
    assert len(watchers()) == before + 1
    live.watch()
    assert len(watchers()) == before + 1
    live.close()
    assert len(watchers()) == before
    live.close()


def test_a_checkout_of_many_files_is_seen_before_or_after(live: LiveOntology, folder: Path, until: Until) -> None:
    """Two types that must agree, saved one after the other many times, with readers at it: no answer mixes two saves."""
    person, order = folder / "objects/person.yml", folder / "objects/order.yml"
    texts = {path: path.read_text("utf-8") for path in (person, order)}
    stop = threading.Event()
    mixed: list[str] = []
    seen: set[str] = set()

    def look() -> None:
        while not stop.is_set():
            found = live.ontology
            link = found.link_type("ordered_by")
            names = {found.object_type(link.to_type).properties[far].name for far in link.join.values()}
            if names != {found.object_type("Person").key}:
                mixed.append(str(names))
            seen.add(found.object_type("Person").key)

    readers = [threading.Thread(target=look) for _ in range(8)]
    for reader in readers:
        reader.start()
    link = folder / "links/ordered_by.yml"
    boss = folder / "links/reports_to.yml"
    try:
        for name in ("person_id", "number", "person_id", "number"):
            for path, old, new in (
                (person, "person_id", name), (link, "{person_id: person_id}", f"{{person_id: {name}}}"),
                (boss, "{boss_id: person_id}", f"{{boss_id: {name}}}"),
            ):  # fmt: skip
                texts.setdefault(path, path.read_text("utf-8"))
                path.write_text(texts[path].replace(old, new), encoding="utf-8")
            until(lambda name=name: live.ontology.object_type("Person").key == name and live.problems is None, seconds=10)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not mixed
    assert seen == {"person_id", "number"}


PIECES = st.sampled_from([*"\n:{}[#'é\t", "", "- ", "  ", "&a ", "*a", "!!python/none ", "null", "type", "? ", "Person", "\x07"])
NAMES = ["objects/person.yml", "objects/order.yml", "objects/tag.yml", "links/ordered_by.yml", "links/reports_to.yml", "links/tagged.yml"]


@settings(
    max_examples=int(os.environ.get("SKYGRAPH_TEST_EDITS", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(file=st.sampled_from(NAMES), at=st.floats(0, 1), cut=st.integers(0, 30), piece=PIECES)
def test_no_edit_loses_the_model_and_every_bad_one_is_said_with_file_and_line(
    folder: Path, models: list[str], tmp_path: Path, file: str, at: float, cut: int, piece: str
) -> None:
    live = LiveOntology(folder, lambda: models, tmp_path / "kept.json")
    whole, path = live.ontology, folder / file
    text = path.read_text("utf-8")
    start = int(at * len(text))
    path.write_text(text[:start] + piece + text[start + cut :], encoding="utf-8")
    try:
        live.reload()
        assert isinstance(live.ontology, Ontology)
        assert live.ontology.object_types
    except InvalidFiles as error:
        assert live.ontology is whole
        assert live.problems is error
        assert all(p.file.startswith("ontology/") and p.line > 0 for p in error.problems), error
    finally:
        path.write_text(text, encoding="utf-8")


# --- against the lake


@pytest.fixture
def checked(store: Store, lake: Lake, folder: Path, models: list[str], tmp_path: Path) -> LiveOntology:
    tables = {model: f"small.{model}" for model in models}
    live = LiveOntology(folder, lambda: models, tmp_path / "k.json", lambda o: lake_findings(lake, o, columns_of(lake, tables)))
    assert live.ontology
    return live


def test_an_edit_that_the_lake_cannot_answer_is_refused(checked: LiveOntology, folder: Path) -> None:
    path = folder / "objects/tag.yml"
    path.write_text(path.read_text("utf-8") + "  colour: {type: string}\n", encoding="utf-8")
    with pytest.raises(InvalidFiles, match=r"tag\.yml:7: dim_tags has no column 'colour'"):
        checked.reload()
    assert "colour" not in checked.ontology.object_type("Tag").properties


def test_a_column_that_went_away_degrades_its_type_and_nothing_else(checked: LiveOntology, folder: Path, lake: Lake) -> None:
    lake.command("alter table small.dim_people drop column weight")
    path = folder / "objects/tag.yml"
    path.write_text(path.read_text("utf-8") + "description: edited meanwhile\n", encoding="utf-8")
    report = checked.reload()
    assert [str(p) for p in report.degraded] == ["ontology/objects/person.yml:12: dim_people has no column 'weight'; there is born_on, "
                                                 "boss_id, city, name, person_id, score, seen_at, vip"]  # fmt: skip
    assert checked.degraded == report.degraded
    assert checked.ontology.object_type("Tag").description == "edited meanwhile"
    person = folder / "objects/person.yml"
    person.write_text(person.read_text("utf-8") + "deprecated: use Tag\n", encoding="utf-8")
    with pytest.raises(InvalidFiles, match=r"person\.yml:12"):
        checked.reload()


@pytest.mark.parametrize(
    ("property", "says"),
    [
        pytest.param("{type: number, expression: score / 2}", "", id="decimal-as-number"),
        pytest.param("{type: integer, expression: score / 2}", "'x' is integer, but its expression gives", id="other-type"),
        pytest.param("{type: string, expression: nosuch(name)}", "of 'x': Function with name `nosuch` does not exist", id="function"),
        pytest.param("{type: number, expression: name + 1}", "expression of 'x': Illegal types", id="types"),
        pytest.param("{type: number, expression: kurtPop(score)}", "aggregate", id="aggregate"),
        pytest.param("{type: string, expression: \"splitByChar(' ', name)\"}", "but its expression gives Array(String)", id="array"),
    ],
)
def test_the_engine_is_the_one_that_says_whether_an_expression_is_right(
    checked: LiveOntology, folder: Path, property: str, says: str
) -> None:
    path = folder / "objects/person.yml"
    path.write_text(path.read_text("utf-8") + f"  x: {property}\n", encoding="utf-8")
    if not says:
        assert checked.reload().changes.object_types.changed == ("Person",)
        return
    with pytest.raises(InvalidFiles) as caught:
        checked.reload()
    (problem,) = caught.value.problems
    assert str(problem).startswith("ontology/objects/person.yml:16: ")
    assert says in problem.message
    assert "\n" not in problem.message
