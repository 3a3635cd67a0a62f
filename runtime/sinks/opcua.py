"""OPC UA (IEC 62541): writes a variable of a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runtime.sinks.sender import Undelivered

TYPES = (
    "Boolean", "Double", "Float", "Int16", "Int32", "Int64", "Integer", "SByte", "String", "UInt16", "UInt32", "UInt64",
)  # fmt: skip
ALIASES = {"Integer": "Int64"}
INTEGERS = frozenset({"Int16", "Int32", "Int64", "SByte", "UInt16", "UInt32", "UInt64"})


@dataclass(frozen=True)
class Variable:
    """Where a variable is and what it is to become. `lookup`: `hierarchical` (below Objects, by names) or `direct` (a string
    node id). `namespace`: its URI or its index."""

    url: str
    namespace: str
    object_name: str
    variable_name: str
    value: Any
    value_type: str
    lookup: str = "hierarchical"
    user: str = ""
    password: str = ""
    timeout_s: float = 2.0


class OpcUaSender:
    """Keeps one connection, with a thread of the library's own that keeps the session alive; a failure makes a new one."""

    def __init__(self) -> None:
        self._client: Any = None
        self._loop: Any = None
        self._key: tuple[str, str, str] = ("", "", "")

    def send(self, body: Any) -> None:
        variable: Variable = body()
        import asyncio
        import concurrent.futures

        from asyncua import ua

        try:
            client = self._connected(variable)
            node = _node(client, variable)
            node.write_value(ua.DataValue(_variant(variable)))
        except ua.uaerrors.UaStatusCodeError as e:
            again = isinstance(e, (ua.uaerrors.BadCommunicationError, ua.uaerrors.BadSessionIdInvalid))
            if again:
                self._drop()
            raise Undelivered(f"{_place(variable)}: {e}", again=again) from e
        except (OSError, asyncio.TimeoutError, concurrent.futures.TimeoutError, ua.uaerrors.UaError) as e:
            self._drop()
            raise Undelivered(f"{_place(variable)}: {e or type(e).__name__}") from e

    def _connected(self, variable: Variable) -> Any:
        from asyncua.sync import Client, ThreadLoop

        key = (variable.url, variable.user, variable.password)
        if self._client is not None and self._key == key:
            return self._client
        self._drop()
        if self._loop is None:
            self._loop = ThreadLoop(timeout=variable.timeout_s + 2.0)
            self._loop.daemon = True
            self._loop.start()
        client = Client(variable.url, timeout=variable.timeout_s, tloop=self._loop)
        if variable.user:
            client.set_user(variable.user)
            client.set_password(variable.password)
        client.connect()
        self._client, self._key = client, key
        return client

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                client.disconnect()
            except Exception:  # the connection is what has failed
                return

    def close(self) -> None:
        self._drop()
        if self._loop is not None:
            self._loop.stop()
            self._loop = None


def _place(variable: Variable) -> str:
    return f"{variable.url} {variable.object_name}/{variable.variable_name}"


def _node(client: Any, variable: Variable) -> Any:
    text = variable.namespace
    index = int(text) if text.isdigit() else client.get_namespace_index(text)
    if variable.lookup == "direct":
        return client.get_node(f"ns={index};s={variable.object_name}/{variable.variable_name}")
    names = [*variable.object_name.split("/"), variable.variable_name]
    return client.nodes.objects.get_child([f"{index}:{name}" for name in names])


def _variant(variable: Variable) -> Any:
    from asyncua import ua

    name = ALIASES.get(variable.value_type, variable.value_type)
    value = variable.value
    try:
        if name == "Boolean":
            value = value.strip().lower() in ("true", "1") if isinstance(value, str) else bool(value)
        elif name in INTEGERS:
            value = int(value)
        elif name in ("Float", "Double"):
            value = float(value)
        else:
            value = str(value)
    except (TypeError, ValueError) as e:
        raise Undelivered(f"{variable.value!r} is no {name}", again=False) from e
    return ua.Variant(value, ua.VariantType[name])
