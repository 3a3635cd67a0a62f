"""The decision over faults keeps its rules against a world that does what it likes; what is dead is one fault with the rest beneath."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fleet.health import decision
from fleet.health.decision import Fault, Key, Seen, Subject, decide, root_of
from fleet.health.faults import BY_CODE, KINDS
from fleet.health.signs import Sign, of_health, of_row
from fleet.health.world import Known, World
from wire.doc import read
from wire.health import Health

SITE = Subject("site", site="lyon")
DEVICES = [Subject("device", device=name) for name in "ab"]
CAMERAS = [Subject("camera", device=device.device, part="door") for device in DEVICES]
KEYS: list[Key] = [
    ("site-offline", SITE),
    *(("device-offline", device) for device in DEVICES),
    *(("camera-unreachable", camera) for camera in CAMERAS),
    *(("picture-black", camera) for camera in CAMERAS),
]


def above(subject: Subject) -> tuple[Subject, ...]:
    if subject.scope == "camera":
        return Subject("device", device=subject.device), SITE
    return (SITE,) if subject.scope == "device" else ()


step = st.tuples(
    st.dictionaries(st.sampled_from(KEYS), st.booleans().map(Seen), max_size=len(KEYS)),
    st.sampled_from([1.0, 5.0, 20.0, 40.0, 200.0]),
)


@given(steps=st.lists(step, max_size=30))
def test_whatever_is_seen_the_rules_hold(steps: list[tuple[dict[Key, Seen], float]]) -> None:
    faults: dict[Key, Fault] = {}
    at, shown_since, away_since = 0.0, {}, {}
    for seen, wait_s in steps:
        at += wait_s
        for key in KEYS:
            on, gone = key in seen and seen[key].on, key not in seen
            if on:
                shown_since.setdefault(key, at)
                away_since.pop(key, None)
            elif gone:
                away_since.setdefault(key, at)
        before, faults = faults, decide(faults, seen, above, at)
        for key in KEYS:
            fault, kind, former = faults.get(key), BY_CODE[key[0]], before.get(key)
            if fault is None:
                shown_since.pop(key, None)
                # What was told never goes without a word.
                assert former is None or former.visible_at is None or former.cleared_at is not None
                continue
            if fault.visible_at is not None and (former is None or former.visible_at is None):
                assert at - shown_since[key] >= kind.visible_s
            if fault.cleared_at is not None:
                assert fault.visible_at is not None
                assert fault.clearing_at is not None
                assert at - fault.clearing_at >= kind.clear_s
                assert key not in seen or not seen[key].on
                shown_since.pop(key, None)
            if key in seen and seen[key].on:
                assert fault.clearing_at is None
                assert fault.visible_at is not None or at - fault.opened_at < kind.visible_s
        for key, fault in faults.items():
            if fault.cleared_at is None and fault.parent is not None:
                parent = faults[fault.parent]
                assert parent.visible_at is not None
                assert parent.cleared_at is None
                assert fault.parent[0] in BY_CODE[key[0]].depends_on
            assert (fault.parent is None) == (fault.root_at is not None) or fault.cleared_at is not None
            assert faults[root_of(key, faults)].parent is None or fault.cleared_at is not None


@given(steps=st.lists(step, max_size=10))
def test_with_nothing_shown_any_more_everything_comes_to_an_end(
    steps: list[tuple[dict[Key, Seen], float]],
) -> None:
    faults: dict[Key, Fault] = {}
    at = 0.0
    for seen, wait_s in steps:
        at += wait_s
        faults = decide(faults, seen, above, at)
    for _ in range(3):
        at += 10_000
        faults = decide(faults, {}, above, at)
    assert faults == {}
    assert not decision.restless(faults)


def test_what_holds_neither_begins_nor_ends_anything() -> None:
    key: Key = ("camera-unreachable", CAMERAS[0])
    assert decide({}, {key: Seen(False)}, above, 0.0) == {}
    faults = decide(decide({}, {key: Seen()}, above, 0.0), {key: Seen()}, above, 100.0)
    assert faults[key].visible_at == 100.0
    for at in (200.0, 5000.0):
        faults = decide(faults, {key: Seen(False)}, above, at)
    assert (faults[key].visible_at, faults[key].clearing_at) == (100.0, None)
    clearing = decide(faults, {}, above, 5001.0)
    assert decide(clearing, {key: Seen(False)}, above, 6000.0)[key].cleared_at == 6000.0


def test_a_fault_that_comes_back_while_it_is_going_is_the_same_one() -> None:
    key: Key = ("camera-unreachable", CAMERAS[0])
    faults = decide({}, {key: Seen()}, above, 0.0, {key[0]: replace(BY_CODE[key[0]], visible_s=0)})
    going = decide(faults, {}, above, 5.0)
    back = decide(going, {key: Seen()}, above, 10.0)[key]
    assert (back.opened_at, back.clearing_at, back.returns) == (0.0, None, 1)


def settled(world: World) -> dict[Key, Fault]:
    """The faults once everything has had its time."""
    faults: dict[Key, Fault] = {}
    for at in (0.0, 4000.0, 8000.0):
        faults = decide(faults, world.seen(), world.above, at)
    return faults


def roots(faults: dict[Key, Fault]) -> dict[str, int]:
    """Told faults that stand for themselves → how many stand beneath."""
    found = {f"{code} {subject}": 0 for (code, subject), fault in faults.items() if fault.parent is None}
    for key in faults:
        root = root_of(key, faults)
        if root != key:
            found[f"{root[0]} {root[1]}"] += 1
    return found


def test_a_dead_switch_of_a_site_is_one_fault_with_its_devices_beneath() -> None:
    world = World()
    fleet = {f"d{number}": Known("offline", "lyon") for number in range(10)}
    world.set_devices(fleet | {"d0": Known("online", "lyon"), "other": Known("online", "paris")})
    world.set_signs("d3", "health", [Sign("camera-unreachable", "door")])
    assert roots(settled(world)) == {"site-offline site:lyon": 9}
    world.set_devices(fleet | {name: Known("online", "lyon") for name in ("d0", "d1")})
    assert len(roots(settled(world))) == 8


def test_a_fault_of_before_stands_beneath_the_device_that_went_away() -> None:
    world = World()
    world.set_devices({"a": Known("online")})
    world.set_signs("a", "health", [Sign("camera-unreachable", "door")])
    faults = decide(decide({}, world.seen(), world.above, 0.0), world.seen(), world.above, 100.0)
    world.set_devices({"a": Known("offline")})
    for at in (200.0, 300.0):
        faults = decide(faults, world.seen(), world.above, at)
    assert roots(faults) == {"device-offline device:a": 1}
    world = World()
    world.set_devices({"a": Known("offline")})
    world.set_signs("a", "health", [Sign("picture-black", "door")])
    assert roots(settled(world)) == {"device-offline device:a": 0}


def test_dead_cameras_behind_one_switch_or_one_recorder_are_one_fault() -> None:
    world = World()
    world.set_devices({"a": Known("online")})
    places = {f"c{n}": (f"10.0.0.{n}", "10.0.0.0/24") for n in range(3)}
    places |= {f"r{n}": ("10.0.1.9", "10.0.1.0/24") for n in range(2)}
    world.set_places("a", places)
    dead = [Sign("camera-unreachable", name) for name in ("c0", "c1", "r0", "r1")]
    world.set_signs("a", "health", [*dead, Sign("camera-unreachable", "c2")])
    assert world.several_lost() == {"a"}
    assert roots(settled(world)) == {
        "network-lost network:a/10.0.0.0/24": 3,
        "recorder-lost host:a/10.0.1.9": 2,
    }
    world.set_signs("a", "health", [*dead, Sign("camera-unreachable", "c2", on=False)])
    assert roots(settled(world)) == {
        "network-lost network:a/10.0.0.0/24": 2,
        "recorder-lost host:a/10.0.1.9": 2,
    }
    world.set_signs("a", "health", dead)
    assert sorted(roots(settled(world))) == [
        "camera-unreachable camera:a/c0", "camera-unreachable camera:a/c1", "recorder-lost host:a/10.0.1.9",
    ]  # fmt: skip


def test_a_camera_without_results_stands_beneath_the_model_that_does_not_run() -> None:
    world = World()
    world.set_devices({"a": Known("online")})
    signs = [Sign("camera-blind", "door", message="engine-down"), Sign("model-failed", "people")]
    world.set_signs("a", "health", signs)
    assert roots(settled(world)) == {"model-failed model:a/people": 1}


def test_no_kind_explains_itself_over_others() -> None:
    def explained(code: str, way: tuple[str, ...] = ()) -> None:
        assert code not in way, f"{way} is a circle"
        for other in BY_CODE[code].depends_on:
            explained(other, (*way, code))

    for kind in KINDS:
        explained(kind.code)
        assert kind.text.endswith(".")
        assert kind.remedy.endswith(".")


DOCUMENT = {
    "revision": 1,
    "agent_uptime_s": 1.0,
    "host": {
        "uptime_s": 1.0, "cpu_percent": 1.0, "cpu_count": 1, "load_1m": 1.0, "memory_total_bytes": 100,
        "memory_available_bytes": 50, "disk_total_bytes": 1000, "disk_free_bytes": 500, "temperature_celsius": 50.0,
    },
}  # fmt: skip


def shown(**change: object) -> list[str]:
    document = {**DOCUMENT, **change}
    return [f"{s.code} {s.part} {s.on}" for s in of_health(read(Health, document))]


def test_a_health_document_shows_its_faults_and_holds_between_the_thresholds() -> None:
    assert shown() == []
    host = dict(DOCUMENT["host"])  # type: ignore[call-overload]
    assert shown(host={**host, "disk_free_bytes": 40}) == ["disk-low  True"]
    assert shown(host={**host, "disk_free_bytes": 60}) == ["disk-low  False"]
    assert shown(host={**host, "temperature_celsius": 86.0}) == ["device-hot  False"]
    blind = {"state": "x", "pipeline": "p", "blind_now": {"cause": "camera-silent", "for_s": 3.0}}
    assert shown(cameras={"door": blind}) == ["camera-unreachable door True"]
    off = {"state": "x", "pipeline": "p", "blind_now": {"cause": "camera-off", "for_s": 3.0}}
    assert shown(cameras={"door": off}) == ["camera-unreachable door False", "picture-black door False"]
    covered = {"state": "x", "pipeline": "p", "faults": [{"reason": "picture-covered"}]}
    assert shown(cameras={"door": covered}) == ["picture-covered door True"]
    hostile = {
        "state": "x",
        "pipeline": "p",
        "faults": [{"reason": "picture-black", "message": "\ud800\0" + "m" * 999}],
    }
    (sign,) = of_health(read(Health, {**DOCUMENT, "cameras": {"\ud800\0" + "n" * 999: hostile}}))
    assert (len(sign.part), len(sign.message)) == (100, 300)
    assert f"{sign.part}{sign.message}".encode().isascii()
    assert "\0" not in f"{sign.part}{sign.message}"
    assert of_row(Sign("a", "b", False, "m").row()) == Sign("a", "b", False, "m")
