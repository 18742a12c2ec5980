"""Inspector: what a table is made of, and what becomes of it while one looks. The drawing is in inspector.js beside this.

The browser asks by messages and the kernel answers; a section is read when it is opened, and what changes by itself is asked for only
while somebody looks. Whoever can reach the page can send any message, so each is read strictly and can only ask what `Inspect` answers.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import traitlets

from workbench.answer import cell_text, to_json
from workbench.errors import SkyGraphError, UsageError
from workbench.widgets.asking import Asked
from workbench.widgets.task import Task, is_live
from workbench.widgets.view import plural

__all__ = ["Inspect", "Inspector"]

_KEY = 4_000  # characters of a key that is taken from a browser
_FIELD = 2_000  # characters of a value that is sent to one
_VERSIONS = 200  # newest versions of a key that are drawn


class Inspect(Protocol):
    """What the inspector asks about its table; answers are mappings. May raise, and each kind may run in a thread of its own."""

    table: str

    def head(self) -> Mapping[str, Any]:
        """What it is, and how it stands with its source."""

    def now(self) -> Mapping[str, Any]:
        """What changes by itself; has to be cheap."""

    def facts(self) -> Mapping[str, Any]:
        """Rows, counted both ways."""

    def tombstones(self) -> Mapping[str, Any]:
        """Rows that mark deleted keys."""

    def keys(self) -> Mapping[str, Any]:
        """Keys with most versions."""

    def life(self, key: str) -> Mapping[str, Any]:
        """The versions of one key."""

    def parts(self) -> Mapping[str, Any]:
        """Parts and merges."""

    def ranges(self) -> Mapping[str, Any]:
        """The key ranges of the parts."""

    def schema(self) -> Mapping[str, Any]:
        """Columns and DDL."""

    def meter(self) -> Mapping[str, Any]:
        """How wrong aggregates would be over physical rows."""

    def price(self) -> Mapping[str, Any]:
        """What reading current rows will cost."""

    def cost(self) -> Mapping[str, Any]:
        """What it does cost; reads them."""


_KINDS = ("head", "now", "facts", "tombstones", "keys", "life", "parts", "ranges", "schema", "meter", "price", "cost")


class Inspector(Asked):
    """Look into one table.

    Args:
        inspect: answers what is asked.
        key: the key whose life is shown at first; '' for the table.
        every_s: seconds between two looks at what changes by itself, while somebody looks.
    """

    _esm = Path(__file__).with_name("inspector.js")
    _css = Path(__file__).with_name("inspector.css")

    start = traitlets.Dict().tag(sync=True)

    def __init__(self, inspect: Inspect, *, key: str = "", every_s: float = 2.0, live: bool | None = None) -> None:
        self._inspect = inspect
        self._live = is_live() if live is None else live
        self._lock = threading.Lock()
        self._newest: dict[str, str] = {}  # kind of question -> id of the last one
        self._waiting: dict[str, str] = {}  # kind of question -> id of the one that waits behind another
        self._tasks = {kind: Task(_nothing, _nothing, live=self._live) for kind in _KINDS}
        self._key = key
        self._begin(list(self._tasks.values()), start={"table": inspect.table, "key": key, "every_s": float(every_s)})

    def set_state(self, sync_data: Any) -> None:
        """Take no state from a page: it asks by messages only."""

    def _hear(self, _: Any, message: Any, buffers: Sequence[Any]) -> None:
        """Read one message; it runs in the thread of its kind, where the newest wins."""
        if not isinstance(message, dict) or not isinstance(message.get("id"), str) or len(message["id"]) > 64:
            return  # there is nobody to answer
        asked_by = message["id"]
        try:
            kind, values = _read_question(message)
        except SkyGraphError as error:
            self._answer({"id": asked_by, "error": _said(error)})
            return
        with self._lock:
            self._newest[kind] = asked_by
            passed_over = self._waiting.pop(kind, None)
            if self._tasks[kind].busy:
                self._waiting[kind] = asked_by
        if passed_over is not None:
            self._answer({"id": passed_over, "gone": True})
        self._tasks[kind].start(lambda: self._ask(kind, asked_by, values), self._answer, queue=True)

    def _ask(self, kind: str, asked_by: str, values: Mapping[str, str]) -> dict[str, Any]:
        with self._lock:
            if self._waiting.get(kind) == asked_by:
                del self._waiting[kind]
            if self._newest.get(kind) != asked_by:
                return {"id": asked_by, "gone": True}
        try:
            found = getattr(self._inspect, kind)(**values)
            return {"id": asked_by, "answer": _drawn(found) if kind == "life" else _plain(found)}
        except Exception as error:
            return {"id": asked_by, "error": _said(error)}

    def __repr__(self) -> str:
        """The table in a line; where nobody can click, with its rows, or the versions of the key."""
        if self._closed:
            return "Inspector (closed)"
        name = f"Inspector of {self._inspect.table}"
        if self._live:
            return f"{name}, key {self._key}" if self._key else name
        try:
            if self._key:
                return f"{name}, key {self._key}: {plural(len(self._inspect.life(self._key)['versions']), 'version')}"
            f = self._inspect.facts()
        except SkyGraphError as error:
            return f"{name}: {error.message}"
        counts = [f"{_count(f['current_rows'])} current", f"{_count(f['physical_rows'])} physical"]
        if f["deleted_keys"] is not None:
            counts.append(plural(f["deleted_keys"], "deleted key"))
        return f"{name}: {', '.join(counts)}, {plural(f['parts'], 'part')}"


def _read_question(message: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The kind of a question, and what it asks about.

    Raises:
        UsageError: it is not a question of ours.
    """
    kind = message.get("ask")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UsageError(f"the inspector is not asked {str(kind)[:40]!r}")
    if set(message) != {"id", "ask"} | ({"key"} if kind == "life" else set()):
        raise UsageError(f"the question {kind} has other fields")
    if kind != "life":
        return kind, {}
    key = message["key"]
    if not isinstance(key, str) or len(key) > _KEY or not key.strip() or "\0" in key:
        raise UsageError("a key is a text", hint=f"of at most {_KEY:,} characters")
    return kind, {"key": key}


def _drawn(life: Mapping[str, Any]) -> dict[str, Any]:
    """The versions of a key as the page draws them: newest first, each value as people read it."""
    columns = list(life["columns"])
    versions = []
    for v in reversed(list(life["versions"])[-_VERSIONS:]):
        cells = [
            {"text": _cell(c, v["values"].get(c)), **({"was": _cell(c, v["changed"][c])} if c in v["changed"] else {})} for c in columns
        ]
        kept = ("number", "state", "at", "run_id", "mode", "status", "part", "is_tombstone", "expires_at")
        versions.append({**{name: _plain(v[name]) for name in kept}, "cells": cells})
    return {"key": life["key"], "columns": columns, "total": len(life["versions"]), "gaps": life["gaps"], "versions": versions}


def _cell(column: str, value: Any) -> str | None:
    """A value as text; None for no value."""
    if value is None:
        return None
    text = cell_text(column, value)
    return text if len(text) <= _FIELD else f"{text[: _FIELD - 1]}…"


def _plain(value: Any) -> Any:
    """A value as the page takes it: whole numbers beyond its own as texts, long texts cut."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, (Decimal, dt.datetime, dt.date, dt.time)):
        return to_json(value)
    text = str(value)
    return text if len(text) <= 100_000 else f"{text[:99_999]}…"


def _count(rows: int | None) -> str:
    return "?" if rows is None else f"{rows:,}"


def _nothing(_: Any) -> None:
    """Say nothing: each question answers for itself."""


def _said(error: BaseException) -> dict[str, str]:
    """An error as one line and what to do; of a foreign one its class and first line."""
    if isinstance(error, SkyGraphError):
        return {"message": " ".join(error.message.split())[:1000], "hint": error.hint or "", "kind": type(error).__name__}
    first = (str(error).strip().splitlines() or [""])[0][:500]
    return {"message": f"{type(error).__name__}: {first}" if first else type(error).__name__, "hint": "", "kind": ""}
