"""Compare a model with what is in the lake: columns and types, expressions, keys.

Only reads. A finding is where it is written, as `Origins` has it, and what is wrong; `problems_at` gives it file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from workbench.errors import LakeUnavailable, Problem, QueryError
from workbench.lake.sql import quote
from workbench.ontology.expression import probe
from workbench.ontology.load import Origins, column_findings
from workbench.ontology.model import ObjectType, Ontology

if TYPE_CHECKING:
    from workbench.lake import Lake

__all__ = ["Finding", "columns_of", "doc_findings", "key_findings", "lake_findings", "missing_columns", "object_counts", "problems_at"]

Finding = tuple[tuple[str, ...], str]

# what an expression is tried with in place of a column that is gone
_STAND_IN = {"integer": "Int64", "decimal": "Decimal(38, 9)", "number": "Float64", "string": "String", "boolean": "Bool", "date": "Date32",
             "timestamp": "DateTime64(6, 'UTC')"}  # fmt: skip


def columns_of(lake: Lake, tables: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Model -> column -> ClickHouse type, for `tables` (model -> `database.table`); only models whose table is there."""
    databases = sorted({table.partition(".")[0] for table in tables.values()})
    if not databases:
        return {}
    rows = lake.query(
        "select concat(database, '.', table) as full_name, name, type from system.columns\n"
        "where database in {databases:Array(String)} order by database, table, position",
        {"databases": databases},
    )
    found: dict[str, dict[str, str]] = {}
    for table, name, type in zip(*(rows.column(i).to_pylist() for i in range(3)), strict=True):
        found.setdefault(table, {})[name] = type
    return {model: found[table] for model, table in tables.items() if table in found}


def missing_columns(ontology: Ontology, columns: Mapping[str, Mapping[str, str]]) -> dict[str, frozenset[str]]:
    """Type -> its stored properties whose column is gone from the model's table; types whose columns are all there are left out."""
    gone = {
        t.name: frozenset(p.name for p in t.stored if p.name not in columns[t.model])
        for t in ontology.object_types.values()
        if t.model in columns
    }
    return {name: properties for name, properties in gone.items() if properties}


def lake_findings(
    lake: Lake, ontology: Ontology, columns: Mapping[str, Mapping[str, str]], known: dict[str, list[str]] | None = None
) -> list[Finding]:
    """Columns that are not there or of another type, and expressions that the engine refuses or that give another type.

    `known` keeps what the engine said of an expression over such columns, so that only new ones are asked.
    """
    said = {} if known is None else known
    found = list(column_findings(ontology, columns))
    for object_type in ontology.object_types.values():
        if object_type.model in columns and len(object_type.stored) < len(object_type.properties):
            found += _expression_findings(lake, object_type, columns[object_type.model], said)
    return found


def _expression_findings(lake: Lake, object_type: ObjectType, table: Mapping[str, str], known: dict[str, list[str]]) -> Iterator[Finding]:
    typed = {p.name: table.get(p.name) or f"Nullable({_STAND_IN[p.type]})" for p in object_type.stored}
    computed = [p for p in object_type.properties.values() if p.is_computed]
    expressions = [object_type.sql(p.name, quote) for p in computed]
    together = probe(typed, expressions)
    if together not in known:
        try:
            known[together] = _types(lake, together)
        except QueryError:
            known[together] = []
    for i, (property, expression) in enumerate(zip(computed, expressions, strict=True)):
        origin = ("type", object_type.name, property.name, "expression")
        if known[together]:
            type = known[together][i]
        else:
            try:
                type = _types(lake, probe(typed, [expression]))[0]
            except QueryError as error:
                yield origin, f"expression of {property.name!r}: {_reason(error)}"
                continue
        if not property.kind.holds(type):
            yield origin, f"{property.name!r} is {property.type}, but its expression gives {type}"


def _types(lake: Lake, statement: str) -> list[str]:
    return [str(type) for type in lake.query(statement).column("type").to_pylist()]


def _reason(error: QueryError) -> str:
    """The engine's reason, without the statement that it adds."""
    if error.code == 184:
        return "it is an aggregate, which counts over many objects; an expression is one value of one object"
    reason = " ".join(error.message.partition(": In scope ")[0].partition(" In scope ")[0].split())
    return reason if len(reason) <= 300 else reason[:297] + "..."


def key_findings(
    lake: Lake, ontology: Ontology, relations: Mapping[str, str], columns: Mapping[str, Mapping[str, str]],
    said: Callable[[str, int], None] = lambda _, __: None,
) -> Iterator[Finding]:  # fmt: skip
    """Keys that are not unique or are null, counted over all current rows of each type's model.

    `said` hears the name of each type before it is counted, and how many were before it. A table that goes away meanwhile is passed over.
    """
    for done, object_type in enumerate(ontology.object_types.values()):
        relation = relations.get(object_type.model)
        if relation is None or object_type.key not in columns.get(object_type.model, {}):
            continue
        said(object_type.name, done)
        key = quote(object_type.key)
        try:
            counted = lake.query(f"select count() as rows, uniqExact({key}) as keys, countIf(isNull({key})) as nulls from {relation}")
            row = counted.to_pylist()[0]
            doubles = []
            if row["rows"] - row["nulls"] > row["keys"]:
                examples = lake.query(
                    f"select toString({key}) as shown from {relation} where isNotNull({key})\n"
                    f"group by {key} having count() > 1 order by {key} limit 3"
                )
                doubles = examples.column("shown").to_pylist()
        except LakeUnavailable:
            raise
        except QueryError:
            continue
        origin = ("type", object_type.name, "", "key")
        if doubles:
            shown = ", ".join(str(d)[:40] for d in doubles)
            more = row["rows"] - row["nulls"] - row["keys"]
            yield origin, f"the key {object_type.key!r} is not unique in {object_type.model}: {more:,} rows too many, the first of {shown}"
        if row["nulls"]:
            yield origin, f"the key {object_type.key!r} is null in {row['nulls']:,} rows of {object_type.model}; they are no objects"


def object_counts(lake: Lake, ontology: Ontology, relations: Mapping[str, str], names: Iterable[str]) -> dict[str, int | None]:
    """How many current objects each named type has; None for one that is not in the model or whose model has no table."""
    counts: dict[str, int | None] = {}
    for name in names:
        found = ontology.object_types.get(name)
        relation = relations.get(found.model) if found else None
        try:
            counts[name] = int(lake.query(f"select count() as n from {relation}").column(0)[0].as_py()) if relation else None
        except QueryError:  # it went away meanwhile
            counts[name] = None
    return counts


def doc_findings(ontology: Ontology, documented: Mapping[str, Iterable[str]]) -> Iterator[Finding]:
    """Properties that a model's own docs do not name. `documented` is model -> columns; models without such docs are left out."""
    for object_type in ontology.object_types.values():
        names = set(documented.get(object_type.model, ()))
        for property in object_type.stored if names else ():
            if property.name not in names:
                yield ("type", object_type.name, property.name), f"dbt's docs of {object_type.model} do not name {property.name!r}"


def problems_at(findings: Iterable[Finding], origins: Origins) -> list[Problem]:
    """The findings with file and line, sorted, each once."""
    found = set()
    for origin, message in findings:
        place = origins.get(origin) or origins.get(origin[:3]) or origins.get(origin[:2])
        file, line = place or (f"ontology ({origin[0]} {origin[1]})", 0)
        found.add(Problem(file, line, message))
    return sorted(found)
