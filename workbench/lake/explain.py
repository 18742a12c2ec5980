"""How a statement is read: which of its tables have versions, through which views, and where FINAL is applied and by what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from workbench.answer import Answer, Block, Grid, Heading, Note
from workbench.errors import QueryError, UsageError
from workbench.lake.client import Lake
from workbench.lake.price import Price, price
from workbench.lake.reads import plan_reads
from workbench.lake.sql import find_prewhere, find_reading_setting, key_names
from workbench.lake.statement import NoTree, Relation, by_hand, names_of, parse, tables_of

__all__ = ["ReadPlan", "TableRead", "how_to_read", "read_plan"]

# conditions on the key alone are asked before versions are merged: a point of a table with many unmerged parts is three times as cheap
_KEYS_FIRST: Mapping[str, Any] = {"optimize_move_to_prewhere_if_final": 1}
_SURE: WeakKeyDictionary[Lake, frozenset[str]] = WeakKeyDictionary()


@dataclass(frozen=True)
class TableRead:
    """A table that a statement reads: through which views, and how its rows come to be current.

    `final` is `by the setting`, `written in the statement`, `by the setting, on each shard`, `not needed`, or `no` when the engine's plan
    does not read it FINAL.
    """

    table: str
    engine: str
    key: tuple[str, ...]
    via: tuple[str, ...]
    final: str

    def to_dict(self) -> dict[str, Any]:
        """The table as data."""
        return {**self.__dict__, "key": list(self.key), "via": list(self.via)}


@dataclass(frozen=True)
class ReadPlan(Answer):
    """How `skygraph sql` reads a statement, the same statement written by hand, and its price. Nothing was run.

    `by_hand` is empty where `why_not` says why there is none.
    """

    statement: str
    tables: tuple[TableRead, ...]
    by_hand: str
    why_not: str
    price: Price

    def to_dict(self) -> Any:
        """All of it."""
        return {
            "statement": self.statement, "tables": [t.to_dict() for t in self.tables], "by_hand": self.by_hand, "why_not": self.why_not,
            "price": self.price.to_dict(),
        }  # fmt: skip

    def blocks(self) -> Iterator[Block]:
        """The tables, the statement by hand, the price."""
        rows = [[t.table, t.engine, ", ".join(t.key), " > ".join(t.via), t.final] for t in self.tables]
        yield Grid(["table", "engine", "key", "through", "FINAL"], rows, empty="it reads no table of the lake")
        if self.by_hand:
            yield Heading("by hand, for a client that sets nothing")
            yield from (Note(line) for line in self.by_hand.splitlines())
        else:
            yield Note(f"no text to write by hand: {self.why_not}", "quiet")
        yield Heading("price")
        yield from self.price.blocks()


def read_plan(lake: Lake, sql: str, parameters: Mapping[str, Any] | None = None) -> ReadPlan:
    """How a SELECT over current rows is read. The engine's own plan says where FINAL is applied; the text by hand is ours.

    Raises:
        UsageError, QueryError, LakeUnavailable: as `Lake.query`.
    """
    found = {
        f"{r['database']}.{r['name']}": r
        for r in lake.rows(
            "select database, name, engine, sorting_key, as_select from system.tables "
            "where database not in ('system', 'information_schema', 'INFORMATION_SCHEMA')"
        )
    }
    final: dict[str, bool] = {}
    for read in plan_reads(lake, sql, parameters):
        final[read.table] = final.get(read.table, True) and read.is_final
    relations = {name: Relation(r["engine"], r["as_select"]) for name, r in found.items()}
    named: dict[str, tuple[tuple[str, ...], bool]] = {}
    text, why_not = "", ""
    try:
        _follow(sql, relations, (), named)
        text = by_hand(sql, relations)
        _prove(lake, text, parameters, relations)
    except NoTree as error:
        text, why_not = "", error.message
    for name in final:  # what the text does not show: table functions, texts that do not parse
        named.setdefault(name, ((), False))
    tables = []
    for name, (via, is_written) in named.items():
        engine = relations[name].engine if name in relations else "MergeTree"
        if relations.get(name, Relation("")).is_versioned:
            how = "written in the statement" if is_written else "by the setting" if final.get(name, True) else "no"
        else:
            how = "by the setting, on each shard" if engine == "Distributed" else "not needed"
        key = tuple(key_names(found[name]["sorting_key"])) if name in found else ()
        tables.append(TableRead(name, engine, key, via, how))
    return ReadPlan(sql.strip(), tuple(tables), text, why_not, price(lake, sql, parameters))


def _prove(lake: Lake, text: str, parameters: Mapping[str, Any] | None, relations: Mapping[str, Relation]) -> None:
    """Have the engine say that a text reads every versioned table FINAL when nothing is set.

    Raises:
        NoTree: it does not, or is not what the engine takes.
    """
    try:
        for read in plan_reads(lake, text, parameters, raw=True):
            if relations.get(read.table, Relation("")).is_versioned and not read.is_final:
                raise NoTree(f"{read.table} is read in a place where FINAL cannot be written")
    except QueryError:
        raise NoTree("the statement has words that our writer of SQL does not know") from None


def how_to_read(lake: Lake, sql: str) -> Mapping[str, Any]:
    """The settings to read a SELECT with; refuses one that reads, through whatever views, a view that does not let current rows be read.

    That is one whose own text has a PREWHERE, or sets which versions it reads: the engine obeys it, whatever the statement around it says.
    Conditions on keys go before the merge of versions where they are surely the same for every version: where the statement, and the views
    under it, call only functions of the engine that give one value for the same arguments (`rand64` does not), and name no table that has
    a column that is an expression, stands elsewhere, or has a fraction in its key (0.0 and -0.0 are one key).

    Raises:
        UsageError: names the view and what to do.
    """
    found = lake.rows(f"{_VIEWS}\nunion all {_UNSURE_TABLES}", {"words": _names_in(sql)})
    views = {row["name"]: row["text"] for row in found if row["kind"] == "view"}
    named = _views_named(sql, views)
    try:
        seen: set[str] = set()
        if views:
            _views_under(sql, {name: Relation("View", text) for name, text in views.items()}, seen)
    except NoTree:
        seen = named
    for name in sorted(seen):
        if why := _spoilt(views[name]):
            raise UsageError(
                f"the view {name} {why}, so its rows are not all current, whoever asks", hint=f"take that out of the view {name}"
            )
    # by words, for not every way to name a view shows in a tree
    read = "\n".join([sql, *(views[name] for name in seen | named)])
    if len(found) > len(views) or not _calls_only(_sure(lake), read):
        return {}
    under = _names_in(read) if seen | named else []
    return {} if under and lake.rows(_UNSURE_TABLES, {"words": under}) else _KEYS_FIRST


_USERS = "database not in ('system', 'information_schema', 'INFORMATION_SCHEMA')"
_VIEWS = (
    f"select 'view' as kind, concat(database, '.', name) as name, as_select as text from system.tables\nwhere engine = 'View' and {_USERS}"
)
_UNSURE_TABLES = (
    f"select 'unsure' as kind, table as name, '' as text from system.columns where table in {{words:Array(String)}} and {_USERS}\n"
    "and (default_kind = 'ALIAS' or (is_in_sorting_key and type like '%Float%'))\n"
    "union all select 'unsure', name, '' from system.tables where name in {words:Array(String)} and engine in ('Distributed', 'Merge')"
)
# what may stand before a bracket and is no function
_KEYWORDS = frozenset(
    ["all", "and", "any", "array", "as", "between", "by", "case", "cast", "distinct", "else", "except", "exists", "filter", "from",
     "global", "having", "in", "intersect", "interval", "join", "like", "limit", "not", "offset", "on", "or", "over", "qualify",
     "select", "then", "tuple", "union", "using", "values", "when", "where", "with", "within"]
)  # fmt: skip
# of the functions that may give another value for the same arguments, those that give one throughout a statement
_SAME_IN_A_QUERY = frozenset(["now", "now64", "today", "yesterday", "currentdatabase", "timezone", "version"])


def _sure(lake: Lake) -> frozenset[str]:
    """The names, in small letters, of the engine's own functions that give one value for the same arguments. Asked once for each lake."""
    if (found := _SURE.get(lake)) is None:
        is_sure = "origin = 'System' and (is_aggregate or ifNull(deterministic, 0) != 0)"
        rows = lake.rows(f"select lower(name) as name, min({is_sure}) as sure from system.functions group by name")
        found = _SURE[lake] = frozenset(row["name"] for row in rows if row["sure"]) | _SAME_IN_A_QUERY | _KEYWORDS
    return found


def _calls_only(sure: frozenset[str], text: str) -> bool:
    """Whether whatever is called in a text is one of these, and nothing is named by a parameter."""
    bare = re.sub(r"/\*.*?\*/|--[^\n]*", " ", text, flags=re.DOTALL)  # a comment may stand before the bracket
    called = {name.lower() for part in (text, bare) for name in re.findall(r"(\w+)\s*\(", part)}
    is_quoted = re.search(r"[`\"]\s*\(", text) or re.search(r"[`\"]\s*\(", bare)
    return called <= sure and not is_quoted and not re.search(r":\s*Identifier\s*\}", text)


def _names_in(text: str) -> list[str]:
    """Whatever in a text may be the name of a table."""
    return sorted({*re.findall(r"\w+", text), *re.findall(r"`([^`]+)`", text), *re.findall(r'"([^"]+)"', text)})


def _spoilt(as_select: str) -> str:
    if setting := find_reading_setting(as_select):
        return f"sets `{setting}` by itself"
    return "has a PREWHERE, which looks at rows before their versions are merged" if find_prewhere(as_select) else ""


def _is_in(name: str, text: str) -> bool:
    """Whether a text has a name in it, as a word where it is one."""
    return re.search(rf"\b{name}\b" if re.fullmatch(r"\w+", name) else re.escape(name), text) is not None


def _views_under(sql: str, relations: Mapping[str, Relation], seen: set[str], home: str = "default") -> None:
    for found in names_of(parse(sql)):
        name = found if "." in found else f"{home}.{found}"
        if name in relations and name not in seen:
            seen.add(name)
            _views_under(relations[name].as_select, relations, seen, name.partition(".")[0])


def _views_named(sql: str, views: Mapping[str, str]) -> set[str]:
    """The views whose names are words of a text, and of the texts of those views."""
    seen: set[str] = set()
    texts = [sql]
    while texts:
        text = texts.pop()
        found = {name for name in views.keys() - seen if _is_in(name.partition(".")[2], text)}
        seen |= found
        texts += [views[name] for name in found]
    return seen


def _follow(
    sql: str, relations: Mapping[str, Relation], via: tuple[str, ...], named: dict[str, tuple[tuple[str, ...], bool]], home: str = "default"
) -> None:
    """Collect the tables under a statement, through its views."""
    for use in tables_of(parse(sql)):
        name = use.name if "." in use.name else f"{home}.{use.name}"
        relation = relations.get(name)
        if relation is None or len(via) > 50:
            continue
        if relation.engine == "View":
            _follow(relation.as_select, relations, (*via, name), named, name.partition(".")[0])
        else:
            named.setdefault(name, (via, use.is_final))
