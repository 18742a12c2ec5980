"""Every exception of SkyGraph, and the words they share.

    SkyGraphError                exit 1
    ├── UsageError               exit 2   the words of a command, an option or a setting are wrong
    │   └── UnknownName          exit 2   no such table, type, key, verb ...; carries the nearest names
    ├── Busy                     exit 1   the same is being done already; trying again may help
    ├── InvalidFiles             exit 1   hand-written files are wrong; carries every problem at once
    ├── LakeError                exit 1   the lake refused or failed
    │   ├── LakeUnavailable      exit 3   the lake did not answer; trying again may help
    │   └── QueryError           exit 1   the lake refused a statement; carries ClickHouse's code
    ├── SourceError              exit 1   a source cannot be read as asked
    │   ├── SourceUnavailable    exit 1   a source did not answer; trying again may help
    │   └── Misfit               exit 1   a value at a source does not fit its column
    └── TransformError           exit 1   dbt could not run

A message says where, then what was asked against what was found; the hint says what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

__all__ = [
    "Busy",
    "ExitCode",
    "InvalidFiles",
    "LakeError",
    "LakeUnavailable",
    "Misfit",
    "Problem",
    "QueryError",
    "SkyGraphError",
    "SourceError",
    "SourceUnavailable",
    "TransformError",
    "UnknownName",
    "UsageError",
    "nearest",
]


class ExitCode(IntEnum):
    """What a `skygraph` process ends with."""

    OK = 0
    FAILED = 1
    USAGE = 2
    LAKE_UNREACHABLE = 3


def nearest(name: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """The known names that look like `name`, nearest first; empty when none does.

    >>> nearest("invoces", ["invoices", "tracks"])
    ['invoices']
    """
    by_fold = {k.casefold(): k for k in known}
    found = difflib.get_close_matches(name.casefold(), list(by_fold), n=most, cutoff=0.6)
    return [by_fold[f] for f in found]


class SkyGraphError(Exception):
    """The root of all errors that SkyGraph raises on purpose.

    `str(error)` is one line: the message and, when there is one, the hint.
    """

    exit_code: ExitCode = ExitCode.FAILED
    retryable: bool = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def to_dict(self) -> dict[str, Any]:
        """The error as data: `error` (class name), `message`, `hint`, `retryable`."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
        }


class UsageError(SkyGraphError):
    """The words of a command, an option or a setting are wrong."""

    exit_code = ExitCode.USAGE


class UnknownName(UsageError):
    """A name that stands for nothing. `kind` is what was looked for: table, object type, key ..."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str | None = None) -> None:
        names = list(known)
        near = nearest(name, names)
        if hint is None and near:
            hint = "did you mean " + " or ".join(near) + "?"
        elif hint is None and names:
            hint = f"there is {', '.join(sorted(names)[:8])}" + (" ..." if len(names) > 8 else "")
        super().__init__(f"unknown {kind} {name!r}", hint=hint)
        self.kind = kind
        self.name = name
        self.nearest = near


class Busy(SkyGraphError):
    """The same is being done already, here or in another process, and the caller did not want to wait for it."""

    retryable = True


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a hand-written file. `line` counts from 1; 0 means the file as a whole."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        """The problem as data: `file`, `line`, `message`."""
        return {"file": self.file, "line": self.line, "message": self.message}


class InvalidFiles(SkyGraphError):
    """Hand-written files are wrong. `problems` has all of them, by file and line."""

    def __init__(self, what: str, problems: Sequence[Problem], *, hint: str | None = None) -> None:
        self.problems = tuple(sorted(set(problems)))
        count = len(self.problems)
        super().__init__(f"{what}: {count} problem{'s' if count != 1 else ''}", hint=hint)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  {p}" for p in self.problems)])

    def to_dict(self) -> dict[str, Any]:
        """The error as data, with `problems`."""
        return {**super().to_dict(), "problems": [p.to_dict() for p in self.problems]}


class LakeError(SkyGraphError):
    """The lake refused or failed."""


class LakeUnavailable(LakeError):
    """The lake did not answer. Trying again may help."""

    exit_code = ExitCode.LAKE_UNREACHABLE
    retryable = True


class QueryError(LakeError):
    """The lake refused a statement. `code` is ClickHouse's error number, 0 when it gave none."""

    def __init__(self, message: str, *, code: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class SourceError(SkyGraphError):
    """A source cannot be read as asked: missing, of another kind, or with values that do not fit."""


class SourceUnavailable(SourceError):
    """A source did not answer or refused the sign-in. Trying again may help."""

    retryable = True


class Misfit(SourceError):
    """A value at a source does not fit its column. Sync catches it, and sets the row apart in `skygraph.quarantine`."""


class TransformError(SkyGraphError):
    """dbt could not run. A model or test that fails is not this: it is in the report."""
