"""`/health`: what works now; `/health/live`: whether this process answers; and the object that the canary brought."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from workbench.api._answers import ERRORS, Bench, error_reply, reply
from workbench.errors import UnknownName
from workbench.health import Watch

router = APIRouter(tags=["health"], responses={k: v for k, v in ERRORS.items() if k in (400, 401, 403, 413, 414, 422, 431, 500)})

Status = Literal["ok", "late", "unknown", "down"]


class HealthPart(BaseModel):
    """One part of the workbench."""

    part: str = Field(examples=["clickhouse"])
    ok: bool = Field(description="whether `status` is ok")
    status: Status = Field(description="ok: seen working; late: behind its time; unknown: never seen; down: seen failing")
    detail: str = Field(description="what was found, or what is wrong and what to do")
    age_s: float | None = Field(description="seconds since what this part has was true: the largest lag of a table, the last backup")
    checked_at: dt.datetime


class Health(BaseModel):
    """What was seen of every part at the last look."""

    ok: bool = Field(description="nothing is down")
    status: Status = Field(description="the worst of all parts")
    looked_s: float = Field(description="seconds since the look began")
    parts: list[HealthPart]


class Alive(BaseModel):
    """This process answers."""

    alive: bool


class CanaryObject(BaseModel):
    """The synthetic object as it is now."""

    id: int
    token: str
    sent_at: dt.datetime


@router.get("/health", response_model=Health, responses={503: {"model": Health, "description": "something is down"}})
def read_health(bench: Bench, request: Request) -> Response:
    """What was seen of every part a moment ago. Never waits for a part that hangs, starts nothing, and is never kept by a cache."""
    watch: Watch = request.app.state.watch
    report, age_s = watch.report()
    data: dict[str, Any] = {**report.to_dict(), "looked_s": round(age_s, 3)}
    return reply(request, data, status=503 if report.failed else 200, tag=None)


@router.get("/health/live", response_model=Alive)
async def read_alive(request: Request) -> Response:
    """Whether this process answers, whatever the parts do: for what restarts it."""
    return reply(request, {"alive": True}, tag=None)


@router.get("/api/v1/canary", response_model=CanaryObject, responses={404: ERRORS[404], 503: ERRORS[503]})
def read_canary(bench: Bench, request: Request) -> Response:
    """The object that the last canary brought, read as every object is."""
    try:
        return reply(request, bench.canary_object(), tag=None)
    except UnknownName as error:  # none was sent yet
        return error_reply(request, error, status=404)
