"""`/health`: what works now."""

from __future__ import annotations

import datetime as dt

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from workbench.api._answers import ERRORS, Bench, reply

router = APIRouter(tags=["health"], responses={k: v for k, v in ERRORS.items() if k in (400, 401, 403, 413, 414, 422, 431, 500)})


class HealthPart(BaseModel):
    """One part of the workbench."""

    part: str = Field(examples=["clickhouse"])
    ok: bool
    detail: str = Field(description="what was found, or what is wrong")
    age_s: float | None = Field(description="seconds since what this part has was true: the largest lag of a table")
    checked_at: dt.datetime


class Health(BaseModel):
    """Whether everything works, looked at for this request."""

    ok: bool
    parts: list[HealthPart]


@router.get("/health", response_model=Health, responses={503: {"model": Health, "description": "something is down"}})
def read_health(bench: Bench, request: Request) -> Response:
    """Check the lake, the ontology and the sync now. Starts nothing, and is never kept by a cache."""
    health = bench.health()
    return reply(request, health, status=503 if health.failed else 200, tag=None)
