"""The short text of a set of objects: `Customer[country=Brazil]/invoices[total>10]/lines sort=-amount search="ann" limit=20`.

Pure. The text and `ObjectQuery` say the same: what one writes the other reads back. Square brackets hold conditions, a slash walks
along a link, and curly brackets page or sort the objects before a further step: `Customer{sort=-total_spent limit=3}/invoices`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from workbench.errors import UsageError
from workbench.ontology.model import ObjectType, Ontology
from workbench.ontology.query import (
    AllOf,
    AnyOf,
    Condition,
    Cursor,
    Hop,
    Linked,
    NotOf,
    ObjectQuery,
    Op,
    Test,
    make_condition,
    parse_sort,
)

__all__ = ["parse_after", "parse_path", "parse_test", "write_path", "write_test", "write_words"]

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
_NAMES = r"(\w+(?:\.\w+)*)"
_SYMBOL = re.compile(rf"\s*{_NAMES}\s*(==|!=|<>|<=|>=|\^=|=|<|>|~)")
_IN = re.compile(rf"\s*{_NAMES}\s+(not\s+in|in)\b", re.IGNORECASE)
_NULL = re.compile(rf"\s*{_NAMES}\s+is\s+(not\s+)?null\b", re.IGNORECASE)
_BETWEEN = re.compile(rf"\s*{_NAMES}\s+between\b", re.IGNORECASE)
_HAS = re.compile(rf"\s*has\s+{_NAMES}", re.IGNORECASE)
_NOT = re.compile(r"\s*not(?=[\s(])", re.IGNORECASE)
_OPEN = re.compile(r"\s*\(")
_BRACKET = re.compile(r"\s*\[")
_JOINED = {word: re.compile(rf"\s*\b{word}(?=[\s(]|$)", re.IGNORECASE) for word in ("and", "or")}
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_AFTER_VALUE = re.compile(r"\s*(?:$|[)\]]|(?<=[\s\"])(?:and|or)(?=[\s(]|$))", re.IGNORECASE)
_STOPS = re.compile(r'["()\[\]]|\s(?:and|or)(?=[\s(]|$)', re.IGNORECASE)
_HINT = (
    "write for example name=value, total>10, name~part, name^=start, name in a,b, name is null, link.name=value or has link; "
    "a value with and, or, or brackets goes in double quotes"
)
_DEEPEST = 40  # parentheses within parentheses
_LONGEST = 1_000_000  # characters


def parse_test(text: str, object_type: ObjectType, ontology: Ontology) -> Test:
    """Conditions as written, joined by `and`, `or`, `not` and parentheses.

    `country=Brazil`, `total>10`, `name~love` (contains), `name^=The` (starts with), `country in Brazil, Canada`,
    `total between 5 and 10`, `company is null`. Of at least one linked object: `invoices.total>5`, `has invoices`, and of one and
    the same `has invoices[total>5 and city=Rome]`. Space around a value is not part of it. A value with `and`, `or`, or a bracket
    that would end it, goes in double quotes; a quote inside quotes is doubled.
    """
    reader = _Reader(text, ontology)
    found = reader.tests(object_type, "")
    reader.end(f"a condition on {object_type.name}")
    return found


def parse_path(text: str, ontology: Ontology) -> ObjectQuery:
    """The query that a short text stands for. A mistake is a `UsageError` or `UnknownName` that says what and where."""
    return _Reader(text, ontology).path()


def parse_after(text: Any, object_type: ObjectType) -> Any:
    """What follows: the cursor of a page, or the key of an object, as text or value."""
    cursor = Cursor.parse(text) if isinstance(text, str) else None
    return cursor or object_type.parse(object_type.key, text)


class _Reader:
    """Reads one text from left to right."""

    def __init__(self, text: str, ontology: Ontology) -> None:
        if len(text) > _LONGEST:
            raise UsageError(f"the text has {len(text):,} characters; at most {_LONGEST:,} are read")
        self.text = text
        self.ontology = ontology
        self.at = 0
        self.depth = 0

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def wrong(self, what: str, *, hint: str = _HINT) -> UsageError:
        rest = self.text[self.at :].strip()
        shown = rest if len(rest) <= 60 else rest[:57] + "..."
        place = len(self.text) - len(self.text[self.at :].lstrip()) + 1
        where = f" (at character {place} of {_shortened(self.text)})" if rest != self.text.strip() else ""
        return UsageError(f"{shown!r} {what}{where}", hint=hint)

    def end(self, what: str) -> None:
        if self.text[self.at :].strip():
            raise self.wrong(f"is not part of {what}")

    # --- conditions

    def tests(self, object_type: ObjectType, closer: str) -> Test:
        """Conditions up to the closing bracket, which is left, or to the end."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.wrong(f"is more than {_DEEPEST} brackets deep", hint="write it simpler")
        either = [self.all_of(object_type, closer)]
        while self.take(_JOINED["or"]):
            either.append(self.all_of(object_type, closer))
        self.depth -= 1
        return either[0] if len(either) == 1 else AnyOf(tuple(either))

    def all_of(self, object_type: ObjectType, closer: str) -> Test:
        every = [self.one(object_type, closer)]
        while self.take(_JOINED["and"]):
            every.append(self.one(object_type, closer))
        return every[0] if len(every) == 1 else AllOf(tuple(every))

    def one(self, object_type: ObjectType, closer: str) -> Test:
        if self.take(_OPEN):
            found = self.tests(object_type, ")")
            self.close(")")
            return found
        if symbol := self.take(_SYMBOL):
            value = self.value(closer)
            return self.linked(object_type, symbol[1], lambda t, p: make_condition(t, p, _SYMBOLS[symbol[2]], value))
        if null := self.take(_NULL):
            return self.linked(object_type, null[1], lambda t, p: make_condition(t, p, "is not null" if null[2] else "is null"))
        if words := self.take(_IN):
            listed = _list(self.listed(closer))
            op: Op = "in" if words[2].lower() == "in" else "not in"
            return self.linked(object_type, words[1], lambda t, p: make_condition(t, p, op, listed))
        if between := self.take(_BETWEEN):
            return self.between(object_type, between[1], closer)
        if self.take(_NOT):
            self.depth += 1
            if self.depth > _DEEPEST:
                raise self.wrong(f"is more than {_DEEPEST} brackets deep", hint="write it simpler")
            found = NotOf(self.one(object_type, closer))
            self.depth -= 1
            return found
        if has := self.take(_HAS):
            return self.has(object_type, has[1].split("."))
        raise self.wrong(f"is not a condition on {object_type.name}")

    def between(self, object_type: ObjectType, names: str, closer: str) -> Test:
        low = self.value(closer)
        if not self.take(_JOINED["and"]):
            raise self.wrong("comes where `and` and the upper end must stand", hint="write for example total between 5 and 10")
        high = self.value(closer)
        return self.linked(object_type, names, lambda t, p: AllOf((make_condition(t, p, ">=", low), make_condition(t, p, "<=", high))))

    def linked(self, object_type: ObjectType, names: str, make: Any) -> Test:
        *links, property = names.split(".")
        return self.walk(object_type, links, lambda end: make(end, property))

    def has(self, object_type: ObjectType, links: list[str]) -> Test:
        *before, last = links

        def exists(near: ObjectType) -> Test:
            end = self.ontology.link_end(near.name, last)
            if not self.take(_BRACKET):
                return Linked(end.name)
            found = Linked(end.name, self.tests(self.ontology.object_type(end.to_type), "]"))
            self.close("]")
            return found

        return self.walk(object_type, before, exists)

    def close(self, bracket: str) -> None:
        if not self.take(re.compile(rf"\s*\{bracket}")):
            raise self.wrong("comes where a bracket must close", hint=f"write {bracket}")

    def walk(self, object_type: ObjectType, links: list[str], make: Any) -> Test:
        if not links:
            found: Test = make(object_type)
            return found
        end = self.ontology.link_end(object_type.name, links[0])
        return Linked(end.name, self.walk(self.ontology.object_type(end.to_type), links[1:], make))

    def value(self, closer: str) -> str:
        """A value up to `and`, `or` or the closing bracket; quoted, or as it stands."""
        start = re.compile(r"\s*").match(self.text, self.at)
        at = start.end() if start else self.at
        quoted = _QUOTED.match(self.text, at)
        if quoted and _AFTER_VALUE.match(self.text, quoted.end()):
            self.at = quoted.end()
            return quoted[1].replace('""', '"')
        return self.raw(closer).strip()

    def listed(self, closer: str) -> str:
        """The text of a list; within parentheses when it begins with one."""
        if not self.take(_OPEN):
            return self.raw(closer, quotes=True)
        inner = self.raw(")", quotes=True)
        self.close(")")
        return inner

    def raw(self, closer: str, *, quotes: bool = False) -> str:
        """The text up to `and`, `or` or a closing bracket that was not opened in it. With `quotes`, over quoted elements."""
        begin, opened, pairs = self.at, 0, {")": "(", "]": "["}
        at = begin
        while True:
            stop = _STOPS.search(self.text, at)
            if stop is None:
                self.at = len(self.text)
                break
            sign = stop[0]
            at = stop.end()
            if sign == '"':
                begins = quotes and self.text[begin : stop.start()].rstrip()[-1:] in ("", ",")
                if begins and (element := _QUOTED.match(self.text, stop.start())):
                    at = element.end()
            elif len(sign) > 1:
                self.at = stop.start()
                break
            elif closer and sign == pairs.get(closer):
                opened += 1
            elif sign == closer:
                if not opened:
                    self.at = stop.start()
                    break
                opened -= 1
        return self.text[begin : self.at]

    # --- paths

    def path(self) -> ObjectQuery:
        found = self.take(re.compile(r"\s*(\w+)"))
        if not found:
            raise self.wrong("does not begin with an object type", hint="write for example Customer[country=Brazil]/invoices")
        query = self.step(ObjectQuery(self.ontology.object_type(found[1]).name))
        while self.take(re.compile(r"\s*/\s*")):
            named = self.take(re.compile(r"(\w+)"))
            if not named:
                raise self.wrong("comes where a link must stand", hint=f"write a link of {query.type} after the slash")
            end = self.ontology.link_end(query.type, named[1])
            query = self.step(ObjectQuery(end.to_type, source=Hop(query, end.name)))
        query = self.options(query, re.compile(r"\s+(?=\S)"), last=True)
        self.end("a set of objects")
        return query

    def step(self, query: ObjectQuery) -> ObjectQuery:
        object_type = self.ontology.object_type(query.type)
        while self.take(_BRACKET):
            test = self.tests(object_type, "]")
            self.close("]")
            query = replace(query, conditions=(*query.conditions, *_parts(test)))
        if self.take(re.compile(r"\s*\{")):
            query = self.options(query, re.compile(r"\s*(?=[^\s}])"))
            self.close("}")
        return query

    def options(self, query: ObjectQuery, before: re.Pattern[str], *, last: bool = False) -> ObjectQuery:
        object_type, given = self.ontology.object_type(query.type), set()
        while self.take(before):
            named = self.take(re.compile(r"(\w+)="))
            known = ("sort", "search", "limit", "after", *(["as_of"] if last else []))
            if not named or named[1] not in known or named[1] in given:
                self.at = named.start() if named else self.at
                hint = "after the path come sort=, search=, limit=, after= and as_of=, each once"
                raise self.wrong("is not part of a set of objects", hint=hint)
            given.add(named[1])
            quoted = self.take(_QUOTED)
            plain = None if quoted else self.take(re.compile(r"[^\s{}]+"))
            value = quoted[1].replace('""', '"') if quoted else plain[0] if plain else ""
            query = with_option(query, named[1], value, object_type)
        return query


def with_option(query: ObjectQuery, name: str, value: str, object_type: ObjectType) -> ObjectQuery:
    """A query with one of `sort`, `search`, `limit`, `after` and `as_of`, as written."""
    if name == "as_of":
        return replace(query, as_of=value.strip())
    if name == "sort":
        return replace(query, sort=parse_sort(value, object_type))
    if name == "search":
        return replace(query, search=" ".join(value.split()))
    if name == "after":
        return replace(query, after=parse_after(value, object_type))
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise UsageError(f"a limit is a whole number from 0, not {value!r}")
    return replace(query, limit=int(value))


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _parts(test: Test) -> tuple[Test, ...]:
    return test.tests if isinstance(test, AllOf) else (test,)


_ELEMENT = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*(?=,|$)|([^",\s][^,]*|)(?=,|$))')


def _list(text: str) -> list[str]:
    """Values between commas, each as it stands or in double quotes; none when there is nothing."""
    values, at = [], 0
    while text.strip():
        element = _ELEMENT.match(text, at)
        if element is None:
            raise UsageError(f"{_shortened(text)} is not a list of values: a quoted value does not end before a comma")
        values.append(element[2].strip() if element[1] is None else element[1].replace('""', '"'))
        at = element.end() + 1
        if at > len(text):
            break
    return values


# --- writing

_PLAIN = re.compile(r"[\w.:+-]+")
_WRITTEN: Mapping[Op, str] = {"contains": "~", "starts with": "^="}


def _quoted(text: str, *, always: bool = False) -> str:
    if not always and _PLAIN.fullmatch(text) and text.lower() not in ("and", "or", "not", "in"):
        return text
    return '"' + text.replace('"', '""') + '"'


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return _quoted(repr(value) if isinstance(value, float) else str(value))


def write_test(test: Test, *, links: str = "") -> str:
    """A test as `parse_test` reads it."""
    if isinstance(test, Condition):
        name = links + test.property
        if test.op in ("is null", "is not null"):
            return f"{name} {test.op}"
        if test.op in ("in", "not in"):
            return f"{name} {test.op} ({', '.join(map(_value, test.value))})"
        return f"{name}{_WRITTEN.get(test.op, test.op)}{_value(test.value)}"
    if isinstance(test, NotOf):
        return f"not ({write_test(test.test, links=links)})"
    if isinstance(test, AnyOf):
        return "(" + " or ".join(write_test(t, links=links) for t in test.tests) + ")"
    if isinstance(test, AllOf):
        return "(" + " and ".join(write_test(t, links=links) for t in test.tests) + ")"
    if test.test is None:
        return f"has {links}{test.link}"
    if isinstance(test.test, (Condition, Linked)):
        return write_test(test.test, links=f"{links}{test.link}.")
    return f"has {links}{test.link}[{write_test(test.test)}]"


def _options(query: ObjectQuery) -> Iterator[tuple[str, str]]:
    if query.sort:
        yield "sort", str(query.sort)
    if query.search:
        yield "search", query.search
    if query.after is not None:
        yield "after", str(query.after) if isinstance(query.after, Cursor) else _key(query.after)
    if query.limit is not None:
        yield "limit", str(query.limit)
    if query.as_of:
        yield "as_of", query.as_of


def _key(key: Any) -> str:
    return "yes" if key is True else "no" if key is False else str(key.isoformat()) if hasattr(key, "isoformat") else str(key)


def _steps(query: ObjectQuery) -> str:
    """The path with its conditions; the options of all but the last step."""
    text = query.type
    if query.source:
        before = query.source.query
        options = " ".join(f"{name}={_quoted(value)}" for name, value in _options(before))
        text = _steps(before) + (f"{{{options}}}" if options else "") + f"/{query.source.link}"
    if query.conditions:
        written = " and ".join(write_test(t) for t in query.conditions)
        text += f"[{written}]"
    return text


def write_path(query: ObjectQuery) -> str:
    """The short text of a query: `parse_path` makes an equal one out of it."""
    return " ".join([_steps(query), *(f"{n}={_quoted(v, always=n == 'search')}" for n, v in _options(query))])


def write_words(query: ObjectQuery) -> list[str]:
    """The words after `skygraph objects` that ask the same."""
    # joined by = as a value may begin with a dash
    return [_steps(query), *(f"--{name.replace('_', '-')}={value}" for name, value in _options(query))]
