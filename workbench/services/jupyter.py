"""JupyterLab's process: `python -P -m workbench.services.jupyter`. It holds `.skygraph/lab/lock` and tells where it answers.

Its token (where none was given) and port are kept in `.skygraph/lab/session` until `skygraph down`: a tab that is open goes on when it
was restarted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
from pathlib import Path

from workbench.errors import SkyGraphError, UsageError
from workbench.kernel import write_kernel
from workbench.lake import Lake
from workbench.ports import choose_port, is_free, is_loopback, shown_host
from workbench.presence import hold, write_facts
from workbench.settings import Settings
from workbench.transforms import environment

_SHORTEST_TOKEN = 16


def main() -> int:
    """Serve until told to end; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbench.services.jupyter", description="JupyterLab on a workspace.")
    parser.add_argument("--notebook", default="", help="the notebook to open, from the workspace")
    parser.add_argument("--browser", action="store_true", help="open a browser")
    parser.add_argument("--host", help="the address to listen on (default: 127.0.0.1; beyond loopback SKYGRAPH_LAB_TOKEN is needed)")
    said = parser.parse_args()
    try:
        settings = Settings.load(lab_host=said.host)
        settings.require_workspace()
        _check_token(settings)
        with hold(settings.make_state_dir() / "lab", "JupyterLab of this workspace"):
            _serve(settings, said.notebook, open_browser=said.browser)
    except SkyGraphError as error:
        print(f"lab: {error}", file=sys.stderr)
        return int(error.exit_code)
    return 0


def _check_token(settings: Settings) -> None:
    """Whoever opens JupyterLab can do all that its owner can.

    Raises:
        UsageError: it would listen beyond loopback without a token that people know, or with one that can be guessed.
    """
    if not is_loopback(settings.lab_host) and not settings.lab_token:
        raise UsageError(
            f"JupyterLab would listen on {settings.lab_host}, beyond this machine, with a token that nobody was given",
            hint="set SKYGRAPH_LAB_TOKEN in the environment, or leave lab_host at 127.0.0.1",
        )
    if settings.lab_token and (len(settings.lab_token) < _SHORTEST_TOKEN or not re.fullmatch(r"[\w.~-]+", settings.lab_token, re.ASCII)):
        raise UsageError(
            f"SKYGRAPH_LAB_TOKEN is no token: it has at least {_SHORTEST_TOKEN} letters, digits and - _ . ~",
            hint="make one with: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )


def _serve(settings: Settings, notebook: str, *, open_browser: bool) -> None:
    workspace, state, host = settings.workspace, settings.state_dir, settings.lab_host
    session = state / "lab/session"
    token, port, note = _session(settings, session)
    if "SKYGRAPH_DBT_HOST" not in os.environ:  # dbt in its terminals
        try:
            os.environ.update(environment(Lake(settings).address, settings.cluster))
        except SkyGraphError as error:  # notebooks say so themselves, when they ask the lake
            print(f'lab: {error}; dbt in terminals needs `eval "$(skygraph env)"`', file=sys.stderr)
    os.environ["JUPYTER_PATH"] = write_kernel(state / "jupyter", workspace)
    os.environ["SKYGRAPH_WORKSPACE"] = str(workspace)
    _write_overrides(state / "jupyter/config")
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(
        p for p in (str(state / "jupyter/config"), os.environ.get("JUPYTER_CONFIG_PATH", "")) if p
    )
    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]

    # the token is on no command line and in no environment: only this process and its owner's file have it
    options = [
        f"--ServerApp.ip={host}", f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={workspace}",
        f"--ServerApp.open_browser={open_browser}", f"--IdentityProvider.token={token}",
        f"--LabApp.workspaces_dir={state / 'jupyter/workspaces'}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    if notebook:
        options.append(f"--LabApp.default_url=/lab/tree/{notebook}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    server = LabApp.initialize_server(argv=options)

    def tell() -> None:
        session.mkdir(mode=0o700, exist_ok=True)
        path = session / "session.json"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({"token": "" if settings.lab_token else token, "port": port}, file)
        write_facts(state / "lab", url=f"http://{shown_host(host)}:{port}", port=port, note=note, token=token)

    server.io_loop.add_callback(tell)
    server.start()


def _session(settings: Settings, folder: Path) -> tuple[str, int, str]:
    """The token and the port: those of before when they still do, else new ones; and a note when the port is not the default one."""
    try:
        kept = json.loads((folder / "session.json").read_text(encoding="utf-8"))
        token, before = str(kept["token"]), int(kept["port"])
    except (OSError, ValueError, KeyError, TypeError):
        token, before = "", 0
    token = settings.lab_token or token or os.environ.get("JUPYTER_TOKEN", "") or secrets.token_urlsafe(24)
    for name in ("JUPYTER_TOKEN", "SKYGRAPH_LAB_TOKEN"):  # its kernels and terminals need it not
        os.environ.pop(name, None)
    if before and settings.origin("lab_port") == "default" and is_free(before):
        note = "" if before == settings.lab_port else f"JupyterLab uses {before}, as before"
        return token, before, note
    port, note = choose_port(settings, "lab_port", "JupyterLab")
    return token, port, note


def _write_overrides(folder: Path) -> None:
    """JupyterLab as it should be here: it asks nobody for news."""
    path = folder / "labconfig/default_setting_overrides.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    overrides = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    path.write_text(json.dumps(overrides, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
