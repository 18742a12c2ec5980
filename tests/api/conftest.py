"""The API in this process, on the Chinook shop and its real lake."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi import FastAPI

from tests.conftest import copy_workspace
from workbench import Workbench
from workbench.api import create_app
from workbench.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have a successor of httpx, which nothing here needs
    from starlette.testclient import TestClient

TOKEN = "a-token-that-is-long-enough"


def add_model(workspace: Path, type_name: str, model: str, key: str, kind: str) -> None:
    """Files of a dbt model in `marts` and of an object type of one property on it."""
    properties = f"{{{key}: {{type: {kind}}}}}"
    text = f"type: {type_name}\nmodel: {model}\nkey: {key}\ntitle: {key}\nproperties: {properties}\n"
    for path, content in ((f"dbt/models/marts/{model}.sql", "select 1"), (f"ontology/objects/{type_name.lower()}.yml", text)):
        (workspace / path).parent.mkdir(parents=True, exist_ok=True)
        (workspace / path).write_text(content, encoding="utf-8")


@pytest.fixture(scope="session")
def shop_url(busy_shop: Workbench) -> str:
    """The address of the shop's lake, with user and password."""
    at = busy_shop.lake.address
    return f"http://{at.user}:{quote(at.password)}@{at.host}:{at.port}"


@pytest.fixture(scope="session")
def app(busy_shop: Workbench) -> FastAPI:
    """The API on the built shop."""
    return create_app(busy_shop)


@pytest.fixture(scope="session")
def api(app: FastAPI) -> Iterator[TestClient]:
    """Asks it as `curl` on the same machine does."""
    with TestClient(app, base_url="http://localhost:8100") as client:
        yield client


@pytest.fixture
def own_shop(tmp_path: Path, shop_url: str) -> Iterator[Workbench]:
    """A workspace of one's own, whose files a test may change, on the shop's lake."""
    bench = Workbench(Settings.load(copy_workspace(tmp_path / "shop é"), environ={}, clickhouse_url=shop_url))
    yield bench
    bench.close()


@pytest.fixture
def own_api(own_shop: Workbench) -> Iterator[TestClient]:
    """The API on it."""
    with TestClient(create_app(own_shop), base_url="http://localhost") as client:
        yield client
