"""What files of integration tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.console_stand import Console


@pytest.fixture(scope="session")
def console_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """One control plane with its console for all files; each test uses names of its own."""
    from tests.integration.console_stand import Console

    made = Console(tmp_path_factory.mktemp("console") / "plane")
    yield made
    made.close()


@pytest.fixture(scope="module")
def console(console_plane: Console) -> Iterator[Console]:
    """The same, with a browser that ends with the file: as long as one is there, no test can run an event loop of its own."""
    yield console_plane
    console_plane.leave()
