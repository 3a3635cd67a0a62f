"""Sinks that act on machines: Modbus TCP, OPC UA, GPIO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.sinks.gpio import GpioSender, Signal
from runtime.sinks.lane import ACTION
from runtime.sinks.modbus import Exchange, ModbusSender, Write
from runtime.sinks.opcua import TYPES, OpcUaSender, Variable
from runtime.sinks.sender import Sender
from runtime.workflow.fields import (
    ANY,
    BOOLEAN,
    DICTIONARY,
    FLOAT,
    INTEGER,
    LIST,
    STRING,
    Anything,
    Choice,
    DictOf,
    Either,
    Field,
    Flag,
    ListOf,
    Number,
    Report,
    Text,
    gives,
    kinds,
    need,
    option,
)
from runtime.workflow.sinkblock import (
    COOLING,
    DELIVERED,
    DISABLE_SINK,
    DISABLED,
    FIRE_AND_FORGET,
    THROTTLED_STATUS,
    SinkBlock,
    cooldown,
    secret,
)
from wire.secret import Secret

PORT = Number(1, 65535, integer=True)
ADDRESS = Number(0, 65535, integer=True)
VALUE = Either((Flag(), Number(-32768, 65535)))
PULSE = option("pulse_seconds", Number(0, 10), 0, INTEGER, FLOAT)
AREAS = ("coil", "holding")
Told = tuple[bool, bool, str]


class Action(SinkBlock):
    """A signal that is worth nothing when it is late."""

    limits = ACTION


class ModbusWriter(Action):
    """Sets a coil or a register; a coil may fall back by itself after `pulse_seconds`, as an ejector wants it."""

    types = ("outrider/modbus_writer@v1",)
    title = "Modbus writer"
    library = "pymodbus"
    outputs = THROTTLED_STATUS
    fields = (
        need("host", Text(256), STRING),
        option("port", PORT, 502, INTEGER),
        option("unit_id", Number(0, 255, integer=True), 1, INTEGER),
        option("area", Choice(AREAS), "coil"),
        need("address", ADDRESS, INTEGER),
        Field("value", kinds(ANY), VALUE, required=False, default=True),
        PULSE,
        option("timeout", Number(above=0, high=10), 1, FLOAT, INTEGER),
        FIRE_AND_FORGET,
        DISABLE_SINK,
        cooldown(0),
    )

    def sender(self) -> Sender:
        return ModbusSender()

    def run(
        self,
        host: str,
        port: int,
        unit_id: int,
        area: str,
        address: int,
        value: Any,
        pulse_seconds: float,
        timeout: float,
        fire_and_forget: bool,
        disable_sink: bool,
        cooldown_seconds: float,
    ) -> Told:
        if disable_sink:
            return False, False, DISABLED
        if self.throttled(cooldown_seconds):
            return False, True, COOLING
        number = register_value(value)
        if number is None:
            return True, False, f"{value!r} is no number from -32768 to 65535, nor true or false"
        body = Write(host, port, unit_id, area, address, number, pulse_seconds, timeout)
        error, message, _ = self.deliver(body, wait=not fire_and_forget)
        return error, False, message


def register_value(value: Any) -> int | None:
    """What a coil or a register can hold; None where it cannot."""
    try:
        number = round(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
    return number if -32768 <= number <= 65535 else None


class PlcWriter(Action):
    """`tag` is `coil:3`, `holding:100` or a bare number for a register."""

    types = ("roboflow_core/plc_writer@v1",)
    title = "PLC writer"
    library = "pymodbus"
    outputs = gives(write_result=kinds(STRING), error_status=kinds(BOOLEAN))
    fields = (
        need("tag", Text(256), STRING),
        Field("value", kinds(ANY), VALUE),
        Field("depends_on", kinds(ANY), required=False),
        option("ip_address", Text(256), "127.0.0.1", STRING),
        option("connection_mode", Choice(("relay", "ethernet_ip", "modbus")), "relay"),
        option("relay_port", PORT, 8007, INTEGER),
        option("request_timeout", Number(above=0, high=60), 10, INTEGER),
        option("processor_slot", Number(0, 255, integer=True), 0, INTEGER),
        option("modbus_port", PORT, 502, INTEGER),
        option("modbus_unit_id", Number(0, 255, integer=True), 1, INTEGER),
        DISABLE_SINK,
    )

    @classmethod
    def check(cls, step: Mapping[str, Any], path: str, report: Report) -> None:
        mode = step.get("connection_mode", "relay")
        if mode != "modbus":
            report.wrong(
                f"{path}.connection_mode", mode, "modbus", "give the PLC's own address and a Modbus tag"
            )

    def sender(self) -> Sender:
        return ModbusSender()

    def run(
        self,
        tag: str,
        value: Any,
        ip_address: str,
        modbus_port: int,
        modbus_unit_id: int,
        request_timeout: float,
        disable_sink: bool,
        **_others: Any,
    ) -> tuple[str, bool]:
        if disable_sink:
            return "", False
        area, _, address = tag.rpartition(":")
        number = register_value(value)
        if area not in ("", *AREAS) or not address.strip().isdigit() or number is None:
            return "WriteFailure", True
        body = Write(
            ip_address,
            modbus_port,
            modbus_unit_id,
            area or "holding",
            int(address),
            number,
            timeout_s=min(request_timeout, 2.0),
        )
        error, message, _ = self.deliver(body, wait=True)
        return ("WriteFailure" if error else "WriteSuccess" if message == DELIVERED else message), error


class ModbusTcp(Action):
    """Reads and writes holding registers; a read waits for the PLC, at most for the desk's patience."""

    types = ("roboflow_core/modbus_tcp@v1",)
    title = "Modbus TCP"
    library = "pymodbus"
    outputs = gives(modbus_results=kinds(LIST))
    fields = (
        need("plc_ip", Text(256), STRING),
        option("plc_port", PORT, 502),
        Field("mode", literal=Choice(("read", "write", "read_and_write"))),
        option("registers_to_read", ListOf(ADDRESS, 0, 256), [], LIST),
        option("registers_to_write", DictOf(VALUE, 256), {}, LIST, DICTIONARY),
        Field("depends_on", kinds(ANY)),
    )

    def sender(self) -> Sender:
        return ModbusSender()

    def run(
        self,
        plc_ip: str,
        plc_port: int,
        mode: str,
        registers_to_read: list[int],
        registers_to_write: dict[str, Any],
        depends_on: Any,
    ) -> list[dict[str, Any]]:
        reads = registers_to_read if "read" in mode else []
        numbers = [(int(a), register_value(v)) for a, v in registers_to_write.items()]
        writes = [(a, v) for a, v in numbers if v is not None] if "write" in mode else []
        body = Exchange(plc_ip, plc_port, 1, reads, writes)
        error, message, value = self.deliver(body, wait=True)
        if error:
            return [{"error": "ConnectionFailure"}]
        if value is not None:
            return [value]
        unread = {"read": dict.fromkeys(reads, "ReadFailure")} if reads else {}
        return [unread | ({"write": {a: message for a, _ in writes}} if writes else {})]


class OpcUaWriter(Action):
    types = ("roboflow_enterprise/opc_writer_sink@v1",)
    title = "OPC UA writer"
    library = "asyncua"
    outputs = gives(
        error_status=kinds(BOOLEAN),
        disabled=kinds(BOOLEAN),
        throttling_status=kinds(BOOLEAN),
        message=kinds(STRING),
    )
    fields = (
        need("url", Text(2048), STRING),
        need("namespace", Text(2048), STRING),
        Field("user_name", kinds(STRING), Text(256), required=False),
        secret("password"),
        need("object_name", Text(1024), STRING),
        need("variable_name", Text(1024), STRING),
        Field("value", kinds(ANY), Anything()),
        option("value_type", Choice(TYPES), "String", STRING),
        option("timeout", Number(above=0, high=60), 2, INTEGER),
        option("session_timeout_seconds", Number(1), 3600, INTEGER),
        option("secure_channel_lifetime_seconds", Number(1), 3600, INTEGER),
        FIRE_AND_FORGET,
        DISABLE_SINK,
        cooldown(),
        option("node_lookup_mode", Choice(("hierarchical", "direct")), "hierarchical", STRING),
        option("max_retries", Number(1, 100, integer=True), 3, INTEGER),
        option("retry_backoff_seconds", Number(0, 60), 0.015, FLOAT),
    )

    def sender(self) -> Sender:
        return OpcUaSender()

    def run(
        self,
        url: str,
        namespace: str,
        user_name: str | None,
        password: Secret | str | None,
        object_name: str,
        variable_name: str,
        value: Any,
        value_type: str,
        timeout: float,
        fire_and_forget: bool,
        disable_sink: bool,
        cooldown_seconds: float,
        node_lookup_mode: str,
        **_others: Any,
    ) -> tuple[bool, bool, bool, str]:
        if disable_sink:
            return False, True, False, DISABLED
        if self.throttled(cooldown_seconds):
            return False, False, True, COOLING
        hidden, vault = self.secret(password), self.around.desk.vault

        def variable() -> Variable:
            place = (url, namespace, object_name, variable_name)
            login = (user_name or "", vault.open(hidden))
            return Variable(*place, value, value_type, node_lookup_mode, *login, float(timeout))

        error, message, _ = self.deliver(variable, wait=not fire_and_forget)
        return error, False, False, message


class GpioSink(Action):
    """Sets a line of a GPIO chip; it stays until the step sets it again, or falls back after `pulse_seconds`."""

    types = ("outrider/gpio_sink@v1",)
    title = "GPIO"
    library = "gpiod"
    outputs = THROTTLED_STATUS
    fields = (
        option("chip", Text(256), "/dev/gpiochip0", STRING),
        need("line", Number(0, 1024, integer=True), INTEGER),
        Field("value", kinds(ANY), Flag(), required=False, default=True),
        PULSE,
        option("active_low", Flag(), False, BOOLEAN),
        FIRE_AND_FORGET,
        DISABLE_SINK,
        cooldown(0),
    )

    def sender(self) -> Sender:
        return GpioSender()

    def run(
        self,
        chip: str,
        line: int,
        value: Any,
        pulse_seconds: float,
        active_low: bool,
        fire_and_forget: bool,
        disable_sink: bool,
        cooldown_seconds: float,
    ) -> Told:
        if disable_sink:
            return False, False, DISABLED
        if self.throttled(cooldown_seconds):
            return False, True, COOLING
        body = Signal(chip, line, bool(value), pulse_seconds, active_low)
        error, message, _ = self.deliver(body, wait=not fire_and_forget)
        return error, False, message


BLOCKS = (ModbusWriter, PlcWriter, ModbusTcp, OpcUaWriter, GpioSink)
