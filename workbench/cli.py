"""The command line: parses a line, runs its verb, prints the answer. stdout holds data only; progress and errors go to stderr."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from workbench.errors import ExitCode, SkyGraphError

__all__ = ["main", "run"]


def main() -> None:
    """The program `skygraph`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter is no error
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader of our output went away (`| head`): not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(int(code))


def run(words: Sequence[str]) -> int:
    """Run one line; the exit status."""
    from workbench.commands import GRAMMAR
    from workbench.grammar import HelpAsked

    if words[:1] == ["__complete"]:
        return _complete(list(words[1:]))
    if list(words) == ["--version"]:
        from workbench import __version__

        print(f"skygraph {__version__}")
        return 0
    debug = "--debug" in words
    try:
        parsed = GRAMMAR.parse(words)
        return _run(parsed)
    except HelpAsked as asked:
        print(asked.text.rstrip())
        return ExitCode.OK
    except SkyGraphError as error:
        if debug:
            raise
        _say_error(error, as_json="--json" in words)
        return error.exit_code
    except OSError as error:
        if debug or isinstance(error, BrokenPipeError):
            raise
        place = f"{error.filename}: " if error.filename else ""
        _say_error(SkyGraphError(f"{place}{error.strerror or error}"), as_json="--json" in words)
        return ExitCode.FAILED


def _run(parsed: Any) -> int:
    from workbench.bench import Workbench
    from workbench.settings import Settings

    bench = Workbench(Settings.load(parsed.workspace))
    values = dict(parsed.values)
    if parsed.command.name == "dbt":
        values["show"] = not parsed.json
    progress = _Progress()
    if not values.get("show"):
        bench.progress = progress
    try:
        answer = parsed.command.run(bench, **values)
        progress.end()
        if bench.warning and not parsed.command.name.startswith("ontology"):
            print(f"skygraph: {bench.warning}", file=sys.stderr)
        return _serve(bench, parsed, answer) if _serves(parsed, answer) else _show(parsed, answer)
    finally:
        progress.end()
        bench.close()


def _show(parsed: Any, answer: Any) -> int:
    from workbench.answer import render_text, to_json
    from workbench.commands import Lines, ShellLines

    if parsed.json:
        print(json.dumps(to_json(answer), ensure_ascii=False, indent=2))
    elif parsed.values.get("args") and parsed.command.name == "dbt":
        pass  # dbt has said it all
    elif isinstance(answer, (Lines, ShellLines)):
        print(answer)  # lines to evaluate, to copy or to filter: none is ever wrapped
    else:
        print(render_text(answer.blocks(), colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return ExitCode.FAILED if getattr(answer, "failed", False) else ExitCode.OK


def _serves(parsed: Any, answer: Any) -> bool:
    return parsed.command.name == "lab" or (parsed.command.name == "demo" and not parsed.values["no_serve"])


def _serve(bench: Any, parsed: Any, answer: Any) -> int:
    """JupyterLab in the foreground until it is interrupted; its address on stderr once it answers."""
    from workbench.commands import lab
    from workbench.services import ApiService

    service, beside = answer, []
    if parsed.command.name == "demo":
        status = _show(parsed, answer)
        if status != ExitCode.OK:
            return status
        notebook = "notebooks/explore/quickstart.ipynb"
        service = lab(bench, notebook if (bench.settings.workspace / notebook).is_file() else "")
        api = ApiService(bench.settings).ensure()
        beside = [f"HTTP API     {api.url}/docs", *([api.note] if api.note else [])]
    signal.signal(signal.SIGTERM, _interrupt)  # told to end, it takes JupyterLab with it
    service.open_browser = sys.stderr.isatty() and not parsed.values.get("no_browser")
    service.start()
    try:
        while not service.ready():
            time.sleep(0.1)
        ends = "Press Ctrl-C to end JupyterLab; `skygraph down` stops " + ("the API and the lake." if beside else "the lake.")
        for line in (
            "", f"JupyterLab   {service.url}", *beside,
            f"ClickHouse   {bench.lake.address.url} (`skygraph sql`, `eval \"$(skygraph env)\"`)",
            *([service.note] if service.note else []), ends,
        ):  # fmt: skip
            print(line, file=sys.stderr, flush=True)
        service.wait()
    except KeyboardInterrupt:
        pass
    finally:
        service.stop()
    return ExitCode.OK


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _say_error(error: SkyGraphError, *, as_json: bool) -> None:
    said = str(error)
    print(said if said.startswith("skygraph ") else f"skygraph: {said}", file=sys.stderr)
    if as_json:
        print(json.dumps(error.to_dict(), ensure_ascii=False, indent=2))


def _complete(words: list[str]) -> int:
    """One candidate per line for the shell; the last word is the one being typed."""
    from workbench.bench import Workbench
    from workbench.commands import complete
    from workbench.settings import Settings

    token = words.pop() if words else ""
    try:
        workspace = words[words.index("--workspace") + 1] if "--workspace" in words[:-1] else None
        print("\n".join(complete(Workbench(Settings.load(workspace)), words, token)))
    except SkyGraphError:
        pass  # nothing to offer; the command itself will say what is wrong
    return ExitCode.OK


class _Progress:
    """Progress on stderr, for what takes longer than half a second: a bar on a terminal, a line per step elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._done = -1
        self._said = self._started = time.monotonic()

    def __call__(self, message: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            now = time.monotonic()
            if done == self._done and now - self._said < 10:  # in a log, what moves within a step is worth a line now and then
                return
            self._done, self._said = done, now
            print(f"[{done}/{total}] {message}", file=sys.stderr, flush=True)
            return
        if self._bar is None:
            if time.monotonic() - self._started < 0.5:
                return
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                BarColumn(20), TextColumn("{task.completed:.0f}/{task.total:.0f}"), TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False), console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(message, total=total)
        self._bar.update(self._task, description=message, completed=done, total=total)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


if __name__ == "__main__":
    main()
