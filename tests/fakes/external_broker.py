"""A mosquitto that an operator runs by docs/brokers.md: mutual TLS, rules by user name, a listener of its own for control planes."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from fleet import authority
from fleet.clock import SystemClock
from fleet.config import DataDir
from fleet.ports import free_port
from tests.fakes.mosquitto import PROGRAM


class ExternalBroker:
    """`data` is a control plane's directory: whose authority it trusts, and whose rules it reads."""

    def __init__(self, folder: Path, data: DataDir, port: int, control_port: int) -> None:
        self.port, self.control_port = port, control_port
        self._folder = folder
        folder.mkdir()
        own = authority.load(data.authority, SystemClock()).own("broker.example", ["127.0.0.1"])
        (folder / "broker.pem").write_bytes(own)
        tls = (
            f"cafile {data.root_certificate}\ncertfile {folder}/broker.pem\nkeyfile {folder}/broker.pem\n"
            f"require_certificate true\nuse_identity_as_username true\nallow_anonymous false\nacl_file {folder}/acl\n"
        )
        (folder / "mosquitto.conf").write_text(
            f"per_listener_settings true\nuser root\npersistence true\npersistence_location {folder}/\n"
            "max_queued_messages 100000\nmax_inflight_messages 1000\n"
            f"listener {port} 127.0.0.1\n{tls}use_username_as_clientid true\n"
            f"listener {control_port} 127.0.0.1\n{tls}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, rules: bytes) -> None:
        (self._folder / "acl").write_bytes(rules)
        assert PROGRAM is not None
        with (self._folder / "log").open("ab") as log:
            command = [PROGRAM, "-c", str(self._folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        for port in (self.port, self.control_port):
            deadline_mono = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1.0).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline_mono, (self._folder / "log").read_text()
                    time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)


def ports() -> tuple[int, int]:
    return free_port(), free_port()
