"""JupyterLab in the foreground: `skygraph lab`. The process itself is `jupyter.py`, the same that the supervisor runs."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from workbench.errors import SkyGraphError, UsageError
from workbench.ports import choose_port
from workbench.presence import Facts, read_facts
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
    _process: subprocess.Popen[bytes] | None = None

    @property
    def facts(self) -> Facts | None:
        """The workspace's JupyterLab that runs, whoever started it; None when there is none, or it is not ready yet."""
        return read_facts(self.settings.state_dir / "lab")

    @property
    def url(self) -> str:
        """The address to open, with the token; empty before it answers."""
        facts = self.facts
        return link_of(facts, self.notebook) if facts else ""

    @property
    def port(self) -> int:
        """Where it listens; 0 before it does."""
        facts = self.facts
        return facts.port if facts else 0

    @property
    def note(self) -> str:
        """Why the port is not the default one."""
        facts = self.facts
        return facts.note if facts else ""

    def start(self) -> None:
        """Start the process; its log is `.skygraph/log/lab.log`.

        Raises:
            SkyGraphError: a port that was asked for is taken.
            UsageError: there is no such notebook.
        """
        self.check()
        choose_port(self.settings, "lab_port", "JupyterLab")
        words = [sys.executable, "-P", "-m", "workbench.services.jupyter"]
        if self.notebook:
            words += ["--notebook", self.notebook]
        if self.open_browser:
            words.append("--browser")
        log = self.settings.state_dir / "log/lab.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        environ = {**self.settings.environment(), **self.variables}
        with open(log, "ab") as out:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ, cwd=self.settings.workspace
            )  # fmt: skip

    def check(self) -> None:
        """Refuse a notebook that is not there.

        Raises:
            UsageError: there is no such notebook.
        """
        if self.notebook and not (self.settings.workspace / self.notebook).is_file():
            raise UsageError(f"there is no notebook {self.notebook} in {self.settings.workspace}")

    def ready(self) -> bool:
        """Whether it answers now.

        Raises:
            SkyGraphError: it has ended; says where its log is.
        """
        assert self._process is not None
        if (status := self._process.poll()) is not None:
            raise SkyGraphError(f"JupyterLab ended with status {status}", hint=f"see {self.settings.state_dir / 'log/lab.log'}")
        facts = self.facts
        if facts is None:
            return False
        request = urllib.request.Request(f"{facts.reach}/api/status", headers={"Authorization": f"token {facts.token}"})
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


def link_of(facts: Facts, notebook: str = "") -> str:
    """The address to open, with the token."""
    where = f"/lab/tree/{quote(notebook)}" if notebook else "/lab"
    return f"{facts.url}{where}?token={facts.token}"
