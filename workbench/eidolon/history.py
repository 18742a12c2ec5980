"""The text of SQL over `eidolon`: what the state of a part is now, what it was, and which of its keys changed.

Pure. A *part* is what a snapshot covers: the objects of a type, or the pairs of a many-to-many link. Its state is a set of
rows `key`, `title`, `properties`, `hash`. Values are kept as text, exactly; a property without a value is the same as a
property that is not there, so a new empty column or another order of columns changes no object.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.lake.sql import Column, Placement, create_replacing, quote, quote_table, quote_text
from workbench.ontology.model import LinkType, ObjectType, Via

__all__ = [
    "HISTORY_TABLE",
    "SNAPSHOTS_TABLE",
    "Part",
    "as_of",
    "change_counts",
    "changes",
    "content_id",
    "create_tables",
    "insert_changes",
    "link_relation_as_of",
    "link_state",
    "object_state",
    "relation_as_of",
    "text_of",
]

HISTORY_TABLE = "eidolon.object_history"
SNAPSHOTS_TABLE = "eidolon.snapshots"

_HISTORY = quote_table(HISTORY_TABLE)

# what a property is read as when a snapshot was taken before its column was there
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


# --- tables


def create_tables(placement: Placement) -> list[str]:
    """The DDL of both tables; every statement can run again.

    No two rows of the history have the same key, unless a row was written twice: then they are equal and merge.
    """
    history = [
        Column("type", "LowCardinality(String)"),
        Column("kind", "LowCardinality(String)"),
        Column("key", "String"),
        Column("seq", "UInt64"),
        Column("taken_at", "DateTime64(3, 'UTC')"),
        Column("hash", "UInt128"),
        Column("title", "String"),
        Column("properties", "Map(LowCardinality(String), Nullable(String))"),
        Column("_deleted", "UInt8"),
    ]
    snapshots = [
        Column("seq", "UInt64"),
        Column("id", "String"),
        Column("label", "String"),
        Column("taken_at", "DateTime64(3, 'UTC')"),
        Column("types", "Array(String)"),
        Column("counts", "Map(String, UInt64)"),
        Column("links", "Map(String, UInt64)"),
        Column("added", "UInt64"),
        Column("removed", "UInt64"),
        Column("changed", "UInt64"),
        # by the tag of a part: the sum of its row hashes, and the columns its properties were read from
        Column("hashes", "Map(String, String)"),
        Column("columns", "Map(String, Map(String, String))"),
    ]
    return [
        create_replacing(HISTORY_TABLE, history, key=["type", "kind", "key", "seq"], version="seq", placement=placement),
        f"alter table {_HISTORY}{placement.on_cluster} add index if not exists by_seq seq type minmax granularity 1",
        create_replacing(SNAPSHOTS_TABLE, snapshots, key=["seq"], version="seq", placement=placement),
    ]


# --- the state of a part now


def _bare(column_type: str) -> str:
    while found := re.fullmatch(r"(?:Nullable|LowCardinality)\((.*)\)", column_type.strip(), re.DOTALL):
        column_type = found[1]
    return column_type.strip()


def text_of(expression: str, column_type: str) -> str:
    """An expression: the value as text that says all of it, NULL for NULL. Times are in UTC, decimals keep their scale.

    >>> text_of("x", "Nullable(Decimal(10, 2))")
    'cast(toDecimalString(x, 2) as Nullable(String))'
    """
    bare = _bare(column_type)
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


def object_state(object_type: ObjectType, relation: str, columns: Mapping[str, str]) -> str:
    """A SELECT of the objects of a type as they are now. `columns` are those of the relation, with their types.

    Rows without a key are left out; whether keys are unique is not looked at. Computed properties are not kept: they follow from
    the others.
    """
    names = [p.name for p in object_type.stored]
    texts = {name: f"p{i}" for i, name in enumerate(names)}
    # qualified, so that a column called `key` or `p0` is the column and not an alias
    inner = ",\n        ".join(f"{text_of(f's.{quote(n)}', columns[n])} as {texts[n]}" for n in names)
    title = texts.get(object_type.title, "pt")
    if title == "pt":
        inner += f",\n        cast(toString({object_type.sql(object_type.title, lambda n: f's.{quote(n)}')}) as Nullable(String)) as pt"
    return (
        f"select\n    assumeNotNull({texts[object_type.key]}) as key,\n    ifNull({title}, '') as title,\n"
        f"    {_properties(texts)} as properties,\n    {_hash(texts)} as hash\n"
        f"from (\n    select\n        {inner}\n    from {relation} as s\n)\nwhere {texts[object_type.key]} is not null"
    )


def link_state(via: Via, relation: str, columns: Mapping[str, str]) -> str:
    """A SELECT of the pairs of a many-to-many link as they are now, each once; a NULL on either side is no pair.

    The key is a JSON array of both sides; a side of several columns is a JSON array of its own.
    """
    sides = [_side([text_of(f"s.{quote(c)}", columns[c]) for c in side.values()]) for side in (via.from_columns, via.to_columns)]
    texts = {"from": "p0", "to": "p1"}
    return (
        "select\n    toJSONString([assumeNotNull(p0), assumeNotNull(p1)]) as key,\n"
        "    concat(assumeNotNull(p0), ' → ', assumeNotNull(p1)) as title,\n"
        f"    {_properties(texts)} as properties,\n    {_hash(texts)} as hash\n"
        f"from (\n    select distinct\n        {sides[0]} as p0,\n        {sides[1]} as p1\n    from {relation} as s\n)\n"
        "where p0 is not null and p1 is not null"
    )


def _side(texts: Sequence[str]) -> str:
    if len(texts) == 1:
        return texts[0]
    known = " and ".join(f"{t} is not null" for t in texts)
    return f"if({known}, toJSONString([{', '.join(f'assumeNotNull({t})' for t in texts)}]), null)"


def _properties(texts: Mapping[str, str]) -> str:
    return "map(" + ", ".join(f"{quote_text(name)}, {text}" for name, text in texts.items()) + ")"


def _hash(texts: Mapping[str, str]) -> str:
    """128 bits over names and values; a sum, so that neither order nor absent values count. (A hash of NULL is NULL.)"""
    one = "ifNull(reinterpretAsUInt128(sipHash128({}, {})), toUInt128(0))"
    return "toUInt128(" + " + ".join(one.format(quote_text(name), text) for name, text in texts.items()) + ")"


# --- writing what changed


def insert_changes(state: str) -> str:
    """An INSERT into the history of every row of a part that differs from its latest version, and of those that are gone.

    Parameters: `type`, `kind`, `seq`, `taken_at`. A row that is gone keeps its title and has no properties.
    """
    latest = (
        f"select key, argMax(tuple(hash, title, _deleted), seq) as last\n        from {_HISTORY}\n"
        "        where type = {type:String} and kind = {kind:String} and seq < {seq:UInt64}\n        group by key"
    )
    return (
        f"insert into {_HISTORY} (type, kind, key, seq, taken_at, hash, title, properties, _deleted)\n"
        f"with\n    state as (\n{state}\n    ),\n    latest as (\n        {latest}\n    )\n"
        "select {type:String}, {kind:String}, key, {seq:UInt64}, {taken_at:DateTime64(3, 'UTC')}, hash, title, properties, 0\n"
        "from state\nwhere (key, hash) not in (select key, last.1 from latest where last.3 = 0)\n"
        "union all\n"
        "select {type:String}, {kind:String}, key, {seq:UInt64}, {taken_at:DateTime64(3, 'UTC')}, toUInt128(0), last.2,\n"
        "    cast(map() as Map(String, Nullable(String))), 1\n"
        "from latest\nwhere last.3 = 0 and key not in (select key from state)"
    )


# --- reading the history

_COVERED = "(kind = 'object' and type in {types:Array(String)} or kind = 'link' and type in {links:Array(String)})"
_UP_TO = "seq <= greatest({a:UInt64}, {b:UInt64})"
_TOUCHED = f"select kind, type, key from {_HISTORY} where seq > least({{a:UInt64}}, {{b:UInt64}}) and {_UP_TO} and {_COVERED}"


def _versions(keys: str, values: str) -> str:
    """Of each key, its versions as of `a` and as of `b`, and what became of it. A key that never was is all zero."""
    at_a, at_b = (
        f"argMaxIf(tuple(1 - _deleted, hash{values}), seq, seq <= {{{side}:UInt64}})" for side in ("a", "b")
    )  # fmt: skip
    return (
        f"select\n    kind,\n    type,\n    key,\n    {at_a} as old,\n    {at_b} as new,\n"
        "    multiIf(old.1 = 0 and new.1 = 1, 'added', old.1 = 1 and new.1 = 0, 'removed',\n"
        "        old.1 = 1 and new.1 = 1 and old.2 != new.2, 'changed', '') as change\n"
        f"from {_HISTORY}\nwhere {_UP_TO} and {_COVERED} and (kind, type, key) in (\n{keys}\n)\n"
        "group by kind, type, key\nhaving change != ''"
    )


def change_counts() -> str:
    """A SELECT: per part with changes between `a` and `b`, how many keys were added, removed and changed, and the sums of
    their row hashes as of both (`lost`, `gained`).

    Parameters: `a`, `b`, and the parts: `types`, `links`. Reads little: the rows in between, by index, and their keys.
    """

    def total(side: str) -> str:
        return f"toString(sum(if({side}.1 = 1, reinterpretAsUInt128(sipHash128(key, {side}.2)), toUInt128(0))))"

    return (
        "select kind, type, countIf(change = 'added') as added, countIf(change = 'removed') as removed,\n"
        f"    countIf(change = 'changed') as changed, {total('old')} as lost, {total('new')} as gained\n"
        f"from (\n{_versions(_TOUCHED, '')}\n)\ngroup by kind, type"
    )


def changes() -> str:
    """A SELECT of the first `limit` changed keys with title and properties as of `a` and `b`.

    Parameters as in `change_counts`, and `limit`. In the order of the parts, then added, removed, changed, then the key,
    numbers as numbers.
    """
    order = (
        "kind = 'link', if(kind = 'link', indexOf({links:Array(String)}, type), indexOf({types:Array(String)}, type)),\n"
        "    indexOf(['added', 'removed', 'changed'], change), toInt128OrZero(key), key"
    )
    first = f"select kind, type, key from (\n{_versions(_TOUCHED, '')}\n)\norder by {order}\nlimit {{limit:UInt64}}"
    return (
        "select kind, type, key, change, old.3 as old_title, new.3 as new_title, old.4 as old_properties,\n"
        f"    new.4 as new_properties\nfrom (\n{_versions(first, ', title, properties')}\n)\norder by {order}"
    )


def as_of(part: Part, seq: int) -> str:
    """A SELECT of the state of a part as of a snapshot, whatever the reader does about superseded rows."""
    return (
        f"select key, title, properties\nfrom (\n    select key, seq, title, properties, _deleted\n    from {_HISTORY}\n"
        f"    where type = {quote_text(part.name)} and kind = {quote_text(part.kind)} and seq <= {int(seq)}\n"
        "    order by key, seq desc\n    limit 1 by key\n)\nwhere _deleted = 0"
    )


def relation_as_of(object_type: ObjectType, columns: Mapping[str, str], seq: int) -> str:
    """A SELECT of the objects of a type as of a snapshot: the stored properties of the type, in the types that `columns` says
    they had then. Every property but the key can be NULL; one that had no column then is NULL throughout.
    """
    listed = ",\n    ".join(
        f"{_typed(p.name, columns.get(p.name) or _DEFAULT_TYPES[p.type], is_key=p.name == object_type.key)} as {quote(p.name)}"
        for p in object_type.stored
    )
    return f"select\n    {listed}\nfrom (\n{as_of(Part(object_type.name), seq)}\n) as h"


def link_relation_as_of(link: LinkType, columns: Mapping[str, str], seq: int) -> str:
    """A SELECT of the pairs of a many-to-many link as of a snapshot: the columns of its model that name both sides, as then typed."""
    assert link.via is not None
    listed = []
    for side, named in (("from", link.via.from_columns), ("to", link.via.to_columns)):
        for place, column in enumerate(named.values(), 1):
            text = f"h.properties[{quote_text(side)}]"
            if len(named) > 1:  # a side of several columns is a JSON array
                text = f"JSONExtractString(assumeNotNull({text}), {place})"
            listed.append(f"assumeNotNull({_cast(text, columns.get(column) or 'String')}) as {quote(column)}")
    return f"select\n    {', '.join(listed)}\nfrom (\n{as_of(Part(link.name, 'link'), seq)}\n) as h"


def _typed(name: str, column_type: str, *, is_key: bool) -> str:
    value = _cast(f"h.properties[{quote_text(name)}]", column_type)
    return f"assumeNotNull({value})" if is_key else value


def _cast(text: str, column_type: str) -> str:
    """A kept text as a value of the type that it had, or NULL."""
    bare = _bare(column_type)
    if found := re.match(r"DateTime(64\(\d+)?", bare):
        text = f"cast({text} as Nullable({'DateTime' + found[1] + ', ' if found[1] else 'DateTime('}'UTC')))"
    return f"cast({text} as Nullable({bare}))"


# --- identity


def content_id(parts: Mapping[Part, tuple[int, int]]) -> str:
    """The id of a state, 32 hex digits: of each part its name, how many rows it has and the sum of their hashes.

    >>> a, b = Part("A"), Part("B")
    >>> content_id({a: (1, 7), b: (0, 0)}) == content_id({b: (0, 0), a: (1, 7)}) != content_id({a: (1, 7)})
    True
    """
    text = json.dumps([[p.kind, p.name, count, str(total)] for p, (count, total) in sorted(parts.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
