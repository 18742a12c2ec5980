from workbench.eidolon.answers import Events, Snapshot, SnapshotList
from workbench.eidolon.diff import Behind, Change, ObjectHistory, PropertyChange, TwinDiff, apply, compose
from workbench.eidolon.history import Trace
from workbench.eidolon.retention import HistorySize, PruneReport
from workbench.eidolon.snapshot import Eidolon
from workbench.eidolon.transfer import ExportReport

__all__ = [
    "Behind",
    "Change",
    "Eidolon",
    "Events",
    "ExportReport",
    "HistorySize",
    "ObjectHistory",
    "PropertyChange",
    "PruneReport",
    "Snapshot",
    "SnapshotList",
    "Trace",
    "TwinDiff",
    "apply",
    "compose",
]
