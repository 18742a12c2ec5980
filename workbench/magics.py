"""`%skygraph` and `%%skygraph sql`: the verbs of the command line in a notebook, with tab completion.

It owns IPython. A mistake shows one line, as in a shell, and never ends the kernel.
"""

from __future__ import annotations

import keyword
import os
import shlex
import time
from typing import Any

from workbench.errors import SkyGraphError, UsageError
from workbench.widgets.task import is_live

__all__ = ["notebook_progress", "register", "unregister"]

_MATCHER = "workbench.magics.complete"


def register(shell: Any) -> None:
    """Add the magic and its completion to a shell; replaces an earlier one."""
    unregister(shell)
    magics = _magics_class()(shell)
    shell.register_magics(magics)
    shell.Completer.custom_matchers.append(_matcher(magics))


def unregister(shell: Any) -> None:
    """Take both away; does nothing when they are not there."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [m for m in matchers if getattr(m, "matcher_identifier", "") != _MATCHER]
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("skygraph", None)


def notebook_progress() -> Any:
    """A progress listener for the shell that runs: one display, kept up to date; None outside IPython."""
    from IPython import get_ipython

    return _Progress() if get_ipython() is not None else None


def _magics_class() -> Any:
    from IPython.core.error import UsageError as ShellUsageError
    from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope, no_var_expand

    @magics_class
    class SkyGraphMagics(Magics):  # type: ignore[misc]
        """The magic. Its workbench is that of the notebook's folder, made at the first use."""

        def __init__(self, shell: Any) -> None:
            super().__init__(shell)
            self._bench: Any = None

        @property
        def bench(self) -> Any:
            if self._bench is None:
                from workbench import connect

                self._bench = connect()
            return self._bench

        @no_var_expand  # type: ignore[untyped-decorator]
        @needs_local_scope  # type: ignore[untyped-decorator]
        @line_cell_magic  # type: ignore[untyped-decorator]
        def skygraph(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> Any:
            """`%skygraph VERB ...`: the verbs of the command line. `%%skygraph sql [NAME]` runs the cell."""
            try:
                return self._answer(line, cell, local_ns or {})
            except SkyGraphError as error:
                if "--debug" in line.split():
                    raise
                raise ShellUsageError(str(error)) from None

        def _answer(self, line: str, cell: str | None, names: dict[str, Any]) -> Any:
            from workbench.commands import GRAMMAR
            from workbench.grammar import HelpAsked

            try:
                words = shlex.split(line)
            except ValueError as error:
                raise UsageError(f"%skygraph: {error}", hint="close the quotation mark") from None
            try:
                if cell is not None:
                    return self._cell(words, cell, names)
                if words == ["objects"]:  # without a type there is nothing to list: all of them, to look around in
                    return self.bench.explorer()
                parsed = GRAMMAR.parse(words)
            except HelpAsked as asked:
                print(asked.text.rstrip())
                return None
            if parsed.command.shell_only:
                name = parsed.command.name
                raise UsageError(f"%skygraph {name} is for a shell", hint=f"run `skygraph {name}` in a terminal")
            bench = self.bench
            if parsed.workspace is not None:
                from workbench.bench import Workbench
                from workbench.settings import Settings

                bench = Workbench(Settings.load(parsed.workspace), progress=self.bench.progress)
            values = {k: v for k, v in parsed.values.items() if k not in ("no_serve", "no_browser")}
            if parsed.command.name == "inspect" and not parsed.json:  # the same facts, each read when it is looked at
                return bench.inspector(values["table"], key=values["key"] or "")
            try:
                answer = parsed.command.run(bench, **values)
                if parsed.command.name == "sql" and not values["to"] and not parsed.json:
                    answer = _looked_at(answer)
            finally:
                bench.progress("", 0, 0)
            if bench.warning and not parsed.command.name.startswith("ontology"):
                print(bench.warning)
            return _Json(answer) if parsed.json else answer

        def _cell(self, words: list[str], cell: str, names: dict[str, Any]) -> Any:
            raw, rest, to = "--raw" in words, [w for w in words if w not in ("--raw", "--debug")], ""
            if "--to" in rest[:-1]:
                place = rest.index("--to")
                to, rest = rest[place + 1], [*rest[:place], *rest[place + 2 :]]
            if not rest or rest[0] != "sql" or len(rest) > 2 or any(w.startswith("-") for w in rest):
                said = "a cell is `%%skygraph sql [NAME] [--raw] [--to FILE]`"
                raise UsageError(said, hint="other verbs stand on one line: %skygraph VERB ...")
            name = rest[1] if len(rest) == 2 else ""
            if name and (not name.isidentifier() or keyword.iskeyword(name)):
                raise UsageError(f"{name!r} cannot be the name of a variable")
            relation = self.bench.sql(cell, raw=raw, parameters={**self.shell.user_ns, **names}, name=name)
            if to:
                from workbench.commands import written_to

                answer: Any = written_to(to, relation.to_file(to))
            else:
                answer = _looked_at(relation)  # a mistake in it is one line, and binds no name
            if name:
                self.shell.user_ns[name] = relation
            return answer

    return SkyGraphMagics


def _looked_at(relation: Any) -> Any:
    """A relation with its first rows read, and counted where no widget will do that."""
    return relation.look(counted=not is_live())


class _Json:
    """An answer as JSON text in a notebook."""

    def __init__(self, answer: Any) -> None:
        import json

        from workbench.answer import to_json

        self.data = to_json(answer)
        self.text = json.dumps(self.data, ensure_ascii=False, indent=2)

    def __repr__(self) -> str:
        return self.text


def _matcher(magics: Any) -> Any:
    """Completion of a `%skygraph` line, from the grammar and the names that are known now."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(identifier=_MATCHER, priority=200)  # type: ignore[untyped-decorator]
    def match(context: Any) -> Any:
        line = context.full_text.split("\n")[context.cursor_line][: context.cursor_position]
        before, sign, body = line.partition("%skygraph ")
        if not sign or before.rstrip(" %") not in ("", before.split("=")[0].strip() + " =" if "=" in before else ""):
            return {"completions": []}
        words, token = _words(body)
        mark = token[:1] if token[:1] in ("'", '"') else ""
        from workbench.commands import complete

        try:
            found = [mark + text for text in complete(magics.bench, words, token[len(mark) :])]
        except SkyGraphError:
            found = []
        offered = [SimpleCompletion(text=text, type="option" if text.startswith("-") else "value") for text in found]
        return {"completions": offered, "suppress": True, "matched_fragment": token, "ordered": True}

    return match


def _words(body: str) -> tuple[list[str], str]:
    """The words of an unfinished line, and the last one as it is typed: with its opening quote, '' behind a space.

    >>> _words("objects 'Customer[city=São Paulo]' --where 'a b")
    (['objects', 'Customer[city=São Paulo]', '--where'], "'a b")
    """
    start, mark = 0, ""
    for i, sign in enumerate(body):
        if sign == mark:
            mark = ""
        elif not mark and sign in "'\"":
            mark = sign
        elif not mark and sign == " ":
            start = i + 1
    return shlex.split(body[:start]), body[start:]


class _Progress:
    """Progress in a notebook: one line with a bar, shown when work takes longer than half a second, gone when it is done.

    In a batch run (`SKYGRAPH_BATCH=1`) each step is a printed line instead.
    """

    def __init__(self) -> None:
        self._display: Any = None
        self._began = 0.0
        self._last = 0.0

    def __call__(self, message: str, done: int, total: int) -> None:
        now = time.monotonic()
        if os.environ.get("SKYGRAPH_BATCH"):
            if message and 0 <= total <= 10_000:  # rows of a statement are for somebody who waits
                print(f"[{done}/{total}] {message}", flush=True)
            return
        if total == 0 or 0 < total <= done:
            self._end()
            return
        if not self._began:
            self._began = now
        if now - self._began < 0.5 or now - self._last < 0.2:
            return
        self._last = now
        import html

        from IPython.display import HTML, display

        if total < 0:  # nobody knows how many
            bar = f"<progress></progress> <code>{html.escape(message)}</code>"
        else:
            share = f"{done}/{total}" if total <= 10_000 else f"{100 * done // total}%"  # many are rows, and said in the message
            bar = f'<progress max="{total}" value="{done}"></progress> <code>{share} {html.escape(message)}</code>'
        if self._display is None:
            self._display = display(HTML(bar), display_id=True)
        else:
            self._display.update(HTML(bar))

    def _end(self) -> None:
        if self._display is not None:
            from IPython.display import HTML

            self._display.update(HTML(""))
        self._display, self._began = None, 0.0
