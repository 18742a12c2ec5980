"""What the resources share: the error that they all answer with, JSON with a tag, and names in a path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, Path, Request, Response
from pydantic import AfterValidator, BaseModel, Field

from workbench.answer import to_json
from workbench.bench import Workbench
from workbench.errors import (
    Busy,
    InvalidFiles,
    LakeError,
    LakeUnavailable,
    QueryError,
    SkyGraphError,
    SourceError,
    TransformError,
    UnknownName,
    UsageError,
)

__all__ = ["ERRORS", "Bench", "ErrorAnswer", "Name", "as_error", "error_reply", "reply"]

_RETRY_AFTER_S = "5"


class FileProblem(BaseModel):
    """One thing wrong in a hand-written file."""

    file: str
    line: int = Field(description="counts from 1; 0 is the file as a whole")
    message: str


class ErrorAnswer(BaseModel):
    """Every error that the API answers with: what is wrong, and what to do about it."""

    error: str = Field(description="the kind of error", examples=["UnknownName"])
    message: str = Field(examples=["unknown object type 'Custmer'"])
    hint: str | None = Field(description="what to do", examples=["did you mean Customer?"])
    retryable: bool = Field(description="whether the same request may succeed later")
    request_id: str = Field(description="finds the request in the log; also in the header X-Request-ID")
    nearest: list[str] = Field(default=[], description="for an unknown name: known ones like it")
    problems: list[FileProblem] = Field(default=[], description="for wrong files: every problem")


_SAID = {
    400: "the request is wrong: a property, a condition, a value",
    401: "a token is required and was not given",
    403: "refused: a foreign Host or Origin",
    404: "no such name; `nearest` has some like it",
    409: "the same is being done already",
    413: "the body is too large",
    414: "the address is too long",
    415: "a POST takes application/json",
    422: "hand-written files are wrong; `problems` has all, with file and line",
    431: "the headers are too large",
    500: "a fault of the API",
    502: "a source could not be read",
    503: "the lake does not answer, a model is not built yet, or lacks a column that was asked for",
}

ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorAnswer, "description": text} for status, text in _SAID.items()}


def _bench(request: Request) -> Workbench:
    found: Workbench = request.app.state.bench
    return found


Bench = Annotated[Workbench, Depends(_bench)]

# a name or a key in a path, percent-encoded; the guard leaves it as it was written
Name = Annotated[str, Path(min_length=1), AfterValidator(unquote)]


def reply(
    request: Request, data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, tag: str | None = "", fresh: bool = False
) -> Response:
    """Data as JSON. With a `tag` an ETag goes with it ('' makes a weak one of the answer itself) and a match is a 304; None for none."""
    body = json.dumps(to_json(data), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    own = dict(headers or {})
    if tag is not None:
        own["ETag"] = tag or f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
        own["Cache-Control"] = "private, no-cache"
        if _matches(request.headers.get("if-none-match", ""), own["ETag"]):
            return Response(status_code=304, headers=own)
    return Response(body, status_code=status, headers=own, media_type="application/json")


def _matches(asked: str, tag: str) -> bool:
    if asked.strip() == "*":
        return True
    return tag.removeprefix("W/") in (word.strip().removeprefix("W/") for word in asked.split(","))


def status_of(error: SkyGraphError, names: Mapping[str, Any]) -> int:
    """The status of an error; `names` are the names in the path, an unknown one of which is a 404."""
    if isinstance(error, UnknownName):
        return 404 if error.name in {unquote(str(name)) for name in names.values()} else 400
    if isinstance(error, QueryError):
        # out of time, slots, memory, or ended by somebody; or a column or table of the model is gone: asking for less or later helps.
        # Anything else we should not have sent
        return 503 if error.code in (159, 202, 241, 394, 16, 47, 60, 81, 218) else 500
    by_class = ((UsageError, 400), (InvalidFiles, 422), (Busy, 409), (LakeError, 503), (SourceError, 502), (TransformError, 503))
    return next((status for kind, status in by_class if isinstance(error, kind)), 500)


def as_error(request: Request, error: str, message: str, *, hint: str | None = None, retryable: bool = False) -> dict[str, Any]:
    """An error of the API's own in the one shape."""
    return {"error": error, "message": message, "hint": hint, "retryable": retryable, "request_id": request.state.request_id}


def error_reply(request: Request, error: SkyGraphError, *, status: int = 0) -> Response:
    """An error of ours as an answer, with its own status or this one."""
    data = {**error.to_dict(), "request_id": request.state.request_id}
    if isinstance(error, UnknownName):
        data["nearest"] = error.nearest
    status = status or status_of(error, request.path_params)
    headers = {"Retry-After": _RETRY_AFTER_S} if isinstance(error, LakeUnavailable) or (status == 503 and error.retryable) else {}
    return reply(request, data, status=status, headers=headers, tag=None)
