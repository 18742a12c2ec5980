"""The JSON Schemas: what is committed is what is generated, every good file is good, every file bad in its structure is bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.ontology import test_load
from workbench.errors import InvalidFiles
from workbench.ontology import load_ontology
from workbench.ontology.schema import link_schema, object_schema, write_schemas

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMAS = {"objects": object_schema(), "links": link_schema()}
OWN = [path for kind in SCHEMAS for path in sorted((REPOSITORY / "ontology" / kind).glob("*.yml"))]

# mistakes that only the loader can know of: names that refer to nothing, one name twice, what an expression says
BEYOND_A_SCHEMA = {
    "unknown-model",
    "key-not-a-property",
    "title-not-a-property",
    "doubled-type",
    "doubled-link",
    "unknown-type",
    "join-missing-property-from",
    "join-missing-property-to",
    "join-of-different-types",
    "via-missing-property",
    "via-unknown-model",
    "one-name-for-two-links",
    "one-name-both-ways",
    "alias-is-a-property",
    "alias-is-a-type",
    "alias-is-a-link",
    "alias-is-a-reverse",
    "format-of-a-date",
    "expression-of-an-unknown-property",
    "expression-of-itself",
    "expressions-in-a-circle",
    "subquery",
    "computed-key",
    "computed-join",
}
NOT_YAML = {"does-not-parse", "half-a-list", "two-documents"}


def is_valid(data: Any, kind: str) -> bool:
    return bool(jsonschema.Draft7Validator(SCHEMAS[kind]).is_valid(data))


@pytest.mark.parametrize("folder", [REPOSITORY / "ontology", REPOSITORY / "workbench/starter/workspace/ontology"], ids=["own", "starter"])
def test_what_is_committed_is_what_is_generated(folder: Path, tmp_path: Path) -> None:
    written = write_schemas(tmp_path / "ontology")
    assert len(written.written) == 2
    assert not write_schemas(tmp_path / "ontology").written
    for name in ("object.json", "link.json"):
        assert (folder / "schema" / name).read_bytes() == (tmp_path / "ontology/schema" / name).read_bytes()
        jsonschema.Draft7Validator.check_schema(json.loads((folder / "schema" / name).read_text("utf-8")))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_every_committed_file_is_valid(path: Path) -> None:
    assert is_valid(yaml.safe_load(path.read_text("utf-8")), path.parent.name)


@pytest.mark.parametrize(("file", "old", "new", "expected"), test_load.CASES)
def test_what_the_loader_refuses_for_its_structure_the_schema_refuses(
    folder: Path, models: list[str], file: str, old: str, new: str, expected: str, request: pytest.FixtureRequest
) -> None:
    case = request.node.callspec.id
    kind = file.split("/")[0]
    text = (folder / file).read_text("utf-8")
    assert is_valid(yaml.safe_load(text), kind)
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InvalidFiles):
        load_ontology(folder, models=models)
    if case in NOT_YAML:
        with pytest.raises(yaml.YAMLError):
            yaml.safe_load(text.replace(old, new))
    else:
        assert is_valid(yaml.safe_load(text.replace(old, new)), kind) is (case in BEYOND_A_SCHEMA)


def test_schema_and_loader_know_the_same_keys(folder: Path, models: list[str]) -> None:
    for file, schema, what in (
        (test_load.TAG, SCHEMAS["objects"], "an object type"),
        (test_load.TAG, SCHEMAS["objects"]["properties"]["properties"]["additionalProperties"], "property 'tag'"),
        (test_load.TAGGED, SCHEMAS["links"], "a link type"),
        (test_load.TAGGED, SCHEMAS["links"]["properties"]["via"], "a via"),
    ):
        text = (folder / file).read_text("utf-8")
        odd = "qqqqqqqqqqqq: 1"
        bad = {
            "property 'tag'": text.replace("{type: string}", f"{{type: string, {odd}}}"),
            "a via": text.replace("via:\n", f"via:\n  {odd}\n"),
        }
        (folder / file).write_text(bad.get(what, text + odd + "\n"), encoding="utf-8")
        with pytest.raises(InvalidFiles) as caught:
            load_ontology(folder, models=models)
        (message,) = [p.message for p in caught.value.problems]
        (folder / file).write_text(text, encoding="utf-8")
        known = message.partition("known keys: ")[2].split(", ")
        assert f"of {what}" in message
        assert set(known) == set(schema["properties"])
