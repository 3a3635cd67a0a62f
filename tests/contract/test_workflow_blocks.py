"""The blocks that the conformance folder's list marks `E`, core for an edge device, are known here."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from runtime.workflow import inner
from runtime.workflow.registry import load_blocks

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("OUTRIDER_CONFORMANCE", ROOT.parent / "shared" / "conformance" / "workflows"))
LIST = FOLDER.parent / "BLOCKS.md"


@pytest.mark.skipif(not LIST.is_file(), reason="no BLOCKS.md beside OUTRIDER_CONFORMANCE")
def test_every_block_of_the_edge_is_known_by_its_identifier_and_aliases() -> None:
    rows = [line for line in LIST.read_text().splitlines() if re.match(r"\|\s*E\s*\|\s*`", line)]
    names = [re.findall(r"`([^`]+)`|\b(\w+/?\w*@v\d+|[A-Z]\w+)(?=[,)])", row.split("|")[2]) for row in rows]
    wanted = {a or b for found in names for a, b in found}
    assert len(rows) > 50
    assert sorted(wanted - set(load_blocks(plugins=False)) - set(inner.TYPES)) == []
