"""The table of blocks in `docs/workflows.md` is made from the registry: `python -m tests.unit.workflow.test_blocks_page` writes it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from runtime.workflow.registry import MODULES

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "workflows.md"
TABLE = re.compile(r"\| family \| blocks \|\n\|---\|---\|\n(?:\|[^\n]*\n)+")


def rendered() -> str:
    rows = []
    for name in MODULES:
        blocks = importlib.import_module(f"runtime.workflow.blocks.{name}").BLOCKS
        names = ", ".join(f"`{block.types[0].removeprefix('roboflow_core/')}`" for block in blocks)
        rows.append(f"| {name.replace('_', ' ')} | {names} |")
    return "| family | blocks |\n|---|---|\n" + "\n".join(rows) + "\n"


def test_the_page_lists_every_block_of_the_registry() -> None:
    found = TABLE.search(PAGE.read_text())
    assert found is not None
    assert found[0] == rendered(), "run python -m tests.unit.workflow.test_blocks_page"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: rendered(), PAGE.read_text(), count=1))
