"""`python -m runtime.model.check PACKAGE`: whether a package can serve on this machine, as one line of `wire.local.CheckResult`.

PACKAGE is a directory or a `.tar.zst`. Loads the model, runs it, compares the golden image. A native crash ends this process
and nothing else; `child.py` turns that into a verdict too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from runtime.errors import RuntimeFault
from runtime.model import archive, card
from runtime.model.session import LoadedModel, LoadOptions
from wire.local import CheckResult, encode
from wire.reasons import Reason


def check(source: Path, options: LoadOptions | None = None) -> CheckResult:
    """The verdict on a package directory or archive. Never raises for what is wrong with it."""
    try:
        if source.is_file():
            return _check_archive(source, options)
        return CheckResult(ok=True, card=_load(source, options))
    except RuntimeFault as e:
        return card.refused(e)


def _check_archive(source: Path, options: LoadOptions | None) -> CheckResult:
    if not source.name.endswith(archive.SUFFIX):
        words = "pack it with `outrider model pack`" if source.suffix == ".onnx" else "name a package"
        message = f"{source.name}: neither a package directory nor a {archive.SUFFIX}; {words}"
        return CheckResult(ok=False, reason=Reason.PACKAGE_INVALID.value, message=message)
    with tempfile.TemporaryDirectory(prefix="outrider-check-") as temporary:
        directory = Path(temporary) / source.name.removesuffix(archive.SUFFIX)
        archive.unpack(source, directory)
        return CheckResult(ok=True, card={**_load(directory, options), "directory": ""})


def _load(directory: Path, options: LoadOptions | None) -> dict[str, object]:
    model = LoadedModel(directory, options)
    try:
        model.warm()
        golden = model.check_golden()
        notes = [] if golden["present"] else [Reason.GOLDEN_ABSENT.text]
        return card.describe(directory, model.spec, golden, model.info, notes)
    finally:
        model.close()


def main(arguments: list[str]) -> int:
    """Status 0 when the package can serve, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m runtime.model.check")
    parser.add_argument("package", type=Path)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--cache-dir", type=Path)
    asked = parser.parse_args(arguments)
    verdict = check(asked.package, LoadOptions(engine=asked.engine, cache_dir=asked.cache_dir))
    sys.stdout.buffer.write(encode(verdict))
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
