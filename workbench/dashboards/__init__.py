"""Dashboards: the notebooks of `notebooks/dashboards/` as pages that people read and cannot change.

`python -m workbench.dashboards` serves them. What they are called stands in their first cell: a title and a paragraph.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Dashboard", "find_dashboards"]


@dataclass(frozen=True)
class Dashboard:
    """A notebook that is served. `name` is its address, and its file's name without `.ipynb`."""

    name: str
    title: str
    summary: str
    path: Path


def find_dashboards(workspace: Path) -> tuple[Dashboard, ...]:
    """The dashboards of a workspace: Overview first, then by title. A file that is no notebook is left out."""
    folder = workspace / "notebooks/dashboards"
    found = [board for path in folder.glob("*.ipynb") if not path.name.startswith(".") and (board := _read(path)) is not None]
    return tuple(sorted(found, key=lambda one: (one.name != "overview", one.title.casefold())))


def _read(path: Path) -> Dashboard | None:
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = next(("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"), "")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    heading, _, rest = text.strip().partition("\n")
    if not heading.startswith("# "):
        heading, rest = f"# {path.stem.replace('_', ' ').capitalize()}", text
    return Dashboard(path.stem, heading[2:].strip(), " ".join(rest.strip().split("\n\n")[0].split()), path)
