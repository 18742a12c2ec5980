"""The text of SQL over `eidolon`: what the state of a part is now, what it was, and what changed between two numbers.

Pure. A *part* is what a snapshot covers: the objects of a type, or the pairs of a many-to-many link. Each part has one table, a row
per version: the key in `_k0`, `_k1` ..., each property in a typed column of its name, `values~`, a hash over all of them, and the
numbers of the snapshots between which it was true, `_from` up to and without `_to` (`OPEN` while it still is). A key that is gone has a
row whose interval is empty: it says when, and by which run.

A property whose type changed has a second column, `name~2`, and so on; a row has its value in one of them. Another order of columns, a
new empty column or a wider type changes no object: see `hash_of`. Where the types of a property are of two families, values are the same
when their texts are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from workbench.lake.sql import Column, Placement, create_replacing, quote, quote_table, quote_text
from workbench.ontology.model import LinkType, ObjectType
from workbench.ontology.values import bare_type

__all__ = ["OPEN", "OWN", "SNAPSHOTS_TABLE", "Layout", "Part", "State", "Trace", "content_id", "family", "hash_of", "text_of", "value_of"]

SNAPSHOTS_TABLE = "eidolon.snapshots"
OPEN = 2**32 - 1  # `_to` of what is still true

# what every table of a part has after its keys and before its properties
OWN: tuple[Column, ...] = (
    Column("values~", "UInt64"),  # no property can be called so
    Column("_from", "UInt32"),
    Column("_to", "UInt32"),
    Column("_run_id", "LowCardinality(String)"),
    Column("_true_at", "Nullable(DateTime64(3, 'UTC'))"),
)
# every read of the past reads both ends of every row: to unpack them would take as long as all the rest of a count
_CODECS = {"_from": " codec(NONE)", "_to": " codec(NONE)"}
_VALUES = quote("values~")
_BY_TEXT = "_hash"  # a hash made of texts, in place of it; a table that has it is converted by the next take
_OWN_NAMES = {_BY_TEXT, *(c.name for c in OWN)}

# what a property is read as when it had no column
_DEFAULT_TYPES: Mapping[str, str] = {
    "integer": "Int64",
    "decimal": "Decimal(38, 10)",
    "number": "Float64",
    "string": "String",
    "boolean": "Bool",
    "date": "Date32",
    "timestamp": "DateTime64(6, 'UTC')",
}


@dataclass(frozen=True, order=True)
class Part:
    """What a snapshot covers: an object type, or a many-to-many link (its name, and the pairs in it)."""

    name: str
    kind: Literal["object", "link"] = "object"

    def __str__(self) -> str:
        return self.name if self.kind == "object" else f"link {self.name}"

    @property
    def tag(self) -> str:
        """The part as one word, types and links told apart."""
        return f"{self.kind}:{self.name}"

    @property
    def table(self) -> str:
        """The table of its versions."""
        return f"eidolon.{self.kind}_{self.name}"

    @staticmethod
    def parse(tag: str) -> Part:
        """The part of a tag.

        >>> Part.parse("link:contains")
        Part(name='contains', kind='link')
        """
        kind, _, name = tag.partition(":")
        return Part(name, "link" if kind == "link" else "object")


@dataclass(frozen=True)
class Trace:
    """Where the rows behind the objects of a type stand: a raw table with the same key, and its column that says when it was true."""

    table: str
    key: str
    at: str = ""


def snapshots_table(placement: Placement) -> str:
    """The DDL of the table of snapshots; it can run again."""
    columns = [
        Column("seq", "UInt64"),
        Column("id", "String"),
        Column("label", "String"),
        Column("taken_at", "DateTime64(3, 'UTC')"),
        Column("counts", "Map(String, UInt64)"),
        Column("links", "Map(String, UInt64)"),
        Column("added", "UInt64"),
        Column("removed", "UInt64"),
        Column("changed", "UInt64"),
        # by the tag of a part: the sum of its row hashes; what its model looked like; since when its model's table was read by it;
        # the columns its properties were read from; how many were added, removed and changed
        Column("hashes", "Map(String, UInt64)"),
        Column("prints", "Map(String, String)"),
        Column("built_at", "Map(String, DateTime64(3, 'UTC'))"),
        Column("columns", "Map(String, Map(String, String))"),
        Column("events", "Map(String, Array(UInt64))"),
    ]
    return create_replacing(SNAPSHOTS_TABLE, columns, key=["seq"], version="seq", placement=placement)


# --- values


def text_of(expression: str, column_type: str) -> str:
    """An expression: the value as text that says all of it, NULL for NULL. Times are in UTC, decimals keep their scale.

    >>> text_of("x", "Nullable(Decimal(10, 2))")
    'cast(toDecimalString(x, 2) as Nullable(String))'
    """
    bare = bare_type(column_type)
    text = f"toString({expression})"
    if found := re.fullmatch(r"Decimal\(\d+,\s*(\d+)\)", bare):
        text = f"toDecimalString({expression}, {found[1]})"
    elif re.match(r"DateTime\b", bare):
        text = f"toString(toTimeZone({expression}, 'UTC'))"
    elif re.match(r"DateTime64\((?!0\b)", bare):
        # a fraction is always written, so the zeros at its end, and then its point, are not part of anything else
        text = f"trimRight(trimRight(toString(toTimeZone({expression}, 'UTC')), '0'), '.')"
    elif re.match(r"DateTime64", bare):
        text = f"toString(toTimeZone({expression}, 'UTC'))"
    return f"cast({text} as Nullable(String))"


def value_of(text: str, column_type: str) -> str:
    """The opposite of `text_of`: NULL for what is no value of the type."""
    bare = bare_type(column_type)
    if found := re.match(r"DateTime(64\(\d+)?", bare):
        bare = "DateTime" + (f"{found[1]}, " if found[1] else "(") + "'UTC')"
    return f"accurateCastOrNull({text}, {quote_text(bare)})"


def nullable(column_type: str) -> str:
    """A column type that can also hold NULL.

    >>> nullable("LowCardinality(String)"), nullable("Nullable(Int8)")
    ('LowCardinality(Nullable(String))', 'Nullable(Int8)')
    """
    if "Nullable(" in column_type:
        return column_type
    inner = re.fullmatch(r"LowCardinality\((.*)\)", column_type, re.DOTALL)
    return f"LowCardinality(Nullable({inner[1]}))" if inner else f"Nullable({column_type})"


_SMALL = re.compile(r"Int(8|16|32|64)|UInt(8|16|32)")


def key_type(held: str, now: str) -> str:
    """The type that holds keys of both types.

    >>> key_type("Int32", "Int64"), key_type("Int64", "UInt16"), key_type("Int64", "UUID")
    ('Int64', 'Int64', 'String')
    """
    if held == now:
        return held
    return "Int64" if _SMALL.fullmatch(held) and _SMALL.fullmatch(now) else "String"


def family(column_type: str) -> str:
    """The family of a type: in all types of one, `hash_of` the same value is the same.

    >>> family("Nullable(Int32)"), family("DateTime"), family("Decimal(12, 2)"), family("Enum8('a' = 1)"), family("Decimal(30, 2)")
    ('whole', 'time', 'decimal 2', 'text', 'text')
    """
    bare = bare_type(column_type)
    for name, pattern in _FAMILIES.items():
        if found := re.fullmatch(pattern, bare):
            return " ".join([name, *found.groups()])
    return "text"


_FAMILIES = {
    "whole": r"U?Int(?:8|16|32|64)",
    "float": r"Float\d+",
    "truth": r"Bool",
    "date": r"Date|Date32",
    "time": r"DateTime(?:\('.*'\))?|DateTime64\([0-69].*\)",
    "decimal": r"Decimal\((?:\d|1[0-8]), *(\d+)\)",  # in 64 bits
    "uuid": r"UUID",
}


def hash_of(name: str, expression: str, column_type: str, *, as_text: bool = False) -> str:
    """An expression: 64 bits over a property's name and its value, 0 for NULL.

    Texts are dear, so a value is hashed in a form that all types of its `family` share.
    """
    x, bare, kind = expression, bare_type(column_type), "text" if as_text else family(column_type)
    text = x if bare == "String" else text_of(x, column_type)
    forms = {
        "whole": f"toInt64({x})",
        "float": f"if(isNaN({x}), nan, toFloat64({x}))",  # which has many forms
        "date": f"toInt32({x})",
        "time": f"toUnixTimestamp64Micro({x})" if bare.startswith("DateTime64") else f"toInt64({x}) * 1000000",
        "decimal": f"toDecimal64({x}, {kind.rpartition(' ')[2]})",
        "text": text,
    }
    hashed = f"cityHash64({quote_text(name)}, {forms.get(kind.split()[0], x)})"
    fits = ""  # what does not fit that form is hashed as a text
    if kind == "whole" and bare == "UInt64":
        fits = f"{x} <= {2**63 - 1}"
    elif kind == "time" and bare.startswith("DateTime64(9"):
        fits = f"toUnixTimestamp64Nano({x}) % 1000 = 0"
    if fits:
        hashed = f"if({fits}, {hashed}, cityHash64({quote_text(name)}, {text}))"
    return f"ifNull({hashed}, toUInt64(0))"


# --- the state of a part now


@dataclass(frozen=True)
class State:
    """A part as it can be read now: the columns of its keys and of its properties in a relation, with their ClickHouse types."""

    part: Part
    keys: Mapping[str, str]
    columns: Mapping[str, str]  # of a type, with that of the key

    @property
    def is_link(self) -> bool:
        """Whether it is the pairs of a link: each counts once, however often it stands there."""
        return self.part.kind == "link"

    def key_texts(self, alias: str = "s") -> list[str]:
        """The keys as text."""
        return [text_of(f"{alias}.{quote(n)}", t) for n, t in self.keys.items()]

    def select(self, relation: str, layout: Layout, more: str = "") -> str:
        """The rows as the table of the part has them: keys, properties, `values~`. Rows without a key are none."""
        listed = [f"{e} as {quote(f'_k{i}')}" for i, e in enumerate(self.key_values(layout))]
        listed += [f"s.{quote(name)} as {quote(column)}" for name, column in self.written(layout).items()]
        listed += [f"{self.hashed()} as {_VALUES}", *([more] if more else [])]
        present = " and ".join(f"s.{quote(name)} is not null" for name in self.keys)
        distinct = "distinct " if self.is_link else ""
        return f"select {distinct}\n    " + ",\n    ".join(listed) + f"\nfrom {relation} as s\nwhere {present}"

    def key_values(self, layout: Layout) -> list[str]:
        """The keys in the types that the table holds them in."""
        found = []
        for (name, type_), held in zip(self.keys.items(), layout.key_types, strict=True):
            value = f"assumeNotNull(s.{quote(name)})"
            if bare_type(type_) != held:
                value = f"assumeNotNull({text_of(f's.{quote(name)}', type_)})" if held == "String" else f"cast({value} as {held})"
            found.append(value)
        return found

    def written(self, layout: Layout) -> dict[str, str]:
        """Property to the column that it is written to."""
        if self.is_link:
            return {}
        return {n: layout.column(n, t) for n, t in self.columns.items() if n not in self.keys}

    def hashed(self, by_text: Collection[str] = ()) -> str:
        """64 bits over the names and values of the properties but the key, those named here by their texts; a sum, so that neither order
        nor absent values count."""
        names = [] if self.is_link else [n for n in self.columns if n not in self.keys]
        hashes = [hash_of(n, f"s.{quote(n)}", self.columns[n], as_text=n in by_text) for n in names]
        return " + ".join(hashes) or "toUInt64(0)"

    def create(self, placement: Placement) -> str:
        """The DDL of the table; it can run again."""
        columns = [Column(f"_k{i}", bare_type(t)) for i, t in enumerate(self.keys.values())]
        columns += [*OWN]
        if not self.is_link:
            columns += [Column(_free(n, ()), t) for n, t in self.columns.items() if n not in self.keys]
        return create(self.part.table, columns, len(self.keys), placement)

    def alterations(self, layout: Layout) -> list[str]:
        """What ALTER TABLE must do before the rows can be written: columns to add, columns that must hold NULL from now on."""
        found, written = [], set()
        if not self.is_link:
            for name, type_ in self.columns.items():
                if name in self.keys:
                    continue
                column = layout.column(name, type_)
                if not column:
                    column = _free(name, layout.columns)
                    found.append(f"add column {quote(column)} {nullable(type_)}")
                elif "Nullable(" in type_ and "Nullable(" not in layout.columns[column]:
                    found.append(f"modify column {quote(column)} {nullable(layout.columns[column])}")
                written.add(column)
        for columns in layout.properties.values():
            for column in columns:
                if column not in written and "Nullable(" not in layout.columns[column]:
                    found.append(f"modify column {quote(column)} {nullable(layout.columns[column])}")
        return found


def create(table: str, columns: Sequence[Column], key_count: int, placement: Placement) -> str:
    """The DDL of a table of versions; it can run again."""
    listed = [f"{quote(c.name)} {c.type}{_CODECS.get(c.name, '')}" for c in columns]
    body = ",\n    ".join([*listed, "index begins _from type minmax granularity 1"])  # finds the rows of the newest snapshots
    order = ", ".join([*(f"_k{i}" for i in range(key_count)), "_from"])
    return (
        f"create table if not exists {quote_table(table)}{placement.on_cluster}\n(\n    {body}\n)\n"
        f"engine = {placement.engine('MergeTree')}\norder by ({order})"
    )


def _free(name: str, taken: Mapping[str, str] | tuple[()]) -> str:
    """A name for a column of a property."""
    number, column = 1, f"{name}~1" if name in _OWN_NAMES or re.fullmatch(r"_k\d+", name) else name
    while column in taken:
        number += 1
        column = f"{name}~{number}"
    return column


# --- the table of a part


@dataclass(frozen=True)
class Layout:
    """The table of a part: its columns with their types, and which of them hold which key and property."""

    part: Part
    columns: Mapping[str, str]
    key_types: Sequence[str] = field(init=False)
    properties: Mapping[str, Sequence[str]] = field(init=False)  # the newest column last

    def __post_init__(self) -> None:
        keys = [n for n in self.columns if re.fullmatch(r"_k\d+", n)]
        found: dict[str, list[str]] = {}
        for column in self.columns:
            if column not in keys and column not in _OWN_NAMES:
                found.setdefault(re.sub(r"~\d+$", "", column), []).append(column)
        for columns in found.values():
            columns.sort(key=lambda c: int(c.rpartition("~")[2]) if "~" in c else 1)
        object.__setattr__(self, "key_types", [self.columns[n] for n in keys])
        object.__setattr__(self, "properties", found)

    @property
    def table(self) -> str:
        """The table, quoted."""
        return quote_table(self.part.table)

    def column(self, name: str, column_type: str) -> str:
        """The column that holds a property in this type; '' when there is none."""
        return next((c for c in self.properties.get(name, ()) if bare_type(self.columns[c]) == bare_type(column_type)), "")

    def keys(self, alias: str = "") -> str:
        """The key columns: one, or a tuple."""
        dot = f"{alias}." if alias else ""
        names = [f"{dot}_k{i}" for i in range(len(self.key_types))]
        return names[0] if len(names) == 1 else f"({', '.join(names)})"

    @property
    def key_columns(self) -> str:
        """The key columns, listed."""
        return ", ".join(f"_k{i}" for i in range(len(self.key_types)))

    def key_text(self, sides: Sequence[int] = ()) -> str:
        """The key as text; of a link, a JSON array of both sides (a side of several columns is a JSON array of its own).

        `sides` is how many columns each side of a link has.
        """
        texts = [f"assumeNotNull({text_of(f'h._k{i}', t)})" for i, t in enumerate(self.key_types)]
        if self.part.kind == "object":
            return texts[0]
        split = sides[0] if sides else max(1, len(texts) // 2)
        both = [texts[:split], texts[split:]]
        joined = [side[0] if len(side) == 1 else "toJSONString([" + ", ".join(side) + "])" for side in both]
        return f"toJSONString([{', '.join(joined)}])"

    def text(self, name: str, key: str = "") -> str:
        """A property as text, in whichever of its columns a row has it; NULL when it never had one."""
        if name == key and name not in self.properties:
            return text_of("h._k0", self.key_types[0])
        texts = [text_of(f"h.{quote(c)}", self.columns[c]) for c in reversed(self.properties.get(name, ()))]
        if not texts:
            return "cast(null as Nullable(String))"
        return texts[0] if len(texts) == 1 else f"coalesce({', '.join(texts)})"

    def value(self, name: str, column_type: str) -> str:
        """A property as a value of a type: its column as it is where it has only one, of that type."""
        columns = self.properties.get(name, ())
        if len(columns) == 1 and bare_type(self.columns[columns[0]]) == bare_type(column_type):
            return f"h.{quote(columns[0])}"
        return value_of(self.text(name), column_type)

    def as_of(self, seq: int) -> str:
        """A condition: the row was true as of a snapshot."""
        return f"h._from <= {int(seq)} and h._to > {int(seq)}"

    def key_value(self, column_type: str, number: int = 0) -> str:
        """A key as a value of a type."""
        held = self.key_types[number]
        if bare_type(column_type) == held:
            return f"h._k{number}"
        return f"assumeNotNull({value_of(text_of(f'h._k{number}', held), column_type)})"

    def objects(self, owner: ObjectType, then: Mapping[str, str], seq: int) -> str:
        """A SELECT of the objects of a type as of a snapshot: the stored properties of the type as it is now, in the types that `then`
        says they had. One that had another name then is found by its aliases; one that had no column is NULL throughout.
        One whose type is another kind now is read as that, empty where it does not fit. The first of `then` is the key.
        """
        key = next(iter(then), owner.key)
        listed = []
        for p in owner.stored:
            was = next((n for n in (p.name, *p.aliases) if n in then), key if p.name == owner.key else None)
            type_ = then[was] if was is not None and was in then and p.kind.holds(then[was]) else _DEFAULT_TYPES[p.type]
            if was is None:
                expression = f"cast(null as Nullable({type_}))"
            else:
                expression = self.key_value(type_) if was == key else self.value(was, type_)
            listed.append(f"{expression} as {quote(p.name)}")
        return self._select(listed, self.as_of(seq))

    def pairs(self, link: LinkType, then: Mapping[str, str], seq: int) -> str:
        """A SELECT of the pairs of a many-to-many link as of a snapshot, in the columns that its model has now."""
        assert link.via is not None
        names = list(dict.fromkeys([*link.via.from_columns.values(), *link.via.to_columns.values()]))
        held = list(then) if len(then) == len(self.key_types) else names
        listed = [
            f"{self.key_value(then.get(held[i], self.key_types[i]), i)} as {quote(name)}"
            for i, name in enumerate(names[: len(self.key_types)])
        ]
        return self._select(listed, self.as_of(seq))

    def as_it_was(self, then: Mapping[str, str], seq: int) -> str:
        """A SELECT of the rows of a snapshot under the names and in the types that they had then, in key order."""
        names, keys = list(then), len(self.key_types)
        listed = [f"{self.key_value(then[n], i)} as {quote(n)}" for i, n in enumerate(names[:keys])]
        listed += [f"{self.value(n, then[n])} as {quote(n)}" for n in names[keys:]]
        return self._select(listed, self.as_of(seq)) + "\norder by " + ", ".join(f"h._k{i}" for i in range(keys))

    def _select(self, listed: Sequence[str], where: str) -> str:
        return "select\n    " + ",\n    ".join(listed) + f"\nfrom {self.table} as h\nwhere {where}"

    # --- writing what changed

    def open_before(self, seq: int) -> str:
        """A SELECT of a row, when the table has any that is true and began before `seq`."""
        return f"select 1 as n from {self.table} where _to = {OPEN} and _from < {int(seq)} limit 1"

    def insert(self, state: State, relation: str, seq: int, stage: str = "", *, first: bool = False) -> str:
        """An INSERT of every row of a part that is not among those that are true, as true from `seq` on. There are none at the `first`.

        `stage` is a table of keys as text with the run that brought each (`k`, `run_id`, `at`).
        """
        keys = [f"_k{i}" for i in range(len(self.key_types))]
        written = [*keys, *map(quote, state.written(self).values()), _VALUES]
        if first:
            return self._insert(written, state.select(relation, self), seq, OPEN, stage)
        # of a property whose types are of two families the texts are compared, on both sides
        by_text = self._mixed(state)
        compared = quote("compared~")
        now, then = (compared, self._hashed(by_text)) if by_text else (_VALUES, f"h.{_VALUES}")
        known = (
            f"select cityHash64({self.key_columns}) as k, {then} as v from {self.table} as h where h._to = {OPEN} and h._from < {int(seq)}"
        )
        rows = (
            f"select n.* from (\n{state.select(relation, self, f'{state.hashed(by_text)} as {compared}' if by_text else '')}\n) as n\n"
            f"left anti join ({known}) as known on cityHash64({', '.join(f'n.{k}' for k in keys)}) = known.k and n.{now} = known.v"
        )
        return self._insert(written, rows, seq, OPEN, stage)

    def _mixed(self, state: State | None = None) -> set[str]:
        """The properties that have types of two families, in the table and in a state."""
        now = state.columns if state else {}
        types = {n: [*(self.columns[c] for c in columns), *([now[n]] if n in now else [])] for n, columns in self.properties.items()}
        return {name for name, of in types.items() if len(set(map(family, of))) > 1}

    def _hashed(self, by_text: Collection[str] = (), dot: str = "h.") -> str:
        """`State.hashed` of a row of the table."""
        found = []
        for name, columns in self.properties.items():
            if name in by_text:
                found.append(hash_of(name, self.text(name), "String"))
            else:  # a row has its value in one of its columns
                found += [hash_of(name, f"{dot}{quote(c)}", self.columns[c]) for c in columns]
        return " + ".join(found) or "toUInt64(0)"

    def converted(self, placement: Placement) -> list[str]:
        """What gives a table `values~` where it still has a hash that was made of texts; it can begin anew. Nothing for any other."""
        if _BY_TEXT not in self.columns:
            return []
        alter = f"alter table {self.table}{placement.on_cluster}"
        return [
            *(f"{alter} modify column {name}{codec}" for name, codec in _CODECS.items()),
            f"{alter} add index if not exists begins _from type minmax granularity 1",
            f"{alter} add column if not exists {_VALUES} UInt64",
            f"{alter} update {_VALUES} = {self._hashed(dot='')} where 1",
            f"{alter} drop column if exists {_BY_TEXT}",
        ]

    def insert_gone(self, state: State, relation: str, seq: int, stage: str = "") -> str:
        """An INSERT of a row for each key that is true and has no row in the relation any more; its interval is empty."""
        present = " and ".join(f"s.{quote(name)} is not null" for name in state.keys)
        now = f"select {', '.join(state.key_values(self))} from {relation} as s where {present}"
        known = f"h._to = {OPEN} and h._from < {int(seq)}"
        gone = f"select {self.key_columns} from {self.table} as h where {known} and {self.keys('h')} not in ({now})"
        return self._insert([f"_k{i}" for i in range(len(self.key_types))], gone, seq, seq, stage)

    def _insert(self, written: Sequence[str], rows: str, seq: int, to: int, stage: str) -> str:
        listed = ", ".join(f"h.{c}" for c in written)
        said = "r.run_id, if(r.run_id = '', null, r.at)" if stage else "'', null"
        text = (
            f"insert into {self.table} ({', '.join(written)}, _from, _to, _run_id, _true_at)\n"
            f"select {listed}, {int(seq)}, {int(to)}, {said}\nfrom (\n{rows}\n) as h\n"
        )
        return text + (f"left any join {quote_table(stage)} as r on {self.key_text()} = r.k" if stage else "")

    def close(self, seq: int, placement: Placement) -> str:
        """An ALTER that ends, at `seq`, what was true of the keys that have a row from `seq`.

        Until `seq` is a snapshot, that changes nothing for any reader: both ends are beyond what they look at.
        """
        return (
            f"alter table {self.table}{placement.on_cluster} update _to = {int(seq)}\n"
            f"where _to = {OPEN} and _from < {int(seq)} and {self._again(seq)}"
        )

    def _again(self, seq: int) -> str:
        """A condition: the key has a row from `seq`."""
        return f"{self.keys()} in (select {self.key_columns} from {self.table} where _from = {int(seq)})"

    def sizes(self, seq: int, *, first: bool = False) -> str:
        """One row: of the rows that are true, those before `seq`, those from it, and those before it whose key has one from it: each
        how many, and a sum over the keys. There are none before it at the `first`."""
        before = "0" if first else f"_from < {int(seq)}"
        again = f"{before} and {self._again(seq)}" if not first else "0"
        pairs = [("before", before), ("from", f"_from = {int(seq)}"), ("again", again)]
        listed = ", ".join(f"countIf({c}) as n_{n}, sumIf(cityHash64({self.key_columns}), {c}) as k_{n}" for n, c in pairs)
        return f"select {listed} from {self.table} where _to = {OPEN}"

    def totals(self, state: State, seq: int, *, whole: bool = False) -> str:
        """One row: sums of a hash of what is true from `seq` on, and of what ended there; or of all that is true, and 0.

        The hash is of texts, under the names of now: the same objects have the same sum whatever types they are kept in.
        """
        texts = {n: text_of(f"h._k{i}", t) for i, (n, t) in enumerate(zip(state.keys, self.key_types, strict=True))}
        texts |= {name: self.text(name) for name in self.properties}
        hashed = " + ".join(hash_of(name, text, "String") for name, text in texts.items())
        row = f"cityHash64({self.key_text()}, {hashed})"
        if whole:
            return f"select sum({row}) as gained, 0 as lost from {self.table} as h where h._to = {OPEN}"
        return (
            f"select sumIf({row}, h._from = {int(seq)} and h._to = {OPEN}) as gained, sumIf({row}, h._from < {int(seq)}) as lost\n"
            f"from {self.table} as h where h._from = {int(seq)} or h._to = {int(seq)}"
        )

    def doubles(self, seq: int) -> str:
        """A SELECT of a key that stands twice among the rows from `seq`."""
        return (
            f"select {self.key_text()} as found, count() as times from {self.table} as h where h._from = {int(seq)} and h._to = {OPEN}\n"
            f"group by {', '.join(f'h._k{i}' for i in range(len(self.key_types)))} having times > 1 limit 1"
        )

    def left(self, seq: int) -> str:
        """A SELECT of how many rows begin or end after `seq`, as only a take that was cut short has left them."""
        return f"select count() as n from {self.table} where _from > {int(seq)} or (_to > {int(seq)} and _to < {OPEN})"

    def heal(self, seq: int, placement: Placement) -> list[str]:
        """What takes away whatever begins or ends after `seq`."""
        return [
            f"alter table {self.table}{placement.on_cluster} update _to = {OPEN}\n"
            f"where _to > {int(seq)} and _to < {OPEN} and _from <= {int(seq)}",
            f"delete from {self.table}{placement.on_cluster} where _from > {int(seq)}",
        ]

    # --- what changed

    def touched(self, a: int, b: int, values: Mapping[str, str], title: str = "''", sides: Sequence[int] = ()) -> str:
        """A SELECT of the keys whose state as of `b` is not that as of `a`: `key`, `change`, `old` and `new` (arrays of the texts of
        `values`), titles, `runs` behind it and `true_at`. Reads the rows that began or ended in between.
        """
        low, high = min(a, b), max(a, b)
        went = f"h._from <= {low} and h._to > {low} and h._to <= {high}"
        came = f"h._from > {low} and h._from <= {high} and h._to > {high}"
        event = f"h._from > {low} and h._from <= {high}"
        was, now = (went, came) if a <= b else (came, went)
        side = f"multiIf({was}, 0, {now}, 1, 2)"
        texts = f"[{', '.join(values.values())}]" if values else "cast([] as Array(Nullable(String)))"
        hashed = _BY_TEXT if _BY_TEXT in self.columns else _VALUES
        differ = "h0 != h1" + (" and toString(old) != toString(new)" if values and self._mixed() else "")
        return (
            "select key, multiIf(n0 = 0, 'added', n1 = 0, 'removed', 'changed') as change, old, new, old_title, new_title, runs, true_at\n"
            "from (\n    select key, countIf(side = 0) as n0, countIf(side = 1) as n1,\n"
            "        anyIf(hash, side = 0) as h0, anyIf(hash, side = 1) as h1,\n"
            "        anyIf(texts, side = 0) as old, anyIf(texts, side = 1) as new, anyIf(title, side = 0) as old_title,\n"
            "        anyIf(title, side = 1) as new_title, groupUniqArrayIf(run_id, run_id != '' and is_event) as runs,\n"
            "        maxIf(at, is_event) as true_at\n"
            f"    from (\n        select {self.key_text(sides)} as key, {side} as side, h.{hashed} as hash, {title} as title,\n"
            f"            {texts} as texts, toString(h._run_id) as run_id, h._true_at as at, {event} as is_event\n"
            f"        from {self.table} as h\n        where ({went}) or ({event})\n    )\n    group by key\n)\n"
            f"where (n0 > 0 or n1 > 0) and (n0 = 0 or n1 = 0 or {differ})"
        )

    def rebuilt(self, types: Sequence[str], placement: Placement) -> tuple[str, list[str]]:
        """A name beside the table, and what puts the same rows with keys of other types in its place."""
        aside = f"{self.part.table}~"
        columns = [Column(f"_k{i}", t) for i, t in enumerate(types)]
        rest = [Column(n, t) for n, t in self.columns.items() if not re.fullmatch(r"_k\d+", n)]
        values = []
        for i, (held, wanted) in enumerate(zip(self.key_types, types, strict=True)):
            text = f"assumeNotNull({text_of(f'h._k{i}', held)})"
            values.append(f"h._k{i}" if held == wanted else text if wanted == "String" else f"cast(h._k{i} as {wanted})")
        listed = ", ".join([*values, *(f"h.{quote(c.name)}" for c in rest)])
        on = placement.on_cluster
        return aside, [
            f"drop table if exists {quote_table(aside)}{on} sync",
            create(aside, [*columns, *rest], len(types), placement),
            f"insert into {quote_table(aside)} ({', '.join(quote(c.name) for c in [*columns, *rest])})\nselect {listed}\n"
            f"from {self.table} as h",
            f"exchange tables {quote_table(aside)} and {self.table}{on}",
            f"drop table {quote_table(aside)}{on} sync",
        ]


# --- identity


def content_id(parts: Mapping[Part, tuple[int, int]]) -> str:
    """The id of a state, 32 hex digits: of each part its name, how many rows it has and the sum of their hashes.

    >>> a, b = Part("A"), Part("B")
    >>> content_id({a: (1, 7), b: (0, 0)}) == content_id({b: (0, 0), a: (1, 7)}) != content_id({a: (1, 7)})
    True
    """
    text = json.dumps([[p.kind, p.name, count, str(total)] for p, (count, total) in sorted(parts.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
