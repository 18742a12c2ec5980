"""The explorer without a browser: messages in, answers out, over the real lake."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import copy_workspace, free_port
from workbench import Workbench
from workbench.browse import Browse
from workbench.errors import InvalidFiles, LakeUnavailable
from workbench.ontology import ObjectType, Ontology, Property, Store
from workbench.settings import Settings
from workbench.widgets import Explorer

Keep = Callable[[Any], Any]


def browse_of(bench: Workbench) -> Browse:
    return Browse(lambda: bench.store, lambda: bench.live.problems)


class Browser:
    """The other end of a widget's comm: sends messages as a page does, and keeps what comes."""

    def __init__(self, widget: Any) -> None:
        self.widget = widget
        self.heard: list[dict[str, Any]] = []
        self.serial = 0
        self.more = threading.Condition()
        widget.comm.publish_msg = self._hear

    def _hear(self, kind: str, data: Any = None, **_: Any) -> None:
        if data and data.get("method") == "custom":
            with self.more:
                self.heard.append(data["content"])
                self.more.notify_all()

    def send(self, content: Any) -> None:
        self.widget.comm.handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})

    def ask(self, ask: str, **values: Any) -> str:
        self.serial += 1
        self.send({"id": f"b.{self.serial}", "ask": ask, **values})
        return f"b.{self.serial}"

    def reply(self, id: str) -> dict[str, Any]:
        with self.more:
            assert self.more.wait_for(lambda: any(m["id"] == id for m in self.heard), timeout=20)
            return next(m for m in self.heard if m["id"] == id)

    def answer(self, ask: str, **values: Any) -> Any:
        said = self.reply(self.ask(ask, **values))
        assert "answer" in said, said
        return said["answer"]

    def error(self, ask: str, **values: Any) -> str:
        return str(self.reply(self.ask(ask, **values))["error"]["message"])


@pytest.fixture
def browser(built_shop: Workbench, keep: Keep) -> Browser:
    return Browser(keep(Explorer(browse_of(built_shop), live=False)))


@pytest.fixture
def own_shop(built_shop: Workbench, tmp_path: Any) -> Iterator[Workbench]:
    """The built shop's lake under a copy of its files, which a test may edit."""
    folder = copy_workspace(tmp_path / "own shop")
    at = built_shop.lake.address
    url = f"http://{at.user}:{at.password}@{at.host}:{at.port}"
    bench = Workbench(Settings.load(folder, environ={}, clickhouse_url=url, lab_port=free_port()))
    yield bench
    bench.close()


def test_it_begins_with_the_types_their_links_and_their_counts(browser: Browser) -> None:
    said = browser.answer("types")
    assert [t["name"] for t in said["types"]][:3] == ["Album", "Artist", "Customer"]
    assert {"name": "placed_by", "from": "Invoice", "to": "Customer", "reverse": "invoices"} in said["links"]
    assert said["problems"] == [] == said["warnings"]
    assert browser.answer("counts")["counts"]["Track"] == 3503


def test_a_set_comes_with_its_first_page_and_says_how_to_get_it_again(browser: Browser) -> None:
    said = browser.answer("open", text="Customer[country=Brazil]/invoices sort=-total", edit=None, size=3)
    assert said["command"] == "%skygraph objects 'Customer[country=Brazil]/invoices' --sort=-total"
    assert said["python"] == "bench.explorer('Customer[country=Brazil]/invoices sort=-total')"
    assert [(hop["name"], hop["text"], hop["about"]) for hop in said["path"]] == [
        ("Customer", "Customer[country=Brazil]", "country=Brazil"),
        ("invoices", "Customer[country=Brazil]/invoices sort=-total", ""),
    ]
    assert [row["key"] for row in said["page"]["rows"]] == ["68", "166", "264"]
    assert browser.answer("count", text=said["text"]) == {"count": 35}


def test_pages_go_on_to_the_end_and_have_every_object_once(browser: Browser) -> None:
    text = "Track sort=-unit_price"
    page = browser.answer("open", text=text, edit=None, size=500)["page"]
    keys = [row["key"] for row in page["rows"]]
    while page["next"] is not None:
        page = browser.answer("page", text=text, after=page["next"], size=500)
        keys += [row["key"] for row in page["rows"]]
    assert len(keys) == len(set(keys)) == 3503


EDITS = {
    "filter": ("Customer", {"add": {"property": "country", "op": "=", "value": "Brazil"}}, "Customer[country=Brazil]"),
    "a value is a value": (
        "Customer", {"add": {"property": "country", "op": "=", "value": 'B" or city="Oslo'}}, 'Customer[country="B"" or city=""Oslo"]',
    ),
    "one of": ("Customer", {"add": {"property": "country", "op": "in", "value": "Brazil, Chile"}}, "Customer[country in (Brazil, Chile)]"),
    "no value": ("Customer", {"add": {"property": "company", "op": "is null", "value": ""}}, "Customer[company is null]"),
    "linked": ("Customer", {"add": {"property": "invoices.total", "op": ">", "value": "20"}}, "Customer[invoices.total>20]"),
    "written": ("Customer", {"add": {"text": "country=Chile or country=India"}}, "Customer[(country=Chile or country=India)]"),
    "twice is once": ("Customer[country=Chile]", {"add": {"text": "country=Chile"}}, "Customer[country=Chile]"),
    "remove": ("Customer[country=Brazil and company is null]", {"remove": 0}, "Customer[company is null]"),
    "clear": ('Customer[country=Brazil] search="ann"', {"clear": True}, "Customer"),
    "sort": ("Customer[country=Brazil]", {"sort": "-total_spent"}, "Customer[country=Brazil] sort=-total_spent"),
    "unsort": ("Customer sort=city", {"sort": ""}, "Customer"),
    "search": ("Customer", {"search": " ann  lee "}, 'Customer search="ann lee"'),
    "follow": ("Customer[country=Brazil] sort=city", {"follow": "invoices"}, "Customer[country=Brazil]/invoices"),
    "follow the first": ("Customer sort=city limit=2", {"follow": "invoices"}, "Customer{sort=city limit=2}/invoices"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "edit", "becomes"), EDITS.values(), ids=EDITS)
def test_an_edit_makes_the_next_text_which_opens_as_itself(browser: Browser, text: str, edit: Any, becomes: str) -> None:
    said = browser.answer("open", text=text, edit=edit, size=5)
    assert said["text"] == becomes
    assert browser.answer("open", text=becomes, edit=None, size=5) == said


def test_facets_count_and_their_filters_lead_to_as_many(browser: Browser) -> None:
    facets = {f["name"]: f for f in browser.answer("facets", text="Customer")["facets"]}
    usa = facets["country"]["values"][0]
    assert (usa["label"], usa["count"], usa["filter"], facets["country"]["sampled"]) == ("USA", 13, "country=USA", False)
    assert facets["country"]["distinct"] == 24
    found = browser.answer("open", text="Customer", edit={"add": {"text": usa["filter"]}}, size=5)
    assert found["filters"] == [usa["filter"]]
    assert browser.answer("count", text=found["text"])["count"] == 13
    assert "company" not in facets, "each value is there once"
    composer = next(f for f in browser.answer("facets", text="Track")["facets"] if f["name"] == "composer")
    assert composer["nulls"] == 978
    assert browser.answer("count", text=f"Track[{composer['null_filter']}]")["count"] == 978


def test_facets_that_would_take_too_long_are_of_a_part_scaled_up_and_say_so(built_shop: Workbench, keep: Keep) -> None:
    rows = "select toString(number % 3) as word, number as id from numbers(3000000)"
    built_shop.lake.command("create database if not exists wide")
    built_shop.lake.command(f"create table wide.words engine = MergeTree order by id as {rows}")
    kind = ObjectType("Word", "", "words", "id", "id", {"id": Property("id", "integer"), "word": Property("word", "string")})
    store = Store(built_shop.lake, Ontology({"Word": kind}), {"words": "`wide`.`words`"})
    try:
        browse = Browse(lambda: store, lambda: None, facets_s=0.001)
        (facet,) = Browser(keep(Explorer(browse, live=False))).answer("facets", text="Word")["facets"]
    finally:
        built_shop.lake.command("drop database wide sync")
    assert (facet["sampled"], facet["distinct"]) == (True, None)
    assert facet["share"].endswith("%")
    assert sorted(v["label"] for v in facet["values"]) == ["0", "1", "2"]
    assert all(900_000 < v["count"] < 1_100_000 for v in facet["values"])


HARD = """\
type: Oddity
model: dim_genres
key: genre_id
title: words
properties:
  genre_id: {type: integer}
  genre_name: {type: string}
  words:
    type: string
    expression: >-
      arrayElement(['مرحبا', '👩‍🚀 rocket', '<script>alert(1)</script>', repeat('long ', 2000), concat('two', char(10), 'lines')],
      1 + genre_id % 5)
  share: {type: number, expression: "if(genre_id % 2 = 0, null, genre_id / 4)", format: ".1f", unit: "%"}
"""


def test_values_that_are_hard_to_show_stay_what_they_are(own_shop: Workbench, keep: Keep) -> None:
    (own_shop.settings.workspace / "ontology/objects/oddity.yml").write_text(HARD, encoding="utf-8")
    browser = Browser(keep(Explorer(browse_of(own_shop), live=False)))
    said = browser.answer("open", text="Oddity", edit=None, size=5)
    assert [(c["name"], c["number"], bool(c["computed"])) for c in said["columns"]][:2] == [
        ("words", False, True),
        ("genre_id", True, False),
    ]
    words, share = ([row["cells"][i] for row in said["page"]["rows"]] for i in (0, 3))
    assert words[:2] == ["👩‍🚀 rocket", "<script>alert(1)</script>"]
    assert (len(words[2]["cut"]), len(words[2]["title"])) == (300, 2001)
    assert words[3] == {"cut": "two ⏎ lines", "title": "two\nlines"}
    assert words[4] == "مرحبا"
    assert share[:3] == ["0.2", None, "0.8"]
    card = browser.answer("card", type="Oddity", key="3")
    assert len(next(p["value"] for p in card["properties"] if p["name"] == "words")) == 10_000


def test_a_type_whose_model_is_not_built_says_so_and_breaks_nothing(built_shop: Workbench, keep: Keep) -> None:
    whole = built_shop.store
    store = Store(whole.lake, whole.ontology, {model: table for model, table in whole.relations.items() if model != "dim_genres"})
    widget = keep(Explorer(Browse(lambda: store, lambda: None), live=False))
    browser = Browser(widget)
    assert [t["name"] for t in browser.answer("types")["types"] if not t["built"]] == ["Genre"]
    assert "Genre (not built)" in repr(widget)
    counts = browser.answer("counts")["counts"]
    assert (counts["Genre"], counts["Track"]) == (None, 3503)
    said = browser.answer("open", text="Genre[genre_name=Rock]", edit=None, size=5)
    assert (said["type"]["built"], said["page"]) == (False, {"rows": [], "next": None})
    assert browser.answer("count", text="Genre") == {"count": 0}
    assert browser.answer("facets", text="Genre") == {"facets": []}
    assert {link["name"]: link["count"] for link in browser.answer("links", text="Track")["links"]}["belongs_to"] is None
    assert {link["name"]: link["count"] for link in browser.answer("card", type="Track", key="1")["links"]}["belongs_to"] is None


def test_a_property_whose_column_is_gone_is_marked_and_the_rest_works(own_shop: Workbench, keep: Keep) -> None:
    path = own_shop.settings.workspace / "ontology/objects/genre.yml"
    path.write_text(path.read_text(encoding="utf-8") + "  vanished: {type: string}\n", encoding="utf-8")
    browser = Browser(keep(Explorer(browse_of(own_shop), live=False)))
    said = browser.answer("types")
    assert {t["name"]: t["missing"] for t in said["types"] if t["missing"]} == {"Genre": ["vanished"]}
    assert "vanished" in said["warnings"][0]
    shown = browser.answer("open", text="Genre", edit=None, size=2)
    assert [c["name"] for c in shown["columns"] if c["missing"]] == ["vanished"]
    assert [row["cells"][-1] for row in shown["page"]["rows"]] == [None, None]
    assert "vanished" in browser.error("open", text="Genre[vanished=x]", edit=None, size=2)


def test_values_are_suggested_for_what_was_typed(browser: Browser) -> None:
    assert browser.answer("suggest", text="Customer", property="country", typed="unit")["values"] == ["United Kingdom"]
    assert "Brazil" in browser.answer("suggest", text="Invoice", property="placed_by.country", typed="bra")["values"]


def test_links_of_a_set_are_counted_each_object_once(browser: Browser) -> None:
    counts = {link["name"]: link["count"] for link in browser.answer("links", text="Customer[country=Brazil]")["links"]}
    assert counts == {"bought": 190, "invoices": 35, "supported_by": 3}


def test_a_card_has_properties_links_and_the_ways_to_it(browser: Browser) -> None:
    card = browser.answer("card", type="Customer", key="1")
    assert (card["title"], card["text"], card["command"]) == ("Luís Gonçalves", "Customer[customer_id=1]", "%skygraph object Customer 1")
    spent = next(p for p in card["properties"] if p["name"] == "total_spent")
    assert (spent["value"], spent["unit"], spent["number"]) == ("39.62", "USD", True)
    assert {link["name"]: link["count"] for link in card["links"]}["invoices"] == 7
    assert browser.answer("links_of", type="Customer", key="1")["links"] == card["links"]
    near = browser.answer("near", type="Customer", key="1", link="invoices", limit=3)["objects"]
    assert len(near) == 3
    assert browser.answer("open", text=card["text"], edit=None, size=5)["one"] == {"key": "1", "title": "Luís Gonçalves"}


def test_of_an_object_that_names_what_is_not_there_the_link_dangles(own_shop: Workbench, keep: Keep) -> None:
    # the same column under another link: most invoices have numbers that no employee has
    (own_shop.settings.workspace / "ontology/links/written_by.yml").write_text(
        "link: written_by\nfrom: Invoice\nto: Employee\ncardinality: many_to_one\njoin: {customer_id: employee_id}\nreverse: wrote\n",
        encoding="utf-8",
    )
    browser = Browser(keep(Explorer(browse_of(own_shop), live=False)))
    links = {link["name"]: link for link in browser.answer("links", text="Invoice")["links"]}
    lost = links["written_by"]
    assert lost["dangling"] == own_shop.objects("Invoice").where(customer_id__gt=8).count() == 356
    assert lost["unnamed"] == 0
    assert browser.answer("count", text=f"Invoice[{lost['dangling_filter']}]")["count"] == 356
    card = browser.answer("card", type="Invoice", key="1")
    named = next(p["value"] for p in card["properties"] if p["name"] == "customer_id")
    assert {link["name"]: link["dangling"] for link in card["links"]} == {
        "lines": "",
        "placed_by": "",
        "written_by": "" if int(named) <= 8 else named,
    }


MISTAKES = {
    "unknown type": ("open", {"text": "Custmer", "edit": None, "size": 5}, "Custmer"),
    "unknown link": ("open", {"text": "Customer", "edit": {"follow": "invoice"}, "size": 5}, "invoice"),
    "not a number": ("open", {"text": "Customer", "edit": {"add": {"text": "total_spent>lots"}}, "size": 5}, "'lots'"),
    "no such filter": ("open", {"text": "Customer", "edit": {"remove": 3}, "size": 5}, "no filter 4"),
    "unknown key": ("card", {"type": "Customer", "key": "9999"}, "9999"),
    "a cursor of another set": ("page", {"text": "Customer", "after": "~bm8", "size": 5}, "not the place of a page"),
}


@pytest.mark.parametrize(("ask", "values", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(browser: Browser, ask: str, values: dict[str, Any], said: str) -> None:
    message = browser.error(ask, **values)
    assert said in message
    assert "\n" not in message


HOSTILE = {
    "no such question": {"ask": "close"},
    "a method of the object": {"ask": "_store"},
    "no question": {},
    "a question that is no text": {"ask": ["open"]},
    "too few fields": {"ask": "page", "text": "Customer"},
    "too many fields": {"ask": "count", "text": "Customer", "kind": "x"},
    "a number for a text": {"ask": "count", "text": 5},
    "a list for a text": {"ask": "card", "type": "Customer", "key": ["1"]},
    "a long text": {"ask": "count", "text": "x" * 200_000},
    "a huge page": {"ask": "page", "text": "Customer", "after": None, "size": 10**9},
    "a negative page": {"ask": "page", "text": "Customer", "after": None, "size": -1},
    "truth for a number": {"ask": "near", "type": "Customer", "key": "1", "link": "invoices", "limit": True},
    "two edits": {"ask": "open", "text": "Customer", "edit": {"sort": "", "search": ""}, "size": 5},
    "an unknown edit": {"ask": "open", "text": "Customer", "edit": {"drop": "x"}, "size": 5},
    "a half condition": {"ask": "open", "text": "Customer", "edit": {"add": {"property": "city"}}, "size": 5},
    "an operator that is none": {
        "ask": "open", "text": "Customer", "size": 5, "edit": {"add": {"property": "city", "op": "; drop table x", "value": "1"}},
    },
    "a property that is SQL": {
        "ask": "open", "text": "Customer", "size": 5, "edit": {"add": {"property": "1=1) or (1", "op": "=", "value": "1"}},
    },
}  # fmt: skip


@pytest.mark.parametrize("message", HOSTILE.values(), ids=HOSTILE)
def test_a_message_that_no_page_of_ours_sends_is_refused_in_a_line(browser: Browser, message: dict[str, Any]) -> None:
    browser.send({"id": "h", **message})
    assert list(browser.reply("h")) == ["id", "error"]
    assert browser.answer("count", text="Customer") == {"count": 59}


@pytest.mark.parametrize("content", [None, 7, "open", [], {}, {"id": 5, "ask": "types"}, {"id": "x" * 65, "ask": "types"}], ids=repr)
def test_what_is_no_question_at_all_is_not_answered(browser: Browser, content: Any) -> None:
    browser.send(content)
    assert browser.heard == []
    assert browser.answer("count", text="Customer") == {"count": 59}


def test_a_condition_on_a_value_never_becomes_a_condition_of_its_own(browser: Browser) -> None:
    for value in ("x' or '1'='1", "x] or [y", 'x" or full_name~"a', "\\'; drop table", "{p0:String}"):
        said = browser.answer("open", text="Customer", edit={"add": {"property": "city", "op": "=", "value": value}}, size=5)
        assert said["page"]["rows"] == []
        assert len(said["filters"]) == 1


class Gate(Browse):
    """Counts only when it is let through; knows what it was asked and told to stop."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__(lambda: bench.store, lambda: None)
        self.open_gate, self.entered = threading.Event(), threading.Event()
        self.asked: list[str] = []
        self.stopped: list[str] = []

    def count(self, text: str) -> dict[str, Any]:
        self.asked.append(text)
        self.entered.set()
        assert self.open_gate.wait(20)
        return super().count(text)

    def stop(self, kind: str) -> None:
        self.stopped.append(kind)


def test_the_newest_question_wins_and_what_runs_is_stopped(built_shop: Workbench, keep: Keep) -> None:
    gate = Gate(built_shop)
    browser = Browser(keep(Explorer(gate, live=True)))
    first = browser.ask("count", text="Track")
    assert gate.entered.wait(20)
    passed_over, last = browser.ask("count", text="Album"), browser.ask("count", text="Customer")
    assert browser.reply(passed_over) == {"id": passed_over, "gone": True}
    assert browser.answer("links_of", type="Customer", key="1")["text"] == "Customer[customer_id=1]"  # another kind does not wait
    gate.open_gate.set()
    assert browser.reply(first) == {"id": first, "gone": True}
    assert browser.reply(last) == {"id": last, "answer": {"count": 59}}
    assert gate.asked == ["Track", "Customer"]
    assert gate.stopped == ["count", "count"]


def test_a_query_that_runs_is_ended_in_the_lake(built_shop: Workbench, keep: Keep, until: Callable[..., None]) -> None:
    browse = Browse(lambda: built_shop.store, lambda: None, lake=built_shop._another_lake)
    keep(Explorer(browse, live=False))
    lake = browse._store("count").lake
    ended: list[Exception] = []

    def run() -> None:
        try:
            lake.query("select count() from numbers(1000000000000) where sipHash64(number) = 1")
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: lake._running)
    until(lambda: built_shop.lake.scalar("select count() from system.processes where query like '%numbers(1000000000000)%sip%'") > 1)
    browse.stop("count")
    thread.join(20)
    assert not thread.is_alive()
    assert len(ended) == 1


def test_a_lake_that_is_down_is_one_line(keep: Keep) -> None:
    def down() -> Any:
        raise LakeUnavailable("the lake does not answer", hint="run skygraph up")

    widget = keep(Explorer(Browse(down, lambda: None), live=False))
    browser = Browser(widget)
    said = browser.reply(browser.ask("types"))
    assert said["error"] == {"message": "the lake does not answer", "hint": "run skygraph up"}
    assert repr(widget) == "Explorer: the lake does not answer"


def test_without_any_good_model_the_files_problems_are_what_there_is(own_shop: Workbench, keep: Keep) -> None:
    (own_shop.settings.workspace / "ontology/objects/genre.yml").write_text("type: Genre\nkye: genre_id\n", encoding="utf-8")
    with pytest.raises(InvalidFiles):
        _ = own_shop.ontology
    said = Browser(keep(Explorer(browse_of(own_shop), live=False))).answer("types")
    assert said["types"] == []
    assert any(p["where"] == "ontology/objects/genre.yml:2" and "'kye'" in p["message"] for p in said["problems"])


def test_a_saved_edit_is_told_and_the_types_are_new(own_shop: Workbench, keep: Keep, until: Callable[..., None]) -> None:
    browse = browse_of(own_shop)
    assert own_shop.ontology.object_types
    widget = keep(Explorer(browse, live=False, watch=own_shop._watch_model))
    browser = Browser(widget)
    assert browser.answer("types")["types"][0]["description"] == "A record, or a season of a show."
    path = own_shop.settings.workspace / "ontology/objects/album.yml"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace("A record, or a season of a show.", "A long player."), encoding="utf-8")
    until(lambda: widget.news.get("text") == "changed Album")
    assert browser.answer("types")["types"][0]["description"] == "A long player."
    path.write_text(good + "colour: red\n", encoding="utf-8")
    until(lambda: widget.news["serial"] == 2)
    assert widget.news["text"] == ""
    said = browser.answer("types")
    assert [p["where"].rpartition(":")[0] for p in said["problems"]] == ["ontology/objects/album.yml"]
    assert said["types"][0]["description"] == "A long player."
    own_shop.live.close()


def test_it_has_a_plain_text_and_stands_for_itself_without_a_page(built_shop: Workbench, keep: Keep) -> None:
    widget = keep(Explorer(browse_of(built_shop), "Customer[country=Brazil]", live=False))
    text = widget._repr_mimebundle_()[0]["text/plain"]
    assert text.startswith("Explorer: 10 object types: Album 347, Artist 275, Customer 59, ")
    assert text.endswith("\nat Customer[country=Brazil]")
    widget.close()
    widget.close()
    assert repr(widget) == "Explorer (closed)"


def test_the_magic_opens_it_where_no_type_is_named(built_shop: Workbench, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    from workbench.magics import register, unregister

    monkeypatch.chdir(built_shop.settings.workspace)
    shell = InteractiveShell()
    register(shell)
    try:
        opened = shell.run_line_magic("skygraph", "objects")
        assert isinstance(keep(opened), Explorer)
    finally:
        shell.find_line_magic("skygraph").__self__.bench.close()
        unregister(shell)
        shell.atexit_operations()
        atexit.unregister(shell.atexit_operations)
