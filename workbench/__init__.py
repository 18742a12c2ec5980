"""SkyGraph: a Jupyter-first analytics workbench over ClickHouse.

    import workbench as sg
    bench = sg.connect()
    bench.objects("Customer").where(country="Brazil").linked("invoices").to_pandas()

In a notebook, `%load_ext workbench` gives the magic `%skygraph`. Importing this package loads no heavy library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.errors import SkyGraphError

if TYPE_CHECKING:
    from workbench.bench import Workbench

__all__ = ["SkyGraphError", "Workbench", "connect", "load_ipython_extension", "unload_ipython_extension"]
__version__ = "0.1.0"


def connect(workspace: Any = None, **settings: Any) -> Workbench:
    """The workbench of a workspace: a folder, default the nearest one upward that has a `sync_jobs/`.

    `settings` are those of `skygraph settings`, such as `clickhouse_url=`. Starts nothing until something is asked. The
    live views `workbench.ontology.OBJECT_TYPES` and `LINK_TYPES` show this workspace from now on.

    Raises:
        UsageError: no such folder, or a setting that is wrong.
    """
    import sys

    from workbench.bench import Workbench
    from workbench.settings import Settings

    progress = None
    if "IPython" in sys.modules:
        from workbench.magics import notebook_progress

        progress = notebook_progress()
    bench = Workbench(Settings.load(workspace, **settings), progress=progress)
    from workbench.ontology import set_live

    set_live(bench.live)  # reads no file yet
    if progress is not None:
        bench.live.watch(when_used=True)  # in a notebook, what is saved counts at once
    return bench


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext workbench`: registers `%skygraph` and its tab completion."""
    from workbench.magics import register

    register(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext workbench`."""
    from workbench.magics import unregister

    unregister(shell)


def __getattr__(name: str) -> Any:
    if name == "Workbench":
        from workbench.bench import Workbench

        return Workbench
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
