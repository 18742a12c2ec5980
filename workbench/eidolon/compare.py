"""Ask the lake what changed between two snapshots, and what became of one object."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.eidolon.answers import Snapshot
from workbench.eidolon.diff import Change, Counts, LinkCount, ObjectHistory, PropertyCount, TwinDiff, Version, property_changes
from workbench.eidolon.history import OPEN, Layout, Part, value_of
from workbench.errors import UnknownName, UsageError
from workbench.lake import Lake
from workbench.lake.sql import quote_text
from workbench.ontology.model import Ontology

__all__ = ["compare", "export", "life_of"]

_LOOKED_AT = 100_000  # keys searched for one near a wrong one
_KINDS = ("added", "removed", "changed")
_ORDER = "indexOf(['added', 'removed', 'changed'], change), toInt128OrZero(key), key"


@dataclass(frozen=True)
class Only:
    """Which changes are meant: of these kinds, and of one of these properties; none named is all."""

    kinds: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()

    @staticmethod
    def of(kinds: Sequence[str], properties: Sequence[str]) -> Only:
        """Checked: a kind that is none is an error."""
        for kind in kinds:
            if kind not in _KINDS:
                raise UnknownName("kind of change", kind, _KINDS)
        return Only(tuple(kinds), tuple(properties))

    def where(self, names: Sequence[str]) -> str:
        """The condition on a changed key whose texts are of these properties."""
        tests = []
        if self.kinds:
            tests.append(f"change in ({', '.join(map(quote_text, self.kinds))})")
        if self.properties:
            places = [i + 1 for i, name in enumerate(names) if name in self.properties]
            old, new = (f"arrayResize({side}, {len(names)})" for side in ("old", "new"))
            differ = [f"({old}[{i}] is null) != ({new}[{i}] is null) or ifNull({old}[{i}] != {new}[{i}], 0)" for i in places]
            tests.append(f"({' or '.join(differ)})" if differ else "0")
        return " and ".join(tests)


def compare(
    lake: Lake, ontology: Ontology, layouts: Mapping[Part, Layout], a: Snapshot, b: Snapshot, parts: Sequence[Part], *,
    limit: int, not_covered: tuple[str, ...], only: Only,
) -> TwinDiff:  # fmt: skip
    """What changed from `a` to `b` in these parts: exact counts, the first `limit` changes."""
    views = {part: _View(layouts[part], ontology, only) for part in parts if part in layouts}
    asked = []
    for i, view in enumerate(views.values()):
        both = f"arrayResize(old, {len(view.values)}), arrayResize(new, {len(view.values)})"  # one that is not there has no texts
        differ = f"arrayMap((x, y) -> toUInt64((x is null) != (y is null) or ifNull(x != y, 0)), {both})"
        asked.append(
            f"select {i} as place, countIf(change = 'added') as added, countIf(change = 'removed') as removed,\n"
            f"    countIf(change = 'changed') as changed, sumForEachIf({differ}, change = 'changed') as cells,\n"
            f"    sumMap(runs, arrayMap(x -> toUInt64(1), runs)) as by_run from (\n{view.touched(a.seq, b.seq)}\n)"
        )
    rows = lake.rows("\nunion all\n".join(asked)) if asked and a.seq != b.seq else []
    found = {list(views)[row["place"]]: row for row in rows}
    counts = tuple(
        Counts(p.name, p.kind == "link", int(r.get("added", 0)), int(r.get("removed", 0)), int(r.get("changed", 0)), _by_run(r))
        for p in parts
        for r in (found.get(p, {}),)
    )
    cells = [
        PropertyCount(p.name, name, int(n)) for p, row in found.items() for name, n in zip(views[p].values, row["cells"], strict=False) if n
    ]
    changes: list[Change] = []
    for part, counted in zip(parts, counts, strict=True):
        left = limit - len(changes)
        if counted.total and left > 0:
            changes += views[part].changes(lake, a.seq, b.seq, left)
    titled = _with_titles(lake, ontology, layouts, changes)
    most = tuple(sorted(cells, key=lambda c: (-c.count, c.type, c.property)))
    return TwinDiff(a, b, counts, titled, not_covered, most, tuple(_links(lake, ontology, layouts, a.seq, b.seq, counts)))


def _links(lake: Lake, ontology: Ontology, layouts: Mapping[Part, Layout], a: int, b: int, counts: Sequence[Counts]) -> Iterator[LinkCount]:
    """Of each link between the parts: how many pairs it gained and lost. Those of a join follow from its two types."""
    by_part = {Part(c.type, "link" if c.link else "object"): c for c in counts}
    for link in ontology.link_types.values():
        pairs, ends = by_part.get(Part(link.name, "link")), [by_part.get(Part(t)) for t in (link.from_type, link.to_type)]
        if link.via is not None:
            if pairs:
                yield LinkCount(link.name, link.from_type, link.to_type, pairs.added, pairs.removed)
            continue
        if None in ends or not all(Part(t) in layouts for t in (link.from_type, link.to_type)):
            continue
        gained = lost = 0
        if any(end and end.total for end in ends):
            near = _Side(layouts[Part(link.from_type)], ontology, link.from_type, list(link.join))
            far = _Side(layouts[Part(link.to_type)], ontology, link.to_type, list(link.join.values()))
            edges = []
            for sign, seq in ((1, b), (-1, a)):
                for one, other in ((near, far), (far, near)):
                    # the objects whose side of the join may be another now, with what they are joined to
                    fk, tk = ("m.key", "o.key") if one is near else ("o.key", "m.key")
                    edges.append(
                        f"select {fk} as fk, {tk} as tk, {sign} as sign from ({other.at(seq)}) as o\n"
                        f"inner join ({one.at(seq)} and {one.key} in ({one.moved(a, b)})) as m on o.joined = m.joined"
                    )
            row = lake.rows(
                "select countIf(s > 0) as gained, countIf(s < 0) as lost from (\n"
                "    select fk, tk, sum(sign) as s from (\n        select distinct * from (\n"
                + "\nunion all\n".join(edges)
                + "\n        )\n    ) group by fk, tk\n)"
            )[0]
            gained, lost = int(row["gained"]), int(row["lost"])
        yield LinkCount(link.name, link.from_type, link.to_type, gained, lost)


class _Side:
    """One side of a join link: the key of its objects and what they are joined by, as texts."""

    def __init__(self, layout: Layout, ontology: Ontology, type: str, names: Sequence[str]) -> None:
        owner = ontology.object_type(type)

        def text(name: str) -> str:
            if not owner.property(name).is_computed:
                return layout.text(name, owner.key)
            return f"cast(toString({owner.sql(name, lambda n: _typed(layout, owner.key, n))}) as Nullable(String))"

        self.layout, self.key = layout, layout.key_text()
        self.texts = {name: text(name) for name in names}
        self.joined = f"toJSONString([{', '.join(f'assumeNotNull({text})' for text in self.texts.values())}])"

    def at(self, seq: int) -> str:
        present = " and ".join(f"{t} is not null" for t in self.texts.values())
        return (
            f"select {self.key} as key, {self.joined} as joined from {self.layout.table} as h where {self.layout.as_of(seq)} and {present}"
        )

    def moved(self, a: int, b: int) -> str:
        """The keys of the objects that came, went, or are joined by something else."""
        return f"select key from (\n{self.layout.touched(a, b, self.texts)}\n) where change != 'changed' or toString(old) != toString(new)"


def _typed(layout: Layout, key: str, name: str) -> str:
    """A stored property as a value, in the newest type that it has had."""
    if name == key:
        return "h._k0"
    held = layout.properties.get(name, ())
    return layout.value(name, layout.columns[held[-1]]) if held else "cast(null as Nullable(String))"


_FORMATS = {"csv": "CSVWithNames", "parquet": "Parquet", "jsonl": "JSONEachRow", "arrow": "Arrow"}


def export(
    lake: Lake,
    ontology: Ontology,
    layouts: Mapping[Part, Layout],
    a: Snapshot,
    b: Snapshot,
    parts: Sequence[Part],
    path: Path,
    format: str,
    only: Only,
) -> int:
    """Write every change to a file, a row per property that differs, by the lake; the bytes written."""
    target = path.expanduser()
    chosen = format or target.suffix.lstrip(".").lower()
    if chosen not in _FORMATS:
        raise UnknownName("format", chosen or target.name, _FORMATS)
    selects = []
    for part in parts:
        if part not in layouts:
            continue
        view = _View(layouts[part], ontology, only)
        names = f"[{', '.join(map(quote_text, view.values))}]"
        size = len(view.values)
        selects.append(
            f"select {quote_text(part.name)} as type, {int(part.kind == 'link')} as link, change, key, title,\n"
            "    tupleElement(cell, 1) as property, tupleElement(cell, 2) as old, tupleElement(cell, 3) as new, run_ids, true_at\n"
            "from (\n    select change, key, if(change = 'removed', old_title, new_title) as title,\n"
            "        arrayStringConcat(runs, ' ') as run_ids, true_at,\n"
            "        arrayJoin(arrayFilter(c -> (c.2 is null) != (c.3 is null) or ifNull(c.2 != c.3, 0),\n"
            f"            arrayZip({names}, arrayResize(old, {size}), arrayResize(new, {size})))) as cell\n"
            f"    from (\n{view.touched(a.seq, b.seq)}\n    )\n)"
        )
    if not selects:
        raise UsageError("the two snapshots have no type in common")
    sql = "select * from (\n" + "\nunion all\n".join(selects) + "\n) order by type, change, key, property"
    partial, written = target.with_name(f".{target.name}.partial"), 0
    try:
        with partial.open("wb") as out:
            for block in lake.stream(sql, None, _FORMATS[chosen]):
                written += out.write(block)
        partial.replace(target)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return written


def _by_run(row: Mapping[str, Any]) -> dict[str, int]:
    runs, counts = list(dict(row.get("by_run") or {"1": (), "2": ()}).values())
    return {run: int(n) for run, n in zip(runs, counts, strict=True)}


class _View:
    """A part with the texts that people see of it: names and values of properties, the title, the key."""

    def __init__(self, layout: Layout, ontology: Ontology, only: Only | None = None) -> None:
        self.layout, self.part, self.only = layout, layout.part, only
        owner = ontology.object_types.get(self.part.name) if self.part.kind == "object" else None
        link = ontology.link_types.get(self.part.name) if self.part.kind == "link" else None
        self.sides: tuple[int, ...] = ()
        self.title = "''"
        if self.part.kind == "link":
            if link and link.via:
                self.sides = (len(link.via.from_columns), len(link.via.to_columns))
            key = layout.key_text(self.sides)
            ends = f"JSONExtract({key}, 'Array(String)')"
            self.values = {"from": f"cast({ends}[1] as Nullable(String))", "to": f"cast({ends}[2] as Nullable(String))"}
            self.title = f"arrayStringConcat({ends}, ' → ')"
            return
        key_name = owner.key if owner else "key"
        names = [p.name for p in owner.stored if p.name == key_name or p.name in layout.properties] if owner else [key_name]
        names += [n for n in layout.properties if n not in names]
        self.values = {n: layout.text(n, key_name) for n in names}
        if owner is None:
            self.title = f"ifNull({self.values[key_name]}, '')"
        elif not owner.property(owner.title).is_computed:
            self.title = "ifNull(" + self.values.get(owner.title, "''") + ", '')"
        else:
            self.title = f"ifNull(toString({owner.sql(owner.title, lambda n: _typed(layout, owner.key, n))}), '')"

    def touched(self, a: int, b: int) -> str:
        found = self.layout.touched(a, b, self.values, self.title, self.sides)
        where = self.only.where(list(self.values)) if self.only else ""
        return f"select * from (\n{found}\n) where {where}" if where else found

    def changes(self, lake: Lake, a: int, b: int, limit: int) -> list[Change]:
        """The first changes: added, removed, changed, each by key, numbers as numbers."""
        rows = lake.rows(f"select * from (\n{self.touched(a, b)}\n) order by {_ORDER} limit {int(limit)}")
        found = []
        for row in rows:
            old = dict(zip(self.values, row["old"], strict=True)) if row["change"] != "added" else {}
            new = dict(zip(self.values, row["new"], strict=True)) if row["change"] != "removed" else {}
            title = row["old_title"] if row["change"] == "removed" else row["new_title"]
            runs = tuple(sorted(row["runs"]))
            changed = property_changes(_known(old), _known(new))
            found.append(Change(self.part.name, row["change"], row["key"], title, self.part.kind == "link", changed, runs, row["true_at"]))
        return found

    def keys(self, texts: Sequence[Sequence[str]]) -> str:
        """A condition: the key is one of these, given as texts of its columns; found by the primary key."""
        types = self.layout.key_types
        rows = [
            ", ".join(value_of(quote_text(t), held) for t, held in zip(row, types, strict=True)) for row in texts if len(row) == len(types)
        ]
        return f"{self.layout.keys('h')} in ({', '.join(f'({row})' for row in rows)})" if rows else "0"


def _known(values: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name: value for name, value in values.items() if value is not None}


def _with_titles(lake: Lake, ontology: Ontology, layouts: Mapping[Part, Layout], changes: Sequence[Change]) -> tuple[Change, ...]:
    """The changes, each pair with the titles of both its objects; of those whose sides are the objects' keys."""
    ends: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for change in changes:
        link = ontology.link_types.get(change.type) if change.link else None
        if link is None or link.via is None:
            continue
        sides = ((link.from_type, link.via.from_columns), (link.to_type, link.via.to_columns))
        if all(list(columns) == [ontology.object_type(type).key] for type, columns in sides):
            ends[change.type, change.key] = list(zip((link.from_type, link.to_type), json.loads(change.key), strict=True))
    titles: dict[tuple[str, str], str] = {}
    for type in {t for both in ends.values() for t, _ in both}:
        layout = layouts.get(Part(type))
        keys = sorted({k for both in ends.values() for t, k in both if t == type})
        if layout is None or len(layout.key_types) != 1:
            continue
        view = _View(layout, ontology)
        listed = value_of("arrayJoin({keys:Array(String)})", layout.key_types[0])
        for start in range(0, len(keys), 1000):
            rows = lake.rows(
                f"select {layout.key_text()} as key, argMax({view.title}, h._from) as title from {layout.table} as h\n"
                f"where h._k0 in (select {listed}) and h._to > h._from group by key",
                {"keys": keys[start : start + 1000]},
            )
            titles.update({(type, row["key"]): row["title"] for row in rows})
    return tuple(
        change if (both := ends.get((change.type, change.key))) is None or not change.link
        else change.titled(" → ".join(titles.get(end) or end[1] for end in both))
        for change in changes
    )  # fmt: skip


def life_of(
    lake: Lake, ontology: Ontology, layout: Layout | None, part: Part, key: Any, times: Sequence[tuple[int, str, Any]]
) -> ObjectHistory:
    """Every recorded version of one object or pair, oldest first.

    Raises:
        UnknownName: no snapshot has it; names the nearest.
    """
    if layout is None or not times:
        raise UnknownName(str(part), str(key), (), hint=f"no snapshot has any {part} yet; take one with skygraph snapshot take")
    view, last = _View(layout, ontology), times[-1][0]
    condition = view.keys(_texts(part, key, ontology))
    texts = f"[{', '.join(view.values.values())}]"
    rows = lake.rows(
        f"select {layout.key_text(view.sides)} as key, h._from as since, h._to as until, {view.title} as title, {texts} as texts,\n"
        f"    toString(h._run_id) as run_id, h._true_at as true_at\n"
        f"from {layout.table} as h where {condition} and h._from <= {last} order by key, since, until"
    )
    rows = [row for row in rows if row["key"] == rows[0]["key"]]
    if not any(row["until"] > row["since"] for row in rows):
        raise _no_such(lake, view, str(key), last)
    found = _fold(rows, list(view.values), times)
    return ObjectHistory(part.name, rows[0]["key"], part.kind == "link", tuple(found))


def _fold(rows: Sequence[Mapping[str, Any]], names: Sequence[str], times: Sequence[tuple[int, str, Any]]) -> list[Version]:
    """Versions and the gaps between them as what each of them changed. A number whose snapshot is gone counts as the next one's."""
    seqs = [seq for seq, _, _ in times]

    def seen(number: int) -> int | None:
        """The place of the first snapshot from a number on."""
        place = bisect_left(seqs, number)
        return place if place < len(seqs) else None

    versions = [r for r in rows if r["until"] > r["since"]]
    goings = {r["since"]: r for r in rows if r["until"] == r["since"]}
    found: list[Version] = []
    before: Mapping[str, str | None] = {}
    until = 0
    for row in [*versions, None]:
        since = row["since"] if row else OPEN
        if before and until < since and (at := seen(until)) is not None and (row is None or seqs[at] < since):
            going = goings.get(until, {})
            title, runs = found[-1].title, ((going["run_id"],) if going.get("run_id") else ())
            found.append(Version(*times[at], "removed", title, property_changes(before, {}), runs, going.get("true_at")))
            before = {}
        if row is None or (at := seen(since)) is None or seqs[at] >= row["until"]:
            if row is not None and before:
                until = row["until"]
            continue
        after = _known(dict(zip(names, row["texts"], strict=True)))
        runs = (row["run_id"],) if row["run_id"] else ()
        found.append(
            Version(*times[at], "changed" if before else "added", row["title"], property_changes(before, after), runs, row["true_at"])
        )
        before, until = after, row["until"]
    return found


def _texts(part: Part, key: Any, ontology: Ontology) -> list[list[str]]:
    """The texts that a key may be kept under: as given, and as its property would write it. Of a link, both sides."""
    if part.kind == "link":
        try:
            sides = json.loads(key) if isinstance(key, str) else list(key)
        except (ValueError, TypeError):
            sides = [key]
        flat: list[str] = []
        for side in sides if isinstance(sides, list) else [sides]:
            try:
                inner = json.loads(side) if isinstance(side, str) and side[:1] == "[" else side
            except ValueError:
                inner = side
            flat += [str(s) for s in inner] if isinstance(inner, list) else [str(inner)]
        return [flat, [str(s) for s in sides]] if isinstance(sides, list) else [flat]
    texts = [str(key)]
    owner = ontology.object_types.get(part.name)
    if owner is not None:
        with suppress(UsageError):
            texts.append(str(owner.parse(owner.key, key)))
    return [[text] for text in dict.fromkeys(texts)]


def _no_such(lake: Lake, view: _View, key: str, last: int) -> UnknownName:
    distance = (
        "least("
        + ", ".join(f"editDistanceUTF8(lowerUTF8(substringUTF8({text}, 1, 100)), {{wanted:String}})" for text in ("key", "title"))
        + ")"
    )
    layout = view.layout
    near = lake.rows(
        f"select key, title from (select {layout.key_text(view.sides)} as key, argMax({view.title}, h._from) as title\n"
        f"from {layout.table} as h where h._from <= {last} and h._to > h._from group by key limit {_LOOKED_AT})\n"
        f"order by {distance}, key limit 3",
        {"wanted": key[:100].casefold()},
    )
    named = [r["key"] if r["title"] in ("", r["key"]) else f"{r['key']} ({r['title']})" for r in near]
    hint = f"near it: {', '.join(named)}" if named else f"no snapshot has any {view.part} yet; take one with skygraph snapshot take"
    return UnknownName(str(view.part), key, [r["key"] for r in near], hint=hint)
