"""The pages do what they say: every `sh` block marked `<!-- run -->` runs in a built workspace, in the order of the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.conftest import REPOSITORY, free_port
from tests.journey.conftest import Shop, open_shop
from workbench.lake import Lake

_BLOCK = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {page.name: _BLOCK.findall(page.read_text(encoding="utf-8")) for page in sorted((REPOSITORY / "docs").glob("*.md"))}


@pytest.fixture(scope="module")
def own_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop, synced and built, with the snapshots of the demo (nothing happened between them). The pages may change it."""
    shop = open_shop(tmp_path_factory.mktemp("docs") / "shop é 1")
    bench = shop.bench()
    try:
        assert not bench.sync().failed
        assert bench.dbt("run").success
        for label in ("before", "after"):
            bench.snapshot(label=label)
        bench.close()
        yield shop
    finally:
        shop.run("down")


def test_pages_have_blocks_that_run() -> None:
    marked = sum(page.read_text(encoding="utf-8").count("<!-- run -->") for page in (REPOSITORY / "docs").glob("*.md"))
    assert marked == sum(map(len, PAGES.values()))  # a mark above anything but a block of sh would be passed over
    assert {name for name, blocks in PAGES.items() if blocks} >= {"tutorial.md", "sync.md", "twin.md"}


# --- the operations guide: every command, with what it answers


_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GUIDE = REPOSITORY / "docs/operations.md"


def guide_steps() -> list[tuple[str, list[str]]]:
    """Each command of the guide, with the lines that stand under it."""
    steps: list[tuple[str, list[str]]] = []
    for block in _CONSOLE.findall(_GUIDE.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            elif line.strip():
                steps[-1][1].append(line)
    return steps


def skeleton(line: str) -> str:
    """A line without what is another one each time: numbers, times, ids, sizes, and how wide the columns are."""
    line = re.sub(r"\S*/\S+|\b[0-9a-f]{8,}\b|\d[\d.,:TZ+-]*\d|\d", "#", line)
    line = re.sub(r"# (?:s|ms|min|h|d|GB|MB)\b", "#", line)
    return re.sub(r"[\s#]+", " ", line).strip()


def test_every_command_of_the_operations_guide_answers_as_it_says(own_lake: Shop, lake: Lake, lake_url: str) -> None:
    ports = {str(default): str(free_port()) for default in (8100, 8888, 8866)}
    parts = urlsplit(lake_url)
    environ = {
        **own_lake.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), own_lake.environ["PATH"]]),
        "SKYGRAPH_API_PORT": ports["8100"], "SKYGRAPH_LAB_PORT": ports["8888"], "SKYGRAPH_DASHBOARDS_PORT": ports["8866"],
        "SERVER": f"http://{parts.username}@{parts.hostname}:{parts.port}", "SERVER_URL": lake_url,
        "SKYGRAPH_MOVE_PASSWORD": str(parts.password), "SKYGRAPH_CANARY": "off",  # one flies when the page says so, and at no other time
    }  # fmt: skip
    steps = [*guide_steps(), ("skygraph down", [])]
    verbs = {command.split()[1] for command, _ in steps if command.startswith("skygraph ")}
    assert verbs >= {"up", "ps", "health", "canary", "restart", "logs", "down", "sync", "jobs", "dbt", "ontology", "snapshot"}
    assert verbs >= {"backup", "restore", "move"}
    for command, said in steps:
        for default, port in ports.items():
            command = command.replace(f":{default}", f":{port}")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=own_lake.folder, env=environ, text=True, capture_output=True, timeout=120
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        shown = done.stdout.replace(str(own_lake.folder), "/srv/shop")
        found = [skeleton(line) for line in shown.splitlines()]
        missing = [line for line in said if line.strip() != "..." and skeleton(line) not in found]
        assert not missing, f"$ {command}\n{done.stdout[-3000:]}\nlacks: {missing}"


def test_the_guide_speaks_of_the_services_of_the_compose_file() -> None:
    services = set(yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))["services"])
    named = set(
        re.findall(r"\bskygraph-\w+|\bclickhouse\b", "\n".join(re.findall(r"^docker compose .*$", _GUIDE.read_text("utf-8"), re.MULTILINE)))
    )
    assert named
    assert named <= services


# --- the other pages


@pytest.mark.parametrize("page", [name for name, blocks in PAGES.items() if blocks])
def test_the_blocks_of_a_page_run(page: str, own_lake: Shop) -> None:
    programs = str(Path(sys.executable).parent)
    environ = {**own_lake.environ, "PATH": os.pathsep.join([programs, own_lake.environ["PATH"]])}
    for block in PAGES[page]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=own_lake.folder, env=environ, text=True, capture_output=True, timeout=300
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
