"""The canary: one synthetic row that travels source, sync, dbt, ontology and API, each hop timed and each proved by the row itself.

It has a small workspace of its own (`workspace/` beside this file, laid out under `.skygraph/canary/`) on the same lake, so that it goes
through the same code and the same server as a user's rows and appears in none of the user's files, lists or models. In the lake it owns
`raw.skygraph_canary`, the database `skygraph_canary` and a row of `skygraph.canary` for each flight.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import shutil
import sqlite3
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.errors import LakeError, SkyGraphError, UnknownName, UsageError
from workbench.hermes import Hermes, load_plan
from workbench.hermes.jobs import JobSpec
from workbench.hermes.watermark import parse_duration
from workbench.lake import Lake
from workbench.lake.sql import Column, create_replacing
from workbench.log import logger
from workbench.ontology import Store
from workbench.ontology.load import load_with_origins
from workbench.presence import read_facts
from workbench.settings import Settings
from workbench.transforms import Transforms

__all__ = ["HOPS", "Canary", "CanaryReport", "canary_every_s", "canary_job"]

HOPS = ("source", "sync", "dbt", "ontology", "api")
NOTEBOOK = Path(__file__).with_name("canary.ipynb")  # what the scheduler runs
TABLE = "skygraph.canary"
NOT_RUNNING = "not running"

_FILES = Path(__file__).with_name("workspace")
_NAME, _TYPE, _KEY = "skygraph_canary", "SkyGraphCanary", 1
_API_S = 5.0
_COLUMNS = (
    Column("run_id", "String"),
    Column("sent_at", "DateTime64(3, 'UTC')"),
    Column("status", "LowCardinality(String)"),
    Column("seconds", "Float64"),
    Column("hops", "Map(String, Float64)"),
    Column("failed_hop", "LowCardinality(String)"),
    Column("error", "String"),
    Column("_version", "UInt64"),
)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CanaryReport(Answer):
    """One flight. `hops` has the seconds of each hop that was passed, in order.

    `status` is ok; short (everything but the API, which does not run); or failed at `failed_hop`, for `error`.
    """

    run_id: str
    sent_at: dt.datetime
    status: str
    hops: Mapping[str, float] = field(default_factory=dict)
    failed_hop: str = ""
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether the row was lost on its way."""
        return self.status == "failed"

    @property
    def seconds(self) -> float:
        """From the source to the last hop."""
        return sum(self.hops.values())

    @property
    def slowest(self) -> str:
        """The hop that took longest; '' when none was passed."""
        return max(self.hops, key=lambda hop: self.hops[hop], default="")

    def to_dict(self) -> dict[str, Any]:
        """The flight as data; times in seconds."""
        hops = {name: round(s, 3) for name, s in self.hops.items()}
        return {**asdict(self), "hops": hops, "seconds": round(self.seconds, 3), "slowest": self.slowest}

    def blocks(self) -> Iterator[Block]:
        """A row per hop, then what came of it."""
        missed = {self.failed_hop: "FAILED", **({"api": NOT_RUNNING} if self.status == "short" else {})}
        rows = [[hop, round(self.hops[hop], 3) if hop in self.hops else None, "ok" if hop in self.hops else missed.get(hop, "not reached")]
                for hop in HOPS]  # fmt: skip
        yield Grid(["hop", "seconds", "seen"], rows)
        if self.failed:
            yield Note(f"the canary was lost at {self.failed_hop}: {self.error}", "bad")
        elif self.status == "short":
            yield Note(f"it came as far as the ontology in {self.seconds:.1f} s; the API does not run: `skygraph up`")
        else:
            yield Note(f"all the way in {self.seconds:.1f} s; the slowest hop was {self.slowest}", "good")


def canary_every_s(settings: Settings) -> float | None:
    """How often a canary is due, in seconds; None for never.

    Raises:
        UsageError: the setting is no duration.
    """
    if settings.canary.strip().casefold() in ("off", "never", "no", "0"):
        return None
    try:
        return parse_duration(settings.canary)
    except UsageError as error:
        raise UsageError(f"SKYGRAPH_CANARY: {error}") from None


def canary_job(settings: Settings) -> JobSpec | None:
    """The job that sends one whenever it is due; None when that is turned off."""
    every_s = canary_every_s(settings)
    if every_s is None:
        return None
    return JobSpec(_NAME, str(NOTEBOOK), every_s=every_s, timeout_s=600.0, catch_up="none", keep=10)


class _Lost(SkyGraphError):
    """The row did not arrive."""


class Canary:
    """The canary of one workspace."""

    def __init__(self, lake: Lake, settings: Settings) -> None:
        self.lake, self.settings = lake, settings
        self.home = settings.state_dir / "canary"
        self.workspace = self.home / "workspace"

    # --- a flight

    def send(self, progress: Progress | None = None) -> CanaryReport:
        """Send a row now and follow it; a hop that fails ends the flight and is in the report, and in `skygraph.canary` if that can be.

        Raises:
            LakeUnavailable: the lake does not answer, so that there is no way at all.
        """
        if self.settings.role == "viewer":
            raise UsageError("this is a read-only view: it sends no canary")
        say = progress or (lambda message, done, total: None)
        self.lake.ping()
        with self._alone():
            self._lay_out()
            token, sent_at = uuid.uuid4().hex, dt.datetime.now(dt.timezone.utc)
            hops: dict[str, float] = {}
            status, failed_hop, error = "ok", "", ""
            for n, hop in enumerate(HOPS):
                say(f"canary: {hop}", n, len(HOPS))
                started = time.monotonic()
                try:
                    if not getattr(self, f"_{hop}")(token, sent_at):
                        status = "short"
                        continue
                except SkyGraphError as lost:
                    status, failed_hop, error = "failed", hop, str(lost)
                    break
                except Exception as lost:  # whatever it is, the row is lost there
                    logger().exception("canary lost unexpectedly", hop=hop)
                    status, failed_hop, error = "failed", hop, f"unexpected {type(lost).__name__}: {lost}"
                    break
                hops[hop] = time.monotonic() - started
            report = CanaryReport(token, sent_at, status, hops, failed_hop, error)
            self._keep(report)
        logger().info("canary flew", status=status, failed_hop=failed_hop or None, elapsed_s=round(report.seconds, 3), error=error or None)
        return report

    def _source(self, token: str, sent_at: dt.datetime) -> bool:
        """Write the row at the source."""
        try:
            with closing(sqlite3.connect(self.workspace / "source.sqlite", timeout=5)) as source, source:
                source.execute("create table if not exists canary (id integer primary key, token text not null, sent_at timestamp)")
                source.execute("insert or replace into canary values (?, ?, ?)", (_KEY, token, sent_at.strftime("%Y-%m-%d %H:%M:%S.%f")))
        except sqlite3.Error as error:
            raise _Lost(f"its source cannot be written: {error}", hint=f"look at {self.workspace} and its disk") from error
        return True

    def _sync(self, token: str, sent_at: dt.datetime) -> bool:
        hermes = Hermes(self.lake, load_plan(self.workspace), self.workspace, self.home)
        (run,) = hermes.sync([_NAME]).runs
        if run.status != "ok":
            raise _Lost(run.error)
        self._expect(token, f"select token from raw.{_NAME} where id = {_KEY}")
        return True

    def _dbt(self, token: str, sent_at: dt.datetime) -> bool:
        report = self.transforms.run(["run"])
        if report.failed:
            bad = next((n for n in report.nodes if n.status not in ("success", "pass")), None)
            raise _Lost(bad.message if bad else report.error)
        self._expect(token, f"select token from {_NAME}.{_NAME} where id = {_KEY}")
        return True

    def _ontology(self, token: str, sent_at: dt.datetime) -> bool:
        found = self.read()["token"]
        if found != token:
            raise _Lost(f"the object still has the token {found}")
        return True

    def _api(self, token: str, sent_at: dt.datetime) -> bool:
        """Ask the running API for the object; False when none runs."""
        facts = read_facts(self.settings.state_dir / "api")
        if facts is None:
            return False
        headers = {"Authorization": f"Bearer {self.settings.api_token}"} if self.settings.api_token else {}
        request = urllib.request.Request(f"{facts.reach}/api/v1/canary", headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_API_S) as answer:
                found = json.loads(answer.read())["token"]
        except urllib.error.HTTPError as refused:
            with refused:
                raise _Lost(f"the API answered with {refused.code}: {refused.read(300).decode('utf-8', 'replace')}") from refused
        except (OSError, ValueError, KeyError) as error:
            raise _Lost(f"the API at {facts.reach} does not answer: {error}", hint="`skygraph restart skygraph-api`") from error
        if found != token:
            raise _Lost(f"the API still has the token {found}")
        return True

    def _expect(self, token: str, sql: str) -> None:
        found = self.lake.scalar(sql)
        if found != token:
            raise _Lost(f"the row is not there: found the token {found}")

    # --- reading

    @cached_property
    def transforms(self) -> Transforms:
        """The canary's own dbt project."""
        return Transforms(self.lake, self.workspace / "dbt", self.home / "log", keeps_runs=False)

    def read(self) -> dict[str, Any]:
        """The object as it is now, read as every object is: `id`, `token`, `sent_at`.

        Raises:
            UnknownName: no canary was sent yet.
            SkyGraphError: its object cannot be read.
        """
        if not (self.workspace / "ontology").is_dir():
            raise UnknownName(_TYPE, str(_KEY), [], hint="no canary was sent yet; `skygraph canary` sends one")
        ontology, _ = load_with_origins(self.workspace / "ontology", models=self.transforms.models())
        card = Store(self.lake, ontology, self.transforms.relations()).object(_TYPE, _KEY)
        return dict(card.to_dict()["properties"])

    def last(self, *, limit: int = 1) -> list[CanaryReport]:
        """The last flights, newest first; none before the first."""
        if not self.lake.columns(TABLE):
            return []
        rows = self.lake.rows(
            f"select run_id, sent_at, status, mapKeys(hops) as names, mapValues(hops) as times, failed_hop, error from {TABLE} "
            "order by sent_at desc limit {n:UInt32}",
            {"n": limit},
        )
        return [
            CanaryReport(
                r["run_id"], r["sent_at"], r["status"], dict(zip(r["names"], r["times"], strict=True)), r["failed_hop"], r["error"]
            )
            for r in rows
        ]

    # --- pieces

    def _lay_out(self) -> None:
        """The files of this release, where they are not there or are of another one."""
        for path in sorted(p for p in _FILES.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
            to = self.workspace / path.relative_to(_FILES)
            if not to.exists() or to.read_bytes() != path.read_bytes():
                to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.copyfile(path, to)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One flight at a time; a second one waits."""
        self.settings.make_state_dir()
        self.home.mkdir(mode=0o700, exist_ok=True)
        with open(self.home / "canary.lock", "a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _keep(self, report: CanaryReport) -> None:
        row = {
            "run_id": report.run_id, "sent_at": report.sent_at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3], "status": report.status,
            "seconds": report.seconds, "hops": dict(report.hops), "failed_hop": report.failed_hop, "error": report.error[:2000],
            "_version": time.time_ns() // 1000,
        }  # fmt: skip
        try:
            if not self.lake.columns(TABLE):
                ddl = create_replacing(TABLE, _COLUMNS, key=["sent_at", "run_id"], version="_version", placement=self.lake.placement)
                self.lake.create_database("skygraph")
                self.lake.command(ddl, retry=True)
            self.lake.insert_stream(TABLE, iter([json.dumps(row).encode() + b"\n"]), "JSONEachRow")
        except LakeError as error:
            logger().warning("the canary's row could not be kept", error=str(error))
