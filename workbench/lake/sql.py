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
    "MERGED_WHEN_IDLE",
    "OWN_TABLES",
    "Column",
    "RAW_COLUMNS",
    "Placement",
    "current",
    "create_replacing",
    "find_no_read",
    "find_prewhere",
    "find_reading_setting",
    "join_key",
    "key_names",
    "quote",
    "quote_table",
    "quote_text",
    "row_hash",
    "split_key",
    "split_list",
    "shape_of",
]

# The engine's own setting: every table of a statement that can be read FINAL is read FINAL, through views, subqueries
# and joins too. It is how `Lake.query` keeps its promise whatever the statement looks like.
# The other one is off by default, and would be wrong for a key whose version moved to another partition.
CURRENT_SETTINGS: Mapping[str, object] = {"final": 1, "do_not_merge_across_partitions_select_final": 0}


# Tables of versions are merged wholly when nothing was inserted for ten minutes, so that reading current rows costs next to nothing.
# A table that changes all the time is left to the engine's usual merges: rewriting it each time would cost more than it saves.
MERGED_WHEN_IDLE = "min_age_to_force_merge_seconds = 600, min_age_to_force_merge_on_partition_only = 1"


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


def split_list(text: str) -> list[str]:
    r"""The expressions of a list, as the engine writes a sorting key or an engine's arguments.

    >>> split_list("toDate(at, 'UTC'), -id, `a, b`"), split_list("(a, b)"), split_list("(a) + (b)")
    (["toDate(at, 'UTC')", '-id', '`a, b`'], ['a', 'b'], ['(a) + (b)'])
    """
    found: list[str] = []
    depth = start = closed = 0
    for match in re.finditer(r"`(?:[^`\\]|\\.)*`|'(?:[^'\\]|\\.)*'|[(),\[\]]", text, re.DOTALL):
        sign = match[0]
        depth += (sign in "([") - (sign in ")]")
        closed += sign in ")]" and not depth
        if sign == "," and not depth:
            found.append(text[start : match.start()].strip())
            start = match.end()
    rest = text[start:].strip()
    if not found and closed == 1 and rest.startswith("(") and rest.endswith(")"):
        return split_list(rest[1:-1])
    return [*found, rest] if rest else []


def join_key(values: Sequence[str]) -> str:
    """The values of a key as one text: as it is when there is one, else separated by commas, with quotes where they are needed.

    >>> join_key(["a,b"]), join_key(["8", "1500"]), join_key(["a,b", 'an "a" b', "x"])
    ('a,b', '8,1500', '"a,b","an ""a"" b",x')
    """
    if len(values) == 1:
        return values[0]
    return ",".join('"' + v.replace('"', '""') + '"' if re.search(r'[,"\n]|^\s|\s$|^$', v) else v for v in values)


def split_key(text: str, count: int) -> list[str] | None:
    """The values of a key of so many columns, out of what `join_key` writes or a person types; None when it has another number.

    >>> split_key("a, b", 1), split_key(' 8, 1500', 2), split_key('"a,b","an ""a"" b",x', 3), split_key("8", 2)
    (['a, b'], ['8', '1500'], ['a,b', 'an "a" b', 'x'], None)
    """
    if count == 1:
        return [text]
    one = r'\s*(?:"((?:[^"]|"")*)"|([^,]*?))\s*'
    match = re.fullmatch(",".join([one] * count), text, re.DOTALL)
    if match is None:
        return None
    groups = match.groups()
    return [plain if quoted is None else quoted.replace('""', '"') for quoted, plain in zip(groups[::2], groups[1::2], strict=True)]


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
    expires: str = "",
    indexed: Sequence[str] = (),
) -> str:
    """DDL of a table that keeps, per key, the row of the highest version; does nothing when the table exists.

    With `deleted`, keys whose newest row has that column at 1 are not current. `expires` is an expression: when a row may go. Of the
    `indexed` columns the least and the highest value of every granule are kept, so that what came last is found without reading the rest.
    """
    lines = [f"{quote(c.name)} {c.type}" for c in columns]
    lines += [f"index least_and_highest_{n} {quote(name)} type minmax granularity 1" for n, name in enumerate(indexed)]
    body = ",\n    ".join(lines)
    arguments = quote(version) + (f", {quote(deleted)}" if deleted else "")
    order = ", ".join(quote(k) for k in key)
    return (
        f"create table if not exists {quote_table(table)}{placement.on_cluster}\n(\n    {body}\n)\n"
        f"engine = {placement.engine('ReplacingMergeTree', arguments)}\norder by ({order})"
        + (f"\nttl {expires}" if expires else "")
        + (f"\nsettings {settings}" if settings else "")
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


# Settings of the engine by which a statement would read rows that are not current, each found to do so on versioned tables.
_READING_SETTINGS = (
    "final",
    "use_skip_indexes_if_final_exact_mode",  # off: a skip index hides the newest version, and an older one answers
    "do_not_merge_across_partitions_select_final",  # on: a key whose version moved to another partition is there twice
    "defer_partition_pruning_after_final",  # off: a condition on the partition hides the newest version
)
_VALUE = r"(?:\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,{\[(])*"
_SETS_READING = re.compile(rf"\bsettings\b\s*(?:\w+\s*={_VALUE},\s*)*({'|'.join(_READING_SETTINGS)})\s*=", re.IGNORECASE)


def find_reading_setting(sql: str) -> str:
    """The setting by which a statement chooses by itself which versions it reads (outside text, names and comments); '' for none.

    >>> find_reading_setting("select 1 from t settings max_threads = 1, final = 0"), find_reading_setting("select 1 where final = 0")
    ('final', '')
    """
    found = _SETS_READING.search(_bare(sql))
    return found[1].lower() if found else ""


# statements that the engine lets through although reads cannot write
_NO_READS = ("kill", "set", "use", "system", "backup", "restore", "grant", "revoke")


def find_no_read(sql: str) -> str:
    """The first word of a statement that is none to read with, in capitals; '' for others.

    >>> find_no_read("/* x */ kill query where 1"), find_no_read("select 1")
    ('KILL', '')
    """
    first = re.match(r"[\s(]*(\w+)", _bare(sql))
    return first[1].upper() if first and first[1].lower() in _NO_READS else ""


def _bare(sql: str) -> str:
    """A statement with its texts as 0, without its comments, and with quoted names as plain ones."""

    def bare(match: re.Match[str]) -> str:
        text = match[0]
        return text if match["word"] else text[1:-1] if text[0] in '"`' else "0" if text[0] in "'$" else " "

    return _SKIP.sub(bare, sql)
