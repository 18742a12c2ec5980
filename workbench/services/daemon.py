"""The supervisor's process: `supervisord` with an eye on its programs. Started by `control.py`, never imported by it.

It holds `.skygraph/services/lock` for as long as it lives. Two things are added to what `supervisord` does, by its own way of adding
(an RPC interface): how often each program was started again, and that no program waits longer than half a minute for its next start.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from workbench import __version__
from workbench.errors import Busy
from workbench.presence import hold, write_facts

LONGEST_WAIT_S = 30


def versions() -> str:
    """What a supervisor must be of to be taken over by a command: its own version and ours."""
    from importlib.metadata import version

    return f"supervisor {version('supervisor')}, skygraph {__version__}"


class Counts:
    """`skygraph.counts` of the RPC: by program, starts that nobody asked for, and failed starts in a row."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the counts by program."""
        return self._counts

    def hear(self, event: Any) -> None:
        """Count a change of state, and shorten a wait that has grown long."""
        from supervisor import events
        from supervisor.states import ProcessStates

        process = event.process
        count = self._counts.setdefault(process.config.name, {"restarts": 0, "failures": 0})
        if isinstance(event, events.ProcessStateStartingEvent):
            if event.from_state in (ProcessStates.BACKOFF, ProcessStates.EXITED):
                count["restarts"] += 1
            else:
                count.update(restarts=0, failures=0)
        elif isinstance(event, events.ProcessStateBackoffEvent):
            count["failures"] += 1
            # each wait is one second longer than the last, without end
            process.backoff = min(process.backoff, LONGEST_WAIT_S)
        elif isinstance(event, events.ProcessStateRunningEvent):
            count["failures"] = 0


def make_interface(supervisord: Any, **_: Any) -> Counts:
    """The RPC interface, made by `supervisord` when it begins to listen."""
    from supervisor import events

    made = Counts()
    events.subscribe(events.ProcessStateEvent, made.hear)
    return made


def main(folder: Path) -> int:
    """Supervise until told to end; the exit status. It leaves the family of its starter."""
    if os.fork():
        os._exit(0)
    os.setsid()
    from supervisor.supervisord import main as supervise

    try:
        with hold(folder, "the supervisor of this workspace"):
            write_facts(folder, note=versions())
            supervise(["-n", "-c", str(folder / "supervisord.conf")])
    except Busy as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
