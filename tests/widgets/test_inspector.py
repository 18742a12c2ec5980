from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from workbench.errors import UnknownName
from workbench.widgets import Inspector

Keep = Callable[[Any], Any]


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "table": "raw.invoices",
        "engine": "ReplacingMergeTree",
        "key": ["id"],
        "current_rows": 412,
        "physical_rows": 437,
        "superseded_rows": 22,
        "deleted_keys": 3,
        "parts": 3,
        "bytes_on_disk": 48_500,
        "seconds_current": 0.004,
        "seconds_raw": 0.002,
        **changes,
    }


class Table:
    """Versions of keys; `asked` holds the keys whose versions were read."""

    def __init__(self, versions: list[list[Any]], keys: list[list[Any]], **changes: Any) -> None:
        self.rows, self.key_rows, self.changes = versions, keys, changes
        self.asked: list[str] = []

    def versions(self, key: str) -> dict[str, Any]:
        self.asked.append(key)
        return {"columns": ["id", "city", "_version", "_deleted"], "rows": self.rows}

    def keys(self, limit: int) -> dict[str, Any]:
        return {"columns": [*self.changes.get("key", ["id"]), "versions"], "rows": self.key_rows}

    def inspector(self) -> Any:
        return Inspector(lambda: facts(**self.changes), self.versions, self.keys, live=False)


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_it_builds_with_any_number_of_keys_and_versions(keep: Keep, html_of: Callable[[Any], str], count: int) -> None:
    rows = [[7, "Oslo", i, 0] for i in range(count)]
    widget = keep(Table(rows, [[i, 2] for i in range(count)]).inspector())
    assert len(widget.key_list.box.options) == count
    widget.key.value = "7"
    assert (f"{count:,} version" in html_of(widget)) == (count > 0)
    assert ("No row with key 7" in html_of(widget)) == (count == 0)
    assert len(html_of(widget)) < 200_000


@pytest.mark.parametrize("superseded", [22, 25], ids=["marks left out", "marks counted in"])
def test_the_bar_says_current_superseded_and_deletion_marks(keep: Keep, html_of: Callable[[Any], str], superseded: int) -> None:
    widget = keep(Table([], [], superseded_rows=superseded).inspector())
    assert 'aria-label="412 current, 22 superseded, 3 deletion marks"' in html_of(widget)
    assert repr(widget) == "Inspector of raw.invoices: 412 current rows, 437 physical, 22 superseded, 3 deleted keys, 3 parts"


def test_an_empty_table_says_what_to_run(keep: Keep, html_of: Callable[[Any], str]) -> None:
    nothing = {"current_rows": 0, "physical_rows": 0, "superseded_rows": 0, "deleted_keys": 0, "seconds_raw": 0.0}
    assert "skygraph sync --all" in html_of(keep(Table([], [], **nothing).inspector()))


def test_a_chosen_key_is_read_and_changed_values_are_marked(keep: Keep, html_of: Callable[[Any], str]) -> None:
    table = Table([[98, "Oslo", 1, 0], [98, "Bergen", 2, 0], [98, "Bergen", 3, 1]], [[5, 2], [98, 3]])
    widget = keep(table.inspector())
    widget.key_list.box.index = 1
    assert table.asked == ["98"]
    assert widget.key.value == "98"
    shown = html_of(widget)
    assert '<mark title="was Oslo">Bergen</mark>' in shown
    assert '<mark title="was 0">1</mark>' in shown
    assert shown.count("<mark title") == 2
    assert ">deleted</span>" in shown


def test_a_compound_key_is_joined_with_commas(keep: Keep) -> None:
    table = Table([], [[8, 1500, 2]], key=["playlist_id", "track_id"])
    keep(table.inspector()).key_list.box.index = 0
    assert table.asked == ["8,1500"]


def test_a_typed_key_goes_to_the_function_as_it_is(keep: Keep) -> None:
    table = Table([], [])
    widget = keep(table.inspector())
    widget.key.value = " 1' OR 1=1 "
    widget.show_key.click()
    widget.key.value = "  "
    assert table.asked == ["1' OR 1=1", "1' OR 1=1"]


def test_errors_and_values_are_escaped(keep: Keep, html_of: Callable[[Any], str]) -> None:
    widget = keep(Table([[1, "<script>x</script>", 1, 0]], [["<script>", 2]], table="<script>").inspector())
    widget.key_list.box.index = 0
    assert "<script" not in html_of(widget)

    def versions(key: str) -> Any:
        raise UnknownName("key", key, [])

    refused = keep(Inspector(facts, versions, lambda limit: {"columns": ["id"], "rows": []}, live=False))
    refused.key.value = "<script>"
    assert "unknown key" in html_of(refused)
    assert "<script" not in html_of(refused)
