"""Who is answered: this machine, by its own names, and no page of another site."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import TOKEN, TestClient
from workbench import Workbench
from workbench.api import create_app
from workbench.api._guard import MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_URL_BYTES, Policy
from workbench.errors import UsageError
from workbench.settings import Settings

JSON = {"content-type": "application/json"}


@pytest.fixture
def plain(workspace: Path) -> TestClient:
    """The API of an empty workspace; the guard needs no lake."""
    return TestClient(create_app(Workbench(Settings.load(workspace, environ={}))), base_url="http://localhost:8100")


@pytest.fixture
def behind_token(workspace: Path) -> TestClient:
    """The API as it is beyond loopback."""
    environ = {"SKYGRAPH_API_TOKEN": TOKEN, "SKYGRAPH_API_HOST": "0.0.0.0", "SKYGRAPH_API_NAMES": "lake.example.org, other"}
    return TestClient(create_app(Workbench(Settings.load(workspace, environ=environ))), base_url="http://lake.example.org")


def refused(answer: Any, status: int, word: str) -> None:
    """Refused with the one shape of errors, and a request id."""
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert set(said) == {"error", "message", "hint", "retryable", "request_id"}
    assert word in said["message"] + str(said["hint"])
    assert said["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8100", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8100", "LOCALHOST:8100"])
def test_the_names_of_loopback_are_answered(plain: TestClient, host: str) -> None:
    assert plain.get("/openapi.json", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8100", "localhost.evil.example", "127.0.0.1.evil.example", "localhost.", "localhost:8100:1",
        "10.0.0.1", "localhost@evil.example", "", "127.1", "2130706433", "[::ffff:127.0.0.1]", "localhost/..",
        "localhost\x00", "[::1", "0.0.0.0",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/health", "/nowhere"])
def test_a_rebinding_host_is_refused_everywhere(plain: TestClient, host: str, path: str) -> None:
    refused(plain.get(path, headers={"host": host}), 403, "Host")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost:8888",
        "http://localhost",
        "http://localhost:8100.evil.example",
        "file://",
        "",
        "localhost:8100",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_foreign_origin_is_refused(plain: TestClient, origin: str, method: str) -> None:
    refused(plain.request(method, "/api/v1/snapshots", headers={"origin": origin, **JSON}), 403, "origin")


def test_its_own_page_is_answered(plain: TestClient) -> None:
    own = {"origin": "http://localhost:8100", "sec-fetch-site": "same-origin"}
    assert plain.get("/openapi.json", headers=own).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something new"])
def test_a_page_elsewhere_cannot_write(plain: TestClient, site: str) -> None:
    refused(plain.post("/api/v1/ontology/reload", headers={"sec-fetch-site": site, **JSON}), 403, site)


def test_a_page_elsewhere_cannot_read_but_link_to_the_docs(plain: TestClient) -> None:
    cross = {"sec-fetch-site": "cross-site"}
    refused(plain.get("/openapi.json", headers={**cross, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}), 403, "cross-site")
    assert plain.get("/docs", headers={**cross, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}).status_code == 200
    refused(plain.get("/docs", headers={**cross, "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}), 403, "cross-site")


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json", ""]
)
@pytest.mark.parametrize("path", ["/api/v1/ontology/reload", "/api/v1/snapshots", "/api/v1/sync/genres"])
def test_a_simple_cross_site_post_is_refused(plain: TestClient, kind: str | None, path: str) -> None:
    """What a form, or a `fetch` without a preflight, can send."""
    headers = {} if kind is None else {"content-type": kind}
    refused(plain.post(path, content=b'{"label": "x"}', headers=headers), 415, "JSON")


def test_there_is_no_cors(plain: TestClient) -> None:
    answer = plain.options("/api/v1/snapshots", headers={"access-control-request-method": "POST"})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "sign_in",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        TOKEN,
        "Bearer é",
    ],
)
def test_without_the_token_nothing_is_answered(behind_token: TestClient, sign_in: str | None) -> None:
    headers = {} if sign_in is None else {"authorization": sign_in.encode("latin-1")}
    for path in ("/openapi.json", "/health", "/api/v1/ontology", "/nowhere"):
        answer = behind_token.get(path, headers=headers)
        refused(answer, 401, "token")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_with_the_token_it_is_answered(behind_token: TestClient) -> None:
    for scheme in ("Bearer", "bearer"):
        assert behind_token.get("/openapi.json", headers={"authorization": f"{scheme} {TOKEN}"}).status_code == 200
    assert behind_token.get("/docs").status_code == 200  # the page has nothing of the data; it asks for the token


@pytest.mark.parametrize(
    ("host", "status"), [("other", 200), ("10.1.2.3:8100", 200), ("[fd00::1]", 200), ("localhost", 200), ("evil.example", 403)]
)
def test_beyond_loopback_named_hosts_and_addresses_are_answered(behind_token: TestClient, host: str, status: int) -> None:
    headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
    assert behind_token.get("/openapi.json", headers=headers).status_code == status


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "lake.example.org"])
@pytest.mark.parametrize(
    ("token", "told"), [("", "without a token"), ("short", "is no token"), ("long enough but with spaces", "is no token")]
)
def test_it_does_not_start_beyond_loopback_without_a_token(workspace: Path, host: str, token: str, told: str) -> None:
    settings = Settings.load(workspace, environ={"SKYGRAPH_API_HOST": host, "SKYGRAPH_API_TOKEN": token})
    with pytest.raises(UsageError, match=told) as caught:
        create_app(Workbench(settings))
    assert not token or token not in str(caught.value)


def test_the_token_shows_nowhere(workspace: Path) -> None:
    settings = Settings.load(workspace, environ={"SKYGRAPH_API_TOKEN": TOKEN})
    shown = [repr(settings), repr(Policy.of(settings)), *(str(s) for s in settings.shown())]
    assert not [text for text in shown if TOKEN in text]
    (workspace / "skygraph.toml").write_text(f'api_token = "{TOKEN}"\n', encoding="utf-8")
    with pytest.raises(UsageError, match="SKYGRAPH_API_TOKEN"):
        Settings.load(workspace, environ={})


def test_what_is_too_large_is_refused(plain: TestClient) -> None:
    post = "/api/v1/snapshots"
    refused(plain.post(post, content=b" " * (MAX_BODY_BYTES + 1), headers=JSON), 413, "body")
    refused(plain.post(post, content=iter([b" " * MAX_BODY_BYTES, b" "]), headers=JSON), 413, "body")  # no length told
    refused(plain.post(post, content=b"{}", headers={**JSON, "content-length": "9" * 30}), 413, "body")
    refused(plain.get("/health", headers={"x-filler": "x" * MAX_HEADER_BYTES}), 431, "headers")
    refused(plain.get("/health?x=" + "x" * MAX_URL_BYTES), 414, "address")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"x"',
        b"1",
        b'{"label": 1}',
        b'{"labl": "x"}',
        b'{"types": "Genre"}',
        b"\xff\xfe",
        b"[" * 30_000,
        b'{"label": "' + b"x" * 300 + b'"}',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_does_not_fit_is_a_mistake_in_words(plain: TestClient, body: bytes) -> None:
    answer = plain.post("/api/v1/snapshots", content=body, headers=JSON)
    refused(answer, 400, "body")
    assert answer.json()["error"] == "UsageError"


def test_unknown_addresses_and_methods_have_the_same_shape(plain: TestClient) -> None:
    refused(plain.get("/api/v2/objects"), 404, "address")
    refused(plain.get("/api/v1/sync/"), 404, "address")
    wrong = plain.put("/api/v1/snapshots", headers=JSON)
    refused(wrong, 405, "PUT")
    assert set(wrong.headers["allow"].split(", ")) & {"GET", "POST"}


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/page.js", "/nowhere"])
def test_every_answer_keeps_browsers_on_a_short_lead(plain: TestClient, path: str) -> None:
    headers = plain.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers


def test_the_docs_load_nothing_from_elsewhere(plain: TestClient) -> None:
    page = plain.get("/docs").text
    assert '<script src="/docs/page.js"' in page
    for path in ("/docs", "/docs/page.js", "/docs/page.css"):
        text = re.sub(r"^ *// .*$", "", plain.get(path).text, flags=re.MULTILINE)  # comments
        assert "//" not in text, path
    assert "<script>" not in page
    assert "style=" not in page


@pytest.mark.parametrize("given", ["abc-123", "A" * 64])
def test_a_request_keeps_the_id_that_it_came_with(plain: TestClient, given: str) -> None:
    assert plain.get("/openapi.json", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\tb", '"', "é"])
def test_an_id_that_could_harm_a_log_is_replaced(plain: TestClient, given: str) -> None:
    made = plain.get("/openapi.json", headers={"x-request-id": given.encode("latin-1")}).headers["x-request-id"]
    assert made != given
    assert len(made) == 32


def test_a_fault_answers_with_its_id_and_no_traceback(workspace: Path) -> None:
    app = create_app(Workbench(Settings.load(workspace, environ={})))

    @app.get("/fault")
    def fault() -> None:
        raise RuntimeError("the inner secret")

    answer = TestClient(app, base_url="http://localhost").get("/fault", headers={"x-request-id": "find-me"})
    refused(answer, 500, "find-me")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_the_log_says_every_request_with_its_id_and_never_the_token(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.log import write_logs

    path = write_logs(workspace / "log", "api.log")
    app = create_app(Workbench(Settings.load(workspace, environ={"SKYGRAPH_API_TOKEN": TOKEN})))

    @app.get("/fault")
    def fault() -> None:
        raise RuntimeError("the inner secret")

    asks = TestClient(app, base_url="http://localhost")
    asks.get("/fault?secret=1", headers={"x-request-id": "r-1", "authorization": f"Bearer {TOKEN}"})
    asks.get("/health", headers={"x-request-id": "r-2", "authorization": f"Bearer {TOKEN}x"})
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(line["event"], line["request_id"], line.get("status")) for line in lines] == [
        ("request failed", "r-1", None), ("request", "r-1", 500), ("request", "r-2", 401),
    ]  # fmt: skip
    assert "the inner secret" in lines[0]["exception"]
    assert TOKEN not in path.read_text(encoding="utf-8")
