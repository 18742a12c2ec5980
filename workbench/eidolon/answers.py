"""Snapshots as answers: one, and the list of all."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.answer import Answer, Block, Grid, Heading, Note
from workbench.eidolon.history import Part

__all__ = ["Event", "Events", "Snapshot", "SnapshotList"]


@dataclass(frozen=True)
class Snapshot(Answer):
    """The state of some object types at a moment, and how it differs from what was known of them before.

    `id` is of the data alone: equal data of the same types gives the same id. `counts` is objects by type, `links` pairs
    by many-to-many link. `added`, `removed` and `changed` count objects and pairs.
    """

    seq: int
    id: str
    label: str
    taken_at: dt.datetime
    counts: Mapping[str, int]
    links: Mapping[str, int]
    added: int
    removed: int
    changed: int
    skipped: tuple[str, ...] = ()  # said once, when it is taken: what had no table in the lake
    events: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False)  # added, removed, changed by the tag of a part

    @property
    def name(self) -> str:
        """The number, and the label when there is one."""
        return f"#{self.seq} {self.label}" if self.label else f"#{self.seq}"

    @property
    def types(self) -> tuple[str, ...]:
        """The object types it covers."""
        return tuple(self.counts)

    @property
    def object_count(self) -> int:
        """Objects of all types."""
        return sum(self.counts.values())

    @property
    def rows_added(self) -> int:
        """Rows that the history grew by: one for each object or pair that changed."""
        return self.added + self.removed + self.changed

    @property
    def parts(self) -> tuple[Part, ...]:
        """What it covers: types, then links."""
        return (*(Part(t) for t in self.counts), *(Part(n, "link") for n in self.links))

    def reference(self) -> dict[str, Any]:
        """`seq`, `id`, `label`, `taken_at`."""
        return {"seq": self.seq, "id": self.id, "label": self.label, "taken_at": self.taken_at}

    def to_dict(self) -> dict[str, Any]:
        """The snapshot as data; `skipped` only when something was."""
        found = {
            **self.reference(),
            "types": list(self.types),
            "counts": dict(self.counts),
            "links": dict(self.links),
            "object_count": self.object_count,
            "added": self.added,
            "removed": self.removed,
            "changed": self.changed,
            "rows_added": self.rows_added,
        }
        return {**found, "skipped": list(self.skipped)} if self.skipped else found

    def blocks(self) -> Iterator[Block]:
        """What it is, what changed, and how many objects of each type there are."""
        yield Heading(f"snapshot {self.name}")
        yield Note(f"id {self.id}, taken {self.taken_at:%Y-%m-%d %H:%M:%S} UTC", "quiet")
        if self.rows_added:
            changed = f"{self.added:,} added, {self.removed:,} removed, {self.changed:,} changed"
            yield Note(f"{changed}: {self.rows_added:,} rows of history", "good")
        else:
            yield Note("nothing changed: the history did not grow", "good")
        rows = [[t, n] for t, n in self.counts.items()] + [[f"{name} (link)", n] for name, n in self.links.items()]
        yield Grid(["type", "objects"], rows)
        if self.skipped:
            yield Note(f"skipped, as the lake has no table for it yet: {', '.join(self.skipped)}; run skygraph dbt run", "bad")


@dataclass(frozen=True)
class SnapshotList(Answer):
    """Snapshots, newest last; `total` is how many there are in all."""

    snapshots: tuple[Snapshot, ...]
    total: int = 0

    def to_dict(self) -> list[dict[str, Any]]:
        """A snapshot each, newest last."""
        return [s.to_dict() for s in self.snapshots]

    def blocks(self) -> Iterator[Block]:
        """A row per snapshot."""
        yield Grid(
            ["snapshot", "id", "label", "taken at", "types", "objects", "added", "removed", "changed"],
            [
                [
                    f"#{s.seq}",
                    s.id[:8],
                    s.label,
                    s.taken_at.replace(microsecond=0),
                    len(s.types),
                    s.object_count,
                    s.added,
                    s.removed,
                    s.changed,
                ]
                for s in self.snapshots
            ],
            empty="no snapshot yet; take one with skygraph snapshot take",
            note=f"the newest {len(self.snapshots):,} of {self.total:,}" if len(self.snapshots) < self.total else "",
        )


@dataclass(frozen=True)
class Event:
    """What happened to the objects of a type, or the pairs of a link, in one snapshot or in a stretch of time.

    `since` and `until` are its ends: of a snapshot both are when it was taken. `seq` is the snapshot, or the last one of the stretch.
    """

    since: dt.datetime
    until: dt.datetime
    seq: int
    type: str
    link: bool
    added: int
    removed: int
    changed: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.added + self.removed + self.changed

    def to_dict(self) -> dict[str, Any]:
        """The event as data."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Events(Answer):
    """Changes over time, oldest first; a type that did not change in a stretch is not in it. `snapshots` is how many there were."""

    events: tuple[Event, ...]
    snapshots: int
    since: dt.datetime | None = None
    until: dt.datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """`events`, `snapshots`, `since`, `until`."""
        return {"events": [e.to_dict() for e in self.events], "snapshots": self.snapshots, "since": self.since, "until": self.until}

    def blocks(self) -> Iterator[Block]:
        """A row per type and stretch."""
        rows = [
            [e.until.replace(microsecond=0), f"#{e.seq}", f"{e.type} (link)" if e.link else e.type, e.added, e.removed, e.changed]
            for e in self.events
        ]
        yield Grid(["until", "snapshot", "type", "added", "removed", "changed"], rows, empty="nothing changed")
