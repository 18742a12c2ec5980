"""`/objects`, `/groups`, `/facets`: current objects in pages, in files, counted, and one at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from workbench.api._answers import ERRORS, Bench, Name, reply
from workbench.errors import UsageError
from workbench.ontology import ObjectSet
from workbench.ontology.objects import Format

router = APIRouter(prefix="/api/v1", tags=["objects"], responses=ERRORS)

_MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.file",
}  # fmt: skip
_PAGE = 50
_LARGEST_PAGE = 1000

_AS_YOU_HAVE_IT: dict[int | str, dict[str, Any]] = {304: {"description": "as you have it"}}
_FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in _MEDIA_TYPES.values()}},
    **_AS_YOU_HAVE_IT,
}

Where = Annotated[
    list[str],
    Query(
        description="a condition: country=Brazil, total>10, name~love, with and/or/not and parentheses; `link.property` asks the linked "
        "objects. May be repeated: all must hold",
        examples=[["country=Brazil"]],
    ),
]
Search = Annotated[str, Query(description="words that all occur in the title")]
Sort = Annotated[str, Query(description="a property; -property for the largest first")]
Limit = Annotated[
    int | None,
    Query(
        ge=1, le=1_000_000_000, description=f"how many; of a JSON page at most {_LARGEST_PAGE} (default {_PAGE}), of a file all by default"
    ),
]
After = Annotated[str, Query(description="the cursor in `next` of the page before")]
Count = Annotated[bool, Query(description="also say how many there are in all")]
AsOf = Annotated[
    str,
    Query(description="as it was then: a snapshot by number, label or id, or a time: 2026-11-23 18:00, yesterday 18:00, 2 hours ago (UTC)"),
]
Form = Annotated[
    Literal["json", "csv", "jsonl", "parquet", "arrow"], Query(description="a page as JSON, or a whole file that the lake writes")
]


class ObjectPage(BaseModel):
    """Some objects, and the way to the next ones."""

    type: str
    rows: list[dict[str, Any]] = Field(description="one object each: its properties by name; decimals are texts, times ISO 8601")
    next: str | None = Field(description="the address of the next page, also in the header Link; null on the last one")
    total: int | None = Field(default=None, description="with count=true: how many there are in all")
    text: str = Field(description="the short text of this set: `skygraph objects TEXT` shows the same")
    as_of: dict[str, Any] | None = Field(default=None, description="with as_of: the snapshot whose state this is")
    warnings: list[str] = Field(default=[], description="what to know before trusting the rows: a property without a column any more")


class LinkCount(BaseModel):
    """Where a link of the object leads."""

    name: str
    type: str
    many: bool
    count: int | None = Field(description="null when the link's model is not built yet")


class ObjectAnswer(BaseModel):
    """One object."""

    model_config = ConfigDict(extra="allow")
    type: str
    key: Any
    title: str
    properties: dict[str, Any]
    links: list[LinkCount]


class Group(BaseModel):
    """The objects with one value."""

    value: Any
    count: int
    sums: dict[str, Any] = Field(description="by property")


class GroupsAnswer(BaseModel):
    """Objects by the values of a property, the most first."""

    type: str
    property: str
    by: str | None = Field(description="year, month, day ... of a date or time")
    groups: list[Group]
    is_cut: bool = Field(description="whether there are more groups")


class FacetValue(BaseModel):
    """One value and how often it is there."""

    value: Any
    count: int


class FacetAnswer(BaseModel):
    """One property's most frequent values, and what is left."""

    model_config = ConfigDict(extra="allow")
    property: str
    values: list[FacetValue]
    other_count: int
    null_count: int
    distinct: int


class FacetsAnswer(BaseModel):
    """Facets of the same objects: of all of them, or of a sample."""

    type: str
    rows: int = Field(description="how many objects were counted")
    is_sampled: bool
    share: float = Field(description="which part of the objects was counted")
    facets: list[FacetAnswer]


@router.get("/objects", response_model=ObjectPage, responses=_FILES)
def read_set(
    bench: Bench, request: Request,
    text: Annotated[str, Query(min_length=1, description="the short text of a set: Customer[country=Brazil]/invoices[total>10]/lines")],
    where: Where = [], search: Search = "", sort: Sort = "", limit: Limit = None, after: After = "", count: Count = False,  # noqa: B006
    format: Form = "json", as_of: AsOf = "",
) -> Response:  # fmt: skip
    """The objects that a short text stands for: of a type, or those that whole sets of others lead to."""
    return _answer(request, _narrowed(bench.store_at(as_of).at(text), where, search, sort), limit, after, count, format)


@router.get("/objects/{type}", response_model=ObjectPage, responses=_FILES)
def read_objects(
    bench: Bench, request: Request, type: Name, where: Where = [], search: Search = "", sort: Sort = "", limit: Limit = None,  # noqa: B006
    after: After = "", count: Count = False, format: Form = "json", as_of: AsOf = "",
) -> Response:  # fmt: skip
    """Current objects of a type, a page at a time: any page costs the same. Or all of them as a file."""
    return _answer(request, _narrowed(bench.store_at(as_of).objects(type), where, search, sort), limit, after, count, format)


@router.get("/objects/{type}/{key}", response_model=ObjectAnswer, responses=_AS_YOU_HAVE_IT)
def read_object(bench: Bench, request: Request, type: Name, key: Name, as_of: AsOf = "") -> Response:
    """One current object, with the number of objects that each of its links leads to; with `as_of`, as it was then."""
    return reply(request, bench.object(type, key, as_of=as_of))


@router.get("/objects/{type}/{key}/links/{link}", response_model=ObjectPage, responses=_FILES)
def read_links(
    bench: Bench, request: Request, type: Name, key: Name, link: Name, where: Where = [], search: Search = "", sort: Sort = "",  # noqa: B006
    limit: Limit = None, after: After = "", count: Count = False, format: Form = "json", as_of: AsOf = "",
) -> Response:  # fmt: skip
    """The objects one hop away from an object."""
    return _answer(request, _narrowed(bench.links(type, key, link, as_of=as_of), where, search, sort), limit, after, count, format)


@router.get("/groups/{type}", response_model=GroupsAnswer, responses=_AS_YOU_HAVE_IT)
def read_groups(
    bench: Bench,
    request: Request,
    type: Name,
    by: Annotated[str, Query(description="a property; of a date or time with a period: ordered_on by month")],
    sum: Annotated[list[str], Query(description="a property to add up; may be repeated")] = [],  # noqa: B006 - FastAPI copies it
    where: Where = [],  # noqa: B006
    search: Search = "",
    limit: Annotated[int, Query(ge=1, le=_LARGEST_PAGE)] = _PAGE,
    as_of: AsOf = "",
) -> Response:
    """How many objects there are for each value of a property, the largest count first, with sums."""
    return reply(request, _narrowed(bench.store_at(as_of).objects(type), where, search, "").group_by(by, sums=tuple(sum), limit=limit))


@router.get("/facets/{type}", response_model=FacetsAnswer, responses=_AS_YOU_HAVE_IT)
def read_facets(
    bench: Bench,
    request: Request,
    type: Name,
    property: Annotated[list[str], Query(description="a property; may be repeated", min_length=1, max_length=50)],
    where: Where = [],  # noqa: B006
    search: Search = "",
    top: Annotated[int, Query(ge=1, le=100, description="how many values of each")] = 10,
    budget_s: Annotated[float, Query(ge=0.01, le=30, description="seconds; what takes longer is sampled, and says so")] = 0.5,
    as_of: AsOf = "",
) -> Response:
    """The most frequent values of some properties; exact within the budget, else of a sample and marked so."""
    found = _narrowed(bench.store_at(as_of).objects(type), where, search, "").facets(*property, budget_s=budget_s, top=top).to_dict()
    del found["elapsed_s"]  # the same answer has the same tag, however long it took
    return reply(request, found)


def _narrowed(objects: ObjectSet, where: list[str], search: str, sort: str) -> ObjectSet:
    found = objects.where(*where)
    if search:
        found = found.search(search)
    return found.sort(sort) if sort else found


def _answer(request: Request, objects: ObjectSet, limit: int | None, after: str, count: bool, form: Form) -> Response:
    if form != "json":
        if after or count:
            raise UsageError("a file has no pages", hint="leave out `after` and `count`")
        return _file(objects if limit is None else objects.limit(limit), form)
    if limit is not None and limit > _LARGEST_PAGE:
        raise UsageError(f"a page has at most {_LARGEST_PAGE} objects, not {limit}", hint="follow `next`, or ask for format=jsonl")
    size = limit or _PAGE
    if limit is None and (own := objects.query.limit) is not None:  # one that the text of the set has
        if own > _LARGEST_PAGE:
            raise UsageError(f"a page has at most {_LARGEST_PAGE} objects, not {own}", hint="follow `next`, or ask for format=jsonl")
        size = own
    page = objects.page(size, after or None)
    following = _next(request, page.next) if page.next else None
    data = {"type": objects.object_type.name, "rows": page.rows.to_pylist(), "next": following, "text": objects.text}
    if count:
        data["total"] = objects.whole.count()
    if objects.store.as_of:
        data["as_of"] = objects.store.as_of.to_dict()
    if said := objects.warnings:
        data["warnings"] = said
    return reply(request, data, headers={"Link": f'<{following}>; rel="next"'} if following else None)


def _next(request: Request, cursor: str) -> str:
    """The address of this request with another cursor."""
    asked = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
    return f"{request.scope['path']}?{urlencode([*asked, ('after', cursor)])}"


def _file(objects: ObjectSet, form: Format) -> Response:
    """The rows as the lake writes them, a block at a time; an error before the first block is an answer of its own."""
    blocks = objects.stream(form)
    first = next(blocks, b"")

    def rest() -> Iterator[bytes]:
        yield from itertools.chain([first], blocks)

    name = quote(f"{objects.object_type.name}.{form}")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return StreamingResponse(rest(), media_type=_MEDIA_TYPES[form], headers=headers)
