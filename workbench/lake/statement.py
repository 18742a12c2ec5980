"""The text of a SELECT as a tree: the tables it reads, and the same statement as one would write it by hand, with FINAL.

Pure, and the owner of sqlglot. Nothing that is run here depends on it: `Lake.query` sets the engine's own setting. It is for showing and
for `skygraph lint`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.errors import UsageError
from workbench.lake.reads import VERSIONED_ENGINES

__all__ = ["NoTree", "Relation", "TableUse", "by_hand", "names_of", "one_expression", "parse", "tables_of"]


class NoTree(UsageError):
    """A statement that the parser of SQL texts does not know. The engine may well know it."""


@dataclass(frozen=True)
class Relation:
    """What a name in a FROM stands for: its engine, and the SELECT of a view."""

    engine: str
    as_select: str = ""

    @property
    def is_versioned(self) -> bool:
        """Whether its rows are of several versions until they are merged."""
        return self.engine.startswith(VERSIONED_ENGINES)

    @property
    def takes_final(self) -> bool:
        """Whether FINAL can stand behind it and means something."""
        return self.is_versioned or self.engine in ("Distributed", "Merge")


@dataclass(frozen=True)
class TableUse:
    """A table in a statement: `database.table` (the database may be missing), where, and whether FINAL is written behind it."""

    name: str
    line: int
    is_final: bool
    node: Any


def parse(sql: str) -> Any:
    """The tree of one statement.

    Raises:
        NoTree: it does not parse, or is none, or more than one.
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    try:
        found = [tree for tree in sqlglot.parse(sql, read="clickhouse") if tree is not None]
    except SqlglotError as error:
        at = (getattr(error, "errors", None) or [{}])[0]
        where = f"line {at['line']}, column {at['col']}: " if at.get("line") else ""
        raise NoTree(f"the statement does not parse: {where}{at.get('description') or str(error).splitlines()[0]}") from None
    except RecursionError:
        raise NoTree("the statement is nested too deeply to be parsed") from None
    if len(found) != 1:
        raise NoTree("there is no statement" if not found else f"there are {len(found)} statements; ask one at a time")
    return found[0]


def one_expression(text: str) -> str:
    """An expression, as it is; refuses a text that is more than one, or none.

    >>> one_expression(" sum(amount) ")
    'sum(amount)'
    """
    from sqlglot import exp

    try:
        tree = parse(f"select\n{text}\n")
    except UsageError as error:
        raise UsageError(f"{text!r} is no expression: {error.message}", hint="write one aggregate, such as sum(amount)") from None
    others = [k for k, v in tree.args.items() if v and k not in ("expressions", "kind", "hint", "operation_modifiers")]
    if not isinstance(tree, exp.Select) or len(tree.expressions) != 1 or others or isinstance(tree.expressions[0], exp.Star):
        raise UsageError(f"{text!r} is not one expression", hint="write one aggregate, such as sum(amount); several as several words")
    one = tree.expressions[0]
    return text.strip() if not isinstance(one, exp.Alias) else str(one.this.sql(dialect="clickhouse"))


def tables_of(tree: Any) -> list[TableUse]:
    """The tables a statement names in FROM, JOIN and IN, without its own CTEs and table functions; in the order of the text."""
    from sqlglot import exp

    found = []
    for node in tree.find_all(exp.Table):
        if isinstance(node.this, exp.Identifier) and not _is_cte(node):
            name = f"{node.db}.{node.name}" if node.db else node.name
            found.append(TableUse(name, _line(node), isinstance(node.parent, exp.Final), node))
    for node in tree.find_all(exp.In):
        field = node.args.get("field")
        if isinstance(field, exp.Column) and not field.args.get("db") and not _is_cte(field):
            name = f"{field.table}.{field.name}" if field.table else field.name
            found.append(TableUse(name, _line(field), False, field))
    return sorted(found, key=lambda use: (use.line, use.name))


def names_of(tree: Any) -> list[str]:
    """What a statement may read from: the names of `tables_of`, of views with parameters, and behind IN in brackets (or a column's)."""
    from sqlglot import exp

    called = [node for node in tree.find_all(exp.Table) if isinstance(node.this, exp.Anonymous)]
    listed = [c for node in tree.find_all(exp.In) for c in node.expressions if isinstance(c, exp.Column)]
    return [
        *(use.name for use in tables_of(tree)),
        *(f"{node.db}.{node.this.name}" if node.db else node.this.name for node in called),
        *(f"{column.table}.{column.name}" if column.table else column.name for column in listed),
    ]


def _line(node: Any) -> int:
    return next((int(n.meta["line"]) for n in node.walk() if "line" in n.meta), 0)


def _is_cte(node: Any) -> bool:
    """Whether a name is that of a CTE which is in sight."""
    if node.args.get("db") or getattr(node, "table", "") and node.key == "column":
        return False
    below, at = node, node.parent
    while at is not None:
        known = at.args.get("with_") or at.args.get("with")
        if known is not None and any(cte.alias == node.name and cte is not below for cte in known.expressions):
            return True
        below, at = (at if at.key != "with" else below), at.parent
    return False


def by_hand(sql: str, relations: Mapping[str, Relation], *, database: str = "default") -> str:
    """The statement as it has to be written where nobody sets anything: FINAL behind each versioned table, views written out.

    Raises:
        NoTree: the text does not parse, or reads a view with parameters or a table function over versioned tables.
    """
    tree = parse(sql)
    _write(tree, relations, database, 0)
    return str(tree.sql(dialect="clickhouse", pretty=True))


def _write(tree: Any, relations: Mapping[str, Relation], database: str, depth: int) -> None:
    from sqlglot import exp

    if depth > 50:
        raise NoTree("the views are nested too deeply")
    for node in list(tree.find_all(exp.Table)):
        if isinstance(node.this, exp.Anonymous) and node.this.name.lower() in (
            "merge",
            "cluster",
            "remote",
            "remotesecure",
            "clusterallreplicas",
        ):
            named = [f"{c.table}.{c.name}" for c in node.find_all(exp.Column)]
            if any(relations.get(name, Relation("")).engine == "View" for name in named):
                raise NoTree(f"{node.this.name}() reads a view: FINAL has to be written in the view, on the server that has it")
            if not isinstance(node.parent, exp.Final):
                _wrap(node)
        elif not isinstance(node.this, exp.Identifier):
            view = relations.get(f"{node.db or database}.{getattr(node.this, 'name', '')}")
            if view is not None and view.engine == "View":
                raise NoTree(f"{node.db or database}.{node.this.name} is a view with parameters: its SELECT has to be written out by you")
    for use in tables_of(tree):
        name = use.name if "." in use.name else f"{database}.{use.name}"
        relation = relations.get(name)
        if relation is None:
            continue
        if isinstance(use.node, exp.Column):
            if relation.is_versioned:
                inner = exp.Subquery(this=parse(f"select * from {_quoted(name)} final"))
                where: Any = use.node.find_ancestor(exp.In)
                where.set("query", inner)
                where.set("field", None)
        elif relation.engine == "View":
            inner = parse(relation.as_select)
            _write(inner, relations, name.partition(".")[0], depth + 1)
            alias = use.node.args.get("alias") or exp.TableAlias(this=exp.to_identifier(use.node.name))
            use.node.replace(exp.Subquery(this=inner, alias=alias.copy()))
        elif relation.takes_final and not use.is_final:
            _wrap(use.node)


def _wrap(node: Any) -> None:
    from sqlglot import exp

    joins = node.args.pop("joins", None)
    node.replace(exp.Final(this=node.copy()))
    if joins:
        raise NoTree("a join in brackets has to be written out by you")


def _quoted(name: str) -> str:
    from workbench.lake.sql import quote_table

    return quote_table(name)
