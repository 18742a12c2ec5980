"""Read the YAML of an ontology folder into an `Ontology`, or say everything that is wrong with it, file and line.

`objects/<type>.yml` and `links/<link>.yml`, one type each. Files with other endings, hidden files and what editors
leave behind (`.x.yml.swp`, `x.yml~`, `#x.yml#`) are nobody's business here. Only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from workbench.errors import InvalidFiles, Problem, nearest
from workbench.ontology.model import CARDINALITIES, LinkType, ObjectType, Ontology, Property, Via
from workbench.ontology.values import PROPERTY_TYPES
from workbench.yamlfile import Entry, Fields, read_yaml

__all__ = ["Origins", "check_columns", "load_ontology", "load_with_origins"]

# Where a thing is written: ("type", name), ("type", name, property) or ("link", name, "via") -> file and line.
Origins = Mapping[tuple[str, ...], tuple[str, int]]

_T = TypeVar("_T", ObjectType, LinkType)


def load_ontology(folder: Path, *, models: Collection[str]) -> Ontology:
    """The model in a folder; an empty one when there is no folder or no file in it.

    `models` are the dbt models that a type or a link may name. Raises `InvalidFiles` with every problem at once.
    """
    return load_with_origins(folder, models=models)[0]


def load_with_origins(folder: Path, *, models: Collection[str]) -> tuple[Ontology, Origins]:
    """As `load_ontology`, with the file and line of each type, property and via: what `check_columns` points at."""
    reading = _Reading(folder, models)
    types = reading.read("objects", reading.object_type)
    links = reading.read("links", lambda entry: reading.link_type(entry, types))
    reading.check_names(links)
    if reading.problems:
        raise InvalidFiles("the ontology cannot be read", reading.problems)
    return Ontology(types, links), reading.origins


def _did_you_mean(name: str, known: Collection[str], what: str) -> str:
    near = nearest(name, known)
    if near:
        return f"did you mean {near[0]!r}?"
    if not known:
        return f"there is no {what}"
    listed = sorted(known)
    return f"there is {', '.join(listed[:8])}" + (" ..." if len(listed) > 8 else "")


class _Reading:
    """One reading of a folder: collects problems and origins, and all the names seen, also those of broken files."""

    def __init__(self, folder: Path, models: Collection[str]) -> None:
        self.folder = folder
        self.models = models
        self.problems: list[Problem] = []
        self.origins: dict[tuple[str, ...], tuple[str, int]] = {}
        # names of types whose file has problems: a link to one of these is not a second problem
        self.broken: set[str] = set()

    def read(self, kind: str, parse: Callable[[Entry], _T | None]) -> dict[str, _T]:
        found: dict[str, _T] = {}
        for path in _yaml_files(self.folder / kind):
            entry = read_yaml(path, self.problems, name=f"{self.folder.name}/{kind}/{path.name}")
            value = parse(entry) if entry is not None else None
            if value is None or entry is None:
                # no name that can be used: the file's own name is the best guess at what it was to name
                self.broken.add(_folded(path.stem))
                continue
            if value.name in found:
                first, line = self.origins[_origin(value)]
                at = entry.value.get("type" if kind == "objects" else "link", entry)
                self.problem(at, f"{value.name!r} is already in {first}:{line}; names are unique")
                self.broken.add(_folded(path.stem))
                continue
            found[value.name] = value
            self._remember(value, entry)
        return found

    def problem(self, at: Entry, message: str) -> None:
        self.problems.append(Problem(at.file, at.line, message))

    def _remember(self, value: ObjectType | LinkType, entry: Entry) -> None:
        def keep(where: tuple[str, ...], at: Entry) -> None:
            self.origins[where] = (at.file, at.line)

        parts: dict[str, Entry] = entry.value
        if isinstance(value, ObjectType):
            keep(_origin(value), parts["type"])
            for name in value.properties:
                keep(("type", value.name, name), parts["properties"].value[name])
        else:
            keep(_origin(value), parts["link"])
            if value.via:
                keep(("link", value.name, "via"), parts["via"])

    def object_type(self, entry: Entry) -> ObjectType | None:
        fields = Fields(entry, "an object type", self.problems)
        name = self._name(fields, "type", "an object type")
        description = fields.text("description", "")
        model = self._model(fields)
        properties = {}
        for key, value in fields.mapping("properties").items():
            if (found := self._property(key, value)) is not None:
                properties[key] = found
        written = entry.value.get("properties") if isinstance(entry.value, dict) else None
        if written is not None and written.value == {}:
            fields.wrong("'properties' of an object type must have at least one property", "properties")
        key = fields.text("key")
        title = fields.text("title", "") or key
        known = written.value if written is not None and isinstance(written.value, dict) else {}
        for role, chosen in (("key", key), ("title", title)):
            if chosen and fields.has(role) and chosen not in known:
                tail = _did_you_mean(chosen, known, "property")
                fields.wrong(f"{role} {chosen!r} is not one of the properties; {tail}", role)
        fields.done()
        return ObjectType(name, description, model, key, title, properties) if name else None

    def _property(self, name: str, entry: Entry) -> Property | None:
        if not name.isidentifier():
            self.problem(entry, f"the property name {name!r} is not an identifier (letters, digits and _)")
            return None
        fields = Fields(entry, f"property {name!r}", self.problems)
        type = fields.choice("type", list(PROPERTY_TYPES))
        found = Property(name, type, fields.text("description", ""), fields.text("unit", ""))
        fields.done()
        # a property of a wrong type is still a name that keys, titles and joins can refer to
        return found

    def link_type(self, entry: Entry, types: Mapping[str, ObjectType]) -> LinkType | None:
        fields = Fields(entry, "a link type", self.problems)
        name = self._name(fields, "link", "a link type")
        description = fields.text("description", "")
        ends = {role: self._end(fields, role, types) for role in ("from", "to")}
        cardinality = fields.choice("cardinality", CARDINALITIES)
        reverse = self._name(fields, "reverse", "a link type")
        join: dict[str, str] = {}
        via: Via | None = None
        if fields.has("via"):
            if cardinality and cardinality != "many_to_many":
                fields.wrong(f"a link with a via is many_to_many, not {cardinality}", "cardinality")
            via = self._via(fields, ends)
            if fields.has("join"):
                fields.wrong("a link has a join or a via, not both", "join")
                fields.entry_of("join")
        elif cardinality == "many_to_many":
            fields.wrong("a many_to_many link needs a via: {model: ..., from: {...}, to: {...}}", "cardinality")
            fields.entry_of("join")
        else:
            join = self._join(fields, ends)
        fields.entry_of("via")
        fields.done()
        if not name or not reverse:
            return None
        from_type, to_type = (fields.text(role, "") for role in ("from", "to"))
        return LinkType(name, description, from_type, to_type, cardinality, join, via, reverse)

    def _name(self, fields: Fields, key: str, what: str) -> str:
        name: str = fields.text(key)
        if name and not name.isidentifier():
            fields.wrong(f"the {key} {name!r} of {what} is not an identifier (letters, digits and _)", key)
            return ""
        return name

    def _model(self, fields: Fields) -> str:
        model: str = fields.text("model")
        if model and model not in self.models:
            fields.wrong(f"there is no dbt model {model!r}; {_did_you_mean(model, self.models, 'dbt model')}", "model")
        return model

    def _end(self, fields: Fields, role: str, types: Mapping[str, ObjectType]) -> ObjectType | None:
        name = fields.text(role)
        if not name or name in types:
            return types.get(name)
        if _folded(name) not in self.broken:
            tail = _did_you_mean(name, types, "object type")
            fields.wrong(f"{role} {name!r} is not an object type; {tail}", role)
        return None

    def _join(self, fields: Fields, ends: Mapping[str, ObjectType | None]) -> dict[str, str]:
        pairs = self._pairs(fields, "join", "a link type")
        for near, (far, entry) in pairs.items():
            one = self._property_of(ends["from"], near, entry, "join")
            other = self._property_of(ends["to"], far, entry, "join")
            typed = one and other and one.type and other.type  # a wrong type is a problem of its own, and ''
            if one and other and typed and not one.kind.joins(other.kind):
                self.problem(entry, f"join: {near!r} is {one.type} and {far!r} is {other.type}; they are never equal")
        return {near: far for near, (far, _) in pairs.items()}

    def _via(self, fields: Fields, ends: Mapping[str, ObjectType | None]) -> Via:
        entry = fields.entry_of("via")
        assert entry is not None  # the caller looked
        inner = Fields(entry, "a via", self.problems)
        model = self._model(inner)
        sides: dict[str, dict[str, str]] = {}
        for role in ("from", "to"):
            pairs = self._pairs(inner, role, "a via")
            for name, (_, at) in pairs.items():
                self._property_of(ends[role], name, at, f"via {role}")
            sides[role] = {name: column for name, (column, _) in pairs.items()}
        inner.done()
        return Via(model, sides["from"], sides["to"])

    def _pairs(self, fields: Fields, key: str, what: str) -> dict[str, tuple[str, Entry]]:
        """A mapping of names to names, at least one."""
        before = len(self.problems)
        mapping = fields.mapping(key)
        if fields.has(key) and not mapping and len(self.problems) == before:
            fields.wrong(f"{key!r} of {what} must name at least one property", key)
        pairs: dict[str, tuple[str, Entry]] = {}
        for name, entry in mapping.items():
            if isinstance(entry.value, str) and entry.value:
                pairs[name] = (entry.value, entry)
            else:
                self.problem(entry, f"{name!r} of {key!r} must be the name of a property or column")
        return pairs

    def _property_of(self, end: ObjectType | None, name: str, at: Entry, what: str) -> Property | None:
        if end is None or name in end.properties:
            return end.properties[name] if end else None
        tail = _did_you_mean(name, end.properties, "property")
        self.problem(at, f"{what}: {end.name} has no property {name!r}; {tail}")
        return None

    def check_names(self, links: Mapping[str, LinkType]) -> None:
        """One type must not know two links under one name."""
        seen: dict[tuple[str, str], str] = {}
        for link in links.values():
            file, line = self.origins[_origin(link)]
            for type_name, name in ((link.from_type, link.name), (link.to_type, link.reverse)):
                first = seen.setdefault((type_name, name), file)
                if first != file or (link.name == link.reverse and link.from_type == link.to_type):
                    other = f"; {first} gives it that name too" if first != file else " both ways"
                    self.problems.append(Problem(file, line, f"{type_name} has two links named {name!r}{other}"))


def _origin(value: ObjectType | LinkType) -> tuple[str, str]:
    return ("type" if isinstance(value, ObjectType) else "link", value.name)


def _folded(name: str) -> str:
    """`InvoiceLine`, `invoice_line` and `invoice-line` alike."""
    return name.replace("_", "").replace("-", "").casefold()


def _yaml_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.suffix in (".yml", ".yaml") and not path.name.startswith((".", "#")) and not path.is_dir()
    )


def check_columns(ontology: Ontology, columns: Mapping[str, Mapping[str, str]], where: Origins | None = None) -> list[Problem]:
    """What the lake's tables lack of what the ontology says, by file and line.

    `columns` is model -> column -> ClickHouse type; models that are not in it (not built yet) are passed over. A column
    that is there must be of a type whose every value the property can hold: a string property may stand over an Int64,
    an integer property not over a String. `where` comes from `load_with_origins`; without it problems have no line.
    """
    origins = where or {}
    found = []
    for origin, message in _column_problems(ontology, columns):
        file, line = origins.get(origin, (f"ontology ({origin[0]} {origin[1]})", 0))
        found.append(Problem(file, line, message))
    return sorted(set(found))


def _column_problems(ontology: Ontology, columns: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[tuple[str, ...], str]]:
    for type in ontology.object_types.values():
        table = columns.get(type.model)
        for property in type.properties.values() if table is not None else ():
            assert table is not None
            origin = ("type", type.name, property.name)
            found = table.get(property.name)
            if found is None:
                tail = _did_you_mean(property.name, table, "column")
                yield origin, f"{type.model} has no column {property.name!r}; {tail}"
            elif not property.kind.holds(found):
                tail = f"its column in {type.model} is {found}{_fit(found)}"
                yield origin, f"{property.name!r} is {property.type}, but {tail}"
    for link in ontology.link_types.values():
        via = link.via
        table = columns.get(via.model) if via else None
        if via is None or table is None:
            continue
        for column in (*via.from_columns.values(), *via.to_columns.values()):
            if column not in table:
                tail = _did_you_mean(column, table, "column")
                yield ("link", link.name, "via"), f"via: {via.model} has no column {column!r}; {tail}"


def _fit(column_type: str) -> str:
    """The narrowest property type for a column, as advice; string only when nothing else fits."""
    fitting = [name for name, kind in PROPERTY_TYPES.items() if kind.holds(column_type)]
    fitting.sort(key=lambda name: name == "string")
    return f"; declare it {fitting[0]}" if fitting else ""
