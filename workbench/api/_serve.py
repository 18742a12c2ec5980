"""The API as a process: one per workspace, found by others through a lock and a file, and stopped in order.

Its lock and its address are in `.skygraph/api/` (see `workbench.presence`).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import threading
from types import FrameType
from typing import Any

import uvicorn

from workbench.api._app import create_app
from workbench.api._guard import MAX_HEADER_BYTES, Policy
from workbench.bench import Workbench
from workbench.errors import SkyGraphError
from workbench.log import logger, write_logs
from workbench.ports import choose_port, shown_host
from workbench.presence import hold, write_facts
from workbench.settings import Settings

__all__ = ["OPTIONS", "serve"]

_GRACE_S = 5  # for requests that run when it is told to end; then their reads are ended too
_LAST_S = 5.0  # for threads that still wait for a source; then the process ends under them, which harms nothing

# of uvicorn; our own lines go to the log through structlog
OPTIONS: dict[str, Any] = {
    "http": "h11", "ws": "none", "loop": "asyncio", "log_config": None, "access_log": False, "server_header": False,
    "proxy_headers": False, "h11_max_incomplete_event_size": 2 * MAX_HEADER_BYTES, "limit_concurrency": 256, "timeout_keep_alive": 15,
    "timeout_graceful_shutdown": _GRACE_S,
}  # fmt: skip


def serve(bench: Workbench) -> None:
    """Serve until SIGTERM or SIGINT; requests that run then may end, within seconds.

    Raises:
        Busy: the API of this workspace runs already.
        SkyGraphError: the port that was asked for is taken.
        UsageError: it would listen beyond loopback without a token.
    """
    settings = bench.settings
    Policy.of(settings)  # before anything is opened
    state = settings.make_state_dir()
    write_logs(state / "log", "api.log", is_service=True)
    logging.getLogger("uvicorn").addHandler(_Forward())
    with hold(state / "api", "the API of this workspace"):
        listening, note = _listen(settings)
        with listening:
            _serve(bench, listening, note)


def _serve(bench: Workbench, listening: socket.socket, note: str) -> None:
    host, port = listening.getsockname()[:2]
    server = _Server(uvicorn.Config(create_app(bench), **OPTIONS))
    # told to end before uvicorn listens to signals, it ends at once; and when uvicorn raises the signal again, its work is done
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, server.handle_exit)

    async def run() -> None:
        told = asyncio.create_task(_tell(bench.settings, server, host, port, note))
        try:
            await server.serve(sockets=[listening])
        finally:
            told.cancel()

    asyncio.run(run())
    bench.close()
    logger().info("api ended")


class _Forward(logging.Handler):
    """What uvicorn says, as lines like all others."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        logger().log(record.levelno, record.getMessage(), said_by=record.name, exc_info=record.exc_info)


class _Server(uvicorn.Server):
    """Ends within seconds of the first signal, whatever its threads wait for."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, and see to it that it comes to an end."""
        if not self.should_exit:
            last = threading.Timer(_GRACE_S + _LAST_S, _leave)
            last.daemon = True
            last.start()
        super().handle_exit(sig, frame)


def _leave() -> None:
    logger().warning("api ended with work left", threads=[thread.name for thread in threading.enumerate()])
    os._exit(0)


async def _tell(settings: Settings, server: uvicorn.Server, host: str, port: int, note: str) -> None:
    """Write where it listens, once it does: whoever reads the file can ask at once."""
    while not server.started:
        await asyncio.sleep(0.01)
    write_facts(settings.state_dir / "api", url=f"http://{shown_host(host)}:{port}", port=port, note=note)
    logger().info("api started", host=host, port=port)


def _listen(settings: Settings) -> tuple[socket.socket, str]:
    """A socket that listens, on the port of the settings or the next free one, and a note when it is the next."""
    for _ in range(5):
        port, note = choose_port(settings, "api_port", "the API")
        family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((settings.api_host.strip("[]"), port))
            listening.listen(128)
            return listening, note
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE:
                said = f"the API cannot listen on {settings.api_host}:{port}: {error.strerror}"
                raise SkyGraphError(said, hint="see the settings api_host and api_port") from error
    raise SkyGraphError("the API found no port that stayed free", hint="set SKYGRAPH_API_PORT to one that is")
