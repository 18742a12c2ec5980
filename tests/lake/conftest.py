"""Fixtures: lakes of their own, for tests that look at the processes or end them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workbench.lake import Lake
from workbench.settings import Settings

# what a path may hold: spaces, quotes, letters beyond ASCII, signs of XML, SQL, patterns and the shell
HARD_NAME = "it's a wörkspace & <Ω> `$x` {a,b} [c]? *"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def own_settings(folder: Path) -> Settings:
    """Settings of a lake of its own on free ports."""
    folder.mkdir(parents=True, exist_ok=True)
    return Settings.load(folder, environ={}, lake_http_port=_free_port(), lake_tcp_port=_free_port())


@pytest.fixture
def start_lake(tmp_path: Path) -> Iterator[Callable[..., Lake]]:
    """Makes lakes in workspaces of their own (started when first used); all are stopped at the end."""
    made: list[Lake] = []

    def make(settings: Settings | None = None) -> Lake:
        made.append(Lake(settings or own_settings(tmp_path / HARD_NAME)))
        return made[-1]

    yield make
    _stop(made)


@pytest.fixture(scope="module")
def own_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A running lake for the tests of one file; they only look at it."""
    lake = Lake(own_settings(tmp_path_factory.mktemp("own") / HARD_NAME))
    lake.ping()
    yield lake
    _stop([lake])


def _stop(lakes: list[Lake]) -> None:
    for lake in lakes:
        lake.close()
        assert lake.embedded is not None
        lake.embedded.stop()
