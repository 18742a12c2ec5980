"""A new workspace: the files of this folder, or a copy of an example of the repository."""

from __future__ import annotations

import shutil
from pathlib import Path

from workbench.errors import UnknownName, UsageError
from workbench.settings import WORKSPACE_FOLDERS

__all__ = ["example_names", "make_workspace"]

_FILES = Path(__file__).parent / "workspace"
_REPOSITORY = Path(__file__).resolve().parents[2]
_LEFT_OUT = shutil.ignore_patterns("target", "logs", "dbt_packages", ".ipynb_checkpoints", "__pycache__")


def example_names() -> list[str]:
    """Workspaces that can be copied: the repository's own and those under `examples/`. Empty outside a clone."""
    return sorted(_examples())


def _examples() -> dict[str, Path]:
    found = {p.name: p for p in (_REPOSITORY / "examples").glob("*") if (p / "sync_jobs").is_dir()}
    samples = _REPOSITORY / "sync_jobs/sample"
    if samples.is_dir():
        found |= {p.name: _REPOSITORY for p in samples.iterdir() if p.is_dir()}
    return found


def make_workspace(folder: Path, example: str = "") -> Path:
    """Make a workspace; its folder. Overwrites nothing.

    Raises:
        UsageError: the folder is a workspace already, or cannot be made.
        UnknownName: no such example; names those there are.
    """
    source = _FILES
    if example:
        examples = _examples()
        if example not in examples:
            hint = None if examples else "examples come with a clone of the repository"
            raise UnknownName("example", example, examples, hint=hint)
        source = examples[example]
    if taken := [name for name in WORKSPACE_FOLDERS if (folder / name).exists()]:
        raise UsageError(f"{folder} has a {taken[0]}/ already", hint="name another folder; nothing was changed")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in WORKSPACE_FOLDERS:
            if (source / name).is_dir():
                shutil.copytree(source / name, folder / name, ignore=_LEFT_OUT)
            else:
                (folder / name).mkdir()
        pages = folder / "notebooks/dashboards"
        pages.mkdir(parents=True, exist_ok=True)
        for page in (_FILES / "notebooks/dashboards").glob("*.ipynb"):  # they are of any workspace
            if not (pages / page.name).exists():
                shutil.copy(page, pages)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made a workspace: {error.strerror or error}") from error
    return folder.resolve()
