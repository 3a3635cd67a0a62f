"""The API as people and programs use it: rights, sessions, pages, tags, repeated requests, the audit log."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fleet.client import ApiError
from fleet.signing import AUDIT_HEAD_TYPE, load_signer
from outrider.cli import main
from tests.integration.fleet_stand import Stand
from wire import dsse

pytestmark = pytest.mark.usefixtures("mosquitto")

PASSWORD = "seven wooden horses"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("api") / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture
def here(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands use the stand as its admin."""
    monkeypatch.setenv("OUTRIDER_FLEET_URL", stand.url)
    monkeypatch.setenv("OUTRIDER_FLEET_TOKEN", stand.admin_token)


def raw(stand: Stand, token: str | None = None) -> httpx.Client:
    """Requests as they are, as the admin or with another token; empty is nobody."""
    token = stand.admin_token if token is None else token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=f"{stand.url}/api/v1", headers=headers, timeout=30)


def enrol(stand: Stand, name: str, **labels: str) -> None:
    with stand.client() as client:
        token = client.create_enrolment_token(device=name, labels=labels)["token"]
    assert httpx.post(f"{stand.url}/api/v1/enroll", json={"token": token}).status_code == 201


def user(stand: Stand, name: str, *bindings: tuple[str, str]) -> None:
    with stand.client() as client:
        wanted = [{"role": role, "selector": selector} for role, selector in bindings]
        client.create_user(name, bindings=wanted, password=PASSWORD)


@contextmanager
def signed_in(stand: Stand, name: str) -> Iterator[httpx.Client]:
    """A browser after sign-in, with the CSRF token as its pages send it."""
    with raw(stand, "") as browser:
        answer = browser.post("/session", json={"name": name, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        browser.headers["X-CSRF-Token"] = answer.json()["csrf"]
        yield browser


def told(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, answer.json()["reason"]


def test_lists_go_page_by_page_and_by_label(stand: Stand) -> None:
    for number in range(5):
        enrol(stand, f"page-{number}", row="page", odd=str(number % 2))
    with raw(stand) as http, stand.client() as client:
        names, cursor = [], None
        while True:
            params = {"limit": 2, "selector": "row=page"} | ({"cursor": cursor} if cursor else {})
            page = http.get("/devices", params=params).json()
            names.append([device["id"] for device in page["items"]])
            if (cursor := page["next"]) is None:
                break
        assert names == [["page-0", "page-1"], ["page-2", "page-3"], ["page-4"]]
        odd = client.devices("row=page, odd in (1)")
        assert [device["id"] for device in odd] == ["page-1", "page-3"]
        assert told(http.get("/devices", params={"selector": "row="})) == (422, "selector-invalid")
        assert told(http.get("/devices", params={"cursor": "nonsense"})) == (422, "invalid-field")


def test_reader_who_has_it_gets_304_and_a_change_of_something_else_is_refused(stand: Stand) -> None:
    enrol(stand, "tagged", site="a")
    with raw(stand) as http:
        first = http.get("/devices/tagged/labels")
        again = http.get("/devices/tagged/labels", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        body = {"labels": {"site": "b"}}
        tag = {"If-Match": first.headers["etag"]}
        changed = http.put("/devices/tagged/labels", json=body, headers=tag)
        assert (changed.status_code, changed.json()) == (200, body)
        late = http.put("/devices/tagged/labels", json={"labels": {}}, headers=tag)
        assert told(late) == (412, "changed-meanwhile")
        assert http.get("/devices/tagged/labels").json() == body
        fresh = http.get("/devices/tagged/labels", headers={"If-None-Match": first.headers["etag"]})
        assert fresh.status_code == 200
        every = http.get("/devices/tagged")
        unchanged = http.get("/devices/tagged", headers={"If-None-Match": f'"x", W/{every.headers["etag"]}'})
        assert unchanged.status_code == 304


def test_repeated_request_is_done_once(stand: Stand) -> None:
    with raw(stand) as http, stand.client() as client:
        key = {"Idempotency-Key": "token-of-line-7"}
        body = {"name": "line-7", "role": "viewer"}
        first = http.post("/tokens", json=body, headers=key)
        again = http.post("/tokens", json=body, headers=key)
        assert first.json() == again.json()
        assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
        assert len([row for row in client.api_tokens() if row["name"] == "line-7"]) == 1
        other = http.post("/tokens", json={**body, "role": "operator"}, headers=key)
        assert told(other) == (422, "key-reused")
        secret = first.json()["token"].encode()
    files = [path.read_bytes() for path in stand.data.root.glob("fleet.db*")]
    assert not any(secret in content for content in files), "the kept answer is sealed"


def test_same_request_twice_at_once_is_done_once(stand: Stand) -> None:
    answers: list[httpx.Response] = []

    def ask() -> None:
        with raw(stand) as http:
            body = {"name": "at-once", "role": "viewer"}
            answers.append(http.post("/tokens", json=body, headers={"Idempotency-Key": "at-once"}))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {answer.status_code for answer in answers} <= {201, 409}
    with stand.client() as client:
        assert len([row for row in client.api_tokens() if row["name"] == "at-once"]) == 1


def test_keys_are_rotated_once_under_a_key_and_a_bundle_is_not_sent_twice(stand: Stand) -> None:
    enrol(stand, "far-away")
    with raw(stand) as http, stand.client() as client:
        client.set_desired("far-away", {})
        key = {"Idempotency-Key": "rotate-once"}
        body = {"role": "snapshot"}
        assert http.post("/trust/rotate", json=body, headers=key).json() == {"waiting": []}
        rotated = http.get("/trust")
        assert http.post("/trust/rotate", json=body, headers=key).headers["idempotency-replayed"] == "true"
        tag = {"If-None-Match": rotated.headers["etag"]}
        assert http.get("/trust", headers=tag).status_code == 304, "nothing was rotated again"
        bundle = http.get("/bundle", params={"device": "far-away"})
        tag = {"If-None-Match": bundle.headers["etag"]}
        assert http.get("/bundle", params={"device": "far-away"}, headers=tag).status_code == 304
        client.set_desired("far-away", {"settings": {"health_s": 20}})
        assert http.get("/bundle", params={"device": "far-away"}, headers=tag).status_code == 200


def test_refused_request_may_be_tried_again_under_its_key(stand: Stand) -> None:
    with raw(stand) as http:
        key = {"Idempotency-Key": "second-try"}
        body = {"labels": {"a": "1"}}
        assert told(http.put("/devices/not-there-yet/labels", json=body, headers=key)) == (404, "not-found")
        enrol(stand, "not-there-yet")
        assert http.put("/devices/not-there-yet/labels", json=body, headers=key).status_code == 200


def test_rights_end_at_the_devices_of_the_selector(stand: Stand) -> None:
    enrol(stand, "mine", site="m")
    enrol(stand, "theirs", site="t")
    user(stand, "mina", ("operator", "site=m"), ("viewer", "site=shared"))
    with signed_in(stand, "mina") as mina:
        assert [device["id"] for device in mina.get("/devices").json()["items"]] == ["mine"]
        assert mina.put("/devices/mine/desired", json={}).status_code == 200
        assert told(mina.get("/devices/theirs")) == (404, "not-found")
        assert told(mina.put("/devices/theirs/desired", json={})) == (404, "not-found")
        assert told(mina.get("/users")) == (403, "not-allowed")
        assert told(mina.post("/workflows", content=b"{}")) == (403, "not-allowed")
        leave = {"labels": {"site": "t"}}
        assert told(mina.put("/devices/mine/labels", json=leave)) == (403, "not-allowed")
        enrolling = mina.post("/enrolment-tokens", json={"labels": {"site": "t"}})
        assert told(enrolling) == (403, "not-allowed")
        own = mina.post("/enrolment-tokens", json={"labels": {"site": "m"}, "uses": 2})
        assert own.status_code == 201
        seen = mina.get("/enrolment-tokens").json()["items"]
        assert own.json()["id"] in [row["id"] for row in seen]
        assert {row["labels"]["site"] for row in seen} == {"m"}
        replacing = {"device": "theirs", "replace": True, "labels": {"site": "m"}}
        assert told(mina.post("/enrolment-tokens", json=replacing)) == (404, "not-found")


def test_viewer_of_a_device_sees_and_may_not_touch(stand: Stand) -> None:
    enrol(stand, "shop-window", site="w")
    user(stand, "vera", ("viewer", "site=w"))
    with signed_in(stand, "vera") as vera:
        assert vera.get("/devices/shop-window").status_code == 200
        assert told(vera.put("/devices/shop-window/desired", json={})) == (403, "not-allowed")
        assert told(vera.post("/devices/shop-window/revoke")) == (403, "not-allowed")


def test_nobody_passes_on_more_than_it_has_and_tokens_end_with_their_user(stand: Stand) -> None:
    user(stand, "toni", ("operator", "site=t"))
    with signed_in(stand, "toni") as toni:
        for body in (
            {"name": "wide", "role": "operator"},
            {"name": "high", "role": "admin", "selector": "site=t"},
        ):
            assert told(toni.post("/tokens", json=body)) == (403, "not-allowed")
        made = toni.post("/tokens", json={"name": "ci", "role": "viewer", "selector": "site=t"}).json()
        assert [row["name"] for row in toni.get("/tokens").json()["items"]] == ["ci"]
    with raw(stand, made["token"]) as ci, stand.client() as admin:
        assert ci.get("/devices").status_code == 200
        assert next(row for row in admin.api_tokens() if row["id"] == made["id"])["last_used_at"]
        admin.change_user("toni", bindings=[{"role": "viewer", "selector": "site=x"}])
        assert told(ci.get("/devices")) == (403, "not-allowed")
        admin.change_user("toni", bindings=[{"role": "viewer", "selector": "site=t"}])
        assert ci.get("/devices").status_code == 200
        admin.remove_user("toni")
        assert told(ci.get("/devices")) == (401, "not-authenticated")


def test_session_needs_its_csrf_token_for_changes_and_ends_at_sign_out(stand: Stand) -> None:
    user(stand, "sesi", ("admin", ""))
    with signed_in(stand, "sesi") as browser:
        cookie = browser.cookies["outrider_session"]
        assert browser.get("/session").json()["name"] == "sesi"
        csrf = browser.headers.pop("X-CSRF-Token")
        body = {"name": "x", "role": "viewer"}
        assert told(browser.post("/tokens", json=body)) == (401, "csrf-missing")
        browser.headers["X-CSRF-Token"] = csrf
        foreign = browser.post("/tokens", json=body, headers={"Origin": "https://evil.example"})
        assert told(foreign) == (403, "csrf-missing")
        assert browser.post("/tokens", json=body).status_code == 201
        assert browser.delete("/session").status_code == 204
        browser.cookies.set("outrider_session", cookie)
        assert told(browser.get("/session")) == (401, "not-authenticated")
    files = [path.read_bytes() for path in stand.data.root.glob("fleet.db*")]
    assert not any(cookie.encode() in content for content in files)


def test_cookie_is_for_the_browser_alone(stand: Stand) -> None:
    user(stand, "cora", ("viewer", ""))
    with raw(stand, "") as browser:
        answer = browser.post("/session", json={"name": "cora", "password": PASSWORD})
    for part in ("HttpOnly", "SameSite=lax", "Path=/"):
        assert part in answer.headers["set-cookie"]


def test_guessing_is_slowed_down_and_told_nothing(stand: Stand) -> None:
    user(stand, "gus", ("viewer", ""))
    with raw(stand, "") as guesser:
        unknown = guesser.post("/session", json={"name": "nobody-here", "password": "x"})
        known = guesser.post("/session", json={"name": "gus", "password": "x"})
        details = {answer.json()["detail"] for answer in (unknown, known)}
        assert (told(unknown), told(known), len(details)) == (
            (401, "sign-in-refused"),
            (401, "sign-in-refused"),
            1,
        )
        answers = [guesser.post("/session", json={"name": "gus", "password": "x"}) for _ in range(6)]
        assert told(answers[-1]) == (429, "too-many-attempts")
        assert int(answers[-1].headers["retry-after"]) > 0
        right = guesser.post("/session", json={"name": "gus", "password": PASSWORD})
        assert told(right) == (429, "too-many-attempts")


def test_disabled_user_and_changed_password_end_sessions(stand: Stand) -> None:
    user(stand, "dora", ("viewer", ""))
    with signed_in(stand, "dora") as browser, stand.client() as admin:
        new = "eight iron kettles"
        wrong = browser.post("/session/password", json={"old": "nonsense nonsense", "new": new})
        assert told(wrong) == (403, "sign-in-refused")
        weak = browser.post("/session/password", json={"old": PASSWORD, "new": "short"})
        assert told(weak) == (422, "password-weak")
        done = browser.post("/session/password", json={"old": PASSWORD, "new": new})
        assert done.status_code == 204
        assert told(browser.get("/session")) == (401, "not-authenticated")
        again = browser.post("/session", json={"name": "dora", "password": new})
        assert again.status_code == 201
        admin.change_user("dora", disabled=True)
        assert told(browser.get("/session")) == (401, "not-authenticated")
        assert told(browser.post("/session", json={"name": "dora", "password": new})) == (
            401,
            "sign-in-refused",
        )


def test_every_problem_of_a_user_is_told_at_once(stand: Stand) -> None:
    body = {
        "name": "bad name",
        "bindings": [{"role": "king"}, {"role": "viewer", "selektor": "a"}],
        "colour": "red",
    }
    with raw(stand) as http:
        answer = http.post("/users", json=body)
    assert told(answer) == (422, "invalid-field")
    assert {problem["path"] for problem in answer.json()["problems"]} == {
        "body.name",
        "body.bindings.0.role",
        "body.bindings.1.selektor",
        "body.colour",
    }


def test_token_for_two_devices_enrols_two_until_it_is_revoked(stand: Stand) -> None:
    def enrolled(token: str, name: str) -> tuple[int, str]:
        answer = httpx.post(f"{stand.url}/api/v1/enroll", json={"token": token, "device": name})
        return answer.status_code, answer.json().get("reason", "")

    with stand.client() as client:
        two = client.create_enrolment_token(uses=2, labels={"batch": "two"})
        assert [enrolled(two["token"], f"two-{n}") for n in range(3)] == [
            (201, ""),
            (201, ""),
            (422, "token-invalid"),
        ]
        assert len(client.devices("batch=two")) == 2
        revoked = client.create_enrolment_token(uses=5)
        assert enrolled(revoked["token"], "five-1") == (201, "")
        client.revoke_enrolment_token(revoked["id"])
        assert enrolled(revoked["token"], "five-2") == (422, "token-invalid")
        row = next(row for row in client.enrolment_tokens() if row["id"] == revoked["id"])
        assert (row["uses"], row["used"], row["used_by"]) == (5, 1, "five-1")
        assert row["revoked_at"]
        with pytest.raises(ApiError) as refused:
            client.create_enrolment_token(uses=0, replace=True, labels={"a b": "c"})
        assert refused.value.status == 422


def test_audit_log_says_who_and_is_found_whole_until_somebody_writes_in_it(
    stand: Stand, here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol(stand, "audited", site="a")
    with raw(stand) as http:
        done = http.put(
            "/devices/audited/labels", json={"labels": {"site": "b"}}, headers={"X-Request-Id": "req-1"}
        )
        assert done.headers["x-request-id"] == "req-1"
        (row,) = http.get("/audit", params={"subject": "audited", "action": "device.l*"}).json()["items"]
        assert (row["actor"], row["request_id"], row["detail"]["labels"]) == (
            "token:admin",
            "req-1",
            {"site": "b"},
        )
        assert row["before"] != row["after"]
        head = http.get("/audit/head").json()
    keys = load_signer(stand.data.state_key).public_keys
    assert dsse.verify(head["signed"], AUDIT_HEAD_TYPE, keys)["hash"] == head["hash"]
    kept = tmp_path / "head.json"
    assert main(["fleet", "audit", "export-head", str(kept)]) == 0
    assert main(["fleet", "audit", "verify", "--head", str(kept)]) == 0
    assert "none was changed" in capsys.readouterr().out
    forged = {**json.loads(kept.read_text()), "hash": "0" * 64}
    kept.write_text(json.dumps(forged))
    assert main(["fleet", "audit", "verify", "--head", str(kept)]) == 1
    assert "exported head" in capsys.readouterr().err


def test_commands_manage_people_and_tokens(
    stand: Stand, here: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: str) -> Any:
        assert main(["fleet", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    enrol(stand, "labelled", a="1")
    assert run("device", "label", "labelled", "b=2", "a-") == {"b": "2"}
    assert [row["id"] for row in run("device", "list", "--selector", "b=2")] == ["labelled"]
    made = run("user", "create", "cli-user", "--role", "operator:b=2", "--no-password")
    assert made["bindings"] == [{"role": "operator", "selector": "b=2"}]
    assert run("user", "change", "cli-user", "--disable", "--role", "viewer")["disabled"] is True
    token = run("token", "create", "--role", "viewer", "--selector", "b=2", "--name", "cli-token")
    monkeypatch.setenv("OUTRIDER_FLEET_TOKEN", token["token"])
    assert run("whoami")["bindings"] == [{"role": "viewer", "selector": "b=2"}]
    monkeypatch.setenv("OUTRIDER_FLEET_TOKEN", stand.admin_token)
    assert main(["fleet", "token", "revoke", token["id"]]) == 0
    assert main(["fleet", "token", "list", "--api"]) == 0
    assert main(["fleet", "user", "list"]) == 0
    assert main(["fleet", "user", "remove", "cli-user"]) == 0
    assert main(["fleet", "audit", "list", "--action", "user.*"]) == 0
    assert "cli-user" in capsys.readouterr().out
    assert main(["fleet", "device", "desired", "history", "labelled"]) == 0


def uploaded_workflow(stand: Stand, name: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    with raw(stand) as http:
        content = json.dumps({"uses": [], "steps": steps})
        answer = http.post("/workflows", params={"name": name}, content=content)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


def test_alias_becomes_a_digest_when_the_desired_state_is_set(stand: Stand) -> None:
    enrol(stand, "aliased")
    one, two = (uploaded_workflow(stand, "moving", [{"name": "a", "n": n}]) for n in (1, 2))
    document = {"cameras": {"c": {"source": "0"}}, "workflows": {"w": "moving@production"}}
    document["pipelines"] = {"c": {"camera": "c", "workflow": "w"}}
    with stand.client() as client:
        with pytest.raises(ApiError, match="production"):
            client.set_desired("aliased", document)
        client.set_alias("workflow", "moving", "production", 1)
        first = client.set_desired("aliased", document)["document"]["workflows"]["w"]
        client.set_alias("workflow", "moving", "production", 2)
        assert client.desired("aliased")["document"]["workflows"]["w"] == first
        second = client.set_desired("aliased", document)["document"]["workflows"]["w"]
        assert (first["digest"], second["digest"]) == (one["digest"], two["digest"])
        assert client.version("workflow", "moving", "production")["aliases"] == ["production"]
        uses = client.users_of("workflow", "moving", "1")
        assert uses == [{"device": "aliased", "wanted": False, "running": False, "kept": True}]
        with raw(stand) as http:
            path = "/registry/workflow/moving/aliases/production"
            stale = http.put(path, json={"version": 1}, headers={"If-Match": '"old"'})
            assert told(stale) == (412, "changed-meanwhile")
            assert told(http.put(path, json={"version": 9})) == (404, "not-found")
            number = http.put("/registry/workflow/moving/aliases/7", json={"version": 1})
            assert told(number) == (422, "invalid-field")


def test_commands_show_compare_and_clean_the_registry(
    stand: Stand, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [{"name": "detect", "type": "m@v1", "confidence": 0.4}, {"name": "old", "type": "x@v1"}]
    uploaded_workflow(stand, "compared", steps)
    uploaded_workflow(stand, "compared", [{**steps[0], "confidence": 0.5}, {"name": "new", "type": "y@v1"}])
    last = uploaded_workflow(stand, "compared", [])
    assert main(["fleet", "workflow", "diff", "compared", "1", "2"]) == 0
    printed = capsys.readouterr().out
    for line in ("- step old", "+ step new", "~ step detect", "confidence: 0.4 → 0.5"):
        assert line in printed
    assert main(["fleet", "workflow", "alias", "compared", "golden", "2"]) == 0
    assert main(["fleet", "workflow", "note", "compared@golden", "--metric", "precision=0.9"]) == 0
    assert main(["fleet", "workflow", "show", "compared"]) == 0
    assert "precision=0.9" in capsys.readouterr().out
    collect = ["fleet", "registry", "collect", "--keep-newest", "1", "--older-than", "0"]
    assert main(collect) == 0
    assert "compared@1" in capsys.readouterr().out
    with stand.client() as client:
        assert len(client.versions("workflow", "compared")) == 3, "a dry run removes nothing"
        assert main([*collect, "--yes", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["done"] is True
        rest = client.versions("workflow", "compared")
        assert [(row["version"], row["aliases"]) for row in rest] == [(3, []), (2, ["golden"])]
        again = uploaded_workflow(stand, "compared", [])
        assert (again["digest"], again["version"]) == (last["digest"], 3)
    assert main(["fleet", "workflow", "unalias", "compared", "golden"]) == 0
    assert main(["fleet", "workflow", "where", "compared"]) == 0
