"""What the data is about, as values: object types, their properties, and the links between them.

Pure and immutable: an `Ontology` is made whole, by `load` from files or by `from_dict` from kept JSON, and never
changes. Whatever refers to something else does it by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from workbench.answer import format_value
from workbench.errors import UnknownName, UsageError
from workbench.ontology.expression import expand
from workbench.ontology.values import PROPERTY_TYPES, PropertyType, show_value

__all__ = [
    "CARDINALITIES",
    "Changes",
    "LinkEnd",
    "LinkType",
    "ObjectType",
    "Ontology",
    "OntologyDiff",
    "Property",
    "Via",
    "diff",
]

CARDINALITIES = ("one_to_one", "many_to_one", "one_to_many", "many_to_many")

_T = TypeVar("_T")


def _read_only(mapping: Mapping[str, _T]) -> Mapping[str, _T]:
    return MappingProxyType(dict(mapping))


@dataclass(frozen=True)
class Property:
    """One property of an object type: a column of its model, under the same name, or an `expression` over the others.

    `format` says how values are shown (`values.check_format`), `aliases` are other names it answers to, and
    `deprecated` what to use instead; '' when it is not.
    """

    name: str
    type: str
    description: str = ""
    unit: str = ""
    expression: str = ""
    format: str = ""
    aliases: tuple[str, ...] = ()
    deprecated: str = ""

    @property
    def kind(self) -> PropertyType:
        """How values of this property are read and bound."""
        return PROPERTY_TYPES[self.type]

    @property
    def is_computed(self) -> bool:
        """Whether it is an expression, without a column of its own."""
        return bool(self.expression)

    def show(self, value: Any) -> str:
        """A value as people read it: by the property's format, or as answers show such values; '' for None.

        >>> Property("total", "decimal", format=",.1f").show(1234.56), Property("on", "date").show(None)
        ('1,234.6', '')
        """
        return show_value(value, self.format) if self.format else format_value(value)


@dataclass(frozen=True)
class ObjectType:
    """A kind of object: one row of its dbt model is one object, told apart by the key."""

    name: str
    description: str
    model: str
    key: str
    title: str
    properties: Mapping[str, Property]
    aliases: tuple[str, ...] = ()
    deprecated: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "properties", _read_only(self.properties))

    @cached_property
    def _also(self) -> Mapping[str, str]:
        return {alias: p.name for p in self.properties.values() for alias in p.aliases}

    def property(self, name: str) -> Property:
        """A property by its name or an alias; `UnknownName` with the nearest names."""
        try:
            return self.properties[name if name in self.properties else self._also[name]]
        except KeyError:
            raise UnknownName(f"property of {self.name}", name, [*self.properties, *self._also]) from None

    @cached_property
    def stored(self) -> tuple[Property, ...]:
        """The properties that are columns of the model, in order: all but the computed ones."""
        return tuple(p for p in self.properties.values() if not p.is_computed)

    def sql(self, name: str, column: Callable[[str], str]) -> str:
        """The SQL of one property, `column` giving that of a stored one: its column, or its expression in parentheses.

        Other computed properties in an expression are put in its place, so the text has stored properties only.
        """
        found = self.property(name)
        return f"({expand(found.expression, lambda inner: self.sql(inner, column))})" if found.expression else column(found.name)

    def parse(self, property: str, value: Any) -> Any:
        """A value for a property out of text or a Python value. A bad one is a `UsageError` that says where."""
        found = self.property(property)
        try:
            return found.kind.parse(value)
        except ValueError as error:
            shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
            raise UsageError(f"{self.name}.{found.name} ({found.type}): {shown} {error}") from None


@dataclass(frozen=True)
class Via:
    """The model between the two sides of a many-to-many link: property of a side -> column of the model."""

    model: str
    from_columns: Mapping[str, str]
    to_columns: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "from_columns", _read_only(self.from_columns))
        object.__setattr__(self, "to_columns", _read_only(self.to_columns))


@dataclass(frozen=True)
class LinkType:
    """A way from objects to objects. `join` is property of `from_type` -> property of `to_type`; empty with a `via`.

    `aliases` are other names for it as seen from `from_type`.
    """

    name: str
    description: str
    from_type: str
    to_type: str
    cardinality: str
    join: Mapping[str, str]
    via: Via | None
    reverse: str
    aliases: tuple[str, ...] = ()
    deprecated: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "join", _read_only(self.join))


@dataclass(frozen=True)
class LinkEnd:
    """A link as one of its types sees it. Backwards (`reverse`), from and to are swapped and the name is the other one.

    `many` says whether one object can lead to several.
    """

    name: str
    link: LinkType
    from_type: str
    to_type: str
    reverse: bool
    many: bool

    @property
    def back(self) -> str:
        """The name of the way back."""
        return self.link.name if self.reverse else self.link.reverse


@dataclass(frozen=True)
class Ontology:
    """All object types and link types, by name; read only."""

    object_types: Mapping[str, ObjectType] = field(default_factory=dict)
    link_types: Mapping[str, LinkType] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "object_types", _read_only(self.object_types))
        object.__setattr__(self, "link_types", _read_only(self.link_types))

    @property
    def OBJECT_TYPES(self) -> Mapping[str, ObjectType]:
        """The object types of this model by name; `workbench.ontology.OBJECT_TYPES` are always those of the model of now."""
        return self.object_types

    @property
    def LINK_TYPES(self) -> Mapping[str, LinkType]:
        """The link types of this model by name."""
        return self.link_types

    def object_type(self, name: str) -> ObjectType:
        """An object type by its name or an alias; `UnknownName` with the nearest names."""
        return _named("object type", name, self.object_types, self._type_aliases)

    def link_type(self, name: str) -> LinkType:
        """A link type by its name or an alias; `UnknownName` with the nearest names."""
        return _named("link type", name, self.link_types, self._link_aliases)

    @cached_property
    def _type_aliases(self) -> Mapping[str, str]:
        return {alias: t.name for t in self.object_types.values() for alias in t.aliases}

    @cached_property
    def _link_aliases(self) -> Mapping[str, str]:
        return {alias: k.name for k in self.link_types.values() for alias in k.aliases}

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The dbt models that types and links stand on, sorted."""
        bridges = {k.via.model for k in self.link_types.values() if k.via}
        return tuple(sorted({t.model for t in self.object_types.values()} | bridges))

    @cached_property
    def fingerprint(self) -> str:
        """A short text that changes whenever anything in the model does, the order of properties too."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @cached_property
    def text(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @cached_property
    def _ends(self) -> Mapping[str, tuple[LinkEnd, ...]]:
        found: dict[str, list[LinkEnd]] = {name: [] for name in self.object_types}
        for link in self.link_types.values():
            for end in _two_ends(link):
                found[end.from_type].append(end)
        return {name: tuple(ends) for name, ends in found.items()}

    def links_of(self, type_name: str) -> tuple[LinkEnd, ...]:
        """The links that can be followed from objects of a type, forwards and backwards, in the order of the links.

        A link from a type to itself is there twice.
        """
        return self._ends[self.object_type(type_name).name]

    def link_end(self, type_name: str, name: str) -> LinkEnd:
        """The link that objects of a type know under a name or an alias; `UnknownName` with the nearest names."""
        ends = {end.name: end for end in self.links_of(type_name)}
        also = {alias: end.name for end in ends.values() if not end.reverse for alias in end.link.aliases}
        return _named(f"link of {self.object_type(type_name).name}", name, ends, also)

    def to_dict(self) -> dict[str, Any]:
        """The whole model as JSON-able data; `from_dict` makes an equal one out of it."""
        return {
            "object_types": {t.name: _plain(t) for t in self.object_types.values()},
            "link_types": {t.name: _plain(t) for t in self.link_types.values()},
        }

    @staticmethod
    def from_dict(data: Any) -> Ontology:
        """The model that `to_dict` wrote. ValueError when the data is anything else."""
        try:
            types = {name: _object_type(name, raw) for name, raw in data["object_types"].items()}
            links = {name: _link_type(name, raw) for name, raw in data["link_types"].items()}
            for link in links.values():
                _check_link(link, types)
            return Ontology(types, links)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a kept ontology: {error!r}") from error


def _named(what: str, name: str, known: Mapping[str, _T], aliases: Mapping[str, str]) -> _T:
    found = known.get(name if name in known else aliases.get(name, ""))
    if found is None:
        raise UnknownName(what, name, [*known, *aliases])
    return found


def _two_ends(link: LinkType) -> Iterator[LinkEnd]:
    one, other = link.cardinality.split("_to_")
    yield LinkEnd(link.name, link, link.from_type, link.to_type, reverse=False, many=other == "many")
    yield LinkEnd(link.reverse, link, link.to_type, link.from_type, reverse=True, many=one == "many")


def _plain(value: Any) -> Any:
    """A value of this module as data. (`dataclasses.asdict` cannot copy read-only mappings.)"""
    if isinstance(value, Property):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__ if name != "name"}
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (ObjectType, LinkType, Via)):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return list(value) if isinstance(value, tuple) else value


def _texts(raw: Any) -> dict[str, Any]:
    """A mapping of texts to texts and mappings, aliases to a tuple of texts; or TypeError."""
    found = {}
    for key, value in raw.items():
        if key == "aliases" and isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
            value = tuple(value)
        elif not isinstance(key, str) or not (isinstance(value, (str, dict)) or (key == "via" and value is None)):
            raise TypeError(f"{key!r}: {value!r}")
        found[key] = value
    return found


def _object_type(name: str, raw: Any) -> ObjectType:
    properties = {n: Property(n, **_texts(p)) for n, p in raw["properties"].items()}
    found = ObjectType(**{**_texts(raw), "properties": properties})
    if found.name != name or not {found.key, found.title} <= properties.keys():
        raise ValueError(f"not a kept object type: {name}")
    if any(p.type not in PROPERTY_TYPES for p in properties.values()):
        raise ValueError(f"not a kept object type: {name}")
    return found


def _link_type(name: str, raw: Any) -> LinkType:
    via = None if raw["via"] is None else Via(**_texts(raw["via"]))
    found = LinkType(**{**_texts(raw), "join": _texts(raw["join"]), "via": via})
    if found.name != name or found.cardinality not in CARDINALITIES:
        raise ValueError(f"not a kept link type: {name}")
    return found


def _check_link(link: LinkType, types: Mapping[str, ObjectType]) -> None:
    near, far = types[link.from_type].properties, types[link.to_type].properties
    via = link.via
    from_side = via.from_columns if via else link.join
    to_side = via.to_columns if via else {name: "" for name in link.join.values()}
    if not from_side or not to_side or not (from_side.keys() <= near.keys() and to_side.keys() <= far.keys()):
        raise ValueError(f"not a kept link type: {link.name}")


@dataclass(frozen=True)
class Changes:
    """Names, each list in alphabetical order."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


@dataclass(frozen=True)
class OntologyDiff:
    """What differs between two models."""

    object_types: Changes
    link_types: Changes

    def __bool__(self) -> bool:
        return bool(self.object_types or self.link_types)

    def to_dict(self) -> dict[str, Any]:
        """`object_types` and `link_types`, each with the names `added`, `changed` and `removed`."""
        return asdict(self)


def diff(old: Ontology, new: Ontology) -> OntologyDiff:
    """The names that are only in `new` (added), only in `old` (removed), or in both but not alike (changed).

    The order of properties counts: it is the order in which people see them.
    """
    return OntologyDiff(
        _changes(old.object_types, new.object_types),
        _changes(old.link_types, new.link_types),
    )


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    return Changes(
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(n for n in old.keys() & new.keys() if not _alike(old[n], new[n]))),
        removed=tuple(sorted(old.keys() - new.keys())),
    )


def _alike(one: Any, other: Any) -> bool:
    return one == other and list(getattr(one, "properties", ())) == list(getattr(other, "properties", ()))
