"""The part of the client that speaks of alerts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fleet import shapes


class RemoteAlerts:
    """`call` sends a request and gives the parsed answer, `every` gives all items of a list. Both raise as `Client` says."""

    def __init__(self, call: Callable[..., Any], every: Callable[..., list[Any]]) -> None:
        self._call: Callable[..., Any] = call
        self._every = every

    def all(self, state: str = "firing", **filters: str | None) -> list[shapes.AlertView]:
        """The newest first; `severity`, `device`, `site`, `rule`, `selector`."""
        return self._every("/alerts", state=state, **filters)

    def get(self, alert: str) -> shapes.AlertDetail:
        """An alert with what was told of it."""
        found: shapes.AlertDetail = self._call("GET", f"/alerts/{alert}")
        return found

    def acknowledge(self, alert: str, note: str = "") -> shapes.AlertView:
        found: shapes.AlertView = self._call("POST", f"/alerts/{alert}/acknowledge", json={"note": note})
        return found

    def unacknowledge(self, alert: str) -> shapes.AlertView:
        found: shapes.AlertView = self._call("DELETE", f"/alerts/{alert}/acknowledge")
        return found

    def rules(self) -> list[shapes.RuleView]:
        """In the order in which they are tried."""
        return self._items("/alert-rules")

    def set_rule(self, name: str, rule: dict[str, Any]) -> shapes.RuleView:
        found: shapes.RuleView = self._call("PUT", f"/alert-rules/{name}", json=rule)
        return found

    def remove_rule(self, name: str) -> None:
        self._call("DELETE", f"/alert-rules/{name}")

    def targets(self) -> list[shapes.TargetView]:
        return self._items("/alert-targets")

    def set_target(self, name: str, target: dict[str, Any]) -> shapes.TargetView:
        found: shapes.TargetView = self._call("PUT", f"/alert-targets/{name}", json=target)
        return found

    def remove_target(self, name: str) -> None:
        self._call("DELETE", f"/alert-targets/{name}")

    def test(self, name: str) -> shapes.TargetTrial:
        """Send a message now; how it went."""
        found: shapes.TargetTrial = self._call("POST", f"/alert-targets/{name}/test")
        return found

    def silences(self, over: bool = False) -> list[shapes.SilenceView]:
        return self._items("/alert-silences", over=str(over).lower())

    def silence(
        self, matcher: dict[str, str], until_at: float, reason: str, from_at: float | None = None
    ) -> shapes.SilenceView:
        body = {"matcher": matcher, "until_at": until_at, "reason": reason, "from_at": from_at}
        found: shapes.SilenceView = self._call("POST", "/alert-silences", json=body)
        return found

    def end_silence(self, name: str) -> None:
        self._call("DELETE", f"/alert-silences/{name}")

    def deliveries(self, target: str = "", state: str = "") -> list[shapes.DeliveryView]:
        """The newest first; `state` is waiting, delivered or failed."""
        return self._every("/alert-deliveries", target=target, state=state)

    def _items(self, path: str, **params: str) -> list[Any]:
        answer: dict[str, Any] = self._call("GET", path, params=params)
        return [*answer["items"]]
