"""The type graph as a picture: types in columns, links as curves, one SVG without scripts, fonts or colours of its own.

Pure. A type stands right of the types that refer to it, so the many are left and the one is right. Colours are
`currentColor`, so that it is as light or dark as the page.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from itertools import pairwise

from workbench.ontology.model import LinkType, Ontology

__all__ = ["draw", "layers"]

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 138, 46, 118, 26, 16
_PASSING = 14  # the height that a link takes where it passes through a column


def layers(ontology: Ontology) -> list[list[str]]:
    """The types column by column: a type right of those that refer to it, circles aside; neighbours near each other."""
    return [[name for name in column if name in ontology.object_types] for column in _layout(ontology)[0]]


def _layout(ontology: Ontology) -> tuple[list[list[str]], dict[str, list[str]]]:
    """The columns top to bottom, with a place for each link that passes through one, and the way of each link left to right."""
    ahead: dict[str, list[str]] = {name: [] for name in ontology.object_types}
    links = [k for k in ontology.link_types.values() if k.from_type != k.to_type]
    for link in links:
        one, other = (link.to_type, link.from_type) if link.cardinality == "one_to_many" else (link.from_type, link.to_type)
        ahead[one].append(other)
    depth = _depths(ahead)
    columns: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    linked = {name for link in links for name in (link.from_type, link.to_type)}
    for name in sorted(ahead, key=lambda n: (n not in linked, n)):
        columns[depth[name]].append(name)
    ways: dict[str, list[str]] = {}
    near: dict[str, list[str]] = {name: [] for name in ahead}
    for link in links:
        left, right = sorted((link.from_type, link.to_type), key=depth.__getitem__)
        way = [left]
        for i in range(depth[left] + 1, depth[right]):
            way.append(f"{link.name} {i}")  # with a blank: no type is named like it
            columns[i].append(way[-1])
        way.append(right)
        for one, other in pairwise(way):
            near.setdefault(one, []).append(other)
            near.setdefault(other, []).append(one)
        ways[link.name] = way
    for sweep in range(8):
        for i in range(len(columns)) if sweep % 2 == 0 else reversed(range(len(columns))):
            place = {name: (row + 0.5) / len(column) for column in columns for row, name in enumerate(column)}
            columns[i].sort(key=lambda n: sum(place[m] for m in near[n]) / len(near[n]) if near[n] else 2.0)
    return columns, ways


def _depths(ahead: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The longest way to each type from a type that nobody refers to; an edge that closes a circle is passed over."""
    state: dict[str, int] = {}
    order: list[str] = []
    kept: dict[str, list[str]] = {name: [] for name in ahead}
    for root in sorted(ahead, key=lambda n: sum(n in to for to in ahead.values())):
        if root in state:
            continue
        state[root] = 1
        stack = [(root, iter(ahead[root]))]
        while stack:
            name, rest = stack[-1]
            for other in rest:
                if state.get(other) == 1:
                    continue
                kept[name].append(other)
                if other not in state:
                    state[other] = 1
                    stack.append((other, iter(ahead[other])))
                    break
            else:
                state[name] = 2
                order.append(name)
                stack.pop()
    depth = dict.fromkeys(ahead, 0)
    for name in reversed(order):
        for other in kept[name]:
            depth[other] = max(depth[other], depth[name] + 1)
    return depth


def draw(ontology: Ontology) -> str:
    """The picture of a model as one SVG element; hovering over a type or a link tells more of it."""
    columns, ways = _layout(ontology)
    if not columns:
        return '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1" role="img" aria-label="no object types"></svg>'
    sizes = [[_HEIGHT if name in ontology.object_types else _PASSING for name in column] for column in columns]
    height = 2 * _MARGIN + max(sum(column) + _GAP_Y * (len(column) - 1) for column in sizes)
    width = 2 * _MARGIN + len(columns) * (_WIDTH + _GAP_X) - _GAP_X + 50
    at: dict[str, tuple[float, float]] = {}  # the left end and the middle of the height
    for i, (column, heights) in enumerate(zip(columns, sizes, strict=True)):
        gap = (height - 2 * _MARGIN - sum(heights)) / (len(column) + 1) if len(column) > 1 else 0.0
        y = _MARGIN + gap if gap else (height - sum(heights)) / 2
        for name, tall in zip(column, heights, strict=True):
            at[name] = (_MARGIN + i * (_WIDTH + _GAP_X), y + tall / 2)
            y += tall + gap
    names = f"{len(ontology.object_types)} object types and {len(ontology.link_types)} links"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" width="{width}" role="img" aria-label="{names}" '
        'style="color:inherit;max-width:100%;height:auto;font:12px system-ui,sans-serif">'
    ]
    beside: dict[tuple[str, ...], int] = {}
    for link in ontology.link_types.values():
        pair = tuple(sorted((link.from_type, link.to_type)))
        nth = beside[pair] = beside.get(pair, -1) + 1
        if link.name in ways:
            way = ways[link.name]
            parts.append(_edge(link, [at[name] for name in way], nth, forward=way[0] == link.from_type))
        else:
            parts.append(_loop(link, at[link.from_type], nth))
    for object_type in ontology.object_types.values():
        x, middle = at[object_type.name]
        y, count = middle - _HEIGHT / 2, len(object_type.properties)
        dash = ' stroke-dasharray="4 3"' if object_type.deprecated else ""
        told = " · ".join(filter(None, (object_type.description, f"model {object_type.model}", f"key {object_type.key}")))
        parts.append(
            f"<g><title>{html.escape(told)}</title>"
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="currentColor" fill-opacity="0.07" '
            f'stroke="currentColor" stroke-opacity="0.55"{dash}/>'
            f'<text x="{x + 12:.1f}" y="{y + 20:.1f}" fill="currentColor" font-weight="600">'
            f"{html.escape(_short(object_type.name, 16))}</text>"
            f'<text x="{x + 12:.1f}" y="{y + 36:.1f}" fill="currentColor" fill-opacity="0.65" font-size="11">'
            f"{count} {'property' if count == 1 else 'properties'}</text></g>"
        )
    return "".join(parts) + "</svg>"


def _loop(link: LinkType, place: tuple[float, float], nth: int) -> str:
    """A link from a type to itself, at its right."""
    x, y, reach = place[0] + _WIDTH, place[1], 40 + 16 * nth
    curve = f"M{x:.1f} {y - 12:.1f}C{x + reach:.1f} {y - 28:.1f} {x + reach:.1f} {y + 28:.1f} {x:.1f} {y + 12:.1f}"
    return _drawn(link, curve, (x, y + 12), -1, (x + 4, y - 28 - 12 * nth), "start")


def _edge(link: LinkType, way: Sequence[tuple[float, float]], nth: int, *, forward: bool) -> str:
    """A curve along a way from left to right, the arrow at the end that the link leads to, its name in the first gap."""
    shift = 13.0 * ((nth + 1) // 2) * (1 if nth % 2 else -1)
    (x, y), *rest = [(x, y + shift) for x, y in way]
    curve = [f"M{x + _WIDTH:.1f} {y:.1f}"]
    for i, (to_x, to_y) in enumerate(rest):
        curve.append(f"C{x + _WIDTH + _GAP_X / 2:.1f} {y:.1f} {to_x - _GAP_X / 2:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
        if i < len(rest) - 1:
            curve.append(f"H{to_x + _WIDTH:.1f}")
        x, y = to_x, to_y
    head = (rest[-1][0], rest[-1][1]) if forward else (way[0][0] + _WIDTH, way[0][1] + shift)
    middle = (way[0][0] + _WIDTH + _GAP_X / 2, (way[0][1] + way[1][1]) / 2 + shift - 4)
    return _drawn(link, "".join(curve), head, 1 if forward else -1, middle, "middle")


def _drawn(link: LinkType, curve: str, head: tuple[float, float], toward: int, middle: tuple[float, float], anchor: str) -> str:
    told = f"{link.from_type} {link.name} {link.to_type} ({link.cardinality.replace('_', ' ')}); back: {link.reverse}"
    dash = ' stroke-dasharray="4 3"' if link.deprecated else ""
    return (
        f"<g><title>{html.escape(told)}</title>"
        f'<path d="{curve}" fill="none" stroke="currentColor" stroke-opacity="0.4" stroke-width="1.4"{dash}/>'
        f'<path d="M{head[0]:.1f} {head[1]:.1f}l{-8 * toward} -4v8z" fill="currentColor" fill-opacity="0.6"/>'
        f'<text x="{middle[0]:.1f}" y="{middle[1]:.1f}" text-anchor="{anchor}" fill="currentColor" fill-opacity="0.8" font-size="11">'
        f"{html.escape(_short(link.name, 20))}</text></g>"
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
