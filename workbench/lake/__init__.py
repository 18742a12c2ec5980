"""The lake: the ClickHouse that everything reads and writes.

It owns the driver, the embedded server and the text of SQL: quoting, FINAL, DDL. Nobody else speaks to ClickHouse (dbt
gets its address from here). It knows nothing of sources, models or objects.
"""

from __future__ import annotations

from workbench.lake.client import HISTORY_COMMENT, Lake, as_it_runs, reads_with, reads_within
from workbench.lake.inspect import TableFacts, busiest_keys, inspect_table, read_shape, read_tombstones
from workbench.lake.parts import read_key_map, read_parts
from workbench.lake.running import Running, watched
from workbench.lake.server import Address, EmbeddedLake

__all__ = [
    "Address",
    "EmbeddedLake",
    "HISTORY_COMMENT",
    "Lake",
    "Running",
    "TableFacts",
    "as_it_runs",
    "busiest_keys",
    "inspect_table",
    "read_key_map",
    "read_parts",
    "read_shape",
    "read_tombstones",
    "reads_with",
    "reads_within",
    "watched",
]
