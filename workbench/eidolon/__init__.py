"""Eidolon: the state of objects over time, kept as snapshots, and what changed between two of them.

It owns the database `eidolon`: a table per object type and per many-to-many link with a row for each version of each object, and
`snapshots` with a row per snapshot, written last. It reads the models of the ontology as they are in the lake; it does not build them,
does not sync, and never writes outside its database.
"""

from __future__ import annotations

from workbench.eidolon.answers import Events, Snapshot, SnapshotList
from workbench.eidolon.diff import Change, ObjectHistory, PropertyChange, TwinDiff, apply
from workbench.eidolon.snapshot import Eidolon

__all__ = ["Change", "Eidolon", "Events", "ObjectHistory", "PropertyChange", "Snapshot", "SnapshotList", "TwinDiff", "apply"]
