"""What files of integration tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.console_stand import Console


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """One control plane with its console and one browser for all files; each test uses names of its own."""
    from tests.integration.console_stand import Console

    made = Console(tmp_path_factory.mktemp("console") / "plane")
    yield made
    made.close()
