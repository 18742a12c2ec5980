from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from workbench.errors import TransformError
from workbench.widgets import DbtPanel

Keep = Callable[[Any], Any]


def node(name: str, kind: str = "model") -> dict[str, Any]:
    return {"name": name, "kind": kind, "layer": "marts", "description": ""}


def event(name: str, status: str, kind: str = "model") -> dict[str, Any]:
    return {"name": name, "kind": kind, "status": status, "seconds": 0.1, "message": f"{name} {status}"}


class Project:
    """A dbt project whose test `adds_up` fails; `ran` holds verbs and selectors, `opened` the tests looked into."""

    def __init__(self, *nodes: dict[str, Any]) -> None:
        self.all = list(nodes) or [node("stg_a"), node("fct_b"), node("adds_up", "test")]
        self.ran: list[tuple[str, str]] = []
        self.opened: list[str] = []

    def run(self, verb: str, select: str, progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        self.ran.append((verb, select))
        events = [event("stg_a", "success"), event("fct_b", "success"), event("adds_up", "fail", "test")]
        for e in events:
            progress({**e, "status": "started", "seconds": None})
            progress(e)
        return {"success": False, "nodes": events}

    def failing(self, name: str) -> dict[str, Any]:
        self.opened.append(name)
        return {"sql": "select '<script>'", "columns": ["invoice_id", "why"], "rows": [[98, "<script>alert(1)</script>"]]}

    def panel(self, **options: Any) -> Any:
        return DbtPanel(lambda: self.all, self.run, self.failing, **{"live": False, **options})


@pytest.mark.parametrize("count", [1, 10_000])
def test_it_builds_with_any_number_of_nodes(keep: Keep, html_of: Callable[[Any], str], count: int) -> None:
    widget = keep(Project(*(node(f"m{i}") for i in range(count))).panel())
    assert f"{count:,} model" in repr(widget)
    assert len(html_of(widget)) < 200_000


def test_without_nodes_it_says_what_to_do(keep: Keep, html_of: Callable[[Any], str]) -> None:
    project = Project()
    widget = keep(DbtPanel(lambda: [], project.run, project.failing, live=False))
    assert "skygraph demo" in html_of(widget)
    assert widget.go.disabled


@pytest.mark.parametrize("live", [False, True], ids=["batch", "thread"])
def test_a_run_shows_each_node_and_opens_failing_rows(keep: Keep, html_of: Callable[[Any], str], live: bool) -> None:
    project = Project()
    widget = keep(project.panel(live=live))
    widget.verb.index = 2
    widget.select.value = " staging.stg_a "
    widget.go.click()
    assert widget.wait(10)
    assert project.ran == [("test", "staging.stg_a")]
    shown = html_of(widget)
    assert "2 success" in shown
    assert "1 fail" in shown
    assert shown.index("adds_up") < shown.index("stg_a")
    [button] = widget.failures.children
    assert not button.disabled
    button.click()
    assert widget.wait(10)
    assert project.opened == ["adds_up"]
    shown = html_of(widget)
    assert "1 failing row" in shown
    assert "<script" not in shown
    assert "&lt;script&gt;alert" in shown


def test_a_batch_run_prints_what_ended(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    keep(Project().panel()).go.click()
    assert capsys.readouterr().out.splitlines() == [
        "success  stg_a  0.10 s",
        "success  fct_b  0.10 s",
        "fail  adds_up  0.10 s",
        "dbt build: failed",
    ]


def test_a_new_run_takes_the_old_failures_away(keep: Keep) -> None:
    project = Project()
    widget = keep(project.panel())
    widget.go.click()
    widget.go.click()
    assert len(widget.failures.children) == 1


def test_an_error_of_dbt_is_one_line(keep: Keep, html_of: Callable[[Any], str]) -> None:
    def run(verb: str, select: str, progress: Any) -> Any:
        raise TransformError("dbt cannot read stg_a.sql", hint="look at line 3")

    widget = keep(DbtPanel(lambda: [node("stg_a")], run, Project().failing, live=False))
    widget.go.click()
    assert "dbt cannot read stg_a.sql; <i>look at line 3" in html_of(widget)
    assert "waiting for the first node" not in html_of(widget)


def test_a_browser_cannot_invent_a_verb(keep: Keep) -> None:
    from traitlets import TraitError

    widget = keep(Project().panel())
    with pytest.raises(TraitError):
        widget.verb.set_state({"index": 3})
