"""The keeper of the embedded lake: a small process that runs the engine, again after each crash, until it is told to stop.

Started by `server.py`, or with `--foreground` by the supervisor of `skygraph up`; never imported. It holds `run/keeper.lock` as
long as it lives: that lock says whether the lake is kept. The engine's standard input is a pipe from here, so that the engine
ends when the keeper does, however it ends.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from workbench.errors import SkyGraphError

_POLL_S = 0.02
# after this many crashes without a minute of service in between, the keeper gives up and says why
_MOST_CRASHES = 6


def _keep(home: Path, words: Callable[[], Sequence[str]], *, waits: bool) -> int:
    """Run the engine, again after each crash, until SIGTERM. Exit status 1 when it never became ready or keeps crashing.

    When another keeper has the lake already, this one ends at once, or `waits` until it is gone and takes over.
    """
    lock = open(home / "run/keeper.lock", "a+", encoding="utf-8")  # noqa: SIM115 - held as long as the process lives
    stopping = False
    engine: subprocess.Popen[bytes] | None = None

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        if engine is not None:
            engine.terminate()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    said = False
    while not _lock(lock.fileno()):
        if stopping or not waits:
            return 0
        if not said:
            _say("another process keeps this lake; waiting to take over")
        said = True
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    engine_words, environ = words(), clean_environment()
    crashes, ever_ready, restarts = 0, False, 0
    while not stopping:
        with suppress(OSError):  # a full disk is no reason not to run
            (home / "run/restarts").write_text(str(restarts), encoding="utf-8")
        started = time.monotonic()
        engine = subprocess.Popen(engine_words, stdin=subprocess.PIPE, start_new_session=True, cwd=home, env=environ)
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
        restarts += 1
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
    with suppress(OSError):  # who would have read it may be gone
        print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} keeper: {text}", flush=True)


def clean_environment() -> dict[str, str]:
    """What the engine and its keeper see of the environment: the engine can read it, so no secret may be in it."""
    kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")
    return {k: v for k, v in os.environ.items() if k in kept} | {
        "HOME": "/nonexistent", "TZ": "UTC", "PGTZ": "UTC", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1",
    }  # fmt: skip


def _choose(home: Path) -> list[str]:
    """The engine's ports and source folders for the workspace that the environment names.

    Raises:
        SkyGraphError: a port that was asked for is taken.
    """
    from workbench.ports import choose_port
    from workbench.settings import Settings

    settings = Settings.load()
    http, note = choose_port(settings, "lake_http_port", "the lake")
    tcp, another = choose_port(settings, "lake_tcp_port", "the lake", taken=(http,))
    for line in (note, another):
        if line:
            _say(line)
    try:
        readable = json.loads((home / "readable.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        readable = []
    return ["--http", str(http), "--tcp", str(tcp), *(word for folder in readable for word in ("--read", str(folder)))]


def main() -> None:
    """The keeper's entry: `python -m workbench.lake.keeper --home DIR --http PORT --tcp PORT [--read DIR ...]`.

    With `--foreground` alone it stays with who started it, waits for a keeper that is there, and chooses home and ports by itself.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path)
    parser.add_argument("--foreground", action="store_true")
    options, rest = parser.parse_known_args()
    if not options.foreground:
        if os.fork():
            os._exit(0)  # who started us waits for this one, and never for the keeper
        os.setsid()
    found = find_spec("chdb")
    if found is None or found.origin is None:
        _say("Error: the package chdb-core is not installed; pip install chdb-core==26.9.0")
        sys.exit(1)
    library = str(Path(found.origin).with_name("_chdb.abi3.so"))
    engine = str(Path(__file__).with_name("engine.py"))
    home = options.home
    if home is None:
        from workbench.settings import Settings

        home = Settings.load().make_state_dir() / "lake"
        for folder in (home, home / "log", home / "run"):
            folder.mkdir(mode=0o700, exist_ok=True)
    # -P: this folder must not come first on the path, its modules have names of the standard library's
    words = [sys.executable, "-P", engine, "--home", str(home), "--library", library]
    try:
        sys.exit(_keep(home, lambda: [*words, *(_choose(home) if options.foreground else rest)], waits=options.foreground))
    except SkyGraphError as error:
        _say(f"Error: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
