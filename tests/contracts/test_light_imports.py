"""Nothing heavy is loaded until it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "IPython", "clickhouse_connect", "dbt", "fastapi", "httpx", "ipywidgets", "jupyterlab", "numpy", "pandas",
    "papermill", "psycopg", "pyarrow", "pydantic", "rich", "starlette", "uvicorn",
}  # fmt: skip

HELP = """
import sys
sys.argv = ["skygraph", "--help"]
from workbench.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import workbench", id="the package"),
        pytest.param("import workbench.commands", id="the table of commands"),
        pytest.param("import workbench; workbench.connect('.')", id="connect"),
        pytest.param(HELP, id="skygraph --help"),
    ],
)
def test_no_heavy_library_is_loaded(code: str) -> None:
    show = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stderr))
    assert "workbench" in loaded
    assert not loaded & HEAVY
