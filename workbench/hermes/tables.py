"""`sync_jobs/*.yml` as values: sources, tables and scheduled jobs, or every problem at once with file and line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import InvalidFiles, Problem, SourceError, UnknownName, UsageError, nearest
from workbench.hermes.connector import connector_names, find_connector, option_names
from workbench.hermes.watermark import parse_duration
from workbench.yamlfile import Entry, Fields, read_yaml

__all__ = ["Source", "SyncPlan", "TableJob", "load_plan"]


# a password that stands in a dsn itself, in the form of an address or of words
_PASSWORD = re.compile(r"://[^/@:?]*:(?!\$\{\w+\}@)[^@?]+@|\b(?:ssl)?password\s*=\s*(?!\$\{\w+\})\S", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A place that rows come from. `options` are as written: `${NAME}` is replaced when the source is opened."""

    name: str
    connector: str
    options: Mapping[str, str] = field(repr=False)

    def resolved(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """The options with `${NAME}` replaced from the environment.

        Raises:
            SourceError: a name is not set.
        """
        env = os.environ if environ is None else environ

        def value(match: re.Match[str]) -> str:
            if match[1] not in env:
                raise SourceError(f"source {self.name}: {match[1]} is not set", hint=f"export {match[1]}=... and run it again")
            return env[match[1]]

        return {k: re.sub(r"\$\{(\w+)\}", value, v) for k, v in self.options.items()}


@dataclass(frozen=True)
class TableJob:
    """One table to keep in sync. Durations are in seconds; `lookback` is a plain amount for a number watermark."""

    table: str
    source: str
    from_: str
    key: tuple[str, ...]
    watermark: str = ""
    every_s: float | None = None
    lookback: float = 0.0
    deletes: str = "sweep"
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def raw(self) -> str:
        """The lake's table: `raw.<table>`."""
        return f"raw.{self.table}"

    @property
    def deleted_column(self) -> str:
        """The soft-delete flag at the source, or ''."""
        return self.deletes.partition(":")[2]


@dataclass(frozen=True)
class SyncPlan:
    """All sources, tables and jobs of a workspace, by name."""

    sources: Mapping[str, Source]
    tables: Mapping[str, TableJob]
    jobs: Mapping[str, Mapping[str, Any]]

    def table(self, name: str) -> TableJob:
        """A table by its name, with or without `raw.`.

        Raises:
            UnknownName: there is none; names the nearest.
        """
        plain = name.removeprefix("raw.")
        if plain not in self.tables:
            raise UnknownName("table", plain, self.tables, hint=None if self.tables else "sync_jobs/tables.yml has no table yet")
        return self.tables[plain]


def load_plan(workspace: Path) -> SyncPlan:
    """Read every `*.yml` of `sync_jobs/`. A folder that is missing or empty is an empty plan.

    Raises:
        InvalidFiles: with every problem of every file.
    """
    problems: list[Problem] = []
    sources: dict[str, Source] = {}
    tables: dict[str, TableJob] = {}
    jobs: dict[str, Mapping[str, Any]] = {}
    lines: dict[tuple[str, str], Entry] = {}
    for path in sorted((workspace / "sync_jobs").glob("*.yml")):
        entry = read_yaml(path, problems, name=str(path.relative_to(workspace)))
        if entry is None:
            continue
        top = Fields(entry, "a sync_jobs file", problems)
        for kind, found in (("source", top.mapping("sources", {})), ("table", top.mapping("tables", {}))):
            for name, body in found.items():
                if (first := lines.get((kind, name))) is not None:
                    problems.append(Problem(body.file, body.line, f"{kind} {name!r} stands in {first.file}:{first.line} already"))
                    continue
                lines[kind, name] = body
                if kind == "source":
                    sources[name] = _source(name, body, problems)
                else:
                    tables[name] = _table(name, body, problems)
        jobs.update({name: body.plain() for name, body in top.mapping("jobs", {}).items()})
        top.done()
    for name, job in tables.items():
        if job.source and job.source not in sources:
            body = lines["table", name]
            at = body.value.get("source", body) if isinstance(body.value, dict) else body
            near = nearest(job.source, sources)
            tail = f"did you mean {near[0]!r}?" if near else "it stands under no `sources:`"
            problems.append(Problem(at.file, at.line, f"table {name!r} has the unknown source {job.source!r}; {tail}"))
    if problems:
        raise InvalidFiles("sync_jobs", problems)
    return SyncPlan(sources, tables, jobs)


def _source(name: str, body: Entry, problems: list[Problem]) -> Source:
    fields = Fields(body, f"source {name!r}", problems)
    connector = fields.choice("connector", connector_names())
    options: dict[str, str] = {}
    known: dict[str, bool] = option_names(find_connector(connector)) if connector in connector_names() else {}
    for key, value in fields.rest():
        if known and key not in known:
            near = nearest(key, known)
            tail = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(known)
            problems.append(Problem(value.file, value.line, f"unknown key {key!r} of source {name!r} ({connector}); {tail}"))
        elif isinstance(value.value, (dict, list)) or value.value is None:
            problems.append(Problem(value.file, value.line, f"{key!r} of source {name!r} must be text"))
        else:
            options[key] = str(value.value)
    for key, needed in known.items():
        if needed and key not in options:
            fields.wrong(f"source {name!r} ({connector}) needs the key {key!r}")
    if _PASSWORD.search(options.get("dsn", "")):
        fields.wrong(f"source {name!r} has a password in the file; write it as ${{NAME}} and set NAME in the environment", "dsn")
    return Source(name, connector, options)


def _table(name: str, body: Entry, problems: list[Problem]) -> TableJob:
    fields = Fields(body, f"table {name!r}", problems)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        fields.wrong(f"table {name!r}: a raw table's name has letters, digits and _ and begins with a letter")
    source = fields.text("source")
    from_ = fields.text("from", name)
    key = tuple(fields.texts("key"))
    watermark = fields.text("watermark", "")
    every = _seconds(fields, "every")
    lookback = _seconds(fields, "lookback") or 0.0
    if lookback and not watermark:
        fields.wrong(f"table {name!r} has a lookback but no watermark", "lookback")
    deletes = fields.text("deletes", "sweep")
    if deletes not in ("sweep", "none") and not re.fullmatch(r"column:.+", deletes):
        fields.wrong(f"unknown deletes {deletes!r} of table {name!r}; it is sweep, none or column:NAME", "deletes")
    columns: dict[str, str] = {}
    for column, entry in fields.mapping("columns", {}).items():
        if isinstance(entry.value, str) and entry.value.strip():
            columns[column] = entry.value.strip()
        else:
            problems.append(Problem(entry.file, entry.line, f"column {column!r} of table {name!r}: `drop` or a ClickHouse type"))
        if entry.value == "drop" and column in (*key, watermark):
            problems.append(Problem(entry.file, entry.line, f"column {column!r} of table {name!r} is its key or watermark; keep it"))
    fields.done()
    return TableJob(name, source, from_, key, watermark, every, lookback, deletes, columns)


def _seconds(fields: Fields, key: str) -> float | None:
    text = fields.text(key, "")
    if not text:
        return None
    if key == "lookback" and re.fullmatch(r"\d+", text):
        return float(text)
    try:
        return parse_duration(text)
    except UsageError as error:
        fields.wrong(f"{key!r} of {fields.what}: {error}", key)
        return None
