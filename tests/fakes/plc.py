"""A real Modbus TCP server in a thread, as a PLC, and a client that looks at it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from pymodbus.client import ModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


class LoopThread:
    """An event loop in a thread, for servers of asyncio."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(15)

    def close(self) -> None:
        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


class Plc:
    """A real Modbus TCP server, and a client that looks at it."""

    def __init__(self, loop: LoopThread, port: int) -> None:
        self.port = port
        self._loop = loop
        self._server: Any = None
        self.writes: list[tuple[int, int, int]] = []
        """Function code, address and value of each write."""
        self.look = ModbusTcpClient("127.0.0.1", port=port, timeout=2)

    def start(self) -> None:
        async def begin() -> None:
            blocks = [SimData(0, count=64, values=0, datatype=DataType.REGISTERS)]
            device = SimDevice(1, simdata=blocks)
            self._server = ModbusTcpServer(device, address=("127.0.0.1", self.port), trace_pdu=self._seen)
            await self._server.serve_forever(background=True)

        self._loop.run(begin())

    def _seen(self, sending: bool, pdu: Any) -> Any:
        if not sending and pdu.function_code in (5, 6):
            value = pdu.bits[0] if pdu.function_code == 5 else pdu.registers[0]
            self.writes.append((pdu.function_code, pdu.address, int(value)))
        return pdu

    def stop(self) -> None:
        self.look.close()
        if self._server is not None:
            self._loop.run(self._server.shutdown())
            self._server = None

    def coil(self, address: int) -> bool:
        return bool(self.look.read_coils(address, count=1, device_id=1).bits[0])

    def register(self, address: int) -> int:
        return int(self.look.read_holding_registers(address, count=1, device_id=1).registers[0])
