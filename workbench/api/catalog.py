"""`/catalog`: what there is to look at."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from workbench.api._answers import ERRORS, Bench, reply

router = APIRouter(prefix="/api/v1/catalog", tags=["catalog"], responses=ERRORS)


class Column(BaseModel):
    """One column of a table, or property of a type."""

    name: str
    type: str
    description: str


class Entry(BaseModel):
    """A table or an object type."""

    model_config = ConfigDict(extra="allow")
    kind: str
    name: str
    description: str
    columns: list[Column]
    sample: list[Any] = Field(description="some rows, when few entries were found")


class CatalogAnswer(BaseModel):
    """Every raw, staging and mart table and object type, or those that were searched for, best first."""

    entries: list[Entry]


@router.get("", response_model=CatalogAnswer)
def read_catalog(
    bench: Bench, request: Request, text: Annotated[str, Query(description="words that names, columns or descriptions have")] = ""
) -> Response:
    """Every raw, staging and mart table and object type, with columns, row counts and freshness; searchable."""
    return reply(request, {"entries": bench.catalog(text)}, tag=None)  # ages: it is never twice the same
