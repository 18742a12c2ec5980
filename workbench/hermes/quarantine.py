"""Rows that do not fit: `skygraph.quarantine` keeps them as texts, with the reason, until they fit or are gone.

A table read carefully is read as texts; each row whose every text casts to its column goes on, each other one is set apart
here, one current row per key. A key leaves the quarantine when a good row of it lands, or when the source no longer has it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.hermes.connector import SourceColumn, SourceTable, Stage
from workbench.hermes.landing import bare, can_be_null, is_array_text, parse_text
from workbench.hermes.tables import TableJob
from workbench.lake import Lake
from workbench.lake.sql import Column, create_replacing, current, quote, quote_table, quote_text

__all__ = ["Quarantine", "QuarantineList", "prepare_quarantine", "read_quarantine"]

TABLE = "skygraph.quarantine"
_VALUE, _WHY = "skygraph value ", "skygraph reason"  # beside the columns of a table, whatever those are called
_COLUMNS = (
    Column("table", "String"),
    Column("key", "String"),
    Column("reason", "String"),
    Column("row", "String"),
    Column("run_id", "String"),
    Column("quarantined_at", "DateTime64(3, 'UTC')"),
    Column("_version", "UInt64"),
    Column("_deleted", "UInt8"),
)


def prepare_quarantine(lake: Lake) -> None:
    """Make the table; does nothing when it is there."""
    lake.create_database("skygraph")
    lake.command(
        create_replacing(TABLE, _COLUMNS, key=["table", "key"], version="_version", deleted="_deleted", placement=lake.placement),
        retry=True,
    )


@dataclass(frozen=True)
class QuarantineList(Answer):
    """Rows that did not fit, newest first: `table`, `key` and `row` (values as texts), `reason`, `run_id`, `quarantined_at`."""

    rows: tuple[dict[str, Any], ...]
    total: int

    def to_dict(self) -> Any:
        """A row per quarantined row."""
        return list(self.rows)

    def blocks(self) -> Iterator[Block]:
        """A grid: table, key, reason."""
        shown = [[r["table"], ", ".join(r["key"].values()), r["reason"], r["quarantined_at"]] for r in self.rows]
        yield Grid(["table", "key", "reason", "since"], shown, empty="no row is in quarantine: everything that was read fits")
        if self.total > len(self.rows):
            yield Note(f"the newest {len(self.rows)} of {self.total}; name a table to see more of it", "quiet")
        if self.rows:
            yield Note("correct them at the source, or set a type under `columns:` and `skygraph sync quarantine replay`", "quiet")


def read_quarantine(lake: Lake, tables: Sequence[str], *, limit: int) -> QuarantineList:
    """The rows in quarantine, of these tables or of all."""
    import json

    prepare_quarantine(lake)
    where = "where table in {t:Array(String)}" if tables else ""
    bound: dict[str, Any] = {"t": list(tables)} if tables else {}
    total = int(lake.scalar(f"select count() from {TABLE} {where}", bound))
    found = lake.query(
        f"select table, key, reason, row, run_id, quarantined_at from {TABLE} {where} "
        "order by quarantined_at desc, table, key limit {n:UInt32}",
        {**bound, "n": limit},
    )
    rows = tuple({**row, "key": json.loads(row["key"]), "row": json.loads(row["row"])} for row in found.to_pylist())
    return QuarantineList(rows, total)


class Quarantine:
    """The quarantine of one table in one run. `set_apart` counts the rows that this run put there."""

    def __init__(self, lake: Lake, job: TableJob, run_id: str) -> None:
        self.lake, self.job, self.run_id = lake, job, run_id
        self.set_apart = 0
        self.known: int | None = None  # how many rows are there, when that is known

    def count(self) -> int:
        """Rows of the table that are there now."""
        if self.known is None:
            self.known = int(self.lake.facts(self.counting())[0][0])
        return self.known

    def counting(self) -> str:
        """The SELECT of `count`, for another statement."""
        return f"select count() from {current(TABLE)} where table = {quote_text(self.job.table)}"

    def keys(self) -> str:
        """A SELECT of the keys that are there, as `key_text` writes them."""
        return f"select key from {current(TABLE)} where table = {quote_text(self.job.table)}"

    def key_text(self) -> str:
        """An expression: the key of a row that landed, as the quarantine keeps it."""
        parts = ", ".join(f"{quote_text(k)}, ifNull(toString({quote(k)}), '')" for k in self.job.key)
        return f"toJSONString(map({parts}))"

    def sort_out(self, select: str, into: Stage, source: SourceTable, *, where: str, tag: str) -> tuple[int, int]:
        """Rows as texts: those that fit go into the stage if `where` holds for them, the others here.

        Returns all rows that were read, and the bytes of those that fit.
        """
        texts = Stage(self.lake, [SourceColumn(c.name, "Nullable(String)", "") for c in source.columns])
        try:
            rows, _ = self.lake.fill(f"insert into {quote_table(texts.table)}\nselect * from (\n{select}\n)", tag=tag)
            return rows, self._cast(quote_table(texts.table), into, source.columns, where=where, tag=tag)
        finally:
            texts.drop()

    def cast_again(self, into: Stage) -> int:
        """Cast the rows that are there to the columns of the stage; those that fit go into it. Returns how many were tried."""
        texts = ", ".join(
            f"if(JSONHas(row, {quote_text(c.name)}), JSONExtract(row, {quote_text(c.name)}, 'Nullable(String)'), null) as {quote(c.name)}"
            for c in into.columns
        )
        tried = self.count()
        relation = f"(select {texts} from {current(TABLE)} where table = {quote_text(self.job.table)})"
        self._cast(relation, into, into.columns, where="", tag=f"sync:{self.job.table}:{self.run_id}:")
        return tried

    def _cast(self, relation: str, into: Stage, columns: Sequence[SourceColumn], *, where: str, tag: str) -> int:
        casts = ", ".join(f"{parse_text(quote(c.name), c.type)} as {quote(f'{_VALUE}{n}')}" for n, c in enumerate(columns))
        reasons = ", ".join(_reason(c, quote(c.name), quote(f"{_VALUE}{n}"), is_key=c.name in self.job.key) for n, c in enumerate(columns))
        values = ", ".join(
            f"assumeNotNull({quote(f'{_VALUE}{n}')}) as {quote(c.name)}"
            if not c.type.startswith(_CAN_BE_NULL)
            else f"{quote(f'{_VALUE}{n}')} as {quote(c.name)}"
            for n, c in enumerate(columns)
        )
        names = ", ".join(quote(c.name) for c in columns)
        judged = f"select *, arrayFilter(x -> x != '', [{reasons}]) as `{_WHY}` from (select *, {casts} from {relation})"
        good = f"select {values} from ({judged}) where empty(`{_WHY}`)"
        chosen = f" where {where}" if where else ""
        _, size = self.lake.fill(f"insert into {quote_table(into.table)} ({names})\nselect {names} from (\n{good}\n){chosen}", tag=tag)
        row = ", ".join(f"{quote_text(c.name)}, {quote(c.name)}" for c in columns)
        # a key that fits is written as `key_text` writes it when its row lands: 1.50 is 1.5 there
        places = {c.name: n for n, c in enumerate(columns)}
        keys = [(k, f"ifNull(toString({quote(f'{_VALUE}{places[k]}')}), ifNull({quote(k)}, ''))") for k in self.job.key]
        parts = ", ".join(f"{quote_text(k)}, {value}" for k, value in keys)
        # rows without a key are kept apart from each other by what they hold
        missing = " or ".join(f"{quote(k)} is null" for k in self.job.key)
        whole = f"toJSONString(map({parts}, 'row', hex(sipHash64(toJSONString(map({row}))))))"
        key = f"if({missing}, {whole}, toJSONString(map({parts})))"
        now = dt.datetime.now(dt.timezone.utc)
        added, _ = self.lake.fill(
            f"insert into {quote_table(TABLE)}\n"
            f"select {{table:String}}, {key}, arrayStringConcat(`{_WHY}`, '; '), toJSONString(map({row})), {{run:String}}, "
            f"now64(3), {{version:UInt64}}, 0 from ({judged}) where notEmpty(`{_WHY}`)",
            {"table": self.job.table, "run": self.run_id, "version": int(now.timestamp() * 1_000_000)},
            tag=tag,
        )
        self.set_apart += added
        self.known = None
        return size

    def forget_good(self, landed: Stage) -> None:
        """Keys of which a good row has landed leave."""
        self._forget(f"key in (select {self.key_text()} from {quote_table(landed.table)})")

    def forget_gone(self, listed: Stage, *, has_rows: bool) -> None:
        """Keys that are not among all those of the source leave; those that this run set apart are at the source.

        A row without a key is only known to be gone when all rows were read.
        """
        gone = f"run_id != {quote_text(self.run_id)} and key not in (select {self.key_text()} from {quote_table(listed.table)})"
        self._forget(gone if has_rows else f"{gone} and length(JSONExtractKeys(key)) = {len(self.job.key)}")

    def _forget(self, condition: str) -> None:
        if not self.count():
            return
        names = "table, key, reason, row, run_id, quarantined_at"
        self.lake.command(
            f"insert into {quote_table(TABLE)} select {names}, _version + 1, 1 from {current(TABLE)} "
            f"where table = {{t:String}} and {condition}",
            {"t": self.job.table},
        )
        self.known = None


_CAN_BE_NULL = ("Nullable(", "LowCardinality(Nullable(")


def _reason(column: SourceColumn, text: str, value: str, *, is_key: bool) -> str:
    """An expression: why a text does not fit its column; '' when it does."""
    name = column.name
    wrong = quote_text(f"{name} is not {bare(column.type)}: ")
    if not can_be_null(bare(column.type)):
        return f"if({is_array_text(text)}, '', concat({wrong}, substringUTF8(assumeNotNull({text}), 1, 80)))"
    missing = (
        "'' " if column.type.startswith(_CAN_BE_NULL) else quote_text(f"{name} has no value" + (", and is in the key" if is_key else ""))
    )
    return f"multiIf({text} is null, {missing}, {value} is null, concat({wrong}, substringUTF8(assumeNotNull({text}), 1, 80)), '')"
