"""An enrolled agent, connected to a real mosquitto, for looking at the agent alone."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from outrider.demo.stage import Stage


class ConnectedAgent:
    """A context manager; `pid` is the agent's process."""

    def __enter__(self) -> ConnectedAgent:
        self._root = Path(tempfile.mkdtemp())
        self._stage = Stage(self._root)
        try:
            self._stage.start_plane()
            self._stage.enrol()
            self.pid = self._stage.start_agent()
            self._stage.wait("the agent's connection", self._connected)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stage.stop()
        shutil.rmtree(self._root, ignore_errors=True)

    def _connected(self) -> dict[str, object] | None:
        status = self._stage.status()
        return status if status and status["connected"] else None
