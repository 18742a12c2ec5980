"""The dashboards of the built shop, served as a user serves them: a process of its own, with one of its owner's secrets around."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import websocket

from workbench import Workbench
from workbench.presence import read_facts

REPOSITORY = Path(__file__).resolve().parents[2]
SECRET = "owners-secret-of-a-source"


@dataclass(frozen=True)
class Pages:
    """A process that serves dashboards."""

    url: str
    pid: int
    workspace: Path


@contextmanager
def serving(workspace: Path, **variables: str) -> Iterator[Pages]:
    """Serve until the end of the block."""
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "ERP_DSN": SECRET, **variables}
    words = [sys.executable, "-P", "-m", "workbench.dashboards", "--workspace", str(workspace)]
    home = workspace / ".skygraph/dashboards"
    with open(workspace / "dashboards.out", "wb") as out:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ)
    try:
        deadline = time.monotonic() + 240
        while (facts := read_facts(home)) is None:
            assert process.poll() is None, (workspace / "dashboards.out").read_text()
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.05)  # between two looks
        yield Pages(facts.url, facts.pid, workspace)
    finally:
        process.terminate()
        assert process.wait(30) == 0
        assert read_facts(home) is None


@pytest.fixture(scope="session")
def pages(built_shop: Workbench) -> Iterator[Pages]:
    """The shop's dashboards, without a password."""
    with serving(built_shop.settings.workspace) as served:
        yield served


class Visitor:
    """Somebody who opened a dashboard and speaks to its kernel by himself."""

    def __init__(self, pages: Pages, name: str) -> None:
        with urllib.request.urlopen(f"{pages.url}/{name}", timeout=60) as answer:
            self.page = answer.read().decode()
        (self.kernel,) = set(re.findall(r'"kernelId": ?"([0-9a-f-]{36})"', self.page))
        where = f"{pages.url.replace('http', 'ws')}/api/kernels/{self.kernel}/channels?session_id={uuid.uuid4()}"
        self.socket = websocket.create_connection(where, timeout=30, origin=pages.url)
        self.heard: list[dict[str, Any]] = []

    def say(self, kind: str, content: Mapping[str, Any], channel: str = "shell") -> str:
        """Send a message; its id."""
        header = {"msg_id": str(uuid.uuid4()), "session": "s", "username": "u", "msg_type": kind, "version": "5.3"}
        header["date"] = "2026-01-01T00:00:00Z"
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": channel, "buffers": []}
        self.socket.send(json.dumps(message))
        return header["msg_id"]

    def until(self, kind: str, parent: str = "") -> dict[str, Any]:
        """The next message of a kind, as an answer to another when that is given; what comes before it is in `heard`."""
        while True:
            message = json.loads(self.socket.recv())
            self.heard.append(message)
            if message["msg_type"] == kind and parent in ("", message["parent_header"].get("msg_id")):
                return dict(message["content"])

    def ask(self, comm: str, question: Mapping[str, Any]) -> dict[str, Any]:
        """Ask a widget something as its page does; its first answer."""
        question = {"id": str(uuid.uuid4()), **question}
        self.say("comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": question}})
        while True:
            content = self.until("comm_msg")
            answer = content["data"].get("content") or {}
            if answer.get("id") == question["id"]:
                return dict(answer)

    def comms(self) -> list[str]:
        """Every widget of the page."""
        asked = self.say("comm_info_request", {})
        return list(self.until("comm_info_reply", asked)["comms"])


@pytest.fixture
def visitor(pages: Pages) -> Iterator[Visitor]:
    """A visitor of Sales."""
    came = Visitor(pages, "sales")
    yield came
    came.socket.close()
