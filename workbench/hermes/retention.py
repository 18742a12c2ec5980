"""How much of the past of a table's keys is kept: `history: 30 days, 100 versions`, or `none`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from workbench.errors import UsageError
from workbench.hermes.watermark import parse_duration

__all__ = ["Retention", "parse_retention"]


@dataclass(frozen=True)
class Retention:
    """A replaced version is kept for `seconds` (0: none is kept), of one key about the newest `versions`.

    A run that brings more than `rows` rows keeps none: that is a reload, not the life of a key. Nor does one that would have to read
    more than ten times as many of the table to find what it replaces: it would cost more than the sync.
    """

    seconds: int = 30 * 86_400
    versions: int = 100
    rows: int = 100_000


def parse_retention(text: str, default: Retention = Retention()) -> Retention:
    """Read what a person wrote; what is left out is as in `default`.

    >>> parse_retention("90 days, 20 versions"), parse_retention("none").seconds, parse_retention("5000000 rows").rows
    (Retention(seconds=7776000, versions=20, rows=100000), 0, 5000000)

    Raises:
        UsageError: it is not of that form.
    """
    if text.strip() == "none":
        return Retention(0, default.versions, default.rows)
    found = {"seconds": default.seconds, "versions": default.versions, "rows": default.rows}
    for part in text.split(","):
        if amount := re.fullmatch(r"\s*(\d+) *(versions?|rows?)\s*", part):
            found[amount[2].rstrip("s") + "s"] = int(amount[1])
            continue
        try:
            found["seconds"] = int(parse_duration(part.strip()))
        except UsageError:
            raise UsageError(
                f"{text!r} does not say how much history is kept", hint="write `none`, or as in `30 days, 100 versions, 100000 rows`"
            ) from None
    if not all(found.values()) or found["seconds"] > 100 * 366 * 86_400 or found["versions"] > 1_000_000 or found["rows"] > 10**12:
        raise UsageError(
            f"{text!r} keeps nothing, or too much", hint="`none` keeps no history; 100 years and 1000000 versions are the most"
        )
    return Retention(**found)
