"""Logs: structlog events as JSON lines in the workspace's `.skygraph/log/`.

The library only says events; nothing is printed and no file is opened until a surface (command line, magic, API) calls
`write_logs`.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
from pathlib import Path
from typing import Any

__all__ = ["logger", "write_logs"]

_ROOT = logging.getLogger("workbench")
_ROOT.addHandler(logging.NullHandler())
_ROOT.setLevel(logging.INFO)
_ROOT.propagate = False


def logger(**facts: Any) -> Any:
    """A structlog logger with these facts bound; its events go to the standard logger `workbench`."""
    import structlog

    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,  # the id of the request that is being answered
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
    ]
    return structlog.wrap_logger(_ROOT, processors=processors, wrapper_class=structlog.stdlib.BoundLogger).bind(**facts)


def write_logs(folder: Path, name: str = "skygraph.jsonl", *, is_service: bool = False) -> Path:
    """Write events to this file of this folder from now on (10 MB, three old files kept). Idempotent.

    A service that no supervisor started says them on stderr too: to the terminal, or to the log of its container.
    """
    path = folder / name
    if is_service and "SUPERVISOR_ENABLED" not in os.environ and not any(type(h) is logging.StreamHandler for h in _ROOT.handlers):
        said = logging.StreamHandler()
        said.setFormatter(logging.Formatter("%(message)s"))
        _ROOT.addHandler(said)
    for handler in list(_ROOT.handlers):
        if isinstance(handler, logging.handlers.RotatingFileHandler):
            if Path(handler.baseFilename) == path:
                return path
            _ROOT.removeHandler(handler)
            handler.close()
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=10_000_000, backupCount=3, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _ROOT.addHandler(handler)
    return path
