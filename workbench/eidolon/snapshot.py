"""Take snapshots of the objects in the lake, and read them back: list, find, diff, one object's history, as-of."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from workbench.eidolon import history, retention, transfer
from workbench.eidolon.answers import Events, Snapshot, SnapshotList
from workbench.eidolon.compare import Only, compare, export, life_of
from workbench.eidolon.diff import Behind, ObjectHistory, TwinDiff
from workbench.eidolon.history import SNAPSHOTS_TABLE, Layout, Part, State, Trace
from workbench.eidolon.hold import Held, drop_clones, hold, table_of
from workbench.eidolon.index import Index, Known
from workbench.eidolon.past import past
from workbench.eidolon.point import parse_time
from workbench.errors import LakeError, QueryError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_table, quote_text
from workbench.ontology.model import LinkType, ObjectType, Ontology
from workbench.ontology.objects import Store
from workbench.ontology.query import missing_model
from workbench.ontology.values import bare_type

__all__ = ["Eidolon"]

_MISSING = (60, 81)  # ClickHouse: unknown table, unknown database
_LISTED = 1_000  # changes a diff lists unless told otherwise
_SHOWN = 1_000_000  # snapshots of a list
_TRIES, _FREELY = 6, 2  # to find the lake at rest; so many of them without holding back those who write
_STAGE = "eidolon.stage"
_LARGE = 500_000  # objects
_SYNC: Mapping[str, Any] = {"mutations_sync": 2, "lightweight_deletes_sync": 2, "allow_nondeterministic_mutations": 1}


def _never(model: str) -> Trace | None:
    return None


def _nobody(model: str, since: dt.datetime, until: dt.datetime) -> Sequence[Behind]:
    return ()


@dataclass(frozen=True)
class _Source:
    """A part as it can be read now, in a relation."""

    state: State
    model: str
    relation: str

    @property
    def part(self) -> Part:
        return self.state.part


@dataclass(frozen=True)
class _Record:
    """What became of one part in a take."""

    count: int
    total: int
    print: str
    built_at: dt.datetime
    columns: Mapping[str, str]
    events: tuple[int, int, int] = (0, 0, 0)  # added, removed, changed


@dataclass
class Eidolon:
    """The history of one workspace's objects.

    `ontology` and `relations` are asked each time: the model now, and per dbt model what stands for it after FROM (a quoted
    table, or a SELECT in parentheses; only models that have a table). `state_dir` holds the lock. `building` says who builds models right
    now, '' when nobody does. `trace` says where the rows behind a model's objects stand, where that is known.
    """

    lake: Lake
    ontology: Callable[[], Ontology]
    relations: Callable[[], Mapping[str, str]]
    state_dir: Path
    clock: Callable[[], dt.datetime] = field(default=lambda: dt.datetime.now(dt.timezone.utc))
    building: Callable[[], str] = field(default=lambda: "")
    trace: Callable[[str], Trace | None] = _never
    runs: Callable[[str, dt.datetime, dt.datetime], Sequence[Behind]] = _nobody
    quiet: Callable[[], AbstractContextManager[Any]] = nullcontext  # holds back whoever writes what cannot be held still
    wait_s: float = 600.0  # for models that are being built

    @property
    def index(self) -> Index:
        """The table of snapshots."""
        return Index(self.lake, self.clock)

    # --- take

    def take(self, types: Sequence[str] = (), *, label: str = "") -> Snapshot:
        """Record the state of these types now, or of all, with the many-to-many links that start from them.

        All of them are of one moment: the tables of the models are held still while they are read, and it waits while dbt builds; when
        they change all the time, syncs are held back for as long as it takes. Only
        what changed since it was last recorded is written; a type whose table has not changed is not read. The snapshot's own row comes
        last, and until then nobody sees any of it. What an earlier take left behind when it was cut short is taken away first. One take
        at a time: a second one waits. Without `types`, those without a table are left out and named in `skipped`.

        Raises:
            UnknownName: no such type; names the nearest.
            LakeError: a type that was asked for, or every one, has no table yet; keys of a type are missing or not unique; the models
                change all the time, or are being built for longer than `wait_s`.
        """
        if label == "latest":
            raise UsageError("'latest' always means the newest snapshot", hint="choose another label")
        with self._locked():
            self._prepare()
            why = ""
            for attempt in range(_TRIES):
                self._wait_until_built()
                seq = self._heal()
                sources, skipped = self._sources(types)
                known = self.index.known(parts=[s.part for s in sources])

                def is_new(model: str, content: str) -> bool:
                    mine = [s for s in sources if s.model == model]  # noqa: B023
                    return any(s.part not in known or known[s.part].print != _print(s.state, content) for s in mine)  # noqa: B023

                models = {source.model: source.relation for source in sources}
                with self.quiet() if attempt >= _FREELY else nullcontext(), hold(self.lake, models, is_new) as held:
                    why = ", ".join(held.moved) or self.building()
                    if not why and (taken := self._record_all(sources, held, seq, label, skipped)):
                        return taken
                    why = why or ", ".join(held.changed())
                time.sleep(min(0.05 * 2**attempt, 2))  # for the lake to come to rest
            self._heal()
            raise LakeError(
                f"there is no snapshot: {why} changed while it was read, {_TRIES} times",
                hint="take it when syncs and dbt rest; a model that is a table can be held still, a view cannot",
            )

    def _wait_until_built(self) -> None:
        """Wait while models are being built: one after the other, so that those built and those not yet do not fit together."""
        until = time.monotonic() + self.wait_s
        while who := self.building():
            if time.monotonic() > until:
                raise LakeError(f"there is no snapshot: {who}", hint="take it when that has ended")
            time.sleep(0.2)

    def _sources(self, names: Sequence[str]) -> tuple[list[_Source], list[str]]:
        """What a take covers, and what it must leave out."""
        ontology, relations = self.ontology(), self.relations()
        if not ontology.object_types:
            raise UsageError("there is no object type to take a snapshot of", hint="write one in ontology/objects/")
        sources: list[_Source] = []
        skipped: list[str] = []
        first: LakeError | None = None
        owners = {part: _owner(part, ontology) for part in _parts_of(ontology, names or list(ontology.object_types))}
        known = self._columns({m: relations[m] for m in map(_model_of, owners.values()) if m in relations})
        for part, owner in owners.items():
            model = _model_of(owner)
            if columns := known.get(model):
                sources.append(_source_of(owner, part, model, relations[model], columns))
                continue
            error = missing_model(owner, model) if isinstance(owner, ObjectType) else _no_table(owner, model)
            if names:
                raise error
            first = first or error
            skipped.append(f"{part} ({model})")
        if first and not any(s.part.kind == "object" for s in sources):
            raise LakeError("no object type has a table in the lake yet", hint=first.hint)
        return sources, skipped

    def _columns(self, relations: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """The columns of each of these models that there is, with their types; of those that are tables by one statement."""
        tables = {table: model for model, relation in relations.items() if (table := table_of(relation))}
        found: dict[str, dict[str, str]] = {}
        rows = self.lake.rows(
            "select database, table, name, type from system.columns where concat(database, '.', table) in {names:Array(String)}\n"
            "and default_kind not in ('ALIAS', 'EPHEMERAL', 'MATERIALIZED') order by position",
            {"names": [".".join(t) for t in tables]},
        )
        for row in rows:
            if model := tables.get((row["database"], row["table"])):
                found.setdefault(model, {})[row["name"]] = row["type"]
        for model, relation in relations.items():
            if model in tables.values():
                continue
            try:
                read = self.lake.query(f"describe table (select * from {relation} as s)")
            except QueryError as error:
                if error.code not in _MISSING:
                    raise
            else:
                found[model] = dict(zip(read.column("name").to_pylist(), read.column("type").to_pylist(), strict=True))
        return found

    def _record_all(self, sources: Sequence[_Source], held: Held, seq: int, label: str, skipped: Sequence[str]) -> Snapshot | None:
        """Record every part and commit; None when a model that was read where it is has changed meanwhile."""
        taken_at = self.clock()
        sources = [replace(source, relation=held.relations[source.model]) for source in sources]
        looks = {s.part: (held.prints.get(s.model, ""), held.built_at.get(s.model, taken_at)) for s in sources}
        snapshot, records = self._record_sources(sources, looks, seq, label, taken_at)
        if held.changed():
            return None
        snapshot = replace(snapshot, skipped=tuple(skipped))
        self._commit(snapshot, records)
        return snapshot

    def _record_sources(
        self, sources: Sequence[_Source], looks: Mapping[Part, tuple[str, dt.datetime]], seq: int, label: str, taken_at: dt.datetime
    ) -> tuple[Snapshot, dict[Part, _Record]]:
        """Record every part: the snapshot that a commit makes of it. `looks` has the print of a part's content, and since when it is so."""
        taken_at = taken_at.astimezone(dt.timezone.utc)
        taken_at = taken_at.replace(microsecond=taken_at.microsecond // 1000 * 1000)
        known, layouts = self.index.known(parts=[s.part for s in sources]), self._layouts()
        records: dict[Part, _Record] = {}
        for source in sources:
            part, (content, made) = source.part, looks.get(source.part, ("", taken_at))
            print_, before = _print(source.state, content), known.get(part)
            if before and print_ and before.print == print_:
                records[part] = _Record(before.count, before.total, print_, made, source.state.columns)
                continue
            layout = self._fit(source.state, layouts.get(part))
            records[part] = self._record(source, layout, seq, before, print_, made)
        objects = {p: r for p, r in records.items() if p.kind == "object"}
        pairs = {p: r for p, r in records.items() if p.kind == "link"}
        added, removed, changed = (sum(r.events[i] for r in records.values()) for i in range(3))
        snapshot = Snapshot(
            seq, history.content_id({p: (r.count, r.total) for p, r in records.items()}), label, taken_at,
            {p.name: r.count for p, r in objects.items()}, {p.name: r.count for p, r in pairs.items()},
            added=added, removed=removed, changed=changed, events={p.tag: r.events for p, r in records.items() if any(r.events)},
        )  # fmt: skip
        return snapshot, records

    def _record(self, source: _Source, layout: Layout, seq: int, before: Known | None, print_: str, made: dt.datetime) -> _Record:
        """Write the versions of one part; nobody sees them before the commit."""
        state, relation = source.state, source.relation
        count, total_keys = self._size(source, layout)
        stage = self._trace(source, before) if before else ""
        first = before is None and not self.lake.rows(layout.open_before(seq))
        with self._unmerged(layout, before):
            self.lake.command(layout.insert(state, relation, seq, stage, first=first))
            found = self.lake.rows(layout.sizes(seq, first=first))[0]
            if found["n_from"]:
                self._refuse_doubles(source, layout, seq, found, count)
            left = (
                found["n_before"] + found["n_from"] - found["n_again"],
                (found["k_before"] + found["k_from"] - found["k_again"]) % 2**64,
            )
            gone = 0
            if left != (count, total_keys):
                self.lake.command(layout.insert_gone(state, relation, seq, stage))
                gone = int(self.lake.scalar(f"select count() from {layout.table} where _from = {seq} and _to = {seq}"))
                if left[0] - gone != count:
                    self._refuse_doubles(source, layout, seq, found, count)
            again, fresh = int(found["n_again"]), int(found["n_from"])
            if again or gone:
                self.lake.command(layout.close(seq, self.lake.placement), settings=_SYNC, retry=True)
        # the names of the keys are part of the sum
        whole = before is None or list(before.columns)[: len(state.keys)] != list(state.keys)
        total = before.total if before and not whole else 0
        if fresh or gone or whole:
            sums = self.lake.rows(layout.totals(state, seq, whole=whole))[0]
            total = (total + int(sums["gained"] or 0) - int(sums["lost"])) % 2**64
        return _Record(count, total, print_, made, state.columns, (fresh - again, gone, again))

    @contextmanager
    def _unmerged(self, layout: Layout, before: Known | None) -> Iterator[None]:
        """Have a large table not merged meanwhile: versions could be ended only after a merge that the new ones set off, seconds later.

        Who is killed in between leaves it so until the part changes again.
        """
        if before is None or before.count < _LARGE:
            yield
            return
        alter = f"alter table {layout.table}{self.lake.placement.on_cluster}"
        self.lake.command(f"{alter} modify setting max_bytes_to_merge_at_max_space_in_pool = 1", retry=True)
        try:
            yield
        finally:
            with suppress(LakeError):
                self.lake.command(f"{alter} reset setting max_bytes_to_merge_at_max_space_in_pool", retry=True)

    def _size(self, source: _Source, layout: Layout) -> tuple[int, int]:
        """How many rows a part has now, and a sum over their keys.

        Raises:
            LakeError: a row of a type has no key.
        """
        state = source.state
        keys = ", ".join(f"{value} as k{i}" for i, value in enumerate(state.key_values(layout)))
        names = ", ".join(f"k{i}" for i in range(len(state.keys)))
        present = " and ".join(f"s.{quote(name)} is not null" for name in state.keys)
        if state.is_link:
            rows = f"select distinct {keys}, 1 as present from {source.relation} as s where {present}"
        else:
            rows = f"select {keys}, {present} as present from {source.relation} as s"
        row = self.lake.rows(f"select countIf(present) as n, sumIf(cityHash64({names}), present) as k, count() as whole from ({rows})")[0]
        if missing := int(row["whole"]) - int(row["n"]):
            raise self._no_snapshot(source.part, "1 row without a key" if missing == 1 else f"{missing:,} rows without a key")
        return int(row["n"]), int(row["k"] or 0)

    def _refuse_doubles(self, source: _Source, layout: Layout, seq: int, found: Mapping[str, Any], count: int) -> None:
        """Stop when a key of a type stands in several rows. `found` are the sizes of the table, and `count` the rows of the relation."""
        if source.state.is_link:
            return
        if not self.lake.rows(layout.doubles(seq)) and found["n_before"] + found["n_from"] - found["n_again"] >= count:
            return
        key = source.state.key_texts()[0]
        worst = self.lake.rows(
            f"select {key} as found, count() as times from {source.relation} as s\n"
            "group by found having times > 1 order by times desc, found limit 1"
        )
        if worst:
            raise self._no_snapshot(source.part, f"{worst[0]['times']:,} rows with the key {worst[0]['found']!r}")

    @staticmethod
    def _no_snapshot(part: Part, what: str) -> LakeError:
        return LakeError(f"{part}: its model has {what}, so there is no snapshot", hint="run skygraph dbt test")

    def _trace(self, source: _Source, before: Known) -> str:
        """A table of the keys whose raw row came since the part was last recorded, with the run that brought it; '' for none."""
        found = self.trace(source.model) if source.part.kind == "object" else None
        if found is None:
            return ""
        columns = self.lake.columns(found.table)
        if found.key not in columns:
            return ""
        at = columns.get(found.at, "")
        when = f"toDateTime64({quote(found.at)}, 3, 'UTC')" if at and "Date" in at else "_synced_at"
        since = before.built_at - dt.timedelta(seconds=1)
        self.lake.command(f"drop table if exists {quote_table(_STAGE)} sync", retry=True)
        self.lake.command(
            f"create table {quote_table(_STAGE)} engine = MergeTree order by k as\n"
            f"select {history.text_of(quote(found.key), columns[found.key])} as text, assumeNotNull(text) as k,\n"
            f"    argMax(_run_id, _version) as run_id, argMax({when}, _version) as at\nfrom {quote_table(found.table)}\n"
            f"where text is not null and _synced_at >= parseDateTime64BestEffort({{since:String}}, 3, 'UTC')\ngroup by text",
            {"since": since.strftime("%Y-%m-%d %H:%M:%S.%f")},
            settings={"final": 0},  # a row that says a key is gone counts too
        )
        return _STAGE

    # --- the tables

    def _prepare(self) -> None:
        """Make the database and its tables. The history of an earlier form stays beside them, under other names."""
        self.lake.create_database("eidolon")
        on = self.lake.placement.on_cluster
        if "object_history" in self.lake.tables("eidolon"):
            for old in ("object_history", "snapshots"):
                self.lake.command(f"rename table eidolon.{old} to eidolon.{old}_1{on}")
        self.lake.command(history.snapshots_table(self.lake.placement), retry=True)
        for layout in self._layouts().values():
            for statement in layout.converted(self.lake.placement):
                self.lake.command(statement, settings={"alter_sync": 2, **_SYNC}, retry=True)
        drop_clones(self.lake)

    def _layouts(self) -> dict[Part, Layout]:
        """The tables of all parts that have one."""
        found: dict[Part, dict[str, str]] = {}
        for row in self.lake.rows("select table, name, type from system.columns where database = 'eidolon' order by table, position"):
            kind, dash, name = row["table"].partition("_")
            if kind in ("object", "link") and dash and not name.endswith("~"):
                found.setdefault(Part(name, kind), {})[row["name"]] = row["type"]
        return {part: Layout(part, columns) for part, columns in found.items()}

    def _fit(self, state: State, layout: Layout | None) -> Layout:
        """The table of a part, made or altered so that it can take its rows."""
        if layout is None:
            self.lake.command(state.create(self.lake.placement), retry=True)
            return Layout(state.part, self.lake.columns(state.part.table))
        types = [history.key_type(held, bare_type(t)) for held, t in zip(layout.key_types, state.keys.values(), strict=True)]
        changed = False
        if types != list(layout.key_types):
            for statement in layout.rebuilt(types, self.lake.placement)[1]:
                self.lake.command(statement)
            layout, changed = Layout(state.part, self.lake.columns(state.part.table)), True
        for alteration in state.alterations(layout):
            self.lake.command(
                f"alter table {layout.table}{self.lake.placement.on_cluster} {alteration}", settings={"alter_sync": 2, **_SYNC}
            )
            changed = True
        return Layout(state.part, self.lake.columns(state.part.table)) if changed else layout

    def _heal(self) -> int:
        """Take away what a take that was cut short has left: versions newer than the newest snapshot. Returns the next number."""
        newest = int(self.lake.scalar(f"select max(seq) from {quote_table(SNAPSHOTS_TABLE)}") or 0)
        layouts = list(self._layouts().values())
        looks = [f"select {i} as place, n from ({layout.left(newest)})" for i, layout in enumerate(layouts)]
        for row in self.lake.rows(" union all ".join(looks)) if looks else ():
            if row["n"]:
                for statement in layouts[row["place"]].heal(newest, self.lake.placement):
                    self.lake.command(statement, settings=_SYNC, retry=True)
        return newest + 1

    def _commit(self, snapshot: Snapshot, records: Mapping[Part, _Record]) -> None:
        import pyarrow as pa

        texts, numbers = pa.map_(pa.string(), pa.string()), pa.map_(pa.string(), pa.uint64())
        times = pa.map_(pa.string(), pa.timestamp("ms", "UTC"))
        fields: list[tuple[str, Any, Any]] = [
            ("seq", pa.uint64(), snapshot.seq), ("id", pa.string(), snapshot.id), ("label", pa.string(), snapshot.label),
            ("taken_at", pa.timestamp("ms", "UTC"), snapshot.taken_at),
            ("counts", numbers, list(snapshot.counts.items())), ("links", numbers, list(snapshot.links.items())),
            ("added", pa.uint64(), snapshot.added), ("removed", pa.uint64(), snapshot.removed),
            ("changed", pa.uint64(), snapshot.changed),
            ("hashes", numbers, [(p.tag, r.total) for p, r in records.items()]),
            ("prints", texts, [(p.tag, r.print) for p, r in records.items()]),
            ("built_at", times, [(p.tag, r.built_at) for p, r in records.items()]),
            ("columns", pa.map_(pa.string(), texts), [(p.tag, list(r.columns.items())) for p, r in records.items()]),
            ("events", pa.map_(pa.string(), pa.list_(pa.uint64())), [(tag, list(n)) for tag, n in snapshot.events.items()]),
        ]  # fmt: skip
        if int(self.lake.scalar(f"select max(seq) from {quote_table(SNAPSHOTS_TABLE)}") or 0) != snapshot.seq - 1:
            raise LakeError("another machine has taken a snapshot meanwhile, so there is none of this one", hint="take it again")
        self.lake.insert(SNAPSHOTS_TABLE, pa.table({name: pa.array([value], type=kind) for name, kind, value in fields}))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold back every snapshot of this machine: one that is being taken ends first, others wait until the end of the block."""
        with self._locked():
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One take at a time on this machine; a second one waits."""
        folder = self.state_dir / "lock"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "snapshot", "a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # --- list and find

    def list(self, limit: int = _SHOWN) -> SnapshotList:
        """The newest snapshots, newest last; none before the first take. Writes nothing."""
        found, total = self.index.newest(limit)
        return SnapshotList(tuple(found), total)

    def find(self, ref: str | int | Snapshot) -> Snapshot:
        """A snapshot by its number, label, the beginning of its id, `latest`, or a time: see `Index.find`."""
        return self.index.find(ref)

    def events(self, bins: int = 0, since: Any = None, until: Any = None) -> Events:
        """What changed, per snapshot or in `bins` stretches of time. `since` and `until` are snapshots or times."""
        ends = [self._time(point) if point is not None else None for point in (since, until)]
        return self.index.events(bins, ends[0], ends[1])

    def _time(self, point: Any) -> dt.datetime:
        if isinstance(point, dt.datetime):
            return point.astimezone(dt.timezone.utc) if point.tzinfo else point.replace(tzinfo=dt.timezone.utc)
        return parse_time(str(point), self.clock()) or self.find(point).taken_at

    # --- diff and show

    def diff(
        self, a: Any, b: Any, types: Sequence[str] = (), *, limit: int = _LISTED, kinds: Sequence[str] = (), properties: Sequence[str] = ()
    ) -> TwinDiff:
        """What changed from one snapshot to another, either of them the older, for these types or links or for all that
        both cover. Lists the first `limit` changes: by type, added before removed before changed, by key. Counts and lists only the
        `kinds` that are named, and changes of one of the `properties`.

        Raises:
            UnknownName: no such snapshot or type; names the nearest.
            UsageError: a type that was asked for is not in both snapshots.
        """
        if limit < 0:
            raise UsageError(f"a limit is a whole number from 0, not {limit}")
        one, other = self.find(a), self.find(b)
        common = [p for p in one.parts if p in other.parts]
        parts = self._asked(types, one, other) if types else common
        missing = () if types else tuple(str(p) for p in (*one.parts, *other.parts) if p not in common)
        found = compare(
            self.lake,
            self.ontology(),
            self._layouts(),
            one,
            other,
            parts,
            limit=limit,
            not_covered=missing,
            only=Only.of(kinds, properties),
        )
        return replace(found, behind=self._behind(found)) if found.total else found

    def _behind(self, diff: TwinDiff) -> tuple[Behind, ...]:
        """The sync runs that may be behind a diff, per type that changed: those whose rows came between the two states of its model."""
        ontology, earlier, later = self.ontology(), *sorted((diff.a, diff.b), key=lambda s: s.seq)
        parts = [Part(c.type, "link" if c.link else "object") for c in diff.counts if c.total]
        before, after = self.index.known(earlier.seq, parts), self.index.known(later.seq, parts)
        found = []
        for counted in diff.counts:
            part = Part(counted.type, "link" if counted.link else "object")
            if not counted.total or part not in before or part not in after:
                continue
            with suppress(UnknownName):
                until = max(after[part].built_at, before[part].built_at) if after[part].print else later.taken_at
                for run in self.runs(_model_of(_owner(part, ontology)), before[part].built_at, max(until, later.taken_at)):
                    found.append(replace(run, type=part.name, link=counted.link, objects=counted.runs.get(run.run_id, 0)))
        return tuple(sorted(found, key=lambda run: (-run.objects, run.type, run.finished_at)))

    def export_diff(
        self, a: Any, b: Any, types: Sequence[str] = (), *, path: Path, format: str = "", kinds: Sequence[str] = (),
        properties: Sequence[str] = (),
    ) -> int:  # fmt: skip
        """Write every change from `a` to `b` to a file, a row per changed property, as the lake gives them; the bytes written.

        Raises:
            UnknownName, UsageError: as `diff`; or the file's suffix is neither .csv, .parquet, .jsonl nor .arrow.
        """
        one, other = self.find(a), self.find(b)
        parts = self._asked(types, one, other) if types else [p for p in one.parts if p in other.parts]
        return export(self.lake, self.ontology(), self._layouts(), one, other, parts, path, format, Only.of(kinds, properties))

    def _asked(self, names: Sequence[str], a: Snapshot, b: Snapshot) -> Sequence[Part]:
        """The parts that these names stand for, all of which both snapshots cover."""
        ontology = self.ontology()
        found: dict[Part, None] = {}
        for name in names:
            # a type or link that the model no longer has is still in the snapshots
            gone = [p for p in (*a.parts, *b.parts) if p.name == name]
            wanted = gone if gone and name not in ontology.object_types else _parts_of(ontology, [name])
            for part in wanted:
                lacking = [s.name for s in (a, b) if part not in s.parts]
                if lacking and part.name == name:
                    raise UsageError(
                        f"snapshot {' and '.join(lacking)} does not cover {part}",
                        hint="take one that does with skygraph snapshot take",
                    )
                if not lacking:
                    found[part] = None
        return list(found)

    def show(self, type: str, key: Any) -> ObjectHistory:
        """Every recorded version of one object, or of one pair of a many-to-many link, oldest first.

        The key of a pair is a JSON array of both keys. Types that the model no longer has are found too.

        Raises:
            UnknownName: no such type, or no such key in any snapshot; names the nearest.
        """
        ontology, layouts = self.ontology(), self._layouts()
        part = self._part(type, ontology, layouts)
        return life_of(self.lake, ontology, layouts.get(part), part, key, self.index.times())

    @staticmethod
    def _part(name: str, ontology: Ontology, layouts: Mapping[Part, Layout]) -> Part:
        links = [n for n, link in ontology.link_types.items() if link.via]
        if name in links:
            return Part(name, "link")
        try:
            return Part(ontology.object_type(name).name)
        except UnknownName:
            for part in layouts:
                if part.name == name:
                    return part
        raise UnknownName("object type", name, dict.fromkeys([*ontology.object_types, *links, *(p.name for p in layouts)]))

    # --- retention and files

    def prune(self, keep: str = retention.KEEP, *, plan: bool = False) -> retention.PruneReport:
        """Delete the snapshots that the rules do not keep, and the versions that no kept one shows. The newest is always kept.

        With `plan` nothing is deleted. What is cut short goes on the next time; a snapshot that is kept reads as before at every moment.

        Raises:
            UsageError: the rules are wrong.
        """
        rules = retention.parse_keep(keep)
        with self._locked():
            taken = [(seq, at) for seq, _, at in self.index.times()]
            if not taken:
                return retention.PruneReport(keep, (), 0, 0, plan)
            kept = retention.chosen(rules, taken, self.clock())
            removed = tuple(seq for seq, _ in taken if seq not in set(kept))
            if plan:
                return retention.PruneReport(keep, removed, len(kept), 0, is_plan=True)
            self._heal()
            on = self.lake.placement.on_cluster
            if removed:
                self._sum_up(kept, set(removed))
                numbers = ", ".join(map(str, removed))
                self.lake.command(f"delete from {quote_table(SNAPSHOTS_TABLE)}{on} where seq in ({numbers})", settings=_SYNC, retry=True)
            versions = retention.delete_unseen(self.lake, list(self._layouts().values()), kept)
            return retention.PruneReport(keep, removed, len(kept), versions)

    def _sum_up(self, kept: Sequence[int], removed: set[int]) -> None:
        """Give each kept snapshot the changes since the kept one before it, where some between them go."""
        for before, seq in itertools.pairwise(kept):
            if not any(number in removed for number in range(before + 1, seq)):
                continue
            diff = self.diff(before, seq, limit=0)
            events = {Part(c.type, "link" if c.link else "object").tag: [c.added, c.removed, c.changed] for c in diff.counts if c.total}
            texts = ", ".join(f"{quote_text(tag)}, {list(map(int, three))}" for tag, three in events.items())
            sums = ", ".join(
                f"{name} = {sum(three[i] for three in events.values())}" for i, name in enumerate(("added", "removed", "changed"))
            )
            self.lake.command(
                f"alter table {quote_table(SNAPSHOTS_TABLE)}{self.lake.placement.on_cluster} update\n"
                f"events = cast(map({texts}) as Map(String, Array(UInt64))), {sums} where seq = {int(seq)}",
                settings=_SYNC, retry=True,
            )  # fmt: skip

    def size(self) -> retention.HistorySize:
        """What the history weighs, by part."""
        return retention.read_size(self.lake, self._layouts(), self.index.newest(1)[1])

    def export(self, snapshot: str | int | Snapshot, folder: Path) -> transfer.ExportReport:
        """Write a snapshot to a new folder: a Parquet file per type and link, written by the lake, and `snapshot.json`.

        Raises:
            UnknownName: no such snapshot.
            UsageError: the folder is there already, or cannot be written.
        """
        found, layouts = self.find(snapshot), self._layouts()
        known = self.index.known(found.seq, found.parts)
        counts = {**{Part(t): n for t, n in found.counts.items()}, **{Part(n, "link"): c for n, c in found.links.items()}}
        files = {
            part.tag: (counts[part], then, self.lake.stream(layouts[part].as_it_was(then, found.seq), None, "Parquet"))
            for part in found.parts
            for then in (known[part].columns,)
        }  # fmt: skip
        return transfer.write_folder(folder, {"label": found.label, "taken_at": found.taken_at.isoformat(), "id": found.id}, files)

    def import_(self, folder: Path, *, label: str = "", say: Callable[[str], None] = lambda _: None) -> Snapshot:
        """Bring an exported snapshot back as the newest one: its label (or another), its types, and its id when all of it came.

        It is of the time at which it was taken, when no other is newer; else of now.

        Raises:
            UsageError: the folder is no exported snapshot, or a file of it is damaged.
        """
        told = transfer.read_folder(folder)
        with self._locked():
            self._prepare()
            seq = self._heal()
            with transfer.imported(self.lake, folder, told, say) as tables:
                newest = self.index.newest(1)[0]
                at = dt.datetime.fromisoformat(told["taken_at"])
                if newest and newest[0].taken_at >= at:
                    at = self.clock()
                sources = [_imported(p, tables[p["part"]]) for p in told["parts"]]
                taken, records = self._record_sources(sources, {}, seq, label or str(told.get("label", "")), at)
                if taken.id != told["id"]:
                    self._heal()
                    raise UsageError(f"{folder}: the files are not what was exported: id {taken.id}, not {told['id']}")
                self._commit(taken, records)
                return taken

    # --- as of

    def past(self, point: str | int | Snapshot, store: Store) -> Store:
        """The same store as it was at a point: a snapshot, or a time. Types that did not exist then say so when they are asked for.

        Raises:
            UnknownName: no such snapshot; names the nearest, and from when to when there are any.
            UsageError: the time is before the first snapshot, or in the future; says from when to when there are any.
        """
        return past(self.lake, self.index, self._layouts(), store, self.find(point))

    def relation_at(self, snapshot: str | int | Snapshot, object_type: str) -> str:
        """A SELECT of the objects of a type as they were in a snapshot: its properties, with the column types of then.

        Raises:
            UnknownName: no such snapshot or type.
            UsageError: the snapshot does not cover the type.
        """
        found, owner = self.find(snapshot), self.ontology().object_type(object_type)
        if owner.name not in found.counts:
            raise UsageError(f"snapshot {found.name} does not cover {owner.name}", hint=f"it covers {', '.join(found.types)}")
        part = Part(owner.name)
        return self._layouts()[part].objects(owner, self.index.known(found.seq, [part])[part].columns, found.seq)

    def measure(self, snapshot: str | int | Snapshot, type: str, property: str = "") -> int | Decimal:
        """How many objects of a type there were in a snapshot; with `property`, the sum of that property over them.

        Raises:
            UnknownName: no such snapshot, type or property.
            UsageError: the snapshot does not cover the type, or the property is not a number.
        """
        owner = self.ontology().object_type(type)
        if property and owner.property(property).kind.group != "number":
            raise UsageError(f"{type}.{property} is {owner.property(property).type}: there is no sum of it")
        what = f"sum({owner.sql(property, quote)})" if property else "count()"
        value = self.lake.scalar(f"select {what} from (\n{self.relation_at(snapshot, type)}\n)")
        return Decimal(repr(value)) if isinstance(value, float) else value or 0


def _source_of(owner: ObjectType | LinkType, part: Part, model: str, relation: str, columns: Mapping[str, str]) -> _Source:
    """A part with the columns that its relation has."""
    if isinstance(owner, ObjectType):
        names = [owner.key, *(p.name for p in owner.stored if p.name != owner.key)]
        _check_columns(part, model, names, columns)
        return _Source(State(part, {owner.key: columns[owner.key]}, {n: columns[n] for n in names}), model, relation)
    assert owner.via is not None
    names = list(dict.fromkeys([*owner.via.from_columns.values(), *owner.via.to_columns.values()]))
    _check_columns(part, model, names, columns)
    used = {n: columns[n] for n in names}
    return _Source(State(part, used, used), model, relation)


def _imported(told: Mapping[str, Any], relation: str) -> _Source:
    """A part as a file of an exported snapshot has it."""
    part, columns = Part.parse(told["part"]), dict(told["columns"])
    keys = columns if part.kind == "link" else dict([next(iter(columns.items()))])
    return _Source(State(part, keys, columns), "", relation)


def _owner(part: Part, ontology: Ontology) -> ObjectType | LinkType:
    return ontology.object_type(part.name) if part.kind == "object" else ontology.link_type(part.name)


def _model_of(owner: ObjectType | LinkType) -> str:
    if isinstance(owner, ObjectType):
        return owner.model
    assert owner.via is not None
    return owner.via.model


def _no_table(owner: LinkType, model: str) -> LakeError:
    return LakeError(f"link {owner.name}: its model {model} has no table in the lake yet", hint="run skygraph dbt run")


def _print(state: State, content: str) -> str:
    """What a part looks like: its content and what is read of it; '' when nobody can tell."""
    text = repr((content, list(state.keys.items()), sorted(state.columns.items())))
    return hashlib.sha256(text.encode()).hexdigest()[:32] if content else ""


def _parts_of(ontology: Ontology, names: Sequence[str]) -> Sequence[Part]:
    """The types of these names with the many-to-many links that start from them, and the links of these names."""
    links = {name: link for name, link in ontology.link_types.items() if link.via is not None}
    types: dict[Part, None] = {}
    pairs: dict[Part, None] = {}
    for name in names:
        if name in ontology.object_types:
            types[Part(name)] = None
            pairs.update({Part(n, "link"): None for n, link in links.items() if link.from_type == name})
        elif name in links:
            pairs[Part(name, "link")] = None
        else:
            raise UnknownName("object type", name, dict.fromkeys([*ontology.object_types, *links]))
    return [*types, *pairs]


def _check_columns(part: Part, model: str, wanted: Iterable[str], columns: Mapping[str, str]) -> None:
    if missing := [name for name in wanted if name not in columns]:
        raise LakeError(
            f"{part}: its model {model} has no column {', '.join(missing)} in the lake",
            hint="run skygraph ontology check, or skygraph dbt run when the model is newer than its table",
        )
