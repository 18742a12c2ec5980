"""For development: start the API and the scheduler anew when code or settings change. Run by the supervisor under `up --dev`.

A program that a bad edit keeps from starting is tried again by the supervisor, and at once after the next save.
"""

from __future__ import annotations

import sys
from pathlib import Path

from workbench.errors import SkyGraphError
from workbench.services.control import Services
from workbench.settings import Settings

_RELOADED = ("skygraph-api", "skygraph-sync")
_CODE = (".py", ".js", ".css", ".html")


def main() -> int:
    """Watch until told to end."""
    from watchfiles import watch

    settings = Settings.load()
    services = Services(settings)
    package, own = Path(__file__).parents[1], settings.workspace / "skygraph.toml"
    # not the workspace as a whole: the lake's own files change all the time
    folders = [package, *(f for f in package.rglob("*") if f.is_dir() and f.name != "__pycache__")]
    print(f"watching {package} and {own}", flush=True)
    for changes in watch(*folders, settings.workspace, watch_filter=lambda _, path: _counts(Path(path), package, own), recursive=False):
        print(f"changed: {', '.join(sorted({path for _, path in changes}))}", flush=True)
        for name in _RELOADED:
            try:
                if services.reload(name):
                    print(f"{name} starts anew", flush=True)
            except SkyGraphError as error:
                print(str(error), flush=True)
    return 0


def _counts(path: Path, package: Path, own: Path) -> bool:
    return path == own or (path.suffix in _CODE and path.is_relative_to(package) and not path.name.startswith("."))


if __name__ == "__main__":
    sys.exit(main())
