"""What taking an edited model would mean: what is added, what changes, what breaks, and who uses what changes.

Breaking is what an answer, a notebook or another file that works now can trip over: a name that is gone without an alias, another
key, a type or a cardinality that holds less. `plan` is pure; `texts_of` reads the notebooks and saved views of a workspace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from workbench.answer import Answer, Block, Grid, Note
from workbench.ontology.expression import names_in
from workbench.ontology.model import LinkType, ObjectType, Ontology, Property

__all__ = ["OntologyPlan", "PlanItem", "plan", "texts_of"]

Change = Literal["breaking", "changed", "added"]
_ORDER: tuple[Change, ...] = ("breaking", "changed", "added")
# a property type -> the types that hold every one of its values, so that readers of numbers go on
_WIDER = {"integer": ("decimal", "number"), "decimal": ("number",), "date": ("timestamp",)}


@dataclass(frozen=True)
class PlanItem:
    """One difference: `name` is `Customer`, `Customer.country` or a link's name; `touches` lists what uses it."""

    change: Change
    kind: Literal["object type", "property", "link type"]
    name: str
    detail: str
    touches: tuple[str, ...] = ()


@dataclass(frozen=True)
class OntologyPlan(Answer):
    """What a reload would change; with `is_applied`, what the last one did, when nothing waits to be taken.

    `counts` is type -> current objects before and after, for the types in `types`; None where there are none to count.
    """

    items: tuple[PlanItem, ...]
    counts: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    is_applied: bool = False

    @property
    def types(self) -> tuple[str, ...]:
        """The types that differ in themselves or in a property, sorted."""
        return tuple(sorted({item.name.partition(".")[0] for item in self.items if item.kind != "link type"}))

    def with_counts(self, before: Mapping[str, int | None], after: Mapping[str, int | None]) -> OntologyPlan:
        """The plan with the objects of its types, counted in both models."""
        return replace(self, counts={name: (before.get(name), after.get(name)) for name in self.types})

    def to_dict(self) -> dict[str, Any]:
        """`items` with `change`, `kind`, `name`, `detail`, `touches`; `objects` by type with `before`, `after`; `applied`."""
        return {
            "items": [{**item.__dict__, "touches": list(item.touches)} for item in self.items],
            "objects": {name: {"before": before, "after": after} for name, (before, after) in self.counts.items()},
            "applied": self.is_applied,
        }

    def blocks(self) -> Iterator[Block]:
        """The differences, breaking ones first, then the objects before and after."""
        if not self.items:
            yield Note("nothing to take: the files say what is in use", "good")
            return
        breaking = sum(item.change == "breaking" for item in self.items)
        count = f"{len(self.items)} difference{'s' if len(self.items) != 1 else ''}, {breaking} breaking"
        yield Note(f"{count}; {'taken already, at the last save or reload' if self.is_applied else 'take them with reload'}",
                   "bad" if breaking else "plain")  # fmt: skip
        yield Grid(
            ["change", "what", "name", "detail", "touches"],
            [[i.change, i.kind, i.name, i.detail, ", ".join(i.touches)] for i in self.items],
        )
        if self.counts:
            yield Grid(["type", "objects before", "objects after"], [[name, *both] for name, both in self.counts.items()])


def plan(old: Ontology, new: Ontology, texts: Mapping[str, str], *, is_applied: bool = False) -> OntologyPlan:
    """The differences from `old` to `new`, breaking ones first, then by name. `texts` is file -> text that may name things."""
    using = _Using(old, new, texts)
    items = [*_types(old, new, using), *_links(old, new, using)]
    items.sort(key=lambda item: (_ORDER.index(item.change), item.kind, item.name, item.detail))
    return OntologyPlan(tuple(items), is_applied=is_applied)


def texts_of(workspace: Path) -> dict[str, str]:
    """File -> text of what may name types: the cells of every notebook, and saved views. What cannot be read is left out."""
    found: dict[str, str] = {}
    for path in sorted((workspace / "notebooks").rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            found[path.relative_to(workspace).as_posix()] = "\n".join("".join(cell.get("source", "")) for cell in cells)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    for path in sorted((workspace / "views").glob("*")):
        try:
            if path.suffix in (".txt", ".yml", ".yaml"):
                found[path.relative_to(workspace).as_posix()] = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
    return found


class _Using:
    """Who uses a type, a property or a link: links, computed properties, and texts that name it as a word."""

    def __init__(self, old: Ontology, new: Ontology, texts: Mapping[str, str]) -> None:
        self.models = (old, new)
        self.words = {file: set(re.findall(r"\w+", text)) for file, text in texts.items()}

    def _texts(self, *names: str) -> list[str]:
        return [file for file, words in self.words.items() if not words.isdisjoint(names)]

    def type(self, name: str) -> tuple[str, ...]:
        found = [f"link {k.name}" for m in self.models for k in m.link_types.values() if name in (k.from_type, k.to_type)]
        return tuple(dict.fromkeys([*sorted(found), *self._texts(name)]))

    def property(self, type: str, name: str) -> tuple[str, ...]:
        found = []
        for model in self.models:
            for link in model.link_types.values():
                near = link.via.from_columns if link.via else link.join
                far = link.via.to_columns if link.via else dict.fromkeys(link.join.values(), "")
                if (link.from_type == type and name in near) or (link.to_type == type and name in far):
                    found.append(f"link {link.name}")
            if type in model.object_types:
                found += [f"computed {type}.{p}" for p in _dependents(model.object_types[type], name)]
        # a property's name is often a common word: only beside the name of its type, or of a link, does it count
        beside = {type, *(end for m in self.models if type in m.object_types for e in m.links_of(type) for end in (e.name, e.back))}
        texts = [file for file in self._texts(name) if not self.words[file].isdisjoint(beside)]
        return tuple(dict.fromkeys([*sorted(found), *texts]))

    def link(self, *names: str) -> tuple[str, ...]:
        return tuple(self._texts(*names))


def _dependents(object_type: ObjectType, name: str) -> list[str]:
    """The computed properties that a property is part of, also by way of others."""
    found: list[str] = []
    ahead = [name]
    while ahead:
        inner = ahead.pop()
        for p in object_type.properties.values():
            if p.is_computed and p.name not in found and inner in names_in(p.expression):
                found.append(p.name)
                ahead.append(p.name)
    return sorted(found)


def _types(old: Ontology, new: Ontology, using: _Using) -> Iterator[PlanItem]:
    for name, now in new.object_types.items():
        if name not in old.object_types:
            renamed = next((alias for alias in now.aliases if alias in old.object_types), "")
            yield PlanItem("added", "object type", name, f"renamed from {renamed}" if renamed else f"{len(now.properties)} properties")
    for name, before in old.object_types.items():
        if name in new.object_types:
            yield from _type(before, new.object_types[name], using)
            continue
        heir = next((t for t in new.object_types.values() if name in t.aliases), None)
        if heir is None:
            yield PlanItem("breaking", "object type", name, "removed", using.type(name))
        else:
            yield PlanItem("changed", "object type", name, f"renamed to {heir.name}; the old name goes on as an alias", using.type(name))
            yield from _type(before, heir, using)


def _type(old: ObjectType, new: ObjectType, using: _Using) -> Iterator[PlanItem]:
    if old.key != new.key:
        yield PlanItem("breaking", "object type", new.name, f"key {old.key} -> {new.key}", using.type(old.name))
    gone = [a for a in old.aliases if a not in new.aliases and a != new.name]
    if gone:
        yield PlanItem("breaking", "object type", new.name, f"alias removed: {', '.join(gone)}", using.link(*gone))
    said = _differences(old, new, ("model", "title", "description", "deprecated"))
    said += [f"alias added: {a}" for a in new.aliases if a not in old.aliases and a != old.name]
    both = [n for n in old.properties if n in new.properties]
    if both != [n for n in new.properties if n in old.properties]:
        said.append("order of properties")
    if said:
        yield PlanItem("changed", "object type", new.name, "; ".join(said), using.type(old.name))
    for name, now in new.properties.items():
        if name not in old.properties:
            yield PlanItem("added", "property", f"{new.name}.{name}", f"{'computed ' if now.is_computed else ''}{now.type}")
    for before in old.properties.values():
        yield from _property(old, before, new, using)


def _property(old: ObjectType, before: Property, new: ObjectType, using: _Using) -> Iterator[PlanItem]:
    name = f"{new.name}.{before.name}"
    now = new.properties.get(before.name)
    touched = using.property(old.name, before.name)
    if now is None:
        now = next((p for p in new.properties.values() if before.name in p.aliases), None)
        if now is None:
            yield PlanItem("breaking", "property", name, "removed", touched)
            return
        yield PlanItem("changed", "property", name, f"renamed to {now.name}; the old name goes on as an alias", touched)
    if before.type != now.type:
        wider = now.type in _WIDER.get(before.type, ())
        yield PlanItem("changed" if wider else "breaking", "property", name, f"type {before.type} -> {now.type}", touched)
    gone = [a for a in before.aliases if a not in now.aliases and a != now.name]
    if gone:
        yield PlanItem("breaking", "property", name, f"alias removed: {', '.join(gone)}", using.link(*gone))
    said = _differences(before, now, ("expression", "unit", "format", "description", "deprecated"))
    said += [f"alias added: {a}" for a in now.aliases if a not in before.aliases and a != before.name]
    if said:
        yield PlanItem("changed", "property", name, "; ".join(said), touched)


def _links(old: Ontology, new: Ontology, using: _Using) -> Iterator[PlanItem]:
    for name, now in new.link_types.items():
        if name not in old.link_types:
            yield PlanItem("added", "link type", name, f"{now.from_type} to {now.to_type}, {_spoken(now)}")
    for name, before in old.link_types.items():
        touched = using.link(name, before.reverse)
        heir = new.link_types.get(name) or next((k for k in new.link_types.values() if name in k.aliases), None)
        if heir is None:
            yield PlanItem("breaking", "link type", name, "removed", touched)
            continue
        if heir.name != name:
            yield PlanItem("changed", "link type", name, f"renamed to {heir.name}; the old name goes on as an alias", touched)
        yield from _link(before, heir, new, touched)


def _link(old: LinkType, now: LinkType, new: Ontology, touched: tuple[str, ...]) -> Iterator[PlanItem]:
    for role in ("from_type", "to_type"):
        before, after = getattr(old, role), getattr(now, role)
        if before != after and before not in (new.object_types[after].aliases if after in new.object_types else ()):
            yield PlanItem("breaking", "link type", now.name, f"{role.removesuffix('_type')} {before} -> {after}", touched)
    if old.reverse != now.reverse:
        yield PlanItem("breaking", "link type", now.name, f"reverse {old.reverse} -> {now.reverse}", touched)
    gone = [a for a in old.aliases if a not in now.aliases and a != now.name]
    if gone:
        yield PlanItem("breaking", "link type", now.name, f"alias removed: {', '.join(gone)}", touched)
    if old.cardinality != now.cardinality:
        sides = zip(old.cardinality.split("_to_"), now.cardinality.split("_to_"), strict=True)
        narrower = any((was, is_now) == ("many", "one") for was, is_now in sides)
        detail = f"cardinality {_spoken(old)} -> {_spoken(now)}"
        yield PlanItem("breaking" if narrower else "changed", "link type", now.name, detail, touched)
    said = _differences(old, now, ("description", "deprecated"))
    if (dict(old.join), old.via) != (dict(now.join), now.via):
        said.append("joined in another way: it may lead to other objects")
    said += [f"alias added: {a}" for a in now.aliases if a not in old.aliases and a != old.name]
    if said:
        yield PlanItem("changed", "link type", now.name, "; ".join(said), touched)


def _spoken(link: LinkType) -> str:
    return link.cardinality.replace("_", " ")


def _differences(old: Any, new: Any, names: tuple[str, ...]) -> list[str]:
    said = []
    for name in names:
        before, now = getattr(old, name), getattr(new, name)
        if before != now:
            said.append(name if name == "description" else f"{name} {before or 'none'} -> {now or 'none'}")
    return said
