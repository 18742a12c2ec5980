"""The Workbench: one object that joins the parts. Each part is made on first use."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from workbench.answer import Answer, Block, Grid, Note
from workbench.errors import Busy, InvalidFiles, LakeError, LakeUnavailable, Problem, QueryError, SkyGraphError, UnknownName, UsageError
from workbench.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from workbench.catalog import Catalog, Lineage
    from workbench.eidolon import (
        Behind,
        Eidolon,
        Events,
        ExportReport,
        HistorySize,
        ObjectHistory,
        PruneReport,
        Snapshot,
        SnapshotList,
        Trace,
        TwinDiff,
    )
    from workbench.fork import Fork, Forks
    from workbench.health import Canary, CanaryReport, Health, HealthReport
    from workbench.health.checks import Status
    from workbench.hermes import Comparison, Hermes, LookbackAdvice, Proof, QuarantineList, SyncReport
    from workbench.hermes.biography import KeyLife
    from workbench.hermes.status import SyncStatus, TableStatus
    from workbench.hermes.tables import SyncPlan
    from workbench.inspection import Inspection, TableReport
    from workbench.lake import Lake
    from workbench.lake.backup import BackupReport, Backups, MoveReport, RestoreReport
    from workbench.lake.explain import ReadPlan
    from workbench.lake.merging import MergeReport
    from workbench.lake.meter import ErrorMeter
    from workbench.lake.price import Price, PriceList
    from workbench.lint import LintReport
    from workbench.ontology import LiveOntology, ObjectCard, ObjectSet, Ontology, OntologyList, Store, TypeDetail
    from workbench.ontology.answers import ReloadReport, TypeGraph
    from workbench.ontology.check import Finding
    from workbench.ontology.plan import OntologyPlan
    from workbench.ontology.schema import SchemaFiles
    from workbench.relations import Relation, Shelf
    from workbench.scheduling import JobHistory, JobList, JobRun, Runs
    from workbench.transforms import BuildReport, Transforms

__all__ = ["CheckReport", "Workbench"]

T = TypeVar("T")
Progress = Callable[[str, int, int], None]  # message, done, in all


def _quiet(message: str, done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class PricedResult(Answer):
    """Rows of a SELECT with what current rows were predicted to cost, and did."""

    rows: pa.Table
    price: Price

    def to_dict(self) -> Any:
        """All rows as objects, and the price."""
        from workbench.lake.types import to_rows

        return {"rows": to_rows(self.rows), "price": self.price.to_dict()}

    def blocks(self) -> Iterator[Block]:
        """The first hundred rows, then the price."""
        from workbench.lake.types import to_rows

        names = self.rows.column_names
        yield Grid(names, [[row[name] for name in names] for row in to_rows(self.rows.slice(0, 100))], empty="no rows")
        count = self.rows.num_rows
        yield Note(f"rows 1-100 of {count:,}, exact, current rows" if count > 100 else f"{count:,} row(s), current rows", "quiet")
        yield from self.price.blocks()


@dataclass(frozen=True)
class CheckReport(Answer):
    """What is wrong with the ontology's files, all of it."""

    problems: tuple[Problem, ...]
    types: int
    links: int
    not_built: tuple[str, ...] = ()
    notes: tuple[Problem, ...] = ()  # worth a look, but nothing fails for them

    @property
    def failed(self) -> bool:
        """Whether there is a problem."""
        return bool(self.problems)

    def to_dict(self) -> Any:
        """`problems` and `notes` by file and line, the counts of types and links, and models without a table yet."""
        return {"ok": not self.problems, "problems": [p.to_dict() for p in self.problems], "object_types": self.types,
                "link_types": self.links, "not_built": list(self.not_built), "notes": [p.to_dict() for p in self.notes]}  # fmt: skip

    def blocks(self) -> Iterator[Block]:
        """One line per problem."""
        for problem in self.problems:
            yield Note(str(problem), "bad")
        if self.problems:
            yield Note(f"{len(self.problems)} problem(s); the last good model stays in use", "bad")
        else:
            yield Note(f"the ontology is right: {self.types} object types, {self.links} link types", "good")
        for note in self.notes:
            yield Note(f"note: {note}", "quiet")
        if self.not_built:
            yield Note(f"not built yet, so columns were not checked: {', '.join(self.not_built)}; run `skygraph dbt run`", "quiet")


class Workbench:
    """A workspace with its lake, sources, models, ontology and history.

    Make it with `workbench.connect()`. Nothing is started or read until it is needed. `progress` hears of long work:
    message, steps done, steps in all.
    """

    def __init__(self, settings: Settings, *, progress: Progress | None = None) -> None:
        self.settings = settings
        self.progress: Progress = progress or _quiet
        self._starting = threading.Lock()
        self._syncing: dict[str, Hermes] = {}  # what `sync_unless_running` runs now, by table

    def __repr__(self) -> str:
        return f"<Workbench of {self.settings.workspace}>"

    # --- the parts

    @cached_property
    def lake(self) -> Lake:
        """The lake; an embedded one starts when it is first asked something."""
        return self._another_lake()

    def _another_lake(self) -> Lake:
        """A connection of its own to the lake."""
        from workbench.hermes import load_plan, readable_folders
        from workbench.lake import Lake

        try:
            readable = readable_folders(load_plan(self.settings.workspace), self.settings.workspace, self.settings.state_dir)
        except SkyGraphError:
            readable = []  # sync says what is wrong; the lake does not depend on it
        return Lake(self.settings, readable=readable)

    @property
    def hermes(self) -> Hermes:
        """The sync of this workspace, with its plan as the files say now."""
        from workbench.hermes import Hermes, load_plan

        # a scheduled run goes by the plan that it was scheduled by, whatever is being edited
        plan = load_plan(Path(os.environ.get("SKYGRAPH_PLAN") or self.settings.workspace))
        return Hermes(self.lake, plan, self.settings.workspace, self.settings.state_dir)

    @cached_property
    def transforms(self) -> Transforms:
        """The dbt project."""
        from workbench.transforms import Transforms

        return Transforms(self.lake, self.settings.workspace / "dbt", self.settings.state_dir / "log")

    @cached_property
    def live(self) -> LiveOntology:
        """The ontology's files and the model last loaded from them."""
        from workbench.ontology import LiveOntology

        folder, kept = self.settings.workspace / "ontology", self.settings.state_dir / "ontology.json"
        keep = self.settings.role != "viewer"
        return LiveOntology(folder, lambda: self.transforms.models(), kept, self._ontology_findings, keep=keep)

    @property
    def ontology(self) -> Ontology:
        """The current model: `OBJECT_TYPES`, `LINK_TYPES`.

        Raises:
            InvalidFiles: the files are wrong, and no good model was ever loaded.
        """
        return self.live.ontology

    @cached_property
    def eidolon(self) -> Eidolon:
        """The history of objects."""
        from workbench.eidolon import Eidolon

        return Eidolon(
            self.lake, lambda: self.live.ontology, self.transforms.relations, self.settings.state_dir,
            building=self.transforms.building, trace=self._trace, runs=self._runs_under,
            quiet=lambda: self.hermes.paused(),
        )  # fmt: skip

    def _trace(self, model: str) -> Trace | None:
        """The raw table whose rows are those of a model: one under it that has its name (without `dim_`, `fct_` ...) and one key column."""
        from workbench.eidolon import Trace

        try:
            tables = self.hermes.plan.tables
        except SkyGraphError:
            return None  # sync says what is wrong
        for table in self.transforms.upstream(model)[1]:
            name = table.partition(".")[2]
            job = tables.get(name)
            if job and table == job.raw and len(job.key) == 1 and name in (model, model.partition("_")[2]):
                return Trace(table, job.key[0], job.watermark)
        return None

    def _runs_under(self, model: str, since: dt.datetime, until: dt.datetime) -> list[Behind]:
        """The sync runs that wrote to raw tables under a model and ended after `since`, begun until `until`."""
        from workbench.eidolon import Behind
        from workbench.hermes.ledger import RUNS_TABLE

        names = [t.partition(".")[2] for t in self.transforms.upstream(model)[1] if t.startswith("raw.")]
        if not names or not self.lake.columns(RUNS_TABLE):
            return []
        exact = "%Y-%m-%d %H:%M:%S.%f"
        rows = self.lake.rows(
            f"select run_id, table, finished_at, inserted, deleted from {RUNS_TABLE} where table in {{names:Array(String)}}\n"
            "and inserted + deleted > 0 and finished_at >= parseDateTime64BestEffort({since:String}, 3, 'UTC')\n"
            "and started_at <= parseDateTime64BestEffort({until:String}, 3, 'UTC') order by finished_at desc limit 1000",
            {"names": names, "since": since.strftime(exact), "until": until.strftime(exact)},
        )
        return [Behind(r["run_id"], f"raw.{r['table']}", r["finished_at"], int(r["inserted"]), int(r["deleted"])) for r in rows]

    def stop(self) -> None:
        """End what other threads of this workbench read and sync now; their callers get an error or a report that says so."""
        for hermes in list(self._syncing.values()):
            hermes.stop()
        if "lake" in self.__dict__:
            with suppress(LakeUnavailable):  # then nothing runs there
                self.lake.stop_queries()

    def close(self) -> None:
        """Drop the connections and end what watches files; a lake that was started goes on running."""
        if "live" in self.__dict__:
            self.live.close()
        if "_shelf" in self.__dict__:
            self._shelf.close()
        if "lake" in self.__dict__:
            self.lake.close()

    # --- sync

    def sync(self, *tables: str, full: bool = False) -> SyncReport:
        """Sync these tables now, or all of `sync_jobs/`. Running it again is always safe.

        Raises:
            UnknownName: a table that is not in `sync_jobs/`.
            InvalidFiles: `sync_jobs/` is wrong.
            LakeUnavailable: the lake does not answer.
        """
        return self.hermes.sync(tables, full=full, progress=self.progress)

    def sync_unless_running(self, table: str, *, full: bool = False) -> SyncReport:
        """As `sync` of one table, for callers that do not wait behind a sync of it that runs already.

        Raises:
            Busy: it runs, here or in another process.
            UnknownName: a table that is not in `sync_jobs/`.
        """
        hermes = self.hermes
        with self._starting:
            if table in self._syncing or hermes.is_running(table):
                raise Busy(f"{table} is being synced already", hint="ask again when that has ended; `skygraph sync status` tells")
            self._syncing[table] = hermes
        try:
            return hermes.sync([table], full=full)
        finally:
            del self._syncing[table]

    def sync_status(self) -> SyncStatus:
        """Watermark, lag and last run of every table."""
        return self.hermes.status()

    def compare(self, *tables: str) -> Comparison:
        """Current rows against the sources: counts and checksums of both sides, table by table."""
        return self.hermes.compare(tables)

    def verify(self, table: str) -> Proof:
        """Replay the proof of a table's last run: the rows that it read, at the source now and in the lake now."""
        return self.hermes.verify(table)

    def backfill(self, table: str, start: str, end: str = "", *, chunks: int = 20) -> SyncReport:
        """Read the rows with start <= watermark < end again, in chunks; goes on where it stopped. The watermark stays."""
        return self.hermes.backfill(table, start, end, chunks=chunks, progress=self.progress)

    def rewind(self, table: str, to: str) -> SyncReport:
        """Move a table's watermark by hand; kept in `sync_runs`."""
        return self.hermes.rewind(table, to)

    def quarantine(self, *tables: str, limit: int = 100) -> QuarantineList:
        """Rows with a value that does not fit its column, newest first."""
        return self.hermes.quarantine(tables, limit=limit)

    def replay(self, *tables: str) -> SyncReport:
        """Cast the quarantined rows of these tables, or of all, again; those that fit now land."""
        return self.hermes.replay(tables, progress=self.progress)

    def lookback(self, *tables: str) -> LookbackAdvice:
        """How late rows have come, and the lookback that would have caught them."""
        return self.hermes.lookback(tables)

    # --- dbt

    def dbt(self, *args: str, show: bool = False, listen: Callable[[Mapping[str, Any]], None] | None = None) -> BuildReport:
        """Run a dbt command on this workspace: `bench.dbt("run", "--select", "staging.stg_invoices")`."""
        hear = listen
        if hear is None and not show:
            known = max(1, len(self.transforms.nodes()))
            ended = 0

            def hear(event: Mapping[str, Any]) -> None:
                nonlocal ended
                if event["status"] != "started":
                    ended += 1
                    self.progress(f"{event['name']}: {event['status']}", ended, max(known, ended))

        return self.transforms.run(args, listen=hear, show=show)

    # --- objects

    @property
    def store(self) -> Store:
        """Where objects are read: the current model over the tables that are in the lake."""
        from workbench.ontology import Store

        return Store(self.lake, self.ontology, self.transforms.relations(), past=self.eidolon.past)

    def objects(self, type_name: str) -> ObjectSet:
        """The objects of a type, lazy: `bench.objects("Customer").where(country="Brazil").linked("invoices")`.

        Raises:
            UnknownName: no such type; names the nearest.
        """
        return self.store.objects(type_name)

    def object(self, type_name: str, key: Any, *, as_of: Any = None) -> ObjectCard:
        """One object with its links; `as_of` a point as it was then (see `store_at`).

        Raises:
            UnknownName: no such type or key; names the nearest.
        """
        return self.store_at(as_of).object(type_name, key)

    def store_at(self, point: Any = None) -> Store:
        """Where objects are read as they were at a point: a snapshot by number, label or id, or a time; None or '' is now."""
        return self.store if point is None or point == "" else self.store.at_point(point)

    def links(self, type_name: str, key: Any, link: str, *, as_of: Any = None) -> ObjectSet:
        """The objects one hop away from one object."""
        store = self.store_at(as_of)
        store.object(type_name, key)  # an unknown key is an error, not an empty answer
        one = store.objects(type_name)
        return one.where(**{one.object_type.key: one.object_type.parse(one.object_type.key, key)}).linked(link)

    def ontology_list(self) -> OntologyList:
        """Every object type and link type."""
        from workbench.ontology import OntologyList

        return OntologyList(self.ontology, self.live.problems)

    def ontology_show(self, type_name: str) -> TypeDetail:
        """One object type with its properties and links."""
        from workbench.ontology import TypeDetail

        return TypeDetail(self.ontology, self.ontology.object_type(type_name))

    def ontology_graph(self) -> TypeGraph:
        """All object types and the links between them, as a picture."""
        from workbench.ontology.answers import TypeGraph

        return TypeGraph(self.ontology)

    def ontology_check(self) -> CheckReport:
        """Read the files and compare them with dbt's models and the lake: columns, types, expressions, keys.

        Keys are counted, so that the whole of each model is read. Changes nothing in use.
        """
        from workbench.ontology import check
        from workbench.ontology.load import load_with_origins

        models = self.transforms.models()
        try:
            ontology, origins = load_with_origins(self.settings.workspace / "ontology", models=models)
        except InvalidFiles as error:
            return CheckReport(error.problems, 0, 0)
        if not ontology.models:
            return CheckReport((), 0, 0)
        columns = check.columns_of(self.lake, {name: models[name].table for name in ontology.models})
        relations = self.transforms.relations()
        found = check.lake_findings(self.lake, ontology, columns)
        started = time.monotonic()

        def said(type: str, done: int) -> None:
            if time.monotonic() - started > 2:  # small ones are counted before anybody wonders
                self.progress(f"keys of {type}", done, len(ontology.object_types))

        counted = check.key_findings(self.lake, ontology, relations, columns, said)
        problems = check.problems_at([*found, *counted], origins)
        notes = check.problems_at(check.doc_findings(ontology, {name: m.columns for name, m in models.items()}), origins)
        missing = tuple(name for name in ontology.models if name not in columns)
        return CheckReport(tuple(problems), len(ontology.object_types), len(ontology.link_types), missing, tuple(notes))

    def ontology_plan(self) -> OntologyPlan:
        """What a reload would change in the model in use, what it would break, and what that touches. Changes nothing.

        Where the files are taken as they are saved, and nothing waits, it is what the last save changed.

        Raises:
            InvalidFiles: the files are wrong, so that there is nothing to take.
        """
        from workbench.ontology import check
        from workbench.ontology.load import load_with_origins
        from workbench.ontology.plan import plan, texts_of

        models = self.transforms.models()
        old, texts = self.live.in_use, texts_of(self.settings.workspace)
        new, _ = load_with_origins(self.settings.workspace / "ontology", models=models)
        found = plan(old, new, texts)
        if not found.items and (before := self.live.previous) is not None:
            old, found = before, plan(before, new, texts, is_applied=True)
        relations = self.transforms.relations() if found.items else {}
        return found.with_counts(
            check.object_counts(self.lake, old, relations, found.types), check.object_counts(self.lake, new, relations, found.types)
        )

    def ontology_reload(self) -> ReloadReport:
        """Read the files again, whole or not at all; says what changed.

        What the lake lacks is refused where the edit touched it; elsewhere it is reported, and the rest goes on.

        Raises:
            InvalidFiles: with every problem; the old model stays.
            LakeUnavailable: the lake, whose columns the files are compared with, does not answer.
        """
        self.lake.ping()
        try:
            return self.live.reload()
        except InvalidFiles as error:
            raise InvalidFiles("ontology", error.problems, hint="the last good model stays in use") from None

    def ontology_schema(self) -> SchemaFiles:
        """Write the JSON Schemas of the ontology's files to `ontology/schema/`, for editors that complete and check YAML."""
        from workbench.ontology.schema import write_schemas

        return write_schemas(self.settings.workspace / "ontology")

    def _ontology_findings(self, ontology: Ontology) -> list[Finding]:
        """What the lake has against a model; nothing when it is not running. Starts nothing."""
        from workbench.ontology import check

        if self.lake.embedded is not None and self.lake.embedded.address() is None:
            return []
        models = self.transforms.models()
        tables = {name: models[name].table for name in ontology.models if name in models}
        return check.lake_findings(self.lake, ontology, check.columns_of(self.lake, tables), self._expressions)

    @cached_property
    def _expressions(self) -> dict[str, list[str]]:
        """What the lake said of expressions, so that a reload asks only about new ones."""
        return {}

    @property
    def warning(self) -> str:
        """What people should know about the model that the last answers came from; '' when all is well."""
        if "live" not in self.__dict__ or not self.live.is_loaded:
            return ""
        if self.live.problems is not None:
            first, *more = self.live.problems.problems
            also = f" (and {len(more)} more, see `skygraph ontology check`)" if more else ""
            return f"the ontology's files are wrong, so the last good model is used: {first}{also}"
        if degraded := self.live.degraded:
            also = f" (and {len(degraded) - 1} more, see `skygraph ontology check`)" if len(degraded) > 1 else ""
            return f"a part of the ontology does not work: {degraded[0]}{also}"
        return ""

    # --- notebooks

    @cached_property
    def runs(self) -> Runs:
        """Runs of notebooks and their history."""
        from workbench.scheduling import Runs

        return Runs(self.lake, self.settings)

    def run(self, notebook: str, parameters: Mapping[str, Any] | None = None, *, timeout_s: float | None = None) -> JobRun:
        """Run a notebook, or a job of `sync_jobs/` by its name, with parameters, and wait for its end.

        A notebook is named from here, from the workspace, or from its `notebooks/`: `bench.run("jobs/sync.ipynb", {"mode": "full"})`.

        Raises:
            UsageError, UnknownName: no such notebook or parameter, or a value of another type.
        """
        from workbench.hermes import load_plan

        jobs = load_plan(self.settings.workspace).jobs
        if notebook in jobs:
            job = jobs[notebook]
            return self.runs.run(
                self._notebook(job.notebook), {**job.parameters, **(parameters or {})}, job=notebook, timeout_s=timeout_s or job.timeout_s,
                keep=job.keep, progress=self.progress,
            )  # fmt: skip
        return self.runs.run(self._notebook(notebook), parameters, timeout_s=timeout_s, progress=self.progress)

    def _notebook(self, name: str) -> Path:
        """The file of a notebook.

        Raises:
            UnknownName: there is none; names the nearest of the workspace and its jobs.
        """
        root = self.settings.workspace
        for folder in (Path(), root, root / "notebooks"):
            if (folder / name).is_file():
                return folder / name
        known = sorted(
            str(p.relative_to(root / "notebooks")) for p in (root / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts
        )
        with suppress(SkyGraphError):
            known += self.hermes.plan.jobs
        raise UnknownName("notebook", name, known)

    def tell(self, **facts: Any) -> None:
        """In a notebook that runs as a job: keep these facts as the `result` of its run. Elsewhere it does nothing.

        The result stands in `skygraph.job_runs` and in `jobs history --json`, also when a later cell fails. Facts of the same name replace
        those told before.
        """
        from workbench.scheduling.runs import tell

        tell(facts)

    def serve_jobs(self) -> None:
        """Be the scheduler of this workspace until SIGTERM: jobs and tables run when they are due.

        Raises:
            Busy: the scheduler of this workspace runs already.
        """
        from workbench.health.canary import canary_job
        from workbench.scheduling.scheduler import Scheduler

        job = canary_job(self.settings)
        Scheduler(self.lake, self.settings, own=[job] if job else []).serve()

    def jobs(self) -> JobList:
        """The jobs and timed tables of `sync_jobs/`: when each is due, what came of it last, what is late. Asks no lake."""
        from workbench.scheduling.scheduler import read_jobs

        return read_jobs(self.runs, self.settings.workspace, dt.datetime.now(dt.timezone.utc))

    def job_history(self, job: str = "", *, limit: int = 50) -> JobHistory:
        """Past runs of notebooks, the newest first."""
        return self.runs.history(job, limit=limit)

    # --- the catalog

    def catalog(self, text: str = "") -> Catalog:
        """Every raw, staging and mart table and object type, or those that fit all the words of `text`, best first."""
        from workbench.catalog import read_catalog

        plan, states = self._synced()
        return read_catalog(text, self.lake, self.transforms, self.ontology, plan, states)

    def lineage(self, type_name: str) -> Lineage:
        """Where the objects of a type come from: mart, models under it, raw tables with their watermarks.

        Raises:
            UnknownName: no such type; names the nearest.
        """
        from workbench.catalog import read_lineage, table_ages

        plan, states = self._synced()
        kind = self.ontology.object_type(type_name)
        return read_lineage(kind.name, kind.model, self.transforms, plan, states, table_ages(self.lake))

    def _synced(self) -> tuple[SyncPlan | None, Sequence[TableStatus]]:
        """The plan and where its tables stand; none of it when `sync_jobs/` is wrong, which sync says."""
        try:
            hermes = self.hermes
        except SkyGraphError:
            return None, ()
        return hermes.plan, hermes.status(counts=False).tables

    # --- the lake

    def sql(self, statement: str, *, raw: bool = False, parameters: Mapping[str, Any] | None = None, name: str = "") -> Relation:
        """A SELECT on the lake as a relation: over current rows, or with `raw` over all physical rows. It cannot write.

        It is lazy: the lake tells its columns now, and its rows when they are asked for. `{name:Type}` binds a value of `parameters`,
        `{name}` stands for a relation among them. `name` is what it is called where it is shown.

        Raises:
            UsageError: it is no single read, or a value is missing or does not fit its type.
            UnknownName: a table that is not there; names the nearest.
            QueryError: the lake refused it.
        """
        from workbench.relations import define

        self.lake.ping()  # so that the time is the statement's, not the lake's start
        said: Progress = lambda message, done, total: self.progress(message, done, total)  # noqa: E731 - whatever listens by then
        connect = self._another_lake
        return define(self.lake, statement, parameters or {}, shelf=self._shelf, raw=raw, name=name, progress=said, connect=connect)

    @cached_property
    def _shelf(self) -> Shelf:
        """The answers that are kept while somebody pages through them."""
        from workbench.relations import Shelf

        return Shelf(lambda: self.lake)

    def show_sql(self, statement: str, *, parameters: Mapping[str, Any] | None = None) -> ReadPlan:
        """How a SELECT over current rows is read: where FINAL is applied and by what, the same by hand, its price. Does not run it.

        Raises:
            UsageError, QueryError: as `sql`.
        """
        from workbench.lake.explain import read_plan

        return self._reading(statement, lambda: read_plan(self.lake, statement, parameters))

    def price(self, statement: str, *, parameters: Mapping[str, Any] | None = None) -> Price:
        """What current rows will cost a SELECT, beside raw ones, in milliseconds. Does not run it."""
        from workbench.lake.price import price

        return self._reading(statement, lambda: price(self.lake, statement, parameters))

    def priced_sql(self, statement: str, *, parameters: Mapping[str, Any] | None = None) -> PricedResult:
        """Run a SELECT over current rows; predicted and actual price are in the answer, and kept in `skygraph.final_prices`."""
        from workbench.lake.price import run_priced

        table, told = self._reading(statement, lambda: run_priced(self.lake, statement, parameters))
        return PricedResult(self.lake.meaning(table, statement, parameters), told)

    def prices(self, *, limit: int = 50) -> PriceList:
        """Statements that were priced and run, newest first, and how good the predictions were."""
        from workbench.lake.price import prices

        return prices(self.lake, limit=limit)

    def _reading(self, statement: str, read: Callable[[], T]) -> T:
        """Read, with the errors of a statement that is empty, names no table, or reads a view that spoils current rows."""
        from workbench.lake import reads_with
        from workbench.lake.explain import how_to_read
        from workbench.relations.relation import in_the_words_of_the_statement

        if not statement.strip(" \t\r\n;"):
            raise UsageError("the statement is empty", hint="write a SELECT")
        self.lake.ping()  # so that the time is the statement's, not the lake's start
        try:
            with reads_with(how_to_read(self.lake, statement)):
                return read()
        except QueryError as error:
            raise in_the_words_of_the_statement(error, self.lake) from None

    def lint(self, *paths: str | Path) -> LintReport:
        """Every place in `dbt/` and `notebooks/`, or in these files, that would read rows that are not current. Asks no lake."""
        from workbench.hermes.tables import load_plan
        from workbench.lint import lint

        with suppress(InvalidFiles):  # sync says what is wrong; every table of raw is a table of versions, planned or not
            keys = {job.raw: job.key for job in load_plan(self.settings.workspace).tables.values()}
            return lint(self.settings.workspace, keys, paths)
        return lint(self.settings.workspace, {}, paths)

    def meter(self, table: str, *aggregates: str, keep: bool = True) -> ErrorMeter:
        """Aggregates of a table over physical and over current rows, with earlier measurements; kept in `skygraph.error_meter`.

        Raises:
            UnknownName: there is no such table; names the nearest.
            UsageError: it keeps no versions, or an aggregate is not one expression.
        """
        from workbench.lake.meter import measure_error

        return measure_error(self.lake, self._table(table), aggregates, keep=keep)

    def optimize(self, table: str, *, step: bool = False) -> MergeReport:
        """Merge the versions of a table on the disk, wholly or with `step` by one merge; with progress, ended by an interrupt."""
        from workbench.lake.merging import optimize

        return optimize(self.lake, self._table(table), step=step, progress=self.progress)

    def inspect(self, table: str, *, key: str | None = None) -> TableReport | KeyLife:
        """What a table is made of, whole; or the life of one key: every version that is known, with its run and what changed.

        Raises:
            UnknownName: there is no such table, or no version of the key; names the nearest.
            UsageError: the key has another number of parts, or the table keeps no versions.
        """
        inspection = self._inspection(self._table(table))
        return inspection.report() if key is None else inspection.key(key)

    def _inspection(self, name: str) -> Inspection:
        from workbench.inspection import Inspection

        def status() -> TableStatus | None:
            _, states = self._synced() if name.startswith("raw.") else (None, ())
            return next((s for s in states if f"raw.{s.table}" == name), None)

        return Inspection(self.lake, name, status)

    def _table(self, name: str) -> str:
        """A table's full name: `invoices` is `raw.invoices`.

        Raises:
            UnknownName: there is no such table; names the nearest.
        """
        full = name if "." in name else f"raw.{name}"
        if not self.lake.columns(full):
            error = self.lake.unknown_table(full)
            if "." not in name and not error.nearest:
                raise UnknownName("table", name, [t.removeprefix("raw.") for t in self.lake.tables("raw")], hint=error.hint)
            raise error
        return full

    # --- the twin

    def snapshot(self, *types: str, label: str = "") -> Snapshot:
        """Remember how the objects of these types, or of all, look now."""
        return self.eidolon.take(types, label=label)

    def snapshots(self, limit: int = 1_000_000) -> SnapshotList:
        """The newest snapshots, oldest first."""
        return self.eidolon.list(limit)

    def events(self, bins: int = 0, since: Any = None, until: Any = None) -> Events:
        """How many objects and pairs were added, removed and changed, by type, in each snapshot; reads the snapshots' own rows only.

        With `bins`, in so many stretches of time of the same length, for a time slider. `since` and `until` are snapshots or times.
        """
        return self.eidolon.events(bins, since, until)

    def moments(self) -> list[dict[str, Any]]:
        """The snapshots as the moments of a bar of time, oldest first: `value` is the number, `label`, `count` of what changed."""
        return [
            {"value": str(s.seq), "label": s.label or f"{s.taken_at:%Y-%m-%d %H:%M}", "count": s.rows_added}
            for s in self.snapshots().snapshots
        ]

    def diff(
        self, a: str | int, b: str | int, *types: str, limit: int = 1_000, kinds: Sequence[str] = (), properties: Sequence[str] = ()
    ) -> TwinDiff:
        """What was added, removed and changed from snapshot `a` to `b`: labels, numbers, the beginning of an id, or times.

        The counts are of everything; `limit` is how many changes are listed. `kinds` (added, removed, changed) and `properties` (one of
        them changed) leave out others.
        """
        return self.eidolon.diff(a, b, types, limit=limit, kinds=kinds, properties=properties)

    def object_history(self, type_name: str, key: Any) -> ObjectHistory:
        """Every recorded version of one object."""
        return self.eidolon.show(type_name, key)

    def export_diff(
        self, a: str | int, b: str | int, *types: str, to: str | Path, kinds: Sequence[str] = (), properties: Sequence[str] = ()
    ) -> int:
        """Write every change from `a` to `b` to a .csv, .parquet, .jsonl or .arrow file, by the lake; the bytes written."""
        return self.eidolon.export_diff(a, b, types, path=Path(to), kinds=kinds, properties=properties)

    def prune_snapshots(self, keep: str = "", *, plan: bool = False) -> PruneReport:
        """Delete the snapshots that the rules do not keep (default: `SKYGRAPH_SNAPSHOTS_KEEP`), and what only they showed."""
        return self.eidolon.prune(keep or self.settings.snapshots_keep, plan=plan)

    def history_size(self) -> HistorySize:
        """What the history of objects weighs, by type."""
        return self.eidolon.size()

    def export_snapshot(self, snapshot: str | int, folder: str | Path) -> ExportReport:
        """Write a snapshot to a new folder, a Parquet file per type and link."""
        return self.eidolon.export(snapshot, Path(folder))

    def import_snapshot(self, folder: str | Path, *, label: str = "") -> Snapshot:
        """Bring an exported snapshot into this lake's history, as its newest."""
        return self.eidolon.import_(Path(folder), label=label, say=lambda part: self.progress(part, 0, 0))

    # --- what if

    @cached_property
    def forks(self) -> Forks:
        """The forks of this workspace."""
        from workbench.fork import Forks

        return Forks(self.lake, self.transforms, lambda: self.live.ontology, self.settings.state_dir / "forks")

    def fork(self, name: str) -> Fork:
        """A branch of the lake's state to try something in: the one of this name, or a new one of the base as it is now.

        `fork.edit` and `fork.keep` change its rows, `fork.build()` makes its marts, `fork.diff()` compares, `fork.drop()` ends it.
        """
        return self.forks.open(name)

    # --- backups

    @property
    def backups(self) -> Backups:
        """The backups of this workspace's lake."""
        from workbench.lake.backup import Backups

        return Backups(self.lake, self.settings.workspace, self.settings.state_dir / "backups", disk=self.settings.backup_disk)

    @property
    def _databases(self) -> list[str]:
        """The databases of this workspace, those that nothing is made from last."""
        own = dict.fromkeys(["raw", "staging", "marts"])
        return [*own, *sorted({m.table.partition(".")[0] for m in self.transforms.models().values()} - {*own}), "eidolon", "skygraph"]

    def backup(self, into: str | Path = "", *, keep: int = 0) -> BackupReport:
        """Write a backup of the lake and of the workspace's files into a folder (default: `.skygraph/backups/`).

        Syncs and snapshots wait meanwhile, so that rows and watermarks are of one moment. With `keep`, all but the newest so many of
        that folder are deleted afterwards.

        Raises:
            UsageError: the lake is a server without a disk for backups, or empty.
            LakeError: it could not be written; older backups are as they were.
        """
        self.lake.ping()
        with self.eidolon.paused(), self.hermes.paused():  # in the order in which a snapshot takes them
            return self.backups.make(Path(into) if into else None, self._databases, keep=keep, progress=self.progress)

    def restore(self, backup: str = "", *, replace: bool = False) -> RestoreReport:
        """Bring a backup back: a folder, the name of one in `.skygraph/backups/`, or the newest there. See `Backups.restore`."""
        found = self.backups
        found.find(backup)  # before a lake is started
        self.lake.ping()
        with self.eidolon.paused(), self.hermes.paused():  # in the order in which a snapshot takes them
            return found.restore(backup, replace=replace, progress=self.progress)

    def move(self, url: str, *, replace: bool = False) -> MoveReport:
        """Copy the whole lake to a server, `http(s)://user:password@host:port`; each table proved equal. See `lake.backup.move`."""
        from workbench.lake import Lake
        from workbench.lake.backup import move

        settings = Settings.load(self.settings.workspace, clickhouse_url=url)
        self.lake.ping()
        target = Lake(settings)
        try:
            with self.eidolon.paused(), self.hermes.paused():  # in the order in which a snapshot takes them
                return move(self.lake, target, self._databases, replace=replace, progress=self.progress)
        finally:
            target.close()

    # --- health

    @cached_property
    def _checks(self) -> Health:
        """The checks of health; they keep for a while what sources answered."""
        from workbench.health import Health

        def snapshot_at() -> dt.datetime | None:
            taken = self.snapshots().snapshots
            return taken[-1].taken_at if taken else None

        def backup_at() -> dt.datetime | None:
            made = self.backups.all().backups
            return made[-1].made_at if made else None

        return Health(
            self.settings, self.lake, self.transforms, self._canary, hermes=lambda: self.hermes, jobs=self.jobs, snapshot_at=snapshot_at,
            ontology=self._ontology_health, backup_at=backup_at,
        )  # fmt: skip

    def health(self) -> HealthReport:
        """Look at every part now. Starts nothing: a lake that does not run is down."""
        return self._checks.look()

    @cached_property
    def _canary(self) -> Canary:
        """The synthetic row of this workspace."""
        from workbench.health import Canary

        return Canary(self.lake, self.settings)

    def canary(self) -> CanaryReport:
        """Send a synthetic row from a source of its own through sync, dbt and ontology to the API, and time each hop.

        Raises:
            LakeUnavailable: there is no way at all.
        """
        return self._canary.send(self.progress)

    def canary_object(self) -> dict[str, Any]:
        """The canary's object as it is now: `id`, `token`, `sent_at`. Raises UnknownName before the first was sent."""
        return self._canary.read()

    def _ontology_health(self) -> tuple[Status, str]:
        from workbench.ontology.check import problems_at

        ontology = self.ontology
        if self.live.problems is not None:
            raise self.live.problems
        detail, status = f"{len(ontology.object_types)} object types, {len(ontology.link_types)} link types", "ok"
        try:
            if self.lake.embedded is not None and self.lake.embedded.address() is None:
                raise LakeUnavailable("the embedded lake does not run")
            found = problems_at(self._ontology_findings(ontology), self.live.origins)
            missing = self._models_without_table(ontology)
        except LakeError:  # the lake's own line says so
            return "unknown", f"{detail}; without the lake nobody can say what they have"
        if missing:
            detail, status = f"{detail}; no table in the lake yet: {', '.join(missing)} (run `skygraph dbt run`)", "unknown"
        if found:
            detail, status = f"{detail}; {len(found)} degraded: {found[0]}" + (" ..." if len(found) > 1 else ""), "late"
        return cast("Status", status), detail

    def _models_without_table(self, ontology: Ontology) -> list[str]:
        """The models of types and links that cannot be read now; none when the lake is not running. Starts nothing."""
        if self.lake.embedded is not None and self.lake.embedded.address() is None:
            return []
        known = self.transforms.relations()
        return [name for name in ontology.models if name not in known]

    # --- widgets

    def explorer(self, text: str = "") -> Any:
        """Browse objects, open one, follow its links: a widget.

        `text` is the set to begin with, such as `Customer[country=Brazil]/invoices`; a mistake in it is said in the widget.
        """
        from workbench.browse import Browse
        from workbench.widgets import Explorer

        browse = Browse(
            lambda: self.store, lambda: self.live.problems, lake=self._another_lake, lineage=lambda type: self.lineage(type).to_dict()
        )
        return Explorer(browse, text, watch=self._watch_model)

    def _watch_model(self, tell: Callable[[str], None]) -> Callable[[], None]:
        """Tell what changed with each save of the ontology's files, from now on; ends by what it returns."""
        from workbench.browse import changes_text

        with suppress(InvalidFiles):  # the widget says so
            _ = self.live.ontology
        known = self.live.in_use

        def heard() -> None:
            nonlocal known
            before, known = known, self.live.in_use
            tell(changes_text(before, known))

        self.live.watch()
        return self.live.subscribe(heard)

    def sync_panel(self) -> Any:
        """Watermarks, lag and the last runs of every table; run and stop, with progress: a widget."""
        from workbench.widgets import SyncPanel

        going: list[Hermes] = []

        def run(tables: list[str], progress: Progress) -> Mapping[str, Any]:
            hermes = self.hermes
            going.append(hermes)
            try:
                report = hermes.sync(tables, progress=progress)
            finally:
                going.remove(hermes)
            return {"rows": [r.to_dict() for r in report.runs]}

        def stop() -> None:
            for hermes in list(going):
                hermes.stop()

        return SyncPanel(lambda: [t.to_dict() for t in self.sync_status().tables], run, stop)

    def jobs_panel(self) -> Any:
        """Every job with its state, next time and a line of its last runs; a click on a run shows its output: a widget."""
        from workbench.health.canary import canary_job
        from workbench.widgets import JobsPanel

        own = canary_job(self.settings)

        def jobs() -> Mapping[str, Any]:
            found, lines = self.jobs().to_dict(), self.runs.lines()
            rows = [{**job, "runs": lines.pop(job["job"], [])} for job in found["jobs"]]
            by_hand = [
                {"job": name, "notebook": "", "when": "", "parameters": {}, "state": runs[0]["status"], "next_due": None, "error": "",
                 "runs": runs}
                for name, runs in sorted(lines.items()) if " " not in name and not (own and name == own.name)
            ]  # fmt: skip
            return {"jobs": [*rows, *by_hand], "scheduler": found["scheduler"]}

        return JobsPanel(jobs, lambda job: self.job_history(job, limit=10_000).to_dict(), self.runs.page)

    def dbt_panel(self) -> Any:
        """Run and test models, each node's state live, failing rows on a click: a widget."""
        from workbench.widgets import DbtPanel

        def run(verb: str, select: str, progress: Callable[[Mapping[str, Any]], None]) -> Mapping[str, Any]:
            chosen = select.split()
            if bad := [word for word in chosen if word.startswith("-")]:
                raise UsageError(f"{bad[0]!r} is an option of dbt, not a selection", hint="write model names, `+name`, `tag:name`")
            words = [verb, *(["--select", *chosen] if chosen else [])]
            report = self.transforms.run(words, listen=progress)
            return {"success": report.success, "nodes": [n.to_dict() for n in report.nodes]}

        return DbtPanel(self.transforms.nodes, run, self.transforms.failing_rows)

    def inspector(self, table: str, *, key: str = "") -> Any:
        """Look into a table: rows, keys and their lives, parts and merges as they go on, columns, sync: a widget.

        With `key` it begins with the life of that key.
        """
        from workbench.widgets import Inspector

        return Inspector(self._inspection(self._table(table)), key=key)

    def board(self, title: str, *, reads: Sequence[str] = (), every_s: float = 60) -> Any:
        """A dashboard to fill with tiles, charts and tables: a widget. docs/dashboards.md tells how.

        `reads` names the marts that it shows, so that its stamp tells how old the oldest data behind them is; of all tables when none is
        named. While somebody looks, it is read again each `every_s` seconds.
        """
        from workbench.catalog import read_freshness
        from workbench.widgets import Board

        def stamp() -> Mapping[str, Any]:
            return read_freshness(reads, self.lake, self.transforms, *self._synced())

        return Board(title, self.lake.rows, stamp, every_s=every_s)

    def twin(self, text: str = "", *, at: str = "", against: str = "") -> Any:
        """Objects as they were at any snapshot, on a bar of time that plays; two times side by side; what changed: a widget.

        `text` is the set to begin with, as for `explorer`; `at` and `against` are labels or numbers of snapshots.
        """
        from workbench.times import Times
        from workbench.widgets import Twin

        return Twin(Times(self.eidolon, self._another_lake), text, at=at, against=against)
