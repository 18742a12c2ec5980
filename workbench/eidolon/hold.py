"""Hold the tables of models still while they are read, so that all types of a snapshot see one state of the lake.

A table is cloned: its files are linked, which takes milliseconds whatever its size, and the clone does not change. When no table
changed from before the first clone until after the last, all clones are of one moment. What cannot be cloned (a view, a SELECT) is read
where it is, and afterwards it is asked whether what it reads has changed meanwhile.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from workbench.errors import LakeError, QueryError
from workbench.lake import Lake
from workbench.lake.sql import key_names, quote, quote_table

__all__ = ["Held", "drop_clones", "hold", "table_of"]

_TABLE = re.compile(r"`(?:[^`\\]|\\.)+`\.`(?:[^`\\]|\\.)+`", re.DOTALL)
_CLONE = "hold_"
_GONE = (60, 81, 218)


@dataclass(frozen=True)
class _Seen:
    """A table at a moment: what changes with every write to it and with nothing else, and what is the same for the same rows."""

    stamp: str
    content: str
    built_at: dt.datetime


@dataclass
class Held:
    """Models as they can be read: the relation of each, a print of its content ('' when nobody can tell), and when it was made."""

    lake: Lake
    relations: Mapping[str, str]
    prints: Mapping[str, str]
    built_at: Mapping[str, dt.datetime]
    moved: tuple[str, ...]  # tables that changed while they were being held
    _in_place: Mapping[str, str] = field(default_factory=dict)
    _stamps: Mapping[str, str] = field(default_factory=dict)

    def changed(self) -> list[str]:
        """The models that were read where they are and have changed since."""
        now = _stamps_of(self.lake, self._in_place)
        return [model for model, stamp in self._stamps.items() if now.get(model) != stamp]


@contextmanager
def hold(lake: Lake, relations: Mapping[str, str], is_new: Callable[[str, str], bool] = lambda model, content: True) -> Iterator[Held]:
    """Hold these models (name to relation) until the end of the block; those that `is_new` by the print of their content, which will be
    read.
    """
    tables = {model: table for model, relation in relations.items() if (table := table_of(relation))}
    before = _look(lake, set(tables.values()))
    in_place = {m: r for m, r in relations.items() if tables.get(m) not in before}
    stamps = _stamps_of(lake, in_place)
    clones: dict[str, str] = {}
    try:
        held = dict(relations)
        for model, table in tables.items():
            if table not in before or not is_new(model, before[table].content):
                continue
            clone = f"eidolon.{_CLONE}{len(clones)}"
            try:
                lake.command(f"create table {quote_table(clone)} clone as {relations[model]}")
            except QueryError as error:
                if error.code in _GONE:  # it was swapped away: `moved` says so
                    continue
                in_place[model] = relations[model]
                stamps[model] = before[table].stamp
                continue
            clones[model], held[model] = clone, quote_table(clone)
        after = _look(lake, set(tables.values()))
        moved = {t for t in {*before, *after} if getattr(before.get(t), "stamp", "") != getattr(after.get(t), "stamp", "")}
        prints = {m: before[t].content for m, t in tables.items() if t in before}
        made = {m: before[t].built_at for m, t in tables.items() if t in before}
        yield Held(lake, held, prints, made, tuple(sorted(".".join(t) for t in moved)), in_place, stamps)
    finally:
        for clone in clones.values():
            with suppress(LakeError):  # the next take drops what is left
                lake.command(f"drop table if exists {quote_table(clone)} sync")


def drop_clones(lake: Lake) -> None:
    """Drop the clones, and what else of a take, that a process which was killed has left."""
    for name in lake.tables("eidolon"):
        if name.startswith(_CLONE) or name.endswith("~") or name == "stage":
            lake.command(f"drop table if exists eidolon.{quote(name)} sync", retry=True)


def table_of(relation: str) -> tuple[str, str] | None:
    """The database and name of a relation that is a quoted table; None for a SELECT.

    >>> table_of("`marts`.`orders`"), table_of("(select 1)")
    (('marts', 'orders'), None)
    """
    if not _TABLE.fullmatch(relation):
        return None
    names = key_names(relation)
    return names[0], names[-1]


def _look(lake: Lake, tables: set[tuple[str, str]]) -> dict[tuple[str, str], _Seen]:
    """The tables of these that are of the MergeTree family."""
    if not tables:
        return {}
    # a merge makes other parts of the same rows; blocks and mutations are counted per partition and never go back
    rows = lake.rows(
        "select t.database as database, t.name as name, toString(t.uuid) as uuid, t.engine_full as engine,\n"
        "    t.metadata_modification_time as made, p.blocks as blocks, p.content as content\n"
        "from (select * from system.tables where concat(database, '.', name) in {names:Array(String)} and engine like '%MergeTree') as t\n"
        "left join (\n"
        "    select database, table, arraySort(groupArray((partition_id, blocks, version))) as blocks,\n"
        "        arraySort(groupArrayArray(hashes)) as content\n"
        "    from (\n        select database, table, partition_id, max(max_block_number) as blocks, max(data_version) as version,\n"
        "            groupArray(hash_of_all_files) as hashes\n"
        "        from system.parts where active and concat(database, '.', table) in {names:Array(String)}\n"
        "        group by database, table, partition_id\n    )\n    group by database, table\n"
        ") as p on p.database = t.database and p.table = t.name",
        {"names": [".".join(t) for t in tables]},
    )
    found = {}
    for row in rows:
        table = (row["database"], row["name"])
        if table in tables:
            content = hashlib.sha256(f"{row['engine']} {row['content']}".encode()).hexdigest()
            made = row["made"]
            at = made if isinstance(made, dt.datetime) else dt.datetime.fromtimestamp(int(made), dt.timezone.utc)
            found[table] = _Seen(f"{row['uuid']} {row['made']} {row['blocks']}", content, at)
    return found


def _stamps_of(lake: Lake, relations: Mapping[str, str]) -> dict[str, str]:
    """A stamp of everything that each relation reads now."""
    found = {}
    for model, relation in relations.items():
        try:
            read = lake.query(f"explain estimate select * from {relation} as s").to_pylist()
        except QueryError:
            found[model] = ""
            continue
        seen = _look(lake, {(row["database"], row["table"]) for row in read})
        found[model] = repr(sorted((t, s.stamp) for t, s in seen.items()))
    return found
