"""Objects counted by value, as answers: one property in groups, and the facets of several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workbench.answer import Answer, Block, Grid, Heading, Note

__all__ = ["Facet", "Facets", "Groups"]


@dataclass(frozen=True, repr=False)
class Groups(Answer):
    """How many objects have each value of a property, the most first (periods in order of time), with the sums of other properties.

    `rows` are `(value, count, *sums)`; the value None stands for the objects without one. With `by` (year, quarter, month, week,
    day, hour) a value is the beginning of that period. `is_cut`: there are more values than rows.
    """

    type: str
    property: str
    by: str
    sums: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool

    def to_dict(self) -> dict[str, Any]:
        """`type`, `property`, `by`, `is_cut` and `groups`: each with `value`, `count` and `sums` by property."""
        return {
            "type": self.type,
            "property": self.property,
            "by": self.by or None,
            "groups": [{"value": v, "count": n, "sums": dict(zip(self.sums, rest, strict=True))} for v, n, *rest in self.rows],
            "is_cut": self.is_cut,
        }

    def blocks(self) -> Iterator[Block]:
        """A row per value."""
        note = f"the {len(self.rows):,} largest groups" if self.is_cut else ""
        head = [f"{self.property} by {self.by}" if self.by else self.property, "objects", *(f"sum of {s}" for s in self.sums)]
        yield Heading(f"{self.type} by {self.property}")
        yield Grid(head, [list(row) for row in self.rows], empty="no object", note=note)

    def __repr__(self) -> str:
        return f"<Groups of {self.type} by {self.property}>"


@dataclass(frozen=True)
class Facet:
    """The most frequent values of one property, as `(value, count)`.

    `other_count` objects have some other value, `null_count` none; `distinct` is how many values there are. Of a sample, all four
    are counts within the sample.
    """

    property: str
    values: tuple[tuple[Any, int], ...]
    other_count: int
    null_count: int
    distinct: int
    is_sampled: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The facet as data; `values` as objects of `value` and `count`."""
        return {**self.__dict__, "values": [{"value": v, "count": n} for v, n in self.values]}


@dataclass(frozen=True, repr=False)
class Facets(Answer):
    """Facets of several properties, all of the same objects: of all of them, or (`is_sampled`) of a part.

    `share` is the part of the objects that was counted, about 1 in 1/share; `rows` how many that are.
    """

    type: str
    facets: tuple[Facet, ...]
    rows: int
    is_sampled: bool
    share: float
    elapsed_s: float

    def __getitem__(self, property: str) -> Facet:
        return next(f for f in self.facets if f.property == property)

    def __iter__(self) -> Iterator[Facet]:
        return iter(self.facets)

    def to_dict(self) -> dict[str, Any]:
        """`type`, `rows`, `is_sampled`, `share`, `elapsed_s` and `facets`."""
        return {
            "type": self.type,
            "rows": self.rows,
            "is_sampled": self.is_sampled,
            "share": self.share,
            "elapsed_s": round(self.elapsed_s, 4),
            "facets": [f.to_dict() for f in self.facets],
        }

    def blocks(self) -> Iterator[Block]:
        """A grid per property, and what was counted."""
        yield Heading(f"{self.type}: {self.rows:,} {'of a sample' if self.is_sampled else 'objects'}")
        for facet in self.facets:
            rows: list[list[Any]] = [[value, count] for value, count in facet.values]
            rows += [["(no value)", facet.null_count]] if facet.null_count else []
            more = facet.distinct - len(facet.values)
            note = f"{facet.other_count:,} in {more:,} other values" if facet.other_count else ""
            # as text: the row without a value is not of the column's kind
            yield Grid([facet.property, "objects"], rows, empty="no object", note=note)
        if self.is_sampled:
            yield Note(f"counted in a sample, about {self.share:.2%} of the objects: the whole would have taken too long", "quiet")

    def __repr__(self) -> str:
        return f"<Facets of {self.type}: {', '.join(f.property for f in self.facets)}>"
