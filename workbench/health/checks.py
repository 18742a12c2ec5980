"""What works now: every part looked at, with what was found, when, how old it is, and what to do.

`ok` is only said of what was seen working. What was never seen is `unknown`; what works but is behind its time is `late`; what was seen
failing is `down`.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.answer import Answer, Block, Note
from workbench.errors import LakeUnavailable, QueryError, SkyGraphError, UnknownName
from workbench.health.canary import Canary, canary_every_s
from workbench.hermes.connector import find_connector
from workbench.hermes.status import SyncStatus, TableStatus, duration
from workbench.lake import as_it_runs
from workbench.services import Services

if TYPE_CHECKING:
    from workbench.hermes import Hermes
    from workbench.hermes.tables import Source, SyncPlan
    from workbench.lake import Lake
    from workbench.scheduling import JobList
    from workbench.settings import Settings
    from workbench.transforms import DbtRun, Transforms

__all__ = ["Health", "HealthReport", "Status"]

Status = Literal["ok", "late", "unknown", "down"]
_WORST: Mapping[str, int] = {"ok": 0, "unknown": 1, "late": 2, "down": 3}

_PROBE_S = 3.0  # for a source to answer
_PROBE_KEPT_S = 60.0  # one that answered is not asked again before
_PROBED = ("sqlite", "postgres", "mysql", "clickhouse", "file")  # to describe a table of these is quick; of others it may be to read them
_UNBUILT_S = 900.0  # rows that wait longer than this for dbt are late
_MERGE_S = 3600
_PARTS = 300
_DISK_LATE, _DISK_DOWN = 2e9, 2e8  # bytes free
_NOT_GRANTED = 497
_SELECTS = {"--select", "-s", "--models", "-m", "--exclude", "--selector"}


@dataclass(frozen=True)
class HealthReport(Answer):
    """What was looked at: a row per part.

    Each has `part`, `status`, `ok` (whether that is ok), `detail`, `age_s` where age means something, and `checked_at`.
    """

    parts: tuple[Mapping[str, Any], ...]

    @property
    def failed(self) -> bool:
        """Whether any part is down."""
        return any(p["status"] == "down" for p in self.parts)

    @property
    def status(self) -> str:
        """The worst of all parts: down, late, unknown, or ok when every single one was seen working."""
        return max((p["status"] for p in self.parts), key=lambda s: _WORST[s], default="unknown")

    def to_dict(self) -> Any:
        """`ok` (nothing is down), `status` (the worst), the parts."""
        return {"ok": not self.failed, "status": self.status, "parts": [dict(p) for p in self.parts]}

    def blocks(self) -> Iterator[Block]:
        """One line per part; tables and sources that are well are counted in the lines before them."""
        tones: Mapping[str, Any] = {"ok": "good", "late": "plain", "unknown": "quiet", "down": "bad"}
        for p in self.parts:
            if p["status"] == "ok" and p["part"].startswith(("table ", "source ")):
                continue
            age = f" ({duration(p['age_s'])} ago)" if p.get("age_s") is not None else ""
            word = "DOWN" if p["status"] == "down" else p["status"]
            yield Note(f"{word:<7}  {p['part']}: {p['detail']}{age}", tones[p["status"]])

    @classmethod
    def hung(cls, age_s: float | None) -> HealthReport:
        """The report of a look that does not come to its end."""
        seen = f"the last look ended {duration(age_s)} ago" if age_s is not None else "no look has ended yet"
        return cls((_part("health", "down", f"the checks hang: {seen}; see `skygraph logs`"),))


def _part(name: str, status: Status, detail: str, age_s: float | None = None, checked_at: dt.datetime | None = None) -> dict[str, Any]:
    return {
        "part": name, "ok": status == "ok", "status": status, "detail": " ".join(detail.split()), "age_s": age_s,
        "checked_at": checked_at or _now(),
    }  # fmt: skip


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


Found = tuple[Status, str, float | None]
Parts = Iterable[dict[str, Any]]


@dataclass
class Health:
    """Looks at one workspace. Keep it for many looks: what sources answered is kept for a minute.

    `hermes`, `jobs`, `snapshot_at` (when the last one was taken) and `ontology` are asked at each look.
    """

    settings: Settings
    lake: Lake
    transforms: Transforms
    canary: Canary
    hermes: Callable[[], Hermes]
    jobs: Callable[[], JobList]
    snapshot_at: Callable[[], dt.datetime | None]
    ontology: Callable[[], tuple[Status, str]]
    backup_at: Callable[[], dt.datetime | None]

    def __post_init__(self) -> None:
        self._probes: dict[str, tuple[float, dict[str, Any]]] = {}
        self._asking: dict[str, tuple[threading.Thread, dict[str, Any]]] = {}  # by source; one that hangs is not asked a second time

    def look(self) -> HealthReport:
        """Look at everything now. Starts nothing: a lake that does not run is down. Takes seconds at most, whatever hangs."""
        with as_it_runs():
            return HealthReport(tuple(self._parts()))

    def _parts(self) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        services = ThreadPoolExecutor(1, thread_name_prefix="health")
        try:
            asked = services.submit(self._services)  # they wait for each other's answers; the lake's checks need not
            lake = self._one("clickhouse", self._lake)
            parts.append(lake)
            up = lake["status"] != "down"
            parts.append(self._one("ontology", lambda: (*self.ontology(), None)))
            parts += self._group("sync", lambda: self._sync(up))
            if up:
                parts.append(self._one("dbt", self._dbt))
                parts.append(self._one("snapshots", self._snapshots))
                parts.append(self._one("canary", self._canary))
            parts.append(self._one("backup", self._backup))
            parts.append(self._one("disk", self._disk))
            parts += self._group("services", asked.result)
        finally:
            services.shutdown(wait=False)
        return parts

    def _one(self, name: str, look: Callable[[], Found]) -> dict[str, Any]:
        try:
            return _part(name, *look())
        except SkyGraphError as error:
            return self._failed(name, error)

    def _group(self, name: str, look: Callable[[], Parts]) -> list[dict[str, Any]]:
        try:
            return list(look())
        except SkyGraphError as error:
            return [self._failed(name, error)]

    def _failed(self, name: str, error: SkyGraphError) -> dict[str, Any]:
        if isinstance(error, QueryError) and error.code == _NOT_GRANTED:
            return _part(name, "unknown", "this read-only view may not look at it")
        return _part(name, "down", str(error))

    # --- the lake

    def _lake(self) -> Found:
        embedded = self.lake.embedded
        if embedded is not None and embedded.address() is None:
            raise LakeUnavailable("the embedded lake does not run", hint="`skygraph up` starts it")
        detail = f"ClickHouse {self.lake.ping()} at {self.lake.address.url}"
        try:
            found = self.lake.rows(
                "select (select min(free_space) from system.disks) as free,\n"
                "(select count() from system.replicas where is_readonly) as read_only,\n"
                f"(select count() from system.merges where elapsed > {_MERGE_S}) as long_merges,\n"
                "(select max(n) from (select count() as n from system.parts where active group by database, table, partition)) as parts,\n"
                "(select count() from system.mutations where not is_done and latest_fail_reason != '') as stuck",
                settings={"max_execution_time": 3},
            )[0]
        except QueryError:  # a user of a server may not see them all
            return "ok", detail, None
        said: list[tuple[Status, str]] = []
        if (free := int(found["free"] or 0)) < _DISK_LATE:
            low: Status = "down" if free < _DISK_DOWN else "late"
            said.append((low, f"{free / 1e9:.1f} GB free on its disk: free some space"))
        if found["read_only"]:
            said.append(("down", f"{found['read_only']} table(s) are read-only: see system.replicas"))
        if found["long_merges"]:
            said.append(("late", f"{found['long_merges']} merge(s) run for more than an hour: see system.merges"))
        if (found["parts"] or 0) > _PARTS:
            said.append(("late", f"{found['parts']} parts in one partition: inserts are too small or merges behind"))
        if found["stuck"]:
            said.append(("late", f"{found['stuck']} mutation(s) fail: see system.mutations"))
        worst: Status = max((s for s, _ in said), key=lambda s: _WORST[s], default="ok")
        return worst, "; ".join([detail, *(text for _, text in said)]), None

    # --- sync

    def _sync(self, up: bool) -> Parts:
        hermes = self.hermes()
        sources = self._sources(hermes, hermes.plan)
        if not up:
            yield from sources
            return
        status: SyncStatus = hermes.status(counts=False)
        tables = [_table(t) for t in status.tables]
        lags = [t.lag_s for t in status.tables if t.lag_s is not None]
        never, failed = len(status.tables) - len(lags), sum(p["status"] == "down" for p in tables)
        detail = f"{len(lags)} of {len(status.tables)} tables synced" + (f", {never} never" if never else "")
        if failed:
            first = next(t for t in status.tables if t.last_status == "failed")
            detail = f"{failed} table(s) failed last time, {first.table}: {first.error}"
        elif late := sum(p["status"] == "late" for p in tables):
            detail += f", {late} late: does the scheduler run? `skygraph up`, or `skygraph sync`"
        worst: Status = max((p["status"] for p in tables), key=lambda s: _WORST[s], default="unknown")
        yield _part("sync", worst, detail, max(lags, default=None))
        yield from tables
        yield from sources

    def _sources(self, hermes: Hermes, plan: SyncPlan) -> list[dict[str, Any]]:
        """A quick look at each source, several at a time; one that hangs costs its time and no more."""
        waiting: list[tuple[Source, dict[str, Any], threading.Thread]] = []
        found: dict[str, dict[str, Any]] = {}
        for source in plan.sources.values():
            kept = self._probes.get(source.name)
            if kept and time.monotonic() - kept[0] < _PROBE_KEPT_S and kept[1]["status"] == "ok":
                found[source.name] = kept[1]
                continue
            thread, answer = self._asking.get(source.name) or (None, {})
            if thread is None or not thread.is_alive():
                answer = {}
                thread = threading.Thread(target=copy_context().run, args=(_probe, source, hermes, answer), daemon=True)
                thread.start()
                self._asking[source.name] = thread, answer
            waiting.append((source, answer, thread))
        deadline = time.monotonic() + _PROBE_S
        for source, answer, thread in waiting:
            thread.join(max(0.0, deadline - time.monotonic()))
            name = f"source {source.name}"
            part = _part(name, *answer.get("found", ("down", f"it does not answer within {_PROBE_S:.0f} s")))
            found[source.name] = part
            self._probes[source.name] = (time.monotonic(), part)
        return [found[name] for name in plan.sources]

    # --- what is made of it

    def _dbt(self) -> Found:
        runs = self.transforms.last_runs()
        if not (self.transforms.project / "dbt_project.yml").is_file():
            return "unknown", "there is no dbt project", None
        if not runs:
            return "unknown", "dbt was never run here: `skygraph dbt build`", None
        last = runs[0]
        age = (_now() - last.ended_at).total_seconds()
        counts = ", ".join(f"{n} {kind}" for kind, n in sorted(last.counts.items()))
        where = " in a plain terminal" if last.is_outside else ""
        if not last.success:
            names = ", ".join(last.failed[:3]) + (" ..." if len(last.failed) > 3 else "")
            return "down", f"the last `dbt {last.command}`{where} failed: {names or last.error}; `skygraph dbt build` says why", age
        models = len(self.transforms.models())
        built = next((r for r in runs if r.success and r.verb in ("run", "build") and _is_whole(r, models)), None)
        detail = f"`dbt {last.command}`{where}: {counts}"
        since = self._unbuilt_since(built.started_at if built else None)
        if since is None:
            return "ok", detail, age
        waits = (_now() - since).total_seconds()
        detail += f"; rows that came {duration(waits)} ago are not built yet"
        return ("late", f"{detail}: `skygraph dbt build`", age) if waits > _UNBUILT_S else ("ok", detail, age)

    def _unbuilt_since(self, built_at: dt.datetime | None) -> dt.datetime | None:
        """When the first rows came that dbt has not read; None when there are none."""
        with suppress(QueryError, SkyGraphError):
            tables = list(self.hermes().plan.tables)
            found = self.lake.rows(
                "select min(finished_at) as at, count() as n from skygraph.sync_runs "
                "where status = 'ok' and inserted + deleted > 0 and has({t:Array(String)}, table) "
                "and finished_at > {at:DateTime64(3, 'UTC')}",
                {"t": tables, "at": built_at or dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)},
            )[0]
            return found["at"] if found["n"] else None
        return None

    def _snapshots(self) -> Found:
        at = self.snapshot_at()
        if at is None:
            return "unknown", "no snapshot was taken yet: `skygraph snapshot take`", None
        return "ok", "the last snapshot was taken", (_now() - at).total_seconds()

    def _canary(self) -> Found:
        flights = self.canary.last(limit=1)
        if not flights:
            return "unknown", "no canary was sent yet: `skygraph canary` sends one", None
        last = flights[0]
        age = (_now() - last.sent_at).total_seconds()
        if last.failed:
            return "down", f"lost at {last.failed_hop}: {last.error}", age
        slowest = f"slowest hop {last.slowest} {last.hops[last.slowest]:.1f} s" if last.hops else ""
        if last.status == "short":
            return "unknown", f"it came as far as the ontology in {last.seconds:.1f} s ({slowest}); the API did not run", age
        detail = f"all the way in {last.seconds:.1f} s, {slowest}"
        every = canary_every_s(self.settings)
        if every is not None and age > 2 * every:
            return "late", f"{detail}; one is due every {duration(every)}: does the scheduler run?", age
        return "ok", detail, age

    def _backup(self) -> Found:
        at = self.backup_at()
        if at is None:
            return "unknown", "no backup was made yet: `skygraph backup`", None
        return "ok", "the last backup was made", (_now() - at).total_seconds()

    def _disk(self) -> Found:
        state = self.settings.state_dir
        place = state if state.exists() else self.settings.workspace
        usage = shutil.disk_usage(place)
        detail = f"{usage.free / 1e9:,.1f} GB of {usage.total / 1e9:,.0f} GB free under the workspace"
        if usage.free < _DISK_DOWN:
            return "down", f"{detail}: free some space", None
        return ("late", f"{detail}: free some space", None) if usage.free < _DISK_LATE else ("ok", detail, None)

    # --- processes

    def _services(self) -> list[dict[str, Any]]:
        """API, scheduler, JupyterLab and dashboards, each asked just now."""
        parts = []
        for s in Services(self.settings).states():
            if s.name == "clickhouse":
                continue
            age = (_now() - s.since).total_seconds() if s.since else None
            folder = {"skygraph-api": "api", "skygraph-sync": "scheduler"}.get(s.name, s.name)
            left = self.settings.state_dir / folder / "server.json"  # gone after an orderly end
            if s.status == "ready":
                part = self._one(s.name, self._scheduler) if s.name == "skygraph-sync" else _part(s.name, "ok", f"answers at {s.url}", age)
            elif s.status == "starting":
                part = _part(s.name, "late", f"is starting {s.note}")
            elif s.status == "stopped" and not left.exists():
                part = _part(s.name, "unknown", f"does not run; `skygraph up {s.service}` starts it")
            else:
                said = s.note or ("it ended without a word: killed?" if s.status == "stopped" else "")
                part = _part(s.name, "down", f"{s.status}: {said}; `skygraph logs {s.service}` tells more")
            parts.append(part)
        return parts

    def _scheduler(self) -> Found:
        told = _read(self.settings.state_dir / "scheduler/state.json")
        with suppress(KeyError, ValueError, TypeError):
            age = (_now() - dt.datetime.fromisoformat(told["tick_at"])).total_seconds()
            if told.get("problems"):
                return "late", f"an edit of sync_jobs/ was not taken: {told['problems'][0]}", age
            jobs = self.jobs().jobs
            late = [j.name for j in jobs if j.state in ("late", "failing")]
            detail = f"{len(jobs)} jobs, {told.get('running', 0)} running"
            return ("late", f"{detail}, late or failing: {', '.join(late[:5])}; see `skygraph jobs`", age) if late else ("ok", detail, age)
        return "unknown", "it runs, and has not looked yet", None


def _is_whole(run: DbtRun, models: int) -> bool:
    """Whether a dbt command made every model and not a selection."""
    return run.counts.get("model success", 0) >= models or (not run.is_outside and not set(run.command.split()) & _SELECTS)


def _table(t: TableStatus) -> dict[str, Any]:
    name = f"table {t.table}"
    if t.last_status == "failed":
        return _part(name, "down", f"its last run failed: {t.error}", t.lag_s)
    if t.lag_s is None:
        return _part(name, "unknown", f"was never synced: `skygraph sync {t.table}`")
    if t.every_s is not None and t.lag_s > 2 * t.every_s:
        return _part(name, "late", f"is synced every {duration(t.every_s)}: `skygraph sync {t.table}`", t.lag_s)
    return _part(name, "ok", f"last run {t.last_status}", t.lag_s)


def _probe(source: Source, hermes: Hermes, answer: dict[str, Any]) -> None:
    """Describe a table of the source: it answers, lets us in, and has the table."""
    if source.connector not in _PROBED:
        answer["found"] = ("unknown", f"{source.connector} is asked only when it is synced: its tables tell how that went", None)
        return
    job = next((j for j in hermes.plan.tables.values() if j.source == source.name), None)
    if job is None:
        answer["found"] = ("unknown", "no table is taken from it", None)
        return
    made = source.options.get("sample") and not (hermes.workspace / str(source.options.get("path"))).exists()
    if made:
        answer["found"] = ("unknown", "its sample is made when it is first synced", None)
        return
    try:
        kind = find_connector(source.connector)
        connector = kind(kind.options_class(**source.resolved()), workspace=hermes.workspace, lake=hermes.lake)
        try:
            connector.describe(job.from_, key=job.key, options=kind.table_options_class(**job.options))
        finally:
            connector.close()
        answer["found"] = ("ok", f"answers ({source.connector})", None)
    except UnknownName as error:
        answer["found"] = ("down", f"it answers, but: {error}", None)
    except SkyGraphError as error:
        answer["found"] = ("down", str(error), None)
    except Exception as error:  # a library of a source may raise anything
        answer["found"] = ("down", f"{type(error).__name__}: {error}", None)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
