"""Lines of a GPIO chip, by the kernel's character device and libgpiod 2."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from runtime.sinks.sender import Undelivered

CONSUMER = "outrider"


@dataclass(frozen=True)
class Signal:
    """Set a line; after `pulse_s`, if any, set it back. `active_low`: active means no voltage."""

    chip: str
    line: int
    active: bool
    pulse_s: float = 0.0
    active_low: bool = False


class GpioSender:
    """Holds a line for as long as the step lives, because a line that is let go may change; ends with it inactive."""

    def __init__(self, library: Any = None) -> None:
        self._library = library
        self._requests: dict[tuple[str, int], Any] = {}

    def send(self, body: Signal) -> None:
        try:
            request = self._request(body)
            self._set(request, body.line, body.active)
            if body.pulse_s:
                time.sleep(body.pulse_s)
                self._set(request, body.line, not body.active)
        except (OSError, ValueError) as e:
            self._release((body.chip, body.line))
            raise Undelivered(f"line {body.line} of {body.chip}: {e}", again=isinstance(e, OSError)) from e

    def _request(self, body: Signal) -> Any:
        key = (body.chip, body.line)
        if key not in self._requests:
            gpiod = self._gpiod()
            settings = gpiod.LineSettings(
                direction=gpiod.line.Direction.OUTPUT,
                active_low=body.active_low,
                output_value=gpiod.line.Value.INACTIVE,
            )
            self._requests[key] = gpiod.request_lines(
                body.chip, consumer=CONSUMER, config={body.line: settings}
            )
        return self._requests[key]

    def _set(self, request: Any, line: int, active: bool) -> None:
        values = self._gpiod().line.Value
        request.set_value(line, values.ACTIVE if active else values.INACTIVE)

    def _gpiod(self) -> Any:
        if self._library is None:
            import gpiod

            self._library = gpiod
        return self._library

    def _release(self, key: tuple[str, int]) -> None:
        request = self._requests.pop(key, None)
        if request is not None:
            request.release()

    def close(self) -> None:
        for (_, line), request in self._requests.items():
            self._set(request, line, False)
            request.release()
        self._requests.clear()
