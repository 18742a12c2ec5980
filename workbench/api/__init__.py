"""The HTTP API of a workbench: what notebooks and the command line can ask, for programs.

Owns FastAPI and uvicorn. Each file without a leading underscore that has a `router` is one resource; `create_app` finds it by
its name. A resource parses a request, calls one method of the `Workbench` and answers with its `to_dict()`; it knows no SQL.

It will not serve pages of other sites: see `_guard`.
"""

from __future__ import annotations

from workbench.api._app import create_app

__all__ = ["create_app"]
