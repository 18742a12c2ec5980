"""Write docs/commands.md from the table of commands and docs/settings.md from the settings: `python docs/generate.py`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from workbench.commands import GRAMMAR
from workbench.grammar import GLOBAL, Argument, Command
from workbench.settings import Settings

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- written by docs/generate.py; do not edit -->\n"


def pages() -> dict[str, str]:
    """Every generated page: file name to text."""
    return {"commands.md": _commands(), "settings.md": _settings()}


def _commands() -> str:
    parts = [
        "# Commands\n", NOTE,
        "`skygraph VERB ...` in a shell and `%skygraph VERB ...` in a notebook are the same verbs with the same arguments. Every verb has",
        "`--help`. Exit status: 0 ok, 1 failed, 2 wrong words, 3 the lake does not answer.\n",
        "| verb | does |", "| --- | --- |",
        *(f"| [`{n}`](#{n.replace(' ', '-')}) | {_cell(c.help.splitlines()[0])} |" for n, c in GRAMMAR.commands.items()),
        "\nEvery verb also takes:\n", *_arguments(GLOBAL),
    ]  # fmt: skip
    for command in GRAMMAR.commands.values():
        parts += _verb(command)
    return "\n".join(parts) + "\n"


def _verb(command: Command) -> list[str]:
    words = " ".join(["skygraph", command.name, *(a.shape for a in command.arguments)])
    where = ["For a shell only.\n"] if command.shell_only else []
    section = [f"\n## `{command.name}`\n", "```", words, "```\n", f"{command.help}\n", *where, *_arguments(command.arguments)]
    return ["\n".join(section).rstrip("\n")]


def _arguments(arguments: tuple[Argument, ...]) -> list[str]:
    if not arguments:
        return []
    return [*(f"- `{', '.join(a.names) if a.is_option else a.shape}`: {a.help}" for a in arguments)]


def _settings() -> str:
    rows = [
        f"| `{f.metadata['env']}` | `{f.name}` | {_default(f.name, f.default)} | {_cell(f.metadata['help'])} |"
        for f in fields(Settings)
        if f.name != "origins"
    ]
    parts = [
        "# Settings\n", NOTE,
        "A value comes, in this order, from an argument (`connect(lake_http_port=...)`), the environment, the workspace's `skygraph.toml`",
        "(the field names below as keys), or the default. Secrets come from the environment only and are shown as `***`.",
        "`skygraph settings` shows each value and where it came from.\n",
        "| environment | field | default | what |", "| --- | --- | --- | --- |", *rows,
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _default(name: str, value: object) -> str:
    if name == "workspace":
        return "the nearest folder upward with a `sync_jobs/`"
    return f"`{value}`" if value != "" else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
