"""The main job, run once as a user runs it: `skygraph demo --no-serve --json` in a copy of the repository's workspace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import copy_workspace, free_port
from workbench.bench import Workbench
from workbench.settings import Settings


@dataclass(frozen=True)
class Shop:
    """A workspace in which commands are run as processes, with the ports of its lake."""

    folder: Path
    environ: dict[str, str]

    def run(self, *words: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run `skygraph WORDS` in the workspace."""
        command = [sys.executable, "-m", "workbench.cli", *words]
        return subprocess.run(command, cwd=self.folder, env=self.environ, text=True, capture_output=True, timeout=timeout_s)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `skygraph WORDS` and go on."""
        command = [sys.executable, "-m", "workbench.cli", *words]
        return subprocess.Popen(command, cwd=self.folder, env=self.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def json(self, *words: str, timeout_s: float = 300) -> Any:
        """The JSON answer of a command that succeeds."""
        done = self.run(*words, "--json", timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    def bench(self) -> Workbench:
        """The workbench of the workspace, in this process."""
        return Workbench(Settings.load(self.folder, environ=self.environ))


def open_shop(folder: Path, **environ: str) -> Shop:
    """A copy of the Chinook workspace with ports of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SKYGRAPH_", "DBT_"))}
    repository = Path(__file__).resolve().parents[2]
    ports = {"SKYGRAPH_LAKE_HTTP_PORT": str(free_port()), "SKYGRAPH_LAKE_TCP_PORT": str(free_port())}
    return Shop(copy_workspace(folder), {**kept, "PYTHONPATH": str(repository), **ports, **environ})


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, dict[str, Any]]]:
    """The shop after the main job, with its report. Tests only look at it."""
    shop = open_shop(tmp_path_factory.mktemp("demo") / "shop é 1")
    try:
        yield shop, shop.json("demo", "--no-serve")
    finally:
        shop.run("down")
