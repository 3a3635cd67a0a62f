"""Modbus TCP and OPC UA against real servers, GPIO against the kernel's simulator or a fake that keeps to its contract."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fleet.ports import free_port
from runtime.errors import Refused
from runtime.sinks import sender
from runtime.sinks.desk import Desk
from runtime.sinks.gpio import GpioSender, Signal
from runtime.sinks.sender import Undelivered
from tests.fakes.plc import LoopThread, Plc
from tests.integration.sink_rig import PICTURE, executor, outputs, run, tidy, until

__all__ = ["tidy"]


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture
def plc(loop: LoopThread) -> Iterator[Plc]:
    plc = Plc(loop, free_port())
    plc.start()
    yield plc
    plc.stop()


def writer(plc: Plc, **fields: Any) -> dict[str, Any]:
    return {
        "type": "outrider/modbus_writer@v1",
        "host": "127.0.0.1",
        "port": plc.port,
        "fire_and_forget": False,
        **fields,
    }


def test_a_coil_is_set_and_falls_back(plc: Plc) -> None:
    assert not run(writer(plc, address=3))["error_status"]
    assert plc.coil(3)
    assert not run(writer(plc, address=3, value="$inputs.value"), value=False)["error_status"]
    assert not plc.coil(3)
    desk = Desk()
    run(writer(plc, address=5, pulse_seconds=0.3, fire_and_forget=True), desk)
    until(lambda: plc.coil(5))
    until(lambda: not plc.coil(5))
    assert desk.close(2.0) == {}


def test_a_register_takes_numbers_and_refuses_words(plc: Plc) -> None:
    assert not run(writer(plc, area="holding", address=7, value="$inputs.value"), value=1234)["error_status"]
    assert plc.register(7) == 1234
    told = run(writer(plc, area="holding", address=7, value="$inputs.value"), value="many")
    assert told["error_status"]
    assert plc.register(7) == 1234


def test_an_address_that_the_plc_does_not_have_is_told_and_not_repeated(plc: Plc) -> None:
    desk = Desk()
    told = run(writer(plc, area="holding", address=60000), desk)
    assert told["error_status"]
    assert "illegal data" in told["message"]
    assert desk.figures()["sink"].retried == 0


def test_blocks_of_the_original_reach_the_same_plc(plc: Plc) -> None:
    tag = {"type": "roboflow_core/plc_writer@v1", "connection_mode": "modbus", "modbus_port": plc.port}
    assert run({**tag, "tag": "holding:9", "value": 77}) == {
        "write_result": "WriteSuccess",
        "error_status": False,
    }
    both = {
        "type": "roboflow_core/modbus_tcp@v1", "plc_ip": "127.0.0.1", "plc_port": plc.port, "mode": "read_and_write",
        "registers_to_read": [9], "registers_to_write": {"11": 5}, "depends_on": "$inputs.value",
    }  # fmt: skip
    assert run(both, value=1)["modbus_results"] == [{"read": {9: 77}, "write": {11: "WriteSuccess"}}]
    assert plc.register(11) == 5


def test_a_plc_that_comes_back_gets_the_newest_signal_and_no_old_one(plc: Plc) -> None:
    desk = Desk()
    work = executor(writer(plc, area="holding", address=1, value="$inputs.value", fire_and_forget=True), desk)
    plc.stop()
    for number in range(20):
        started = time.perf_counter()
        assert not outputs(work.run({"image": PICTURE, "value": number}))["error_status"]
        assert time.perf_counter() - started < 0.2
    until(lambda: desk.figures()["sink"].waiting == 0)
    figures = desk.figures()["sink"]
    assert figures.delivered == 0
    assert figures.dropped + figures.expired + figures.dead == 20
    plc.start()
    work.run({"image": PICTURE, "value": 42})
    until(lambda: plc.register(1) == 42)


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(Refused, match=r"step 'sink' needs the library pymodbus.*outrider\[sinks\]"):
        executor({"type": "outrider/modbus_writer@v1", "host": "h", "address": 1})


# --- OPC UA -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def opcua(loop: LoopThread) -> Iterator[tuple[str, Any]]:
    from asyncua import Server, ua

    url = f"opc.tcp://127.0.0.1:{free_port()}/line/"

    async def begin() -> tuple[Any, Any]:
        server = Server()
        await server.init()
        server.set_endpoint(url)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace("http://example.org/line")
        line = await server.nodes.objects.add_object(index, "Line1")
        variable = await line.add_variable(index, "Rejects", 0, ua.VariantType.Int32)
        await variable.set_writable()
        await server.start()
        return server, variable

    server, variable = loop.run(begin())
    yield url, lambda: loop.run(variable.read_value())
    loop.run(server.stop())


def opc_writer(url: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "roboflow_enterprise/opc_writer_sink@v1",
        "url": url,
        "namespace": "http://example.org/line",
        "object_name": "Line1",
        "variable_name": "Rejects",
        "value": "$inputs.value",
        "value_type": "Int32",
        "fire_and_forget": False,
        "cooldown_seconds": 0,
        **fields,
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_variable_of_an_opc_ua_server_is_written(opcua: tuple[str, Any]) -> None:
    url, read = opcua
    desk = Desk()
    work = executor(opc_writer(url), desk)
    for number in (3, 4):
        told = outputs(work.run({"image": PICTURE, "value": number}))
        assert told["message"] == "Delivered", told
        assert read() == number
    wrong = outputs(
        executor(opc_writer(url, variable_name="Nothing"), desk).run({"image": PICTURE, "value": 1})
    )
    assert wrong["error_status"]
    assert "Line1/Nothing" in wrong["message"]
    typed = outputs(executor(opc_writer(url, value_type="String"), desk).run({"image": PICTURE, "value": 1}))
    assert typed["error_status"]
    assert read() == 4
    assert desk.close(3.0) == {}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_opc_ua_server_that_is_not_there_is_given_up() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"opc.tcp://127.0.0.1:{probe.getsockname()[1]}/"
        told = run(opc_writer(url, timeout=1), value=1)
    assert told["error_status"]


# --- GPIO -------------------------------------------------------------------------------------------------------------


class FakeGpio:
    """The part of libgpiod's Python binding that the sink uses: chips of 8 lines, each requested by one at a time."""

    class LineBusy(OSError):
        pass

    def __init__(self) -> None:
        self.levels: dict[tuple[str, int], bool] = {}
        self.taken: set[tuple[str, int]] = set()
        self.history: list[tuple[int, bool]] = []
        values = SimpleNamespace(ACTIVE=1, INACTIVE=0)
        self.line = SimpleNamespace(Direction=SimpleNamespace(OUTPUT="output"), Value=values)

    def LineSettings(self, **settings: Any) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(**settings)

    def request_lines(self, chip: str, consumer: str, config: dict[int, Any]) -> Any:
        (number,) = config
        if chip != "/dev/gpiochip0":
            raise FileNotFoundError(2, "No such file or directory")
        if not 0 <= number < 8:
            raise ValueError("offset out of range")
        if (chip, number) in self.taken:
            raise self.LineBusy(16, "Device or resource busy")
        self.taken.add((chip, number))
        settings = config[number]

        def set_value(line: int, value: int) -> None:
            level = bool(value) is not settings.active_low
            self.levels[(chip, line)] = level
            self.history.append((line, level))

        def release() -> None:
            self.taken.discard((chip, number))

        set_value(number, settings.output_value)
        return SimpleNamespace(set_value=set_value, release=release)


def test_a_line_is_set_pulsed_held_and_let_go_inactive() -> None:
    library = FakeGpio()
    sender = GpioSender(library)
    sender.send(Signal("/dev/gpiochip0", 4, True))
    assert library.levels[("/dev/gpiochip0", 4)] is True
    assert ("/dev/gpiochip0", 4) in library.taken
    sender.send(Signal("/dev/gpiochip0", 5, True, pulse_s=0.01))
    assert [level for line, level in library.history if line == 5] == [False, True, False]
    sender.send(Signal("/dev/gpiochip0", 6, True, active_low=True))
    assert library.levels[("/dev/gpiochip0", 6)] is False
    sender.close()
    assert library.taken == set()
    assert library.levels[("/dev/gpiochip0", 4)] is False
    assert library.levels[("/dev/gpiochip0", 6)] is True


def test_a_line_of_somebody_else_may_be_tried_again_and_one_that_does_not_exist_not() -> None:
    library = FakeGpio()
    library.taken.add(("/dev/gpiochip0", 1))
    with pytest.raises(Undelivered, match="busy") as busy:
        GpioSender(library).send(Signal("/dev/gpiochip0", 1, True))
    assert busy.value.again
    with pytest.raises(Undelivered, match="out of range") as wrong:
        GpioSender(library).send(Signal("/dev/gpiochip0", 99, True))
    assert not wrong.value.again


def test_a_chip_that_is_not_there_is_told_by_the_real_library() -> None:
    told = run(
        {"type": "outrider/gpio_sink@v1", "chip": "/dev/gpiochip77", "line": 1, "fire_and_forget": False}
    )
    assert told["error_status"]
    assert "/dev/gpiochip77" in told["message"]
