"""Modbus TCP (Modbus Application Protocol 1.1b3): coils and holding registers of a PLC."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtime.sinks.sender import Undelivered

MAX_CLIENTS = 4
PERMANENT = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
}
"""Exception codes after which the same request fails again (section 7)."""


@dataclass(frozen=True)
class Write:
    """Set a coil (`coil`) or a register (`holding`); after `pulse_s`, if any, set a coil back."""

    host: str
    port: int
    unit: int
    area: str
    address: int
    value: int
    pulse_s: float = 0.0
    timeout_s: float = 1.0


@dataclass(frozen=True)
class Exchange:
    """Read registers, then write others, one by one."""

    host: str
    port: int
    unit: int
    reads: Sequence[int]
    writes: Sequence[tuple[int, int]]
    timeout_s: float = 1.0


class ModbusSender:
    """Keeps a connection to each of a few PLCs. No retries of its own: the lane decides about them."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, int], Any] = {}

    def send(self, body: Write | Exchange) -> dict[str, dict[int, Any]]:
        """`{"read": {address: value}, "write": {address: "WriteSuccess"}}`"""
        client = self._client(body.host, body.port, body.timeout_s)
        try:
            return self._write(client, body) if isinstance(body, Write) else self._exchange(client, body)
        except Undelivered:
            raise
        except Exception as e:
            self._forget(body.host, body.port)
            raise Undelivered(f"PLC {body.host}:{body.port}: {e}") from e

    def _write(self, client: Any, body: Write) -> dict[str, dict[int, Any]]:
        self._set(client, body, body.value)
        if body.pulse_s and body.area == "coil":
            time.sleep(body.pulse_s)
            self._set(client, body, 0 if body.value else 1)
        return {"write": {body.address: "WriteSuccess"}}

    def _set(self, client: Any, body: Write, value: int) -> None:
        if body.area == "coil":
            _checked(client.write_coil(body.address, bool(value), device_id=body.unit), body)
        else:
            _checked(client.write_register(body.address, value & 0xFFFF, device_id=body.unit), body)

    @staticmethod
    def _exchange(client: Any, body: Exchange) -> dict[str, dict[int, Any]]:
        out: dict[str, dict[int, Any]] = {}
        for address in body.reads:
            answer = client.read_holding_registers(address, count=1, device_id=body.unit)
            value = "ReadFailure" if answer.isError() else answer.registers[0]
            out.setdefault("read", {})[address] = value
        for address, value in body.writes:
            answer = client.write_register(address, value & 0xFFFF, device_id=body.unit)
            told = "WriteFailure" if answer.isError() else "WriteSuccess"
            out.setdefault("write", {})[address] = told
        return out

    def _client(self, host: str, port: int, timeout_s: float) -> Any:
        from pymodbus.client import ModbusTcpClient

        key = (host, port)
        client = self._clients.get(key)
        if client is None:
            while len(self._clients) >= MAX_CLIENTS:
                self._clients.pop(next(iter(self._clients))).close()
            client = self._clients[key] = ModbusTcpClient(host, port=port, timeout=timeout_s, retries=0)
        if not client.connected and not client.connect():
            self._forget(host, port)
            raise Undelivered(f"no connection to the PLC {host}:{port}")
        return client

    def _forget(self, host: str, port: int) -> None:
        client = self._clients.pop((host, port), None)
        if client is not None:
            client.close()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()


def _checked(answer: Any, body: Write) -> None:
    if not answer.isError():
        return
    code = int(getattr(answer, "exception_code", 0))
    words = PERMANENT.get(code, f"exception code {code}")
    place = f"{body.area} {body.address} of unit {body.unit} at {body.host}:{body.port}"
    raise Undelivered(f"{place}: {words}", again=code not in PERMANENT)
