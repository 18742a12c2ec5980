"""The explorer at any time: what it asks, as of a snapshot, and how that differs from another one.

It stands between the history and the twin widget as `browse` stands between the store and the explorer. It only reads, and keeps no
time of a person: the time comes with every question.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workbench.answer import to_json
from workbench.browse import Browse, _alone, _key, _key_and_title, _page, _shown_columns, _with_test
from workbench.errors import UnknownName, UsageError
from workbench.ontology import ObjectSet, Store
from workbench.ontology.model import ObjectType, Ontology
from workbench.ontology.query import ObjectQuery, make_condition

if TYPE_CHECKING:
    from workbench.eidolon import Eidolon, Snapshot
    from workbench.errors import InvalidFiles
    from workbench.lake import Lake

__all__ = ["BrowseAt", "Times"]

_MOMENTS, _RECENT = 100_000, 20  # snapshots that are listed: all, and those looked at for new ones
_KEPT = 12  # times that stay in memory
_LISTED = 500  # changes that are listed
_LIFE = 200  # versions of one object
_NEAREST = 50  # objects along a link that are compared
_LONG = 2_000  # characters of a value in a change


class BrowseAt(Browse):
    """What the explorer asks, as of a snapshot; with another one beside it, what differs is marked.

    A row that differs has `mark` (`added`, `removed`, `changed`) and, when changed, `was`: the other values by place. A card has the
    same, its properties and links have `was`; objects along a link are `gained` or `lost` when only the link is.

    Args:
        store: the store as of the snapshot.
        other: the store as of the one that it is compared with.
        alone: what an object is that the other one has not: `added` where the other one is older, else `removed`.
        first: of a type, the properties whose columns come first.
        point: the number of the snapshot, for the commands that show the same.
    """

    def __init__(
        self, store: Store, *, lake: Callable[[], Lake], lakes: dict[str, Lake], other: Store | None = None, alone: str = "added",
        first: Callable[[str], frozenset[str]] = lambda type: frozenset(), point: str = "",
        problems: Callable[[], InvalidFiles | None] = lambda: None,
    ) -> None:  # fmt: skip
        super().__init__(lambda: store, problems, lake=lake, lakes=lakes)
        self._other, self._only, self._first, self._point = other, alone, first, point

    def open(self, text: str, edit: Mapping[str, Any] | None = None, size: int = 100) -> dict[str, Any]:
        """As of the explorer, with marks."""
        answer = super().open(text, edit, size)
        type = answer["type"]["name"]
        self._mark("open", type, answer["page"]["rows"])
        self._date(answer)
        names = [column["name"] for column in answer["columns"]]
        order = self._order(type, names)
        answer["columns"] = [answer["columns"][i] for i in order]
        _reorder(answer["page"]["rows"], order)
        return answer

    def page(self, text: str, after: str | None, size: int) -> dict[str, Any]:
        """As of the explorer, with marks."""
        answer = super().page(text, after, size)
        kind = self._at("page", text).object_type
        self._mark("page", kind.name, answer["rows"])
        _reorder(answer["rows"], self._order(kind.name, [p.name for p in _shown_columns(kind)]))
        return answer

    def card(self, type: str, key: str) -> dict[str, Any]:
        """As of the explorer, with marks; of an object that is not there, `absent`."""
        kind, there = self._store("card").ontology.object_type(type), self._beside("card")
        try:
            answer = self._date(super().card(type, key))
        except UnknownName:
            answer = {
                "type": kind.name, "key": key, "title": key, "text": "", "command": "", "python": "", "properties": [], "links": [],
                "warnings": [], "absent": True,
            }  # fmt: skip
        if there is None or not _is_built(there, type):
            return answer
        try:
            was = BrowseAt(there, lake=self._lake_of("card"), lakes={}).one(type, key)
        except UnknownName:
            return answer if answer.get("absent") else {**answer, "mark": self._only}
        if answer.get("absent"):
            return {**answer, "title": was["title"], "mark": "removed" if self._only == "added" else "added"}
        old = {p["name"]: p["value"] for p in was["properties"]}
        for one in answer["properties"]:
            if old.get(one["name"]) != one["value"]:
                one["was"] = old.get(one["name"])
                answer["mark"] = "changed"
        counts = {link["name"]: link["count"] for link in was["links"]}
        for link in answer["links"]:
            if counts.get(link["name"]) != link["count"]:
                link["was"] = counts.get(link["name"])
        return answer

    def one(self, type: str, key: str) -> dict[str, Any]:
        """One object, without marks; UnknownName when it is not there."""
        return super().card(type, key)

    def links_of(self, type: str, key: str) -> dict[str, Any]:
        """As of the explorer; an object that is not there has no links."""
        try:
            answer = super().links_of(type, key)
        except UnknownName:
            return {"text": "", "links": []}
        there = self._beside("links_of")
        if there is not None:
            try:
                counts = {end.name: count for end, count in there.object(type, key).links}
            except UnknownName:
                counts = {}
            for link in answer["links"]:
                if counts.get(link["name"]) != link["count"]:
                    link["was"] = counts.get(link["name"])
        return answer

    def near(self, type: str, key: str, link: str, limit: int) -> dict[str, Any]:
        """As of the explorer, with marks; what only the other time has along the link comes last, as `lost`."""
        store, there = self._store("near"), self._beside("near")
        kind = store.ontology.object_type(type)
        mine = _alone(store, kind, kind.parse(kind.key, key)).linked(link)
        rows = _page(mine, max(1, limit), None)["rows"][:limit]
        found = [{"key": row["key"], "title": row["title"]} for row in rows if row["key"] is not None]
        if there is None or not _is_built(there, type) or not _is_built(there, mine.object_type.name):
            return {"objects": found}
        self._mark("near", mine.object_type.name, rows)
        theirs = _alone(there, kind, kind.parse(kind.key, key)).linked(link)
        held = _keys_in(theirs, [one["key"] for one in found])
        marks = {row["key"]: row.get("mark") for row in rows}
        later = self._only == "added"
        for one in found:
            mark = marks.get(one["key"]) or (None if one["key"] in held else "gained" if later else "lost")
            if mark:
                one["mark"] = mark
        others = [_key_and_title(mine.object_type, row) for row in theirs.page(_NEAREST).rows.to_pylist()]
        here = _keys_in(mine, [k for k, _ in others if k is not None])
        lost = [{"key": k, "title": t, "mark": "lost" if later else "gained"} for k, t in others if k is not None and k not in here]
        return {"objects": found, "lost": lost[:limit]}

    def _date(self, answer: dict[str, Any]) -> dict[str, Any]:
        """An answer whose command and Python say the time."""
        if self._point:
            answer["command"] = f"{answer['command']} --as-of {self._point}"
            answer["python"] = f"bench.twin({answer['text']!r}, at={self._point!r})"
        return answer

    # --- the other time

    def _lake_of(self, kind: str) -> Callable[[], Lake]:
        return lambda: self._store(kind).lake

    def _beside(self, kind: str) -> Store | None:
        """The other time's store, over the connection of a kind of question."""
        return None if self._other is None else replace(self._other, lake=self._store(kind).lake)

    def _order(self, type: str, names: Sequence[str]) -> list[int]:
        """The places of the columns: the title, what changed, the rest."""
        changed = self._first(type)
        return sorted(range(len(names)), key=lambda i: (i > 0, names[i] not in changed, i))

    def _mark(self, kind: str, type: str, rows: Sequence[dict[str, Any]]) -> None:
        """Mark the rows of a page that differ from the other time."""
        there = self._beside(kind)
        keys = [row["key"] for row in rows if row["key"] is not None]
        if there is None or not keys:
            return
        owner = there.ontology.object_type(type)
        if not _is_built(there, type):
            return
        found = ObjectSet(there, ObjectQuery(owner.name, (make_condition(owner, owner.key, "in", keys),)))
        others = {row["key"]: row["cells"] for row in _page(found, len(keys), None)["rows"]}
        for row in rows:
            cells = others.get(row["key"])
            if row["key"] is None:
                continue
            if cells is None:
                row["mark"] = self._only
            elif was := {str(i): cells[i] for i, cell in enumerate(row["cells"]) if cell != cells[i]}:
                row["mark"], row["was"] = "changed", was


def _is_built(store: Store, type: str) -> bool:
    return store.ontology.object_type(type).model in store.relations


def _reorder(rows: Sequence[dict[str, Any]], order: Sequence[int]) -> None:
    for row in rows:
        row["cells"] = [row["cells"][i] for i in order]
        if "was" in row:
            row["was"] = {str(new): row["was"][str(old)] for new, old in enumerate(order) if str(old) in row["was"]}


def _keys_in(found: ObjectSet, keys: Sequence[str]) -> set[str]:
    """Which of these keys a set has."""
    if not keys:
        return set()
    kind: ObjectType = found.object_type
    test = make_condition(kind, kind.key, "in", keys)
    return {_key(row[kind.key]) for row in ObjectSet(found.store, _with_test(found.query, test)).page(len(keys)).rows.to_pylist()}


class Times:
    """All that the twin widget asks of one workbench.

    Args:
        eidolon: the history.
        lake: makes a further connection.
    """

    def __init__(self, eidolon: Eidolon, lake: Callable[[], Lake]) -> None:
        self._eidolon, self._make_lake = eidolon, lake
        self._lock = threading.Lock()
        self._lakes: dict[str, dict[str, Lake]] = {"at": {}, "from": {}}
        self._stores: OrderedDict[int, tuple[Ontology, Store]] = OrderedDict()
        self._properties: dict[tuple[int, int, str], frozenset[str]] = {}

    def moments(self, since: str) -> dict[str, Any]:
        """The snapshots after one, oldest first, or all: `value`, `label`, `taken_at`, `count` of what changed, `objects`."""
        after = _number(since) if since else 0
        taken = self._eidolon.list(_RECENT if since else _MOMENTS).snapshots
        if since and taken and taken[0].seq > after:  # more came than that
            taken = self._eidolon.list(_MOMENTS).snapshots
        return {"moments": [_moment(s) for s in taken if s.seq > after]}

    def browse(self, side: str, at: str, against: str | None) -> BrowseAt:
        """What the explorer of a side asks at a time, beside another one."""
        other = None if against is None else self._store(_number(against))
        alone = "added" if against is None or _number(at) >= _number(against) else "removed"

        def first(type: str) -> frozenset[str]:
            if against is None:
                return frozenset()
            a, b = sorted((_number(at), _number(against)))
            return self._changed(a, b, type)

        return BrowseAt(
            self._store(_number(at)), lake=self._make_lake, lakes=self._lakes[side], other=other, alone=alone, first=first, point=at
        )

    def changes(self, a: str, b: str, type: str) -> dict[str, Any]:
        """What changed from one time to another: `counts` by type, and of a type (or of all) the first changes."""
        found = self._eidolon.diff(_number(a), _number(b), [type] if type else [], limit=_LISTED).to_dict()
        for change in found["changes"]:
            for one in change["properties"]:
                one["old"], one["new"] = (None if v is None else str(v)[:_LONG] for v in (one["old"], one["new"]))
        return {k: to_json(found[k]) for k in ("counts", "changes", "total", "not_covered")}

    def life(self, type: str, key: str) -> dict[str, Any]:
        """Every version of one object, newest first: `value` of the moment, `label`, `kind`, `properties` with old and new."""
        try:
            found = self._eidolon.show(type, key)
        except UnknownName:
            return {"versions": [], "more": 0}
        newest = list(reversed(found.versions))
        return {
            "versions": [
                {
                    "value": str(v.seq), "label": v.label or f"{v.taken_at:%Y-%m-%d %H:%M}", "kind": v.kind,
                    "properties": [
                        {"name": p.name, **{side: None if t is None else t[:_LONG] for side, t in (("old", p.old), ("new", p.new))}}
                        for p in v.properties
                    ] if v.kind == "changed" else [],
                }
                for v in newest[:_LIFE]
            ],
            "more": max(0, len(newest) - _LIFE),
        }  # fmt: skip

    def stop(self, side: str, kind: str) -> None:
        """End what a side asks of a kind now."""
        lake = self._lakes[side].get(kind) if side in self._lakes else None
        if lake is not None:
            lake.stop_queries()

    def close(self) -> None:
        """Drop the connections."""
        for held in self._lakes.values():
            for lake in list(held.values()):
                lake.close()
            held.clear()

    def _changed(self, a: int, b: int, type: str) -> frozenset[str]:
        """The properties of a type that changed from one time to another, as far as the first changes tell."""
        asked = (a, b, type)
        if asked not in self._properties:
            try:
                changes = self._eidolon.diff(a, b, [type], limit=_LISTED).changes
            except UsageError:  # one of the two does not cover the type
                changes = ()
            if len(self._properties) > 100:
                self._properties.clear()
            self._properties[asked] = frozenset(p.name for c in changes if c.kind == "changed" and c.type == type for p in c.properties)
        return self._properties[asked]

    def _store(self, seq: int) -> Store:
        """The store as of a snapshot; a snapshot never changes, the ontology may."""
        ontology = self._eidolon.ontology()
        with self._lock:
            held = self._stores.get(seq)
            if held is not None and held[0] is ontology:
                self._stores.move_to_end(seq)
                return held[1]
        past = self._eidolon.past(seq, Store(self._eidolon.lake, ontology, {}))
        # the time comes with each question, so the texts of sets say nothing of it; a type that was not known then is not built
        made = replace(past, relations=dict(past.relations), as_of=None, past=None, now=None)
        with self._lock:
            self._stores[seq] = (ontology, made)
            while len(self._stores) > _KEPT:
                self._stores.popitem(last=False)
        return made


def _moment(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "value": str(snapshot.seq), "label": snapshot.label or f"{snapshot.taken_at:%Y-%m-%d %H:%M}", "count": snapshot.rows_added,
        "taken_at": f"{snapshot.taken_at:%Y-%m-%d %H:%M:%S} UTC", "objects": snapshot.object_count,
    }  # fmt: skip


def _number(value: str) -> int:
    if not value.isdecimal() or not value.isascii() or len(value) > 18:
        raise UsageError("the number of a snapshot was expected")
    return int(value)
