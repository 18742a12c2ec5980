"""`/snapshots`: the twin."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from workbench.api._answers import ERRORS, Bench, Name, reply

router = APIRouter(prefix="/api/v1/snapshots", tags=["snapshots"], responses=ERRORS)


class SnapshotAnswer(BaseModel):
    """The state of some object types at a moment. Equal data of the same types has the same `id`."""

    seq: int
    id: str
    label: str
    taken_at: dt.datetime
    types: list[str]
    counts: dict[str, int] = Field(description="objects by type")
    links: dict[str, int] = Field(description="pairs by many-to-many link")
    object_count: int
    added: int
    removed: int
    changed: int
    rows_added: int
    skipped: list[str] = Field(default=[], description="types and links without a table yet")


class Snapshots(BaseModel):
    """Every snapshot, oldest first."""

    snapshots: list[SnapshotAnswer]


class SnapshotOrder(BaseModel):
    """What to remember."""

    model_config = ConfigDict(extra="forbid")
    label: str = Field(default="", description="a name to find it by", max_length=200)
    types: list[str] = Field(default=[], description="object types; all when empty", max_length=1000)


class PruneOrder(BaseModel):
    """What to keep."""

    model_config = ConfigDict(extra="forbid")
    keep: str = Field(default="", description="rules, such as: all for 7 days, daily for 90 days, monthly", max_length=200)
    plan: bool = Field(default=False, description="only say what would go")


class DiffAnswer(BaseModel):
    """What changed from `a` to `b`. The counts are of everything; `changes` may be the first of more."""

    model_config = ConfigDict(extra="allow")
    a: dict[str, Any]
    b: dict[str, Any]
    counts: list[dict[str, Any]]
    changes: list[dict[str, Any]]


class EventsAnswer(BaseModel):
    """What happened over time, oldest first."""

    events: list[dict[str, Any]] = Field(description="since, until, seq, type, link, added, removed, changed")
    snapshots: int
    since: dt.datetime | None
    until: dt.datetime | None


class HistoryAnswer(BaseModel):
    """The life of one object."""

    type: str
    key: str
    title: str
    link: bool
    versions: list[dict[str, Any]]


@router.get("", response_model=Snapshots, responses={304: {"description": "as you have it"}})
def read_snapshots(
    bench: Bench, request: Request, limit: Annotated[int, Query(ge=1, le=100_000, description="how many of the newest")] = 1000
) -> Response:
    """The newest snapshots, oldest first."""
    return reply(request, {"snapshots": bench.snapshots(limit)})


@router.get("/events", response_model=EventsAnswer, responses={304: {"description": "as you have it"}})
def read_events(
    bench: Bench,
    request: Request,
    bins: Annotated[int, Query(ge=0, le=10_000, description="add up in so many stretches of time; 0: per snapshot")] = 0,
    since: Annotated[str, Query(description="from then on: a snapshot, or a time")] = "",
    until: Annotated[str, Query(description="until then")] = "",
) -> Response:
    """How many objects were added, removed and changed, by type, over time."""
    return reply(request, bench.events(bins, since or None, until or None))


@router.get("/history/{type}/{key}", response_model=HistoryAnswer, responses={304: {"description": "as you have it"}})
def read_history(bench: Bench, request: Request, type: Name, key: Name) -> Response:
    """Every recorded version of one object, oldest first, with the sync run behind each where that is known."""
    return reply(request, bench.object_history(type, key))


@router.post("", response_model=SnapshotAnswer, status_code=201)
def take_snapshot(bench: Bench, request: Request, order: SnapshotOrder | None = None) -> Response:
    """Remember how the objects look now; only what changed is stored."""
    order = order or SnapshotOrder()
    return reply(request, bench.snapshot(*order.types, label=order.label), status=201, tag=None)


@router.get("/{a}/diff/{b}", response_model=DiffAnswer, responses={304: {"description": "as you have it"}})
def read_diff(
    bench: Bench,
    request: Request,
    a: Name,
    b: Name,
    type: Annotated[list[str], Query(description="an object type; may be repeated; all when left out")] = [],  # noqa: B006 - FastAPI copies it
    limit: Annotated[int, Query(ge=0, le=10_000, description="how many changes to list")] = 1000,
    kind: Annotated[list[Literal["added", "removed", "changed"]], Query(description="only these")] = [],  # noqa: B006
    property: Annotated[list[str], Query(description="only objects in which this property changed")] = [],  # noqa: B006
) -> Response:
    """What changed between two snapshots (labels, numbers, the beginning of an id) or times: objects, cells, links, and who did it."""
    return reply(request, bench.diff(a, b, *type, limit=limit, kinds=kind, properties=property))


@router.get("/size", response_model=dict[str, Any], responses={304: {"description": "as you have it"}})
def read_size(bench: Bench, request: Request) -> Response:
    """What the history weighs, by type: objects, versions, bytes on disk."""
    return reply(request, bench.history_size())


@router.post("/prune", response_model=dict[str, Any])
def prune_snapshots(bench: Bench, request: Request, order: PruneOrder | None = None) -> Response:
    """Delete the snapshots that the rules do not keep, and the versions that only they showed."""
    order = order or PruneOrder()
    return reply(request, bench.prune_snapshots(order.keep, plan=order.plan), tag=None)
