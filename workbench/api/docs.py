"""`/docs`: every route, to read and to try. The page is here whole: it loads nothing from anywhere else."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response

router = APIRouter(prefix="/docs", include_in_schema=False)

_HERE = Path(__file__).parent
_OWN_ONLY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; form-action 'none'"
_HEADERS = {"Content-Security-Policy": _OWN_ONLY, "Cache-Control": "no-cache"}


@router.get("")
def read_page() -> Response:
    """The page."""
    return Response((_HERE / "docs.html").read_bytes(), media_type="text/html", headers=_HEADERS)


@router.get("/page.js")
def read_script() -> Response:
    """Its script."""
    return Response((_HERE / "docs.js").read_bytes(), media_type="text/javascript", headers=_HEADERS)


@router.get("/page.css")
def read_style() -> Response:
    """Its looks."""
    return Response((_HERE / "docs.css").read_bytes(), media_type="text/css", headers=_HEADERS)
