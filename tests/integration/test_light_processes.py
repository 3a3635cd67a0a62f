"""What a process loads when it starts: start-up time and memory of a device are made of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIGHT_PROCESSES = {
    "import wire.local, wire.redact": {"pydantic", "cryptography", "numpy"},
    "import runtime.pipeline.__main__": {
        "onnxruntime",
        "tensorrt",
        "paho",
        "pydantic",
        "onnx",
        "supervision",
        "scipy",
        "httpx",
        "pymodbus",
        "asyncua",
        "psycopg",
        "gpiod",
        "smtplib",
        "sqlite3",
        "asyncio",
    },
    "import runtime.model.process": {"paho", "pydantic", "supervision", "scipy"},
    "import agent.daemon": {"numpy", "cv2", "onnxruntime", "tuf", "securesystemslib"},
    "from agent import framework; framework.prepare()": {"boto3", "azure", "google", "numpy"},
    "import outrider": {"numpy", "cv2", "pydantic", "onnxruntime"},
}


@pytest.mark.parametrize("statement", LIGHT_PROCESSES)
def test_a_light_process_does_not_load_what_it_does_not_use(statement: str) -> None:
    code = f"import sys\n{statement}\nprint(sorted({LIGHT_PROCESSES[statement]!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert out.stdout.strip() == "[]", out.stdout + out.stderr
