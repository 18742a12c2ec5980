"""Faults of a SELECT that one can see in its text: a versioned table read raw, versions picked by hand, conditions before that.

Pure. For `skygraph lint`; `Lake.query` needs none of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.lake.sql import find_prewhere, find_reading_setting
from workbench.lake.statement import NoTree, Relation, by_hand, parse, tables_of

__all__ = ["SqlFault", "sql_faults"]

_VERSION = re.compile(r"_?(version|ver|synced_at|updated_at|modified_at|seq)", re.IGNORECASE)


@dataclass(frozen=True)
class SqlFault:
    """What is wrong, where in the text (line from 1), why, and the statement put right ('' where that is for its writer to say)."""

    kind: str
    line: int
    why: str
    corrected: str = ""


def sql_faults(sql: str, keys: Mapping[str, Sequence[str]], *, is_current: bool) -> list[SqlFault]:
    """The faults of one statement. `keys` are the versioned tables by `database.table`, with their key columns.

    With `is_current` the statement is read by something that sets `final` (`bench.sql`, `%%skygraph sql`), so a plain read is right.
    """
    found = []
    if find_prewhere(sql):
        found.append(SqlFault("prewhere", _line_of(sql, r"\bprewhere\b"), _WHY["prewhere"], re.sub(r"(?i)\bprewhere\b", "where", sql)))
    if setting := find_reading_setting(sql):
        found.append(SqlFault("setting", _line_of(sql, rf"\b{setting}[`\"]?\s*="), _WHY["setting"].format(setting), _without_settings(sql)))
    try:
        tree = parse(sql)
    except NoTree:
        return found + ([] if is_current else list(_seen_by_words(sql, keys)))
    relations = {name: Relation("ReplacingMergeTree") for name in keys}
    dedups = [] if is_current else list(_dedups(tree, keys))
    found += [_as_fault(d, sql) for d in dedups]
    judged = {id(node) for d in dedups for node in d.tables}
    if not is_current:
        for use in tables_of(tree):
            if use.name in keys and not use.is_final and id(use.node) not in judged:
                kind = "engine view" if tree.key == "create" and tree.args.get("properties") and _is_materialized(tree) else "raw read"
                corrected = "" if kind == "engine view" else by_hand(sql, relations)
                found.append(SqlFault(kind, use.line, _WHY[kind].format(use.name), corrected))
        found += _dictionaries(sql, keys)
    found += _counts_of_the_engine(sql, keys)
    return sorted(found, key=lambda f: (f.line, f.kind))


_WHY = {
    "prewhere": "PREWHERE is evaluated before versions are merged: it asks whether any version met the condition",
    "setting": "`{}` is set by hand, so older versions may answer",
    "raw read": "{} keeps every version until it is merged; without FINAL superseded rows and deleted keys are counted too",
    "engine view": "a materialized view over {} sees inserted rows, not current ones: each new version is added to the old",
    "dictionary": "a dictionary is filled by a read of its own, where nobody sets anything: {} is read raw",
    "engine counts": "the engine's own counts are of physical rows",
    "filter before dedup": "the condition on {1} is evaluated before versions of {0} are merged: a key answers when any version met it",
    "flag before dedup": "rows with {1} set are left out before versions of {0} are merged: a deleted key comes back as it was before",
    "deleted keys": "versions of {0} are merged by hand, without its deletion flag: deleted keys are counted as if they were there",
    "dedup by hand": "versions of {0} are merged by hand; FINAL is right and cheaper",
}


def _line_of(sql: str, pattern: str) -> int:
    found = re.search(pattern, sql, re.IGNORECASE)
    return sql.count("\n", 0, found.start()) + 1 if found else 1


def _without_settings(sql: str) -> str:
    """The statement without its settings of which versions are read."""
    names = r"(final|use_skip_indexes_if_final_exact_mode|do_not_merge_across_partitions_select_final|defer_partition_pruning_after_final)"
    text = re.sub(rf"(?i),\s*[`\"]?{names}[`\"]?\s*=\s*\w+", "", sql)
    text = re.sub(rf"(?i)\bsettings\s+[`\"]?{names}[`\"]?\s*=\s*\w+\s*,\s*", "settings ", text)
    return re.sub(rf"(?i)\s*\bsettings\s+[`\"]?{names}[`\"]?\s*=\s*\w+", "", text)


def _seen_by_words(sql: str, keys: Mapping[str, Sequence[str]]) -> Iterator[SqlFault]:
    """The raw reads of a text that has no tree: a table's name behind FROM or JOIN, without FINAL behind it."""
    for match in re.finditer(
        r"(?i)\b(?:from|join)\s+[`\"]?(\w+)[`\"]?\.[`\"]?(\w+)[`\"]?(?!\s*\()(\s+(?:as\s+)?(?!final\b|where\b)\w+)?(\s+final\b)?", sql
    ):
        name = f"{match[1]}.{match[2]}"
        if name in keys and not match[4]:
            yield SqlFault("raw read", sql.count("\n", 0, match.start(1)) + 1, _WHY["raw read"].format(name))


# --- versions merged by hand


@dataclass(frozen=True)
class _Dedup:
    """A SELECT that picks the newest version by itself, of one table."""

    select: Any
    table: str
    tables: tuple[Any, ...]
    line: int
    key: tuple[str, ...]
    filtered: tuple[str, ...]


def _dedups(tree: Any, keys: Mapping[str, Sequence[str]]) -> Iterator[_Dedup]:
    """The SELECTs that pick versions of a versioned table by hand, and read it without FINAL."""
    from sqlglot import exp

    for select in tree.find_all(exp.Select):
        source = select.args.get("from_") or select.args.get("from")
        if source is None or not isinstance(source.this, exp.Table):
            continue
        name = f"{source.this.db}.{source.this.name}"
        if name not in keys or not _picks_versions(select):
            continue
        where = [w for w in (select.args.get("where"), select.args.get("prewhere")) if w is not None]
        key = tuple(keys[name])
        columns = dict.fromkeys(c.name for w in where for c in w.find_all(exp.Column) if c.find_ancestor(exp.Select) is select)
        filtered = tuple(c for c in columns if c not in key)
        line = int(source.this.this.meta.get("line", 1))
        yield _Dedup(select, name, (source.this,), line, key, filtered)


def _picks_versions(select: Any) -> bool:
    """Whether a SELECT is one of the known ways to pick the newest version."""
    from sqlglot import exp

    def versions(node: Any) -> bool:
        return any(_VERSION.fullmatch(c.name) for c in node.find_all(exp.Column))

    own = [n for n in select.find_all(exp.ArgMax, exp.Window, exp.Max, exp.Anonymous, exp.AnonymousAggFunc, exp.CombinedAggFunc)
           if n.find_ancestor(exp.Select) is select]  # fmt: skip
    order = select.args.get("order")
    limit = select.args.get("limit")
    distinct = select.args.get("distinct")
    if limit is not None and limit.args.get("expressions") and order is not None and versions(order):
        return True  # LIMIT n BY
    if distinct is not None and distinct.args.get("on") is not None and order is not None and versions(order):
        return True
    for node in own:
        if isinstance(node, exp.ArgMax) and versions(node.args["expression"]):
            return True
        if node.key in ("anonymous", "anonymousaggfunc", "combinedaggfunc"):
            name = str(node.this).lower()
            if name.startswith(("argmax", "last_value")) and versions(node):
                return True
        if (
            isinstance(node, exp.Window)
            and node.args.get("partition_by")
            and node.args.get("order") is not None
            and versions(node.args["order"])
        ):
            return True
        if isinstance(node, exp.Max) and select.args.get("group") is not None and versions(node):
            return True
    return False


def _as_fault(dedup: _Dedup, sql: str) -> SqlFault:
    flags = [c for c in dedup.filtered if re.fullmatch(r"_?(is_)?deleted", c)]
    changing = [c for c in dedup.filtered if c not in flags]
    mentions = re.search(r"\b_?(is_)?deleted\b", sql) is not None
    kind = "filter before dedup" if changing else "flag before dedup" if flags else "dedup by hand" if mentions else "deleted keys"
    why = _WHY[kind].format(dedup.table, ", ".join(changing or flags))
    return SqlFault(kind, dedup.line, why, _rewritten(dedup))


def _rewritten(dedup: _Dedup) -> str:
    """The same question over current rows: the columns as they are, FINAL, and the condition after it."""
    from sqlglot import exp

    columns = []
    for e in dedup.select.expressions:
        inner = e.this if isinstance(e, exp.Alias) else e
        if isinstance(inner, (exp.Window, exp.Max)):
            continue  # a rank, or a version
        if inner.key in ("argmax", "anonymous", "anonymousaggfunc", "combinedaggfunc"):
            first = inner.this if isinstance(inner, exp.ArgMax) else (inner.expressions or [None])[0]
            if (
                first is None
                or _VERSION.fullmatch(getattr(first, "name", ""))
                or re.fullmatch(r"_?(is_)?deleted", getattr(first, "name", ""))
            ):
                continue
            columns.append(
                f"{first.sql(dialect='clickhouse')} as {e.alias}" if e.alias and e.alias != first.sql() else first.sql(dialect="clickhouse")
            )
        else:
            columns.append(e.sql(dialect="clickhouse"))
    conditions = []
    for part in ("prewhere", "where"):
        node = dedup.select.args.get(part)
        if node is not None:
            conditions += [c.sql(dialect="clickhouse") for c in node.this.flatten() if isinstance(node.this, exp.And)] or [
                node.this.sql(dialect="clickhouse")
            ]
    kept = [c for c in conditions if not re.search(r"\b_?(is_)?deleted\b", c)]
    return f"select {', '.join(columns) or '*'} from {dedup.table} final" + (f" where {' and '.join(kept)}" if kept else "")


# --- what is read elsewhere


def _is_materialized(tree: Any) -> bool:
    return (
        any(p.key == "materializedproperty" for p in tree.args["properties"].expressions)
        or "materialized" in tree.sql("clickhouse").lower()
    )


def _dictionaries(sql: str, keys: Mapping[str, Sequence[str]]) -> list[SqlFault]:
    if not re.search(r"(?i)\bcreate\s+(or\s+replace\s+)?dictionary\b", sql):
        return []
    database = re.search(r"(?i)\bdb\s+'(\w+)'", sql)
    table = re.search(r"(?i)\btable\s+'([\w.]+)'", sql)
    found = []
    if table is not None:
        name = table[1] if "." in table[1] else f"{database[1] if database else 'default'}.{table[1]}"
        if name in keys:
            corrected = sql[: table.start()] + f"query 'select * from {name} final'" + sql[table.end() :]
            found.append(SqlFault("dictionary", sql.count("\n", 0, table.start()) + 1, _WHY["dictionary"].format(name), corrected))
    if query := re.search(r"(?i)\bquery\s+'((?:[^'\\]|\\.|'')*)'", sql):
        inner = query[1].replace("\\'", "'").replace("''", "'")
        for fault in sql_faults(inner, keys, is_current=False):
            line = sql.count("\n", 0, query.start(1)) + fault.line
            found.append(SqlFault("dictionary", line, fault.why, fault.corrected))
    return found


def _counts_of_the_engine(sql: str, keys: Mapping[str, Sequence[str]]) -> list[SqlFault]:
    databases = {"raw", *(name.partition(".")[0] for name in keys)}
    if not re.search(r"(?i)\bsystem\.(tables|parts)\b", sql) or not re.search(r"(?i)\b(total_rows|sum\(\s*rows\s*\))", sql):
        return []
    if not any(re.search(rf"'{re.escape(d)}'", sql) for d in databases):
        return []
    return [
        SqlFault("engine counts", _line_of(sql, r"\bsystem\.(tables|parts)\b"), _WHY["engine counts"], "select count() from <table> final")
    ]
