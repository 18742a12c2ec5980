"""The JSON Schemas of the ontology's files, made from what the loader takes, so that editors complete and check them.

A schema sees one file: it knows keys, kinds of values and what goes together. That names refer to something is the loader's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.answer import Answer, Block, Note
from workbench.ontology.model import CARDINALITIES
from workbench.ontology.values import NUMBER_FORMAT, PROPERTY_TYPES

__all__ = ["SchemaFiles", "link_schema", "object_schema", "write_schemas"]

# an identifier, in the part of regular expressions that every editor's engine shares: no blank, no sign but _, no digit first
_SIGNS = r"\s!-/:-@\[-\^`{-~"
_NAME = {"type": "string", "pattern": rf"^[^\d{_SIGNS}][^{_SIGNS}]*$"}
_TEXT = {"type": ["string", "number"], "pattern": r"\S"}


def _said(schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {**schema, "description": description}


_ALIASES = {
    "anyOf": [_NAME, {"type": "array", "items": _NAME, "minItems": 1, "uniqueItems": True}],
    "description": "Other names that go on working, such as the one before a rename.",
}
_DEPRECATED = _said(_TEXT, "What to use instead; people are told.")
_PAIRS = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string", "minLength": 1}}


def object_schema() -> dict[str, Any]:
    """The schema of `ontology/objects/*.yml`."""
    by_group = [
        {
            "if": {"properties": {"type": {"enum": [n for n, kind in PROPERTY_TYPES.items() if kind.group == "number"]}}},
            "then": {"properties": {"format": {"type": "string", "pattern": f"^(?:{NUMBER_FORMAT.pattern})$", "minLength": 1}}},
        },
        {
            "if": {"properties": {"type": {"enum": ["date", "timestamp"]}}},
            "then": {"properties": {"format": {"type": "string", "pattern": "%[A-Za-z]"}}},
        },
        {"if": {"properties": {"type": {"enum": ["string", "boolean"]}}}, "then": {"not": {"required": ["format"]}}},
    ]
    property = {
        "type": "object",
        "additionalProperties": False,
        "required": ["type"],
        "properties": {
            "type": {"enum": list(PROPERTY_TYPES), "description": "How values are read, compared and shown."},
            "description": _said(_TEXT, "What it says, for people."),
            "unit": _said(_TEXT, "What a number counts: USD, ms, kg."),
            "expression": _said(_TEXT, "A computed property: one value of ClickHouse's SQL over the other properties, without a column."),
            "format": _said(_TEXT, "How values are shown: ,.2f or .1% for numbers, %d %b %Y for dates and times."),
            "aliases": _ALIASES,
            "deprecated": _DEPRECATED,
        },
        "allOf": by_group,
    }
    return _file(
        "An object type",
        required=["type", "model", "key", "properties"],
        properties={
            "type": _said(_NAME, "The name of the type: singular, CamelCase, unique."),
            "description": _said(_TEXT, "What an object of the type is, for people."),
            "model": _said(_TEXT, "The dbt model whose rows are the objects."),
            "key": _said(_TEXT, "The property that tells objects apart: unique and never null."),
            "title": _said(_TEXT, "The property that is shown as an object's name; default the key."),
            "properties": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": _NAME,
                "additionalProperties": property,
                "description": "Each is a column of the model under its name, or has an expression.",
            },
            "aliases": _ALIASES,
            "deprecated": _DEPRECATED,
        },
    )


def link_schema() -> dict[str, Any]:
    """The schema of `ontology/links/*.yml`."""
    is_many = {"properties": {"cardinality": {"const": "many_to_many"}}, "required": ["cardinality"]}
    found = _file(
        "A link type",
        required=["link", "from", "to", "cardinality", "reverse"],
        properties={
            "link": _said(_NAME, "The name of the link: a verb phrase, unique."),
            "description": _said(_TEXT, "What it means, for people."),
            "from": _said(_TEXT, "The object type it starts at."),
            "to": _said(_TEXT, "The object type it leads to."),
            "cardinality": {"enum": list(CARDINALITIES), "description": "How many of `from` belong to how many of `to`."},
            "join": _said(_PAIRS, "property of `from`: property of `to`"),
            "via": {
                "type": "object",
                "additionalProperties": False,
                "required": ["model", "from", "to"],
                "properties": {
                    "model": _said(_TEXT, "The dbt model with a row per pair."),
                    "from": _said(_PAIRS, "property of `from`: column of the model"),
                    "to": _said(_PAIRS, "property of `to`: column of the model"),
                },
                "description": "Of a many_to_many link, instead of a join.",
            },
            "reverse": _said(_NAME, "Its name seen from the other side."),
            "aliases": _ALIASES,
            "deprecated": _DEPRECATED,
        },
    )
    found["if"] = is_many
    found["then"] = {"required": ["via"], "not": {"required": ["join"]}}
    found["else"] = {"required": ["join"], "not": {"required": ["via"]}}
    return found


def _file(title: str, *, required: list[str], properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": title,
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": dict(properties),
    }


@dataclass(frozen=True)
class SchemaFiles(Answer):
    """The schema files of a workspace; `written` are those that were not there or said something else."""

    files: tuple[str, ...]
    written: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """`files` and `written`, each a list of paths in the workspace."""
        return {"files": list(self.files), "written": list(self.written)}

    def blocks(self) -> Iterator[Block]:
        """A line per file, and how a YAML file names its schema."""
        for file in self.files:
            yield Note(f"{file}: {'written' if file in self.written else 'as it should be'}", "good")
        yield Note("a file in objects/ begins with: # yaml-language-server: $schema=../schema/object.json (in links/: link.json)", "quiet")


def write_schemas(folder: Path) -> SchemaFiles:
    """Write both schemas to `schema/` in an ontology folder, where they are not there as they should be."""
    files, written = [], []
    for name, schema in (("object.json", object_schema()), ("link.json", link_schema())):
        path = folder / "schema" / name
        text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        files.append(f"{folder.name}/schema/{name}")
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(files[-1])
    return SchemaFiles(tuple(files), tuple(written))
