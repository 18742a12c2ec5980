"""The lake: the ClickHouse that everything reads and writes.

It owns the driver, the embedded server and the text of SQL: quoting, FINAL, DDL. Nobody else speaks to ClickHouse (dbt
gets its address from here). It knows nothing of sources, models or objects.
"""

from __future__ import annotations

from workbench.lake.client import HISTORY_COMMENT, Lake, as_it_runs, reads_within
from workbench.lake.inspect import KeyVersions, TableFacts, busiest_keys, inspect_table, key_versions
from workbench.lake.running import Running, watched
from workbench.lake.server import Address, EmbeddedLake

__all__ = [
    "Address",
    "EmbeddedLake",
    "HISTORY_COMMENT",
    "KeyVersions",
    "Lake",
    "Running",
    "TableFacts",
    "as_it_runs",
    "busiest_keys",
    "inspect_table",
    "key_versions",
    "reads_within",
    "watched",
]
