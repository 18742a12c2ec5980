"""A real MariaDB server for the tests, where `mariadbd` is installed: TCP on loopback, a password, its own folder and log.

Its default time zone is not UTC, so that nothing can lean on it, and its SQL mode lets every date in that MySQL ever let in.
The tests write to it in MySQL's own protocol, of which this module speaks the little that they need: no driver is asked for.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ZONE = "-05:00"
_DEADLINE_S = 60.0
_SQL_FILES = ("mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql")
_SQL_FOLDERS = ("/usr/share/mysql", "/usr/share/mariadb", "/usr/local/share/mysql")


class MysqlError(Exception):
    """What the server answered instead of rows. `code` is its number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class MysqlConnection:
    """A session that commits by itself. Values come back as text, in UTF-8, or as the bytes that they are."""

    def __init__(self, port: int, user: str, password: str, database: str = "") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE_S)
        self._next = 0
        hello = self._packet()
        at = hello.index(b"\0", 1) + 5
        salt = hello[at : at + 8] + hello[at + 27 : at + 39]
        once = hashlib.sha1(password.encode()).digest()
        mixed = hashlib.sha1(salt + hashlib.sha1(once).digest()).digest()
        proof = bytes(a ^ b for a, b in zip(once, mixed, strict=True)) if password else b""
        # protocol 4.1, long password, secure sign-in, plugin named; with a database when there is one; utf8mb4
        flags = 0x200 | 0x1 | 0x8000 | 0x80000 | (0x8 if database else 0)
        body = struct.pack("<IIB23x", flags, 1 << 24, 45) + user.encode() + b"\0" + bytes([len(proof)]) + proof
        body += (database.encode() + b"\0" if database else b"") + b"mysql_native_password\0"
        self._send(body)
        self._packet()

    def run(self, sql: str | bytes) -> list[tuple[bytes | None, ...]]:
        """Run one statement; its rows, none for a statement that gives none."""
        self._next = 0
        self._send(b"\x03" + (sql.encode() if isinstance(sql, str) else sql))
        first = self._packet()
        if first[0] == 0:
            return []
        columns, _ = _length(first, 0)
        for _ in range(columns or 0):
            self._packet()
        self._packet()
        rows = []
        while (packet := self._packet())[0] != 0xFE or len(packet) > 8:
            row: list[bytes | None] = []
            at = 0
            while at < len(packet):
                size, at = _length(packet, at)
                row.append(None if size is None else packet[at : at + size])
                at += size or 0
            rows.append(tuple(row))
        return rows

    def close(self) -> None:
        """End the session; a transaction that is open is rolled back."""
        self._socket.close()

    def _send(self, body: bytes) -> None:
        while True:
            part, body = body[: 2**24 - 1], body[2**24 - 1 :]
            self._socket.sendall(struct.pack("<I", len(part))[:3] + bytes([self._next % 256]) + part)
            self._next += 1
            if len(part) < 2**24 - 1:
                return

    def _packet(self) -> bytes:
        whole = b""
        while True:
            head = self._bytes(4)
            size = int.from_bytes(head[:3], "little")
            self._next = head[3] + 1
            whole += self._bytes(size)
            if size < 2**24 - 1:
                break
        if whole[:1] == b"\xff":
            said = whole[3:].decode("utf-8", "replace")
            raise MysqlError(int.from_bytes(whole[1:3], "little"), said[6:] if said.startswith("#") else said)
        return whole

    def _bytes(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._socket.recv(min(size, 1 << 20))
            if not part:
                raise MysqlError(2013, "the server went away")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _length(packet: bytes, at: int) -> tuple[int | None, int]:
    """A length-encoded number and where it ends; None for NULL."""
    first = packet[at]
    if first < 0xFB:
        return first, at + 1
    if first == 0xFB:
        return None, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(packet[at + 1 : at + 1 + size], "little"), at + 1 + size


def literal(value: Any) -> str:
    """A Python value as SQL that no mode of the server reads otherwise: texts and bytes as hexadecimal digits."""
    if value is None:
        return "null"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, str):
        return f"_utf8mb4 x'{value.encode().hex()}'"
    return str(int(value) if isinstance(value, bool) else value)


class MysqlServer:
    """A running server. `user` may do everything; every statement that it runs is in `log`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.user = "my sql"
        self.password = "p@ss/wörd' \\ :%?"
        self.log = folder / "general.log"

    def dsn(self, database: str = "", *, user: str = "", password: str = "", port: int = 0, host: str = "127.0.0.1") -> str:
        """The address of a database, with the password in it."""
        from urllib.parse import quote

        who = f"{quote(user or self.user, safe='')}:{quote(password or self.password, safe='')}"
        return f"mysql://{who}@{host}:{port or self.port}/{quote(database, safe='')}"

    def connect(self, database: str = "", *, user: str = "", password: str = "") -> MysqlConnection:
        """A session of the user that may do everything, or of another."""
        return MysqlConnection(self.port, user or self.user, password or self.password, database)

    def said(self, start: int = 0) -> str:
        """The log of all statements from a byte on."""
        with open(self.log, "rb") as file:
            file.seek(start)
            return file.read().decode("utf-8", "replace")


class MysqlShop:
    """A source that a test can write to, in a database of its own.

    With `standard` the types of a CREATE TABLE are those that other databases share: a `timestamp` of any year, a `text` that
    can be in a key.
    """

    connector = "mysql"
    pulls = "mysql("

    def __init__(self, server: MysqlServer, *, standard: bool = False) -> None:
        self.server = server
        self.standard = standard
        self.database = f"it's a schéma {uuid.uuid4().hex[:8]}"
        self.options = {"dsn": server.dsn(self.database)}
        self._open = server.connect()
        self._open.run(f"create database `{self.database}`")
        self._open.run(f"use `{self.database}`")
        # names in the quotes of the standard; a time that a test writes is UTC; no other date than a real one
        self._open.run("set sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES', time_zone = '+00:00'")

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[bytes | None, ...]]:
        if self.standard and sql.startswith("create table"):
            sql = re.sub(r"\btext\b", "varchar(200)", re.sub(r"\btimestamp\b", "datetime(6)", sql))
        parts = sql.split("?") if values else [sql]
        if len(parts) != len(values) + 1:
            raise ValueError(f"{len(values)} values for {len(parts) - 1} places")
        return self._open.run(
            "".join(p + (literal(v) if n < len(values) else "") for n, (p, v) in enumerate(zip(parts, [*values, None], strict=True)))
        )

    def close(self) -> None:
        self._open.run(f"drop database if exists `{self.database}`")
        self._open.close()


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MysqlServer]:
    """The run's MariaDB server; skips where `mariadbd` is not installed."""
    program = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin:/usr/libexec")
    if program is None:
        pytest.skip("mariadbd is not installed (Debian: mariadb-server-core)")
    sql = next((Path(f) for f in _SQL_FOLDERS if (Path(f) / _SQL_FILES[0]).is_file()), None)
    if sql is None:
        pytest.skip(f"mariadbd has no {_SQL_FILES[0]} beside it, to make its own tables with")
    folder = Path(tempfile.mkdtemp(prefix="skygraph-mysql-"))
    try:
        yield from _serve(program, sql, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(program: str, sql: Path, folder: Path) -> Iterator[MysqlServer]:
    server = MysqlServer(folder, _free_port())
    (folder / "data").mkdir()
    words = [program, "--no-defaults", f"--datadir={folder}/data", f"--tmpdir={folder}", "--innodb-log-file-size=16M"]
    words += ["--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin"]
    if os.geteuid() == 0:
        words.append("--user=root")
    tables = "create database mysql;\nuse mysql;\n" + "".join((sql / name).read_text(encoding="utf-8") for name in _SQL_FILES)
    made = subprocess.run([*words, "--bootstrap"], input=tables, capture_output=True, text=True, cwd=folder, check=False)
    if made.returncode:
        raise RuntimeError(f"MariaDB cannot make its tables:\n{made.stderr[-2000:]}")
    first = folder / "first.sql"
    who = f"{literal_text(server.user)}@'%'"
    first.write_text(
        f"create user {who} identified via mysql_native_password using password({literal_text(server.password)});\n"
        f"grant all privileges on *.* to {who} with grant option;\n",
        encoding="utf-8",
    )
    first.chmod(0o600)
    words += [
        "--bind-address=127.0.0.1", f"--port={server.port}", f"--socket={folder}/s", f"--pid-file={folder}/pid", f"--init-file={first}",
        "--character-set-server=utf8mb4", f"--default-time-zone={ZONE}", "--sql-mode=", "--max-allowed-packet=64M", "--general-log=1",
        f"--general-log-file={server.log}", "--log-output=FILE", "--lower-case-table-names=0", "--skip-name-resolve",
        "--performance-schema=OFF", "--character-set-client-handshake",
    ]  # fmt: skip
    with open(folder / "server.err", "wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, preexec_fn=_end_with_parent)
    try:
        _wait(server, process)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_DEADLINE_S)


def literal_text(text: str) -> str:
    """A text in quotes, as a server in its default mode reads it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _wait(server: MysqlServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            server.connect().close()
            return
        except (OSError, MysqlError):
            if process.poll() is not None or time.monotonic() > deadline:
                said = (server.folder / "server.err").read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"MariaDB does not start:\n{said[-2000:]}") from None
            time.sleep(0.02)


def _end_with_parent() -> None:
    """Have the kernel stop the server when the test run dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


__all__: Sequence[str] = ("MysqlConnection", "MysqlError", "MysqlServer", "literal", "mysql_server")
