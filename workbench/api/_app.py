"""The application: every resource beside this file, behind the guard."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from workbench.answer import to_json
from workbench.api._answers import as_error, error_reply, reply
from workbench.api._guard import Guard, Policy
from workbench.bench import Workbench
from workbench.errors import SkyGraphError
from workbench.health import Watch
from workbench.lake import reads_within
from workbench.log import logger

__all__ = ["READ_LIMIT_S", "create_app"]

READ_LIMIT_S = 30.0

_ABOUT = """
Objects, links, snapshots and sync of one workspace. Every read is of current rows. Rows come in pages: follow `next`.

An error has one shape: `error`, `message`, `hint`, `retryable`, `request_id`, and `nearest` or `problems` where they help.
"""


def create_app(bench: Workbench) -> FastAPI:
    """The API on a workbench. While it runs, the ontology's files are watched, so that a saved one is served at once.

    Raises:
        UsageError: the settings would have it listen beyond loopback without a token.
    """
    from workbench import __version__

    app = FastAPI(
        title="SkyGraph", version=__version__, description=_ABOUT, docs_url=None, redoc_url=None, redirect_slashes=False,
        lifespan=_life, swagger_ui_oauth2_redirect_url=None,
    )  # fmt: skip
    app.state.bench = bench
    app.state.watch = Watch(bench.health)
    for name in resources():
        router: APIRouter = importlib.import_module(f"workbench.api.{name}").router
        for route in router.routes:
            if isinstance(route, APIRoute):  # the first sentence of its docstring says what it is for
                first, _, rest = " ".join((route.endpoint.__doc__ or "").split()).partition(". ")
                route.summary, route.description = first.rstrip("."), rest
        app.include_router(router)
    app.add_exception_handler(SkyGraphError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(_WithinTime)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    app.add_middleware(Guard, policy=Policy.of(bench.settings))
    return app


def resources() -> list[str]:
    """The names of the resources: the files beside this one without a leading underscore."""
    return sorted(found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)]) if not found.name.startswith("_"))


class _WithinTime:
    """Ends the reads of a request that take too long: whoever asked has gone, and the lake is everybody's. A file may take its time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            with reads_within(READ_LIMIT_S):
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    bench: Workbench = app.state.bench
    _ = bench.lake, bench.transforms, bench.live, bench.eidolon  # each once, before threads ask for it
    await run_in_threadpool(bench.live.watch)
    yield
    app.state.watch.close()
    await run_in_threadpool(bench.live.close)
    await run_in_threadpool(bench.stop)  # what is still read or synced: nobody waits for it any more


def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, SkyGraphError)
    answer = error_reply(request, error)
    if answer.status_code >= 500:
        logger().warning("request failed", path=request.url.path, error=str(error), status=answer.status_code)
    return answer


def _invalid(request: Request, error: Exception) -> Response:
    """A request that does not fit its schema: one line about the first misfit of each place."""
    assert isinstance(error, RequestValidationError)
    said = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
    return reply(request, to_json(as_error(request, "UsageError", "; ".join(said)[:2000], hint="see /docs")), status=400, tag=None)


def _http(request: Request, error: Exception) -> Response:
    """What the router refuses: no such address, no such method."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    kind = "UsageError" if status == 400 else "".join(word.capitalize() for word in status.phrase.split())
    said: dict[int, str] = {404: "there is no such address", 405: f"{request.method} is not for this address"}
    data: dict[str, Any] = as_error(request, kind, said.get(status, str(error.detail)), hint="see /docs")
    return reply(request, data, status=status, headers=error.headers, tag=None)
