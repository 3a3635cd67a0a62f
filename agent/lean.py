"""httpx without its command line, whose libraries (click, rich) are a fifth of the agent's imports, which a camera is blind for when
the agent restarts. To be imported before anything that imports httpx."""

from __future__ import annotations

import sys

COMMAND_LINE = "httpx._main"

if "httpx" not in sys.modules:
    # None has the import fail, which httpx takes for a command line that is not installed.
    sys.modules[COMMAND_LINE] = None  # type: ignore[assignment]
    import httpx  # noqa: F401

    del sys.modules[COMMAND_LINE]
