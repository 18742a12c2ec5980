"""One frozen `Settings`; each field holds its default, its environment name, its unit and its help.

A value comes, in this order, from an argument, the environment (`SKYGRAPH_*`), the workspace's `skygraph.toml`, or the
default. Secrets come from the environment only and show as `***`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from workbench.errors import UnknownName, UsageError

__all__ = ["WORKSPACE_FOLDERS", "Settings", "SettingValue", "find_workspace"]

# what makes a folder a workspace
WORKSPACE_FOLDERS = ("sync_jobs", "dbt", "ontology", "notebooks")

Origin = Literal["argument", "environment", "file", "default"]

ROLES = ("owner", "viewer")


def _setting(default: Any, env: str, help: str, *, unit: str = "", secret: bool = False) -> Any:
    return field(default=default, metadata={"env": env, "help": help, "unit": unit, "secret": secret}, repr=not secret)


@dataclass(frozen=True)
class SettingValue:
    """One setting as people see it. `value` is already masked when it is a secret."""

    name: str
    env: str
    value: str
    origin: Origin
    help: str
    unit: str


@dataclass(frozen=True)
class Settings:
    """Everything that can be set, once, for one workspace. Make it with `Settings.load`."""

    workspace: Path = _setting(Path("."), "SKYGRAPH_WORKSPACE", "The folder with sync_jobs/, dbt/, ontology/, notebooks/.")
    clickhouse_url: str = _setting(
        "",
        "SKYGRAPH_CLICKHOUSE_URL",
        "A ClickHouse server to use instead of the embedded lake: http(s)://user:password@host:port.",
        unit="url",
        secret=True,
    )
    lake_http_port: int = _setting(8123, "SKYGRAPH_LAKE_HTTP_PORT", "HTTP port of the embedded lake.", unit="port")
    lake_tcp_port: int = _setting(9000, "SKYGRAPH_LAKE_TCP_PORT", "Native port of the embedded lake.", unit="port")
    api_port: int = _setting(8100, "SKYGRAPH_API_PORT", "Port of the HTTP API.", unit="port")
    api_host: str = _setting("127.0.0.1", "SKYGRAPH_API_HOST", "Address that the HTTP API listens on; beyond loopback it needs a token.")
    api_names: str = _setting("", "SKYGRAPH_API_NAMES", "Host names that the HTTP API answers to beside localhost, separated by commas.")
    api_token: str = _setting(
        "", "SKYGRAPH_API_TOKEN", "Token that every request to the HTTP API must bring (Authorization: Bearer).", secret=True
    )
    lab_port: int = _setting(8888, "SKYGRAPH_LAB_PORT", "Port of JupyterLab.", unit="port")
    dashboards_port: int = _setting(8866, "SKYGRAPH_DASHBOARDS_PORT", "Port of the dashboards.", unit="port")
    dashboards_host: str = _setting(
        "127.0.0.1", "SKYGRAPH_DASHBOARDS_HOST", "Address that the dashboards listen on; beyond loopback they need a password."
    )
    dashboards_names: str = _setting(
        "", "SKYGRAPH_DASHBOARDS_NAMES", "Host names that the dashboards answer to beside localhost, separated by commas."
    )
    dashboards_password: str = _setting("", "SKYGRAPH_DASHBOARDS_PASSWORD", "Password that opens the dashboards.", secret=True)
    role: str = _setting("owner", "SKYGRAPH_ROLE", "owner, or viewer: reads marts and history only, starts and writes nothing.")
    viewer_url: str = _setting(
        "",
        "SKYGRAPH_VIEWER_URL",
        "The server of SKYGRAPH_CLICKHOUSE_URL with the sign-in of a read-only user, for the dashboards.",
        unit="url",
        secret=True,
    )
    cluster: str = _setting(
        "",
        "SKYGRAPH_CLUSTER",
        "A cluster of the ClickHouse server: tables are made ON CLUSTER with Replicated engines.",
    )
    canary: str = _setting(
        "15 minutes",
        "SKYGRAPH_CANARY",
        "How often the scheduler sends a synthetic row from a source to the API and looks where it is late; off for never.",
    )
    snapshots_keep: str = _setting(
        "all for 7 days, daily for 90 days, monthly",
        "SKYGRAPH_SNAPSHOTS_KEEP",
        "Which snapshots `skygraph snapshot prune` keeps.",
    )
    backup_disk: str = _setting(
        "",
        "SKYGRAPH_BACKUP_DISK",
        "A disk of the ClickHouse server that it allows for backups; the embedded lake needs none.",
    )
    origins: Mapping[str, Origin] = field(default_factory=dict, repr=False, compare=False)

    def environment(self) -> dict[str, str]:
        """This process's environment for another process of ours, with the settings in it that were given to this one.

        Secrets go by it, never by a command line.
        """
        given = {
            f.metadata["env"]: str(getattr(self, f.name))
            for f in fields(self)
            if f.metadata and self.origin(f.name) in ("argument", "environment")
        }
        package_root = str(Path(__file__).resolve().parents[1])
        python_path = os.pathsep.join(p for p in (package_root, os.environ.get("PYTHONPATH", "")) if p)
        return {**os.environ, **given, "SKYGRAPH_WORKSPACE": str(self.workspace), "PYTHONPATH": python_path}

    @classmethod
    def load(cls, workspace: str | Path | None = None, *, environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
        """Read the settings of a workspace. Touches no server and writes nothing.

        Raises:
            UsageError: a value of the wrong kind, an unknown key in `skygraph.toml`, or a secret in it.
        """
        env = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        origins: dict[str, Origin] = {}
        if workspace is not None:
            values["workspace"], origins["workspace"] = Path(workspace).expanduser().resolve(), "argument"
        elif env.get("SKYGRAPH_WORKSPACE"):
            values["workspace"] = Path(env["SKYGRAPH_WORKSPACE"]).expanduser().resolve()
            origins["workspace"] = "environment"
        else:
            values["workspace"] = find_workspace(Path.cwd())
        if not values["workspace"].is_dir():
            raise UsageError(f"there is no folder {values['workspace']}", hint="make a workspace there with `skygraph init DIR`")
        file = _read_file(values["workspace"] / "skygraph.toml")
        known = {f.name for f in fields(cls)} - {"origins"}
        if unknown := [name for name in arguments if name not in known]:
            raise UnknownName("setting", unknown[0], known)
        for f in fields(cls):
            if f.name in ("workspace", "origins"):
                continue
            origin: Origin
            if arguments.get(f.name) is not None:
                raw, origin, where = arguments[f.name], "argument", f.name
            elif env.get(f.metadata["env"]):
                raw, origin, where = env[f.metadata["env"]], "environment", f.metadata["env"]
            elif f.name in file:
                raw, origin, where = file[f.name], "file", f"skygraph.toml: {f.name}"
            else:
                continue
            if f.metadata["unit"] != "port" and not isinstance(raw, (str, Path)):
                raise UsageError(f"{where} is {raw!r}", hint="it is a text")
            values[f.name] = _as_port(raw, where) if f.metadata["unit"] == "port" else str(raw)
            origins[f.name] = origin
        for name in ("clickhouse_url", "viewer_url"):
            if values.get(name):
                _check_url(values[name], env_name=cls.__dataclass_fields__[name].metadata["env"])
        if values.get("role", "owner") not in ROLES:
            raise UnknownName("role", values["role"], ROLES)
        return cls(**values, origins=origins)

    def make_state_dir(self) -> Path:
        """Make `.skygraph/`, for its owner only and out of git's sight; does nothing when it is there.

        Raises:
            OSError: it cannot be made.
        """
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignore = self.state_dir / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
        return self.state_dir

    def require_workspace(self) -> None:
        """Refuse a folder that has none of a workspace's four.

        Raises:
            UsageError: says what to do.
        """
        if not any((self.workspace / name).is_dir() for name in WORKSPACE_FOLDERS):
            raise UsageError(
                f"{self.workspace} is not a SkyGraph workspace",
                hint="go into one, name one with --workspace DIR, or make one with `skygraph init DIR`",
            )

    def origin(self, name: str) -> Origin:
        """Where a value came from."""
        return self.origins.get(name, "default")

    def shown(self) -> Iterator[SettingValue]:
        """Every setting, in the order of the fields, secrets masked."""
        for f in fields(self):
            if f.name == "origins":
                continue
            value = getattr(self, f.name)
            text = str(value)
            if f.metadata["secret"] and value:
                text = mask_url(value) if f.metadata["unit"] == "url" else "***"
            yield SettingValue(f.name, f.metadata["env"], text, self.origin(f.name), f.metadata["help"], f.metadata["unit"])

    @property
    def state_dir(self) -> Path:
        """The workspace's own state: `.skygraph/` (lake data, logs, last good ontology)."""
        return self.workspace / ".skygraph"


def find_workspace(start: Path) -> Path:
    """The nearest folder upward from `start` that has a `sync_jobs/`, else `start` itself."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / "sync_jobs").is_dir():
            return folder
    return start


def mask_url(url: str) -> str:
    """The URL with its password as `***`.

    >>> mask_url("http://me:secret@host:8123/?x=1")
    'http://me:***@host:8123'
    """
    parts = urlsplit(url)
    user = f"{parts.username}:***@" if parts.username else ""
    host = parts.hostname or ""
    return f"{parts.scheme}://{user}{host}" + (f":{parts.port}" if parts.port else "")


def _as_port(raw: Any, where: str) -> int:
    try:
        port = int(raw)
    except (TypeError, ValueError):
        port = -1
    if isinstance(raw, (bool, float)) or not 1 <= port <= 65535:
        raise UsageError(f"{where} is {raw!r}", hint="a port is a number from 1 to 65535")
    return port


def _check_url(url: str, *, env_name: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        # the value may hold a password: it is never repeated
        raise UsageError(
            f"{env_name} is not an address of a ClickHouse server",
            hint="write it as http://user:password@host:8123 (https for TLS), special characters of the password percent-encoded",
        )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: is not TOML: {error}") from error
    known = {f.name: f for f in fields(Settings) if f.name not in ("workspace", "origins")}
    for name in read:
        if name not in known:
            raise UnknownName(f"setting in {path}", name, known)
        if known[name].metadata["secret"]:
            raise UsageError(f"{path}: {name} may hold a password", hint=f"set {known[name].metadata['env']} in the environment")
    return read
