"""The pages do what they say: every `sh` block marked `<!-- run -->` runs in a built workspace, in the order of the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.journey.conftest import Shop, open_shop

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


@pytest.mark.parametrize("page", [name for name, blocks in PAGES.items() if blocks])
def test_the_blocks_of_a_page_run(page: str, own_lake: Shop) -> None:
    programs = str(Path(sys.executable).parent)
    environ = {**own_lake.environ, "PATH": os.pathsep.join([programs, own_lake.environ["PATH"]])}
    for block in PAGES[page]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=own_lake.folder, env=environ, text=True, capture_output=True, timeout=300
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
