"""Whatever changes something leaves a row in the audit log with the request that did it: every operation of the API, as its description lists them.

An operation that is added fails here until it is tried, or stands in `ELSEWHERE` with the reason why it is not.
"""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from fleet.alerts.tables import AlertRow
from fleet.db import Database
from fleet.picture_rows import PictureRow
from fleet.rollout.tables import RolloutMember
from fleet.tuf.keys import load_key
from fleet.tuf.offline import Papers
from tests.integration.enrolled import Enrolled
from tests.integration.fleet_stand import Stand, package
from wire import sealed

pytestmark = [pytest.mark.usefixtures("mosquitto"), pytest.mark.timeout(240)]

PASSWORD = "seven wooden horses"
ELSEWHERE = {
    "POST /releases": "taken in by what takes in a model",
    "POST /rollouts/preview": "reads",
    "POST /workflows/check": "reads",
    "PUT /device/samples/{sample}": "a picture under the policy of the desired state",
    "POST /device/messages": "what a device says, as over MQTT; it changes nothing of the fleet",
    "PUT /device/clips/{clip_id}": "a picture under the policy of the desired state; watching it is recorded",
    "PUT /device/diagnostics/{bundle}": "what a person asked for, which is recorded",
}


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("audit") / "data", secure=True)
    yield running
    assert running.stop() == 0


class Changes:
    """Makes changes; `made` is operation → the id of the request."""

    def __init__(self, stand: Stand) -> None:
        self.made: dict[str, str] = {}
        self.trusted = ssl.create_default_context(cafile=stand.told["authority"])
        self.http = httpx.Client(
            base_url=f"{stand.url}/api/v1",
            headers={"Authorization": f"Bearer {stand.admin_token}"},
            verify=self.trusted,
            timeout=60,
        )

    def __call__(
        self,
        operation: str,
        *parts: str,
        http: httpx.Client | None = None,
        also: int = 0,
        **options: Any,
    ) -> Any:
        """`parts` are what stands in the path's braces. `also`: another status that is as good."""
        method, _, path = operation.partition(" ")
        for part in parts:
            path = path.replace(path[path.index("{") : path.index("}") + 1], part, 1)
        answer = (http or self.http).request(method, path, **options)
        assert answer.is_success or answer.status_code == also, f"{operation}: {answer.text}"
        self.made[operation] = answer.headers["x-request-id"]
        is_json = answer.headers.get("content-type", "") == "application/json"
        return answer.json() if is_json else None


def operations(stand: Stand) -> set[str]:
    """Every operation that is no mere reading."""
    trusted = ssl.create_default_context(cafile=stand.told["authority"])
    document = httpx.get(f"{stand.url}/api/v1/openapi.json", verify=trusted).json()
    return {
        f"{method.upper()} {path.removeprefix('/api/v1')}"
        for path, methods in document["paths"].items()
        for method in methods
        if method != "get"
    }


def people(change: Changes) -> None:
    token = change("POST /tokens", json={"name": "row", "role": "viewer"})
    change("DELETE /tokens/{token_id}", token["id"])
    enrolment = change("POST /enrolment-tokens", json={})
    change("DELETE /enrolment-tokens/{token_id}", enrolment["id"])
    change("POST /users", json={"name": "row", "password": PASSWORD, "bindings": [{"role": "viewer"}]})
    change("PATCH /users/{name}", "row", json={"full_name": "R."})
    with httpx.Client(base_url=change.http.base_url, verify=change.trusted) as browser:
        sign_in(change, browser, PASSWORD)
        words = {"old": PASSWORD, "new": "eight wooden horses"}
        change("POST /session/password", http=browser, json=words)
        sign_in(change, browser, "eight wooden horses")
        change("DELETE /session", http=browser)
    change("DELETE /users/{name}", "row")


def sign_in(change: Changes, browser: httpx.Client, password: str) -> None:
    answer = change("POST /session", http=browser, json={"name": "row", "password": password})
    browser.headers["X-CSRF-Token"] = answer["csrf"]


def registry(change: Changes) -> None:
    change("POST /models", content=package("seen"))
    change("POST /workflows", params={"name": "seen"}, content=json.dumps({"uses": []}))
    form = {"data": {"definition": "{}"}, "files": {"media": ("a.png", b"no picture")}}
    change("POST /workflows/try", also=422, **form)
    change("PUT /registry/{kind}/{name}/aliases/{alias}", "workflow", "seen", "a", json={"version": 1})
    notes = ("workflow", "seen", "1")
    change("PUT /registry/{kind}/{name}/versions/{reference}/notes", *notes, json={"description": "d"})
    change("DELETE /registry/{kind}/{name}/aliases/{alias}", "workflow", "seen", "a")
    plan = change.http.post("/registry/collection", json={}).json()["plan"]
    change("POST /registry/collection", json={"plan": plan})


def devices(change: Changes, device: Enrolled) -> None:
    change("PUT /devices/{device}/labels", "changed", json={"labels": {}})
    change("PUT /devices/{device}/desired", "changed", json={})
    key = base64.b64decode(change.http.get("/devices/changed").json()["sealing_key"])
    secret = {"sealed": sealed.seal(key, "changed", "door", "s3cret")}
    change("PUT /devices/{device}/secrets/{name}", "changed", "door", json=secret)
    change("DELETE /devices/{device}/secrets/{name}", "changed", "door")
    asked = {"also": 504, "json": {"timeout_s": 0.2}}
    change("POST /devices/{device}/commands/{name}", "changed", "ping", **asked)
    change("POST /devices/{device}/diagnostics", "changed", **asked)
    wipe = {"confirm": "changed", "timeout_s": 0.2}
    change("POST /devices/{device}/wipe", "changed", also=504, json=wipe)
    with device.client() as own:
        own.base_url = change.http.base_url
        change("POST /device/certificate", http=own, json={"csr": device.keys.request()})
    change("POST /devices/{device}/revoke", "changed")
    change("POST /devices/{device}/retire", "changed")


@contextmanager
def writing(stand: Stand) -> Iterator[Session]:
    """The database, for what comes from devices or of itself."""
    database = Database(stand.data.database_url(stand.config))
    with database.write() as session:
        yield session
    database.close()


def alerts(change: Changes, stand: Stand) -> None:
    change("PUT /alert-rules/{name}", "seen", json={})
    change("DELETE /alert-rules/{name}", "seen")
    change("PUT /alert-targets/{name}", "seen", json={"kind": "webhook", "url": "http://127.0.0.1:9/"})
    change("POST /alert-targets/{name}/test", "seen")
    change("DELETE /alert-targets/{name}", "seen")
    until = {"until_at": time.time() + 60, "reason": "r", "matcher": {"code": "x"}}
    silence = change("POST /alert-silences", json=until)
    change("DELETE /alert-silences/{name}", silence["id"])
    texts = dict.fromkeys(("rule", "code", "subject", "site", "part", "summary", "fault", "silence"), "x")
    with writing(stand) as session:
        session.add(
            AlertRow(
                id="a1",
                key="k",
                severity="warning",
                device="changed",
                since=1,
                fired_at=1,
                notices=0,
                **texts,
            )
        )
    change("POST /alerts/{alert}/acknowledge", "a1", json={})
    change("DELETE /alerts/{alert}/acknowledge", "a1")


def pictures(change: Changes, stand: Stand) -> None:
    about = {"kind": "sample", "media_type": "image/jpeg", "digest": f"sha256:{'0' * 64}", "about": {}}
    sizes = dict.fromkeys(("taken_wall", "width", "height", "size_bytes", "received_at"), 1)
    with writing(stand) as session:
        session.add(PictureRow(device="changed", id="p1", camera="door", **about, **sizes))
    change("DELETE /devices/{device}/pictures/{picture}", "changed", "p1")


def rollouts(change: Changes, stand: Stand) -> None:
    plan = {
        "name": "seen",
        "selector": "site=r",
        "change": {"settings": {"health_s": 20}},
        "waves": [{"percent": 100, "gates": {"soak_s": 3600}}],
    }
    change("POST /rollouts", json=plan)
    change("POST /rollouts/{rollout}/{verb}", "seen", "pause")
    with writing(stand) as session:
        session.execute(update(RolloutMember).values(status="failed"))
    change("POST /rollouts/{rollout}/retry", "seen", json={})
    change("POST /rollouts/{rollout}/{verb}", "seen", "abort")
    change("DELETE /rollouts/{rollout}", "seen")


def trust(change: Changes, stand: Stand, safe: Path) -> None:
    change("POST /trust/rotate", json={"role": "timestamp", "keep": True})
    before = {key["id"] for role in change.http.get("/trust").json()["roles"] for key in role["keys"]}
    change("POST /trust/rotate", json={"role": "state"})
    roles = {role["role"]: role for role in change.http.get("/trust").json()["roles"]}
    old = next(key["id"] for key in roles["state"]["keys"] if key["id"] in before)
    change("POST /trust/revoke", json={"key": old})
    (root,) = (stand.data.root / "offline").glob("tuf-root-*.pem")
    away = Path(shutil.move(root, safe / root.name))
    change("POST /trust/rotate", json={"role": "snapshot"})
    papers = Papers(change.http.get("/trust/pending").json())
    papers.sign([load_key(away)])
    change("POST /trust/signed", json=papers.document())


def test_every_change_leaves_a_row_with_the_request_that_made_it(stand: Stand, tmp_path: Path) -> None:
    change = Changes(stand)
    with change.http, stand.client() as client:
        device = Enrolled(stand, tmp_path / "device", "changed")
        token = client.create_enrolment_token(device="rolled", labels={"site": "r"})["token"].partition(".")[
            0
        ]
        change("POST /enroll", json={"token": token})
        people(change)
        registry(change)
        rollouts(change, stand)
        alerts(change, stand)
        pictures(change, stand)
        devices(change, device)
        trust(change, stand, tmp_path)
        recorded = {row["request_id"] for row in client.audit()}
    assert operations(stand) - set(ELSEWHERE) == set(change.made), (
        "every operation is tried, and every one tried exists"
    )
    assert not {what for what, request in change.made.items() if request not in recorded}
