"""One load of one table by dlt with its fastest backend, connectorx, appending; run by `sync.py` in a Python that has dlt.

Reads what to load as JSON from standard input; prints seconds, rows and peak memory as JSON. It imports nothing of SkyGraph.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any


def main() -> None:
    """Load, and say what it took. The imports and the pipeline's making are not counted."""
    import dlt
    from _servers import peak_mb
    from dlt.destinations import clickhouse
    from dlt.sources.sql_database import sql_table

    logging.disable(logging.CRITICAL)
    job: dict[str, Any] = json.load(sys.stdin)
    pipeline = dlt.pipeline(
        job["pipeline"],
        destination=clickhouse(credentials=job["lake"], max_identifier_length=120),
        dataset_name="load",
        pipelines_dir=job["folder"],
    )
    started, cpu = time.perf_counter(), time.process_time()
    dsn = job["dsn"].replace("postgresql://", "postgresql+psycopg2://", 1)
    newer = dlt.sources.incremental("updated_at")
    table = sql_table(credentials=dsn, table=job["table"], schema="public", backend="connectorx", incremental=newer)
    pipeline.run(table, write_disposition="append", loader_file_format="parquet")
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    counts = pipeline.last_trace.last_normalize_info.row_counts if pipeline.last_trace and pipeline.last_trace.last_normalize_info else {}
    print(json.dumps({"seconds": seconds, "rows": counts.get(job["table"], 0), "peak_mb": peak_mb(), "client_cpu": cpu}))


if __name__ == "__main__":
    main()
