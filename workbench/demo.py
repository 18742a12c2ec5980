"""The main job in one go, on a workspace's sample source: sync, model, name, remember, change, and see what changed.

Everything it needs to know of the data is in the workspace: a source with `sample:` and that folder's `sample.yml`. What it has
done so far is in `.skygraph/demo/story.json`, tied to the snapshots in the lake; so it goes on where it was ended, and running
it again changes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.answer import Answer, Block, Grid, Heading, Note, format_value, to_json
from workbench.errors import InvalidFiles, Problem, SkyGraphError, UnknownName, UsageError
from workbench.lake.sql import quote_table
from workbench.yamlfile import Fields, read_yaml

if TYPE_CHECKING:
    from workbench.bench import Workbench
    from workbench.eidolon import Snapshot, TwinDiff
    from workbench.hermes import Comparison

__all__ = ["DemoReport", "run_demo"]

_STEPS = 9
_EACH = 3  # changes shown of each type and kind


@dataclass(frozen=True)
class Headline:
    """A number of the story: how many objects of a type, or the sum of a property over them."""

    label: str
    type: str
    sum: str = ""


@dataclass(frozen=True)
class Sample:
    """A sample source: the folder that it is made from, its file, and its story."""

    folder: Path
    path: Path
    title: str
    before: str
    after: str
    headlines: tuple[Headline, ...]


@dataclass(frozen=True)
class DemoReport(Answer):
    """The story with its numbers."""

    title: str
    lake: Mapping[str, Any]
    before: Mapping[str, Any]
    day: Mapping[str, Any]
    after: Mapping[str, Any]
    diff: TwinDiff
    tables: Comparison
    brought: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether current rows differ from the source."""
        return self.tables.failed

    def to_dict(self) -> Any:
        """The report: `before`, `day`, `after`, `diff`, and `tables` with the checksums of both sides."""
        current = sum(t.current_rows for t in self.tables.tables)
        return {
            "title": self.title, "lake": dict(self.lake), "before": dict(self.before), "day": dict(self.day), "after": dict(self.after),
            "diff": self.diff.to_dict(), "tables": self.tables.to_dict(), "equal": not self.tables.failed, "current_rows": current,
            "physical_rows": sum(t.physical_rows for t in self.tables.tables), "brought_now": self.brought,
            "seconds": round(self.seconds, 2), "notes": list(self.notes),
        }  # fmt: skip

    def blocks(self) -> Iterator[Block]:
        """The story, then both sides of every table, then the diff."""
        b, d, a = self.before, self.day, self.after
        current = sum(t.current_rows for t in self.tables.tables)
        physical = sum(t.physical_rows for t in self.tables.tables)
        yield Heading(self.title)
        yield Note(f"The lake is {self.lake['server']} at {self.lake['address']}.")
        yield Note(f"The first sync brought {b['tables']} tables with {b['source_rows']:,} rows: {_told(b['headlines'])}.")
        yield Note(
            f"dbt built {b['models']} models on them, the ontology named {b['objects']:,} objects of {b['types']} types and "
            f"{b['links']} kinds of links, and the snapshot “{b['snapshot']}” remembers them all."
        )
        yield Note(
            "Then came a day of business at the source. The second sync brought what had changed and no more: "
            f"{d['inserted']} new or changed rows and {d['deleted']} deletion(s)."
        )
        yield Note(f"After the day: {_told(a['headlines'])}. Snapshot “{a['snapshot']}”.")
        yield Heading("Current rows against the source, by a checksum over all columns of all rows")
        yield from self.tables.blocks()
        yield Note(
            f"{current:,} current rows equal the source, row for row; {physical:,} physical rows lie under them: a read that forgot "
            "FINAL would have counted them." if not self.failed else "current rows DIFFER from the source",
            "bad" if self.failed else "good",
        )  # fmt: skip
        yield Heading(f"What the day changed: {b['snapshot']} → {a['snapshot']}")
        yield from self._digest()
        if self.brought:
            yield Note(f"this run's sync also brought {self.brought} row(s) that changed since", "quiet")
        for note in self.notes:
            yield Note(note, "quiet")
        yield Note(f"{self.seconds:.1f} s in all", "quiet")

    def _digest(self) -> Iterator[Block]:
        """The counts of the diff, and a few changes of each kind, one a line."""
        counts = [c for c in self.diff.counts if c.total]
        yield Grid(["type", "added", "removed", "changed"], [[c.type, c.added, c.removed, c.changed] for c in counts], empty="nothing")
        shown: dict[tuple[str, str], int] = {}
        rows = []
        for change in self.diff.changes:
            place = (change.type, change.kind)
            shown[place] = shown.get(place, 0) + 1
            if shown[place] <= _EACH:
                values = [f"{p.name} {p.old or '(none)'} → {p.new or '(none)'}" for p in change.properties]
                told = ", ".join(values) if change.kind == "changed" else ""
                rows.append([change.type, change.kind, "" if change.link else change.key, change.title, told])
        a, b = self.before["snapshot"], self.after["snapshot"]
        note = f"{len(rows)} of {self.diff.total} changes; `skygraph snapshot diff {a} {b}` has all"
        yield Grid(["type", "change", "key", "title", "what"], rows, empty="", note=note)


def run_demo(bench: Workbench) -> DemoReport:
    """Run the main job; writes to the lake and, once, the scripted day to the sample source.

    Raises:
        UsageError: the workspace has no sample source.
        SkyGraphError: a step failed; what was done stays, and the next run goes on from there.
    """
    started = time.monotonic()
    sample = find_sample(bench)
    story = _Story(bench, sample)
    story.step("starting the lake")
    version = bench.lake.ping()
    story.begin()
    story.live_the_day()
    brought = story.catch_up()
    story.step("comparing both sides")
    tables = bench.compare()
    diff = bench.diff(story.record["before"]["seq"], story.record["after"]["seq"])
    at = bench.lake.address
    lake = {"server": f"ClickHouse {version}", "address": at.url, "embedded": bench.lake.embedded is not None}
    record = story.record
    before = {k: v for k, v in record["before"].items() if k != "versions"}
    bench.progress("done", _STEPS, _STEPS)
    return DemoReport(
        sample.title, lake, before, record["day"], record["after"], diff, tables, brought, time.monotonic() - started,
        (*bench.lake.notes, *story.notes),
    )  # fmt: skip


def find_sample(bench: Workbench) -> Sample:
    """The workspace's sample source.

    Raises:
        UsageError: no source has `sample:`.
        InvalidFiles: its `sample.yml` is wrong.
    """
    workspace = bench.settings.workspace
    for source in bench.hermes.plan.sources.values():
        if source.options.get("sample"):
            options = source.resolved()
            folder = (workspace / options["sample"]).resolve()
            path = (workspace / options["path"]).resolve()
            return _read_sample(folder, path, workspace)
    raise UsageError(
        f"{workspace} has no sample source",
        hint="run it in a clone of the repository, or use `skygraph sync`, `skygraph dbt build`, `skygraph snapshot take`",
    )


def _read_sample(folder: Path, path: Path, workspace: Path) -> Sample:
    problems: list[Problem] = []
    file = folder / "sample.yml"
    entry = read_yaml(file, problems, name=str(file.relative_to(workspace)) if file.is_relative_to(workspace) else str(file))
    if entry is None:
        raise InvalidFiles("sample", problems)
    fields = Fields(entry, "a sample", problems)
    title, before, after = fields.text("title"), fields.text("before", "before"), fields.text("after", "after")
    headlines = []
    found = fields.entry_of("headlines")
    for item in found.value if found and isinstance(found.value, list) else []:
        one = Fields(item, "a headline", problems)
        headlines.append(Headline(one.text("label"), one.text("type"), one.text("sum", "")))
        one.done()
    fields.done()
    if problems:
        raise InvalidFiles("sample", problems)
    return Sample(folder, path, title, before, after, tuple(headlines))


class _Story:
    """The steps of the demo, each done once: what was done is in the record."""

    def __init__(self, bench: Workbench, sample: Sample) -> None:
        self.bench = bench
        self.sample = sample
        self.path = bench.settings.state_dir / "demo/story.json"
        self.notes: list[str] = []
        self.record: dict[str, Any] = {}
        self._done = 0

    def step(self, message: str) -> None:
        self.bench.progress(message, self._done, _STEPS)
        self._done += 1

    def begin(self) -> None:
        """The first sync, the models, the snapshot before the day; unless the lake has them."""
        from workbench.hermes.sample import build_sample, day_is_over, play_day

        self.record = self._read()
        if self.record and self._still_there("before"):
            if not self.sample.path.exists():
                # the source is gone: make it again as far as the record has come
                build_sample(self.sample.folder, self.sample.path)
                if "after" in self.record:
                    play_day(self.sample.folder, self.sample.path)
            return
        self.record = {}
        again = self.sample.path.exists() and day_is_over(self.sample.path)
        if again:
            # this lake has not seen the source before its day: start the story over, and keep the old file
            kept = self.sample.path.with_name(f"{self.sample.path.stem}.{int(time.time())}{self.sample.path.suffix}")
            self.sample.path.rename(kept)
            self.notes.append(f"the sample source was made anew; the old one is {kept.name}")
        build_sample(self.sample.folder, self.sample.path)
        self.step("syncing the source")
        self._sync(full=again)
        self.step("building the models")
        models = self._build()
        bench = self.bench
        tables = bench.compare()
        bench.ontology_reload()
        self.step("taking the first snapshot")
        versions = {job.table: self._version(job.raw) for job in bench.hermes.plan.tables.values()}
        before = bench.snapshot(label=self.sample.before)
        self._write("before", before, {
            "tables": len(tables.tables), "source_rows": sum(t.source_rows for t in tables.tables), "models": models,
            "objects": sum(before.counts.values()), "types": len(bench.ontology.object_types), "links": len(bench.ontology.link_types),
            "versions": versions,
        })  # fmt: skip

    def live_the_day(self) -> None:
        """The day at the source, the second sync, the snapshot after it; unless the lake has them."""
        from workbench.hermes.sample import play_day

        if "after" in self.record and self._still_there("after"):
            return
        self.step("a day of business at the source")
        play_day(self.sample.folder, self.sample.path)
        self.step("syncing what changed")
        self._sync()
        self.record["day"] = self._brought_since(self.record["before"]["versions"])
        self.step("building the models again")
        self._build()
        self.step("taking the second snapshot")
        self._write("after", self.bench.snapshot(label=self.sample.after), {})

    def catch_up(self) -> int:
        """Sync whatever changed since, so that what is shown is of now; the rows that it brought."""
        self.step("syncing")
        report = self._sync()
        built, changed = self.bench.transforms.built_at(), self.bench.transforms.changed_at()
        rows = report.inserted + report.deleted
        if rows or built is None or built < changed or set(self.bench.transforms.relations()) < set(self.bench.transforms.models()):
            self._build()
        return int(rows)

    # --- pieces

    def _sync(self, *, full: bool = False) -> Any:
        hermes = self.bench.hermes
        report = hermes.sync(full=full)
        if report.failed:
            bad = next(r for r in report.runs if r.status != "ok")
            raise SkyGraphError(f"sync of {bad.table} failed: {bad.error}")
        return report

    def _build(self) -> int:
        def hear(event: Mapping[str, Any]) -> None:
            if event["status"] != "started":
                self.bench.progress(f"dbt: {event['name']}", self._done - 1, _STEPS)

        report = self.bench.dbt("build", listen=hear)
        if report.failed:
            bad = next((n for n in report.nodes if n.status not in ("success", "pass", "skipped")), None)
            raise SkyGraphError(f"dbt build failed: {bad.name}: {bad.message}" if bad else f"dbt build failed: {report.error}")
        return sum(node.kind == "model" for node in report.nodes)

    def _version(self, table: str) -> int:
        """The highest version in a raw table."""
        return int(self.bench.lake.query_history(f"select max(_version) from {quote_table(table)}").column(0)[0].as_py() or 0)

    def _brought_since(self, versions: Mapping[str, int]) -> dict[str, Any]:
        """Physical rows above a version in the raw tables, by table. Current versions outlive every merge."""
        tables = {}
        for job in self.bench.hermes.plan.tables.values():
            found = self.bench.lake.query_history(
                f"select countIf(_deleted = 0), countIf(_deleted = 1) from {quote_table(job.raw)} where _version > {{v:UInt64}}",
                {"v": versions.get(job.table, 0)},
            )
            inserted, deleted = found.column(0)[0].as_py(), found.column(1)[0].as_py()
            if inserted or deleted:
                tables[job.table] = {"inserted": inserted, "deleted": deleted}
        sums = {what: sum(t[what] for t in tables.values()) for what in ("inserted", "deleted")}
        return {**sums, "tables": tables}

    def _headlines(self, snapshot: Snapshot) -> dict[str, Any]:
        return {h.label: self.bench.eidolon.measure(snapshot, h.type, h.sum) for h in self.sample.headlines}

    def _still_there(self, which: str) -> bool:
        """Whether the lake has the very snapshot that the record speaks of."""
        told = self.record.get(which, {})
        try:
            found = self.bench.eidolon.find(str(told["seq"]))
        except (UnknownName, KeyError):
            return False
        return bool(found.id == told["id"] and to_json(found.taken_at) == told["taken_at"])

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def _write(self, which: str, snapshot: Snapshot, facts: Mapping[str, Any]) -> None:
        self.record[which] = {
            **facts, "headlines": self._headlines(snapshot), "snapshot": snapshot.label, "seq": snapshot.seq, "id": snapshot.id,
            "taken_at": snapshot.taken_at,
        }  # fmt: skip
        self.record = to_json(self.record)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.record, indent=1), encoding="utf-8")
        new.replace(self.path)


def _told(headlines: Mapping[str, Any]) -> str:
    from decimal import Decimal

    def amount(value: Any) -> str:
        return format_value(Decimal(value)) if isinstance(value, str) else format_value(value)

    return ", ".join(f"{label} {amount(value)}" for label, value in headlines.items())
