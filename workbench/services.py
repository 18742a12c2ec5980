"""Services of a workspace as local processes: JupyterLab, beside the lake that starts by itself."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import SkyGraphError, UsageError
from workbench.ports import choose_port
from workbench.settings import Settings

__all__ = ["Lab"]


@dataclass
class Lab:
    """JupyterLab on a workspace: loopback only, a random token, kernels that have `%skygraph` loaded.

    `variables` are added to its environment, so that its terminals can run dbt as it is.
    """

    settings: Settings
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    notebook: str = ""
    open_browser: bool = False
    note: str = ""
    port: int = 0
    _token: str = field(default="", repr=False)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address to open, with the token."""
        where = f"/lab/tree/{self.notebook}" if self.notebook else "/lab"
        return f"http://localhost:{self.port}{where}?token={self._token}"

    def start(self) -> None:
        """Start the process; its log is `.skygraph/log/lab.log`.

        Raises:
            SkyGraphError: a port that was asked for is taken.
            UsageError: there is no such notebook.
        """
        workspace, state = self.settings.workspace, self.settings.state_dir
        if self.notebook and not (workspace / self.notebook).is_file():
            raise UsageError(f"there is no notebook {self.notebook} in {workspace}")
        self.port, self.note = choose_port(self.settings, "lab_port", "JupyterLab")
        self._token = secrets.token_urlsafe(24)
        _write_kernel(state / "jupyter", workspace)
        words = [
            sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0", f"--ServerApp.root_dir={workspace}", f"--ServerApp.open_browser={self.open_browser}",
            f"--LabApp.workspaces_dir={state / 'jupyter/workspaces'}",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]  # fmt: skip
        if self.notebook:
            words.append(f"--LabApp.default_url=/lab/tree/{self.notebook}")
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            words.append("--allow-root")
        _write_overrides(state / "jupyter/config")
        path = os.pathsep.join(p for p in (str(state / "jupyter"), os.environ.get("JUPYTER_PATH", "")) if p)
        config = os.pathsep.join(p for p in (str(state / "jupyter/config"), os.environ.get("JUPYTER_CONFIG_PATH", "")) if p)
        # the token goes by the environment: the words of a process can be read by everybody on the machine
        environ = {
            **os.environ, **self.variables, "JUPYTER_PATH": path, "JUPYTER_CONFIG_PATH": config, "JUPYTER_TOKEN": self._token,
            "SKYGRAPH_WORKSPACE": str(workspace),
        }  # fmt: skip
        log = state / "log/lab.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as out:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ, cwd=workspace)

    def ready(self) -> bool:
        """Whether it answers now.

        Raises:
            SkyGraphError: it has ended; says where its log is.
        """
        assert self._process is not None
        if (status := self._process.poll()) is not None:
            raise SkyGraphError(f"JupyterLab ended with status {status}", hint=f"see {self.settings.state_dir / 'log/lab.log'}")
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/status", headers={"Authorization": f"token {self._token}"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=2) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as refused:
            refused.close()
            return False
        except OSError:
            return False

    def wait(self) -> int:
        """Wait until it ends; its exit status. Interrupting stops it."""
        assert self._process is not None
        try:
            return self._process.wait()
        except KeyboardInterrupt:
            self.stop()
            return 0

    def stop(self) -> None:
        """Stop it and its kernels."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _write_overrides(folder: Path) -> None:
    """JupyterLab as it should be here: it asks nobody for news."""
    path = folder / "labconfig/default_setting_overrides.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    overrides = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    path.write_text(json.dumps(overrides, indent=1), encoding="utf-8")


def _write_kernel(folder: Path, workspace: Path) -> None:
    """A Python kernel of this environment, for this workspace, that has the magic loaded."""
    spec: dict[str, Any] = {
        "argv": [
            sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}",
            "--IPKernelApp.exec_lines=import workbench.magics; workbench.magics.register(get_ipython())",
        ],
        "display_name": "Python 3 (SkyGraph)",
        "language": "python",
        "metadata": {"debugger": True},
        "env": {"SKYGRAPH_WORKSPACE": str(workspace)},
    }  # fmt: skip
    path = folder / "kernels/python3/kernel.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(spec, indent=1), encoding="utf-8")
