"""Whatever is asked within the schema, and just outside it, gets an answer that the schema tells of, and never a 500.

`SKYGRAPH_API_EXAMPLES` is how many requests are made up for each operation and kind (20).
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings

from workbench import Workbench
from workbench.api import create_app
from workbench.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import CHECKS

EXAMPLES = int(os.environ.get("SKYGRAPH_API_EXAMPLES", "20"))


def _constrains(parameter: Any) -> bool:
    """Whether something can be wrong with it; one word that may be any text is always right."""
    return parameter["in"] == "query" and (parameter["required"] or parameter["schema"].get("type") != "string")


PATHS = create_app(Workbench(Settings(workspace=Path()))).openapi()["paths"]
OPERATIONS = [(method, path) for path, operations in PATHS.items() for method in operations]
# of the others everything is right: a name in a path is any text
MISTAKABLE = [
    (method, path) for method, path in OPERATIONS
    if "requestBody" in (told := PATHS[path][method]) or any(map(_constrains, told.get("parameters", ())))
]  # fmt: skip

# what a made-up request hardly ever hits by chance
NAMES = {"type": "Customer", "key": "1", "link": "invoices", "a": "opening", "b": "opening"}
WORDS = {
    "by": "country",
    "property": ["country", "company"],
    "text": "Customer[country=Brazil]/invoices",
    "type": ["Genre"],
    "sum": ["total_spent"],
}
OWN_CHOICE = {"limit", "count", "format", "top", "budget_s"}

CHECKED = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


@pytest.fixture(scope="module")
def schema(app: FastAPI) -> Any:
    """The schema of the API on the built shop, as the API gives it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return schemathesis.openapi.from_asgi("/openapi.json", app, headers={"Host": "localhost"})


def _ask(schema: Any, method: str, path: str, mode: Any, *, known: bool = False) -> set[int]:
    """Make up requests and check every answer; the statuses that there were."""
    seen = set()

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=schema[path][method.upper()].as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.headers = {**(case.headers or {}), "Host": "localhost"}
        if known:
            case.path_parameters = {name: NAMES[name] for name in case.path_parameters or {}}
            case.query = {k: WORDS.get(k, v) for k, v in (case.query or {}).items() if k in WORDS or k in OWN_CHOICE}
        answer = case.call()
        seen.add(answer.status_code)
        case.validate_response(answer, checks=[CHECKS.get_one(name) for name in CHECKED])

    ask()
    return seen


@pytest.mark.filterwarnings("ignore")  # of the tool's own
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=str)
def test_every_answer_is_in_the_schema(schema: Any, method: str, path: str) -> None:
    assert _ask(schema, method, path, GenerationMode.POSITIVE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("method", "path"), MISTAKABLE, ids=str)
def test_every_answer_to_a_mistake_is_in_the_schema(schema: Any, method: str, path: str) -> None:
    assert _ask(schema, method, path, GenerationMode.NEGATIVE) & {400, 404}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", [path for method, path in OPERATIONS if "parameters" in PATHS[path][method] and method == "get"])
def test_every_answer_about_what_is_there_is_in_the_schema(schema: Any, path: str) -> None:
    assert 200 in _ask(schema, "get", path, GenerationMode.POSITIVE, known=True)
