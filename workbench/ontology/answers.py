"""The model itself as answers: all types and links, one type, what a reload changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workbench.answer import Answer, Block, Grid, Heading, Note
from workbench.errors import InvalidFiles
from workbench.ontology.model import Changes, ObjectType, Ontology, OntologyDiff

__all__ = ["OntologyList", "ReloadReport", "TypeDetail"]


@dataclass(frozen=True)
class OntologyList(Answer):
    """Every object type and link type. With `problems`, the files are wrong and this is the last good model."""

    ontology: Ontology
    problems: InvalidFiles | None = None

    def to_dict(self) -> dict[str, Any]:
        """The model as `Ontology.to_dict`, each kind as a list, and `problems` when the files are wrong."""
        data: dict[str, Any] = {kind: list(types.values()) for kind, types in self.ontology.to_dict().items()}
        if self.problems:
            data["problems"] = [p.to_dict() for p in self.problems.problems]
        return data

    def blocks(self) -> Iterator[Block]:
        """Problems first, then the types, then the links."""
        if self.problems:
            yield Note("the files are wrong; this is the last good model", "bad")
            yield from (Note(str(problem), "bad") for problem in self.problems.problems)
        types, links = self.ontology.object_types.values(), self.ontology.link_types.values()
        yield Grid(
            ["type", "model", "key", "properties", "links", "description"],
            [
                [t.name, t.model, t.key, len(t.properties), ", ".join(e.name for e in self.ontology.links_of(t.name)), t.description]
                for t in types
            ],
            empty="no object type; write one in ontology/objects/",
        )
        if links:
            yield Grid(
                ["link", "from", "to", "cardinality", "reverse"],
                [[link.name, link.from_type, link.to_type, link.cardinality.replace("_", " "), link.reverse] for link in links],
            )

    def __repr__(self) -> str:
        return f"<Ontology of {len(self.ontology.object_types)} types and {len(self.ontology.link_types)} links>"


@dataclass(frozen=True, repr=False)
class TypeDetail(Answer):
    """One object type with its properties and links."""

    ontology: Ontology
    object_type: ObjectType

    def to_dict(self) -> dict[str, Any]:
        """The type as `Ontology.to_dict` has it, and `links` as seen from it."""
        found: dict[str, Any] = self.ontology.to_dict()["object_types"][self.object_type.name]
        return {
            **found,
            "links": [
                {"name": e.name, "type": e.to_type, "many": e.many, "link": e.link.name, "reverse": e.back}
                for e in self.ontology.links_of(self.object_type.name)
            ],
        }

    def blocks(self) -> Iterator[Block]:
        """The type, its properties, its links."""
        shown = self.object_type
        yield Heading(f"{shown.name}" + (f": {shown.description}" if shown.description else ""))
        yield Note(f"model {shown.model}, key {shown.key}, title {shown.title}", "quiet")
        yield Grid(
            ["property", "type", "unit", "description"],
            [[p.name, p.type, p.unit, p.description] for p in shown.properties.values()],
        )
        yield Grid(
            ["link", "leads to", "way back", "description"],
            [
                [e.name, f"{'many' if e.many else 'one'} {e.to_type}", e.back, e.link.description]
                for e in self.ontology.links_of(shown.name)
            ],
            empty="no links",
        )

    def __repr__(self) -> str:
        return f"<object type {self.object_type.name}>"


@dataclass(frozen=True)
class ReloadReport(Answer):
    """What a reload changed, and how large the model is now."""

    changes: OntologyDiff
    type_count: int
    link_count: int

    def to_dict(self) -> dict[str, Any]:
        """`object_types` and `link_types` with the names `added`, `changed`, `removed`; `type_count`, `link_count`."""
        return {**self.changes.to_dict(), "type_count": self.type_count, "link_count": self.link_count}

    def blocks(self) -> Iterator[Block]:
        """One line, then one row per change."""
        size = f"{self.type_count} object types and {self.link_count} link types"
        if not self.changes:
            yield Note(f"nothing changed: {size}", "good")
            return
        yield Note(f"reloaded: {size}", "good")
        yield Grid(
            ["change", "what", "name"],
            [
                *_rows("object type", self.changes.object_types),
                *_rows("link type", self.changes.link_types),
            ],
        )


def _rows(what: str, changes: Changes) -> Iterator[list[str]]:
    for change in ("added", "changed", "removed"):
        yield from ([change, what, name] for name in getattr(changes, change))
