"""Questions about objects, as values, and the SQL they become.

Pure. A chain of hops is one statement: each hop is an `IN (select ...)` over the one before, so every object comes once
however many ways lead to it. Every value is a bound parameter and every identifier is quoted.

NULL is what it is in SQL: a comparison with it is never true, and its opposite is not either. So `country != Brazil`,
`country not in ...` and `not country = Brazil` leave out the objects without a country (`country is null` finds those), and a
NULL joins nothing. A condition on linked objects is true or false, never NULL.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Protocol, TypeAlias, get_args
from urllib.parse import quote as percent_encoded

from workbench.errors import LakeError, QueryError, UsageError
from workbench.lake.sql import quote, quote_text
from workbench.ontology.model import LinkEnd, ObjectType, Ontology
from workbench.ontology.values import bare_type

__all__ = [
    "AllOf",
    "AnyOf",
    "Compiler",
    "Condition",
    "Cursor",
    "Hop",
    "Linked",
    "NotOf",
    "ObjectQuery",
    "Op",
    "Sort",
    "Statement",
    "Test",
    "make_condition",
    "missing_model",
    "parse_sort",
    "keyword_tests",
]

Op = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "starts with", "is null", "is not null"]

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
# the server takes a value of 128 KiB and, as they stand in an address, all of them of 1 MiB
_LONGEST_VALUE, _LONGEST_ALL, _MOST_VALUES = 125_000, 900_000, 900
_FEWER = "ask for less at once, or walk a link to what you look for"
_MOST_HOPS = 32  # of one query, those of its conditions too


@dataclass(frozen=True)
class Condition:
    """One condition on a property. `value` is of the property's type; a tuple of such for in; None for is null.

    `contains` and `starts with` are for text and ignore case.
    """

    property: str
    op: Op
    value: Any = None


@dataclass(frozen=True)
class Linked:
    """At least one object that the link leads to meets the test; without a test, there is at least one."""

    link: str
    test: Test | None = None


@dataclass(frozen=True)
class AllOf:
    """Every test holds."""

    tests: tuple[Test, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one test holds."""

    tests: tuple[Test, ...]


@dataclass(frozen=True)
class NotOf:
    """The test is false; where it is neither true nor false, for a value is missing, this is so too."""

    test: Test


Test: TypeAlias = "Condition | Linked | AllOf | AnyOf | NotOf"


@dataclass(frozen=True)
class Sort:
    """An order by one property; objects without a value come last either way, equal ones in key order."""

    property: str
    descending: bool = False

    def __str__(self) -> str:
        return f"-{self.property}" if self.descending else self.property


# A value in a cursor: what it is (i, d, f, s, b, D: a date, t: a time) and its exact text.
_Exact = tuple[str, str]
_EXACT: Mapping[str, Callable[[str], object]] = {
    "i": lambda text: re.fullmatch(r"-?[0-9]{1,76}", text),
    "d": lambda text: re.fullmatch(r"-?[0-9]{1,38}(\.[0-9]{1,38})?|-?[0-9](\.[0-9]{1,20})?E[+-][0-9]{1,2}", text),
    "f": lambda text: repr(float(text)) == text,
    "s": lambda text: [text.encode("utf-8")],
    "b": lambda text: text in ("0", "1"),
    "D": lambda text: 1900 <= dt.date.fromisoformat(text).year < 2300 and len(text) == 10,
    "t": lambda text: (
        re.fullmatch(r"[0-9-]{10} [0-9:]{8}(\.[0-9]{1,9})?", text)
        and 1900 <= dt.datetime.fromisoformat(text[:19]).year < (2262 if len(text) > 26 else 2300)
    ),
}
# what a column that a property may stand over can hold
_TAGS = {"integer": "id", "decimal": "id", "number": "ifd", "string": "sifdbDt", "boolean": "bi", "date": "D", "timestamp": "tD"}


@dataclass(frozen=True)
class Cursor:
    """A place in the order of a type's objects: right after the one with this key and this value of the sort property.

    It holds both values, so going on needs no look at that object, which may have changed or gone meanwhile.
    """

    type: str
    sort: str
    key: _Exact
    value: _Exact | None = None

    def __str__(self) -> str:
        data = json.dumps([self.type, self.sort, self.key, self.value], ensure_ascii=False, separators=(",", ":"))
        return "~" + base64.urlsafe_b64encode(data.encode("utf-8")).decode("ascii").rstrip("=")

    @staticmethod
    def parse(text: str) -> Cursor | None:
        """The cursor that `str` wrote; None when the text is anything else."""
        if text[:1] != "~" or len(text) > 200_000:
            return None
        try:
            data = json.loads(base64.b64decode(text[1:] + "=" * (-(len(text) - 1) % 4), altchars=b"-_", validate=True))
            type_name, sort, key, value = data
            for exact in [key] + ([] if value is None else [value]):
                tag, written = exact
                if not isinstance(written, str) or not _EXACT[tag](written):
                    return None
            if not isinstance(type_name, str) or not isinstance(sort, str):
                return None
            return Cursor(type_name, sort, tuple(key), None if value is None else tuple(value))
        except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation, binascii.Error, RecursionError):
            return None


def exact_value(value: Any) -> _Exact:
    """A value as the lake gave it, for a cursor."""
    if isinstance(value, bool):
        return "b", str(int(value))
    if isinstance(value, int):
        return "i", str(value)
    if isinstance(value, float):
        return "f", repr(value)
    if isinstance(value, Decimal):
        return "d", str(value)
    if isinstance(value, dt.datetime):
        return "t", f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond:06d}"
    if isinstance(value, dt.date):
        return "D", value.isoformat()
    return "s", str(value)


def cursor_after(object_type: ObjectType, sort: Sort | None, key: Any, value: Any) -> Cursor:
    """The cursor after an object, `value` being that of the sort property (a `str` of a time counts as the time)."""

    def place(name: str, found: Any) -> _Exact:
        tag, text = exact_value(found)
        return ("t" if tag == "s" and object_type.property(name).type == "timestamp" else tag), text

    if sort is None or sort.property == object_type.key:
        return Cursor(object_type.name, str(sort or ""), place(object_type.key, key))
    return Cursor(object_type.name, str(sort), place(object_type.key, key), None if value is None else place(sort.property, value))


def _bound_exact(exact: _Exact) -> tuple[str, Any]:
    """The ClickHouse type and the parameter of a cursor's value."""
    tag, text = exact
    if tag == "i":
        return ("Int64" if -(2**63) <= int(text) < 2**63 else "Int256"), int(text)
    if tag == "d":
        number = Decimal(text)
        scale = max(-int(number.as_tuple().exponent), 0)
        return ("Decimal(38, %d)" if scale + max(number.adjusted() + 1, 1) <= 38 else "Decimal(76, %d)") % scale, number
    if tag == "t":
        return f"DateTime64({max(6, len(text.partition('.')[2]))}, 'UTC')", text
    return {"f": ("Float64", text), "s": ("String", text), "b": ("Bool", int(text == "1")), "D": ("Date32", text)}[tag]


@dataclass(frozen=True)
class Hop:
    """From the objects of a query along a link of their type."""

    query: ObjectQuery
    link: str


@dataclass(frozen=True)
class ObjectQuery:
    """Objects of one type: all of them, or those one hop away from `source`, that meet every test.

    Each word of `search` must occur in the title. Without `sort` they come in key order, or when searched in title order.
    `after` is a place in that order, or the key of an object: what follows it. `as_of` is the point that it asks about, as written,
    '' for now; a source has none of its own.
    """

    type: str
    conditions: tuple[Test, ...] = ()
    sort: Sort | None = None
    limit: int | None = None
    after: Any = None
    source: Hop | None = None
    search: str = ""
    as_of: str = ""

    @property
    def whole(self) -> ObjectQuery:
        """The same objects without paging."""
        return replace(self, limit=None, after=None)

    def order(self, object_type: ObjectType) -> Sort | None:
        """The order that holds: None is that of the key."""
        if self.sort is None and self.search and object_type.title != object_type.key:
            return Sort(object_type.title)
        return self.sort


@dataclass(frozen=True)
class Statement:
    """SQL with `{name:Type}` placeholders, and their values."""

    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join([self.sql, *(f"-- {name} = {value!r}" for name, value in self.parameters.items())])


def keyword_tests(ontology: Ontology, object_type: ObjectType, /, **keywords: Any) -> tuple[Test, ...]:
    """Conditions as Python keywords: `country="Brazil"`, `total__gt=10`, `country__in=[...]`, `company=None` (is null).

    The endings are ne, lt, lte, gt, gte, in, not_in, contains, startswith and isnull (True or False). Links stand before the
    property: `invoices__total__gt=10` is at least one invoice over 10.
    """
    return tuple(_keyword(ontology, object_type, name, value) for name, value in keywords.items())


def _keyword(ontology: Ontology, object_type: ObjectType, name: str, value: Any) -> Test:
    head, separator, rest = name.partition("__")
    known = {*object_type.properties, *(alias for p in object_type.properties.values() for alias in p.aliases)}
    if separator and head not in known and name not in known and _is_link(ontology, object_type, head):
        end = ontology.link_end(object_type.name, head)
        return Linked(end.name, _keyword(ontology, ontology.object_type(end.to_type), rest, value))
    property, separator, ending = name.rpartition("__")
    if name in known or not separator or not property:
        property, ending = name, ""
    object_type.property(property)
    if ending == "isnull":
        return make_condition(object_type, property, "is null" if value else "is not null")
    if ending and ending not in _KEYWORDS:
        raise UsageError(
            f"{name!r} is not a condition on {object_type.name}",
            hint=f"the endings are {', '.join(f'__{e}' for e in (*_KEYWORDS, 'isnull'))}",
        )
    op: Op = _KEYWORDS[ending] if ending else "="
    if value is None and op in ("=", "!="):
        return make_condition(object_type, property, "is null" if op == "=" else "is not null")
    return make_condition(object_type, property, op, value)


def _is_link(ontology: Ontology, object_type: ObjectType, name: str) -> bool:
    try:
        ontology.link_end(object_type.name, name)
    except UsageError:
        return False
    return True


def make_condition(object_type: ObjectType, property: str, op: Op, value: Any = None) -> Condition:
    """A condition whose value is read as the property's type; one that does not fit is a `UsageError` that says where."""
    found = object_type.property(property)
    property = found.name
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
    return Sort(object_type.property(name[1:] if name[:1] == "-" else name).name, descending=name[:1] == "-")


def missing_model(owner: ObjectType | LinkEnd, model: str) -> LakeError:
    """The error for a type or link whose model is not in the lake."""
    what = f"link {owner.name}" if isinstance(owner, LinkEnd) else owner.name
    return LakeError(f"{what}: its model {model} has no table in the lake yet", hint="run skygraph dbt run")


_NULLS = {
    "integer": "Int64",
    "decimal": "Decimal(38, 9)",
    "number": "Float64",
    "string": "String",
    "boolean": "Bool",
    "date": "Date32",
    "timestamp": "DateTime64(3, 'UTC')",
}
PERIODS: Mapping[str, str] = {
    "year": "toStartOfYear",
    "quarter": "toStartOfQuarter",
    "month": "toStartOfMonth",
    "week": "toMonday",
    "day": "toDate32",
    "hour": "toStartOfHour",
}
# without it the engine's periods begin in 1970 and end in 2149, and what lies beyond is silently put at the ends
PERIOD_SETTINGS: Mapping[str, Any] = {"enable_extended_results_for_datetime_functions": 1}

Columns = Callable[[str], Mapping[str, str] | None]


class _Column(Protocol):
    """The SQL of a property by its name; with `readable`, as a value of an answer."""

    def __call__(self, name: str, /, *, readable: bool = False) -> str: ...


def _unknown_columns(model: str) -> None:
    return None


@dataclass(frozen=True)
class Compiler:
    """Makes statements out of queries.

    `relations` is model -> what stands for it after FROM: a quoted table, or a SELECT in parentheses. `columns` gives a model's
    columns and their ClickHouse types as the lake has them now, or None where that is not known: then all are there. A property
    whose column is gone reads as NULL, and a question that turns on it is a `QueryError`. Rows without a key are no objects.
    """

    ontology: Ontology
    relations: Mapping[str, str]
    columns: Columns = _unknown_columns

    def objects(self, query: ObjectQuery) -> Statement:
        """The SELECT of a query's objects: the properties in the order of the model, in the order of the query.

        A sorted page after the key of an object that is gone is empty (`exists` tells).
        """
        text = _Text(self)
        return text.statement(text.rows(query, list(self.ontology.object_type(query.type).properties)))

    def values(self, query: ObjectQuery, names: Sequence[str]) -> Statement:
        """The SELECT of some properties of a query's objects."""
        text = _Text(self)
        return text.statement(text.rows(query, names))

    def count(self, query: ObjectQuery) -> Statement:
        """The SELECT of how many objects a query has, within its limit when it has one."""
        text = _Text(self)
        if query.limit is None:
            return text.statement(text.select(query, lambda _: ["count()"], order=False))
        key = self.ontology.object_type(query.type).key
        return text.statement(f"select count()\nfrom (\n{_indent(text.select(query, lambda column: [column(key)]))}\n)")

    def exists(self, type_name: str, key: Any) -> Statement:
        """The SELECT of how many objects have a key."""
        object_type = self.ontology.object_type(type_name)
        return self.count(ObjectQuery(object_type.name, (Condition(object_type.key, "=", key),)))

    def duplicates(self, type_name: str) -> Statement:
        """One row: how many keys stand in more than one row, how many rows these are, and how many rows have no key."""
        text, object_type = _Text(self), self.ontology.object_type(type_name)
        key = text.sql(object_type, object_type.key, "t")
        relation = text.relation(object_type.model, object_type)
        return text.statement(
            "select countIf(_rows > 1 and _key is not null), sumIf(_rows, _rows > 1 and _key is not null), sumIf(_rows, _key is null)\n"
            f"from (\n    select {key} as _key, count() as _rows\n    from {relation} as t\n    group by _key\n)"
        )

    def link_counts(self, type_name: str, key: Any) -> Statement:
        """One row: how many objects each link leads to from one object, a column per link under its name.

        Links whose models have no relation, or whose columns are gone, are left out; with none left, the row has no meaning
        (`select 1`).
        """
        text, object_type = _Text(self), self.ontology.object_type(type_name)
        one = ObjectQuery(object_type.name, (Condition(object_type.key, "=", key),))
        counts = []
        for end in self.ontology.links_of(type_name):
            try:
                inner = text.select(ObjectQuery(end.to_type, source=Hop(one, end.name)), lambda _: ["count()"], order=False)
            except LakeError:
                continue
            counts.append(f"(\n{_indent(inner)}\n) as {quote(end.name)}")
        return text.statement("select\n" + _indent(",\n".join(counts or ["1"])))

    def groups(self, query: ObjectQuery, property: str, *, by: str, sums: Sequence[str], limit: int) -> Statement:
        """Rows of a value, how many objects have it, and the sums over these; the most first, then by value, NULL last.

        Periods are of UTC, as times are shown. A statement with one is asked with `PERIOD_SETTINGS`.
        """
        text, object_type = _Text(self), self.ontology.object_type(query.type)

        def columns(column: _Column) -> list[str]:
            value = column(property) if by else column(property, readable=True)
            if by and object_type.property(property).type == "timestamp":
                value = f"toDateTime64({value}, 6, 'UTC')"
            if by:
                value = f"{PERIODS[by]}({value if by in ('day', 'hour') else f'toDate32({value})'})"
            return [f"{value} as _value", "count() as _count", *(f"sum({column(s)}) as _sum{i}" for i, s in enumerate(sums))]

        inner = text.grouped(query, columns, object_type)
        return text.statement(f"{inner}\ngroup by _value\norder by _count desc, _value\nlimit {text.bind('UInt64', limit)}")

    def sample_keys(self, type_name: str, count: int) -> Statement:
        """One row: so many keys of a type at random, in order. Meant for physical rows: which versions they are does not matter."""
        text, object_type = _Text(self), self.ontology.object_type(type_name)
        key = text.sql(object_type, object_type.key, "t", readable=True)
        relation = text.relation(object_type.model, object_type)
        return text.statement(
            f"select arraySort(arrayDistinct(groupArraySample({int(count)})(assumeNotNull({key})))) as _keys\n"
            f"from {relation} as t\nwhere {key} is not null"
        )

    def facets(self, query: ObjectQuery, properties: Sequence[str], *, top: int, ranges: Sequence[tuple[Any, Any]] = ()) -> Statement:
        """A row per property, by its place in `properties`: how many values, how many objects, how many without a value, and
        the most frequent values as tuples of the count (below zero) and one column per property, of which that in the place counts.

        All are counted in one reading of the objects; with `ranges`, of those whose key is in one of them (the upper end is not).
        """
        text, object_type = _Text(self), self.ontology.object_type(query.type)
        names = [f"_v{i}" for i in range(len(properties))]

        def columns(column: _Column) -> list[str]:
            return [f"{column(p, readable=True)} as {n}" for p, n in zip(properties, names, strict=True)]

        within = [f"({{key}} >= {text.exact(low)} and {{key}} < {text.exact(high)})" for low, high in ranges]
        chosen = f"({' or '.join(within)})" if within else ""
        inner = text.grouped(query, columns, object_type, also=chosen)
        sets = ", ".join(f"({n})" for n in names)
        place = "indexOf([" + ", ".join(f"grouping({n})" for n in names) + "], 0)" if len(names) > 1 else "1"
        counted = (
            f"select {place} as _place, count() as _count, {', '.join(names)}\nfrom (\n{_indent(inner)}\n)\ngroup by grouping sets ({sets})"
        )
        empty = "multiIf(" + ", ".join(f"_place = {i + 1}, {n} is null" for i, n in enumerate(names)) + ", 0)"
        return text.statement(
            f"select\n    _place,\n    countIf(not _empty) as _distinct,\n    sum(_count) as _total,\n"
            f"    sumIf(_count, _empty) as _nulls,\n"
            f"    groupArraySortedIf({int(top)})(tuple(-toInt64(_count), {', '.join(names)}), not _empty) as _top\n"
            f"from (\n    select *, {empty} as _empty\n    from (\n{_indent(_indent(counted))}\n    )\n)\n"
            f"group by _place\norder by _place"
        )


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.split("\n"))


class _Text:
    """The text of one statement, numbering its parameters and aliases."""

    def __init__(self, compiler: Compiler) -> None:
        self.ontology = compiler.ontology
        self.relations = compiler.relations
        self.columns = compiler.columns
        self.parameters: dict[str, Any] = {}
        self.aliases = 0
        self.depth = 0

    def statement(self, sql: str) -> Statement:
        if len(self.parameters) > _MOST_VALUES:
            raise UsageError(
                f"{len(self.parameters):,} values in one question are more than the lake takes at once", hint=f"`in` is one value; {_FEWER}"
            )
        if sum(len(percent_encoded(str(value))) for value in self.parameters.values()) > _LONGEST_ALL:
            raise UsageError("the values of the conditions are more than the lake takes at once", hint=_FEWER)
        return Statement(sql, dict(self.parameters))

    def sql(self, object_type: ObjectType, name: str, alias: str, *, shown: bool = False, readable: bool = False) -> str:
        """A property in full: its column or its expression. A column that is gone is NULL where it is only shown."""
        known = self.columns(object_type.model)

        def column(stored: str) -> str:
            if known is not None and stored not in known:
                if not shown:
                    raise missing_column(object_type, stored)
                return f"cast(null as Nullable({_NULLS[object_type.property(stored).type]}))"
            return f"{alias}.{quote(stored)}" if alias else quote(stored)

        text, found = object_type.sql(name, column), object_type.property(name)
        if not (shown or readable):
            return text
        type_ = "" if found.is_computed else (known or {}).get(found.name)
        return text if type_ is None else found.kind.readable(type_, text)

    def rows(self, query: ObjectQuery, names: Sequence[str]) -> str:
        """The SELECT of some properties, each under its own name."""
        object_type = self.ontology.object_type(query.type)

        def shown(alias: str) -> list[str]:
            texts = [(self.sql(object_type, name, alias, shown=True), quote(name)) for name in names]
            return [text if text == name or text == f"{alias}.{name}" else f"{text} as {name}" for text, name in texts]

        # a value that is written in another way than it is stored takes the name of its column: then conditions name the table too
        stored = [name for name in names if not object_type.property(name).is_computed]
        alias = "t" if any(self.sql(object_type, name, "", shown=True) != quote(name) for name in stored) else ""
        return self.select(query, lambda _: shown(alias), alias=alias)

    def select(
        self, query: ObjectQuery, columns: Callable[[_Column], Sequence[str]], *, order: bool = True, nested: bool = False, alias: str = ""
    ) -> str:
        """A SELECT. Nested ones name their columns in full: a column missing from the inner table would otherwise be
        taken from the outer one, and the answer would be wrong instead of an error."""
        object_type = self.ontology.object_type(query.type)
        alias = self.alias() if nested else alias
        head, lines = self._body(query, object_type, alias)

        def column(name: str, /, *, readable: bool = False) -> str:
            return self.sql(object_type, name, alias, readable=readable)

        names = list(columns(column))
        listed = " " + names[0] if len(names) == 1 else "\n" + _indent(",\n".join(names))
        lines = [f"{head}select{listed}", *lines]
        if order and (not nested or query.limit is not None):
            lines.append("order by " + self._order(query, object_type, column))
        if query.limit is not None:
            lines.append(f"limit {self.bind('UInt64', query.limit)}")
        return "\n".join(lines)

    def grouped(self, query: ObjectQuery, columns: Callable[[_Column], Sequence[str]], object_type: ObjectType, *, also: str = "") -> str:
        """The SELECT that a GROUP BY follows, or is put around: of a query's objects, within its limit when it has one."""
        if query.limit is not None or query.after is not None:
            # the chosen objects first, then what is counted of them
            chosen = self.select(query, lambda column: [column(object_type.key)], nested=True)
            alias = self.alias()
            tests = [f"{self.sql(object_type, object_type.key, alias)} in (\n{_indent(_indent(chosen))}\n    )"]
            lines = [f"from {self.relation(object_type.model, object_type)} as {alias}"]
        else:
            alias = self.alias()
            lines, tests = [f"from {self.relation(object_type.model, object_type)} as {alias}"], self._tests(query, object_type, alias)
        if also:
            tests.append(also.replace("{key}", self.sql(object_type, object_type.key, alias)))
        if tests:
            lines.append("where " + "\n    and ".join(tests))

        def column(name: str, /, *, readable: bool = False) -> str:
            return self.sql(object_type, name, alias, readable=readable)

        names = columns(column)
        return "select\n" + _indent(",\n".join(names)) + "\n" + "\n".join(lines)

    def _body(self, query: ObjectQuery, object_type: ObjectType, alias: str) -> tuple[str, list[str]]:
        """What stands before SELECT, and FROM with WHERE."""
        relation = self.relation(object_type.model, object_type)
        tests, head = self._tests(query, object_type, alias), ""
        if query.after is not None:

            def column(name: str, /, *, readable: bool = False) -> str:
                return self.sql(object_type, name, alias, readable=readable)

            head, test = self._after(query, object_type, relation, column)
            tests.append(test)
        lines = [f"from {relation}" + (f" as {alias}" if alias else "")]
        if tests:
            lines.append("where " + "\n    and ".join(tests))
        return head, lines

    def _tests(self, query: ObjectQuery, object_type: ObjectType, alias: str) -> list[str]:
        def column(name: str, /, *, readable: bool = False) -> str:
            return self.sql(object_type, name, alias, readable=readable)

        tests = [self._hop(query.source, object_type.name, column)] if query.source else []
        tests += [self._test(object_type, test, column) for test in query.conditions]
        title = column(object_type.title) if query.search else ""
        # the longest first: it rules out the most, and the engine looks no further then
        words = sorted(dict.fromkeys(query.search.split()), key=len, reverse=True)
        tests += [f"positionCaseInsensitiveUTF8(toString({title}), {self.bind('String', w)}) > 0" for w in words]
        known = self.columns(object_type.model)
        if known is not None and "Nullable(" in known.get(object_type.key, ""):
            tests.append(f"{column(object_type.key)} is not null")
        return tests

    def relation(self, model: str, needed_by: ObjectType | LinkEnd) -> str:
        try:
            return self.relations[model]
        except KeyError:
            raise missing_model(needed_by, model) from None

    def alias(self) -> str:
        self.aliases += 1
        return f"t{self.aliases}"

    def bind(self, type: str, value: Any) -> str:
        if len(str(value).encode("utf-8", "replace")) > _LONGEST_VALUE:
            raise UsageError(f"a value of {len(str(value)):,} characters is more than the lake takes", hint=_FEWER)
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{type}}}"

    def exact(self, value: Any) -> str:
        """A value as the lake gave it, bound."""
        return self.bind(*_bound_exact(exact_value(value)))

    def _test(self, object_type: ObjectType, test: Test, column: _Column, *, negated: bool = False) -> str:
        if isinstance(test, Condition):
            return self._condition(object_type, test, column)
        if isinstance(test, NotOf):
            return f"not ({self._test(object_type, test.test, column, negated=True)})"
        if isinstance(test, (AllOf, AnyOf)):
            parts = [self._test(object_type, t, column, negated=negated) for t in test.tests]
            return "(" + (" and " if isinstance(test, AllOf) else " or ").join(parts) + ")" if parts else str(int(isinstance(test, AllOf)))
        end = self.ontology.link_end(object_type.name, test.link)
        far = ObjectQuery(end.to_type, (test.test,) if test.test else ())
        text = self._hop(Hop(far, end.back), object_type.name, column)
        return f"ifNull({text}, 0)" if negated else text

    def _condition(self, object_type: ObjectType, condition: Condition, column: _Column) -> str:
        kind = object_type.property(condition.property).kind
        name, stored = column(condition.property), self._stored_type(object_type, condition.property)
        if condition.op in ("is null", "is not null"):
            return f"{name} {condition.op}"
        if kind.name == "string" and stored.startswith("Enum"):
            name, stored = f"toString({name})", "String"  # the engine compares an Enum with its own names only
        if condition.op in ("in", "not in"):
            values = _possible(condition.value, stored) if kind.name == "decimal" else condition.value
            size = max(1, _LONGEST_VALUE // (2 * max((len(str(v).encode("utf-8", "replace")) + 8 for v in values), default=1)))
            parts = [values[i : i + size] for i in range(0, len(values), size)] or [()]
            lists = [self.bind(*kind.bind_many(part)) for part in parts]
            if kind.name == "string" and stored not in _TEXTS:
                lists = [f"arrayFilter(x -> x is not null, arrayMap(x -> {_as_stored('x', stored)}, {part}))" for part in lists]
            elif kind.name == "timestamp" and stored.startswith("Date") and not stored.startswith("DateTime64"):
                name = f"toDateTime64({name}, 6, 'UTC')"
            return f"{name} {condition.op} {lists[0] if len(lists) == 1 else 'arrayConcat(' + ', '.join(lists) + ')'}"
        value = self.bind(*kind.bind(condition.value))
        if condition.op == "contains":
            return f"positionCaseInsensitiveUTF8(toString({name}), {value}) > 0"
        if condition.op == "starts with":
            return f"startsWith(lowerUTF8(toString({name})), lowerUTF8({value}))"
        if condition.op not in get_args(Op):
            raise UsageError(f"{condition.op!r} is not an operator")
        if kind.name == "string" and stored not in _TEXTS:
            value = _as_stored(value, stored)
            if condition.op == "!=":
                return f"({name} != {value} or ({value} is null and {name} is not null))"
        return f"{name} {condition.op} {value}"

    def _stored_type(self, object_type: ObjectType, name: str) -> str:
        """The type of a property's column, without Nullable, LowCardinality and arguments that do not matter; '' when not known."""
        bare = bare_type((self.columns(object_type.model) or {}).get(object_type.property(name).name, ""))
        return "FixedString" if bare.startswith("FixedString") else bare

    def _order(self, query: ObjectQuery, object_type: ObjectType, column: _Column) -> str:
        # the engine puts NULL last in both directions
        key, sort = object_type.key, query.order(object_type)
        if sort is None or sort.property == key:
            return column(key) + (" desc" if sort and sort.descending else "")
        return f"{column(sort.property)}{' desc' if sort.descending else ''}, {column(key)}"

    def _after(self, query: ObjectQuery, object_type: ObjectType, relation: str, column: _Column) -> tuple[str, str]:
        """A WITH clause and the test for what comes after a place in the order: values, then not-a-number, then NULL."""
        key, sort = column(object_type.key), query.order(object_type)
        by_key = sort is None or sort.property == object_type.key
        if isinstance(query.after, Cursor):
            if query.after.type != object_type.name or query.after.sort != str(sort or ""):
                said = f"{query.after.type} by {query.after.sort or 'key'}"
                raise UsageError(f"the cursor is of {said}, not of {object_type.name} by {sort or 'key'}", hint="begin at the first page")
            held = [(object_type.key, query.after.key), *([] if by_key or sort is None else [(sort.property, query.after.value)])]
            for name, exact in held:
                if exact is not None and not self._may_hold(object_type, name, exact):
                    raise UsageError(f"the cursor has no value of {object_type.name}.{name}", hint="begin at the first page")
            cursor = self._place(object_type, object_type.key, query.after.key)
        else:
            cursor = self.bind(*object_type.property(object_type.key).kind.bind(query.after))
            stored = self._stored_type(object_type, object_type.key)
            if object_type.property(object_type.key).type == "string" and stored not in _TEXTS and not stored.startswith("Enum"):
                cursor = _as_stored(cursor, stored)
        if by_key:
            return "", f"{key} {'<' if sort and sort.descending else '>'} {cursor}"
        assert sort is not None
        name, further = column(sort.property), "<" if sort.descending else ">"
        numbers = object_type.property(sort.property).type == "number"
        if isinstance(query.after, Cursor):
            at = query.after.value
            if at is None:
                return "", f"{name} is null and {key} > {cursor}"
            if at == ("f", "nan"):
                return "", f"({name} is null or (isNaN(toFloat64({name})) and {key} > {cursor}))"
            place = self._place(object_type, sort.property, at)
            last = f"{name} is null or isNaN(toFloat64({name}))" if numbers else f"{name} is null"
            return "", f"({name} {further} {place} or ({name} = {place} and {key} > {cursor}) or {last})"
        alias = self.alias()
        there = self.sql(object_type, sort.property, alias)
        at_name, known = f"_value_{alias}", f"_known_{alias}"
        row = f"from {relation} as {alias} where {self.sql(object_type, object_type.key, alias)} = {cursor}"
        # the count tells an object without a value from an object that is gone
        head = f"with\n    (select {there} {row} limit 1) as {at_name},\n    (select count() {row}) as {known}\n"
        return head, (
            f"{known} > 0\n    and if({at_name} is null, {name} is null and {key} > {cursor},"
            f" {name} is null or {name} {further} {at_name} or ({name} = {at_name} and {key} > {cursor}))"
        )

    def _may_hold(self, object_type: ObjectType, name: str, exact: _Exact) -> bool:
        """Whether a property can have the value of a cursor, which anybody may have written."""
        found, stored = object_type.property(name), self._stored_type(object_type, name)
        if found.type == "string" and (found.is_computed or stored in ("String", "FixedString")):
            return exact[0] == "s"
        if found.type == "string" and stored.startswith("Enum"):
            return exact[0] == "s" and quote_text(exact[1]) in re.findall(r"'(?:[^'\\]|\\.)*'", stored, re.DOTALL)
        return exact[0] in _TAGS[found.type]

    def _place(self, object_type: ObjectType, name: str, exact: _Exact) -> str:
        """The value of a cursor, bound as what the column holds."""
        stored = self._stored_type(object_type, name)
        if object_type.property(name).type != "string" or stored in _TEXTS or stored.startswith("Enum"):
            return self.bind(*_bound_exact(exact))
        return _as_stored(self.bind("String", exact[1]), stored)

    def _hop(self, hop: Hop, to_type: str, column: _Column) -> str:
        end = self.ontology.link_end(hop.query.type, hop.link)
        if end.to_type != to_type:
            raise UsageError(f"the link {hop.link!r} of {hop.query.type} leads to {end.to_type}, not to {to_type}")
        self.depth += 1
        if self.depth > _MOST_HOPS:
            raise UsageError(f"a query walks at most {_MOST_HOPS} links")
        link = end.link
        if link.via is None:
            pairs = [(far, near) if end.reverse else (near, far) for near, far in link.join.items()]
            inner = self._inner(hop.query, [near for near, _ in pairs])
            return f"{_tuple([column(far) for _, far in pairs])} in (\n{_indent(_indent(inner))}\n    )"
        near_columns, far_columns = link.via.from_columns, link.via.to_columns
        if end.reverse:
            near_columns, far_columns = far_columns, near_columns
        relation, alias = self.relation(link.via.model, end), self.alias()
        known = self.columns(link.via.model)
        for name in (*near_columns.values(), *far_columns.values()):
            if known is not None and name not in known:
                raise missing_column(end, name)
        inner = self._inner(hop.query, list(near_columns))
        nears = _tuple([f"{alias}.{quote(c)}" for c in near_columns.values()])
        bridge = (
            f"select {', '.join(f'{alias}.{quote(c)}' for c in far_columns.values())}\nfrom {relation} as {alias}\n"
            f"where {nears} in (\n{_indent(inner)}\n)"
        )
        return f"{_tuple([column(name) for name in far_columns])} in (\n{_indent(_indent(bridge))}\n    )"

    def _inner(self, query: ObjectQuery, properties: Sequence[str]) -> str:
        return self.select(query, lambda column: [column(name) for name in properties], nested=True)


_TEXTS = ("", "String", "FixedString")


def _possible(values: Sequence[Decimal], type_: str) -> Sequence[Decimal]:
    """The values that a column of a Decimal type can hold: the engine fails on a list with one that it cannot."""
    found = re.fullmatch(r"Decimal\((\d+), (\d+)\)", type_)
    if not found:
        return values
    digits, scale = int(found[1]), int(found[2])

    def after_point(value: Decimal) -> int:
        written = "".join(map(str, value.as_tuple().digits))
        return len(written.rstrip("0")) - len(written) - int(value.as_tuple().exponent)

    return [v for v in values if v == 0 or (v.adjusted() < digits - scale and after_point(v) <= scale)]


def _as_stored(text: str, type_: str) -> str:
    """A text as a value of the column's type: one that is none is NULL, and equal to nothing."""
    return f"accurateCastOrNull({text}, {quote_text(type_)})"


def missing_column(owner: ObjectType | LinkEnd, column: str) -> QueryError:
    """The error for a question that needs a column which its model does not have."""
    if isinstance(owner, LinkEnd):
        model = owner.link.via.model if owner.link.via else owner.to_type
        what = f"link {owner.name}"
    else:
        model, what = owner.model, f"{owner.name}.{column}"
    return QueryError(f"{what}: {model} has no column {column!r} in the lake", code=47, hint="run skygraph ontology check")


def _tuple(columns: Sequence[str]) -> str:
    return columns[0] if len(columns) == 1 else f"({', '.join(columns)})"
