"""The laws of snapshots and diffs, on random tables in the real lake."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.eidolon.conftest import ITEM, Shop, item, state
from workbench.eidolon import Eidolon, TwinDiff, apply, compose
from workbench.lake import Lake
from workbench.ontology import Store

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["", "NULL", "'", "\\", "a/b", '"', "→", "\0", "é"])
_ITEM = st.builds(
    item,
    st.integers(-3, 5),
    name=st.none() | _TEXT,
    note=_TEXT,
    price=st.none() | st.decimals(-999, 999, places=2),
    title=st.none() | st.sampled_from([0.5, -1.25, 0.1 + 0.2]),
    is_new=st.none() | st.booleans(),
    seen_at=st.none() | st.integers(0, 10**12).map(lambda ms: _EPOCH + dt.timedelta(milliseconds=ms)),
)
_TAG = st.fixed_dictionaries({"tag": _TEXT, "colour": st.none() | _TEXT})
_PAIRS = st.lists(st.tuples(st.none() | st.integers(-3, 5), st.none() | _TEXT), max_size=5)
_WORLD = st.tuples(
    st.lists(_ITEM, max_size=6, unique_by=lambda r: r["item_id"]), st.lists(_TAG, max_size=4, unique_by=lambda r: r["tag"]), _PAIRS
)


@st.composite
def _days(draw: st.DrawFn) -> list[Any]:
    """A world and what becomes of it: rows stay, go, come back, and change in one property; NULL and '' are near."""
    worlds = [draw(_WORLD)]
    for _ in range(draw(st.integers(1, 3))):
        before, fresh = worlds[-1], draw(_WORLD)
        rows = []
        for part, key, other in ((0, "item_id", "name"), (1, "tag", "colour")):
            kept = [r for r in before[part] if draw(st.integers(0, 3))]
            edited = [{**r, other: draw(st.sampled_from([None, "", r[other]]))} for r in kept]
            known = {r[key] for r in edited}
            rows.append(edited + [r for r in fresh[part] if r[key] not in known and draw(st.booleans())])
        worlds.append((rows[0], rows[1], draw(st.sampled_from([before[2], before[2][1:], fresh[2]]))))
    return worlds


# an example costs about a second here, so a failing one is shown as it is and not made smaller
_ON_THE_LAKE = settings(
    max_examples=int(os.environ.get("LAW_EXAMPLES", "10")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)

World = tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]], Sequence[tuple[Any, Any]]]


def fill(shop: Shop, world: World) -> None:
    items, tags, pairs = world
    shop.fill("items", items)
    shop.fill("tags", tags)
    shop.fill("item_tags", [{"item": a, "tag": b} for a, b in pairs])


def forget(shop: Shop) -> None:
    shop.lake.command("drop database if exists eidolon sync")


def plain_keys(diff: TwinDiff) -> list[Any]:
    """The changes with the keys of pairs as `state` writes them."""
    return [replace(c, key="|".join(json.loads(c.key))) if c.link else c for c in diff.changes]


def as_set(changes: Sequence[Any]) -> set[Any]:
    """Changes without their order and without who is behind them."""
    return {(c.link, c.type, c.key, c.kind, frozenset((p.name, p.old, p.new) for p in c.properties)) for c in changes}


def differing(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> dict[str, int]:
    """How many keys of each type differ between two states, in any way."""
    keys = [at for at in a.keys() | b.keys() if a.get(at) != b.get(at)]
    return {t: sum(at[1] == t for at in keys) for t in ("Item", "Tag", "tagged")}


@_ON_THE_LAKE
@given(_days())
def test_a_diff_applied_to_the_first_state_gives_the_second(shop: Shop, worlds: list[World]) -> None:
    forget(shop)
    states, taken, rows = [], [], 0
    for world in worlds:
        fill(shop, world)
        taken.append(shop.twin.take())
        states.append(state(*world))
        # the history grows by what changed, no less and no more
        grown = sum(differing(states[-2] if len(states) > 1 else {}, states[-1]).values())
        assert taken[-1].rows_added == grown
        rows += grown
        assert shop.history_rows() == rows
        assert dict(taken[-1].counts) == {"Item": len(world[0]), "Tag": len(world[1])}
        assert taken[-1].links["tagged"] == sum(at[0] for at in states[-1])
    for i, a in enumerate(taken):
        for j, b in enumerate(taken):
            if j < i and (i, j) != (len(taken) - 1, 0):
                continue  # backwards, the longest way is enough
            diff = shop.twin.diff(a, b)
            assert i != j or not (diff.total or diff.changes)
            assert apply(states[i], plain_keys(diff)) == states[j]
            assert {c.type: c.total for c in diff.counts} == differing(states[i], states[j])
            assert (a.id == b.id) == (states[i] == states[j])
    # one step and then the next do what both together do
    for a, b, c in zip(taken, taken[1:], taken[2:], strict=False):
        one, two, whole = (shop.twin.diff(*p) for p in ((a, b), (b, c), (a, c)))
        assert as_set(compose(one.changes, two.changes)) == as_set(whole.changes)


@_ON_THE_LAKE
@given(_WORLD, _WORLD, st.randoms(use_true_random=False))
def test_the_same_data_gives_the_same_id_whatever_came_before(shop: Shop, world: World, other: World, random: Any) -> None:
    forget(shop)
    fill(shop, world)
    first = shop.twin.take(label="first")
    forget(shop)
    fill(shop, other)
    shop.twin.take()
    fill(shop, tuple(random.sample(part, len(part)) for part in world))  # type: ignore[arg-type]
    again = shop.twin.take(label="another label")
    assert (again.id, again.seq, again.counts) == (first.id, 2, first.counts)
    assert shop.twin.take().rows_added == 0


@_ON_THE_LAKE
@given(_WORLD, _WORLD)
def test_what_a_snapshot_gives_back_is_what_was_there(shop: Shop, world: World, later: World) -> None:
    forget(shop)
    fill(shop, world)
    before = shop.twin.take()
    columns = "item_id, name, note, price, title, is_new, seen_at"
    now = shop.lake.query(f"select {columns} from shop.items order by item_id").to_pylist()
    fill(shop, later)
    shop.twin.take()
    then = shop.lake.query(f"select {columns} from ({shop.twin.relation_at(before, 'Item')}) order by item_id")
    assert then.to_pylist() == now
    assert shop.twin.measure(before, "Item") == len(world[0])
    assert shop.twin.measure(before, "Item", "price") == sum((r["price"] or Decimal(0)) for r in world[0])


@_ON_THE_LAKE
@given(_WORLD, _WORLD, _WORLD)
def test_a_take_cut_short_before_its_commit_is_invisible_and_healed(shop: Shop, a: World, b: World, c: World) -> None:
    forget(shop)
    fill(shop, a)
    first = shop.twin.take()
    fill(shop, b)
    cut_short(shop, lambda: shop.twin.take())
    assert [s.seq for s in shop.twin.list().snapshots] == [1]
    assert shop.twin.measure("latest", "Item") == len(a[0])
    assert shop.twin.diff(1, 1).total == 0
    for row in a[0]:
        assert [v.seq for v in shop.twin.show("Item", row["item_id"]).versions] == [1]
    fill(shop, c)
    second = shop.twin.take()
    assert second.seq == 2
    assert apply(state(*a), plain_keys(shop.twin.diff(first, second))) == state(*c)
    assert shop.history_rows() == first.rows_added + second.rows_added


def cut_short(shop: Shop, take: Callable[[], Any]) -> None:
    """Run a take that fails after all its history rows, as a crash would: the lake refuses the snapshot's row."""
    shop.lake.command("alter table eidolon.snapshots add constraint cut_short check seq = 0")
    with pytest.raises(Exception, match="cut_short"):
        take()
    shop.lake.command("alter table eidolon.snapshots drop constraint cut_short")


# what a model's columns may become from one day to the next, without another value in them
_RETYPED = st.sampled_from([
    "", "", "modify column item_id Int32", "modify column item_id Int64", "modify column price Nullable(Decimal(12, 2))",
    "modify column name LowCardinality(Nullable(String))", "modify column note String", "add column if not exists more Nullable(Int8)",
])  # fmt: skip


def copy_of(shop: Shop, point: int | None = None) -> dict[str, Any]:
    """Every object and every way along the link, now or as of a point."""
    store = Store(shop.lake, shop.ontology, shop.twin.relations(), past=shop.twin.past)
    items, tags = (store.objects(t) if point is None else store.objects(t).as_of(point) for t in ("Item", "Tag"))
    return {
        "items": items.to_arrow().select(list(ITEM.properties)).to_pydict(),
        "tags": tags.to_arrow().to_pydict(),
        "there": items.linked("tagged").to_arrow().to_pydict(),
        "back": tags.where("colour is null").linked("items").to_arrow().column("item_id").to_pylist(),
        "both": items.where("tagged.colour is not null").count(),
        "groups": items.group_by("note").rows,
    }


@_ON_THE_LAKE
@given(_days(), st.lists(_RETYPED, min_size=4, max_size=4))
def test_as_of_equals_a_copy_kept_aside_whatever_the_types_become(shop: Shop, worlds: list[World], retyped: list[str]) -> None:
    forget(shop)
    kept = []
    for world, alteration in zip(worlds, retyped, strict=False):
        if alteration:
            shop.fill("items", [])
            shop.lake.command(f"alter table shop.items {alteration}")
        fill(shop, world)
        shop.twin.take()
        kept.append(copy_of(shop))
    fill(shop, ([], [], []))
    assert [copy_of(shop, i + 1) for i in range(len(kept))] == kept


class Killed(BaseException):
    """The process is no more."""


class DyingLake(Lake):
    """A lake whose process is killed before its nth statement that writes; from then on it does nothing any more."""

    def __init__(self, lake: Lake, lives: int) -> None:
        super().__init__(lake.settings)
        self.lives = lives

    def _live(self) -> None:
        self.lives -= 1
        if self.lives < 0:
            raise Killed

    def _write(self, *args: Any, **options: Any) -> Any:
        self._live()
        return super()._write(*args, **options)

    def insert(self, *args: Any) -> int:
        self._live()
        return super().insert(*args)


@_ON_THE_LAKE
@given(_WORLD, _WORLD, _WORLD, st.integers(0, 40))
def test_a_take_killed_between_any_two_steps_is_invisible_and_healed(shop: Shop, a: World, b: World, c: World, lives: int) -> None:
    forget(shop)
    fill(shop, a)
    first = shop.twin.take()
    kept = copy_of(shop)
    fill(shop, b)
    dying = DyingLake(shop.lake, lives)
    try:
        Eidolon(dying, shop.twin.ontology, shop.twin.relations, shop.twin.state_dir).take()
    except Killed:
        seen = [s.seq for s in shop.twin.list().snapshots]
        assert seen in ([1], [1, 2])  # all of it is there, when it was killed while it tidied up behind its commit, or nothing is
        assert len(seen) == 1 or copy_of(shop, 2) == copy_of(shop)
    dying.close()
    assert copy_of(shop, 1) == kept
    assert shop.twin.diff(1, 1).total == 0
    fill(shop, c)
    last = shop.twin.take()
    assert copy_of(shop, 1) == kept
    assert copy_of(shop, last.seq) == copy_of(shop)
    assert apply(state(*a), plain_keys(shop.twin.diff(first, last))) == state(*c)
    assert not [t for t in shop.lake.tables("eidolon") if t.startswith("hold_")]
