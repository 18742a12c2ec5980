from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from workbench.widgets import Twin
from workbench.widgets.row_list import aligned
from workbench.widgets.task import Task, Throttle


class Nothing:
    """Times without a moment."""

    def moments(self, since: str) -> dict[str, Any]:
        return {"moments": []}

    def close(self) -> None:
        pass


def test_importing_the_package_loads_no_ipywidgets() -> None:
    code = "import sys, workbench.widgets as w; print('ipywidgets' in sys.modules, w.Twin.__name__, 'ipywidgets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "Twin", "True"]


def test_a_widget_has_a_plain_text_rendering(keep: Callable[[Any], Any]) -> None:
    bundle, _ = keep(Twin(Nothing(), live=False))._repr_mimebundle_()
    assert bundle["text/plain"] == "Twin: 0 snapshots"
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_closing_twice_and_closing_all_are_harmless(keep: Callable[[Any], Any]) -> None:
    import ipywidgets as W

    widget = keep(Twin(Nothing(), live=False))
    assert widget.comm is not None
    widget.close()
    widget.close()
    other = keep(Twin(Nothing(), live=False))
    W.Widget.close_all()
    assert (widget.comm, other.comm) == (None, None)


def test_lines_are_aligned_whatever_is_in_the_values() -> None:
    head, lines = aligned(["name", "n"], [["a\nb\x00", 1], ["日本", 20], ["x" * 99, None]], most=6)
    assert (head, lines) == ("name     n", ["a b      1", "日本    20", "xxxxx…"])


def test_a_call_that_fails_frees_the_task() -> None:
    failed: list[BaseException] = []
    busy: list[bool] = []
    task = Task(busy.append, failed.append, live=True)

    def work() -> int:
        raise ValueError("no")

    answers: list[int] = []
    assert task.start(work, answers.append)
    assert task.wait(10)
    assert task.start(lambda: 7, answers.append)
    assert task.wait(10)
    assert [str(e) for e in failed] == ["no"]
    assert answers == [7]
    assert busy == [True, False, True, False]
    task.close()
    assert not task.start(lambda: 8, answers.append)


def test_the_last_state_is_drawn_though_asked_too_soon() -> None:
    drawn: list[int] = []
    state, late = [0], threading.Event()

    def draw() -> None:
        drawn.append(state[0])
        if state[0] == 9:
            late.set()

    throttle = Throttle(draw, per_second=20)
    for i in range(10):
        state[0] = i
        throttle.ask()
    assert late.wait(10)
    throttle.stop()
    assert drawn == [0, 9]
