"""The kernel of a workspace: a Python of this environment that has `%skygraph` loaded and knows the workspace."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["write_kernel"]


def write_kernel(folder: Path, workspace: Path) -> str:
    """Write the kernel's spec under `folder`, a folder for `JUPYTER_PATH`, whole or not at all; returns the path to set."""
    spec: dict[str, Any] = {
        "argv": [
            sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}",
            "--IPKernelApp.exec_lines=import workbench.magics; workbench.magics.register(get_ipython())",
        ],
        "display_name": "Python 3 (SkyGraph)",
        "language": "python",
        "metadata": {"debugger": True},
        "env": {"SKYGRAPH_WORKSPACE": str(workspace)},
    }  # fmt: skip
    path = folder / "kernels/python3/kernel.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(spec, indent=1)
    # several processes may write it at once, while others read it
    handle, name = tempfile.mkstemp(prefix=".kernel.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(name, path)
    return os.pathsep.join(p for p in (str(folder), os.environ.get("JUPYTER_PATH", "")) if p)
