"""JupyterLab of a workspace: it answers on loopback with the magic in its kernels, and leaves no process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from workbench import Workbench
from workbench.errors import SkyGraphError, UsageError
from workbench.ports import choose_port
from workbench.services import Lab
from workbench.settings import Settings

START_S = 60


@pytest.fixture
def listener() -> Iterator[int]:
    """A port of loopback on which this process listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def lab(built_shop: Workbench) -> Iterator[Lab]:
    """JupyterLab on the built shop, ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = Settings.load(built_shop.settings.workspace, environ={}, lab_port=port)
    started = Lab(settings, {"SKYGRAPH_TEST_MARK": "seen"}, notebook="notebooks/explore/quickstart.ipynb")
    started.start()
    try:
        deadline = time.monotonic() + START_S
        while not started.ready():
            assert time.monotonic() < deadline, "JupyterLab does not answer"
            time.sleep(0.1)
        yield started
    finally:
        started.stop()


def _get(lab: Lab, path: str, *, method: str = "GET", data: Any = None, token: bool = True) -> Any:
    sign_in = {"Authorization": f"token {lab.url.partition('token=')[2]}"} if token else {}
    body = json.dumps(data).encode() if data is not None else None
    request = urllib.request.Request(f"http://127.0.0.1:{lab.port}{path}", data=body, headers=sign_in, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def test_lab_opens_the_notebook(lab: Lab) -> None:
    assert lab.url.startswith(f"http://localhost:{lab.port}/lab/tree/notebooks/explore/quickstart.ipynb?token=")
    assert _get(lab, "/api/contents/notebooks/explore/quickstart.ipynb?content=0")["type"] == "notebook"


def test_nobody_gets_in_without_the_token(lab: Lab) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        _get(lab, "/api/contents", token=False)
    with refused.value as answer:
        assert answer.code == 403


def test_only_loopback_listens_and_the_token_is_on_no_command_line(lab: Lab) -> None:
    token = lab.url.partition("token=")[2]
    process = next(p for p in psutil.Process().children() if "workbench.services.jupyter" in p.cmdline())
    assert not any(token in word for p in [process, *process.children(recursive=True)] for word in p.cmdline())
    listening = {c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert listening <= {"127.0.0.1", "::1"}


def test_the_kernel_is_this_python_with_the_magic(lab: Lab) -> None:
    spec = _get(lab, "/api/kernelspecs")["kernelspecs"]["python3"]["spec"]
    assert spec["display_name"] == "Python 3 (SkyGraph)"
    assert spec["env"]["SKYGRAPH_WORKSPACE"] == str(lab.settings.workspace)


def test_a_kernel_has_the_magic_loaded(lab: Lab, tmp_path: Path) -> None:
    """A notebook run with the kernel that Lab offers: no `%load_ext`, no folder, no setting."""
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None, "source": "%skygraph object Customer 1"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": {"name": "python3", "display_name": "p"}}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "in.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    environ = {**os.environ, "JUPYTER_PATH": str(lab.settings.state_dir / "jupyter")}
    words = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--output", "out", "in.ipynb"]
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (ran,) = json.loads((tmp_path / "out.ipynb").read_text(encoding="utf-8"))["cells"]
    (answer,) = [output["data"] for output in ran["outputs"] if output["output_type"] == "execute_result"]
    assert "Luís" in "".join(answer["text/plain"])
    assert "<table>" in "".join(answer["text/html"])


def test_its_terminals_have_the_variables(lab: Lab) -> None:
    process = next(p for p in psutil.Process().children() if "workbench.services.jupyter" in p.cmdline())
    assert process.environ()["SKYGRAPH_TEST_MARK"] == "seen"


def test_stop_leaves_no_process(lab: Lab) -> None:
    _get(lab, "/api/kernels", method="POST", data={"name": "python3"})
    process = next(p for p in psutil.Process().children() if "workbench.services.jupyter" in p.cmdline())
    family = [process, *process.children(recursive=True)]
    assert len(family) >= 2, "the kernel runs"
    lab.stop()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    lab.stop()  # again does nothing
    with pytest.raises(SkyGraphError, match="ended"):
        lab.ready()


def test_a_notebook_that_is_not_there_starts_nothing(built_shop: Workbench) -> None:
    with pytest.raises(UsageError, match="there is no notebook"):
        Lab(built_shop.settings, notebook="nowhere.ipynb").start()


def test_a_port_that_was_asked_for_and_is_taken_says_by_whom(workspace: Path, listener: int) -> None:
    settings = Settings.load(workspace, environ={}, lab_port=listener)
    with pytest.raises(SkyGraphError, match=rf"port {listener} was asked for \(lab_port\) and is taken by .*process {os.getpid()}"):
        Lab(settings).start()
    assert not (workspace / ".skygraph/log/lab.log").exists()


def test_a_default_port_that_is_taken_gives_way_and_says_so(workspace: Path, listener: int) -> None:
    free = Settings(workspace=workspace, lab_port=listener)
    port, note = choose_port(free, "lab_port", "JupyterLab")
    assert port > listener
    assert f"port {listener} is taken by" in note
    assert f"JupyterLab uses {port}" in note
    assert choose_port(free, "lab_port", "JupyterLab", taken=[port])[0] not in (listener, port)


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "8.5"])
def test_a_port_is_a_number_that_a_port_can_have(workspace: Path, port: str) -> None:
    with pytest.raises(UsageError, match="a port is a number from 1 to 65535"):
        Settings.load(workspace, environ={"SKYGRAPH_LAB_PORT": port})
