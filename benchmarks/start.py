"""How long a start takes: the median of ten of `import workbench` and `skygraph --help` beside a bare Python.

python benchmarks/start.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 10


def median_seconds(words: list[str]) -> float:
    """The median wall time of a command, after one run that warms the disk's cache."""
    took = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - started)
    return statistics.median(took[1:])


def main() -> None:
    """Print one line per command: milliseconds, and how many times a bare Python."""
    bare = median_seconds([sys.executable, "-c", "pass"])
    commands = {
        "python -c pass": bare,
        "python -c 'import workbench'": median_seconds([sys.executable, "-c", "import workbench"]),
        "skygraph --help": median_seconds([str(Path(sys.executable).with_name("skygraph")), "--help"]),
    }
    for name, seconds in commands.items():
        print(f"{name:<30} {seconds * 1000:6.0f} ms  {seconds / bare:5.1f} x")


if __name__ == "__main__":
    main()
