"""Hermes brings the rows of source tables into the lake's `raw` database, and keeps them current.

It owns connectors, watermarks, the plan in `sync_jobs/` and the ledger of runs. It does not model, name or schedule
anything, and it never writes to a source.
"""

from __future__ import annotations

from workbench.hermes.lateness import LookbackAdvice
from workbench.hermes.proof import Comparison, Proof
from workbench.hermes.quarantine import QuarantineList
from workbench.hermes.sync import Hermes, SyncReport, readable_folders
from workbench.hermes.tables import SyncPlan, TableJob, load_plan

__all__ = [
    "Comparison",
    "Hermes",
    "LookbackAdvice",
    "Proof",
    "QuarantineList",
    "SyncPlan",
    "SyncReport",
    "TableJob",
    "load_plan",
    "readable_folders",
]
