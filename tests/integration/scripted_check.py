"""The checks of a control plane under test: what they answer is written in the upload itself.

`python -m tests.integration.scripted_check model DIR`, `… workflow FILE`. It imports little, for every upload starts it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from wire import local


def _check_model(folder: Path) -> local.CheckResult:
    name, verdict = (folder / "model.toml").read_text().split()
    if verdict == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if verdict == "hang":
        time.sleep(600)
    if verdict == "greedy":
        bytearray(64 * 1024**3)
    problem = {"path": "outputs.0", "reason": "model-outputs", "message": "has the wrong shape"}
    if verdict == "refuse":
        return local.CheckResult(False, "model-outputs", "the graph is another family's", [problem])
    return local.CheckResult(True, card={"name": name, "task": "detection"})


def _check_workflow(path: Path) -> local.CheckResult:
    return local.CheckResult(True, card={"model_ids": json.loads(path.read_text())["uses"]})


def main(kind: str, path: str) -> None:
    verdict = _check_model(Path(path)) if kind == "model" else _check_workflow(Path(path))
    sys.stdout.buffer.write(local.encode(verdict))


if __name__ == "__main__":
    main(*sys.argv[1:])
