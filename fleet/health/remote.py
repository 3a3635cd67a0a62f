"""The part of the client that speaks of health over time and of faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fleet import shapes


class RemoteFaults:
    """`call` sends a request and gives the parsed answer, `every` gives all items of a list. Both raise as `Client` says."""

    def __init__(self, call: Callable[..., Any], every: Callable[..., list[Any]]) -> None:
        self._call = call
        self._every = every

    def all(
        self, *, active: bool = True, roots: bool = True, selector: str = "", **filters: str | None
    ) -> list[shapes.FaultView]:
        """The newest first; `severity` (this bad or worse), `code`, `device`, `site`."""
        flags = {"active": str(active).lower(), "roots": str(roots).lower()}
        return self._every("/faults", selector=selector, **flags, **filters)

    def get(self, fault: str) -> shapes.FaultDetail:
        """A fault with what stands beneath it."""
        found: shapes.FaultDetail = self._call("GET", f"/faults/{fault}")
        return found

    def kinds(self) -> list[shapes.FaultKindView]:
        """Every kind of fault there is."""
        answer: dict[str, Any] = self._call("GET", "/fault-kinds")
        return [*answer["items"]]

    def drift(self, device: str = "", days: int = 2, reference_days: int = 14) -> list[shapes.DriftView]:
        """Of a device's cameras; without one, of the whole fleet, the farthest first."""
        if not device:
            return self._every("/drift")
        params = {"days": days, "reference_days": reference_days}
        answer: dict[str, Any] = self._call("GET", f"/devices/{device}/drift", params=params)
        return [*answer["items"]]

    def versions(self, model: str, days: int = 2, selector: str = "") -> list[shapes.ModelVersionView]:
        """The versions of a model that ran lately, compared over devices."""
        params = {"days": days, "selector": selector}
        answer: dict[str, Any] = self._call("GET", f"/models/{model}/compare", params=params)
        return [*answer["items"]]

    def chart(
        self,
        device: str,
        start: float | None = None,
        until: float | None = None,
        step: int = 0,
        figures: Sequence[str] = (),
    ) -> shapes.ChartView:
        """Figures of a device over time; times since the epoch, without them the last day."""
        params = {"from": start, "to": until, "step": step, "figures": ",".join(figures) or None}
        told = {name: value for name, value in params.items() if value is not None}
        found: shapes.ChartView = self._call("GET", f"/devices/{device}/health", params=told)
        return found
