"""The command line: parses a line, runs its verb, prints the answer. stdout holds data only; progress and errors go to stderr."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import time
import zlib
from collections.abc import Sequence
from typing import Any, NoReturn

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

    if parsed.command.name in ("up", "demo", "lab", "logs"):
        signal.signal(signal.SIGTERM, _interrupt)  # told to end, it ends what it started
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
    from workbench.services import LogLines

    if parsed.json and parsed.values.get("follow"):
        for line in answer.lines:
            _say_line(line, as_json=True)
    elif parsed.json:
        print(json.dumps(to_json(answer), ensure_ascii=False, indent=2))
    elif parsed.values.get("args") and parsed.command.name == "dbt":
        pass  # dbt has said it all
    elif isinstance(answer, LogLines):
        for line in answer.lines:
            _say_line(line, as_json=False)
    elif isinstance(answer, (Lines, ShellLines)):
        print(answer)  # lines to evaluate, to copy or to filter: none is ever wrapped
    else:
        print(render_text(answer.blocks(), colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return ExitCode.FAILED if getattr(answer, "failed", False) else ExitCode.OK


def _serves(parsed: Any, answer: Any) -> bool:
    """Whether the verb goes on after its answer, until it is interrupted."""
    name, values = parsed.command.name, parsed.values
    return name == "lab" or any((
        name == "demo" and not values["no_serve"], name == "up" and values["foreground"], name == "logs" and values["follow"],
    ))  # fmt: skip


def _serve(bench: Any, parsed: Any, answer: Any) -> int:
    status: int = ExitCode.OK
    with contextlib.suppress(KeyboardInterrupt):
        match parsed.command.name:
            case "lab":
                status = _serve_lab(bench, parsed, answer)
            case "logs":
                _show(parsed, answer)
                for line in answer.to_come:
                    _say_line(line, as_json=parsed.json)
            case "up":
                _stay(bench, parsed, parsed.values["services"])
            case "demo":
                status = _show(parsed, answer)
                if status == ExitCode.OK:
                    _stay(bench, parsed, [])
    return status


def _stay(bench: Any, parsed: Any, names: Sequence[str]) -> NoReturn:
    """Services in the foreground: their addresses on stderr, with `up` their logs on stdout, until the interrupt; then they are stopped.

    Raises:
        SkyGraphError: one does not come up, or the supervisor has ended; what runs is stopped.
    """
    from workbench.services import LogLines, Services

    services, progress = Services(bench.settings), _Progress()
    mine, is_demo = services.supervisor_pid() is None, parsed.command.name == "demo"
    heard = LogLines.of(bench.settings, names, lines=0, is_followed=True, ended=lambda: services.supervisor_pid() is None)
    try:
        states = services.up(names, dev=not is_demo and parsed.values["dev"], say=progress)
        progress.end()
        for state in states:
            secret = state.name == "lab" and not bench.settings.lab_token  # one that people have given needs not be told
            address = services.link("lab") if secret else f"{state.url}/docs" if state.name == "skygraph-api" else state.url
            print(f"{state.name:<14} {address or state.status}{f'  ({state.note})' if state.note else ''}", file=sys.stderr, flush=True)
        print("Press Ctrl-C to stop them.", file=sys.stderr, flush=True)
        if is_demo and sys.stderr.isatty() and not parsed.values["no_browser"]:
            import webbrowser

            webbrowser.open(services.link("lab"))
        for line in heard.to_come:
            if not is_demo:
                _say_line(line, as_json=parsed.json)
        raise SkyGraphError("the supervisor has ended, and the services with it", hint="`skygraph logs supervisor` tells more")
    finally:
        progress.end()
        for ending in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ending, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them
        services.down(names if names and not mine else ())


def _serve_lab(bench: Any, parsed: Any, service: Any) -> int:
    """JupyterLab in the foreground; its address on stderr once it answers."""
    service.open_browser = sys.stderr.isatty() and not parsed.values["no_browser"]
    service.start()
    try:
        while not service.ready():
            time.sleep(0.1)
        for line in (
            "", f"JupyterLab   {service.url}", f"ClickHouse   {bench.lake.address.url} (`skygraph sql`, `eval \"$(skygraph env)\"`)",
            *([service.note] if service.note else []), "Press Ctrl-C to end JupyterLab; `skygraph down` stops the lake.",
        ):  # fmt: skip
            print(line, file=sys.stderr, flush=True)
        service.wait()
    finally:
        service.stop()
    return ExitCode.OK


def _say_line(line: Any, *, as_json: bool) -> None:
    """One line of a log; on a terminal each service has a colour of its own."""
    from workbench.answer import to_json

    if as_json:
        text = json.dumps(to_json(line.to_dict()), ensure_ascii=False)
    else:
        text = line.beside()
        if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
            tint = 31 if line.level in ("error", "critical") else 32 + zlib.crc32(line.service.encode()) % 5
            text = f"\033[{tint}m{text[:13]}\033[0m{text[13:]}"
    print(text, flush=True)


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


_MOST_STEPS = 10_000  # what has more of them is counted in rows


def _share(done: int, total: int) -> str:
    """How far it is: steps of steps, or of many the part.

    >>> _share(3, 20), _share(500_000, 2_000_000), _share(3, -1)
    ('3/20', '25%', '...')
    """
    return "..." if total < 0 else f"{done}/{total}" if total <= _MOST_STEPS else f"{100 * done // total}%"


class _Progress:
    """Progress on stderr, for what takes longer than half a second: a bar on a terminal, a line per step elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._done = -1
        self._said = self._started = time.monotonic()

    def __call__(self, message: str, done: int, total: int) -> None:
        if total == 0:  # what was told about has ended
            self.end()
            return
        is_rows = total < 0 or total > _MOST_STEPS  # or nobody knows how many
        if not sys.stderr.isatty():
            now = time.monotonic()
            # in a log, what moves within a step is worth a line now and then
            if (is_rows or done == self._done) and now - self._said < 10:
                return
            self._done, self._said = done, now
            print(f"[{_share(done, total)}] {message}", file=sys.stderr, flush=True)
            return
        if self._bar is None:
            if time.monotonic() - self._started < 0.5:
                return
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                BarColumn(20), TextColumn("{task.fields[share]}"), TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False), console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(message, total=None if total < 0 else total, share=_share(done, total))
        self._bar.update(self._task, description=message, completed=done, total=None if total < 0 else total, share=_share(done, total))

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


if __name__ == "__main__":
    main()
