"""Settings: where each value comes from, what is refused, what is never shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from workbench.errors import ExitCode, UnknownName, UsageError
from workbench.settings import Settings, find_workspace

SECRET = "hunter-2"


def toml(workspace: Path, text: str) -> None:
    (workspace / "skygraph.toml").write_text(text, encoding="utf-8")


def test_argument_comes_before_environment_before_file_before_default(workspace: Path) -> None:
    assert (Settings.load(workspace, environ={}).api_port, Settings.load(workspace, environ={}).origin("api_port")) == (8100, "default")
    toml(workspace, "api_port = 8101\n")
    found = Settings.load(workspace, environ={})
    assert (found.api_port, found.origin("api_port")) == (8101, "file")
    environ = {"SKYGRAPH_API_PORT": "8102"}
    found = Settings.load(workspace, environ=environ)
    assert (found.api_port, found.origin("api_port")) == (8102, "environment")
    found = Settings.load(workspace, environ=environ, api_port=8103)
    assert (found.api_port, found.origin("api_port")) == (8103, "argument")
    # an empty variable and an argument of None are not given
    found = Settings.load(workspace, environ={"SKYGRAPH_API_PORT": ""}, api_port=None)
    assert (found.api_port, found.origin("api_port")) == (8101, "file")


def test_environment_is_the_processes_own_unless_given(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYGRAPH_LAB_PORT", "9999")
    assert Settings.load(workspace).lab_port == 9999
    assert Settings.load(workspace, environ={}).lab_port == 8888


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Settings) if f.metadata])
def test_every_setting_has_a_name_in_the_environment_and_help(name: str) -> None:
    (field,) = [f for f in dataclasses.fields(Settings) if f.name == name]
    assert field.metadata["env"].startswith("SKYGRAPH_")
    assert field.metadata["help"].endswith(".")


@pytest.mark.parametrize("value", ["http", "0", "65536", "-1", "80.5", "8123x", 80.5, True, [1], "１２３４５６"], ids=repr)
def test_port_that_is_none_is_refused(workspace: Path, value: object) -> None:
    with pytest.raises(UsageError, match="lake_http_port is .*; a port is a number from 1 to 65535") as caught:
        Settings.load(workspace, environ={}, lake_http_port=value)
    assert caught.value.exit_code == ExitCode.USAGE


def test_port_says_where_it_was_wrong(workspace: Path) -> None:
    with pytest.raises(UsageError, match="SKYGRAPH_LAKE_TCP_PORT is 'x'"):
        Settings.load(workspace, environ={"SKYGRAPH_LAKE_TCP_PORT": "x"})
    toml(workspace, "lake_tcp_port = 9000.7\n")
    with pytest.raises(UsageError, match="skygraph.toml: lake_tcp_port is 9000.7"):
        Settings.load(workspace, environ={})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("api_prot = 1", "unknown setting in .*skygraph.toml 'api_prot'; did you mean api_port"),
        ("clickhouse_url = 'http://me:hunter-2@h:1'", "clickhouse_url may hold a password; set SKYGRAPH_CLICKHOUSE_URL"),
        ("workspace = 'x'", "unknown setting"),
        ("api_port =", "skygraph.toml: is not TOML"),
        ("cluster = ['a']", "skygraph.toml: cluster is .*text"),
        ("cluster = 5", "skygraph.toml: cluster is .*text"),
    ],
)
def test_file_that_is_wrong_is_said(workspace: Path, text: str, says: str) -> None:
    toml(workspace, text)
    with pytest.raises(UsageError, match=says) as caught:
        Settings.load(workspace, environ={})
    assert SECRET not in str(caught.value)


def test_file_that_is_not_utf8_is_said(workspace: Path) -> None:
    (workspace / "skygraph.toml").write_bytes(b"cluster = 'Z\xfcrich'")
    with pytest.raises(UsageError, match="skygraph.toml: cannot be read"):
        Settings.load(workspace, environ={})


def test_unknown_argument_names_the_nearest(workspace: Path) -> None:
    with pytest.raises(UnknownName, match="unknown setting 'lab_prot'; did you mean lab_port"):
        Settings.load(workspace, environ={}, lab_prot=1)


@pytest.mark.parametrize(
    "url",
    ["hunter-2", "clickhouse://me:hunter-2@h", "http://", "http://me:hunter-2@h:x", "http://me:hunter-2@h:99999", "http://me:hunter-2@h:0", "http://[me:hunter-2"],
)  # fmt: skip
def test_url_that_is_none_is_refused_and_not_repeated(workspace: Path, url: str) -> None:
    with pytest.raises(UsageError, match="SKYGRAPH_CLICKHOUSE_URL is not an address") as caught:
        Settings.load(workspace, environ={"SKYGRAPH_CLICKHOUSE_URL": url})
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__cause__)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"http://me:{SECRET}@h:8123/?x={SECRET}", "http://me:***@h:8123"),
        (f"https://:{SECRET}@h", "https://h"),
        ("http://h:1", "http://h:1"),
    ],
)
def test_secret_shows_as_stars(workspace: Path, url: str, shown: str) -> None:
    found = Settings.load(workspace, environ={"SKYGRAPH_CLICKHOUSE_URL": url})
    (setting,) = [s for s in found.shown() if s.name == "clickhouse_url"]
    assert (setting.value, setting.origin) == (shown, "environment")
    assert SECRET not in repr(found)
    assert SECRET not in repr(list(found.shown()))


def test_every_setting_is_shown_with_its_origin(workspace: Path) -> None:
    toml(workspace, "cluster = 'main'")
    shown = {s.name: (s.value, s.origin) for s in Settings.load(workspace, environ={}, api_port=1).shown()}
    assert shown["workspace"] == (str(workspace), "argument")
    assert shown["cluster"] == ("main", "file")
    assert shown["api_port"] == ("1", "argument")
    assert shown["lab_port"] == ("8888", "default")
    assert shown["clickhouse_url"] == ("", "default")
    assert set(shown) == {f.name for f in dataclasses.fields(Settings)} - {"origins"}


def test_workspace_is_the_nearest_folder_upward_with_sync_jobs(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = workspace / "notebooks" / "explore"
    inner.mkdir()
    assert find_workspace(inner) == workspace
    monkeypatch.chdir(inner)
    found = Settings.load(environ={})
    assert (found.workspace, found.origin("workspace"), found.state_dir) == (workspace, "default", workspace / ".skygraph")
    alone = workspace.parent / "alone"
    alone.mkdir()
    assert find_workspace(alone) == alone
    found = Settings.load(environ={"SKYGRAPH_WORKSPACE": str(alone)})
    assert (found.workspace, found.origin("workspace")) == (alone, "environment")
    assert Settings.load(workspace, environ={"SKYGRAPH_WORKSPACE": str(alone)}).workspace == workspace


def test_workspace_that_is_no_folder_is_refused(workspace: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder .*nowhere; make a workspace there with `skygraph init"):
        Settings.load(workspace / "nowhere", environ={})


def test_loading_writes_nothing(workspace: Path) -> None:
    before = sorted(workspace.rglob("*"))
    Settings.load(workspace, environ={})
    assert sorted(workspace.rglob("*")) == before
