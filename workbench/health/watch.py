"""The last look at a workspace's health, kept fresh in the background, so that whoever asks is answered at once.

Pure waiting: what is looked at is the caller's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from workbench.health.checks import HealthReport
from workbench.log import logger

__all__ = ["Watch"]

_FRESH_S = 1.0  # a look as new as this is answered with as it is
_SHARE_S = 0.06  # as long as somebody who asks may wait for a newer one
_EVERY_S = 10.0  # looks in between, once somebody has asked
_LAST_S = 3.0  # for the last look to end, at a close
_HUNG_S = 20.0  # a look that takes longer hangs, and nothing is known


class Watch:
    """Answers with the last report. The first one who asks waits for it; then a thread looks again and again, until `close`."""

    def __init__(self, look: Callable[[], HealthReport]) -> None:
        self._look = look
        self._changed = threading.Condition()
        self._report: HealthReport | None = None
        self._looked_at = 0.0
        self._asked = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None

    def report(self) -> tuple[HealthReport, float]:
        """The newest report and its age in seconds. Takes some 0.06 s at most, but for the first, and for a look that hangs."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="health", daemon=True)
                self._thread.start()
            if self._report is not None and self._age() < _FRESH_S:
                return self._report, self._age()
            before = self._looked_at
            self._asked.set()
            patience = _HUNG_S if self._report is None else _SHARE_S
            self._changed.wait_for(lambda: self._looked_at != before or self._ended, timeout=patience)
            if self._report is None or self._age() > _HUNG_S:
                return HealthReport.hung(self._age() if self._report else None), 0.0
            return self._report, self._age()

    def close(self) -> None:
        """End the looking; waits a moment for a look that goes on."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._asked.set()
        if self._thread is not None:
            self._thread.join(_LAST_S)

    def _age(self) -> float:
        return time.monotonic() - self._looked_at

    def _run(self) -> None:
        while not self._ended:
            self._asked.clear()
            began = time.monotonic()
            try:
                found: HealthReport | None = self._look()
            except Exception:  # a fault of a check is no reason to stop looking; the report then tells its age
                logger().exception("health could not be looked at")
                found = None
            if found is not None:
                with self._changed:
                    # what was seen is as old as the beginning of the look, not its end
                    self._report, self._looked_at = found, began
                    self._changed.notify_all()
            self._asked.wait(_EVERY_S)
