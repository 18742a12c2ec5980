"""Eidolon: the state of objects over time, kept as snapshots, and what changed between two of them.

It owns the database `eidolon`: `object_history` with one row per object (or pair of a many-to-many link) per snapshot in
which it changed, and `snapshots` with one row per snapshot, written last. It reads the models of the ontology as they are
in the lake; it does not build them, does not sync, and never writes outside its database.
"""

from __future__ import annotations

from workbench.eidolon.answers import Snapshot, SnapshotList
from workbench.eidolon.diff import Change, ObjectHistory, PropertyChange, TwinDiff, apply
from workbench.eidolon.snapshot import Eidolon

__all__ = ["Change", "Eidolon", "ObjectHistory", "PropertyChange", "Snapshot", "SnapshotList", "TwinDiff", "apply"]
