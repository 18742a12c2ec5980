"""The grammar of commands: one table of verbs, from which parsing, help and tab completion come.

Pure. A verb is one or two words (`sync`, `sync status`); the longest that matches wins. The same table serves the shell and the
notebook, so a mistake raises `UsageError` and never ends the process.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from workbench.errors import UnknownName, UsageError, nearest

__all__ = ["Argument", "Command", "Grammar", "HelpAsked", "Parsed", "arg", "clean", "flag", "whole"]


class HelpAsked(Exception):
    """`--help` was among the words; `text` is the answer."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True)
class Argument:
    """A word or option of a command. `completes` names what it stands for: table, type, key, link, snapshot ..."""

    names: tuple[str, ...]
    help: str
    completes: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_option(self) -> bool:
        """Whether it is written with dashes."""
        return self.names[0].startswith("-")

    @property
    def takes_value(self) -> bool:
        """Whether a word follows the option; a switch stands alone."""
        return self.options.get("action") != "store_true"

    @property
    def shape(self) -> str:
        """How it is written in a line of usage: `TYPE`, `[LINK]`, `[--limit N]`, `[--where EXPR...]`."""
        metavar = self.options.get("metavar") or self.names[0].strip("-").upper()
        shown = metavar if isinstance(metavar, str) else " ".join(metavar)
        many = {"*": f"[{shown}...]", "?": f"[{shown}]", "+": f"{shown}..."}.get(str(self.options.get("nargs")), shown)
        if not self.is_option:
            return many
        return f"[{self.names[0]} {many}]" if self.takes_value else f"[{self.names[0]}]"


def arg(name: str, *, help: str, completes: str = "", **options: Any) -> Argument:
    """A positional word; `nargs` and the like as in argparse."""
    return Argument((name,), help, completes, options)


def whole(text: str) -> int:
    """A whole number from 0, as the `type` of an argument."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def flag(*names: str, help: str, completes: str = "", **options: Any) -> Argument:
    """An option. Without further options it is a switch."""
    return Argument(names, help, completes, options or {"action": "store_true"})


@dataclass(frozen=True)
class Command:
    """A verb: what runs it, its arguments, and its help. `passes` words go through unread (dbt's own)."""

    name: str
    run: Callable[..., Any]
    arguments: tuple[Argument, ...]
    help: str
    passes: bool = False
    shell_only: bool = False


@dataclass(frozen=True)
class Parsed:
    """A line understood: the command, its values by name, and the options that every verb has."""

    command: Command
    values: dict[str, Any]
    json: bool = False
    debug: bool = False
    workspace: str | None = None


class _Parser(argparse.ArgumentParser):
    """argparse that raises: a typo never ends a kernel."""

    def error(self, message: str) -> NoReturn:
        """See argparse."""
        said = message.replace("the following arguments are required:", "needs")
        raise UsageError(f"{self.prog}: {said}", hint=f"see `{self.prog} --help`")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """See argparse."""
        raise UsageError((message or self.prog).strip())


GLOBAL = (
    flag("--json", help="one JSON document on stdout, data only"),
    flag("--workspace", help="the workspace folder (default: the nearest one upward)", metavar="DIR", default=None),
    flag("--debug", help="show the traceback of an error"),
)


class Grammar:
    """The table of commands.

    >>> grammar = Grammar("demo")
    >>> grammar.add(Command("greet", print, (arg("name", help="whom"),), "Greet somebody."))
    >>> grammar.parse(["greet", "Ada", "--json"]).values
    {'name': 'Ada'}
    """

    def __init__(self, program: str) -> None:
        self.program = program
        self.commands: dict[str, Command] = {}

    def add(self, command: Command) -> None:
        """Add a verb."""
        self.commands[command.name] = command

    # --- parsing

    def parse(self, words: Sequence[str]) -> Parsed:
        """Understand a line.

        Raises:
            UsageError: an unknown verb or option, a missing word; names the nearest. HelpAsked: `--help` was among the words.
        """
        lead, rest = self._lead(list(words))
        if rest[:1] == ["help"] and len(rest) > 1:
            rest = [*rest[1:], "--help"]
        if not rest or rest[0] in ("--help", "-h", "help"):
            raise HelpAsked(self.help())
        command, rest = self._find(rest)
        if command.passes:
            return self._pass_through(command, lead, rest)
        parser = self.parser(command)
        if "--help" in rest or "-h" in rest:
            raise HelpAsked(parser.format_help())
        values = vars(self._parse_known(parser, command, [*lead, *rest]))
        own = {name: values.pop(name) for name in ("json", "debug", "workspace")}
        return Parsed(command, values, **own)

    def _parse_known(self, parser: argparse.ArgumentParser, command: Command, words: list[str]) -> argparse.Namespace:
        parsed, unknown = parser.parse_known_intermixed_args(self._joined(command, words))
        for word in unknown:
            if word.startswith("-"):
                known = [n for a in (*command.arguments, *GLOBAL) for n in a.names if n.startswith("--")]
                raise UnknownName(f"option of {self.program} {command.name}", word.partition("=")[0], known)
            raise UsageError(f"{self.program} {command.name}: {word!r} is one word too many", hint=f"see `{parser.prog} --help`")
        return parsed

    @staticmethod
    def _joined(command: Command, words: list[str]) -> list[str]:
        """`--sort -total` as `--sort=-total`: argparse takes a value that begins with a dash for an option."""
        options = {name: a for a in (*command.arguments, *GLOBAL) if a.is_option for name in a.names}
        joined: list[str] = []
        for word in words:
            before = options.get(joined[-1]) if joined and "--" not in joined else None
            takes_one = before is not None and before.takes_value and "nargs" not in before.options
            if takes_one and word.startswith("-") and word.partition("=")[0] not in options:
                joined[-1] += f"={word}" if joined[-1].startswith("--") else word
            else:
                joined.append(word)
        return joined

    def _lead(self, words: list[str]) -> tuple[list[str], list[str]]:
        """The global options before the verb, and the rest."""
        lead: list[str] = []
        while words and words[0].startswith("--") and words[0].partition("=")[0] in ("--json", "--workspace", "--debug"):
            takes_next = words[0] == "--workspace" and len(words) > 1
            lead += words[: 2 if takes_next else 1]
            del words[: 2 if takes_next else 1]
        return lead, words

    def _find(self, words: list[str]) -> tuple[Command, list[str]]:
        two = " ".join(words[:2])
        if two in self.commands:
            return self.commands[two], words[2:]
        if words[0] in self.commands:
            return self.commands[words[0]], words[1:]
        if words[0].startswith("-"):
            raise UnknownName("option before the verb", words[0].partition("=")[0], [a.names[0] for a in GLOBAL])
        under = self._under(words[0])
        if under and (len(words) == 1 or words[1] in ("--help", "-h")):
            if len(words) == 2:
                raise HelpAsked("\n".join(f"  {words[0]} {u:<10} {self.commands[f'{words[0]} {u}'].help}" for u in under))
            raise UsageError(f"{self.program} {words[0]} needs one of {', '.join(under)}")
        if under:
            raise UnknownName(f"verb of {self.program} {words[0]}", words[1], under)
        verbs = sorted({name.split()[0] for name in self.commands})
        hint = None if nearest(words[0], verbs) else f"see `{self.program} --help`"
        raise UnknownName("verb", words[0], verbs, hint=hint)

    def _pass_through(self, command: Command, lead: list[str], words: list[str]) -> Parsed:
        """Everything goes to the command but our own global options."""
        if not words or words in (["--help"], ["-h"]):
            raise HelpAsked(self.parser(command).format_help())
        kept: list[str] = []
        rest = [*lead, *words]
        own: dict[str, Any] = {"json": False, "workspace": None}
        while rest:
            word = rest.pop(0)
            if word == "--json":
                own["json"] = True
            elif word == "--workspace" and rest:
                own["workspace"] = rest.pop(0)
            elif word.startswith("--workspace="):
                own["workspace"] = word.partition("=")[2]
            else:
                kept.append(word)
        return Parsed(command, {command.arguments[0].names[0]: kept}, **own)

    def parser(self, command: Command) -> argparse.ArgumentParser:
        """The argparse parser of one command, for parsing and for its help."""
        parser = _Parser(
            prog=f"{self.program} {command.name}", description=command.help, allow_abbrev=False, add_help=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        for argument in (*command.arguments, *GLOBAL):
            options = dict(argument.options)
            if command.passes and not argument.is_option:
                options["nargs"] = "*"
            parser.add_argument(*argument.names, help=argument.help, **options)
        return parser

    # --- help

    def help(self) -> str:
        """All verbs, one line each."""
        width = max(len(name) for name in self.commands)
        lines = [f"usage: {self.program} [--workspace DIR] [--json] VERB ...", ""]
        lines += [f"  {name:<{width}}  {command.help.splitlines()[0]}" for name, command in self.commands.items()]
        lines += ["", f"`{self.program} VERB --help` tells more."]
        return "\n".join(lines)

    # --- completion

    def complete(self, words: Sequence[str], token: str, known: Callable[[str, list[str]], Sequence[str]]) -> list[str]:
        """What may stand next after `words`, beginning with `token`.

        `known` gives the live names of a kind (table, type, key ...) with the positional words before it.
        """
        option, equals, value = token.partition("=")
        if equals and option.startswith("--"):  # `--sort=-to`, as well as `--sort -to`
            return [f"{option}={found}" for found in self.complete([*words, option], value, known)]
        _, rest = self._lead(list(words))
        try:
            command, after = self._find(rest) if rest else (None, [])
        except UsageError:
            command, after = None, rest
        if command is None or (len(rest) == 1 and not token.startswith("-") and self._under(rest[0])):
            under = self._under(rest[0]) if rest else sorted({n.split()[0] for n in self.commands})
            more = self._values(command, after, token, known) if command else []
            return [w for w in [*under, *more] if w.startswith(token)]
        return [w for w in self._values(command, after, token, known) if w.casefold().startswith(token.casefold())]

    def _under(self, verb: str) -> list[str]:
        return [name.split()[1] for name in self.commands if name.startswith(verb + " ")]

    def _values(self, command: Command, after: list[str], token: str, known: Callable[[str, list[str]], Sequence[str]]) -> list[str]:
        options = {name: a for a in (*command.arguments, *GLOBAL) if a.is_option for name in a.names}
        positional = [w for i, w in enumerate(after) if not w.startswith("-") and not self._option_at(options, after, i)]
        wanted = self._option_at(options, after, len(after))
        if wanted is not None and not (token.startswith("-") and len(after) and not after[-1].startswith("-")):
            return self._offered(wanted, positional, known)
        if token.startswith("-"):
            return [name for name in options if name.startswith("--") and name not in after]
        places = [a for a in command.arguments if not a.is_option]
        if not places:
            return []
        place = places[min(len(positional), len(places) - 1)]
        if len(positional) >= len(places) and "nargs" not in place.options and not command.passes:
            return []
        return [w for w in self._offered(place, positional, known) if w not in positional]

    @staticmethod
    def _option_at(options: dict[str, Argument], words: list[str], i: int) -> Argument | None:
        """The option whose value stands at a place: the word before it, or further back when it takes many."""
        start = max((j for j in range(i) if words[j].startswith("-")), default=-1)
        option = options.get(words[start]) if start >= 0 else None
        if option is None or not option.takes_value or (i - start > 1 and option.options.get("nargs") != "+"):
            return None
        return option

    @staticmethod
    def _offered(argument: Argument, positional: list[str], known: Callable[[str, list[str]], Sequence[str]]) -> list[str]:
        if "choices" in argument.options:
            return list(argument.options["choices"])
        return list(known(argument.completes, positional)) if argument.completes else []


def clean(text: str) -> str:
    """A docstring as help: unindented."""
    return inspect.cleandoc(text)
