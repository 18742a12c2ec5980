"""`/ontology`: the model that is served, and reading its files again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from workbench.answer import to_json
from workbench.api._answers import ERRORS, Bench, FileProblem, reply

router = APIRouter(prefix="/api/v1/ontology", tags=["ontology"], responses=ERRORS)


class PropertyAnswer(BaseModel):
    """One property of a type."""

    model_config = ConfigDict(extra="allow")
    type: str
    description: str
    unit: str


class TypeAnswer(BaseModel):
    """An object type."""

    model_config = ConfigDict(extra="allow")
    name: str
    description: str
    model: str = Field(description="the dbt model whose rows are the objects")
    key: str
    title: str
    properties: dict[str, PropertyAnswer]


class LinkAnswer(BaseModel):
    """A link type; `reverse` is its name seen from `to_type`."""

    model_config = ConfigDict(extra="allow")
    name: str
    description: str
    from_type: str
    to_type: str
    cardinality: str
    reverse: str


class OntologyAnswer(BaseModel):
    """The whole model."""

    model_config = ConfigDict(extra="allow")
    fingerprint: str = Field(description="changes whenever anything in the model does")
    object_types: list[TypeAnswer]
    link_types: list[LinkAnswer]
    problems: list[FileProblem] = Field(default=[], description="when the files are wrong: why, and this is the last good model")


class ReloadAnswer(BaseModel):
    """What the reload changed."""

    model_config = ConfigDict(extra="allow")
    object_types: dict[str, Any] = Field(description="names `added`, `changed`, `removed`")
    link_types: dict[str, Any]
    type_count: int
    link_count: int


class ReloadOrder(BaseModel):
    """Nothing to say."""

    model_config = ConfigDict(extra="forbid")


@router.get("", response_model=OntologyAnswer, responses={304: {"description": "the model is as you have it"}})
def read_ontology(bench: Bench, request: Request) -> Response:
    """Every object type and link type. The ETag is the model's fingerprint."""
    found = bench.ontology_list()
    data = to_json(found)
    fingerprint = found.ontology.fingerprint
    wrong = data.get("problems")
    tag = fingerprint + (f"-{hashlib.sha256(json.dumps(wrong).encode()).hexdigest()[:8]}" if wrong else "")
    return reply(request, {"fingerprint": fingerprint, **data}, tag=f'W/"{tag}"')


@router.post("/reload", response_model=ReloadAnswer)
def reload_ontology(bench: Bench, request: Request, order: ReloadOrder | None = None) -> Response:
    """Read the files again, whole or not at all, and say what changed. With wrong files the old model stays, and it is a 422."""
    return reply(request, bench.ontology_reload(), tag=None)
