"""A workbench on the run's lake, and a way to make relations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from workbench import Workbench
from workbench.lake import Lake
from workbench.relations import Relation
from workbench.settings import Settings


@pytest.fixture
def bench(lake: Lake, settings: Settings) -> Iterator[Workbench]:
    """The empty workspace, on the emptied lake."""
    made = Workbench(settings)
    yield made
    made.close()


@pytest.fixture
def ask(bench: Workbench) -> Callable[..., Relation]:
    """`ask(statement, name=value ...)`."""

    def make(statement: str, *, raw: bool = False, **values: Any) -> Relation:
        return bench.sql(statement, raw=raw, parameters=values)

    return make
