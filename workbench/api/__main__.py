"""`python -m workbench.api`: the API of a workspace in the foreground. With `--reload` it starts anew when its code changes."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.bench import Workbench
from workbench.errors import SkyGraphError
from workbench.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI


def main() -> int:
    """Serve until it is interrupted; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbench.api", description="The HTTP API of a workspace.")
    parser.add_argument("--workspace", metavar="DIR", help="the workspace (default: the nearest folder upward that is one)")
    parser.add_argument("--host", help="the address to listen on (default: 127.0.0.1; beyond loopback SKYGRAPH_API_TOKEN is needed)")
    parser.add_argument("--port", type=int, help="the port (default: 8100)")
    parser.add_argument("--reload", action="store_true", help="for development: start anew when the code of workbench/ changes")
    parser.add_argument("--detach", action="store_true", help="go on in the background; `skygraph up skygraph-api` does this")
    said = parser.parse_args()
    if said.detach:  # before there is a thread
        if os.fork():
            os._exit(0)
        os.setsid()
    try:
        settings = Settings.load(said.workspace, api_host=said.host, api_port=said.port)
        settings.require_workspace()
        if said.reload:
            _reload(settings)
        else:
            from workbench.api._serve import serve

            serve(Workbench(settings))
    except SkyGraphError as error:
        print(f"skygraph-api: {error}", file=sys.stderr)
        return int(error.exit_code)
    return 0


def app() -> FastAPI:
    """The application of the workspace that the environment names."""
    from workbench.api import create_app
    from workbench.log import write_logs

    bench = Workbench(Settings.load())
    write_logs(bench.settings.make_state_dir() / "log", "api.log", is_service=True)
    return create_app(bench)


def _reload(settings: Settings) -> None:
    import uvicorn

    from workbench.api._guard import Policy
    from workbench.api._serve import OPTIONS
    from workbench.ports import choose_port

    Policy.of(settings)
    port, note = choose_port(settings, "api_port", "the API")
    print(note or f"http://localhost:{port}, watching {Path(__file__).parents[1]}", file=sys.stderr)
    # the process that serves is made anew each time, and knows only the environment
    os.environ.update({"SKYGRAPH_WORKSPACE": str(settings.workspace), "SKYGRAPH_API_HOST": settings.api_host})
    uvicorn.run(
        "workbench.api.__main__:app", factory=True, host=settings.api_host, port=port, reload=True,
        reload_dirs=[str(Path(__file__).parents[1])], **OPTIONS,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
