"""`python -m workbench.dashboards`: the dashboards of a workspace in the foreground.

Kernels inherit the environment of this process, and could read it of their parent. So the process begins anew with an environment in
which nothing is the owner's; the password comes to it by a pipe.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from workbench.errors import SkyGraphError, UsageError
from workbench.kernel import write_kernel
from workbench.settings import Settings

# of the owner's environment; what a kernel needs to start, and nothing that may be a secret
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "SYSTEMROOT",
         "SUPERVISOR_ENABLED")  # fmt: skip
_SHARE = Path(__file__).with_name("share")


def main() -> int:
    """Serve until it is told to end; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbench.dashboards", description="The dashboards of a workspace.")
    parser.add_argument("--workspace", metavar="DIR", help="the workspace (default: the nearest folder upward that is one)")
    parser.add_argument("--host", help="the address to listen on (default: 127.0.0.1; beyond loopback a password is needed)")
    parser.add_argument("--port", type=int, help="the port (default: 8866)")
    parser.add_argument("--password-from", type=int, help=argparse.SUPPRESS)
    said = parser.parse_args()
    try:
        if said.password_from is None:
            settings = Settings.load(said.workspace, dashboards_host=said.host, dashboards_port=said.port)
            settings.require_workspace()
            _begin_anew(settings)
        from workbench.dashboards._serve import serve

        with open(said.password_from, encoding="utf-8") as pipe:
            password = pipe.read()
        serve(Settings.load(dashboards_password=password or None))
    except SkyGraphError as error:
        print(f"skygraph-ui: {error}", file=sys.stderr)
        return int(error.exit_code)
    return 0


def _begin_anew(settings: Settings) -> None:
    """Become a process that has only a viewer's environment. Does not return."""
    environment = _viewer_environment(settings, os.environ)
    out, into = os.pipe()
    os.write(into, settings.dashboards_password.encode())
    os.close(into)
    os.set_inheritable(out, True)
    words = [sys.executable, "-P", "-m", "workbench.dashboards", "--password-from", str(out)]
    os.execve(sys.executable, words, environment)


def _viewer_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """All that the dashboards and their kernels see: how to start, which workspace, and to be a viewer of it.

    Raises:
        UsageError: the lake is a server, and there is no viewer's sign-in for it.
    """
    if settings.clickhouse_url and not settings.viewer_url:
        raise UsageError("dashboards of this server need a sign-in of their own", hint="set SKYGRAPH_VIEWER_URL; docs/dashboards.md has it")
    state = settings.make_state_dir() / "dashboards"
    jupyter = write_kernel(state / "jupyter", settings.workspace).split(os.pathsep)[0]
    ours = {
        "SKYGRAPH_WORKSPACE": str(settings.workspace), "SKYGRAPH_ROLE": "viewer", "SKYGRAPH_VIEWER_URL": settings.viewer_url,
        "SKYGRAPH_CLUSTER": settings.cluster, "SKYGRAPH_DASHBOARDS_HOST": settings.dashboards_host,
        "SKYGRAPH_DASHBOARDS_NAMES": settings.dashboards_names,
        "SKYGRAPH_DASHBOARDS_PORT": str(settings.dashboards_port) if settings.origin("dashboards_port") != "default" else "",
    }  # fmt: skip
    return {
        **{name: environ[name] for name in _KEPT if name in environ}, **{name: value for name, value in ours.items() if value},
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PYTHONSAFEPATH": "1", "IPYTHONDIR": str(state / "ipython"),
        "JUPYTER_PATH": os.pathsep.join([str(_SHARE), jupyter]), "JUPYTER_NO_CONFIG": "1",
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
