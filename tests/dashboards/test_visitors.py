"""What a visitor cannot do: run code, read files, reach raw tables, change what a page is made of, or get in without the password."""

from __future__ import annotations

import http.cookiejar
import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import psutil
import pytest
import websocket

from tests.dashboards.conftest import SECRET, Pages, Visitor, serving

PASSWORD = "a long enough password"


def test_a_visitor_cannot_run_code(visitor: Visitor, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = {"code": f"open({str(mark)!r}, 'w').write('run')", "silent": False, "store_history": False, "allow_stdin": False}
    for channel in ("shell", "control"):
        visitor.say("execute_request", code, channel)
        visitor.say("complete_request", {"code": "impor", "cursor_pos": 5}, channel)
        visitor.say("inspect_request", {"code": "board", "cursor_pos": 5, "detail_level": 1}, channel)
        visitor.say("history_request", {"hist_access_type": "tail", "n": 10, "raw": True, "output": True}, channel)
    asked = visitor.say("kernel_info_request", {})  # behind all of them
    visitor.until("kernel_info_reply", asked)
    visitor.comms()
    assert not mark.exists()
    kinds = {message["msg_type"] for message in visitor.heard}
    assert not kinds & {"execute_reply", "execute_input", "complete_reply", "inspect_reply", "history_reply", "error"}


def test_a_visitor_only_gets_answers_to_questions_of_the_page(visitor: Visitor) -> None:
    show = {"ask": "show", "filters": {"country": "Brazil"}}
    answers = {}
    for comm in visitor.comms():
        visitor.say("comm_msg", {"comm_id": comm, "data": {"method": "update", "state": {"plan": {"parts": []}}, "buffer_paths": []}})
    for comm in visitor.comms():  # the board among layouts, which do not answer: asked last, it is the one that does
        visitor.say("comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": {"id": comm, **show}}})
    while not answers:
        content = visitor.until("comm_msg")
        said = content["data"].get("content") or {}
        if "filters" in said:
            answers[content["comm_id"]] = said
    (board,) = answers
    assert {one["name"]: one["value"] for one in answers[board]["filters"]} == {"country": "Brazil", "period": ""}
    for hostile in ({"country": "x' or '1'='1"}, {"country": "Brazil", "nobody": "1"}, {"period": "12; drop table marts.fct_invoices"}):
        assert "refused" in visitor.ask(board, {"ask": "show", "filters": hostile})
    assert "refused" in visitor.ask(board, {"ask": "sql", "filters": {}, "sql": "select * from raw.invoices"})
    saved = visitor.ask(board, {"ask": "csv", "filters": {"country": "Brazil"}, "part": "p6"})
    assert saved["csv"].splitlines()[0].startswith("customer,city,country")
    assert {line.split(",")[2] for line in saved["csv"].splitlines()[1:]} == {"Brazil"}


def test_nothing_is_served_but_pages(pages: Pages, visitor: Visitor) -> None:
    (pages.workspace / "notebooks/dashboards/secret.png").write_bytes(b"not for visitors")
    addresses = [
        "/voila/files/secret.png", "/voila/files/sales.ipynb", "/voila/files/../../sync_jobs/tables.yml", "/voila/tree/",
        "/voila/api/contents/",
        "/api/contents/", "/api/kernels", "/api/sessions", "/api/terminals", "/secret.png", "/sales.ipynb", "/nothing",
        "/voila/templates/skygraph/..%2f..%2f..%2f..%2f_serve.py", "/voila/static/..%2f..%2f..%2fetc/passwd",
    ]  # fmt: skip
    for address in addresses:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(pages.url + address, timeout=30)
        assert refused.value.code in (403, 404), address
        assert b"Traceback" not in refused.value.read()
    assert "fct_invoices" not in visitor.page, "no source in the page"
    assert "http://" not in visitor.page.replace(pages.url, "").replace("http://www.w3.org", "")
    with urllib.request.urlopen(f"{pages.url}/", timeout=30) as answer:
        listed = answer.read().decode()
    assert "What the music shop sold" in listed
    assert "secret" not in listed


def test_another_name_for_this_machine_is_refused(pages: Pages) -> None:
    """A page on the web that rebinds its own name to 127.0.0.1 would come with that name."""
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(f"{pages.url}/sales", headers={"Host": "evil.example"}), timeout=30)


def test_kernels_know_none_of_their_owners_secrets(pages: Pages, visitor: Visitor) -> None:
    server = psutil.Process(pages.pid)
    kernels = server.children(recursive=True)
    assert kernels
    for process in (server, *kernels):
        environ = process.environ()
        assert SECRET not in str(environ)
        assert environ["SKYGRAPH_ROLE"] == "viewer"
        assert "DBT_ENV_SECRET_SKYGRAPH_PASSWORD" not in environ


def test_a_password_opens_the_dashboards(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks/dashboards"
    folder.mkdir(parents=True)
    (tmp_path / "sync_jobs").mkdir()
    cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Board of directors"]}]
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    (folder / "board.ipynb").write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    with serving(tmp_path, SKYGRAPH_DASHBOARDS_PASSWORD=PASSWORD) as pages:
        words = " ".join(psutil.Process(pages.pid).cmdline()) + str(psutil.Process(pages.pid).environ())
        assert PASSWORD not in words
        cookies = http.cookiejar.CookieJar()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))

        def sign_in(password: str) -> str:
            browser.open(f"{pages.url}/login", timeout=30).read()
            xsrf = next(c.value for c in cookies if c.name == "_xsrf")
            form = urllib.parse.urlencode({"password": password, "_xsrf": xsrf}).encode()
            try:
                with browser.open(f"{pages.url}/login?next=%2Fboard", form, timeout=60) as answer:
                    return str(answer.url)
            except urllib.error.HTTPError as refused:
                return str(refused.code)

        for closed in ("/", "/board", "/nothing"):
            with browser.open(pages.url + closed, timeout=30) as answer:
                assert "/login" in answer.url
                assert "directors" not in answer.read().decode()
        with pytest.raises(websocket.WebSocketException, match="403"):
            where = pages.url.replace("http", "ws") + "/api/kernels/4f1e2d3c-0000-4000-8000-000000000000/channels"
            websocket.create_connection(where, timeout=10, origin=pages.url)
        assert sign_in("guess") == "401"
        assert sign_in(PASSWORD) == f"{pages.url}/board"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SKYGRAPH_DASHBOARDS_HOST": "0.0.0.0"}, "would be open to the network; set SKYGRAPH_DASHBOARDS_PASSWORD"),
        ({"SKYGRAPH_CLICKHOUSE_URL": "http://u:hidden@localhost:1"}, "need a sign-in of their own; set SKYGRAPH_VIEWER_URL"),
    ],
)
def test_what_would_be_open_does_not_start(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    (tmp_path / "sync_jobs").mkdir()
    words = [sys.executable, "-m", "workbench.dashboards", "--workspace", str(tmp_path)]
    ended = subprocess.run(words, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "hidden" not in ended.stderr
