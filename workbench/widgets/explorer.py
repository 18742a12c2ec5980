"""Explorer: object types, their objects, and from one object along its links to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import ipywidgets as W

from workbench.widgets.row_list import RowList
from workbench.widgets.view import View, cell_text, close_tree, empty_state, escape, plural

__all__ = ["Explorer", "FetchPage"]


class FetchPage(Protocol):
    """Fetches one page of objects.

    `follow` is the path of hops walked so far, each with `type`, `key` and `link`; the objects wanted are those at the
    end of the last hop, and `type` is their type. `where` is what a person typed, `sort` a column or `-column`, both
    may be empty; `after` is the `next` of the page before.
    """

    def __call__(
        self, type: str, *, where: str, sort: str, after: Any, limit: int, follow: list[dict[str, Any]] | None
    ) -> Mapping[str, Any]:
        """Fetch the page: `{type, key, title, columns, rows, next, count}`."""
        ...


@dataclass(frozen=True)
class _Hop:
    type: str
    key: Any
    link: str


@dataclass(frozen=True)
class _Place:
    """Where a person is: which objects are listed, and whose card is open."""

    type: str
    follow: tuple[_Hop, ...] = ()
    where: str = ""
    sort: str = ""
    after: Any = None
    skipped: int = 0
    key: Any = None


class Explorer(View):
    """Browse objects by type, filter and sort them, open one, follow its links, go back.

    Args:
        types: `[{name, description, model, count}]`; a count of None means that its model is not built yet.
        page: see `FetchPage`; answers `{type, key (name of the key property), title, columns, rows, next, count}`.
        card: of a type and key, `{type, key, title, properties: [{name, value, unit, description}],
            links: [{name, to, count}]}`.
    """

    def __init__(
        self,
        types: Callable[[], Sequence[Mapping[str, Any]]],
        page: FetchPage,
        card: Callable[[str, Any], Mapping[str, Any]],
        *,
        page_size: int = 50,
        live: bool | None = None,
    ) -> None:
        super().__init__("Explorer", live=live)
        self._read_types, self._read_page, self._read_card = types, page, card
        self._page_size = page_size
        self._types: list[Mapping[str, Any]] = []
        self._place: _Place | None = None
        self._past: list[_Place] = []
        self._page: Mapping[str, Any] = {}
        self._card: Mapping[str, Any] | None = None
        self._filling = False

        self.type_list = RowList(
            "Object types",
            on_pick=self._pick_type,
        )
        self._about = W.HTML()
        self.where = W.Text(
            placeholder="filter, e.g. country=Brazil",
            continuous_update=False,
            tooltip="Property, operator, value; press Enter. Example: country=Brazil",
            layout=W.Layout(flex="1 1 180px"),
        )
        self.sort = W.Dropdown(options=[("in key order", "")], tooltip="Sort order", layout=W.Layout(width="170px"))
        self.back = W.Button(description="← Back", tooltip="Back to where you were", disabled=True)
        self.next = W.Button(description="Next page →", tooltip="Show the objects after these", disabled=True)
        self._trail = W.HTML()
        self._count = W.HTML(layout=W.Layout(flex="1 1 auto"))
        self.rows = RowList("Objects", on_pick=self._pick_row, height="360px")
        self._empty = W.HTML()
        self._facts = W.HTML()
        self.links = W.Box()
        self.links.add_class("sky-row")

        self.where.observe(self._ask_again, "value")
        self.sort.observe(self._ask_again, "index")
        self.back.on_click(lambda _: self._go_back())
        self.next.on_click(lambda _: self._go_on())

        controls = W.Box([self.back, self.where, self.sort])
        footer = W.Box([self._count, self.next])
        for row in (controls, footer):
            row.add_class("sky-row")
        panes = [
            W.VBox([self.type_list, self._about]),
            W.VBox([controls, self._trail, self.rows, self._empty, footer]),
            W.VBox([self._facts, self.links]),
        ]
        for pane in panes:
            pane.add_class("sky-pane")
        columns = "minmax(170px,210px) minmax(0,1fr) minmax(220px,300px)"
        self._panes = W.Box(panes, layout=W.Layout(grid_template_columns=columns))
        self._panes.add_class("sky-panes")
        self._show(self._panes)
        self._load(lambda: list(self._read_types()), self._start)

    # starting

    def _start(self, types: list[Mapping[str, Any]]) -> None:
        self._types = types
        if not types:
            self._show(W.HTML(empty_state("No object types yet. Describe one in ontology/objects/, then", "skygraph ontology check")))
            close_tree(self._panes)
            return
        self.type_list.fill(["type", "objects"], [[t["name"], t["count"]] for t in types])
        self.type_list.fit_height(20)
        self._say(f"{plural(len(types), 'object type')}, {plural(sum(t['count'] or 0 for t in types), 'object')}")
        first = next((t for t in types if t["count"]), types[0])
        place = _Place(first["name"])
        self._load(lambda: self._fetch(place), lambda found: self._arrive(place, found))

    def _fetch(self, place: _Place) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        follow = [asdict(hop) for hop in place.follow] or None
        page = self._read_page(place.type, where=place.where, sort=place.sort, after=place.after, limit=self._page_size, follow=follow)
        return page, None if place.key is None else self._read_card(place.type, place.key)

    # moving

    def _go(self, place: _Place, doing: str, *, remember: bool = True, queue: bool = False) -> None:
        came_from = self._place

        def done(found: tuple[Mapping[str, Any], Mapping[str, Any] | None]) -> None:
            if remember and came_from is not None:
                self._past = [*self._past[-49:], came_from]
            elif not remember and self._past:
                self._past = self._past[:-1]
            self._arrive(place, found)

        self._run(doing, lambda: self._fetch(place), done, queue=queue)

    def _pick_type(self, index: int) -> None:
        name = self._types[index]["name"]
        self._go(_Place(name), f"reading {name}", queue=True)

    def _pick_row(self, index: int) -> None:
        place, rows = self._place, self._page.get("rows", [])
        if place is None or index >= len(rows):
            return
        key = rows[index][self._page["key"]]

        def done(card: Mapping[str, Any]) -> None:
            self._place = replace(place, key=key)
            self._draw_card(card)
            self._draw_trail()

        self._run(f"opening {place.type} {key}", lambda: self._read_card(place.type, key), done, queue=True)

    def _ask_again(self, _: Any) -> None:
        if self._filling or self._place is None:
            return
        place = _Place(self._place.type, self._place.follow, self.where.value.strip(), self.sort.value or "")
        self._go(place, f"reading {place.type}", queue=True)

    def _go_on(self) -> None:
        place, rows = self._place, self._page.get("rows", [])
        if place is not None and self._page.get("next") is not None:
            skipped = place.skipped + len(rows)
            self._go(replace(place, after=self._page["next"], skipped=skipped, key=None), "reading the next page")

    def _go_back(self) -> None:
        if self._past:
            self._go(self._past[-1], "going back", remember=False)

    def _follow(self, link: Mapping[str, Any]) -> None:
        place, card = self._place, self._card
        if place is not None and card is not None:
            hop = _Hop(place.type, card["key"], link["name"])
            self._go(_Place(link["to"], (*place.follow, hop)), f"following {link['name']}")

    # drawing

    def _arrive(self, place: _Place, found: tuple[Mapping[str, Any], Mapping[str, Any] | None]) -> None:
        page, card = found
        self._place, self._page = place, page
        columns = [str(c) for c in page["columns"]]
        keys = [row[page["key"]] for row in page["rows"]]
        opened = keys.index(place.key) if place.key is not None and place.key in keys else None
        self.rows.fill(columns, [[row.get(c) for c in columns] for row in page["rows"]], chosen=opened)
        names = [t["name"] for t in self._types]
        # nothing is chosen after a link was followed, so that a click on any type leads out
        self.type_list.choose(names.index(place.type) if place.type in names and not place.follow else None)
        self._draw_controls(place, columns)
        self._draw_count(place, page)
        self._draw_card(card)
        self._draw_trail()

    def _draw_controls(self, place: _Place, columns: Sequence[str]) -> None:
        self._filling = True
        try:
            sorts = ["", *(sign + c for c in columns for sign in ("", "-"))]
            if place.sort not in sorts:
                sorts.append(place.sort)
            labels = ["in key order" if not s else f"{s[1:]} ↓" if s.startswith("-") else f"{s} ↑" for s in sorts]
            self.sort.options = list(zip(labels, sorts, strict=True))
            self.sort.index = sorts.index(place.sort)
            self.where.value = place.where
        finally:
            self._filling = False
        self._enable(self.back, bool(self._past))
        self._enable(self.next, self._page.get("next") is not None)

    def _draw_count(self, place: _Place, page: Mapping[str, Any]) -> None:
        shown, count = len(page["rows"]), page["count"]
        about = next((t for t in self._types if t["name"] == place.type), None)
        self._about.value = (
            f'<div class="dim">{escape(about["description"])}<br>model <span class="mono">{escape(about["model"])}</span></div>'
            if about
            else ""
        )
        if shown:
            first = place.skipped + 1
            last = place.skipped + shown
            self._count.value = f'<span class="dim">{first:,} to {last:,} of {plural(count, "object")}</span>'
            self._empty.value = ""
        else:
            self._count.value = ""
            if place.where:
                self._empty.value = empty_state(f"No {place.type} matches this filter.")
            elif place.follow:
                self._empty.value = empty_state(f"Nothing is linked by {place.follow[-1].link}.")
            else:
                command = "skygraph sync --all && skygraph dbt build"
                self._empty.value = empty_state(f"No {place.type} yet. Run", command)
        self.rows.layout.display = "flex" if shown else "none"

    def _draw_card(self, card: Mapping[str, Any] | None) -> None:
        self._card = card
        old, self.links.children = self.links.children, ()
        close_tree(*old)
        if card is None:
            self._facts.value = empty_state("Choose an object to see its properties and links.")
            return
        lines = "".join(
            f'<tr title="{escape(p.get("description") or "")}"><td class="dim sky-word">{escape(p["name"])}</td><td>{_value(p)}</td></tr>'
            for p in card["properties"]
        )
        self._facts.value = (
            f'<div class="sky-label">{escape(card["type"])} '
            f'<span class="mono">{escape(cell_text("key", card["key"]))}</span></div>'
            f'<div style="font-size:16px;font-weight:600;margin:1px 0 8px">{escape(card["title"])}</div>'
            f'<table class="sky-table"><tbody>{lines}</tbody></table>'
            + ('<div class="sky-label" style="margin-top:10px">Links</div>' if card["links"] else "")
        )
        buttons = []
        for link in card["links"]:
            count = link.get("count")
            button = W.Button(
                description=link["name"] + ("" if count is None else f"  {count:,}") + " →",
                tooltip=f"Follow {link['name']} to {link['to']}",
                disabled=count == 0,
            )
            button.on_click(lambda _, link=link: self._follow(link))
            buttons.append(button)
        self.links.children = tuple(buttons)

    def _path(self) -> list[str]:
        place = self._place
        if place is None:
            return []
        steps = [text for hop in place.follow for text in (f"{hop.type} {hop.key}", hop.link)]
        if place.key is not None:
            return [*steps, f"{place.type} {place.key}"]
        return steps or [place.type]

    def _draw_trail(self) -> None:
        steps = self._path()
        if len(steps) > 9:
            steps = ["…", *steps[-8:]]
        parts = [f"<span>{escape(s)}</span>" for s in steps[:-1]] + [f"<b>{escape(s)}</b>" for s in steps[-1:]]
        self._trail.value = ' <span class="dim">›</span> '.join(parts)

    def _summary(self) -> str:
        if not self._types:
            return "Explorer: no object types yet"
        counts = ", ".join(f"{t['name']} {'not built' if t['count'] is None else format(t['count'], ',')}" for t in self._types[:12])
        more = f" and {len(self._types) - 12:,} more" if len(self._types) > 12 else ""
        here = f"\nat {' > '.join(self._path())}" if self._place else ""
        return f"Explorer: {plural(len(self._types), 'object type')}: {counts}{more}{here}"


def _value(prop: Mapping[str, Any]) -> str:
    if prop["value"] is None:
        return '<span class="dim">—</span>'
    unit = f' <span class="dim">{escape(prop["unit"])}</span>' if prop.get("unit") else ""
    return escape(cell_text(str(prop["name"]), prop["value"])) + unit
