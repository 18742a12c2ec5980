"""Who may ask, and how much: the first thing that every request meets, and the last that every answer passes.

A browser is the danger of a server on loopback: any page on the web can make it send requests here. So a request must name this
server as its Host (a page that rebinds its own name to 127.0.0.1 cannot), must not come from another origin, and a request that
writes must be JSON by its content type, which no form and no simple cross-site request can be. There is no CORS.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench.errors import UsageError
from workbench.log import logger
from workbench.ports import is_loopback
from workbench.settings import Settings

__all__ = ["MAX_BODY_BYTES", "MAX_HEADER_BYTES", "MAX_URL_BYTES", "Guard", "Policy"]

MAX_BODY_BYTES = 64 * 1024
MAX_HEADER_BYTES = 16 * 1024
MAX_URL_BYTES = 8 * 1024

_SHORTEST_TOKEN = 16
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{1,5})?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OWN_PAGES = "of pages, only this server's own may ask"
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Policy:
    """Under which names the API answers, and the token that it asks for ('' for none).

    With `any_address` also a numeric address will do as a Host: no page can rebind one.
    """

    hosts: frozenset[str] = _LOOPBACK
    any_address: bool = False
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """The policy of a workspace's settings.

        Raises:
            UsageError: it would listen beyond loopback without a token, or with one that can be guessed.
        """
        beyond = not is_loopback(settings.api_host)
        if beyond and not settings.api_token:
            raise UsageError(
                f"the API would listen on {settings.api_host}, beyond this machine, without a token",
                hint="set SKYGRAPH_API_TOKEN in the environment, or leave api_host at 127.0.0.1",
            )
        if settings.api_token and (len(settings.api_token) < _SHORTEST_TOKEN or not re.fullmatch(r"[!-~]+", settings.api_token)):
            raise UsageError(
                f"SKYGRAPH_API_TOKEN is no token: it has at least {_SHORTEST_TOKEN} letters, digits and signs, and no space",
                hint="make one with: python -c 'import secrets; print(secrets.token_urlsafe())'",
            )
        own = {settings.api_host.lower()} if beyond else set()
        named = {name.strip().lower() for name in settings.api_names.split(",") if name.strip()}
        return cls(_LOOPBACK | own | named, any_address=beyond, token=settings.api_token)

    def is_host(self, host: str) -> bool:
        """Whether a Host header names this server."""
        found = _HOST.fullmatch(host.lower())
        if found is None:
            return False
        name = found[1]
        return name in self.hosts or (self.any_address and _is_address(name.strip("[]")))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class _Refusal:
    """Why a request is not answered."""

    status: int
    error: str
    message: str
    hint: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Guard:
    """The middleware around everything: refuses, limits, names each request, and logs one line of it.

    An exception that nobody caught ends here: it is logged whole with the request's id, and the answer is a 500 with that id.
    """

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self.app = app
        self.policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from structlog.contextvars import bound_contextvars

        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        # names in a path may hold any letter, a slash too: it is split as it was written, and each part decoded by itself
        scope["path"] = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("ascii", "replace")
        with bound_contextvars(request_id=request_id):
            await self._answer(scope, receive, send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started, status = time.perf_counter(), 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            body, refusal = b"", next(self._refusals(scope), None)
            if refusal is None:
                body, refusal = await _read_body(scope, receive)
            if refusal is not None:
                await _refuse(refusal, request_id, send_on)
                return
            await self.app(scope, _replay(body, receive), send_on)
        except asyncio.CancelledError:  # the server ends, and this took longer than it waits
            if not status:
                hint = "ask again when it is back"
                await _refuse(_Refusal(503, "Unavailable", "the API is ending", hint, (("retry-after", "5"),)), request_id, send_on)
            raise
        except Exception as error:
            logger().error("request failed", method=scope["method"], path=scope["path"], exc_info=error)
            if status:
                raise  # half an answer is out: the connection has to break
            hint = f"the log has the details under the request id {request_id}: `skygraph logs skygraph-api`"
            await _refuse(_Refusal(500, "InternalError", "this is a fault of the API, not of the request", hint), request_id, send_on)
        finally:
            elapsed_ms = round((time.perf_counter() - started) * 1000, 1)
            # whoever watches this process asks again and again: one that was answered is not worth a line
            say = logger().debug if (scope["path"], status) == ("/health/live", 200) else logger().info
            say("request", method=scope["method"], path=scope["path"], status=status, elapsed_ms=elapsed_ms)

    def _refusals(self, scope: Scope) -> Iterator[_Refusal]:
        """Everything that speaks against a request, the worst first."""
        headers, method = Headers(scope=scope), scope["method"]
        if len(scope["path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
            yield _Refusal(414, "TooLarge", f"the address is longer than {MAX_URL_BYTES:,} bytes", "ask for less at once")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            yield _Refusal(431, "TooLarge", f"the headers are larger than {MAX_HEADER_BYTES:,} bytes")
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.policy.is_host(hosts[0]):
            named = hosts[0][:100] if len(hosts) == 1 else "none" if not hosts else "more than one"
            hint = "ask it as localhost, or name the host in SKYGRAPH_API_NAMES"
            yield _Refusal(403, "Forbidden", f"the Host {named!r} is not a name of this server", hint)
        for origin in headers.getlist("origin"):
            if origin.lower() not in (f"http://{hosts[0].lower()}", f"https://{hosts[0].lower()}"):
                yield _Refusal(403, "Forbidden", f"requests from the origin {origin[:100]!r} are refused", _OWN_PAGES)
        site, writes = headers.get("sec-fetch-site", "none"), method not in _SAFE_METHODS
        goes_there = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document" and not writes
        if (site == "cross-site" and not goes_there) or (writes and site not in ("same-origin", "none")):
            yield _Refusal(403, "Forbidden", f"{site} requests are refused", _OWN_PAGES)
        if self.policy.token and scope["path"].split("/")[1:2] != ["docs"] and not self._signed(headers):
            hint = "send the header Authorization: Bearer TOKEN, with the value of SKYGRAPH_API_TOKEN"
            yield _Refusal(401, "Unauthorized", "a token is required here", hint, (("www-authenticate", "Bearer"),))
        kinds = headers.getlist("content-type")
        if writes and (len(kinds) != 1 or kinds[0].split(";")[0].strip().lower() != "application/json"):
            yield _Refusal(415, "UnsupportedMediaType", f"a {method} takes JSON", "send the header Content-Type: application/json")

    def _signed(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip().encode("latin-1", "replace")
        return scheme.lower() == "bearer" and hmac.compare_digest(given, self.policy.token.encode())


async def _read_body(scope: Scope, receive: Receive) -> tuple[bytes, _Refusal | None]:
    """The whole body, or why it is refused. It is small by decree, so nothing streams in."""
    too_large = _Refusal(413, "TooLarge", f"the body is larger than {MAX_BODY_BYTES:,} bytes")
    told = Headers(scope=scope).get("content-length", "0")
    if not (told.isascii() and told.isdigit()) or len(told) > 18 or int(told) > MAX_BODY_BYTES:
        return b"", too_large
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"", _Refusal(400, "UsageError", "the request ended before its body did")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            return b"", too_large
    return body, None


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, then goes on with the real one."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def _refuse(refusal: _Refusal, request_id: str, send: Send) -> None:
    data = {
        "error": refusal.error,
        "message": refusal.message,
        "hint": refusal.hint,
        "retryable": refusal.status == 503,
        "request_id": request_id,
    }
    body = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
    own = [("content-type", "application/json"), ("content-length", str(len(body)))]
    if refusal.status in (413, 500, 503):
        own.append(("connection", "close"))  # what was not read of it must not be taken for the next request
    await send({"type": "http.response.start", "status": refusal.status, "headers": _raw([*own, *refusal.headers])})
    await send({"type": "http.response.body", "body": body})


def _raw(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers]
