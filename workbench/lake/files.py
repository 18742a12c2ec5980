"""Answers as files: written by the server, carried here as bytes, and there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

from workbench.errors import UnknownName, UsageError

__all__ = ["FORMATS", "Format", "format_of", "write_file"]

Format = Literal["csv", "parquet", "jsonl", "arrow"]

# the name of a format, which is also the ending of its files, and what ClickHouse calls it
FORMATS: Mapping[str, str] = {"csv": "CSVWithNames", "parquet": "Parquet", "jsonl": "JSONEachRow", "arrow": "Arrow"}


def format_of(path: Path, format: str | None = None) -> str:
    """The format of a file: as asked for, or as its ending says.

    >>> format_of(Path("a.b.PARQUET"))
    'parquet'
    """
    chosen = format or path.suffix.lstrip(".").lower()
    if chosen not in FORMATS:
        raise UnknownName("format", chosen or str(path.name), get_args(Format))
    return chosen


def write_file(path: Path, blocks: Iterator[bytes], *, say: Callable[[int], None] | None = None) -> int:
    """Write blocks of bytes to a file, whole or not at all; the bytes written. `say` hears how many there are so far."""
    partial = path.with_name(f".{path.name}.partial")
    written = 0
    try:
        with partial.open("wb") as out:
            for block in blocks:
                written += out.write(block)
                if say is not None:
                    say(written)
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return written
