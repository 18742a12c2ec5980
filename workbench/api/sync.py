"""`/sync`: where each table stands, and a sync of one now."""

from __future__ import annotations

import datetime as dt
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from workbench.api._answers import ERRORS, Bench, Name, reply

router = APIRouter(prefix="/api/v1/sync", tags=["sync"], responses=ERRORS)


class TableStanding(BaseModel):
    """Watermark, lag and last run of one table."""

    table: str
    source: str
    watermark: str
    every_s: float | None
    lag_s: float | None = Field(description="seconds since the last good run ended; null when there was none")
    overdue: bool
    last_status: str
    last_finished_at: dt.datetime | None
    rows_current: int | None
    quarantined: int
    moved_by: str
    error: str
    runs: list[dict[str, Any]] = Field(description="the last runs, oldest first")


class Standing(BaseModel):
    """All tables of `sync_jobs/`."""

    tables: list[TableStanding]


class SyncAnswer(BaseModel):
    """What the run did."""

    model_config = ConfigDict(extra="allow")
    tables: list[dict[str, Any]] = Field(description="a run per table, with `error` where it failed")
    inserted: int
    deleted: int
    quarantined: int
    failed: bool


class SyncOrder(BaseModel):
    """How to sync."""

    model_config = ConfigDict(extra="forbid")
    full: bool = Field(default=False, description="compare every row instead of reading from the watermark")


@router.get("", response_model=Standing)
def read_sync(bench: Bench, request: Request) -> Response:
    """Watermark, lag and last run of every table."""
    return reply(request, {"tables": bench.sync_status()}, tag=None)


@router.post("/{table}", response_model=SyncAnswer)
def run_sync(bench: Bench, request: Request, table: Name, order: SyncOrder | None = None) -> Response:
    """Sync one table now and answer with the report; `failed` says whether its source could be read. 409 while one runs."""
    return reply(request, bench.sync_unless_running(table, full=bool(order and order.full)), tag=None)
