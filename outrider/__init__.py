"""Outrider: camera inference on edge devices.

    import outrider
    model = outrider.load("yolox_nano.pkg")
    result = model.predict("street.jpg")

Everything is imported when it is first used, so that `import outrider` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outrider.sdk import Model, load

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "load"):
        from outrider import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module 'outrider' has no attribute {name!r}")
