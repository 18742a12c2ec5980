"""The keeper of the embedded lake: a small process that runs the engine, again after each crash, until it is told to stop.

Started by `server.py`, never imported. It holds `run/keeper.lock` as long as it lives: that lock says whether the lake is
kept. The engine's standard input is a pipe from here, so that the engine ends when the keeper does, however it ends.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

_POLL_S = 0.02
# after this many crashes without a minute of service in between, the keeper gives up and says why
_MOST_CRASHES = 6


def _keep(home: Path, engine_words: Sequence[str]) -> int:
    """Run the engine, again after each crash, until SIGTERM. Exit status 1 when it never became ready or keeps crashing."""
    lock = open(home / "run/keeper.lock", "a+", encoding="utf-8")  # noqa: SIM115 - held as long as the process lives
    if not _lock(lock.fileno()):
        return 0  # somebody else keeps this lake
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    stopping = False
    engine: subprocess.Popen[bytes] | None = None

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        if engine is not None:
            engine.terminate()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    crashes, ever_ready = 0, False
    while not stopping:
        started = time.monotonic()
        engine = subprocess.Popen(engine_words, stdin=subprocess.PIPE, start_new_session=True, cwd=home)
        if stopping:  # the signal came while the engine was being made
            engine.terminate()
        status = engine.wait()
        ever_ready = ever_ready or _was_ready(home)
        (home / "run/server.json").unlink(missing_ok=True)
        if stopping or status == 0:  # told to stop, by us or by SYSTEM SHUTDOWN
            return 0
        _say(f"the engine ended with status {status} after {time.monotonic() - started:.1f} s")
        if not ever_ready:
            return 1
        crashes = 1 if time.monotonic() - started > 60 else crashes + 1
        if crashes >= _MOST_CRASHES:
            _say(f"Error: the engine crashed {crashes} times within a minute of each start; not started again")
            return 1
        _wait_or_stop(min(5.0, 0.1 * 2**crashes), lambda: stopping)
    return 0


def _lock(file: int) -> bool:
    """Take the lock, within a second: whoever looks for a keeper holds it for a moment."""
    deadline = time.monotonic() + 1
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)


def _was_ready(home: Path) -> bool:
    return (home / "run/server.json").exists()


def _wait_or_stop(seconds: float, stopped: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not stopped():
        time.sleep(_POLL_S)


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} keeper: {text}", flush=True)


def main() -> None:
    """The keeper's entry: `python -m workbench.lake.keeper --home DIR --http PORT --tcp PORT [--read DIR ...]`."""
    if os.fork():
        os._exit(0)  # who started us waits for this one, and never for the keeper
    os.setsid()
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", required=True, type=Path)
    options, rest = parser.parse_known_args()
    found = find_spec("chdb")
    if found is None or found.origin is None:
        _say("Error: the package chdb-core is not installed; pip install chdb-core==26.9.0")
        sys.exit(1)
    library = str(Path(found.origin).with_name("_chdb.abi3.so"))
    engine = str(Path(__file__).with_name("engine.py"))
    # -P: this folder must not come first on the path, its modules have names of the standard library's
    words = [sys.executable, "-P", engine, "--home", str(options.home), "--library", library, *rest]
    sys.exit(_keep(options.home, words))


if __name__ == "__main__":
    main()
