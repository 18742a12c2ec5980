"""The text of SQL, as values: quoting, tables and their DDL, reads of current rows.

Pure: nothing here speaks to a server. It is the only place of the package that quotes an identifier and the only one
that writes FINAL. (dbt has one of its own: the macro `current`.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.errors import UsageError

__all__ = [
    "CURRENT_SETTINGS",
    "OWN_TABLES",
    "Column",
    "RAW_COLUMNS",
    "Placement",
    "current",
    "create_replacing",
    "find_final_setting",
    "find_prewhere",
    "key_names",
    "quote",
    "quote_table",
    "quote_text",
    "row_hash",
    "shape_of",
]

# The engine's own setting: every table of a statement that can be read FINAL is read FINAL, through views, subqueries
# and joins too. It is how `Lake.query` keeps its promise whatever the statement looks like.
CURRENT_SETTINGS: Mapping[str, object] = {"final": 1}


@dataclass(frozen=True)
class Column:
    """A column of a table: its name and its ClickHouse type."""

    name: str
    type: str


# what every raw table has after the source's columns
RAW_COLUMNS: tuple[Column, ...] = (
    Column("_version", "UInt64"),
    Column("_deleted", "UInt8"),
    Column("_synced_at", "DateTime64(3, 'UTC')"),
    Column("_run_id", "String"),
)

# raw tables that are the workbench's own: no list of a user's tables shows them
OWN_TABLES = ("raw.skygraph_canary",)


def quote(name: str) -> str:
    r"""An identifier, quoted; any text can be one, except an empty one or one with a NUL.

    >>> quote("we`ird \\ name")
    '`we\\`ird \\\\ name`'
    """
    if not name or "\0" in name:
        raise UsageError(f"{name!r} cannot be the name of a table or column")
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quote_table(name: str) -> str:
    """A `database.table` name, each part quoted. The database is what stands before the first dot.

    >>> quote_table("raw.invoices")
    '`raw`.`invoices`'
    """
    database, dot, table = name.partition(".")
    return f"{quote(database)}.{quote(table)}" if dot else quote(database)


def quote_text(text: str) -> str:
    r"""A text literal, for the few places that take no bound parameter (arguments of table functions, defaults).

    >>> quote_text("it's")
    "'it\\'s'"
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "a": "\a", "v": "\v", "e": "\x1b"}


def key_names(key: str) -> list[str]:
    r"""The columns of a sorting key as `system.tables` writes it: a list of plain columns, as our own DDL made it.

    >>> key_names("order_id, `it\\'s, x`, id")
    ['order_id', "it's, x", 'id']
    """
    found = re.findall(r"`((?:[^`\\]|\\.)*)`|([^\s,()`]+)", key, re.DOTALL)
    return [re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), quoted, flags=re.DOTALL) or plain for quoted, plain in found]


def shape_of(table: str) -> str:
    """Two expressions: the columns of a table in order, as pairs of name and type, and its sorting key; empty when it is not there."""
    database, _, name = table.partition(".")
    at = f"where database = {quote_text(database)} and"
    columns = f"select name, type from system.columns {at} table = {quote_text(name)} order by position"
    return (
        f"(select groupArray((name, type)) from ({columns})), (select any(sorting_key) from system.tables {at} name = {quote_text(name)})"
    )


@dataclass(frozen=True)
class Placement:
    """Where tables are made: on this server, or ON CLUSTER with Replicated engines."""

    cluster: str = ""

    @property
    def on_cluster(self) -> str:
        """The ON CLUSTER clause with a space before it, or nothing."""
        return f" on cluster {quote(self.cluster)}" if self.cluster else ""

    def engine(self, name: str, arguments: str = "") -> str:
        """A MergeTree-family engine clause.

        >>> Placement().engine("ReplacingMergeTree", "_version")
        'ReplacingMergeTree(_version)'
        >>> Placement("main").engine("MergeTree")
        'ReplicatedMergeTree()'
        """
        return f"{'Replicated' if self.cluster else ''}{name}({arguments})"

    def create_database(self, name: str) -> str:
        """DDL of a database; does nothing when it exists."""
        return f"create database if not exists {quote(name)}{self.on_cluster}"


def create_replacing(
    table: str,
    columns: Sequence[Column],
    *,
    key: Sequence[str],
    version: str,
    deleted: str = "",
    placement: Placement = Placement(),
    settings: str = "",
    indexed: Sequence[str] = (),
) -> str:
    """DDL of a table that keeps, per key, the row of the highest version; does nothing when the table exists.

    With `deleted`, keys whose newest row has that column at 1 are not current. Of the `indexed` columns the least and the highest value
    of every granule are kept, so that what came last is found without reading the rest.
    """
    lines = [f"{quote(c.name)} {c.type}" for c in columns]
    lines += [f"index least_and_highest_{n} {quote(name)} type minmax granularity 1" for n, name in enumerate(indexed)]
    body = ",\n    ".join(lines)
    arguments = quote(version) + (f", {quote(deleted)}" if deleted else "")
    order = ", ".join(quote(k) for k in key)
    return (
        f"create table if not exists {quote_table(table)}{placement.on_cluster}\n(\n    {body}\n)\n"
        f"engine = {placement.engine('ReplacingMergeTree', arguments)}\norder by ({order})" + (f"\nsettings {settings}" if settings else "")
    )


def current(table: str) -> str:
    """A relation for a FROM clause: the current rows of a ReplacingMergeTree table, one per key, deleted ones left out.

    >>> current("raw.invoices")
    '`raw`.`invoices` final'
    """
    return f"{quote_table(table)} final"


def row_hash(columns: Sequence[str]) -> str:
    """An expression: 128 bits over the values of these columns, NULL and '' told apart."""
    return f"sipHash128(tuple({', '.join(quote(c) for c in columns)}))"


def rows_checksum(columns: Sequence[str]) -> str:
    """An aggregate: 64 bits over the values of all rows, in whatever order. A fifth of the work of `row_hash`."""
    return f"sum(cityHash64(tuple({', '.join(quote(c) for c in columns)})))"


_SKIP = re.compile(
    r"""
    '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.)*" | `(?:[^`\\]|\\.)*`  # texts and quoted names
    | (?<![\w$])\$(?P<tag>\w*)\$.*?\$(?P=tag)\$                     # texts between tags
    | --[^\n]* | \#[^\n]* | /\*.*?\*/                              # comments
    | (?P<word>\bprewhere\b)
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def find_prewhere(sql: str) -> bool:
    """Whether a statement has an explicit PREWHERE (outside text, names and comments).

    PREWHERE is evaluated before versions are merged, so under FINAL it answers another question.

    >>> find_prewhere("select 1 from t prewhere x"), find_prewhere("select 'prewhere' -- prewhere")
    (True, False)
    """
    return any(match["word"] for match in _SKIP.finditer(sql))


def find_final_setting(sql: str) -> bool:
    """Whether a statement sets `final` by itself (outside text, names and comments).

    >>> find_final_setting("select 1 from t settings max_threads = 1, final = 0"), find_final_setting("select 1 where final = 0")
    (True, False)
    """

    def bare(match: re.Match[str]) -> str:
        text = match[0]
        return text if match["word"] else text[1:-1] if text[0] in '"`' else "0" if text[0] in "'$" else " "

    return re.search(r"\bsettings\b\s*(?:\w+\s*=[^,]*,\s*)*final\s*=", _SKIP.sub(bare, sql), re.IGNORECASE) is not None
