"""What files of integration tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.console_stand import Console


@pytest.fixture(scope="session")
def console_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """One control plane with its console for several files; each test uses names of its own."""
    from tests.integration.console_stand import Console

    quick = {"camera-unreachable": {"visible_s": 0, "clear_s": 0}}
    faults = {"every_s": 0.5, "sights_every_s": 1, "kinds": quick}
    made = Console(tmp_path_factory.mktemp("console") / "plane", {"faults": faults})
    yield made
    made.close()


@pytest.fixture(scope="module")
def console_browser(console_plane: Console) -> Iterator[Console]:
    """With a browser, which ends with the file: while it is there, nothing else in the thread may run an event loop."""
    yield console_plane
    console_plane.leave()


@pytest.fixture
def console(console_browser: Console) -> Iterator[Console]:
    """Its windows are shut after each test, so that they ask nothing any more."""
    yield console_browser
    console_browser.shut()
