"""python-tuf, imported when it is first needed and without the clients of key services that its signing library looks for.

Where one of those is installed for other purposes (boto3), it would cost an agent 8 MB for nothing.
"""

from __future__ import annotations

import sys

KEY_SERVICES = ("boto3", "azure", "google", "hvac", "pkcs11")


def prepare() -> None:
    """To be called before python-tuf is imported; once it is, this does nothing."""
    if "tuf.api.metadata" in sys.modules:
        return
    hidden = [name for name in KEY_SERVICES if name not in sys.modules]
    # None makes an import say that there is no such module.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        import tuf.api.metadata
        import tuf.ngclient._internal.trusted_metadata_set  # noqa: F401
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
