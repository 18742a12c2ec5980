"""What every widget test looks at afterwards: nothing is left of a closed widget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture
def keep() -> Iterator[Callable[[Any], Any]]:
    """Take a widget to the test; at its end the widget is closed and leaves no model and no thread."""
    from ipywidgets.widgets.widget import _instances

    models = set(_instances)
    threads = set(threading.enumerate())
    kept: list[Any] = []

    def take(widget: Any) -> Any:
        kept.append(widget)
        return widget

    yield take
    for widget in kept:
        widget.close()
    assert set(_instances) <= models, [_instances[m] for m in set(_instances) - models]
    assert set(threading.enumerate()) <= threads


@pytest.fixture
def html_of() -> Callable[[Any], str]:
    """All HTML a widget shows, its children's included."""
    import ipywidgets as W

    def collect(widget: Any) -> str:
        own = widget.value if isinstance(widget, W.HTML) else ""
        return own + "".join(collect(child) for child in getattr(widget, "children", ()))

    return collect


@pytest.fixture
def buttons_of() -> Callable[[Any], list[Any]]:
    """All buttons in a widget."""
    import ipywidgets as W

    def collect(widget: Any) -> list[Any]:
        own = [widget] if isinstance(widget, W.Button) else []
        return own + [button for child in getattr(widget, "children", ()) for button in collect(child)]

    return collect
