"""`sync_jobs/*.yml` as values: sources, tables and scheduled jobs, or every problem at once with file and line."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import InvalidFiles, Problem, SourceError, UnknownName, UsageError, nearest
from workbench.hermes.connector import connector_names, find_connector, option_names
from workbench.hermes.jobs import Alerts, JobSpec, Limits, parse_alerts, parse_job, parse_limits, wrong_triggers
from workbench.hermes.retention import parse_retention
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
    options: Mapping[str, Any] = field(repr=False)

    def resolved(self, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The options with `${NAME}` replaced from the environment.

        Raises:
            SourceError: a name is not set.
        """
        env = os.environ if environ is None else environ

        def value(match: re.Match[str]) -> str:
            if match[1] not in env:
                raise SourceError(f"source {self.name}: {match[1]} is not set", hint=f"export {match[1]}=... and run it again")
            return env[match[1]]

        def filled(written: Any) -> Any:
            if isinstance(written, Mapping):
                return {k: filled(v) for k, v in written.items()}
            if isinstance(written, (list, tuple)):
                return [filled(v) for v in written]
            return re.sub(r"\$\{(\w+)\}", value, written)

        return {k: filled(v) for k, v in self.options.items()}


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
    options: Mapping[str, Any] = field(default_factory=dict)  # what the connector knows of a table beyond `from`
    history: str = ""  # how much of the past of its keys is kept; '' as the setting says

    @property
    def spec(self) -> str:
        """A short text that is another one when the table is to be read in another way."""
        read = (self.source, self.from_, self.key, self.watermark, self.deletes, sorted(self.columns.items()), repr(self.options))
        return hashlib.sha256(repr(read).encode()).hexdigest()[:16]

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
    """All sources, tables and jobs of a workspace, by name; `alerts` are of tables and of jobs that have none of their own."""

    sources: Mapping[str, Source]
    tables: Mapping[str, TableJob]
    jobs: Mapping[str, JobSpec]
    alerts: Alerts | None = None
    limits: Limits = Limits()

    def job(self, name: str) -> JobSpec:
        """A job by its name.

        Raises:
            UnknownName: there is none; names the nearest.
        """
        if name not in self.jobs:
            raise UnknownName("job", name, self.jobs, hint=None if self.jobs else "write one under `jobs:` in sync_jobs/tables.yml")
        return self.jobs[name]

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
    jobs: dict[str, JobSpec] = {}
    alerts: Alerts | None = None
    limits = Limits()
    lines: dict[tuple[str, str], Entry] = {}
    rest: dict[str, dict[str, Entry]] = {}
    for path in sorted((workspace / "sync_jobs").glob("*.yml")):
        entry = read_yaml(path, problems, name=str(path.relative_to(workspace)))
        if entry is None:
            continue
        top = Fields(entry, "a sync_jobs file", problems)
        for kind, found in (
            ("source", top.mapping("sources", {})), ("table", top.mapping("tables", {})), ("job", top.mapping("jobs", {})),
        ):  # fmt: skip
            for name, body in found.items():
                if (first := lines.get((kind, name))) is not None:
                    problems.append(Problem(body.file, body.line, f"{kind} {name!r} stands in {first.file}:{first.line} already"))
                    continue
                lines[kind, name] = body
                if kind == "source":
                    sources[name] = _source(name, body, problems)
                elif kind == "job":
                    jobs[name] = parse_job(name, body, problems)
                else:
                    tables[name], rest[name] = _table(name, body, problems)
        for what in ("alerts", "limits"):
            written = top.entry_of(what)
            if written is None:
                continue
            if (earlier := lines.setdefault((what, ""), written)) is not written:
                problems.append(Problem(written.file, written.line, f"{what} stand in {earlier.file}:{earlier.line} already"))
            elif what == "alerts":
                alerts = parse_alerts(written, "alerts", problems)
            else:
                limits = parse_limits(written, problems)
        top.done()
    for name, job in tables.items():
        if job.source and job.source not in sources:
            body = lines["table", name]
            at = body.value.get("source", body) if isinstance(body.value, dict) else body
            near = nearest(job.source, sources)
            tail = f"did you mean {near[0]!r}?" if near else "it stands under no `sources:`"
            problems.append(Problem(at.file, at.line, f"table {name!r} has the unknown source {job.source!r}; {tail}"))
        connector = sources[job.source].connector if job.source in sources else ""
        if connector in connector_names():
            options = _options(rest[name], find_connector(connector).table_options_class, f"table {name!r} ({connector})", problems)
            tables[name] = dataclasses.replace(job, options=options)
            continue
        for key, value in rest[name].items():  # nobody knows what its connector takes; what looks like a key of ours is said
            if near := nearest(key, _TABLE_KEYS):
                problems.append(Problem(value.file, value.line, f"unknown key {key!r} of table {name!r}; did you mean {near[0]!r}?"))
    problems += wrong_triggers(jobs, list(tables))
    if problems:
        raise InvalidFiles("sync_jobs", problems)
    return SyncPlan(sources, tables, jobs, alerts, limits)


def _source(name: str, body: Entry, problems: list[Problem]) -> Source:
    fields = Fields(body, f"source {name!r}", problems)
    connector = fields.choice("connector", connector_names())
    if connector not in connector_names():
        return Source(name, connector, {})
    options = _options(dict(fields.rest()), find_connector(connector).options_class, f"source {name!r} ({connector})", problems)
    for key, needed in option_names(find_connector(connector).options_class).items():
        if needed and key not in options:
            fields.wrong(f"source {name!r} ({connector}) needs the key {key!r}")
    for key, value in options.items():
        if key in _SECRET_OPTIONS and isinstance(value, str) and value and not re.search(r"\$\{\w+\}", value):
            fields.wrong(f"source {name!r} has a secret in the file; write it as ${{NAME}} and set NAME in the environment", key)
    if _PASSWORD.search(str(options.get("dsn", ""))):
        fields.wrong(f"source {name!r} has a password in the file; write it as ${{NAME}} and set NAME in the environment", "dsn")
    return Source(name, connector, options)


_SECRET_OPTIONS = ("password", "token", "secret")


def _options(written: Mapping[str, Entry], options_class: type, what: str, problems: list[Problem]) -> dict[str, Any]:
    """Options as plain data, scalars as text; a problem for each that the class has no field for."""
    known = option_names(options_class)
    found: dict[str, Any] = {}
    for key, value in written.items():
        if key not in known:
            near = nearest(key, [*known, *_TABLE_KEYS] if what.startswith("table") else known)
            tail = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(known) if known else "it takes no more keys"
            problems.append(Problem(value.file, value.line, f"unknown key {key!r} of {what}; {tail}"))
        elif value.value is None:
            problems.append(Problem(value.file, value.line, f"{key!r} of {what} is empty"))
        else:
            found[key] = _texts(value.plain())
    return found


def _texts(value: Any) -> Any:
    """Plain data with every scalar as text, as it would be written in YAML."""
    if isinstance(value, Mapping):
        return {str(k): _texts(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_texts(v) for v in value]
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


_TABLE_KEYS = ("source", "from", "key", "watermark", "every", "lookback", "deletes", "columns", "history")


def _table(name: str, body: Entry, problems: list[Problem]) -> tuple[TableJob, dict[str, Entry]]:
    """A table, and the keys that its connector has to know."""
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
    history = fields.text("history", "")
    try:
        parse_retention(history or "none")
    except UsageError as error:
        fields.wrong(f"'history' of table {name!r}: {error}", "history")
    columns: dict[str, str] = {}
    for column, entry in fields.mapping("columns", {}).items():
        if isinstance(entry.value, str) and entry.value.strip():
            columns[column] = entry.value.strip()
        else:
            problems.append(Problem(entry.file, entry.line, f"column {column!r} of table {name!r}: `drop` or a ClickHouse type"))
        if entry.value == "drop" and column in (*key, watermark):
            problems.append(Problem(entry.file, entry.line, f"column {column!r} of table {name!r} is its key or watermark; keep it"))
    return TableJob(name, source, from_, key, watermark, every, lookback, deletes, columns, history=history), dict(fields.rest())


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
