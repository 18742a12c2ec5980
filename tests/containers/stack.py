"""compose.yaml as data, and as processes: each container's command with its environment, on ports that are free."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))
SECRETS = {
    "SKYGRAPH_LAKE_PASSWORD": "lakePassword0123456789", "SKYGRAPH_VIEWER_PASSWORD": "viewerPassword0123456789",
    "SKYGRAPH_API_TOKEN": "apiToken0123456789abc", "SKYGRAPH_LAB_TOKEN": "labToken0123456789abc",
    "SKYGRAPH_DASHBOARDS_PASSWORD": "dashboards0123456789",
}  # fmt: skip


def interpolated(environ: Mapping[str, str]) -> dict[str, Any]:
    """The file as a client reads it in this environment.

    Raises:
        KeyError: a variable that must be set is not.
    """

    def value(found: re.Match[str]) -> str:
        name, sign, text = found[1], found[2], found[3]
        if name is None:
            return "$"
        if environ.get(name):
            return environ[name]
        if sign != "-":
            raise KeyError(f"{name}: {text}")
        return text

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(one) for key, one in node.items()}
        if isinstance(node, list):
            return [walk(one) for one in node]
        return re.sub(r"\$\$|\$\{(\w+)(?::([-?])([^}]*))?\}", value, node) if isinstance(node, str) else node

    found: dict[str, Any] = walk(COMPOSE)
    return found


@dataclass
class Stack:
    """The containers of compose.yaml as processes over one workspace: each sees its own environment alone."""

    workspace: Path
    lake_port: int
    ports: dict[str, int] = field(default_factory=lambda: {port: free_port() for port in ("8100", "8888", "8866")})
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services = interpolated({**SECRETS, "SKYGRAPH_CANARY": "off"})["services"]

    def environ(self, name: str) -> dict[str, str]:
        """What the container has in its environment: by name the other containers, here all on this machine."""
        given = {
            k: str(v).replace("@clickhouse:8123", f"@127.0.0.1:{self.lake_port}") for k, v in self.services[name]["environment"].items()
        }
        given = {k: str(self.ports.get(v, v)) for k, v in given.items()}
        bin_ = str(Path(sys.executable).parent)
        return {
            "PATH": os.pathsep.join([bin_, os.environ["PATH"]]), "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1", **given,
        }  # fmt: skip

    def start(self, name: str) -> subprocess.Popen[str]:
        """Run the container's command; what it says goes to a file beside the workspace."""
        with open(self.log(name), "a", encoding="utf-8") as out:
            self.running[name] = subprocess.Popen(
                self.services[name]["command"], cwd=self.workspace, env=self.environ(name), stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, text=True, start_new_session=True,
            )  # fmt: skip
        return self.running[name]

    def log(self, name: str) -> Path:
        """What the container has said."""
        return self.workspace.parent / f"{name}.log"

    def run(self, name: str, words: list[str]) -> subprocess.CompletedProcess[str]:
        """`docker compose exec NAME WORDS`."""
        return subprocess.run(words, cwd=self.workspace, env=self.environ(name), capture_output=True, text=True, check=False, timeout=120)

    def is_healthy(self, name: str) -> bool:
        """The healthcheck of the container, as it stands in the file."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        assert kind in ("CMD", "CMD-SHELL")
        return self.run(name, words if kind == "CMD" else ["sh", "-c", shlex.join(words) if len(words) > 1 else words[0]]).returncode == 0

    def end(self) -> None:
        """End what still runs."""
        for process in self.running.values():
            if process.poll() is None:
                process.terminate()
        for process in self.running.values():
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
