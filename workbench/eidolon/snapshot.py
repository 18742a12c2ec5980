"""Take snapshots of the objects in the lake, and read them back: list, find, diff, one object's history, as-of."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from workbench.eidolon import history
from workbench.eidolon.answers import Snapshot, SnapshotList
from workbench.eidolon.diff import Change, Counts, ObjectHistory, TwinDiff, fold_versions, property_changes
from workbench.eidolon.history import HISTORY_TABLE, SNAPSHOTS_TABLE, Part
from workbench.errors import LakeError, QueryError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_table
from workbench.ontology.model import LinkType, ObjectType, Ontology
from workbench.ontology.query import missing_model

__all__ = ["Eidolon"]

_MISSING = (60, 81)  # ClickHouse: unknown table, unknown database
_HASHES = 2**128
_LISTED = 1_000  # changes a diff lists unless told otherwise
_LOOKED_AT = 100_000  # keys searched for one near a wrong one


@dataclass(frozen=True)
class _Source:
    """A part as it can be read now: the SELECT of its state, the relation, the ClickHouse types of its columns."""

    part: Part
    state: str
    relation: str
    columns: Mapping[str, str]
    key: str = ""  # the expression of the key, for objects


@dataclass
class Eidolon:
    """The history of one workspace's objects.

    `ontology` and `relations` are asked each time: the model now, and per dbt model what stands for it after FROM (a quoted
    table, or a SELECT in parentheses; only models that have a table). `state_dir` holds the lock.
    """

    lake: Lake
    ontology: Callable[[], Ontology]
    relations: Callable[[], Mapping[str, str]]
    state_dir: Path
    clock: Callable[[], dt.datetime] = field(default=lambda: dt.datetime.now(dt.timezone.utc))

    # --- take

    def take(self, types: Sequence[str] = (), *, label: str = "") -> Snapshot:
        """Record the state of these types now, or of all, with the many-to-many links that start from them.

        Only what changed since it was last recorded is written; the snapshot's own row comes last, and until then nobody
        sees any of it. What an earlier take left behind when it was cut short is deleted first. One take at a time: a
        second one waits. Without `types`, those without a table are left out and named in `skipped`.

        Raises:
            UnknownName: no such type; names the nearest.
            LakeError: a type that was asked for, or every one, has no table yet; keys of a type are missing or not unique.
        """
        if label == "latest":
            raise UsageError("'latest' always means the newest snapshot", hint="choose another label")
        with self._locked():
            sources, skipped = self._sources(types)
            self._prepare()
            seq = self._next_seq()
            self._heal()
            taken_at = self.clock().astimezone(dt.timezone.utc)
            taken_at = taken_at.replace(microsecond=taken_at.microsecond // 1000 * 1000)
            for source in sources:
                self._record(source, seq, taken_at)
            before = self._known(s.part for s in sources)
            after, counts = self._after(before, seq)
            for source in sources:
                self._check_keys(source, after[source.part][0])
            snapshot = Snapshot(
                seq, history.content_id(after), label, taken_at,
                {p.name: n for p, (n, _) in after.items() if p.kind == "object"},
                {p.name: n for p, (n, _) in after.items() if p.kind == "link"},
                added=sum(c.added for c in counts), removed=sum(c.removed for c in counts),
                changed=sum(c.changed for c in counts), skipped=tuple(skipped),
            )  # fmt: skip
            self._commit(snapshot, after, {s.part: s.columns for s in sources})
            return snapshot

    def _sources(self, names: Sequence[str]) -> tuple[list[_Source], list[str]]:
        """What a take reads, and what it must leave out."""
        ontology, relations = self.ontology(), self.relations()
        if not ontology.object_types:
            raise UsageError("there is no object type to take a snapshot of", hint="write one in ontology/objects/")
        sources, skipped = [], []
        first: LakeError | None = None
        for part in _parts_of(ontology, names or list(ontology.object_types)):
            try:
                sources.append(self._source(part, ontology, relations))
            except _NoTable as missing:
                if names:
                    raise missing.error from None
                first = first or missing.error
                skipped.append(f"{part} ({missing.model})")
        if first and not any(s.part.kind == "object" for s in sources):
            raise LakeError("no object type has a table in the lake yet", hint=first.hint)
        return sources, skipped

    def _source(self, part: Part, ontology: Ontology, relations: Mapping[str, str]) -> _Source:
        if part.kind == "object":
            owner = ontology.object_type(part.name)
            relation, columns = self._describe(owner.model, owner, relations)
            names = [p.name for p in owner.stored]
            _check_columns(part, owner.model, names, columns)
            used = {name: columns[name] for name in names}
            key = history.text_of(f"s.{quote(owner.key)}", columns[owner.key])
            return _Source(part, history.object_state(owner, relation, columns), relation, used, key)
        link = ontology.link_type(part.name)
        assert link.via is not None
        relation, columns = self._describe(link.via.model, link, relations)
        names = [*link.via.from_columns.values(), *link.via.to_columns.values()]
        _check_columns(part, link.via.model, names, columns)
        return _Source(part, history.link_state(link.via, relation, columns), relation, {n: columns[n] for n in names})

    def _describe(self, model: str, owner: ObjectType | LinkType, relations: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """A model's relation and its columns."""
        try:
            relation = relations[model]
            found = self.lake.query(f"describe table (select * from {relation} as s)")
        except (KeyError, QueryError) as error:
            if isinstance(error, QueryError) and error.code not in _MISSING:
                raise
            raise _NoTable(owner, model) from error
        return relation, dict(zip(found.column("name").to_pylist(), found.column("type").to_pylist(), strict=True))

    def _record(self, source: _Source, seq: int, taken_at: dt.datetime) -> None:
        """Write the history rows of one part; nobody sees them before the commit."""
        bound = {
            "type": source.part.name, "kind": source.part.kind, "seq": seq,
            "taken_at": taken_at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        }  # fmt: skip
        self.lake.command(history.insert_changes(source.state), bound)

    def _known(self, parts: Iterable[Part]) -> dict[Part, tuple[int, int]]:
        """Of each part, how many rows it had when last covered, and the sum of their hashes."""
        found = self.lake.query(
            "select pair.1 as tag, argMax(tuple(if(startsWith(tag, 'link:'), links[substring(tag, 6)], counts[substring(tag, 8)]),\n"
            "    pair.2), seq) as last\n"
            f"from (select seq, counts, links, arrayJoin(hashes) as pair from {quote_table(SNAPSHOTS_TABLE)})\ngroup by tag"
        )
        last = {row["tag"]: tuple(row["last"].values()) for row in found.to_pylist()}
        return {p: (int(last[p.tag][0]), int(last[p.tag][1], 16)) if p.tag in last else (0, 0) for p in parts}

    def _after(self, before: Mapping[Part, tuple[int, int]], seq: int) -> tuple[dict[Part, tuple[int, int]], list[Counts]]:
        """The same as `before` with the rows of `seq`, out of what they changed alone; and how many they are."""
        after, counts = dict(before), []
        found = self.lake.query(history.change_counts(), {"a": seq - 1, "b": seq, **_bound(before)})
        for row in found.to_pylist():
            part = Part(row["type"], row["kind"])
            count, total = before[part]
            after[part] = (
                count + row["added"] - row["removed"],
                (total + int(row["gained"]) - int(row["lost"])) % _HASHES,
            )
            counts.append(_counts(part, row))
        return after, counts

    def _check_keys(self, source: _Source, recorded: int) -> None:
        """Stop when the keys of a type are missing or not unique; looked at in full only when the counts differ."""
        if source.part.kind == "link" or self.lake.scalar(f"select count() from {source.relation} as s") == recorded:
            return
        doubles = self.lake.query(
            f"select {source.key} as found, count() as times from {source.relation} as s\n"
            "group by found having times > 1 or found is null order by found is null desc, times desc limit 1"
        ).to_pylist()
        if doubles:  # without one, the model was built again meanwhile: what was recorded was true when it was read
            key, times = doubles[0]["found"], doubles[0]["times"]
            rows = "1 row" if times == 1 else f"{times:,} rows"
            what = f"{rows} without a key" if key is None else f"{rows} with the key {key!r}"
            raise LakeError(f"{source.part}: its model has {what}, so there is no snapshot", hint="run skygraph dbt test")

    def _commit(self, snapshot: Snapshot, state: Mapping[Part, tuple[int, int]], columns: Mapping[Part, Mapping[str, str]]) -> None:
        import pyarrow as pa

        texts = pa.map_(pa.string(), pa.string())
        numbers = pa.map_(pa.string(), pa.uint64())
        fields: list[tuple[str, Any, Any]] = [
            ("seq", pa.uint64(), snapshot.seq), ("id", pa.string(), snapshot.id), ("label", pa.string(), snapshot.label),
            ("taken_at", pa.timestamp("ms", "UTC"), snapshot.taken_at), ("types", pa.list_(pa.string()), list(snapshot.types)),
            ("counts", numbers, list(snapshot.counts.items())), ("links", numbers, list(snapshot.links.items())),
            ("added", pa.uint64(), snapshot.added), ("removed", pa.uint64(), snapshot.removed),
            ("changed", pa.uint64(), snapshot.changed),
            ("hashes", texts, [(p.tag, f"{total:032x}") for p, (_, total) in state.items()]),
            ("columns", pa.map_(pa.string(), texts), [(p.tag, list(c.items())) for p, c in columns.items()]),
        ]  # fmt: skip
        row = pa.table({name: pa.array([value], type=kind) for name, kind, value in fields})
        self.lake.insert(SNAPSHOTS_TABLE, row)

    def _prepare(self) -> None:
        self.lake.create_database("eidolon")
        for statement in history.create_tables(self.lake.placement):
            self.lake.command(statement, retry=True)

    def _next_seq(self) -> int:
        both = " union all ".join(f"select max(seq) as seq from {quote_table(t)}" for t in (HISTORY_TABLE, SNAPSHOTS_TABLE))
        return int(self.lake.scalar(f"select max(seq) from ({both})")) + 1

    def _heal(self) -> None:
        """Delete what a take that was cut short has left: rows newer than the newest snapshot."""
        left = f"seq > (select max(seq) from {quote_table(SNAPSHOTS_TABLE)})"
        if self.lake.scalar(f"select count() from {quote_table(HISTORY_TABLE)} where {left}"):
            newest = self.lake.scalar(f"select max(seq) from {quote_table(SNAPSHOTS_TABLE)}")
            self.lake.command(
                f"delete from {quote_table(HISTORY_TABLE)}{self.lake.placement.on_cluster} where seq > {int(newest)}",
                settings={"lightweight_deletes_sync": 2}, retry=True,
            )  # fmt: skip

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

    def list(self) -> SnapshotList:
        """All snapshots, newest last; none before the first take. Writes nothing."""
        return SnapshotList(tuple(self._read("")))

    def find(self, ref: str | int | Snapshot) -> Snapshot:
        """A snapshot by its number (`3` or `#3`), a label (the newest with it), four or more digits of its id (the newest
        with it), or `latest`. A number comes before a label, and a label before an id.

        Raises:
            UnknownName: there is none; names the nearest.
            UsageError: the digits begin more than one id.
        """
        if isinstance(ref, Snapshot):
            ref = ref.seq
        name = str(ref).strip()
        index = self._index()
        seq = _resolve(name, index)
        if seq is None:
            known = [text for s, id, label in index for text in (str(s), id[:8], label) if text]
            hint = None if index else "there is no snapshot yet; take one with skygraph snapshot take"
            raise UnknownName("snapshot", name, dict.fromkeys([*known, "latest"] if index else []), hint=hint)
        return self._read("where seq = {seq:UInt64}", {"seq": seq})[0]

    def _index(self) -> Sequence[tuple[int, str, str]]:
        """Number, id and label of every snapshot, newest last."""
        try:
            found = self.lake.query(f"select seq, id, label from {quote_table(SNAPSHOTS_TABLE)} order by seq")
        except QueryError as error:
            if error.code in _MISSING:
                return []
            raise
        return [(r["seq"], r["id"], r["label"]) for r in found.to_pylist()]

    def _read(self, where: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Snapshot]:
        columns = "seq, id, label, taken_at, counts, links, added, removed, changed"
        try:
            found = self.lake.query(f"select {columns} from {quote_table(SNAPSHOTS_TABLE)} {where} order by seq", parameters)
        except QueryError as error:
            if error.code in _MISSING:
                return []
            raise
        return [Snapshot(**{**r, "counts": dict(r["counts"]), "links": dict(r["links"])}) for r in found.to_pylist()]

    # --- diff and show

    def diff(self, a: str | int | Snapshot, b: str | int | Snapshot, types: Sequence[str] = (), *, limit: int = _LISTED) -> TwinDiff:
        """What changed from one snapshot to another, either of them the older, for these types or links or for all that
        both cover. Lists the first `limit` changes: by type, added before removed before changed, by key.

        Raises:
            UnknownName: no such snapshot or type; names the nearest.
            UsageError: a type that was asked for is not in both snapshots.
        """
        if limit < 0:
            raise UsageError(f"a limit is a whole number from 0, not {limit}")
        one, other = self.find(a), self.find(b)
        common = [p for p in one.parts if p in other.parts]
        parts = self._asked(types, one, other) if types else common
        bound = {"a": one.seq, "b": other.seq, **_bound(parts)}
        rows = self.lake.query(history.change_counts(), bound).to_pylist() if parts else []
        by_part = {Part(r["type"], r["kind"]): r for r in rows}
        counts = tuple(_counts(p, by_part.get(p, {})) for p in parts)
        listed = self._listed({**bound, "limit": limit}) if rows and limit else ()
        missing = () if types else tuple(str(p) for p in (*one.parts, *other.parts) if p not in common)
        return TwinDiff(one, other, counts, listed, missing)

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

    def _listed(self, bound: Mapping[str, Any]) -> tuple[Change, ...]:
        rows = self.lake.query(history.changes(), bound).to_pylist()
        found = []
        for row in rows:
            old, new = dict(row["old_properties"]), dict(row["new_properties"])
            title = row["old_title"] if row["change"] == "removed" else row["new_title"]
            found.append(Change(row["type"], row["change"], row["key"], title, row["kind"] == "link", property_changes(old, new)))
        titles = self._pair_titles([(c.type, c.key) for c in found if c.link], max(bound["a"], bound["b"]))
        return tuple(
            Change(c.type, c.kind, c.key, titles.get((c.type, c.key), c.title), True, c.properties) if c.link else c for c in found
        )

    def _pair_titles(self, pairs: Sequence[tuple[str, str]], seq: int) -> dict[tuple[str, str], str]:
        """Titles of both objects of each pair (link, key), for people; of those whose sides are the objects' keys."""
        ontology = self.ontology()
        ends: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for name, key in pairs:
            link = ontology.link_types.get(name)
            if link is None or link.via is None:
                continue
            sides = ((link.from_type, link.via.from_columns), (link.to_type, link.via.to_columns))
            if all(list(columns) == [ontology.object_type(type).key] for type, columns in sides):
                ends[name, key] = list(zip((link.from_type, link.to_type), json.loads(key), strict=True))
        wanted = sorted({end for both in ends.values() for end in both})
        if not wanted:
            return {}
        found = self.lake.query(
            f"select type, key, argMax(title, seq) as name from {quote_table(HISTORY_TABLE)}\n"
            "where kind = 'object' and type in {types:Array(String)} and key in {keys:Array(String)} and seq <= {seq:UInt64}\n"
            "group by type, key",
            {"types": sorted({t for t, _ in wanted}), "keys": sorted({k for _, k in wanted}), "seq": seq},
        )
        titles = {(r["type"], r["key"]): r["name"] for r in found.to_pylist()}
        return {at: " → ".join(titles.get(end) or end[1] for end in both) for at, both in ends.items()}

    def show(self, type: str, key: Any) -> ObjectHistory:
        """Every recorded version of one object, or of one pair of a many-to-many link, oldest first.

        The key of a pair is a JSON array of both keys. Types that the model no longer has are found too.

        Raises:
            UnknownName: no such type, or no such key in any snapshot; names the nearest.
        """
        ontology, newest = self.ontology(), self._index()
        part = self._part(type, ontology)
        seq = newest[-1][0] if newest else 0
        bound = {"type": part.name, "kind": part.kind, "seq": seq, **_keys(part, key, ontology)}
        mine = f"from {quote_table(HISTORY_TABLE)}\nwhere type = {{type:String}} and kind = {{kind:String}} and seq <= {{seq:UInt64}}"
        rows = []
        if newest:
            wanted = "toJSONString({keys:Array(String)})" if part.kind == "link" else "{keys:Array(String)}"
            rows = self.lake.query(
                f"select key, seq, taken_at, title, properties, _deleted {mine}\n"
                f"and key {'=' if part.kind == 'link' else 'in'} {wanted} order by key, seq", bound,
            ).to_pylist()  # fmt: skip
        if not rows:
            raise self._no_such(part, str(key), mine if newest else "", bound)
        found = [r for r in rows if r["key"] == rows[0]["key"]]
        labels = {s: label for s, _, label in newest}
        return ObjectHistory(part.name, found[0]["key"], part.kind == "link", fold_versions(found, labels))

    def _part(self, name: str, ontology: Ontology) -> Part:
        if name in ontology.object_types:
            return Part(name)
        links = [n for n, link in ontology.link_types.items() if link.via]
        if name in links:
            return Part(name, "link")
        covered = {p: None for s in reversed(self._read("")) for p in s.parts}
        for part in covered:
            if part.name == name:
                return part
        raise UnknownName("object type", name, dict.fromkeys([*ontology.object_types, *links, *(p.name for p in covered)]))

    def _no_such(self, part: Part, key: str, mine: str, bound: Mapping[str, Any]) -> UnknownName:
        near = []
        if mine:
            distance = (
                "least("
                + ", ".join(f"editDistanceUTF8(lowerUTF8(substringUTF8({text}, 1, 100)), {{wanted:String}})" for text in ("key", "title"))
                + ")"
            )
            near = self.lake.query(
                f"select key, title from (select key, argMax(title, seq) as title {mine} group by key limit {_LOOKED_AT})\n"
                f"order by {distance}, key limit 3",
                {**bound, "wanted": key[:100].casefold()},
            ).to_pylist()
        named = [r["key"] if r["title"] in ("", r["key"]) else f"{r['key']} ({r['title']})" for r in near]
        hint = f"near it: {', '.join(named)}" if named else f"no snapshot has any {part} yet; take one with skygraph snapshot take"
        return UnknownName(str(part), key, [r["key"] for r in near], hint=hint)

    # --- as of

    def relation_at(self, snapshot: str | int | Snapshot, object_type: str) -> str:
        """A SELECT of the objects of a type as they were in a snapshot: its properties, with the column types of then.

        Raises:
            UnknownName: no such snapshot or type.
            UsageError: the snapshot does not cover the type.
        """
        found, owner = self.find(snapshot), self.ontology().object_type(object_type)
        if owner.name not in found.counts:
            raise UsageError(f"snapshot {found.name} does not cover {owner.name}", hint=f"it covers {', '.join(found.types)}")
        kept = self.lake.query(
            f"select columns[{{tag:String}}] as columns from {quote_table(SNAPSHOTS_TABLE)} where seq = {{seq:UInt64}}",
            {"tag": Part(owner.name).tag, "seq": found.seq},
        )
        return history.relation_as_of(owner, dict(kept.column(0)[0].as_py()), found.seq)

    def relations_at(self, snapshot: str | int | Snapshot) -> dict[str, str]:
        """What stands after FROM for each dbt model as it was in a snapshot: a SELECT in parentheses, for `Store`.

        Only models of types and many-to-many links that the snapshot covers and the ontology still has.

        Raises:
            UnknownName: no such snapshot.
        """
        found, ontology = self.find(snapshot), self.ontology()
        kept = self.lake.query(
            f"select columns from {quote_table(SNAPSHOTS_TABLE)} where seq = {{seq:UInt64}}", {"seq": found.seq}
        ).to_pylist()
        columns = {tag: dict(held) for tag, held in kept[0]["columns"]}
        relations = {}
        for name, link in ontology.link_types.items():
            if link.via is not None and name in found.links:
                select = history.link_relation_as_of(link, columns.get(Part(name, "link").tag, {}), found.seq)
                relations[link.via.model] = f"({select})"
        for name, owner in ontology.object_types.items():
            if name in found.counts:
                relations[owner.model] = f"({history.relation_as_of(owner, columns.get(Part(name).tag, {}), found.seq)})"
        return relations

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


class _NoTable(Exception):
    """A part whose model has no table in the lake."""

    def __init__(self, owner: ObjectType | LinkType, model: str) -> None:
        super().__init__(model)
        self.model = model
        what = f"link {owner.name}" if isinstance(owner, LinkType) else ""
        self.error = LakeError(f"{what}: its model {model} has no table in the lake yet", hint="run skygraph dbt run")
        if isinstance(owner, ObjectType):
            self.error = missing_model(owner, model)


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


def _bound(parts: Iterable[Part]) -> dict[str, list[str]]:
    """Parts as the parameters `types` and `links`."""
    found: dict[str, list[str]] = {"types": [], "links": []}
    for part in parts:
        found["types" if part.kind == "object" else "links"].append(part.name)
    return found


def _counts(part: Part, row: Mapping[str, Any]) -> Counts:
    return Counts(part.name, part.kind == "link", row.get("added", 0), row.get("removed", 0), row.get("changed", 0))


def _resolve(name: str, index: Sequence[tuple[int, str, str]]) -> int | None:
    """The number of the snapshot that a name stands for, None when there is none."""
    if name == "latest" and index:
        return index[-1][0]
    number = name.removeprefix("#")
    if number.isdecimal() and number.isascii() and any(seq == int(number) for seq, _, _ in index):
        return int(number)
    if labelled := [seq for seq, _, label in index if label and label == name]:
        return labelled[-1]
    begun = {id: seq for seq, id, _ in index if len(name) >= 4 and id.startswith(name.lower())}
    if len(begun) > 1:
        raise UsageError(f"{name!r} begins the ids of {len(begun)} snapshots", hint=f"they are {', '.join(sorted(begun)[:5])}")
    return next(iter(begun.values()), None)


def _keys(part: Part, key: Any, ontology: Ontology) -> dict[str, list[str]]:
    """The texts that a key may be kept under: as given, and as its property would write it. Of a link, both sides."""
    if part.kind == "link":
        try:
            sides = json.loads(key) if isinstance(key, str) else list(key)
        except (ValueError, TypeError):
            sides = [key]
        return {"keys": [str(side) for side in (sides if isinstance(sides, list) else [sides])]}
    texts = [str(key)]
    owner = ontology.object_types.get(part.name)
    if owner is not None:
        with suppress(UsageError):
            texts.append(str(owner.parse(owner.key, key)))
    return {"keys": list(dict.fromkeys(texts))}
