"""A real mosquitto as a child, on a free port of the loopback address, whose state survives its SIGKILL."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from fleet.ports import free_port

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Mosquitto:
    """`start`, `kill` (SIGKILL) and `start` again keep the port. `chain`: a certificate and its key, for TLS; `passwords`: a file
    of mosquitto_passwd, else nobody is asked."""

    def __init__(self, directory: Path, chain: Path | None = None, passwords: Path | None = None) -> None:
        self.port = free_port()
        self._more = f"certfile {chain}\nkeyfile {chain}\nuser root\n" if chain else ""
        self._more += f"password_file {passwords}\n" if passwords else "allow_anonymous true\n"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self._directory / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\n{self._more}persistence true\n"
            f"persistence_location {self._directory}/\nautosave_interval 1\nmax_queued_messages 100000\n"
        )
        assert PROGRAM is not None
        log = (self._directory / "mosquitto.log").open("ab")
        with log:
            self._process = subprocess.Popen([PROGRAM, "-c", str(config)], stdout=log, stderr=log)
        deadline_mono = time.monotonic() + 10
        while time.monotonic() < deadline_mono:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("mosquitto does not listen")

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: its connections stay open, and nothing comes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None
