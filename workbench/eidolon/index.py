"""The table of snapshots: which there are, which one a name or a time means, what each part was like in it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.eidolon.answers import Event, Events, Snapshot
from workbench.eidolon.history import SNAPSHOTS_TABLE, Part
from workbench.eidolon.point import parse_time
from workbench.errors import QueryError, UnknownName, UsageError
from workbench.lake import Lake
from workbench.lake.sql import quote_table

__all__ = ["Index", "Known"]

_MISSING = (60, 81)  # ClickHouse: unknown table, unknown database
_TABLE = quote_table(SNAPSHOTS_TABLE)
_EXACT = "%Y-%m-%d %H:%M:%S.%f"
_COLUMNS = "seq, id, label, taken_at, counts, links, added, removed, changed, events"


@dataclass(frozen=True)
class Known:
    """What the newest snapshot up to some number that covers a part says of it: see `history.snapshots_table`."""

    seq: int
    count: int
    total: int  # of the hashes
    print: str
    built_at: dt.datetime
    columns: Mapping[str, str]


@dataclass
class Index:
    """Reads the snapshots of a lake. Writes nothing; a lake without any has none."""

    lake: Lake
    clock: Callable[[], dt.datetime]

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of a SELECT; none while there is no table."""
        try:
            return self.lake.rows(sql, parameters)
        except QueryError as error:
            if error.code in _MISSING:
                return []
            raise

    def read(self, where: str = "", parameters: Mapping[str, Any] | None = None) -> list[Snapshot]:
        """Snapshots, oldest first."""
        return [_snapshot(row) for row in self.rows(f"select {_COLUMNS} from {_TABLE} {where} order by seq", parameters)]

    def newest(self, limit: int) -> tuple[list[Snapshot], int]:
        """The last so many, oldest first, and how many there are in all."""
        found = self.rows(f"select {_COLUMNS}, count() over () as total from {_TABLE} order by seq desc limit {int(limit)}")
        return [_snapshot(row) for row in reversed(found)], int(found[0]["total"]) if found else 0

    def ends(self) -> list[dict[str, Any]]:
        """`seq`, `label`, `taken_at` of the first snapshot and of the last; none when there is none."""
        found = self.rows(
            "select tupleElement(e, 1) as seq, tupleElement(e, 2) as label, tupleElement(e, 3) as taken_at from (\n"
            "    select arrayJoin([argMin(tuple(seq, label, taken_at), seq), argMax(tuple(seq, label, taken_at), seq)]) as e\n"
            f"    from {_TABLE}\n"
            "    having count() > 0\n)"
        )
        return found

    def find(self, ref: str | int | Snapshot) -> Snapshot:
        """A snapshot by its number (`3` or `#3`), a label (the newest with it), four or more digits of its id (the newest with it),
        `latest`, or a time: the newest that was there then. They are tried in this order.

        Raises:
            UnknownName: there is none; names the nearest.
            UsageError: the digits begin more than one id, or the time is before the first snapshot or in the future.
        """
        if isinstance(ref, Snapshot):
            ref = ref.seq
        name = str(ref).strip()
        found = self._named(name) or self._at(name)
        if found is not None:
            return found
        ends = self.ends()
        if not ends:
            raise UnknownName("snapshot", name, (), hint="there is no snapshot yet; take one with skygraph snapshot take")
        known = self.rows(f"select distinct label from {_TABLE} where label != '' order by seq desc limit 1000")
        numbers = [str(ends[0]["seq"]), str(ends[-1]["seq"]), "latest"]
        error = UnknownName("snapshot", name, [*(row["label"] for row in known), *numbers])
        if error.nearest:
            raise error
        hint = f"{_range(ends)}; a time is written as 2026-11-23 18:00, yesterday 18:00 or 2 hours ago"
        raise UnknownName("snapshot", name, (), hint=hint)

    def _named(self, name: str) -> Snapshot | None:
        number = name.removeprefix("#")
        bound: dict[str, Any] = {"name": name, "seq": int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else 0}
        by_id = len(name) >= 4 and set(name.lower()) <= set("0123456789abcdef")
        tests = {
            "latest": f"seq = (select max(seq) from {_TABLE})" if name == "latest" else "",
            "number": "seq = {seq:UInt64}" if bound["seq"] else "",
            "label": f"seq = (select max(seq) from {_TABLE} where label = {{name:String}}) and label = {{name:String}}" if name else "",
            "id": "startsWith(id, lower({name:String}))" if by_id else "",
        }
        for test in tests.values():
            if test and (found := self.rows(f"select max(seq) as newest, id from {_TABLE} where {test} group by id limit 6", bound)):
                if len(found) > 1:
                    near = ", ".join(sorted(row["id"] for row in found)[:5])
                    raise UsageError(f"{name!r} begins the ids of {len(found)} snapshots", hint=f"they are {near}")
                return self.read("where seq = {seq:UInt64}", {"seq": found[0]["newest"]})[0]
        return None

    def _at(self, name: str) -> Snapshot | None:
        now = self.clock()
        at = parse_time(name, now)
        if at is None:
            return None
        ends = self.ends()
        if not ends:
            return None
        if at > max(now, ends[-1]["taken_at"]):
            raise UsageError(f"{name!r} is {at:%Y-%m-%d %H:%M:%S} UTC, which is in the future", hint=_range(ends))
        bound, until = {"at": at.strftime(_EXACT)}, _time("at")
        found = self.read(f"where seq = (select max(seq) from {_TABLE} where taken_at <= {until}) and taken_at <= {until}", bound)
        if not found:
            raise UsageError(f"{name!r} is {at:%Y-%m-%d %H:%M:%S} UTC, before the first snapshot", hint=_range(ends))
        return found[0]

    def known(self, seq: int | None = None, parts: Iterable[Part] | None = None) -> dict[Part, Known]:
        """Per part, what the newest snapshot up to `seq` that covers it says of it."""
        up_to = "" if seq is None else f"where seq <= {int(seq)}"
        wanted = None if parts is None else {p.tag for p in parts}
        for newest in (True, False):  # nearly always the newest alone covers all of them
            only = f"where seq = (select max(seq) from {_TABLE} {up_to})" if newest else up_to
            found = self.rows(
                "select tag, max(seq) as newest,\n"
                "    argMax(if(startsWith(tag, 'link:'), links[substring(tag, 6)], counts[substring(tag, 8)]), seq) as n,\n"
                "    argMax(hashes[tag], seq) as total, argMax(prints[tag], seq) as print, argMax(built_at[tag], seq) as built,\n"
                "    argMax(mapKeys(columns[tag]), seq) as names, argMax(mapValues(columns[tag]), seq) as types\n"
                f"from (select *, arrayJoin(mapKeys(hashes)) as tag from {_TABLE} {only})\ngroup by tag"
            )
            if newest and wanted is not None and wanted <= {row["tag"] for row in found}:
                break
        return {
            Part.parse(row["tag"]): Known(
                int(row["newest"]),
                int(row["n"]),
                int(row["total"]),
                row["print"],
                row["built"],
                dict(zip(row["names"], row["types"], strict=True)),
            )
            for row in found
        }

    def first_with(self, part: Part) -> Snapshot | None:
        """The first snapshot that covers a part."""
        with_it = "mapContains(hashes, {t:String})"
        found = self.read(f"where seq = (select min(seq) from {_TABLE} where {with_it}) and {with_it}", {"t": part.tag})
        return found[0] if found else None

    def events(self, bins: int, since: dt.datetime | None, until: dt.datetime | None) -> Events:
        """What changed, per snapshot, or in so many stretches of time of the same length."""
        within = f"where taken_at >= {_time('since')} and taken_at <= {_time('until')}"
        bound = {
            "since": (since or dt.datetime(1970, 1, 1)).strftime(_EXACT), "until": (until or dt.datetime(2200, 1, 1)).strftime(_EXACT),
        }  # fmt: skip
        ends = self.rows(f"select min(taken_at) as low, max(taken_at) as high, count() as n from {_TABLE} {within}", bound)
        if not ends or not ends[0]["n"]:
            return Events((), 0, since, until)
        low, high = since or ends[0]["low"], until or ends[0]["high"]
        length = (high - low) / bins if bins else dt.timedelta()
        place = "toUInt64(seq)"
        if bins:
            ticks = max(length // dt.timedelta(milliseconds=1), 1)
            place = f"least(intDiv(toUnixTimestamp64Milli(taken_at) - {int(low.timestamp() * 1000)}, {ticks}), {bins - 1})"
        rows = self.rows(
            f"select {place} as place, tupleElement(e, 1) as tag, max(seq) as last, max(taken_at) as at,\n"
            "    sum(tupleElement(e, 2)[1]) as added, sum(tupleElement(e, 2)[2]) as removed, sum(tupleElement(e, 2)[3]) as changed\n"
            f"from (select seq, taken_at, arrayJoin(events) as e from {_TABLE} {within}) group by place, tag order by place, tag",
            bound,
        )
        found = []
        for row in rows:
            part, place_ = Part.parse(row["tag"]), int(row["place"])
            ends_at = (low + length * place_, low + length * (place_ + 1)) if bins else (row["at"], row["at"])
            counts = (int(row["added"]), int(row["removed"]), int(row["changed"]))
            found.append(Event(*ends_at, int(row["last"]), part.name, part.kind == "link", *counts))
        return Events(tuple(found), int(ends[0]["n"]), low, high)

    def times(self, since: int = 0) -> list[tuple[int, str, dt.datetime]]:
        """Number, label and time of every snapshot from a number on."""
        rows = self.rows(f"select seq, label, taken_at from {_TABLE} where seq >= {int(since)} order by seq")
        return [(row["seq"], row["label"], row["taken_at"]) for row in rows]


def _time(name: str) -> str:
    """A time bound as text."""
    return f"parseDateTime64BestEffort({{{name}:String}}, 6, 'UTC')"


def _range(ends: Sequence[Mapping[str, Any]]) -> str:
    first, last = ends[0], ends[-1]
    if first["seq"] == last["seq"]:
        return f"the one snapshot is #{first['seq']} of {first['taken_at']:%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"snapshots are from {first['taken_at']:%Y-%m-%d %H:%M:%S} (#{first['seq']}) "
        f"to {last['taken_at']:%Y-%m-%d %H:%M:%S} UTC (#{last['seq']})"
    )


def _snapshot(row: Mapping[str, Any]) -> Snapshot:
    named = {name: row[name] for name in ("seq", "id", "label", "taken_at", "added", "removed", "changed")}
    events = {tag: tuple(int(n) for n in three) for tag, three in dict(row["events"]).items()}
    return Snapshot(**named, counts=dict(row["counts"]), links=dict(row["links"]), events=events)
