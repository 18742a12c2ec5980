"""A second data set, made only of files in its four folders: the flights that left New York City in 2013."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

from tests.conftest import REPOSITORY, free_port
from tests.journey.conftest import Shop


def test_the_flights_workspace_works_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "flights ü"
    shutil.copytree(REPOSITORY / "examples/flights", folder, ignore=shutil.ignore_patterns("target", "logs", "*.csv"))
    subprocess.run([sys.executable, "sync_jobs/sample/fetch.py"], cwd=folder, check=True, capture_output=True)
    ports = {"SKYGRAPH_LAKE_HTTP_PORT": str(free_port()), "SKYGRAPH_LAKE_TCP_PORT": str(free_port())}
    shop = Shop(tmp_path, {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), **ports})
    here = ["--workspace", str(folder)]
    try:
        report = shop.json(*here, "demo", "--no-serve", timeout_s=600)
        with open(folder / "sync_jobs/sample/flights.csv", encoding="utf-8", newline="") as file:
            miles = [int(row["distance"]) for row in csv.DictReader(file)]
        assert (len(miles), sum(miles)) == (336_776, 350_217_607)
        assert report["before"]["headlines"]["flights"] == len(miles)
        assert Decimal(report["before"]["headlines"]["miles"]) == sum(miles)
        assert report["equal"] is True
        assert report["physical_rows"] > report["current_rows"]
        assert {"flights", "planes", "airports", "airlines"} <= {t["table"] for t in report["tables"]}
        kinds = {c["kind"] for c in report["diff"]["changes"]}
        assert kinds == {"added", "removed", "changed"}
        assert shop.json(*here, "ontology", "check")["ok"] is True
        carriers = shop.json(*here, "objects", "Airline")
        assert carriers["total"] == 16
    finally:
        shop.run(*here, "down")
