"""Transforms: runs dbt on the workspace's project and reads its results.

It owns dbt. A plain terminal can run the same project by itself: the profile takes the lake's address from the variables
that `environment()` gives. dbt keeps state per process, so one run at a time here; the import takes some seconds, once.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import re
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.errors import LakeError, TransformError, UnknownName, UsageError
from workbench.lake import Address, Lake
from workbench.lake.sql import Column, create_replacing, quote
from workbench.log import logger

__all__ = ["BuildReport", "DbtRun", "Model", "NodeResult", "Transforms", "environment"]

_GOOD = ("success", "pass")
_BAD = ("error", "fail", "runtime error")
_BUILDS = ("run", "build", "test", "seed", "snapshot")  # the verbs that make or test something in the lake
_WITHOUT_LAKE = ("", "clean", "deps", "init", "list", "ls", "parse")
_SETTLES_S = 10  # without another statement, dbt is taken to have ended
_one_at_a_time = threading.RLock()


@dataclass(frozen=True)
class Model:
    """A dbt model: its name, its table in the lake (`database.table`), what its docs say of it and its columns, and its file."""

    name: str
    table: str
    description: str
    file: str
    layer: str
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeResult:
    """A node of a run: `kind` model, test, seed or snapshot; `status` in dbt's words; `failures` rows of a failed test."""

    name: str
    kind: str
    status: str
    seconds: float | None = None
    message: str = ""
    failures: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The node as data."""
        return {**self.__dict__, "seconds": round(self.seconds, 3) if self.seconds is not None else None}


@dataclass(frozen=True)
class BuildReport(Answer):
    """What a dbt command did: every node it touched, in the order they finished."""

    command: str
    success: bool
    seconds: float
    nodes: tuple[NodeResult, ...] = ()
    lines: tuple[str, ...] = ()
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether dbt says that it failed."""
        return not self.success

    def counts(self) -> dict[str, int]:
        """Nodes by kind and status, as `model success`."""
        found: dict[str, int] = {}
        for node in self.nodes:
            name = f"{node.kind} {node.status}"
            found[name] = found.get(name, 0) + 1
        return found

    def to_dict(self) -> Any:
        """`command`, `success`, `seconds`, `counts`, `nodes`, and `lines` for commands that print (ls, show)."""
        data = {"command": self.command, "success": self.success, "seconds": round(self.seconds, 3), "counts": self.counts(),
                "nodes": [n.to_dict() for n in self.nodes]}  # fmt: skip
        return data | ({"lines": list(self.lines)} if self.lines else {}) | ({"error": self.error} if self.error else {})

    def blocks(self) -> Iterator[Block]:
        """Models first, then the tests that did not pass, then a line that sums up."""
        models = [n for n in self.nodes if n.kind != "test"]
        if models:
            yield Grid(["model", "status", "seconds"], [[n.name, n.status, n.seconds and round(n.seconds, 2)] for n in models])
        for node in self.nodes:
            if node.status not in _GOOD and (node.kind == "test" or node.status in _BAD):
                yield Note(f"{node.name}: {node.status}: {node.message}", "bad" if node.status in _BAD else "quiet")
        for line in self.lines:
            yield Note(line)
        if self.error:
            yield Note(self.error, "bad")
        summary = ", ".join(f"{count} × {name}" for name, count in sorted(self.counts().items()))
        tail = f": {summary}" if summary else ""
        yield Note(f"dbt {self.command} {'succeeded' if self.success else 'failed'} in {self.seconds:.1f} s{tail}",
                   "good" if self.success else "bad")  # fmt: skip


RUNS_TABLE = "skygraph.dbt_runs"
_RUN_COLUMNS = (
    Column("run_id", "String"),
    Column("command", "String"),
    Column("started_at", "DateTime64(3, 'UTC')"),
    Column("seconds", "Float64"),
    Column("success", "Bool"),
    Column("counts", "Map(String, UInt32)"),
    Column("failed", "Array(String)"),
    Column("error", "String"),
    Column("_version", "UInt64"),
)


@dataclass(frozen=True)
class DbtRun:
    """A dbt command that made or tested something: `counts` of nodes by kind and status, `failed` their names.

    `run_id` is dbt's own number of the invocation. `is_outside` for one of a plain terminal, of which only dbt's own files tell.
    """

    run_id: str
    command: str
    started_at: dt.datetime
    seconds: float
    success: bool
    counts: Mapping[str, int]
    failed: tuple[str, ...]
    error: str = ""
    is_outside: bool = False

    @property
    def ended_at(self) -> dt.datetime:
        """When it was over."""
        return self.started_at + dt.timedelta(seconds=self.seconds)

    @property
    def verb(self) -> str:
        """run, build, test, seed or snapshot."""
        return next((word for word in self.command.split() if word in _BUILDS), "")

    def to_dict(self) -> dict[str, Any]:
        """The run as data."""
        return {**self.__dict__, "counts": dict(self.counts), "failed": list(self.failed)}


def environment(address: Address, cluster: str = "") -> dict[str, str]:
    """The variables that the project's profile reads; the password under a name that dbt keeps out of its logs."""
    return {
        "SKYGRAPH_DBT_HOST": address.host,
        "SKYGRAPH_DBT_PORT": str(address.port),
        "SKYGRAPH_DBT_USER": address.user,
        "DBT_ENV_SECRET_SKYGRAPH_PASSWORD": address.password,
        "SKYGRAPH_DBT_SECURE": "true" if address.secure else "false",
        "SKYGRAPH_DBT_CLUSTER": cluster,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


@dataclass
class Transforms:
    """The dbt project of one workspace."""

    lake: Lake
    project: Path
    log_dir: Path
    keeps_runs: bool = True  # each run that makes or tests something is a row of skygraph.dbt_runs
    _compiled: dict[str, str] = field(default_factory=dict)
    _read: tuple[int, dict[str, Any]] = (0, {})

    # --- what there is

    def models(self) -> dict[str, Model]:
        """Every model of the project by name, from its files; the table and docs as dbt last parsed them.

        A model that dbt has not parsed yet is taken to land in the database named like its folder under `models/`.
        """
        manifest = self._manifest()
        parsed = {node["name"]: node for node in manifest.get("nodes", {}).values() if node.get("resource_type") == "model"}
        found = {}
        root = self.project / "models"
        for path in sorted(root.rglob("*.sql")):
            layer = path.relative_to(root).parts[0] if path.parent != root else "marts"
            node = parsed.get(path.stem)
            table = f"{node['schema']}.{node['alias']}" if node else f"{layer}.{path.stem}"
            text = " ".join(str(node.get("description") or "").split()) if node else ""
            columns = {c["name"]: str(c.get("description") or "") for c in (node.get("columns") or {}).values()} if node else {}
            found[path.stem] = Model(path.stem, table, text, str(path.relative_to(self.project)), layer, columns)
        return found

    def nodes(self) -> list[dict[str, Any]]:
        """Models and tests as dbt last parsed them: name, kind, layer, description."""
        manifest = self._manifest()
        models = [{"name": m.name, "kind": "model", "layer": m.layer, "description": m.description} for m in self.models().values()]
        tests = [
            {"name": node["name"], "kind": "test", "layer": (node.get("fqn") or ["", ""])[1], "description": node.get("description") or ""}
            for node in manifest.get("nodes", {}).values()
            if node.get("resource_type") == "test"
        ]
        return models + sorted(tests, key=lambda n: str(n["name"]))

    def parents(self, model: str) -> tuple[list[Model], list[str]]:
        """What a model reads, as dbt last parsed it: models, and tables of sources as `database.table`."""
        manifest, models = self._manifest(), self.models()
        nodes = {n["name"]: n for n in manifest.get("nodes", {}).values() if n.get("resource_type") == "model"}
        read = (nodes.get(model, {}).get("depends_on") or {}).get("nodes") or []
        sources = manifest.get("sources", {})
        return (
            [models[name] for unique in read if (name := str(unique).rsplit(".", 1)[-1]) in models and str(unique).startswith("model.")],
            [f"{s['schema']}.{s['identifier']}" for unique in read if (s := sources.get(unique))],
        )

    def upstream(self, model: str) -> tuple[list[Model], list[str]]:
        """Everything under a model, as `parents`: the nearest first, each once."""
        models: dict[str, Model] = {}
        tables: dict[str, None] = {}
        left = [model]
        while left:
            above, sources = self.parents(left.pop(0))
            tables.update(dict.fromkeys(sources))
            left += [m.name for m in above if m.name not in models]
            models.update((m.name, m) for m in above)
        return list(models.values()), list(tables)

    def source_docs(self) -> dict[str, tuple[str, dict[str, str]]]:
        """What the project's docs say of each source table and its columns, by `database.table`."""
        return {
            f"{s['schema']}.{s['identifier']}": (
                " ".join(str(s.get("description") or "").split()),
                {name: str(c.get("description") or "") for name, c in (s.get("columns") or {}).items()},
            )
            for s in self._manifest().get("sources", {}).values()
        }

    def built_at(self) -> float | None:
        """When a run or build last ended well with every model in it, in seconds of the epoch; None when never."""
        try:
            results = json.loads((self.project / "target/run_results.json").read_text(encoding="utf-8"))
            ended = (self.project / "target/run_results.json").stat().st_mtime
        except (OSError, ValueError):
            return None
        done = {r["unique_id"].rsplit(".", 1)[-1] for r in results["results"] if r["status"] in _GOOD}
        bad = any(r["status"] in (*_BAD, "skipped") for r in results["results"])
        return ended if not bad and set(self.models()) <= done else None

    def last_results(self) -> list[dict[str, Any]]:
        """What the nodes of dbt's last command came to; none when it never ran.

        Each has `name`, `kind` (model, test, ...), `status` in dbt's words, `seconds`, `failures`, `message`; `at` is when the
        command ended.
        """
        try:
            kept = json.loads((self.project / "target/run_results.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        names = self._manifest().get("nodes", {})
        return [
            {
                "name": names.get(r["unique_id"], {}).get("name") or r["unique_id"].split(".")[2], "kind": r["unique_id"].split(".")[0],
                "status": r["status"], "seconds": r.get("execution_time"), "failures": r.get("failures"),
                "message": " ".join(str(r.get("message") or "").split()), "at": kept["metadata"]["generated_at"],
            }
            for r in kept["results"]
        ]  # fmt: skip

    def changed_at(self) -> float:
        """When a file of the project last changed, in seconds of the epoch; 0 for an empty project."""
        own = (p for p in self.project.rglob("*") if p.is_file() and not {"target", "logs"} & set(p.relative_to(self.project).parts))
        return max((p.stat().st_mtime for p in own), default=0.0)

    def _manifest(self) -> dict[str, Any]:
        """What dbt last parsed; empty when it never did. Read again only when the file has changed."""
        path = self.project / "target/manifest.json"
        try:
            written = path.stat().st_mtime_ns
            if self._read[0] != written:
                self._read = (written, dict(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError):
            return {}
        return self._read[1]

    # --- runs

    def run(self, args: Sequence[str], *, listen: Callable[[Mapping[str, Any]], None] | None = None, show: bool = False) -> BuildReport:
        """Run a dbt command in this process: `["build"]`, `["run", "--select", "staging.stg_invoices"]`, `["ls"]` ...

        `listen` hears each node start and end: `{name, kind, status, seconds, message}`. With `show` dbt prints to stdout as
        in a terminal; without, it says nothing.

        Raises:
            UsageError: the words are not dbt's.
            TransformError: dbt could not run: no project, or one that does not parse.
            LakeUnavailable: the lake does not answer.
        """
        import time

        if not (self.project / "dbt_project.yml").exists():
            raise TransformError(f"there is no dbt project in {self.project}", hint="`skygraph init DIR` makes one")
        words = list(args)
        command = " ".join(words)
        verb = next((word for word in words if not word.startswith("-")), "")
        if verb not in _WITHOUT_LAKE and "--help" not in words:
            self.lake.ping()  # dbt would try for seconds, and say it in a page
        variables = environment(self.lake.address, self.lake.settings.cluster) | {"DBT_LOG_PATH": str(self.log_dir)}
        if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
            variables["DBT_USE_COLORS"] = "false"
        if not show:
            variables |= {"DBT_LOG_LEVEL": "none", "DBT_QUIET": "true"}
        for option in ("--project-dir", "--profiles-dir"):
            if option not in words and words and not words[-1].startswith("--help") and words[0] not in ("--version", "init"):
                words += [option, str(self.project)]
        finished: dict[str, NodeResult] = {}
        with _one_at_a_time, self._running(verb), _environ(variables):
            from dbt.adapters.clickhouse import dbclient
            from dbt.cli.exceptions import DbtUsageException
            from dbt.cli.main import cli, dbtRunner

            # it remembers by name alone, for the whole process, which databases there are: another lake may lack them
            dbclient._ensured_databases.clear()
            started = time.monotonic()
            result = dbtRunner(callbacks=[lambda event: _hear(event, listen, finished)]).invoke(words)
            seconds = time.monotonic() - started
        nodes, lines = self._results(result.result, finished)
        error = " ".join(str(result.exception).split()) if result.exception else ""
        logger().info("dbt ran", command=command, success=result.success, node_count=len(nodes), elapsed_s=round(seconds, 3),
                      error=error or None)  # fmt: skip
        report = BuildReport(command, bool(result.success), seconds, nodes, lines, error)
        if self.keeps_runs and verb in _BUILDS and not isinstance(result.exception, DbtUsageException):
            self._keep(report)
        if isinstance(result.exception, DbtUsageException):
            if verb and verb not in cli.commands:
                raise UnknownName("dbt verb", verb, cli.commands)
            raise UsageError(f"dbt {command}: {error.rstrip('.')}", hint=f"see `dbt {verb} --help`".replace("  ", " "))
        if result.exception is not None and not nodes:
            raise TransformError(f"dbt {command}: {error}", hint=f"see {self.log_dir / 'dbt.log'}")
        return report

    @contextmanager
    def _running(self, verb: str) -> Iterator[None]:
        """Let `building` see, from any process of this machine, that models are being built."""
        if verb not in ("run", "build", "seed", "snapshot"):
            yield
            return
        path = self.log_dir.parent / "lock" / "dbt"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    def building(self) -> str:
        """Who builds models right now, in words; '' when nobody does.

        A run of ours holds a lock. One of a plain terminal is seen by its statements, and between them by a model that is newer than dbt's
        last results and was made within the last seconds.
        """
        try:
            with open(self.log_dir.parent / "lock" / "dbt", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass
        except BlockingIOError:
            return "dbt builds the models now"
        if self.lake.scalar('select count() from system.processes where startsWith(query, \'/* {"app": "dbt"\')'):
            return "dbt builds the models now, in another program"
        try:
            ended = (self.project / "target/run_results.json").stat().st_mtime
        except OSError:
            return ""
        tables = [m.table for m in self.models().values()]
        found = self.lake.scalar(
            "select any(concat(database, '.', name)) from system.tables where concat(database, '.', name) in {tables:Array(String)}\n"
            "and engine like '%MergeTree' and toUnixTimestamp(metadata_modification_time) > {ended:Float64}\n"
            f"and metadata_modification_time > now() - {_SETTLES_S}",
            {"tables": tables, "ended": ended},
        )
        return f"dbt has just made {found} and not ended yet" if found else ""

    def _keep(self, report: BuildReport) -> None:
        """Write the row of a run; a lake that refuses costs the row and not the run."""
        ended = dt.datetime.now(dt.timezone.utc)
        started = ended - dt.timedelta(seconds=report.seconds)
        row = {
            "run_id": self._results_file().get("metadata", {}).get("invocation_id") or str(uuid.uuid4()), "command": report.command,
            "started_at": started.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3], "seconds": report.seconds, "success": report.success,
            "counts": report.counts(), "failed": [n.name for n in report.nodes if n.status in _BAD], "error": report.error[:2000],
            "_version": int(ended.timestamp() * 1e6),
        }  # fmt: skip
        try:
            if not self.lake.columns(RUNS_TABLE):
                self.lake.create_database("skygraph")
                ddl = create_replacing(RUNS_TABLE, _RUN_COLUMNS, key=["run_id"], version="_version", placement=self.lake.placement)
                self.lake.command(ddl, retry=True)
            self.lake.insert_stream(RUNS_TABLE, iter([json.dumps(row).encode() + b"\n"]), "JSONEachRow")
        except LakeError as failure:
            logger().warning("the row of a dbt run could not be kept", error=str(failure))

    def _results_file(self) -> dict[str, Any]:
        """What dbt wrote of its last command; empty when it never ran."""
        try:
            return dict(json.loads((self.project / "target/run_results.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def last_runs(self, *, limit: int = 20) -> list[DbtRun]:
        """The last commands that made or tested something, newest first; one of a plain terminal too, when it was the very last."""
        found = []
        if self.lake.columns(RUNS_TABLE):
            for row in self.lake.rows(
                "select run_id, command, started_at, seconds, success, mapKeys(counts) as kinds, mapValues(counts) as numbers, failed, "
                f"error from {RUNS_TABLE} order by started_at desc limit {{n:UInt32}}",
                {"n": limit},
            ):
                counts = dict(zip(row.pop("kinds"), row.pop("numbers"), strict=True))
                found.append(DbtRun(**{**row, "failed": tuple(row["failed"])}, counts=counts))
        told = self._results_file()
        outside = _outside(told) if told else None
        if outside is not None and outside.run_id not in {run.run_id for run in found}:
            found = sorted([*found, outside], key=lambda run: run.started_at, reverse=True)
        return found[:limit]

    def _results(self, result: Any, finished: Mapping[str, NodeResult]) -> tuple[tuple[NodeResult, ...], tuple[str, ...]]:
        if isinstance(result, list):
            return (), tuple(str(line) for line in result)
        nodes = []
        for item in getattr(result, "results", None) or []:
            node = getattr(item, "node", None)
            if node is None or not hasattr(item, "status"):
                continue
            name = str(node.name)
            if code := getattr(node, "compiled_code", None):
                self._compiled[name] = str(code)
            message = " ".join(str(item.message or "").split())
            nodes.append(NodeResult(name, str(node.resource_type), str(item.status), item.execution_time, message, item.failures))
        return tuple(nodes) or tuple(finished.values()), ()

    def failing_rows(self, test: str, *, limit: int = 100) -> dict[str, Any]:
        """The rows that make a test of the last run fail: `{sql, columns, rows}`, at most `limit` of them.

        Raises:
            UnknownName: no such test was run in this process; names the nearest.
        """
        if test not in self._compiled:
            raise UnknownName("test", test, self._compiled, hint=None if self._compiled else "run `dbt test` first")
        sql = self._compiled[test]
        found = self.lake.query(f"select * from (\n{sql}\n) limit {int(limit)}")
        return {"sql": sql, "columns": found.column_names, "rows": found.to_pylist()}

    def relations(self) -> dict[str, str]:
        """Model to quoted table, for the models whose table is in the lake."""
        here = self.lake.query("select database, name from system.tables where database not in ('system', 'raw', 'skygraph', 'eidolon')")
        tables = {f"{d}.{n}" for d, n in zip(*(here.column(i).to_pylist() for i in (0, 1)), strict=True)}
        return {m.name: ".".join(quote(part) for part in m.table.split(".", 1)) for m in self.models().values() if m.table in tables}


def _outside(told: Mapping[str, Any]) -> DbtRun | None:
    """What dbt's own file says of its last command; None for one that made and tested nothing."""
    try:
        verb, words = told["args"]["which"], str(told["args"].get("invocation_command", ""))
        if verb not in _BUILDS:
            return None
        counts: dict[str, int] = {}
        for r in told["results"]:
            name = f"{r['unique_id'].split('.')[0]} {r['status']}"
            counts[name] = counts.get(name, 0) + 1
        failed = tuple(r["unique_id"].split(".")[2] for r in told["results"] if r["status"] in _BAD)
        ended = dt.datetime.fromisoformat(told["metadata"]["generated_at"])
        started = ended - dt.timedelta(seconds=told["elapsed_time"])
        command = words.removeprefix("dbt ") if verb in words.split() else verb  # one of another program that called dbt
        ident, seconds = told["metadata"]["invocation_id"], told["elapsed_time"]
        return DbtRun(ident, command, started, seconds, not failed, counts, failed, is_outside=True)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None  # of a release of dbt that writes it otherwise


def _hear(event: Any, listen: Callable[[Mapping[str, Any]], None] | None, finished: dict[str, NodeResult]) -> None:
    """Turn dbt's events of a node's start and end into ours. Called from dbt's threads."""
    name = event.info.name
    if name not in ("NodeStart", "NodeFinished"):
        return
    info = event.data.node_info
    if name == "NodeStart":
        said = {"name": info.node_name, "kind": info.resource_type, "status": "started", "seconds": None, "message": ""}
    else:
        run = event.data.run_result
        message = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", run.message).split())
        node = NodeResult(info.node_name, info.resource_type, run.status, run.execution_time, message, run.num_failures or None)
        finished[info.unique_id] = node
        said = node.to_dict()
    if listen:
        listen(said)


@contextmanager
def _environ(variables: Mapping[str, str]) -> Iterator[None]:
    """These environment variables for as long as dbt runs: it reads its profile from nowhere else."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
