"""`python -m runtime.model.families -`: every family and the outputs it expects, as one line of `wire.local.CheckResult`."""

from __future__ import annotations

import sys

from runtime.errors import ModelRefused
from runtime.model import families
from wire.local import CheckResult, encode


def told() -> CheckResult:
    """Those that can be loaded here."""
    found = {}
    for name in families.names():
        try:
            found[name] = families.get(name).expects
        except ModelRefused:
            continue
    return CheckResult(ok=True, card={"families": found})


if __name__ == "__main__":
    sys.stdout.buffer.write(encode(told()))
