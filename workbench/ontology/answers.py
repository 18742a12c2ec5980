"""The model itself as answers: all types and links, one type, the picture of them, what a reload changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workbench.answer import Answer, Block, Grid, Heading, Note
from workbench.errors import InvalidFiles, Problem
from workbench.ontology.graph import draw
from workbench.ontology.model import Changes, LinkType, ObjectType, Ontology, OntologyDiff, Property

__all__ = ["OntologyList", "ReloadReport", "TypeDetail", "TypeGraph"]


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
                [t.name, t.model, t.key, len(t.properties), ", ".join(e.name for e in self.ontology.links_of(t.name)), _about(t)]
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
        also = f", also called {', '.join(shown.aliases)}" if shown.aliases else ""
        yield Note(f"model {shown.model}, key {shown.key}, title {shown.title}{also}", "quiet")
        if shown.deprecated:
            yield Note(f"deprecated: {shown.deprecated}", "bad")
        # a column that no property uses is left out
        columns = {
            "property": [p.name for p in shown.properties.values()],
            "type": [p.type for p in shown.properties.values()],
            "unit": [p.unit for p in shown.properties.values()],
            "format": [p.format for p in shown.properties.values()],
            "computed": [p.expression for p in shown.properties.values()],
            "aliases": [", ".join(p.aliases) for p in shown.properties.values()],
            "description": [_about(p) for p in shown.properties.values()],
        }
        used = {name: cells for name, cells in columns.items() if any(cells) or name == "unit"}
        yield Grid(list(used), list(zip(*used.values(), strict=True)))
        yield Grid(
            ["link", "leads to", "way back", "description"],
            [[e.name, f"{'many' if e.many else 'one'} {e.to_type}", e.back, _about(e.link)] for e in self.ontology.links_of(shown.name)],
            empty="no links",
        )

    def __repr__(self) -> str:
        return f"<object type {self.object_type.name}>"


def _about(thing: ObjectType | LinkType | Property) -> str:
    """Its description, and that it is deprecated."""
    return " ".join(filter(None, (thing.deprecated and f"[deprecated: {thing.deprecated}]", thing.description)))


@dataclass(frozen=True, repr=False)
class TypeGraph(Answer):
    """All types and the links between them: a picture in a notebook, a line per link elsewhere."""

    ontology: Ontology

    def to_dict(self) -> dict[str, Any]:
        """`types`, by name, and `links` with `name`, `from`, `to`, `cardinality` and `reverse`."""
        return {
            "types": list(self.ontology.object_types),
            "links": [
                {"name": k.name, "from": k.from_type, "to": k.to_type, "cardinality": k.cardinality, "reverse": k.reverse}
                for k in self.ontology.link_types.values()
            ],
        }

    def svg(self) -> str:
        """The picture: one SVG element that needs nothing else and takes its colour from the text around it."""
        return draw(self.ontology)

    def blocks(self) -> Iterator[Block]:
        """A line per link, then the types without any."""
        links = self.ontology.link_types.values()
        yield Grid(
            ["from", "link", "to", "way back"],
            [
                [k.from_type, f"{k.name} ({k.cardinality.replace('_', ' ')})", k.to_type, k.reverse]
                for k in sorted(links, key=lambda k: (k.from_type, k.name))
            ],
            empty="no links",
        )
        linked = {name for k in links for name in (k.from_type, k.to_type)}
        if alone := [name for name in self.ontology.object_types if name not in linked]:
            yield Note(f"without links: {', '.join(alone)}", "quiet")

    def _repr_html_(self) -> str:
        return f'<div style="overflow:auto">{self.svg()}</div>'

    def __repr__(self) -> str:
        return f"<type graph of {len(self.ontology.object_types)} types and {len(self.ontology.link_types)} links>"


@dataclass(frozen=True)
class ReloadReport(Answer):
    """What a reload changed, how large the model is now, and what of it the lake lacks though no edit asked for it."""

    changes: OntologyDiff
    type_count: int
    link_count: int
    degraded: tuple[Problem, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """`object_types` and `link_types` with the names `added`, `changed`, `removed`; `type_count`, `link_count`, `degraded`."""
        size = {"type_count": self.type_count, "link_count": self.link_count}
        return {**self.changes.to_dict(), **size, "degraded": [p.to_dict() for p in self.degraded]}

    def blocks(self) -> Iterator[Block]:
        """One line, then one row per change, then what does not work."""
        size = f"{self.type_count} object types and {self.link_count} link types"
        yield from (Note(f"degraded: {problem}", "bad") for problem in self.degraded)
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
