"""What the explorer asks: types, pages of objects, facets, one object, what is near it; as plain data that can be sent.

It stands between the workbench's parts and the widgets: it takes texts from a person's browser, asks the ontology's store, and
answers with JSON-able data whose values are already written for people. It only reads, keeps no place of a person (a place is
the short text of a set, which comes with every question), and knows nothing of a browser.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workbench.answer import cell_text, to_json
from workbench.errors import InvalidFiles, LakeError, UsageError
from workbench.ontology import ObjectSet
from workbench.ontology.model import LinkEnd, ObjectType, Ontology, Property, diff
from workbench.ontology.path import parse_test, write_path, write_test
from workbench.ontology.query import AllOf, Condition, Hop, Linked, NotOf, ObjectQuery, Test, make_condition, parse_sort

if TYPE_CHECKING:
    from workbench.lake import Lake
    from workbench.ontology import Store
    from workbench.ontology.groups import Facet

__all__ = ["Browse", "changes_text"]

_CUT = 300  # characters of a value in a grid, and of the text under the pointer
_HOVER = 2_000
_VALUE = 100_000  # characters of a value on a card
_FACETS = 8  # properties with facets
_LINKS_S = 3.0  # seconds for counting what the links of a set lead to
_FRESH_S = 5.0  # seconds for which the tables of the lake are taken to be as they were
_LIMITED = 5_000  # rows of a limited set
_LONG = ("open", "page", "count", "facets", "links")  # kinds of questions that may take long and can be stopped
_NUMBERS = ("integer", "decimal", "number")


class Browse:
    """Reads of one workbench. Thread safe: questions of different kinds may run at the same time.

    Args:
        store: the store as it is now.
        problems: what is wrong with the ontology's files; None when they are right.
        lake: a further connection; each kind of question that may take long has one, so that `stop` ends its queries alone.
        lineage: of a type, `{mart, mart_age_s, staging, raw: [{table, source, watermark, lag_s, last_run, error}]}`; None: not known.
        facets_s: seconds that exact facets may take before a sample is counted.
        lakes: the connections, by kind of question, where several share them.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        problems: Callable[[], InvalidFiles | None],
        *,
        lake: Callable[[], Lake] | None = None,
        lineage: Callable[[str], Mapping[str, Any]] | None = None,
        facets_s: float = 0.6,
        lakes: dict[str, Lake] | None = None,
    ) -> None:
        self._facets_s = facets_s
        self._make_store, self._problems, self._make_lake, self._lineage = store, problems, lake, lineage
        self._lock = threading.Lock()
        self._lakes: dict[str, Lake] = {} if lakes is None else lakes
        self._held: tuple[float, Store] | None = None

    # --- the connections

    def _store(self, kind: str) -> Store:
        with self._lock:
            held = self._held
            if held is None or time.monotonic() - held[0] > _FRESH_S:
                held = self._held = (time.monotonic(), self._make_store())
            if self._make_lake is None or kind not in _LONG:
                return held[1]
            if kind not in self._lakes:
                self._lakes[kind] = self._make_lake()
            return replace(held[1], lake=self._lakes[kind])

    def _at(self, kind: str, text: str) -> ObjectSet:
        return self._store(kind).at(text)

    def forget(self) -> None:
        """Look anew at the model and at the lake's tables with the next question."""
        with self._lock:
            self._held = None

    def stop(self, kind: str) -> None:
        """End the queries that a kind of question runs now; its caller gets an error."""
        with self._lock:
            lake = self._lakes.get(kind)
        if lake is not None:
            lake.stop_queries()

    def close(self) -> None:
        """Drop the connections."""
        with self._lock:
            lakes = list(self._lakes.values())
            self._lakes.clear()
        for lake in lakes:
            lake.close()

    # --- the model

    def types(self) -> dict[str, Any]:
        """Every object type and link, what is wrong with their files, and what is wrong with the tables. Counts nothing.

        Without any good model there are no types, and `problems` says why.
        """
        try:
            store = self._store("types")
        except InvalidFiles as error:
            return {"types": [], "links": [], "problems": _problems(error), "warnings": []}
        ontology = store.ontology
        return {
            "types": [
                {
                    "name": t.name, "description": t.description, "model": t.model, "deprecated": t.deprecated, "aliases": list(t.aliases),
                    "missing": sorted(store.missing.get(t.name, ())), "built": t.model in store.relations, "count": None,
                }
                for t in ontology.object_types.values()
            ],
            "links": [{"name": k.name, "from": k.from_type, "to": k.to_type, "reverse": k.reverse} for k in ontology.link_types.values()],
            "problems": _problems(self._problems()),
            "warnings": list(store.warnings),
        }  # fmt: skip

    def counts(self) -> dict[str, Any]:
        """Type to number of objects; None for a type that cannot be counted."""
        store = self._store("counts")
        return {"counts": {name: _count(store.objects(name)) for name in store.ontology.object_types}}

    # --- a set

    def open(self, text: str, edit: Mapping[str, Any] | None = None, size: int = 100) -> dict[str, Any]:
        """The set of a short text, after an edit: what it is, how it is reached, and its first page.

        An edit has one of `add` (`{text}` or `{property, op, value}`), `remove` (the place of a filter), `clear`, `sort`
        (`P`, `-P` or ''), `search`, and `follow` (a link).
        """
        found = self._at("open", text)
        if edit:
            found = _edited(found, edit)
        store, query, kind = found.store, found.query.whole, found.object_type
        found = ObjectSet(store, replace(query, limit=found.query.limit))
        missing = _gone(store, kind)
        page = _page(found, size, None) if kind.model in store.relations else {"rows": [], "next": None}
        return {
            **_names(found),
            "type": {
                "name": kind.name, "description": kind.description, "model": kind.model, "deprecated": kind.deprecated,
                "missing": sorted(missing), "built": kind.model in store.relations,
            },
            "columns": [_column(p, p.name in missing) for p in _shown_columns(kind)],
            "path": list(_hops(found)),
            "filters": [write_test(test) for test in query.conditions],
            "search": query.search,
            "sort": str(query.sort or ""),
            "links": [
                {
                    "name": end.name, "to": end.to_type, "many": end.many, "description": end.link.description,
                    "deprecated": end.link.deprecated,
                    "columns": [_column(p, False) for p in store.ontology.object_type(end.to_type).properties.values()],
                }
                for end in store.ontology.links_of(kind.name)
            ],
            "one": _one(query, kind, page),
            "page": page,
        }  # fmt: skip

    def page(self, text: str, after: str | None, size: int) -> dict[str, Any]:
        """The rows after a cursor: `rows` with `key` (None: it has none), `title` and `cells` in the order of `open`'s columns; `next`."""
        return _page(self._at("page", text), size, after)

    def count(self, text: str) -> dict[str, Any]:
        """How many objects the set has."""
        found = self._at("count", text)
        return {"count": found.count() if found.object_type.model in found.store.relations else 0}

    def facets(self, text: str) -> dict[str, Any]:
        """The values of properties that have few, with counts; each with the text of the filter it stands for."""
        found = self._at("facets", text)
        kind = found.object_type
        names = [p.name for p in _facetable(found)]
        if not names or kind.model not in found.store.relations:
            return {"facets": []}
        counted = found.facets(*names, budget_s=self._facets_s, top=8)
        # what was sampled stands for as many objects as there are
        share = counted.rows / max(found.count(), counted.rows, 1) if counted.is_sampled else 1.0
        answer = [_facet(kind, facet, share) for facet in counted]
        useful = [(rank, i, f) for i, f in enumerate(answer) if (rank := _tells_little(f)) is not None]
        return {"facets": [f for _, _, f in sorted(useful, key=lambda found: found[:2])[:_FACETS]]}

    def suggest(self, text: str, property: str, typed: str) -> dict[str, Any]:
        """Values that a filter on a property (of the type, or `link.property`) may take: the most frequent that hold what was typed."""
        found = self._at("suggest", text)
        link, _, name = property.rpartition(".")
        if link:
            found = found.store.objects(found.store.ontology.link_end(found.query.type, link).to_type)
        chosen = found.object_type.property(name)
        if typed.strip() and chosen.type == "string":
            test = make_condition(found.object_type, chosen.name, "contains", typed.strip())
            found = ObjectSet(found.store, _with_test(found.query, test))
        facet = found.facets(chosen.name, budget_s=0.3, top=12)[chosen.name]
        return {"values": [_cut(_plain(value)) for value, _ in facet.values if value is not None]}

    def links(self, text: str) -> dict[str, Any]:
        """Per link of the set: how many objects it leads to, and where some name a target that is not there, how many lead nowhere.

        Of those, `unnamed` name no target at all. Counts stop after some seconds; what was not counted is None.
        """
        found = self._at("links", text)
        ends, began = found.store.ontology.links_of(found.query.type), time.monotonic()
        answer: list[dict[str, Any]] = []
        whole = ObjectSet(found.store, replace(found.query, sort=None) if found.query.limit is None else found.query)
        for end in ends:
            one = {"name": end.name, "count": None, "dangling": 0, "unnamed": 0, "dangling_filter": ""}
            answer.append(one)
            if time.monotonic() - began > _LINKS_S:
                continue
            one["count"] = _count(whole.linked(end.name))
            if one["count"] is None or not _refers(end):
                continue
            # a link that only some name is no trouble; one that names what is not there is
            if lost := whole.dangling(end.name, with_value=True):
                everything = whole.dangling(end.name)
                one |= {"dangling": everything, "unnamed": everything - lost, "dangling_filter": write_test(NotOf(Linked(end.name)))}
        return {"links": answer}

    # --- one object

    def card(self, type: str, key: str) -> dict[str, Any]:
        """One object: its properties, and how many objects each link leads to."""
        store = self._store("card")
        found = store.object(type, key)
        kind = found.object_type
        missing = _gone(store, kind)
        one = _alone(store, kind, found.key)
        return {
            "type": kind.name, "key": _key(found.key), "title": found.title, "text": one.text,
            "command": f"%skygraph object {kind.name} {shlex.quote(_key(found.key))}",
            "python": f"bench.explorer({one.text!r})",
            "properties": [
                {**_column(p, p.name in missing), "value": None if value is None else _written(p, value, kind)[:_VALUE]}
                for p, value in ((p, found.values[p.name]) for p in kind.properties.values())
            ],
            "links": _card_links(found),
            "warnings": list(found.warnings),
        }  # fmt: skip

    def links_of(self, type: str, key: str) -> dict[str, Any]:
        """The links of one object with counts, and the text of the object as a set."""
        store = self._store("links_of")
        found = store.object(type, key)
        return {"text": _alone(store, found.object_type, found.key).text, "links": _card_links(found)}

    def near(self, type: str, key: str, link: str, limit: int) -> dict[str, Any]:
        """The first objects that a link of one object leads to: key and title."""
        store = self._store("near")
        kind = store.ontology.object_type(type)
        found = _alone(store, kind, kind.parse(kind.key, key)).linked(link)
        rows = found.page(limit).rows.to_pylist()
        return {"objects": [{"key": k, "title": t} for k, t in (_key_and_title(found.object_type, row) for row in rows) if k is not None]}

    def lineage(self, type: str) -> dict[str, Any]:
        """Where the objects of a type come from: `lines` with `kind`, `name`, `detail`, `late`, from the mart to the sources."""
        if self._lineage is None:
            return {"lines": []}
        found = self._lineage(self._store("lineage").ontology.object_type(type).name)
        built = found.get("mart_age_s")
        lines = [_line("mart", found["mart"], f"built {_duration(built)} ago" if built is not None else "")]
        lines += [_line("staging", name) for name in found["staging"]]
        for raw in found["raw"]:
            lag, mark, error = raw["lag_s"], raw["watermark"], raw.get("error")
            said = [
                f"last run {raw['last_run']}" if raw["last_run"] else "never synced",
                f"watermark {str(mark).removesuffix('.000000')}" if mark not in (None, "") else "",
                f"{_duration(lag)} behind" if lag is not None else "",
                str(error or ""),
            ]
            lines.append(_line("raw", raw["table"], ", ".join(s for s in said if s), late=bool(error) or not raw["last_run"]))
            lines.append(_line("source", raw["source"]))
        return {"lines": lines}


def changes_text(old: Ontology, new: Ontology) -> str:
    """What differs between two models, in a line; '' when nothing does.

    >>> from workbench.ontology import Ontology
    >>> changes_text(Ontology(), Ontology())
    ''
    """
    changes = diff(old, new)
    said = []
    for what in ("added", "changed", "removed"):
        names = [*getattr(changes.object_types, what), *getattr(changes.link_types, what)]
        if names:
            said.append(f"{what} {', '.join(names[:6])}" + (f" and {len(names) - 6} more" if len(names) > 6 else ""))
    return "; ".join(said)


# --- sets and their texts


def _names(found: ObjectSet) -> dict[str, Any]:
    """The set's text, the command that shows it and the Python that opens it."""
    words = " ".join(shlex.quote(word) for word in found.words)
    return {"text": found.text, "command": f"%skygraph objects {words}", "python": f"bench.explorer({found.text!r})"}


def _edited(found: ObjectSet, edit: Mapping[str, Any]) -> ObjectSet:
    query, kind, ontology = found.query.whole, found.object_type, found.store.ontology
    (what, value), *rest = edit.items()
    if rest:
        raise UsageError("one change at a time")
    if what == "add":
        test = parse_test(_condition_text(value), kind, ontology)
        tests = test.tests if isinstance(test, AllOf) else (test,)
        return ObjectSet(found.store, _with_test(query, *(t for t in tests if t not in query.conditions)))
    if what == "remove":
        if not 0 <= value < len(query.conditions):
            raise UsageError(f"there is no filter {value + 1}")
        return ObjectSet(found.store, replace(query, conditions=(*query.conditions[:value], *query.conditions[value + 1 :])))
    if what == "clear":
        return ObjectSet(found.store, replace(query, conditions=(), search=""))
    if what == "sort":
        return ObjectSet(found.store, replace(query, sort=parse_sort(value, kind) if value.strip() else None))
    if what == "search":
        return ObjectSet(found.store, replace(query, search=" ".join(value.split())))
    if what == "follow":
        end = ontology.link_end(kind.name, value)
        near = replace(query, limit=found.query.limit, sort=query.sort if found.query.limit is not None else None)
        return ObjectSet(found.store, ObjectQuery(end.to_type, source=Hop(near, end.name)))
    raise UsageError(f"{what!r} is not a change of a set")


def _condition_text(value: Mapping[str, Any]) -> str:
    """A filter as text, its value in quotes."""
    if "text" in value:
        return str(value["text"])
    property, op, given = value["property"], value["op"], value["value"].strip()
    if op in ("is null", "is not null"):
        return f"{property} {op}"
    if op == "in":
        return f"{property} in ({given})"
    sign = {"contains": "~", "starts with": "^="}.get(op, op)
    doubled = given.replace('"', '""')
    return f'{property}{sign}"{doubled}"'


def _with_test(query: ObjectQuery, *tests: Test) -> ObjectQuery:
    return replace(query, conditions=(*query.conditions, *tests))


def _alone(store: Store, kind: ObjectType, key: Any) -> ObjectSet:
    """The set of one object."""
    return ObjectSet(store, ObjectQuery(kind.name, (make_condition(kind, kind.key, "=", key),)))


def _one(query: ObjectQuery, kind: ObjectType, page: Mapping[str, Any]) -> dict[str, Any] | None:
    """The object of a set that is asked for by its key."""
    asked = [t for t in query.conditions if isinstance(t, Condition) and t.property == kind.key and t.op == "="]
    if not asked or query.source is not None or len(page["rows"]) != 1:
        return None
    row = page["rows"][0]
    return {"key": row["key"], "title": row["title"]}


def _gone(store: Store, kind: ObjectType) -> frozenset[str]:
    """The properties of one type whose column is gone."""
    known = store.columns(kind.model)
    return frozenset() if known is None else frozenset(p.name for p in kind.stored if p.name not in known)


def _hops(found: ObjectSet) -> Iterator[dict[str, Any]]:
    chain: list[ObjectQuery] = []
    query: ObjectQuery | None = found.query
    while query is not None:
        chain.append(query)
        query = query.source.query if query.source else None
    for step in reversed(chain):
        about = " and ".join(write_test(test) for test in step.conditions)
        name = step.source.link if step.source else step.type
        yield {"text": write_path(replace(step, after=None)), "type": step.type, "name": name, "about": about}


def _refers(end: LinkEnd) -> bool:
    """Whether an object of this side names the one object that it leads to."""
    return not (end.reverse or end.many or end.link.via is not None)


def _count(found: ObjectSet) -> int | None:
    try:
        return found.count()
    except LakeError:
        return None


# --- values


def _key(value: Any) -> str:
    return str(to_json(value)) if not isinstance(value, bool) else "yes" if value else "no"


def _plain(value: Any) -> str:
    """A value as a filter takes it."""
    return _key(value)


def _written(property: Property, value: Any, kind: ObjectType) -> str:
    if property.format:
        return property.show(value)
    if property.type == "boolean":  # many marts keep it as a number
        return "yes" if value else "no"
    # a number that names something is not an amount: no thousands separator
    return cell_text("key" if property.name == kind.key else property.name, value)


def _cut(text: str) -> str:
    return text if len(text) <= _CUT else text[: _CUT - 1] + "…"


def _cell(property: Property, value: Any, kind: ObjectType) -> Any:
    """A value in the grid: None, its text, or of a long one its beginning and a longer beginning to hover over."""
    if value is None:
        return None
    text = _written(property, value, kind)
    line = text.replace("\r\n", " ⏎ ").replace("\n", " ⏎ ") if "\n" in text else text
    if len(line) <= _CUT and line == text:
        return text
    return {"cut": _cut(line), "title": text[:_HOVER] + ("…" if len(text) > _HOVER else "")}


def _column(property: Property, missing: bool) -> dict[str, Any]:
    return {
        "name": property.name, "type": property.type, "unit": property.unit, "description": property.description,
        "computed": property.expression, "deprecated": property.deprecated, "number": property.type in _NUMBERS, "missing": missing,
    }  # fmt: skip


def _shown_columns(kind: ObjectType) -> list[Property]:
    """The properties in the order of the grid: the title first."""
    title = kind.property(kind.title)
    return [title, *(p for p in kind.properties.values() if p.name != title.name)]


def _key_and_title(kind: ObjectType, row: Mapping[str, Any]) -> tuple[str | None, str]:
    key, title = row[kind.key], row[kind.title]
    text = None if key is None else _key(key)
    return text, _cut(str(title)) if title not in (None, "") else text or "no key"


def _page(found: ObjectSet, size: int, after: str | None) -> dict[str, Any]:
    kind = found.object_type
    limit = found.query.limit
    # a limited set is one page
    page = found.page(size if limit is None else max(1, min(limit, _LIMITED)), after)
    columns = _shown_columns(kind)
    rows = []
    for row in page.rows.to_pylist() if limit != 0 else ():
        key, title = _key_and_title(kind, row)
        rows.append({"key": key, "title": title, "cells": [_cell(p, row[p.name], kind) for p in columns]})
    return {"rows": rows, "next": page.next if limit is None else None}


def _facetable(found: ObjectSet) -> Sequence[Property]:
    """The properties whose values may repeat: no key, no title, nothing that is measured."""
    kind = found.object_type
    missing = _gone(found.store, kind)
    joined = {name for end in found.store.ontology.links_of(kind.name) if end.link.via is None for name in end.link.join}
    chosen = [p for p in kind.properties.values() if p.name not in (kind.key, kind.title) and p.name not in missing and not p.deprecated]
    words = [p for p in chosen if p.type in ("string", "boolean")]
    numbers = [p for p in chosen if p.type == "integer" and p.name not in joined and not p.name.endswith("_id")]
    return [*words, *numbers][:24]


def _facet(kind: ObjectType, facet: Facet, share: float) -> dict[str, Any]:
    """A facet as data; the counts of a sample as those of all objects that they stand for."""
    property = kind.property(facet.property)

    def of_all(count: int) -> int:
        return round(count / share) if facet.is_sampled and share else count

    return {
        "name": property.name, "description": property.description, "nulls": of_all(facet.null_count), "other": of_all(facet.other_count),
        "distinct": None if facet.is_sampled else facet.distinct, "sampled": facet.is_sampled, "share": _percent(share),
        "null_filter": write_test(Condition(property.name, "is null")),
        "values": [
            {
                "label": _cut(_written(property, value, kind)) or "(empty)", "count": of_all(count),
                "filter": write_test(make_condition(kind, property.name, "=", value)),
            }
            for value, count in facet.values if value is not None
        ],
    }  # fmt: skip


def _tells_little(facet: Mapping[str, Any]) -> int | None:
    """0 for a facet whose frequent values cover most objects, more for rare values or mostly none; None for a useless one."""
    counts: list[int] = [value["count"] for value in facet["values"]]
    with_value = sum(counts) + facet["other"]
    if not counts or sum(counts) < 0.05 * with_value or (len(counts) > 1 and (facet["distinct"] or 0) > 0.6 * with_value):
        return None
    return 2 * int(facet["nulls"] > 3 * with_value) + int(facet["other"] > 0.5 * with_value)


def _percent(share: float) -> str:
    """A part of all, as people say it.

    >>> _percent(1 / 64), _percent(0.25)
    ('1.6%', '25%')
    """
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _card_links(found: Any) -> list[dict[str, Any]]:
    answer = []
    for end, count in found.links:
        named = [found.values.get(name) for name in end.link.join]
        lost = _refers(end) and count == 0 and all(value is not None for value in named)
        answer.append({
            "name": end.name, "to": end.to_type, "count": count, "description": end.link.description, "deprecated": end.link.deprecated,
            "back": end.back, "dangling": _cut(", ".join(_plain(value) for value in named)) if lost else "",
        })  # fmt: skip
    return answer


def _line(kind: str, name: Any, detail: str = "", *, late: bool = False) -> dict[str, Any]:
    return {"kind": kind, "name": str(name), "detail": detail, "late": late}


def _duration(seconds: float) -> str:
    from workbench.hermes.status import duration

    return duration(seconds)


def _problems(error: InvalidFiles | None) -> list[dict[str, str]]:
    if error is None:
        return []
    return [{"where": f"{p.file}:{p.line}" if p.line else str(p.file), "message": p.message} for p in error.problems]
