"""The part of the client that speaks of rollouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fleet import shapes


class RemoteRollouts:
    """`call` sends a request and gives the parsed answer, `every` gives all items of a list. Both raise as `Client` says."""

    def __init__(self, call: Callable[..., Any], every: Callable[..., list[Any]]) -> None:
        self._call = call
        self._every = every

    def create(self, plan: dict[str, Any]) -> shapes.RolloutDetail:
        return self._detail(self._call("POST", "/rollouts", json=plan))

    def all(self) -> list[shapes.RolloutView]:
        """The newest first."""
        return self._every("/rollouts")

    def get(self, name: str) -> shapes.RolloutDetail:
        return self._detail(self._call("GET", f"/rollouts/{name}"))

    def devices(self, name: str) -> list[shapes.RolloutMemberView]:
        return self._every(f"/rollouts/{name}/devices")

    def preview(self, plan: dict[str, Any]) -> shapes.RolloutPreview:
        """What a plan would reach, and what would refuse it."""
        answer: shapes.RolloutPreview = self._call("POST", "/rollouts/preview", json=plan)
        return answer

    def gates(self, name: str) -> list[shapes.RolloutGateView]:
        """The gates of the wave at work, with figures."""
        return self._every(f"/rollouts/{name}/gates")

    def history(self, name: str) -> list[shapes.RolloutNoteView]:
        """The oldest first."""
        answer: dict[str, Any] = self._call("GET", f"/rollouts/{name}/history")
        return [*answer["items"]]

    def order(self, name: str, verb: str) -> shapes.RolloutDetail:
        """pause, resume, approve, abort, roll-back."""
        return self._detail(self._call("POST", f"/rollouts/{name}/{verb}"))

    def retry(self, name: str, devices: Sequence[str] = ()) -> shapes.RolloutDetail:
        """These failed devices once more, or all."""
        return self._detail(self._call("POST", f"/rollouts/{name}/retry", json={"devices": [*devices]}))

    def remove(self, name: str) -> None:
        self._call("DELETE", f"/rollouts/{name}")

    @staticmethod
    def _detail(answer: Any) -> shapes.RolloutDetail:
        detail: shapes.RolloutDetail = answer
        return detail
