"""A connector of an outside package is found by its entry point, and passes for one of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.errors import InvalidFiles
from workbench.hermes import Hermes, load_plan
from workbench.hermes.connector import connector_names
from workbench.lake import Lake

MODULE = '''
from __future__ import annotations

import contextlib
from dataclasses import dataclass

import pyarrow as pa

from workbench.hermes.connector import NoTableOptions, SourceColumn, SourceTable, staged


@dataclass(frozen=True)
class Options:
    """So many numbers."""

    count: int


class Connector:
    """Numbers and their squares."""

    options_class, table_options_class = Options, NoTableOptions

    def __init__(self, options, *, workspace, lake):
        self.count, self.lake = int(options.count), lake

    def describe(self, table, *, key, options=None):
        return SourceTable(table, (SourceColumn("n", "Int64", "number"), SourceColumn("square", "Nullable(Int64)", "number")))

    def high_mark(self, table, column):
        return None

    @contextlib.contextmanager
    def rows(self, table, columns, *, within=None, as_text=False):
        wanted = [table.column(c) for c in columns]
        values = {"n": range(self.count), "square": (n * n for n in range(self.count))}
        batch = pa.RecordBatch.from_pydict({c.name: pa.array(list(values[c.name]), pa.int64()) for c in wanted})
        if as_text:
            batch = pa.RecordBatch.from_arrays([column.cast(pa.string()) for column in batch.columns], batch.schema.names)
            wanted = [SourceColumn(c.name, "Nullable(String)", "") for c in wanted]
        with staged(self.lake, wanted, iter([batch])) as select:
            yield select

    def close(self):
        pass
'''
PLAN = """\
sources:
  math: {connector: squares, count: 1000}
tables:
  squares: {source: math, from: all, key: n}
"""


def test_outside_package_adds_a_connector(lake: Lake, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "sync_jobs/tables.yml").write_text(PLAN, encoding="utf-8")
    with pytest.raises(InvalidFiles) as caught:
        load_plan(workspace)
    assert "squares" in str(caught.value.problems[0])

    package = tmp_path / "installed"
    (package / "acme_squares-1.0.dist-info").mkdir(parents=True)
    (package / "acme_squares.py").write_text(MODULE, encoding="utf-8")
    (package / "acme_squares-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-squares\nVersion: 1.0\n", encoding="utf-8"
    )
    (package / "acme_squares-1.0.dist-info/entry_points.txt").write_text(
        "[skygraph.connectors]\nsquares = acme_squares\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(package)

    assert "squares" in connector_names()
    hermes = Hermes(lake, load_plan(workspace), workspace, workspace / ".skygraph")
    (run,) = hermes.sync().runs
    assert (run.error, run.inserted) == ("", 1000)
    assert lake.scalar("select sum(square) from raw.squares") == sum(n * n for n in range(1000))
    (again,) = hermes.sync().runs
    assert (again.error, again.inserted, again.unchanged) == ("", 0, 1000)
    assert hermes.compare().failed is False
