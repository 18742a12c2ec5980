"""One run of one notebook in a process of its own: `python -m workbench.scheduling.worker`, the job as a line of JSON on stdin.

It warms up first: papermill is imported while its kernel starts and imports what a notebook of a workspace needs. Then it says `{"ready":
true, "kernel": PID}` and waits for its job. On stdout it says lines of JSON: `{"cell": 3, "of": 9}` as cells begin, and in the end
`{"status", "error", "peak_mb"}`; the same stands in the file that the job names as `outcome`, so that it outlives whoever would have
read it. A process that ends without it was killed. The notebook with its outputs and a page of it are kept whatever happens.

It ends when stdin does before a job came, and it is killed when its parent dies; its kernel with it.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["main"]

Say = Callable[..., None]

_NO_CELLS = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'

# in the kernel, before there is a job: what `workbench.connect()` and a sync load (a failure here is the notebook's to meet)
_WARM = """
def _warm():
    import contextlib, ctypes, gc, importlib, sys
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9)
    for name in ("workbench.bench", "workbench.lake.client", "workbench.lake.server", "clickhouse_connect.driver", "workbench.hermes.sync",
                 "workbench.hermes.connectors.sqlite", "pyarrow", "structlog"):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.freeze()
_warm(); del _warm
"""


def main() -> int:
    """Warm up, and run the job that stdin says."""
    says = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no word of ours

    def say(**facts: Any) -> None:
        try:
            says.write(json.dumps(facts) + "\n")
            says.flush()
        except BrokenPipeError:
            pass  # nobody listens any more; what came of it stands in the file

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    _die_with_parent()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C reaches the parent, which ends us in order
    kernel, job = None, None
    try:
        kernel = _start_kernel()
        say(ready=True, kernel=kernel.pid)
        line = sys.stdin.readline()
        if not line:
            return 0
        job = json.loads(line)
        status, error = _execute(job, say, kernel)
    except KeyboardInterrupt:
        status, error = "stopped", "stopped before its end"
    finally:
        if kernel is not None:
            kernel.kill()
    if job is None:
        return 0
    try:
        _write_page(Path(job["output"]))
    except Exception as problem:  # the page is a view of the notebook; without it the run is what it was
        print(f"the page could not be written: {problem}", file=sys.stderr)
    # the kernel has ended and was waited for: the most that any child held
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    outcome = {"status": status, "error": error, "peak_mb": round(peak_mb, 1)}
    _write_outcome(Path(job["outcome"]), outcome)
    say(**outcome)
    return 0


def _die_with_parent() -> None:
    """Be killed when the parent dies. Where the system cannot do that, a thread looks."""
    parent = os.getppid()
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)

    def look() -> None:
        gone = threading.Event()
        while os.getppid() == parent:
            gone.wait(1.0)
        os.kill(os.getpid(), signal.SIGKILL)

    if os.getppid() != int(os.environ.get("SKYGRAPH_PARENT", parent)):
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=look, name="parent", daemon=True).start()


class _Kernel:
    """The kernel of this run, started and warm."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager, self._client = manager, client

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self.manager.provisioner.pid)

    def tell(self, code: str) -> None:
        """Run a line of ours in it, unseen."""
        self._client.execute_interactive(code, silent=True, store_history=False, allow_stdin=False, timeout=120, output_hook=lambda _: None)

    def release(self) -> None:
        """Let go of the channels: the notebook's client opens its own."""
        self._client.stop_channels()

    def kill(self) -> None:
        """End it at once."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            for one in [*process.children(recursive=True), process]:
                one.kill()
            process.wait(10)
        except (psutil.Error, TypeError, AttributeError):
            pass  # it has ended
        Path(self.manager.connection_file).unlink(missing_ok=True)


def _is_alive(number: str) -> bool:
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):
        pass
    return True


def _start_kernel() -> _Kernel:
    """Start the kernel, and import papermill while it comes up: two processes, two cores."""
    import asyncio

    from jupyter_client.manager import AsyncKernelManager

    place = Path(os.environ["JUPYTER_PATH"].split(os.pathsep)[0]) / "runtime"
    place.mkdir(mode=0o700, exist_ok=True)
    for left in place.glob("*.json"):  # of workers that were killed
        if not _is_alive(left.stem):
            left.unlink(missing_ok=True)
    manager = AsyncKernelManager(kernel_name="python3", connection_file=str(place / f"{os.getpid()}.json"))

    async def start() -> None:
        await manager.start_kernel()

    asyncio.run(start())
    client = manager.blocking_client()
    client.start_channels()
    import papermill  # noqa: F401

    _exporter().from_file(io.StringIO(_NO_CELLS))  # its templates are read while there is time
    client.wait_for_ready(timeout=120)
    kernel = _Kernel(manager, client)
    kernel.tell(_WARM)
    return kernel


def _execute(job: dict[str, Any], say: Say, kernel: _Kernel) -> tuple[str, str]:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.exceptions import PapermillExecutionError
    from papermill.log import logger

    class Warm(NBClientEngine):  # type: ignore[misc]
        """Papermill's own way of running cells, in the kernel that waits, saying which cell begins."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *args: Any, **options: Any) -> Any:
            """See papermill."""
            begin = nb_man.cell_start

            def cell_start(cell: Any, cell_index: int | None = None, **more: Any) -> Any:
                say(cell=(cell_index or 0) + 1, of=len(nb_man.nb.cells))
                return begin(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            kernel.release()
            client = PapermillNotebookClient(nb_man, km=kernel.manager, timeout=None, kernel_name=kernel_name, log=logger)
            return client.execute(cleanup_kc=True)

    papermill_engines.register("warm", Warm)
    try:
        here = str(Path(job["notebook"]).parent)
        os.chdir(here)
        kernel.tell(f"import os as _os; _os.chdir({here!r}); _os.environ.update({job['environ']!r}); del _os")
        papermill.execute_notebook(
            job["notebook"], job["output"], parameters=job["parameters"], kernel_name="python3", engine_name="warm", progress_bar=False,
        )  # fmt: skip
    except PapermillExecutionError as failed:
        return "failed", f"cell {failed.exec_count}: {failed.ename}: {failed.evalue}"
    except DeadKernelError:
        return "killed", "the kernel ended before the notebook did: killed, perhaps for want of memory"
    except KeyboardInterrupt:
        return "stopped", "stopped before its end"
    except Exception as error:
        return "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:2000]}"
    return "ok", ""


@cache
def _exporter() -> Any:
    from nbconvert import HTMLExporter

    return HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="", html_manager_semver_range="")


def _write_page(output: Path) -> None:
    """The notebook as a page beside it, which asks nobody for anything."""
    if not output.exists():
        return
    body, _ = _exporter().from_filename(str(output))
    output.with_suffix(".html").write_text(body, encoding="utf-8")


def _write_outcome(path: Path, outcome: dict[str, Any]) -> None:
    """What came of it, on the disk and whole, or not at all; a full disk costs only this."""
    new = path.with_suffix(".new")
    try:
        with open(new, "w", encoding="utf-8") as file:
            json.dump(outcome, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        print(f"the outcome could not be written: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
