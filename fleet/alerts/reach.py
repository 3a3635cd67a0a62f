"""Which devices rules with a selector reach, for a while the same: labels change seldom, and there are many."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.alerts.rules import Rule
from fleet.clock import Clock
from fleet.selector import Selector, parse

KEPT_S = 30.0


class Reach:
    """`matching` names the devices that a selector matches."""

    def __init__(self, clock: Clock, matching: Callable[[Selector], set[str]]) -> None:
        self._clock = clock
        self._matching = matching
        self._known: dict[str, frozenset[str]] = {}
        self._known_mono = -KEPT_S

    def of(self, rules: Mapping[str, Rule]) -> dict[str, frozenset[str]]:
        """Devices by rule; a rule without a selector is not among them, for it reaches all."""
        if self._clock.mono() - self._known_mono >= KEPT_S:
            self._known, self._known_mono = {}, self._clock.mono()
        wanted = {name: rule.selector for name, rule in rules.items() if rule.enabled and rule.selector}
        for selector in wanted.values():
            if selector not in self._known:
                self._known[selector] = frozenset(self._matching(parse(selector)))
        return {name: self._known[selector] for name, selector in wanted.items()}
