"""What changed: between two snapshots, and in the life of one object.

Pure. `apply(state, changes)` of a whole diff turns the first state into the second. A property without a value is None
here, and the same as a property that is not there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from workbench.answer import Answer, Block, Grid, Heading, Note

if TYPE_CHECKING:
    from workbench.eidolon.answers import Snapshot

__all__ = [
    "Behind",
    "Change",
    "ChangeKind",
    "Counts",
    "LinkCount",
    "ObjectHistory",
    "PropertyChange",
    "PropertyCount",
    "State",
    "TwinDiff",
    "Version",
    "apply",
    "compose",
    "property_changes",
]

ChangeKind = Literal["added", "removed", "changed"]

# (is link, type, key) -> the properties that have a value, as text
State = Mapping[tuple[bool, str, str], Mapping[str, str]]

_SHOWN = 100  # changes that a diff shows of itself


@dataclass(frozen=True)
class PropertyChange:
    """One property before and after; None is no value."""

    name: str
    old: str | None
    new: str | None

    def to_dict(self) -> dict[str, Any]:
        """`name`, `old`, `new`."""
        return {"name": self.name, "old": self.old, "new": self.new}


@dataclass(frozen=True)
class Change:
    """What became of one object, or of one pair of a many-to-many link (`link`; `type` is then the link's name).

    An added or removed one has all its properties, with None on the other side; a changed one those that differ.
    """

    type: str
    kind: ChangeKind
    key: str
    title: str
    link: bool
    properties: tuple[PropertyChange, ...]
    runs: tuple[str, ...] = ()  # the sync runs that brought the rows behind it, where the model's rows can be told by their key
    true_at: dt.datetime | None = None  # when the source says that it became so

    def titled(self, title: str) -> Change:
        """The same change under another title."""
        return replace(self, title=title)

    def to_dict(self) -> dict[str, Any]:
        """The change as data."""
        return {
            "type": self.type,
            "kind": self.kind,
            "key": self.key,
            "title": self.title,
            "link": self.link,
            "properties": [p.to_dict() for p in self.properties],
            "runs": list(self.runs),
            "true_at": self.true_at,
        }


@dataclass(frozen=True)
class Counts:
    """How many of a type (or a link's pairs) were added, removed and changed.

    `runs` says which sync run brought how many of the rows behind them, where that is known.
    """

    type: str
    link: bool
    added: int = 0
    removed: int = 0
    changed: int = 0
    runs: Mapping[str, int] = field(default_factory=dict)  # sync run to how many of these it brought

    @property
    def total(self) -> int:
        """All changes."""
        return self.added + self.removed + self.changed

    def to_dict(self) -> dict[str, Any]:
        """The counts as data."""
        counts = {"type": self.type, "link": self.link, "added": self.added, "removed": self.removed, "changed": self.changed}
        return {**counts, "runs": dict(self.runs)} if self.runs else counts


@dataclass(frozen=True)
class Behind:
    """A sync run that wrote to a raw table under the model of a type between two states of it.

    `objects` is how many of the changes are of a row that this run brought; 0 where rows cannot be told by the objects' key, or where
    the change came by another table: then the run is one of those that may be behind it.
    """

    run_id: str
    table: str
    finished_at: dt.datetime
    inserted: int
    deleted: int
    type: str = ""
    link: bool = False
    objects: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The run as data."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class LinkCount:
    """How many pairs of objects a link came to lead between, and how many it no longer does."""

    link: str
    from_type: str
    to_type: str
    gained: int
    lost: int

    def to_dict(self) -> dict[str, Any]:
        """`link`, `from_type`, `to_type`, `gained`, `lost`."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class PropertyCount:
    """In how many changed objects of a type a property has another value."""

    type: str
    property: str
    count: int

    def to_dict(self) -> dict[str, Any]:
        """`type`, `property`, `count`."""
        return dict(self.__dict__)


def property_changes(old: Mapping[str, str | None], new: Mapping[str, str | None]) -> tuple[PropertyChange, ...]:
    """The properties that differ, in the order of the new ones.

    >>> property_changes({"a": "1", "b": None}, {"a": "", "b": None, "c": None})
    (PropertyChange(name='a', old='1', new=''),)
    """
    names = [*new, *(name for name in old if name not in new)]
    pairs = ((name, old.get(name), new.get(name)) for name in names)
    return tuple(PropertyChange(name, a, b) for name, a, b in pairs if a != b)


def apply(state: State, changes: Iterable[Change]) -> State:
    """The state after the changes. The given one is not touched.

    Raises:
        ValueError: a change does not fit: it adds what is there, or removes or changes what is not, or other values.
    """
    after = {at: dict(properties) for at, properties in state.items()}
    for change in changes:
        at = (change.link, change.type, change.key)
        if (at in after) != (change.kind != "added"):
            raise ValueError(f"{change.type} {change.key} cannot be {change.kind}")
        properties = after.setdefault(at, {})
        for p in change.properties:
            if properties.get(p.name) != p.old:
                raise ValueError(f"{change.type} {change.key}: {p.name} is {properties.get(p.name)!r}, not {p.old!r}")
            properties.pop(p.name, None)
            if p.new is not None:
                properties[p.name] = p.new
        if change.kind == "removed":
            del after[at]
    return after


def compose(first: Iterable[Change], second: Iterable[Change]) -> tuple[Change, ...]:
    """The changes that do what `first` and then `second` do. What comes out as it was is none."""
    found: dict[tuple[bool, str, str], Change] = {(c.link, c.type, c.key): c for c in first}
    for change in second:
        at = (change.link, change.type, change.key)
        before = found.pop(at, None)
        if before is None:
            found[at] = change
            continue
        old = {**{p.name: p.old for p in change.properties}, **{p.name: p.old for p in before.properties}}
        new = {**{p.name: p.new for p in before.properties}, **{p.name: p.new for p in change.properties}}
        was, now = before.kind != "added", change.kind != "removed"
        kind: ChangeKind = "changed" if was and now else "removed" if was else "added"
        properties = property_changes(old, new)
        if (was or now) and (properties or kind != "changed"):
            runs = tuple(sorted({*before.runs, *change.runs}))
            found[at] = replace(change, kind=kind, properties=properties, runs=runs, title=change.title if now else before.title)
    return tuple(found.values())


@dataclass(frozen=True)
class TwinDiff(Answer):
    """What changed from snapshot `a` to snapshot `b`. Counts are exact; `changes` may be the first of more."""

    a: Snapshot
    b: Snapshot
    counts: tuple[Counts, ...]
    changes: tuple[Change, ...]
    not_covered: tuple[str, ...] = ()  # types and links that only one of the two snapshots covers
    cells: tuple[PropertyCount, ...] = ()  # what changed most, first
    links: tuple[LinkCount, ...] = ()  # of every link, those of a join too
    behind: tuple[Behind, ...] = ()  # the sync runs

    @property
    def total(self) -> int:
        """How many objects and pairs changed in all."""
        return sum(c.total for c in self.counts)

    @property
    def truncated(self) -> bool:
        """Whether there are more changes than are listed."""
        return len(self.changes) < self.total

    def to_dict(self) -> dict[str, Any]:
        """`a`, `b`, `counts` per type, `changes`, `total`, `truncated`, `not_covered`."""
        return {
            "a": self.a.reference(),
            "b": self.b.reference(),
            "counts": [c.to_dict() for c in self.counts],
            "changes": [c.to_dict() for c in self.changes],
            "cells": [c.to_dict() for c in self.cells],
            "links": [link.to_dict() for link in self.links],
            "behind": [run.to_dict() for run in self.behind],
            "total": self.total,
            "truncated": self.truncated,
            "not_covered": list(self.not_covered),
        }

    def blocks(self) -> Iterator[Block]:
        """A row per changed property, then the counts per type."""
        yield Heading(f"{self.a.name} → {self.b.name}")
        if self.total:
            shown = self.changes[:_SHOWN]
            yield Grid(
                ["type", "change", "key", "title", "property", "old", "new"],
                [row for change in shown for row in _rows(change)],
                note=f"the first {len(shown):,} of {self.total:,} changes" if len(shown) < self.total else "",
            )
            yield Grid(
                ["type", "added", "removed", "changed"],
                [[_type(c.type, c.link), c.added, c.removed, c.changed] for c in self.counts if c.total],
            )
        if self.cells and self.total > _SHOWN:  # of fewer, the list says it
            yield Grid(["type", "property", "changed objects"], [[c.type, c.property, c.count] for c in self.cells[:10]])
        pairs = {c.type for c in self.counts if c.link}  # those are among the counts
        if links := [k for k in self.links if (k.gained or k.lost) and k.link not in pairs]:
            yield Grid(["link", "from", "to", "gained", "lost"], [[k.link, k.from_type, k.to_type, k.gained, k.lost] for k in links])
        if self.behind:
            yield Grid(
                ["sync run", "table", "finished", "rows", "type", "objects by it"],
                [
                    [r.run_id[:8], r.table, r.finished_at.replace(microsecond=0), r.inserted + r.deleted, r.type, r.objects or ""]
                    for r in self.behind[:10]
                ],
                note=f"the first 10 of {len(self.behind):,} runs" if len(self.behind) > 10 else "",
            )
        same = [_type(c.type, c.link) for c in self.counts if not c.total]
        if not self.counts:
            yield Note("the two snapshots have no type in common", "bad")
        elif not self.total:
            yield Note(f"nothing changed: {', '.join(same)}", "good")
        elif same:
            yield Note(f"unchanged: {', '.join(same)}", "quiet")
        if self.not_covered:
            yield Note(f"not compared, as only one of the two snapshots covers them: {', '.join(self.not_covered)}", "quiet")


def _type(name: str, link: bool) -> str:
    return f"{name} (link)" if link else name


def _rows(change: Change) -> Iterator[list[Any]]:
    """A row per property of a changed object, one row without a property for one that came or went."""
    head = [_type(change.type, change.link), change.kind, change.key, change.title]
    if change.kind != "changed":
        yield [*head, "", "", ""]
    else:
        yield from ([*head, p.name, _value(p.old), _value(p.new)] for p in change.properties)


def _value(value: str | None) -> str:
    """No value is blank, so an empty text shows as one."""
    return "" if value is None else value or '""'


@dataclass(frozen=True)
class Version:
    """One object in one snapshot in which it changed."""

    seq: int
    label: str
    taken_at: dt.datetime
    kind: ChangeKind
    title: str
    properties: tuple[PropertyChange, ...]
    runs: tuple[str, ...] = ()
    true_at: dt.datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """The version as data."""
        return {
            "seq": self.seq,
            "label": self.label,
            "taken_at": self.taken_at,
            "kind": self.kind,
            "title": self.title,
            "properties": [p.to_dict() for p in self.properties],
            "runs": list(self.runs),
            "true_at": self.true_at,
        }


@dataclass(frozen=True)
class ObjectHistory(Answer):
    """Every recorded version of one object, oldest first."""

    type: str
    key: str
    link: bool
    versions: tuple[Version, ...]

    @property
    def title(self) -> str:
        """The newest title."""
        return self.versions[-1].title if self.versions else ""

    def to_dict(self) -> dict[str, Any]:
        """`type`, `key`, `title`, `link`, `versions`."""
        return {
            "type": self.type,
            "key": self.key,
            "title": self.title,
            "link": self.link,
            "versions": [v.to_dict() for v in self.versions],
        }

    def blocks(self) -> Iterator[Block]:
        """A row per changed property of each version."""
        yield Heading(f"{_type(self.type, self.link)} {self.key}" + (f": {self.title}" if self.title != self.key else ""))
        yield Grid(
            ["snapshot", "label", "taken at", "change", "property", "old", "new"],
            [
                [f"#{v.seq}", v.label, v.taken_at, v.kind, *cells]
                for v in self.versions
                for cells in ([[p.name, _value(p.old), _value(p.new)] for p in v.properties if v.kind != "removed"] or [["", "", ""]])
            ],
        )
