"""The console's own files (style, scripts, icon), named with a digest so that a browser keeps them until they change."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PATH = "/console-files"
FOLDER = Path(__file__).parent / "static"


@lru_cache
def address(name: str) -> str:
    """The path of a file, with its digest as query."""
    digest = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:12]
    return f"{PATH}/{name}?{digest}"


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        kept = bool(scope.get("query_string")) and response.status_code == 200
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return response


def files() -> StaticFiles:
    """The application that serves them."""
    return _Files(directory=FOLDER)
