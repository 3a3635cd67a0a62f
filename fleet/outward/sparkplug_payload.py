"""Payloads of Sparkplug B (specification 3.0, 6.4), by the protobuf runtime. The description is the part of the schema that is used."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fleet.outward.look import Value

INT64, DOUBLE, BOOLEAN, STRING = 4, 10, 11, 12
"""Data types (6.4.16)."""
_FIELD = {"uint32": 13, "uint64": 4, "string": 9, "bool": 8, "double": 1, "float": 2, "message": 11}
_PAYLOAD = (("timestamp", 1, "uint64"), ("metrics", 2, "message"), ("seq", 3, "uint64"))
_METRIC = (
    ("name", 1, "string"),
    ("alias", 2, "uint64"),
    ("timestamp", 3, "uint64"),
    ("datatype", 4, "uint32"),
    ("is_null", 7, "bool"),
)
_VALUES = (
    ("int_value", 10, "uint32"),
    ("long_value", 11, "uint64"),
    ("float_value", 12, "float"),
    ("double_value", 13, "double"),
    ("boolean_value", 14, "bool"),
    ("string_value", 15, "string"),
)


def encode(metrics: Mapping[str, Value], at_wall: float, seq: int | None = None) -> bytes:
    """A payload; `seq` is left out of a death."""
    payload = _classes()[0]()
    payload.timestamp = int(at_wall * 1000)
    if seq is not None:
        payload.seq = seq
    for name, value in metrics.items():
        metric = payload.metrics.add()
        metric.name, metric.timestamp = name, payload.timestamp
        _set(metric, value)
    return bytes(payload.SerializeToString())


def decode(content: bytes) -> tuple[dict[str, Value | None], int | None]:
    """Metrics by name, and the number in the sequence.

    :raises ValueError: no payload
    """
    payload = _classes()[0]()
    try:
        payload.ParseFromString(content)
    except Exception as e:  # the runtime's own class, another one in each of its implementations
        raise ValueError(f"no payload of Sparkplug B: {e}") from e
    found: dict[str, Value | None] = {}
    for metric in payload.metrics:
        which = metric.WhichOneof("value")
        value = getattr(metric, which) if which else None
        if metric.datatype == INT64 and isinstance(value, int) and value >= 2**63:
            value -= 2**64
        found[metric.name] = value
    return found, payload.seq if payload.HasField("seq") else None


def _set(metric: Any, value: Value) -> None:
    if isinstance(value, bool):
        metric.datatype, metric.boolean_value = BOOLEAN, value
    elif isinstance(value, int):
        metric.datatype, metric.long_value = INT64, value % 2**64
    elif isinstance(value, float):
        metric.datatype, metric.double_value = DOUBLE, value
    else:
        metric.datatype, metric.string_value = STRING, value


@lru_cache(maxsize=1)
def _classes() -> tuple[Any, Any]:
    """Imported when the first payload is made."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="outrider/sparkplug_b.proto", package="outrider.sparkplug", syntax="proto2"
    )
    payload = file.message_type.add(name="Payload")
    metric = payload.nested_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    for where, fields, oneof in (
        (payload, _PAYLOAD, False),
        (metric, _METRIC, False),
        (metric, _VALUES, True),
    ):
        for name, number, kind in fields:
            field = where.field.add(name=name, number=number, type=_FIELD[kind], label=1)
            if kind == "message":
                field.label, field.type_name = 3, ".outrider.sparkplug.Payload.Metric"
            if oneof:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("outrider.sparkplug.Payload")
    made: Any = message_factory.GetMessageClass(found)
    return made, made.Metric
