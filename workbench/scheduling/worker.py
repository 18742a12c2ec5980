"""One run of one notebook in a process of its own: `python -m workbench.scheduling.worker`, the job as JSON on stdin.

On stdout it says lines of JSON: `{"cell": 3, "of": 9}` as cells begin, and in the end `{"status", "error", "peak_mb"}`. What it says
last is the outcome; a process that ends without it was killed. The notebook with its outputs and a page of it are kept whatever happens.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main() -> int:
    """Run the job that stdin says."""
    job = json.loads(sys.stdin.readline())
    says = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no word of ours

    def say(**facts: Any) -> None:
        says.write(json.dumps(facts) + "\n")
        says.flush()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    status, error = _execute(job, say)
    try:
        _write_page(Path(job["output"]))
    except Exception as problem:  # the page is a view of the notebook; without it the run is what it was
        print(f"the page could not be written: {problem}", file=sys.stderr)
    # the kernel has ended and was waited for: the most that any child held
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    say(status=status, error=error, peak_mb=round(peak_mb, 1))
    return 0


def _execute(job: dict[str, Any], say: Any) -> tuple[str, str]:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.exceptions import PapermillExecutionError

    class Telling(NBClientEngine):  # type: ignore[misc]
        """Papermill's own engine, that says which cell begins."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, *args: Any, **options: Any) -> Any:
            """See papermill."""
            begin = nb_man.cell_start

            def cell_start(cell: Any, cell_index: int | None = None, **more: Any) -> Any:
                say(cell=(cell_index or 0) + 1, of=len(nb_man.nb.cells))
                return begin(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            return super().execute_managed_notebook(nb_man, *args, **options)

    papermill_engines.register("telling", Telling)
    try:
        papermill.execute_notebook(
            job["notebook"], job["output"], parameters=job["parameters"], kernel_name="python3", engine_name="telling",
            progress_bar=False, start_timeout=120,
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


def _write_page(output: Path) -> None:
    """The notebook as a page beside it, which asks nobody for anything."""
    if not output.exists():
        return
    from nbconvert import HTMLExporter

    page = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="", html_manager_semver_range="")
    body, _ = page.from_filename(str(output))
    output.with_suffix(".html").write_text(body, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
