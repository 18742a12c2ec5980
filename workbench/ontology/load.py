"""Read the YAML of an ontology folder into an `Ontology`, or say everything that is wrong with it, file and line.

`objects/<type>.yml` and `links/<link>.yml`, one type each. Files with other endings, hidden files and what editors
leave behind (`.x.yml.swp`, `x.yml~`, `#x.yml#`) are nobody's business here. Only reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from workbench.errors import InvalidFiles, Problem, nearest
from workbench.ontology.expression import DEEPEST, LONGEST, names_in, what_is_wrong
from workbench.ontology.model import CARDINALITIES, LinkType, ObjectType, Ontology, Property, Via
from workbench.ontology.values import PROPERTY_TYPES, check_format
from workbench.yamlfile import Entry, Fields, read_yaml

__all__ = ["Origins", "check_columns", "column_findings", "load_ontology", "load_with_origins", "yaml_files"]

# Where a thing is written: ("type", name), ("type", name, property), ("link", name), and their parts -> file and line. Parts:
# "key", "model" and "aliases" of a type as ("type", name, "", part); "expression" and "aliases" of a property as ("type", name,
# property, part); "via" and "aliases" of a link.
Origins = Mapping[tuple[str, ...], tuple[str, int]]

_T = TypeVar("_T", ObjectType, LinkType)


def load_ontology(folder: Path, *, models: Collection[str]) -> Ontology:
    """The model in a folder; an empty one when there is no folder or no file in it.

    `models` are the dbt models that a type or a link may name. Raises `InvalidFiles` with every problem at once.
    """
    return load_with_origins(folder, models=models)[0]


def load_with_origins(
    folder: Path, *, models: Collection[str], known: dict[str, tuple[bytes, Entry]] | None = None
) -> tuple[Ontology, Origins]:
    """As `load_ontology`, with the file and line of each type, property and via: what `check_columns` points at.

    `known` keeps what was parsed, for the next time.
    """
    reading = _Reading(folder, models, known)
    types = reading.read("objects", reading.object_type)
    links = reading.read("links", lambda entry: reading.link_type(entry, types))
    reading.check_names(links)
    reading.check_aliases(types, links)
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

    def __init__(self, folder: Path, models: Collection[str], known: dict[str, tuple[bytes, Entry]] | None) -> None:
        self.folder = folder
        self.models = models
        self.known = known
        self.problems: list[Problem] = []
        self.origins: dict[tuple[str, ...], tuple[str, int]] = {}
        # names of types whose file has problems: a link to one of these is not a second problem
        self.broken: set[str] = set()

    def read(self, kind: str, parse: Callable[[Entry], _T | None]) -> dict[str, _T]:
        found: dict[str, _T] = {}
        for path in yaml_files(self.folder / kind):
            entry = read_yaml(path, self.problems, name=f"{self.folder.name}/{kind}/{path.name}", known=self.known)
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
        keep(_origin(value), parts["type" if isinstance(value, ObjectType) else "link"])
        if isinstance(value, ObjectType):
            for part in ("key", "model", "aliases"):
                keep(("type", value.name, "", part), parts.get(part, parts["type"]))
            for name in value.properties:
                written = parts["properties"].value[name]
                keep(("type", value.name, name), written)
                for part in ("expression", "aliases"):
                    if isinstance(written.value, dict) and part in written.value:
                        keep(("type", value.name, name, part), written.value[part])
        else:
            for part in ("via", "aliases"):
                if part in parts:
                    keep(("link", value.name, part), parts[part])

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
        if key in properties and properties[key].is_computed:
            fields.wrong(f"key {key!r} is computed; a key is a column of the model", "key")
        aliases, deprecated = self._aliases(fields, "an object type"), fields.text("deprecated", "")
        fields.done()
        if not name:
            return None
        whole = ObjectType(name, description, model, key, title, properties, aliases, deprecated)
        self._check_expressions(whole, known)
        return whole

    def _property(self, name: str, entry: Entry) -> Property | None:
        if not name.isidentifier():
            self.problem(entry, f"the property name {name!r} is not an identifier (letters, digits and _)")
            return None
        fields = Fields(entry, f"property {name!r}", self.problems)
        type = fields.choice("type", list(PROPERTY_TYPES))
        description, unit = fields.text("description", ""), fields.text("unit", "")
        expression = fields.text("expression", "")
        format = fields.text("format", "")
        if format and type and (reason := check_format(format, type)):
            fields.wrong(f"the format {format!r} of property {name!r}: {reason}", "format")
        aliases, deprecated = self._aliases(fields, f"property {name!r}"), fields.text("deprecated", "")
        found = Property(name, type, description, unit, expression, format, aliases, deprecated)
        fields.done()
        # a property of a wrong type is still a name that keys, titles and joins can refer to
        return found

    def _aliases(self, fields: Fields, what: str) -> tuple[str, ...]:
        aliases = fields.texts("aliases", [])
        for alias in aliases:
            if not alias.isidentifier():
                fields.wrong(f"the alias {alias!r} of {what} is not an identifier (letters, digits and _)", "aliases")
        return tuple(alias for alias in aliases if alias.isidentifier())

    def _check_expressions(self, found: ObjectType, written: Mapping[str, Entry]) -> None:
        """Each expression is one scalar by its words, names properties of the type, and no circle of them."""
        computed = {name: p for name, p in found.properties.items() if p.is_computed}
        needs: dict[str, tuple[str, ...]] = {}
        for name, property in computed.items():
            at = written[name].value["expression"]
            if reason := what_is_wrong(property.expression):
                tail = "; a comma ends a value inside { }, so quote the expression" if reason.endswith("is not closed") else ""
                self.problem(at, f"expression of {name!r}: {reason}{tail}")
                continue
            needs[name] = names_in(property.expression)
            for unknown in (n for n in needs[name] if n not in written):
                tail = _did_you_mean(unknown, written, "property")
                self.problem(at, f"expression of {name!r}: {found.name} has no property {unknown!r}; {tail}")
        for name in needs:
            if circle := _circle(name, needs):
                self.problem(written[name].value["expression"], f"expression of {name!r} refers to itself: {' -> '.join(circle)}")
                return
        sizes: dict[str, tuple[int, int]] = {}
        for name in needs:
            size, depth = _size(name, needs, computed, sizes)
            if size > LONGEST or depth > DEEPEST:
                at = written[name].value["expression"]
                self.problem(at, f"expression of {name!r} is too large with those it refers to: {size:,} characters, {depth} deep")
                return

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
            if fields.entry_of("join") is not None:
                fields.wrong("a link has a join or a via, not both", "join")
        elif cardinality == "many_to_many":
            fields.wrong("a many_to_many link needs a via: {model: ..., from: {...}, to: {...}}", "cardinality")
            fields.entry_of("join")
        else:
            join = self._join(fields, ends)
        fields.entry_of("via")
        aliases, deprecated = self._aliases(fields, "a link type"), fields.text("deprecated", "")
        fields.done()
        if not name or not reverse:
            return None
        from_type, to_type = (fields.text(role, "") for role in ("from", "to"))
        return LinkType(name, description, from_type, to_type, cardinality, join, via, reverse, aliases, deprecated)

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
            if end and end.properties[name].is_computed:
                self.problem(at, f"{what}: {name!r} of {end.name} is computed; objects are joined by columns of the model")
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

    def check_aliases(self, types: Mapping[str, ObjectType], links: Mapping[str, LinkType]) -> None:
        """An alias names one thing: no other alias and no name of its kind, and on a type no link it knows already."""
        self._distinct("object type", types, {t.name: (t.aliases, ("type", t.name, "", "aliases")) for t in types.values()})
        for t in types.values():
            owned = {p.name: (p.aliases, ("type", t.name, p.name, "aliases")) for p in t.properties.values()}
            self._distinct(f"property of {t.name}", t.properties, owned)
        self._distinct("link type", links, {k.name: (k.aliases, ("link", k.name, "aliases")) for k in links.values()})
        for link in links.values():
            reverses = {other.reverse: other.name for other in links.values() if other.to_type == link.from_type}
            for alias in link.aliases:
                if alias in reverses:
                    file, line = self.origins["link", link.name, "aliases"]
                    message = f"{link.from_type} has two links named {alias!r}; it is the reverse of {reverses[alias]!r}"
                    self.problems.append(Problem(file, line, message))

    def _distinct(self, what: str, names: Collection[str], owners: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
        taken: dict[str, str] = {}
        for owner, (aliases, origin) in owners.items():
            for alias in aliases:
                other = alias if alias in names else taken.setdefault(alias, owner)
                if alias in names or other != owner or aliases.count(alias) > 1:
                    file, line = self.origins[origin]
                    message = f"the alias {alias!r} of {owner!r} is taken: {'a' if alias in names else 'an alias of the'} {what} {other!r}"
                    self.problems.append(Problem(file, line, message))


def _circle(start: str, needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The way from a computed property back to itself; empty when there is none."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for name in needs.get(way[-1], ()):
            if name == start:
                return (*way, name)
            if name not in seen:
                seen.add(name)
                ways.append((*way, name))
    return ()


def _size(
    name: str, needs: Mapping[str, tuple[str, ...]], computed: Mapping[str, Property], known: dict[str, tuple[int, int]]
) -> tuple[int, int]:
    """Characters of an expression when all it refers to is put in, at least, and how many refer to each other."""
    todo = [name]
    while todo:
        inner = [n for n in needs[todo[-1]] if n in needs]
        if ahead := [n for n in inner if n not in known]:
            todo += ahead
            continue
        done = todo.pop()
        text = computed[done].expression
        size = len(text) + sum(known[n][0] * text.count(n) for n in inner)
        known[done] = min(size, 10**9), 1 + max((known[n][1] for n in inner), default=0)
    return known[name]


def _origin(value: ObjectType | LinkType) -> tuple[str, str]:
    return ("type" if isinstance(value, ObjectType) else "link", value.name)


def _folded(name: str) -> str:
    """`InvoiceLine`, `invoice_line` and `invoice-line` alike."""
    return name.replace("_", "").replace("-", "").casefold()


def yaml_files(folder: Path) -> list[Path]:
    """The files of a folder that are read, sorted by name; none when there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.name.endswith((".yml", ".yaml")) and e.name[0] not in ".#" and not e.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def check_columns(ontology: Ontology, columns: Mapping[str, Mapping[str, str]], where: Origins | None = None) -> list[Problem]:
    """What the lake's tables lack of what the ontology says, by file and line.

    `columns` is model -> column -> ClickHouse type; models that are not in it (not built yet) are passed over. A column
    that is there must be of a type whose every value the property can hold: a string property may stand over an Int64,
    an integer property not over a String. `where` comes from `load_with_origins`; without it problems have no line.
    """
    origins = where or {}
    found = []
    for origin, message in column_findings(ontology, columns):
        file, line = origins.get(origin, (f"ontology ({origin[0]} {origin[1]})", 0))
        found.append(Problem(file, line, message))
    return sorted(set(found))


def column_findings(ontology: Ontology, columns: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What `check_columns` reports, each with the key of `Origins` where it is written."""
    for type in ontology.object_types.values():
        table = columns.get(type.model)
        for property in type.stored if table is not None else ():
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
