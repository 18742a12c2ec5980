"""A sample source: a SQLite file made from a folder of SQL and CSV files, and a scripted day of changes on it.

The folder has `schema.sql` (the tables), one `<table>.csv` per table (the header names the columns, an empty field is
NULL), `triggers.sql` (run once the rows are in), and `day.sql` (the day). The file's `user_version` says how far it is:
1 made, 2 after the day.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import SourceError

__all__ = ["build_sample", "day_is_over", "play_day"]

_MADE, _AFTER_DAY = 1, 2


def build_sample(folder: Path, path: Path) -> None:
    """Make the SQLite file, whole or not at all. Overwrites nothing: does nothing when the file is there.

    Raises:
        SourceError: the folder or a file of it is missing or wrong; says which.
    """
    if path.exists():
        return
    tables = sorted(folder.glob("*.csv"))
    if not tables:
        raise SourceError(f"the sample {folder} has no CSV file", hint="it needs schema.sql and one CSV per table")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    with _alone(path):  # tables of a source open it side by side
        if not path.exists():
            _build(folder, tables, new)
            os.replace(new, path)


def _build(folder: Path, tables: Sequence[Path], new: Path) -> None:
    new.unlink(missing_ok=True)
    try:
        connection = sqlite3.connect(new)
        try:
            connection.executescript(_script(folder / "schema.sql"))
            for table in tables:
                _load(connection, table)
            if (folder / "triggers.sql").exists():
                connection.executescript(_script(folder / "triggers.sql"))
            connection.execute(f"pragma user_version = {_MADE}")
            connection.commit()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise SourceError(f"the sample {folder} does not load: {error}", hint="check its SQL and CSV files") from error


def day_is_over(path: Path) -> bool:
    """Whether the day has been played on this file."""
    with _open(path) as connection:
        return bool(connection.execute("pragma user_version").fetchone()[0] >= _AFTER_DAY)


def play_day(folder: Path, path: Path) -> bool:
    """Run `day.sql` on the file, in one transaction, once. False when it had been played before."""
    script = _script(folder / "day.sql")
    with _open(path) as connection, _alone(path):
        if connection.execute("pragma user_version").fetchone()[0] >= _AFTER_DAY:
            return False
        try:
            connection.executescript(f"begin immediate;\n{script}\n;pragma user_version = {_AFTER_DAY};\ncommit;")
        except sqlite3.Error as error:
            connection.rollback()
            raise SourceError(f"{folder / 'day.sql'} does not run: {error}") from error
        return True


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process or thread at a time."""
    with open(path.with_name(f"{path.name}.lock"), "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _open:
    """A connection that is closed at the end of the `with`."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise SourceError(f"there is no sample source at {path}", hint="`skygraph demo` makes it")
        self.connection = sqlite3.connect(path)

    def __enter__(self) -> sqlite3.Connection:
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def _script(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error


def _load(connection: sqlite3.Connection, path: Path) -> None:
    def name(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    with io.StringIO(_script(path), newline="") as file:
        rows = csv.reader(file)
        header = next(rows, None)
        if not header:
            raise SourceError(f"{path} is empty", hint="its first line names the columns")
        into = f"insert into {name(path.stem)} ({', '.join(map(name, header))}) values ({', '.join('?' * len(header))})"
        try:
            connection.executemany(into, ([field if field != "" else None for field in row] for row in rows))
        except (sqlite3.Error, csv.Error) as error:
            raise SourceError(f"{path}, line {rows.line_num}: {error}") from error
