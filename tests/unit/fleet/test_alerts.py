"""The decision over alerts keeps its rules whatever happens; what is told says what it should and nothing secret."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fleet.alerts import causes, messages
from fleet.alerts.courier import RETRY_MOST_S, retry_s
from fleet.alerts.decision import Alert, Cause, Notice, decide
from fleet.alerts.reach import Reach
from fleet.alerts.rules import BUILT_IN, FigureLimit, Matcher, Rule, Silence
from fleet.alerts.targets import HIDDEN, Secrets, read_target, restored, shown
from fleet.errors import Refused
from fleet.health.watch import ToldFault
from fleet.selector import Selector
from tests.unit.fleet.conftest import StillClock
from wire.names import Name

RULES = {"now": Rule(for_s=0, repeat_s=60), "late": Rule(for_s=30, repeat_s=300, resolve_s=20)}


def cause(key: str, rule: str = "now", since: float = 0.0, muted: bool = False) -> Cause:
    return Cause(key, rule, "critical", "device-offline", f"device:{key}", "lyon", key, "", "", since, muted)


step = st.tuples(
    st.sets(st.sampled_from("abc")),
    st.sets(st.sampled_from("abc")),  # muted
    st.sets(st.sampled_from("abc")),  # silenced
    st.sampled_from([1.0, 10.0, 25.0, 61.0, 400.0]),
)


@given(steps=st.lists(step, max_size=30), rule=st.sampled_from(sorted(RULES)))
def test_whatever_happens_nobody_is_told_too_often_or_without_need(
    steps: list[tuple[set[str], set[str], set[str], float]], rule: str
) -> None:
    alerts: dict[str, Alert] = {}
    since: dict[str, float] = {}
    told: defaultdict[str, list[tuple[float, Notice]]] = defaultdict(list)
    at = 0.0
    for there, muted, silenced, wait_s in steps:
        at += wait_s
        for key in "abc":
            if key in there:
                since.setdefault(key, at)
            else:
                since.pop(key, None)
        given_now = [cause(key, rule, since[key], key in muted) for key in sorted(there)]
        silences = [Silence(key, Matcher(device=key), 0.0, 1e9) for key in silenced]
        before, decided = alerts, decide(alerts, given_now, RULES, silences, at)
        alerts = decided.alerts
        for key, notice in decided.notices:
            assert key not in silenced
            last = told[key][-1] if told[key] else None
            if notice is Notice.RESOLVED:
                assert last is not None
                assert last[1] is not Notice.RESOLVED
                assert key not in there
            else:
                assert key in there
                assert key not in muted
                if last is not None and last[1] is not Notice.RESOLVED:
                    assert at - last[0] >= RULES[rule].repeat_s
            told[key].append((at, notice))
        for key in [key for key, alert in alerts.items() if alert.resolved_at is not None and alert.silence]:
            told[key].clear()  # it was over while nobody was to be told; should it come back, that is news
        for key, alert in alerts.items():
            former = before.get(key)
            if former is None or former.resolved_at is not None:
                assert at - since[key] >= RULES[rule].for_s
            if alert.resolved_at is not None:
                assert key not in there
        assert not [key for key in before if before[key].resolved_at is None and key not in alerts]


def test_what_was_told_is_told_to_be_over_and_what_is_acknowledged_is_not_repeated() -> None:
    fired = decide({}, [cause("a")], RULES, [], 0.0)
    assert fired.notices == (("a", Notice.FIRING),)
    again = decide(fired.alerts, [cause("a")], RULES, [], 100.0)
    assert again.notices == (("a", Notice.REPEAT),)
    from dataclasses import replace

    cared = {"a": replace(again.alerts["a"], acknowledged_at=110.0)}
    assert decide(cared, [cause("a")], RULES, [], 900.0).notices == ()
    over = decide(cared, [], RULES, [], 910.0)
    assert over.notices == (("a", Notice.RESOLVED),)
    assert over.alerts["a"].resolved_at == 910.0
    assert decide(over.alerts, [], RULES, [], 920.0).alerts == {}


def test_a_silence_that_ends_lets_be_told_what_is_still_there() -> None:
    quiet = Silence("s", Matcher(site="ly*"), 0.0, 50.0)
    first = decide({}, [cause("a")], RULES, [quiet], 0.0)
    assert (first.notices, first.alerts["a"].silence) == ((), "s")
    later = decide(first.alerts, [cause("a")], RULES, [quiet], 60.0)
    assert (later.notices, later.alerts["a"].silence) == ((("a", Notice.FIRING),), "")


def fault(name: str, code: str, severity: str, site: str = "lyon", consequence: bool = False) -> ToldFault:
    return ToldFault(name, code, severity, f"device:{name}", site, name, "", "words", 1.0, consequence)


def test_a_fault_has_one_alert_by_the_first_rule_that_fits() -> None:
    rules = {"mine": Rule(place=1, codes=("device-*",), sites=("lyon",)), **BUILT_IN}
    faults = [
        fault("a", "device-offline", "critical"),
        fault("b", "device-offline", "critical", site="paris"),
        fault("c", "disk-low", "warning", consequence=True),
        fault("d", "flash-worn", "info"),
    ]
    found = {each.key: (each.rule, each.muted) for each in causes.of_faults(faults, rules)}
    assert found == {"a": ("mine", False), "b": ("critical", False), "c": ("warning", True)}


def test_figures_past_their_limit_are_found_by_camera_and_by_model() -> None:
    bucket = {
        "camera/door": {"blind_s": 900_000, "fps": [2, 10_000, 4_000, 6_000]},
        "camera/yard": {"blind_s": 1_000},
        "model/people": {"errors": 30_000, "requests": 100_000},
        "device/": {"cpu_percent": [2, 190_000, 90_000, 100_000]},
    }

    def breaches(**limit: Any) -> list[str]:
        rule = Rule(limit=FigureLimit(**limit))
        return [f"{c.subject} {c.summary}" for c in causes.of_figures("r", rule, "a", "lyon", bucket, 0.0)]

    assert breaches(figure="blind_share", above=0.2, window_s=3600) == [
        "camera:a/door blind_share is 0.25 of the time without results over 60 minutes, above 0.2"
    ]
    assert breaches(figure="error_share", above=0.1)[0].startswith("model:a/people error_share is 0.3")
    assert breaches(figure="cpu_percent", above=90.0)[0].startswith("device:a cpu_percent is 95")
    assert breaches(figure="fps", below=5.0) == []
    assert breaches(figure="fps", below=5.1)[0].startswith("camera:a/door fps is 5")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"limit": {"figure": "fsp", "below": 1}}, "fps"),
        ({"limit": {"figure": "fps"}}, "one of above and below"),
        ({"limit": {"figure": "fps", "below": 1, "window_s": 1000}}, "multiple of 900"),
        ({"code": ["x"]}, "Extra inputs"),
        ({"repeat_s": 1}, "60"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(document: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Rule.model_validate(document)


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "webhook", "url": "ftp://x"},
        {"kind": "webhook", "url": "https://x", "headers": {"Content-Length": "1"}},
        {"kind": "webhook", "url": "https://x", "secret": "in the clear"},
        {"kind": "email", "host": "h", "sender": "a@b", "to": ["c@d"], "password": "p"},
        {"kind": "email", "host": "h", "sender": "a@b", "to": ["c@d\nBcc: e@f"]},
        {
            "kind": "email",
            "host": "h",
            "sender": "a@b",
            "to": ["c@d"],
            "password": "secret:p",
            "security": "none",
        },
        {"kind": "mqtt", "topic": "a/#"},
        {"kind": "mqtt", "url": "mqtt://host"},
        {"kind": "pigeon"},
    ],
)
def test_a_target_that_makes_no_sense_or_brings_a_secret_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        read_target(document)


def test_secrets_are_named_and_never_shown(tmp_path: Any) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    secrets = Secrets({"pager": f"file:{tmp_path / 'token'}", "gone": "env:NOT_SET"}, {})
    assert secrets.text("secret:pager") == "s3cret"
    assert secrets.text("plain") == "plain"
    hook = read_target(
        {
            "kind": "webhook",
            "url": "https://u:p@x/y?token=t",
            "headers": {"A": "v", "B": "secret:pager"},
            "secret": "secret:pager",
        }
    )
    document = shown(hook)
    assert document["headers"] == {"A": HIDDEN, "B": "secret:pager"}
    assert "u:p" not in document["url"]
    assert "token=t" not in document["url"]
    slack = read_target({"kind": "slack", "url": "https://hooks.example.org/T0/B0/key"})
    assert shown(slack)["url"] == f"https://hooks.example.org/{HIDDEN}"
    with pytest.raises(Refused, match="no secret is called 'pagr'"):
        secrets.check(read_target({"kind": "slack", "url": "secret:pagr"}))
    with pytest.raises(Refused, match="NOT_SET"):
        secrets.text("secret:gone")


def test_many_alerts_at_once_are_one_message_with_the_worst_first() -> None:
    datas = [messages.data_of(f"n{n}", Alert(cause(f"d{n:02}"), 1.0), Notice.FIRING) for n in range(60)]
    datas[7]["severity"] = "info"
    event = messages.cloud_event("id", "/outrider/lab", messages.DIGEST, 0.0, messages.digest_of(datas))
    assert event["type"] == "outrider.alert.digest"
    assert messages.title(event) == "[lab] CRITICAL: 60 alerts"
    text = messages.text(event)
    assert text.count("\n") == 50
    assert text.endswith("… and 10 more")
    assert "d07" not in text


def test_words_for_people_say_what_where_since_when_and_what_to_do() -> None:
    data = messages.data_of("n", Alert(cause("gate-1"), 1.0), Notice.FIRING)
    event = messages.cloud_event("id", "/outrider/lab", "firing", 0.0, data)
    assert (event["specversion"], event["time"], event["subject"]) == (
        "1.0",
        "1970-01-01T00:00:00.000+00:00",
        "device:gate-1",
    )
    text = messages.text(event)
    for words in (
        "CRITICAL: device-offline of device:gate-1",
        "site: lyon",
        "Check its power",
        "1970-01-01 00:00:00 UTC",
    ):
        assert words in text


def test_attempts_come_at_growing_intervals_up_to_a_bound() -> None:
    waits = [retry_s(attempt) for attempt in range(1, 100)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (5.0, RETRY_MOST_S)


def test_what_was_hidden_when_it_was_shown_stays_only_where_it_goes_to_the_same_address() -> None:
    former = read_target(
        {"kind": "webhook", "url": "https://u:pw@x/hook", "headers": {"Authorization": "open sesame"}}
    )
    seen = shown(former)
    assert "pw" not in seen["url"]
    assert seen["headers"] == {"Authorization": "***"}
    sent_back = read_target({**seen, "min_severity": "critical"})
    assert restored(sent_back, former) == former.model_copy(update={"min_severity": "critical"})
    elsewhere = read_target({**seen, "url": "https://evil.example/"})
    with pytest.raises(Refused) as refused:
        restored(elsewhere, former)
    assert [problem.path for problem in refused.value.problems] == ["body.headers.Authorization"]
    with pytest.raises(Refused) as refused:
        restored(sent_back, None)
    assert [problem.path for problem in refused.value.problems] == ["body.url", "body.headers.Authorization"]
    chat = read_target({"kind": "slack", "url": "https://chat.example/secret"})
    assert restored(read_target(shown(chat)), chat) == chat


def test_every_secret_that_is_not_there_is_told_at_its_place() -> None:
    target = read_target(
        {"kind": "webhook", "url": "secret:nowhere", "headers": {"A": "secret:known", "B": "secret:gone"}}
    )
    with pytest.raises(Refused) as refused:
        Secrets({Name("known"): "env:X"}, {}).check(target)
    assert [problem.path for problem in refused.value.problems] == ["body.url", "body.headers.B"]


def told(device: str) -> ToldFault:
    subject = f"device:{device}" if device else "site:lyon"
    return ToldFault("1", "device-offline", "critical", subject, "lyon", device, "", "", 0.0, False)


def test_a_rule_with_a_selector_has_faults_of_its_devices_alone_and_looks_labels_up_seldom() -> None:
    rules = {"first": Rule(selector="line=1"), "rest": Rule()}
    asked: list[str] = []
    clock = StillClock()

    def matching(selector: Selector) -> set[str]:
        asked.append(str(selector))
        return {"gate-1"}

    reach = Reach(clock, matching)
    for _ in range(3):
        found = causes.of_faults([told("gate-1"), told("gate-2"), told("")], rules, reach.of(rules))
        assert [cause.rule for cause in found] == ["first", "rest", "rest"]
    assert asked == ["line=1"]
    clock.now_wall += 31
    reach.of(rules)
    assert len(asked) == 2
    with pytest.raises(ValidationError, match="line in"):
        Rule(selector="line in")
