"""A snapshot as Parquet files, out and in: a folder with a file per type and link, and `snapshot.json` that says what they are.

The lake writes and reads the Parquet; blocks of bytes pass through here, rows do not.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.errors import QueryError, UsageError
from workbench.lake import Lake
from workbench.lake.sql import quote, quote_table

__all__ = ["ExportReport", "imported", "read_folder", "write_folder"]

_FORMAT = 1
_FILE = "snapshot.json"


@dataclass(frozen=True)
class ExportReport(Answer):
    """The files of an exported snapshot."""

    folder: str
    snapshot: Mapping[str, Any]
    files: tuple[tuple[str, int, int], ...]  # name, objects, bytes

    def to_dict(self) -> dict[str, Any]:
        """`folder`, `snapshot`, and `files` with `name`, `objects`, `bytes`."""
        files = [{"name": n, "objects": count, "bytes": size} for n, count, size in self.files]
        return {"folder": self.folder, "snapshot": dict(self.snapshot), "files": files}

    def blocks(self) -> Iterator[Block]:
        """A row per file."""
        yield Grid(["file", "objects", "bytes"], [list(f) for f in self.files])
        yield Note(f"written to {self.folder}; skygraph snapshot import brings it into a lake", "good")


def write_folder(
    folder: Path, about: Mapping[str, Any], parts: Mapping[str, tuple[int, Mapping[str, str], Iterator[bytes]]]
) -> ExportReport:
    """Write a folder: per tag of a part its count, its columns and its Parquet. `snapshot.json` comes last: without it the folder is none.

    Raises:
        UsageError: the folder has something in it, or cannot be written.
    """
    folder = folder.expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already", hint="name a new folder")
    files, told = [], []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for i, (tag, (count, columns, blocks)) in enumerate(parts.items()):
            name = f"{i:03d}.parquet"
            with (folder / name).open("wb") as out:
                size = sum(out.write(block) for block in blocks)
            files.append((f"{name} ({tag})", count, size))
            told.append({"part": tag, "file": name, "count": count, "columns": dict(columns)})
        text = json.dumps({"format": _FORMAT, **about, "parts": told}, indent=2, default=str)
        (folder / _FILE).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from error
    return ExportReport(str(folder), about, tuple(files))


def read_folder(folder: Path) -> dict[str, Any]:
    """What `snapshot.json` says.

    Raises:
        UsageError: the folder is no exported snapshot.
    """
    try:
        told = json.loads((folder.expanduser() / _FILE).read_text(encoding="utf-8"))
        if told["format"] != _FORMAT:
            raise UsageError(f"{folder} is of another release: format {told['format']!r}, not {_FORMAT}")
        for part in told["parts"]:
            if not (folder.expanduser() / part["file"]).is_file() or Path(part["file"]).name != part["file"]:
                raise UsageError(f"{folder}: {part['file']} is missing")
        dt.datetime.fromisoformat(told["taken_at"])
        return dict(told)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} is no exported snapshot: {error}", hint="name a folder that `skygraph snapshot export` wrote") from None


@contextmanager
def imported(lake: Lake, folder: Path, told: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """By tag of a part, a table with the rows of its file, until the end of the block.

    Raises:
        UsageError: a file cannot be read as what `snapshot.json` says.
    """
    tables: dict[str, str] = {}
    try:
        for i, part in enumerate(told["parts"]):
            table = f"eidolon.hold_file{i}"
            columns = ", ".join(f"{quote(name)} {type_}" for name, type_ in part["columns"].items())
            lake.command(f"drop table if exists {quote_table(table)} sync", retry=True)
            try:
                lake.command(f"create table {quote_table(table)} ({columns}) engine = MergeTree order by tuple()")
                tables[part["part"]] = table
                say(str(part["part"]))
                with (folder.expanduser() / part["file"]).open("rb") as file:
                    lake.insert_stream(table, iter(lambda f=file: f.read(1 << 20), b""), "Parquet")  # type: ignore[misc]
            except QueryError as error:
                raise UsageError(f"{folder}: {part['file']} cannot be read: {error.message[:300]}") from error
            found = lake.scalar(f"select count() from {quote_table(table)}")
            if found != part["count"]:
                raise UsageError(f"{folder}: {part['file']} has {found:,} rows, not {part['count']:,}")
        yield {tag: quote_table(table) for tag, table in tables.items()}
    finally:
        for table in tables.values():
            lake.command(f"drop table if exists {quote_table(table)} sync", retry=True)
