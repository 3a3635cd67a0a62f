"""Rollouts against a world that does what it likes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fleet.errors import Refused
from fleet.rollout import decision, gates, orders
from fleet.rollout.decision import GoBack, Tell, World
from fleet.rollout.gates import Opinion
from fleet.rollout.plan import Compare, Gates, OnFailure, Patience, Plan, Wave
from fleet.rollout.state import ENDS, Figures, Phase, Seen, State, Status

TICK_S = 30.0


def plan(**changes: object) -> Plan:
    body = {
        "name": "r1",
        "change": {"models": {"m": "m@2"}},
        "waves": (
            Wave(devices=1, gates=Gates(soak_s=60)),
            Wave(percent=50, gates=Gates(soak_s=60, max_failed_percent=20, min_success_percent=80)),
            Wave(percent=100, gates=Gates(soak_s=0, max_failed_percent=20, min_success_percent=80)),
        ),
        "patience": Patience(offline_s=300, device_s=600),
        **changes,
    }
    return Plan.model_validate(body)


@dataclass
class Fleet:
    """Devices that answer as `behaviour` says: device, attempt → phase in the end, or "" for never; and whether they are online."""

    plan: Plan
    devices: list[str]
    behaviour: Callable[[str, int], str]
    online: Callable[[str, float], bool] = lambda _device, _at: True
    figures: dict[str, Figures] = field(default_factory=dict)
    at: float = 1000.0
    state: State = field(init=False)
    newest: dict[str, int] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)
    history: list[tuple[float, object]] = field(default_factory=list)
    due: list[tuple[float, str]] = field(default_factory=list)
    takes_s: float = 45.0

    def __post_init__(self) -> None:
        self.state = decision.begin(self.devices, self.at)
        self.newest = dict.fromkeys(self.devices, 1)

    def tick(self) -> decision.Decision:
        self.at += TICK_S
        while self.due and self.due[0][0] <= self.at:
            self._answer(self.due.pop(0)[1])
        made = decision.decide(self.plan, self.state, self._world())
        if made.state.wave > self.state.wave:
            assert not made.state.count(Status.TOLD)
        self.state = made.state
        for action in made.actions:
            self.check(action)
            device = action.device
            self.newest[device] += 1
            member = self.state.members[device]
            if isinstance(action, Tell):
                member = decision.member_told(member, self.newest[device], self.newest[device] - 1, self.at)
            else:
                member = decision.member_sent_back(member, self.newest[device], self.at)
            self.state = replace(self.state, members={**self.state.members, device: member})
            self.history.append((self.at, action))
            self.due.append((self.at + self.takes_s, device))
        return made

    def check(self, action: object) -> None:
        """The invariants at the moment of an action."""
        if isinstance(action, Tell):
            assert self.state.phase in (Phase.RUNNING, Phase.DONE)
            member = self.state.members[action.device]
            reached = sum(m.told and m.counted for m in self.state.members.values())
            most = decision.reach(self.plan, self.state)
            assert member.told or reached < most
            assert self.state.count(Status.TOLD) < self.plan.pace.concurrent
            wave = self.plan.waves[self.state.wave]
            assert gates.failures(self.state, wave.gates, most).opinion is Opinion.PASS
        else:
            assert self.state.phase is Phase.ROLLING_BACK

    def run(self, ticks: int = 2000) -> Phase:
        for _ in range(ticks):
            self.tick()
            if self.state.phase in ENDS or self.state.phase in (Phase.PAUSED, Phase.AWAITING_APPROVAL):
                break
        return self.state.phase

    def told(self) -> set[str]:
        return {action.device for _, action in self.history if isinstance(action, Tell)}

    def _answer(self, device: str) -> None:
        member = self.state.members[device]
        end = "COMMITTED" if member.back else self.behaviour(device, member.attempts)
        revision = self.newest[device]
        if end == "COMMITTED":
            self.seen[device] = Seen(True, revision, revision, revision, end)
        elif end:
            self.seen[device] = Seen(True, revision, revision - 1, revision, end, "golden-mismatch", "no")

    def _world(self) -> World:
        for device in self.devices:
            seen, online = self.seen.get(device, Seen(True)), self.online(device, self.at)
            if (seen.online, seen.newest) != (online, self.newest[device]):
                seen = replace(seen, online=online, newest=self.newest[device])
            self.seen[device] = seen
        return World(
            self.at,
            {device: self.seen[device] for device in self.devices},
            frozenset(self.devices),
            self.figures,
        )


NAMES = [f"d{n}" for n in range(20)]


def good(_device: str, _attempt: int) -> str:
    return "COMMITTED"


def test_a_good_change_goes_out_in_waves_and_soaks_between_them() -> None:
    fleet = Fleet(plan(), NAMES, good)
    assert fleet.run() is Phase.DONE
    times = sorted(at for at, _ in fleet.history)
    assert len(times) == 20
    assert [sum(at <= limit for at in times) for limit in (times[0], times[1], times[-1])] == [1, 10, 20]
    assert times[1] - times[0] >= 60
    assert times[10] - times[9] >= 60


def test_a_bad_change_reaches_the_canary_alone_and_comes_back_if_it_is_to() -> None:
    fleet = Fleet(plan(on_failure=OnFailure.ROLL_BACK), NAMES, lambda _d, _a: "ROLLED_BACK")
    assert fleet.run() is Phase.ROLLED_BACK
    assert len(fleet.told()) == 1
    assert fleet.history[-1][1] == GoBack(*fleet.told())
    paused = Fleet(plan(), NAMES, lambda _d, _a: "REJECTED")
    assert paused.run() is Phase.PAUSED
    assert "1 of 1 devices failed (100.0 %)" in paused.state.judged
    (failed,) = (m for m in paused.state.members.values() if m.status is Status.FAILED)
    assert (failed.reason, failed.message) == ("golden-mismatch", "no")


def test_canaries_are_those_named_and_the_order_stays() -> None:
    chosen = plan(first=("d7", "d3"))
    assert decision.order(chosen, NAMES)[:2] == ["d7", "d3"]
    assert decision.order(chosen, reversed(NAMES)) == decision.order(chosen, NAMES)
    assert decision.order(plan(name="r2"), NAMES) != decision.order(plan(), NAMES)


def test_an_offline_device_leaves_the_count_and_joins_later() -> None:
    canary = decision.order(plan(), NAMES)[0]
    fleet = Fleet(plan(), NAMES, good, online=lambda device, at: device != canary or at > 20_000)
    assert fleet.run() is Phase.DONE
    assert fleet.state.members[canary].status is Status.EXCUSED
    assert canary not in fleet.told()
    while fleet.at < 21_000:
        fleet.tick()
    assert fleet.state.members[canary].status is Status.DONE


def test_a_late_device_that_fails_stops_what_was_done() -> None:
    late = decision.order(plan(), NAMES)[0]
    strict = plan(waves=(Wave(percent=100, gates=Gates(soak_s=0, max_failed=0)),))
    fleet = Fleet(
        strict,
        NAMES,
        lambda d, _a: "REJECTED" if d == late else "COMMITTED",
        online=lambda d, at: d != late or at > 20_000,
    )
    assert fleet.run() is Phase.DONE
    while fleet.at < 21_000 and fleet.state.phase is Phase.DONE:
        fleet.tick()
    assert fleet.state.phase is Phase.PAUSED


def test_with_nobody_online_it_waits_and_ends_by_its_deadline() -> None:
    fleet = Fleet(plan(deadline_s=3600), NAMES, good, online=lambda _d, _at: False)
    assert fleet.run() is Phase.ABORTED
    assert not fleet.history
    assert fleet.state.judged == "its deadline is over"


def test_a_device_that_says_nothing_has_failed_after_its_time_and_is_tried_again() -> None:
    patient = plan(patience=Patience(device_s=600, attempts=2, retry_after_s=60), waves=(Wave(percent=100, gates=Gates(soak_s=0, max_failed_percent=100)),))  # fmt: skip
    fleet = Fleet(patient, ["a"], lambda _d, attempt: "COMMITTED" if attempt == 2 else "")
    assert fleet.run() is Phase.PAUSED  # success 0 % at the end of the wave, judged before the retry is due
    fleet.state = orders.retry(orders.resume(fleet.state), ["a"], fleet.at)
    assert fleet.run() is Phase.DONE
    assert fleet.state.members["a"].attempts == 2


def test_the_newest_desired_state_wins() -> None:
    fleet = Fleet(plan(), ["a", "b"], lambda d, _a: "")
    fleet.tick()
    (first,) = fleet.told()
    fleet.newest[first] += 1
    fleet.tick()
    assert fleet.state.members[first].status is Status.OVERTAKEN


def test_dynamic_rollouts_take_in_who_comes_to_match() -> None:
    fleet = Fleet(plan(dynamic=True), NAMES[:4], good)
    assert fleet.run() is Phase.DONE
    fleet.devices.append("new")
    fleet.newest["new"] = 1
    for _ in range(4):
        fleet.tick()
    assert fleet.state.members["new"].status is Status.DONE
    static = Fleet(plan(), NAMES[:4], good)
    static.devices.append("new")
    static.newest["new"] = 1
    assert static.run() is Phase.DONE
    assert "new" not in static.state.members


def test_approval_is_waited_for_before_the_next_wave() -> None:
    asked = plan(waves=(Wave(devices=1, gates=Gates(soak_s=0, approval=True)), Wave(percent=100)))
    fleet = Fleet(asked, NAMES, good)
    assert fleet.run() is Phase.AWAITING_APPROVAL
    assert len(fleet.told()) == 1
    fleet.state = orders.approve(fleet.state)
    assert fleet.run() is Phase.DONE
    with pytest.raises(Refused, match="DONE cannot be approved"):
        orders.approve(fleet.state)


def test_nobody_is_told_while_the_window_is_closed_and_never_faster_than_the_pace() -> None:
    slow = plan(pace={"concurrent": 3, "per_minute": 2}, waves=(Wave(percent=100, gates=Gates(soak_s=0)),))
    fleet = Fleet(slow, NAMES, good)
    assert decision.decide(slow, fleet.state, replace(fleet._world(), open=False)).actions == ()
    assert fleet.run() is Phase.DONE
    for at, _ in fleet.history:
        assert sum(at <= other < at + 60 for other, _ in fleet.history) <= 2


@pytest.mark.parametrize(
    ("compare", "figures", "opinion"),
    [
        (Compare(figure="latency_p95_ms", ratio=1.2), Figures(119, 100, 3, 3), Opinion.PASS),
        (Compare(figure="latency_p95_ms", ratio=1.2), Figures(121, 100, 3, 3), Opinion.FAIL),
        (Compare(figure="frames_per_s", ratio=1.1), Figures(9.0, 10.0, 3, 3), Opinion.FAIL),
        (Compare(figure="frames_per_s", ratio=1.1), Figures(15.0, 10.0, 3, 3), Opinion.PASS),
        (Compare(figure="empty_share", difference=0.1), Figures(0.9, 0.2, 3, 3), Opinion.FAIL),
        (Compare(figure="empty_share", difference=0.1, min_devices=2), Figures(0.9, 0.2, 1, 3), Opinion.WAIT),
        (Compare(figure="empty_share", difference=0.1), Figures(0.9, None, 5, 0), Opinion.PASS),
        (Compare(figure="empty_share", difference=0.1), None, Opinion.WAIT),
    ],
)
def test_devices_with_the_change_are_compared_with_those_without(
    compare: Compare, figures: Figures | None, opinion: Opinion
) -> None:
    assert gates.compare(compare, figures).opinion is opinion


def test_figures_that_do_not_come_pause_and_bad_ones_stop_the_wave() -> None:
    judged = Gates(soak_s=0, compare=(Compare(figure="empty_share", difference=0.1),), compare_wait_s=300)
    blind = Fleet(plan(waves=(Wave(devices=1, gates=judged), Wave(percent=100))), NAMES, good)
    assert blind.run() is Phase.PAUSED
    assert "cannot tell" in blind.state.judged
    worse = Fleet(blind.plan, NAMES, good, figures={"empty_share": Figures(0.95, 0.2, 1, 19)})
    assert worse.run() is Phase.PAUSED
    assert "empty_share is 0.95" in worse.state.judged
    assert len(worse.told()) == len(blind.told()) == 1


def test_windows_are_of_the_plans_time_zone_and_make_sense() -> None:
    nights = plan(windows=({"start": "22:00", "end": "04:00"},), time_zone="Europe/Paris")
    noon, midnight = 1_795_870_800.0, 1_795_906_800.0  # 28 November 2026, 13:00 and 23:00 UTC
    assert (nights.is_open(noon), nights.is_open(midnight)) == (False, True)
    assert plan().is_open(noon)
    for wrong in ({"time_zone": "Mars/Olympus"}, {"windows": ({"cron": "1 2"},)}):
        with pytest.raises(ValidationError):
            plan(**wrong)


@pytest.mark.parametrize(
    "waves",
    [
        (),
        ({"percent": 50},),
        ({"percent": 60}, {"percent": 50}, {"percent": 100}),
        ({"percent": 100, "devices": 1},),
    ],
)
def test_waves_that_make_no_sense_are_refused(waves: object) -> None:
    with pytest.raises(ValidationError):
        plan(waves=waves)


ENDINGS = st.sampled_from(["COMMITTED", "COMMITTED", "COMMITTED", "REJECTED", "ROLLED_BACK", ""])


@given(data=st.data())
def test_whatever_happens_waves_and_gates_hold_and_it_ends(data: st.DataObject) -> None:
    """The limits are checked at each action, by `Fleet.check`."""
    names = NAMES[: data.draw(st.integers(1, 12))]
    endings = {name: data.draw(st.lists(ENDINGS, min_size=3, max_size=3)) for name in names}
    away = {name: data.draw(st.tuples(st.integers(0, 60), st.integers(0, 60))) for name in names}

    def online(device: str, at: float) -> bool:
        begin, length = away[device]
        return not begin <= (at - 1000.0) / TICK_S < begin + length

    sizes = sorted(data.draw(st.lists(st.integers(1, 99), max_size=3, unique=True)))
    limits = st.builds(
        Gates,
        soak_s=st.sampled_from([0.0, 60.0]),
        max_failed=st.none() | st.integers(0, 2),
        max_failed_percent=st.sampled_from([0.0, 20.0, 100.0]),
        min_success_percent=st.sampled_from([0.0, 50.0, 100.0]),
        min_samples=st.integers(1, 5),
    )
    waves = [Wave(percent=size, gates=data.draw(limits)) for size in [*sizes, 100]]
    made = plan(
        waves=tuple(waves),
        on_failure=data.draw(st.sampled_from(list(OnFailure))),
        dynamic=data.draw(st.booleans()),
        pace={"concurrent": data.draw(st.integers(1, 5)), "per_minute": data.draw(st.sampled_from([0, 3]))},
        patience=Patience(
            offline_s=300, device_s=600, attempts=data.draw(st.integers(1, 2)), retry_after_s=60
        ),
        deadline_s=6 * 3600,
    )
    fleet = Fleet(made, list(names), lambda d, attempt: endings[d][min(attempt - 1, 2)], online)
    for _ in range(int(2 * made.deadline_s / TICK_S)):
        fleet.tick()
        event = (
            data.draw(st.sampled_from(["", "", "", "", "", "", "pause", "resume", "back"]))
            if fleet.at < 4000
            else ""
        )
        try:
            fleet.state = {"pause": orders.pause, "resume": orders.resume, "back": orders.roll_back}[event](
                fleet.state
            )
        except (KeyError, Refused):
            continue
        if fleet.state.phase in ENDS:
            break
    assert fleet.state.phase in ENDS
    if fleet.state.phase is Phase.ROLLED_BACK:
        wrong = [
            m
            for m in fleet.state.members.values()
            if m.told and not m.back and m.status is not Status.OVERTAKEN
        ]
        assert not wrong


def test_the_next_wave_waits_for_the_slowest_device_of_this_one() -> None:
    quick = Gates(soak_s=0)
    fleet = Fleet(
        plan(waves=tuple(Wave(percent=share, gates=quick) for share in (25, 50, 100))),
        NAMES,
        good,
        takes_s=400,
    )
    assert fleet.run() is Phase.DONE
    begins = sorted({at for at, _ in fleet.history})
    assert len(begins) == 3
    assert min(later - earlier for earlier, later in itertools.pairwise(begins)) >= 400
