"""Twin: a bar of time over the explorer, two times side by side, and what changed between them. The drawing is in twin.js beside this.

The page carries its times along, as the explorer carries its place: each question names the time that it is about, and the time that
it is compared with. Whoever can reach the page can send any message, so each is read strictly and can only ask what `Times` answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import traitlets

from workbench.errors import SkyGraphError, UsageError
from workbench.widgets.asking import Asked
from workbench.widgets.desk import Desk, read_fields, read_text
from workbench.widgets.explorer import ASKS, Browse
from workbench.widgets.task import is_live
from workbench.widgets.view import beside, plural

__all__ = ["Times", "Twin"]

_SIDES = ("at", "from")
_TIME = 40  # characters of a time


class Times(Protocol):
    """What the twin asks; answers are JSON-able. A time is the `value` of a moment. May raise; runs in threads."""

    def moments(self, since: str) -> Mapping[str, Any]:
        """The moments after one, in order, or all of them: `value`, `label`, `count`, `taken_at`, `objects`."""

    def browse(self, side: str, at: str, against: str | None) -> Browse:
        """What the explorer of a side asks at a time, beside another one."""

    def changes(self, a: str, b: str, type: str) -> Mapping[str, Any]:
        """`counts` by type, `total`, and the first `changes`, of a type or of all."""

    def life(self, type: str, key: str) -> Mapping[str, Any]:
        """The `versions` of one object, newest first."""

    def stop(self, side: str, kind: str) -> None:
        """End what a side asks of a kind now."""

    def close(self) -> None:
        """Drop the connections."""


def _time(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _TIME:
        raise UsageError("a time was expected")
    return value


_OWN: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "moments": read_fields(since=read_text),
    "changes": read_fields(a=_time, b=_time, type=read_text),
    "life": read_fields(type=read_text, key=read_text),
}


class Twin(Asked):
    """Objects as they were at any snapshot: move along a bar of time or play it, compare two times, see the life of one object.

    Args:
        times: answers what is asked.
        text: the short text of the set to begin with; '' for the types and their links.
        at: the label or number of the snapshot to begin with; the newest when it is left out.
        against: that of one to compare it with.
        every_s: seconds between two looks for new snapshots while somebody looks; 0 for never.
    """

    _esm = beside("timebar.js", "grid.js", "explorer.js", "twin.js")
    _css = beside("timebar.css", "grid.css", "explorer.css", "twin.css")

    plan = traitlets.Dict().tag(sync=True)

    def __init__(
        self, times: Times, text: str = "", *, at: str = "", against: str = "", every_s: float = 10, live: bool | None = None
    ) -> None:
        self._times = times
        live = is_live() if live is None else live
        self._own = Desk("twin", _OWN, self._answer, lambda kind: None, live=live)
        self._sides = {
            side: Desk("twin", ASKS, self._answer, lambda kind, side=side: times.stop(side, kind), live=live)  # type: ignore[misc]
            for side in _SIDES
        }
        self._begin([self._own, *self._sides.values()], plan={"text": text, "at": at, "against": against, "every_s": float(every_s)})

    def set_state(self, sync_data: Any) -> None:
        """Take no state from a page: it asks by messages only."""

    def _hear(self, _: Any, message: Any, buffers: Sequence[Any]) -> None:
        """Read one message: of the twin itself, or of the explorer of one side, at a time and beside another."""
        if not isinstance(message, dict):
            return
        rest = {name: value for name, value in message.items() if name not in ("side", "at", "against")}
        side = message.get("side")
        if side is None and rest == message:
            self._own.hear(rest, lambda kind, values: getattr(self._times, kind)(**values))
        elif isinstance(side, str) and side in self._sides:
            at, against = message.get("at"), message.get("against")

            def run(kind: str, values: dict[str, Any]) -> Any:
                beside = None if against is None else _time(against)
                return getattr(self._times.browse(side, _time(at), beside), kind)(**values)

            self._sides[side].hear(rest, run)

    def _end(self) -> None:
        self._times.close()

    def __repr__(self) -> str:
        if self._closed:
            return "Twin (closed)"
        try:
            moments = self._times.moments("")["moments"]
            said = f"Twin: {plural(len(moments), 'snapshot')}"
            if len(moments) < 2:
                return said
            a, b = moments[-2:]
            counts = self._times.changes(a["value"], b["value"], "")["counts"]
        except SkyGraphError as error:
            return f"Twin: {error.message}"
        sums = ", ".join(f"{sum(c[kind] for c in counts):,} {kind}" for kind in ("added", "removed", "changed"))
        return f"{said}; {a['label']} -> {b['label']}: {sums}"
