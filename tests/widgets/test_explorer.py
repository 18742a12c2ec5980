from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from workbench.errors import LakeUnavailable, UsageError
from workbench.widgets import Explorer

Keep = Callable[[Any], Any]


class Shop:
    """Customers with two invoices each. `calls` holds every page asked for."""

    def __init__(self, count: int, *, name: str = "Ann") -> None:
        self.customers = [{"customer_id": i + 1, "name": f"{name} {i + 1}", "country": "Brazil"} for i in range(count)]
        self.invoices = [{"invoice_id": i + 1, "customer_id": i // 2 + 1, "total": Decimal("1.98")} for i in range(2 * count)]
        self.calls: list[dict[str, Any]] = []

    def types(self) -> list[dict[str, Any]]:
        return [
            {"name": "Customer", "description": "Buys.", "model": "dim_customers", "count": len(self.customers)},
            {"name": "Invoice", "description": "Is paid.", "model": "fct_invoices", "count": len(self.invoices)},
        ]

    def page(self, type: str, *, where: str, sort: str, after: Any, limit: int, follow: Any) -> dict[str, Any]:
        self.calls.append({"type": type, "where": where, "sort": sort, "after": after, "limit": limit, "follow": follow})
        rows, key = (self.customers, "customer_id") if type == "Customer" else (self.invoices, "invoice_id")
        if where and "=" not in where:
            raise UsageError(f"filter {where!r} has no operator", hint="write country=Brazil")
        if where:
            name, value = where.split("=")
            rows = [r for r in rows if str(r[name]) == value]
        if follow:
            hop = follow[-1]
            rows = [r for r in rows if r["customer_id"] == hop["key"]] if hop["link"] == "invoices" else rows[:1]
        rest = [r for r in rows if after is None or r[key] > after]
        columns = ["customer_id", "name", "country"] if type == "Customer" else ["invoice_id", "customer_id", "total"]
        return {
            "type": type,
            "key": key,
            "title": columns[1],
            "columns": columns,
            "rows": rest[:limit],
            "next": rest[limit - 1][key] if len(rest) > limit else None,
            "count": len(rows),
        }

    def card(self, type: str, key: Any) -> dict[str, Any]:
        row = (self.customers if type == "Customer" else self.invoices)[key - 1]
        links = [{"name": "invoices", "to": "Invoice", "count": 2}]
        if type == "Invoice":
            links = [{"name": "placed_by", "to": "Customer", "count": 1}]
        return {
            "type": type,
            "key": key,
            "title": row.get("name", f"Invoice {key}"),
            "links": links,
            "properties": [{"name": k, "value": v, "unit": None, "description": ""} for k, v in row.items()],
        }


def explore(shop: Shop, **options: Any) -> Any:
    return Explorer(shop.types, shop.page, shop.card, **{"live": False, **options})


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_it_builds_with_any_number_of_objects(keep: Keep, html_of: Callable[[Any], str], count: int) -> None:
    widget = keep(explore(Shop(count), page_size=20_000))
    assert len(widget.rows.box.options) == count
    assert f"Customer {count:,}" in repr(widget)
    assert ("No Customer yet" in html_of(widget)) == (count == 0)
    assert ("skygraph sync --all" in html_of(widget)) == (count == 0)


def test_without_types_it_says_what_to_do(keep: Keep, html_of: Callable[[Any], str]) -> None:
    widget = keep(Explorer(lambda: [], Shop(1).page, Shop(1).card, live=False))
    assert "skygraph ontology check" in html_of(widget)
    assert repr(widget) == "Explorer: no object types yet"


def test_a_type_whose_model_is_not_built_has_no_count(keep: Keep) -> None:
    def types() -> list[dict[str, Any]]:
        return [{"name": "Order", "description": "", "model": "dim_orders", "count": None}, *Shop(2).types()]

    widget = keep(Explorer(types, Shop(2).page, Shop(2).card, live=False))
    assert repr(widget) == "Explorer: 3 object types: Order not built, Customer 2, Invoice 4\nat Customer"


def test_choosing_a_type_reads_its_first_page(keep: Keep) -> None:
    shop = Shop(3)
    widget = keep(explore(shop))
    widget.type_list.box.index = 1
    assert shop.calls[-1] == {"type": "Invoice", "where": "", "sort": "", "after": None, "limit": 50, "follow": None}
    assert len(widget.rows.box.options) == 6


def test_filter_sort_and_next_page_are_passed_on(keep: Keep) -> None:
    shop = Shop(5)
    widget = keep(explore(shop, page_size=2))
    widget.where.value = " country=Brazil "
    widget.sort.value = "-name"
    assert shop.calls[-1] == {
        "type": "Customer",
        "where": "country=Brazil",
        "sort": "-name",
        "after": None,
        "limit": 2,
        "follow": None,
    }
    widget.next.click()
    assert (shop.calls[-1]["after"], shop.calls[-1]["where"], shop.calls[-1]["sort"]) == (2, "country=Brazil", "-name")
    widget.next.click()
    assert widget.next.disabled
    widget.back.click()
    assert shop.calls[-1]["after"] == 2


def test_a_click_opens_the_card_and_links_lead_on_and_back(keep: Keep, html_of: Callable[[Any], str]) -> None:
    shop = Shop(5)
    widget = keep(explore(shop))
    widget.rows.box.index = 4
    assert "Ann 5" in html_of(widget)
    widget.links.children[0].click()
    path = [{"type": "Customer", "key": 5, "link": "invoices"}]
    assert (shop.calls[-1]["type"], shop.calls[-1]["follow"]) == ("Invoice", path)
    widget.rows.box.index = 1
    assert repr(widget).endswith("at Customer 5 > invoices > Invoice 10")
    widget.links.children[0].click()
    path = [*path, {"type": "Invoice", "key": 10, "link": "placed_by"}]
    assert (shop.calls[-1]["type"], shop.calls[-1]["follow"]) == ("Customer", path)
    widget.back.click()
    assert repr(widget).endswith("at Customer 5 > invoices > Invoice 10")
    widget.back.click()
    assert repr(widget).endswith("at Customer 5")
    assert widget.rows.chosen == [4]
    assert widget.back.disabled


def test_a_refused_filter_is_one_line_and_keeps_the_page(keep: Keep, html_of: Callable[[Any], str]) -> None:
    widget = keep(explore(Shop(3)))
    widget.where.value = "country"
    shown = html_of(widget)
    assert "has no operator" in shown
    assert "write country=Brazil" in shown
    assert "Traceback" not in shown
    assert len(widget.rows.box.options) == 3
    widget.where.value = "country=Brazil"
    assert "has no operator" not in html_of(widget)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (LakeUnavailable("the lake did not answer", hint="run skygraph up"), "the lake did not answer; <i>run skygraph up"),
        (RuntimeError("first\nsecond <b>"), "RuntimeError: first<"),
    ],
    ids=["ours", "foreign"],
)
def test_an_error_at_the_start_is_shown(keep: Keep, html_of: Callable[[Any], str], error: Exception, line: str) -> None:
    def types() -> Any:
        raise error

    widget = keep(Explorer(types, Shop(1).page, Shop(1).card, live=False))
    assert line in html_of(widget)


def test_values_are_escaped(keep: Keep, html_of: Callable[[Any], str]) -> None:
    widget = keep(explore(Shop(2, name="<script>alert(1)</script>")))
    widget.rows.box.index = 0
    assert "<script" not in html_of(widget)
    assert "&lt;script&gt;" in html_of(widget)


def test_a_browser_cannot_choose_what_was_not_fetched(keep: Keep) -> None:
    from traitlets import TraitError

    widget = keep(explore(Shop(2)))
    with pytest.raises(TraitError):
        widget.rows.box.set_state({"index": 7})
    with pytest.raises(TraitError):
        widget.sort.set_state({"index": 99})


def test_the_newest_choice_wins_while_one_runs(keep: Keep) -> None:
    import threading

    shop, gate, entered = Shop(5), threading.Event(), threading.Event()
    opened: list[Any] = []

    def card(type: str, key: Any) -> Any:
        opened.append(key)
        entered.set()
        assert gate.wait(10)
        return shop.card(type, key)

    widget = keep(Explorer(shop.types, shop.page, card, live=True))
    widget.rows.box.index = 0
    assert entered.wait(10)
    for index in (1, 2, 3):
        widget.rows.box.index = index
    gate.set()
    assert widget.wait(10)
    assert opened == [1, 4]
    assert repr(widget).endswith("at Customer 4")
