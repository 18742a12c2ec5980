"""Questions about objects, as values, and the SQL they become.

Pure. A chain of hops is one statement: each hop is an `IN (select ...)` over the one before, so every object comes once
however many ways lead to it. Every value is a bound parameter and every identifier is quoted.

NULL is what it is in SQL: a comparison with it is never true. So `country != Brazil` and `country not in ...` leave out
the objects without a country (`country is null` finds those), and a NULL joins nothing.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from workbench.errors import LakeError, UsageError
from workbench.lake.sql import quote
from workbench.ontology.model import LinkEnd, ObjectType, Ontology

__all__ = [
    "Condition",
    "Hop",
    "ObjectQuery",
    "Sort",
    "Statement",
    "compile_count",
    "compile_exists",
    "compile_link_counts",
    "compile_query",
    "conditions_from_keywords",
    "missing_model",
    "parse_condition",
    "parse_sort",
]

Op = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "starts with", "is null", "is not null"]

_SYMBOLS: Mapping[str, Op] = {
    "=": "=",
    "==": "=",
    "!=": "!=",
    "<>": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "~": "contains",
    "^=": "starts with",
}
_KEYWORDS: Mapping[str, Op] = {
    "ne": "!=",
    "lt": "<",
    "lte": "<=",
    "gt": ">",
    "gte": ">=",
    "in": "in",
    "not_in": "not in",
    "contains": "contains",
    "startswith": "starts with",
}
_WITH_SYMBOL = re.compile(r"\s*(\w+)\s*(==|!=|<>|<=|>=|\^=|=|<|>|~)(.*)", re.DOTALL)
_WITH_WORDS = re.compile(
    r"\s*(\w+)\s+(?:(?P<set>not\s+in|in)\b(?P<values>.*)|(?P<null>is\s+null|is\s+not\s+null)\s*)",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True)
class Condition:
    """One condition on a property. `value` is of the property's type; a tuple of such for in; None for is null.

    `contains` and `starts with` are for text and ignore case.
    """

    property: str
    op: Op
    value: Any = None


@dataclass(frozen=True)
class Sort:
    """An order by one property; objects without a value come last either way, equal ones in key order."""

    property: str
    descending: bool = False

    def __str__(self) -> str:
        return f"-{self.property}" if self.descending else self.property


@dataclass(frozen=True)
class Hop:
    """From the objects of a query along a link of their type."""

    query: ObjectQuery
    link: str


@dataclass(frozen=True)
class ObjectQuery:
    """Objects of one type: all of them, or those one hop away from `source`, that meet every condition.

    Without `sort` they come in key order. `after` is the key of an object: what follows that object in the order.
    """

    type: str
    conditions: tuple[Condition, ...] = ()
    sort: Sort | None = None
    limit: int | None = None
    after: Any = None
    source: Hop | None = None

    @property
    def whole(self) -> ObjectQuery:
        """The same objects without paging."""
        return replace(self, limit=None, after=None)


@dataclass(frozen=True)
class Statement:
    """SQL with `{name:Type}` placeholders, and their values."""

    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join([self.sql, *(f"-- {name} = {value!r}" for name, value in self.parameters.items())])


def parse_condition(text: str, object_type: ObjectType) -> Condition:
    """A condition as written on a command line.

    `country=Brazil`, `total>10`, `name~love` (contains), `name^=The` (starts with), `country in Brazil, Canada`,
    `company is null`. Space around a value is not part of it, unless the value is in double quotes; so with commas in a
    list. A quote inside quotes is doubled.
    """
    if words := _WITH_WORDS.fullmatch(text):
        if words["null"]:
            return _condition(object_type, words[1], "is not null" if "not" in words["null"].lower() else "is null")
        op: Op = "in" if words["set"].lower() == "in" else "not in"
        return _condition(object_type, words[1], op, _list(words["values"]))
    if symbol := _WITH_SYMBOL.fullmatch(text):
        return _condition(object_type, symbol[1], _SYMBOLS[symbol[2]], _unquoted(symbol[3].strip()))
    raise UsageError(
        f"{text!r} is not a condition on {object_type.name}",
        hint="write for example name=value, total>10, name~part, name^=start, name in a,b or name is null",
    )


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text


def _list(text: str) -> list[str]:
    text = text.strip()
    if text[:1] == "(" and text[-1:] == ")":
        text = text[1:-1]
    # one record, also when a quoted value goes over lines
    try:
        return [value.strip() for record in csv.reader([text], skipinitialspace=True, strict=True) for value in record]
    except csv.Error as error:
        raise UsageError(f"{text!r} is not a list of values: {error}") from None


def conditions_from_keywords(object_type: ObjectType, /, **keywords: Any) -> tuple[Condition, ...]:
    """Conditions as Python keywords: `country="Brazil"`, `total__gt=10`, `country__in=[...]`, `company=None` (is null).

    The endings are ne, lt, lte, gt, gte, in, not_in, contains, startswith and isnull (True or False).
    """
    return tuple(_keyword(object_type, name, value) for name, value in keywords.items())


def _keyword(object_type: ObjectType, name: str, value: Any) -> Condition:
    property, separator, ending = name.rpartition("__")
    if name in object_type.properties or not separator or not property:
        property, ending = name, ""
    object_type.property(property)
    if ending == "isnull":
        return _condition(object_type, property, "is null" if value else "is not null")
    if ending and ending not in _KEYWORDS:
        raise UsageError(
            f"{name!r} is not a condition on {object_type.name}",
            hint=f"the endings are {', '.join(f'__{e}' for e in (*_KEYWORDS, 'isnull'))}",
        )
    op: Op = _KEYWORDS[ending] if ending else "="
    if value is None and op in ("=", "!="):
        return _condition(object_type, property, "is null" if op == "=" else "is not null")
    return _condition(object_type, property, op, value)


def _condition(object_type: ObjectType, property: str, op: Op, value: Any = None) -> Condition:
    found = object_type.property(property)
    if op in ("is null", "is not null"):
        return Condition(property, op)
    if op in ("in", "not in"):
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            raise UsageError(f"{object_type.name}.{property}: {op!r} needs a list of values, not {value!r}")
        return Condition(property, op, tuple(object_type.parse(property, v) for v in value))
    if isinstance(value, (list, tuple, set, frozenset)):
        raise UsageError(f"{object_type.name}.{property}: {value!r} is a list", hint=f"write {property}__in=[...]")
    if op in ("contains", "starts with") and found.type != "string":
        raise UsageError(f"{object_type.name}.{property} is {found.type}: {op!r} is for text")
    return Condition(property, op, object_type.parse(property, value))


def parse_sort(text: str, object_type: ObjectType) -> Sort:
    """An order as written: `total`, or `-total` for the largest first."""
    name = text.strip()
    return Sort(object_type.property(name.lstrip("-") if name[:1] == "-" else name).name, descending=name[:1] == "-")


def missing_model(owner: ObjectType | LinkEnd, model: str) -> LakeError:
    """The error for a type or link whose model is not in the lake."""
    what = f"link {owner.name}" if isinstance(owner, LinkEnd) else owner.name
    return LakeError(f"{what}: its model {model} has no table in the lake yet", hint="run skygraph dbt run")


def compile_query(query: ObjectQuery, ontology: Ontology, relations: Mapping[str, str]) -> Statement:
    """The SELECT of a query's objects: the properties in the order of the model, in the order of the query.

    `relations` is model -> what stands for it after FROM: a quoted table, or a SELECT in parentheses. A sorted page
    after an object that is gone is empty (`compile_exists` tells).
    """
    compiler = _Compiler(ontology, relations)
    columns = [quote(name) for name in ontology.object_type(query.type).properties]
    return compiler.statement(compiler.select(query, columns))


def compile_count(query: ObjectQuery, ontology: Ontology, relations: Mapping[str, str]) -> Statement:
    """The SELECT of how many objects a query has, within its limit when it has one."""
    compiler = _Compiler(ontology, relations)
    if query.limit is None:
        return compiler.statement(compiler.select(query, ["count()"], order=False))
    key = quote(ontology.object_type(query.type).key)
    return compiler.statement(f"select count()\nfrom (\n{_indent(compiler.select(query, [key]))}\n)")


def compile_exists(type_name: str, key: Any, ontology: Ontology, relations: Mapping[str, str]) -> Statement:
    """The SELECT of how many objects have a key."""
    object_type = ontology.object_type(type_name)
    condition = Condition(object_type.key, "=", key)
    return compile_count(ObjectQuery(type_name, (condition,)), ontology, relations)


def compile_link_counts(type_name: str, key: Any, ontology: Ontology, relations: Mapping[str, str]) -> Statement:
    """One row: how many objects each link leads to from one object, a column per link under its name.

    Links whose models have no relation are left out; with none left, the row has no meaning (`select 1`).
    """
    compiler = _Compiler(ontology, relations)
    object_type = ontology.object_type(type_name)
    one = ObjectQuery(type_name, (Condition(object_type.key, "=", key),))
    counts = []
    for end in ontology.links_of(type_name):
        models = [ontology.object_type(end.to_type).model, *([end.link.via.model] if end.link.via else [])]
        if all(model in relations for model in models):
            inner = compiler.select(ObjectQuery(end.to_type, source=Hop(one, end.name)), ["count()"], order=False)
            counts.append(f"(\n{_indent(inner)}\n) as {quote(end.name)}")
    return compiler.statement("select\n" + _indent(",\n".join(counts or ["1"])))


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.split("\n"))


class _Compiler:
    """Makes the text of one statement, numbering its parameters and aliases."""

    def __init__(self, ontology: Ontology, relations: Mapping[str, str]) -> None:
        self.ontology = ontology
        self.relations = relations
        self.parameters: dict[str, Any] = {}
        self.aliases = 0

    def statement(self, sql: str) -> Statement:
        return Statement(sql, dict(self.parameters))

    def select(self, query: ObjectQuery, columns: Sequence[str], *, order: bool = True, nested: bool = False) -> str:
        """A SELECT. Nested ones name their columns in full: a column missing from the inner table would otherwise be
        taken from the outer one, and the answer would be wrong instead of an error."""
        object_type = self.ontology.object_type(query.type)
        relation = self._relation(object_type.model, object_type)
        alias = self._alias() if nested else ""

        def column(name: str) -> str:
            return f"{alias}.{quote(name)}" if alias else quote(name)

        tests = [self._hop(query.source, query.type, column)] if query.source else []
        tests += [self._test(object_type, condition, column) for condition in query.conditions]
        head = ""
        if query.after is not None:
            head, test = self._after(query, object_type, relation, column)
            tests.append(test)
        names = [f"{alias}.{c}" for c in columns] if alias else list(columns)
        listed = " " + names[0] if len(names) == 1 else "\n" + _indent(",\n".join(names))
        lines = [f"{head}select{listed}", f"from {relation}" + (f" as {alias}" if alias else "")]
        if tests:
            lines.append("where " + "\n    and ".join(tests))
        if order and (not nested or query.limit is not None):
            lines.append("order by " + self._order(query, object_type, column))
        if query.limit is not None:
            lines.append(f"limit {self._bind('UInt64', query.limit)}")
        return "\n".join(lines)

    def _relation(self, model: str, needed_by: ObjectType | LinkEnd) -> str:
        try:
            return self.relations[model]
        except KeyError:
            raise missing_model(needed_by, model) from None

    def _alias(self) -> str:
        self.aliases += 1
        return f"t{self.aliases}"

    def _bind(self, type: str, value: Any) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{type}}}"

    def _test(self, object_type: ObjectType, condition: Condition, column: Callable[[str], str]) -> str:
        kind = object_type.property(condition.property).kind
        name = column(condition.property)
        if condition.op in ("is null", "is not null"):
            return f"{name} {condition.op}"
        if condition.op in ("in", "not in"):
            return f"{name} {condition.op} {self._bind(*kind.bind_many(condition.value))}"
        value = self._bind(*kind.bind(condition.value))
        if condition.op == "contains":
            return f"positionCaseInsensitiveUTF8(toString({name}), {value}) > 0"
        if condition.op == "starts with":
            return f"startsWith(lowerUTF8(toString({name})), lowerUTF8({value}))"
        if condition.op not in get_args(Op):
            raise UsageError(f"{condition.op!r} is not an operator")
        return f"{name} {condition.op} {value}"

    def _order(self, query: ObjectQuery, object_type: ObjectType, column: Callable[[str], str]) -> str:
        # the engine puts NULL last in both directions
        key, sort = object_type.key, query.sort
        if sort is None or sort.property == key:
            return column(key) + (" desc" if sort and sort.descending else "")
        return f"{column(sort.property)}{' desc' if sort.descending else ''}, {column(key)}"

    def _after(self, query: ObjectQuery, object_type: ObjectType, relation: str, column: Callable[[str], str]) -> tuple[str, str]:
        """A WITH clause and the test for what comes after an object in the order, NULLs being last."""
        type, value = object_type.property(object_type.key).kind.bind(query.after)
        cursor, key, sort = self._bind(type, value), column(object_type.key), query.sort
        if sort is None or sort.property == object_type.key:
            return "", f"{key} {'<' if sort and sort.descending else '>'} {cursor}"
        alias, name = self._alias(), column(sort.property)
        at, known = f"_value_{alias}", f"_known_{alias}"
        row = f"from {relation} as {alias} where {alias}.{quote(object_type.key)} = {cursor}"
        # the count tells an object without a value from an object that is gone
        head = f"with\n    (select {alias}.{quote(sort.property)} {row} limit 1) as {at},\n    (select count() {row}) as {known}\n"
        beyond = f"{name} {'<' if sort.descending else '>'} {at}"
        return head, (
            f"{known} > 0\n    and if({at} is null, {name} is null and {key} > {cursor},"
            f" {name} is null or {beyond} or ({name} = {at} and {key} > {cursor}))"
        )

    def _hop(self, hop: Hop, to_type: str, column: Callable[[str], str]) -> str:
        end = self.ontology.link_end(hop.query.type, hop.link)
        if end.to_type != to_type:
            raise UsageError(f"the link {hop.link!r} of {hop.query.type} leads to {end.to_type}, not to {to_type}")
        link = end.link
        if link.via is None:
            pairs = [(far, near) if end.reverse else (near, far) for near, far in link.join.items()]
            inner = self._inner(hop.query, [near for near, _ in pairs])
            return f"{_tuple([column(far) for _, far in pairs])} in (\n{_indent(_indent(inner))}\n    )"
        near_columns, far_columns = link.via.from_columns, link.via.to_columns
        if end.reverse:
            near_columns, far_columns = far_columns, near_columns
        relation, alias = self._relation(link.via.model, end), self._alias()
        inner = self._inner(hop.query, list(near_columns))
        nears = _tuple([f"{alias}.{quote(c)}" for c in near_columns.values()])
        bridge = (
            f"select {', '.join(f'{alias}.{quote(c)}' for c in far_columns.values())}\nfrom {relation} as {alias}\n"
            f"where {nears} in (\n{_indent(inner)}\n)"
        )
        return f"{_tuple([column(name) for name in far_columns])} in (\n{_indent(_indent(bridge))}\n    )"

    def _inner(self, query: ObjectQuery, properties: Sequence[str]) -> str:
        return self.select(query, [quote(name) for name in properties], nested=True)


def _tuple(columns: Sequence[str]) -> str:
    return columns[0] if len(columns) == 1 else f"({', '.join(columns)})"
