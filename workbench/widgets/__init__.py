"""Widgets for notebooks and dashboards: explore objects, run syncs and dbt, watch jobs, look under tables, compare snapshots.

Owns ipywidgets and anywidget. A widget is given plain functions that fetch or run something and shows what they answer; it knows
nothing about the lake, the ontology or the Workbench. The functions may be called from a thread, never two at once
for one widget; only the explorer and the result grid ask several kinds of things at once. The classes load with ipywidgets on
first use; importing this package loads nothing.

Will not do: parse what people type (text goes to the function as it is), build queries, or trust a value that a
browser sent: a choice is an index into what was fetched or a text that the function reads strictly; everything shown is escaped.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.widgets.board import Board
    from workbench.widgets.dbt_panel import DbtPanel
    from workbench.widgets.explorer import Explorer
    from workbench.widgets.inspector import Inspector
    from workbench.widgets.jobs_panel import JobsPanel
    from workbench.widgets.result import ResultGrid
    from workbench.widgets.sync_panel import SyncPanel
    from workbench.widgets.twin import Twin

__all__ = ["Board", "DbtPanel", "Explorer", "Inspector", "JobsPanel", "ResultGrid", "SyncPanel", "Twin"]

_HOMES = {
    "Board": "board",
    "DbtPanel": "dbt_panel",
    "Explorer": "explorer",
    "Inspector": "inspector",
    "JobsPanel": "jobs_panel",
    "ResultGrid": "result",
    "SyncPanel": "sync_panel",
    "Twin": "twin",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
