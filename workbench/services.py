"""Services of a workspace as local processes: JupyterLab and the HTTP API, beside the lake that starts by itself."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from workbench.errors import SkyGraphError, UsageError
from workbench.kernel import write_kernel
from workbench.ports import choose_port
from workbench.settings import Settings

__all__ = ["ApiService", "Lab", "RunningApi"]

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.02


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
        path = write_kernel(state / "jupyter", workspace)
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


@dataclass(frozen=True)
class RunningApi:
    """The API process of a workspace and where it answers. `note` says why the port is not the default one."""

    pid: int
    url: str
    port: int
    note: str = ""


@dataclass(frozen=True)
class ApiService:
    """The HTTP API of a workspace as a process of its own, that goes on when its starter ends.

    It holds `.skygraph/api/lock` for as long as it lives: the lock decides whether it runs, never a number in a file.
    """

    settings: Settings

    @property
    def home(self) -> Path:
        """Its lock and its address."""
        return self.settings.state_dir / "api"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.settings.state_dir / "log/api.log"

    def pid(self) -> int | None:
        """The process, or None when it does not run."""
        try:
            with open(self.home / "lock", encoding="utf-8") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    text = lock.read().strip()
                    return int(text) if text.isdigit() else None
        except OSError:
            return None
        return None

    def running(self) -> RunningApi | None:
        """The process that answers now, or None."""
        pid = self.pid()
        try:
            facts = json.loads((self.home / "server.json").read_text(encoding="utf-8"))
            found = RunningApi(facts["pid"], facts["url"], facts["port"], facts["note"])
        except (OSError, ValueError, KeyError):
            return None
        return found if found.pid == pid else None

    def ensure(self) -> RunningApi:
        """The process, started when it does not run. Callers at the same moment get the same one.

        Raises:
            SkyGraphError: it cannot start: a port that was asked for is taken, no token beyond loopback, ...
        """
        self.settings.make_state_dir()
        for folder in (self.home, self.log.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.home / "start.lock", "a+", encoding="utf-8") as only_one:
            fcntl.flock(only_one, fcntl.LOCK_EX)
            if found := self.running():
                return found
            # the process leaves our family; it holds the pipe's other end, so that reading it says when it is gone
            alive, held = os.pipe()
            try:
                with open(self.log, "ab") as out:
                    mark = out.tell()
                    words = [sys.executable, "-P", "-m", "workbench.api", "--detach"]
                    env, where = self.settings.environment(), self.settings.workspace
                    subprocess.run(
                        words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=where, pass_fds=(held,), check=False
                    )  # fmt: skip
                os.close(held)
                deadline = time.monotonic() + _START_TIMEOUT_S
                while time.monotonic() < deadline:
                    if found := self.running():
                        return found
                    if select.select([alive], [], [], _POLL_S)[0]:
                        said = self.log.read_bytes()[mark:].decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
                        raise SkyGraphError(f"the API cannot start: {said[-1].removeprefix('skygraph-api: ')}", hint=f"see {self.log}")
            finally:
                os.close(alive)
        self.stop()
        raise SkyGraphError(f"the API did not start within {_START_TIMEOUT_S:.0f} s", hint=f"see {self.log}")

    def stop(self) -> bool:
        """Stop it in order: requests that run may end, within seconds. False when it did not run."""
        pid = self.pid()
        if pid is None:
            return False
        for ending, patience_s in ((signal.SIGTERM, _STOP_TIMEOUT_S), (signal.SIGKILL, 5.0)):
            with suppress(ProcessLookupError):
                os.kill(pid, ending)
            deadline = time.monotonic() + patience_s
            while time.monotonic() < deadline:
                if self.pid() != pid:
                    return True
                time.sleep(_POLL_S)
        raise SkyGraphError(f"the API (process {pid}) does not end", hint=f"see {self.log}")
