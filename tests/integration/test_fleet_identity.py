"""Identity by certificate: enrolment, renewal, revocation, replacement, on a real mosquitto with mTLS and a real HTTPS server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from agent import identity
from agent.clock import SystemClock
from agent.enrol import enrol
from agent.errors import ConfigRefused, EnrolRefused
from agent.keys import FileKeys
from agent.renewal import Renewal
from agent.tls import SignedTokens, Trust
from fleet import authority
from tests.integration.enrolled import CLOCK, Enrolled
from tests.integration.fleet_stand import Stand, eventually, package
from tests.unit.agent.clocks import ManualClock
from wire import proof

pytestmark = pytest.mark.skipif(
    not (shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists()),
    reason="mosquitto is not installed",
)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("identity") / "data", secure=True)
    yield running
    assert running.stop() == 0


def test_enrolment_gives_a_certificate_and_no_secret_leaves_either_side(stand: Stand, tmp_path: Path) -> None:
    device = Enrolled(stand, tmp_path / "a", "door-1")
    assert (device.who.api_token, device.who.broker.password, device.who.broker.tls) == ("", "", True)
    assert device.who.authority == stand.data.root_certificate.read_text()
    assert {path.stat().st_mode & 0o777 for path in device.directory.iterdir()} == {0o600}
    with device.mqtt() as mqtt:
        assert mqtt.subscribe(mqtt.topics.desired) < 128
        assert mqtt.publish(mqtt.topics.conn, {"state": "online"}, retain=True) < 128
        with stand.client() as client:
            eventually(lambda: client.device("door-1")["presence"] == "online")


def test_token_of_another_authority_is_not_given_to_the_server(stand: Stand, tmp_path: Path) -> None:
    with stand.client() as client:
        token = client.create_enrolment_token(device="careful")["token"]
    secret = token.partition(".")[0]
    with pytest.raises(EnrolRefused) as refused:
        asyncio.run(enrol(stand.url, f"{secret}.{'A' * 43}", tmp_path, CLOCK))
    assert refused.value.reason.value == "authority-mismatch"
    with pytest.raises(EnrolRefused, match="without TLS"):
        asyncio.run(enrol("http://control.example", token, tmp_path, CLOCK))
    assert identity.load(tmp_path) is None
    assert asyncio.run(enrol(stand.url, token, tmp_path, CLOCK)).device == "careful"


def test_certificate_or_signed_token_says_who_asks_and_both_must_agree(stand: Stand, tmp_path: Path) -> None:
    device, other = Enrolled(stand, tmp_path / "a", "asks-a"), Enrolled(stand, tmp_path / "b", "asks-b")
    path = "/api/v1/device/desired"
    with device.client(tokens=False) as client:
        assert client.get(path).status_code == 204
        late = proof.make("asks-a", device.keys._signing(), time.time() - 4000)
        stale = client.get(path, headers={"Authorization": f"Bearer {late}"})
        assert (stale.status_code, stale.json()["reason"]) == (401, "expired")
    with device.client(certificate=False) as client:
        assert client.get(path).status_code == 204
    with device.client(certificate=False, tokens=False) as client:
        assert client.get(path).status_code == 401
        forged = proof.make("asks-b", device.keys._signing(), time.time())
        answer = client.get(path, headers={"Authorization": f"Bearer {forged}"})
        assert (answer.status_code, answer.json()["reason"]) == (401, "signature-invalid")
    with device.client(tokens=False) as client:
        stolen = proof.make("asks-b", other.keys._signing(), time.time())
        answer = client.get(path, headers={"Authorization": f"Bearer {stolen}"})
        assert (answer.status_code, answer.json()["reason"]) == (401, "wrong-device")


def test_device_with_a_wrong_clock_connects_and_learns_the_time(stand: Stand, tmp_path: Path) -> None:
    device = Enrolled(stand, tmp_path / "a", "clockless")
    clock = ManualClock(wall=60.0)
    clock.is_synced = False
    trust = Trust(device.who.authority, device.keys, clock)
    auth = SignedTokens("clockless", device.keys, clock)
    with httpx.Client(base_url=device.who.url, verify=trust.context, auth=auth, timeout=30) as client:
        assert client.get("/api/v1/device/desired").status_code == 204


def test_times_of_certificates_are_judged_once_the_clock_is_right_and_all_else_always(tmp_path: Path) -> None:
    expired = authority_at(tmp_path / "a", time.time() - 200 * 86400)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "server.pem").write_bytes(expired.own("server", ["control.example"]))
    server.load_cert_chain(tmp_path / "server.pem")
    clock = ManualClock()
    clock.is_synced = False
    trust = Trust(expired.root_pem, FileKeys(tmp_path), clock)
    handshake(trust.context, server, "control.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(trust.context, server, "another.example")
    stranger = Trust(authority_at(tmp_path / "b", time.time()).root_pem, FileKeys(tmp_path), clock)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        handshake(stranger.context, server, "control.example")
    clock.is_synced = True
    trust.refresh()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(trust.context, server, "control.example")


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> None:
    """A TLS handshake in memory."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()


@dataclass
class At(SystemClock):
    at_wall: float

    def wall(self) -> float:
        return self.at_wall


def authority_at(folder: Path, at_wall: float) -> authority.Authority:
    authority.create(folder / "authority", folder / "offline" / "root-key.pem", "lab", At(at_wall))
    return authority.load(folder / "authority", At(at_wall))


def test_renewed_certificate_and_the_one_before_are_both_good(stand: Stand, tmp_path: Path) -> None:
    device = Enrolled(stand, tmp_path / "a", "renewed")
    before = tmp_path / "before.pem"
    before.write_bytes((device.directory / "device-tls.pem").read_bytes())
    soon, due = (ManualClock(wall=time.time() + days * 86400) for days in (50, 61))

    async def renew() -> bool:
        async with httpx.AsyncClient(verify=device.trust.context) as client:
            made = [
                Renewal(client, device.who.url, device.keys, clock, device.trust.refresh)
                for clock in (soon, due)
            ]
            assert [renewal._due() for renewal in made] == [False, True]
            return await made[1].renew()

    assert asyncio.run(renew())
    assert (device.directory / "device-tls.pem").read_bytes() != before.read_bytes()
    assert not (device.directory / "device-tls-next.pem").exists()
    assert device.mqtt().try_connect() == ""
    former = ssl.create_default_context(cadata=device.who.authority)
    former.load_cert_chain(before)
    with httpx.Client(base_url=device.who.url, verify=former) as client:
        assert client.get("/api/v1/device/desired").status_code == 204
    device.keys.request()
    chain = before.read_text()[before.read_text().index("-----BEGIN CERT") :]
    with pytest.raises(ConfigRefused, match="another key"):
        device.keys.install(chain)


def test_revoked_device_is_cut_off_at_once_and_everywhere(stand: Stand, tmp_path: Path) -> None:
    device, other = Enrolled(stand, tmp_path / "a", "lost"), Enrolled(stand, tmp_path / "b", "kept")
    with device.mqtt() as mqtt, other.mqtt() as bystander, stand.client() as client:
        assert mqtt.publish(mqtt.topics.reported, {"revision": 1}, retain=True) < 128
        client.revoke_device("lost")
        eventually(lambda: mqtt.publish(mqtt.topics.conn, {"state": "online"}, retain=True) >= 128)
        assert mqtt.publish(mqtt.topics.reported, {"revision": 666}, retain=True) >= 128
        assert bystander.publish(bystander.topics.reported, {"revision": 1}, retain=True) < 128
    eventually(lambda: "revoked" in (why := device.mqtt().try_connect()).lower() or why)
    assert device.mqtt().try_connect() != ""
    assert other.mqtt().try_connect() == ""
    for credentials in ({"tokens": False}, {"certificate": False}):
        with device.client(**credentials) as http:
            answer = http.get("/api/v1/device/desired")
            assert (answer.status_code, answer.json()["reason"]) == (401, "certificate-revoked")
    with stand.client() as client:
        assert client.device("lost")["revoked_at"]
        assert client.device("lost")["revision"] == 1


def test_replaced_device_ends_the_identity_before_it(stand: Stand, tmp_path: Path) -> None:
    old = Enrolled(stand, tmp_path / "old", "board")
    new = Enrolled(stand, tmp_path / "new", "board", replace=True)
    assert eventually(lambda: old.mqtt().try_connect()) != ""
    assert new.mqtt().try_connect() == ""
    for credentials in ({"tokens": False}, {"certificate": False}):
        with old.client(**credentials) as http:
            answer = http.get("/api/v1/device/desired")
            assert (answer.status_code, answer.json()["reason"]) in (
                (401, "certificate-revoked"),
                (401, "signature-invalid"),
            )
        with new.client(**credentials) as http:
            assert http.get("/api/v1/device/desired").status_code == 204


def test_certificates_are_refused_at_the_broker_where_they_are_of_another_authority(
    stand: Stand, tmp_path: Path
) -> None:
    foreign = authority_at(tmp_path, time.time())
    device = Enrolled(stand, tmp_path / "a", "imitated")
    (tmp_path / "foreign.pem").write_bytes(foreign.own("imitated", ()))
    device.trust.context.load_cert_chain(tmp_path / "foreign.pem")
    assert device.mqtt().try_connect() != ""
    nobody = device.mqtt()
    nobody.mqtt = nobody._make()
    nobody.mqtt.tls_set_context(ssl.create_default_context(cadata=device.who.authority))
    assert nobody.try_connect() != ""


def test_stolen_token_works_once(stand: Stand, tmp_path: Path) -> None:
    device = Enrolled(stand, tmp_path / "a", "first")
    (tmp_path / "thief").mkdir()
    with pytest.raises(EnrolRefused) as refused:
        asyncio.run(enrol(stand.url, device.token, tmp_path / "thief", CLOCK))
    assert refused.value.reason.value == "token-invalid"
    assert identity.load(tmp_path / "thief") is None
    assert device.mqtt().try_connect() == ""


def test_device_reaches_neither_topics_nor_objects_of_another(stand: Stand, tmp_path: Path) -> None:
    thief, victim = Enrolled(stand, tmp_path / "a", "thief"), Enrolled(stand, tmp_path / "b", "victim")
    headers = {"Authorization": f"Bearer {stand.admin_token}"}
    with httpx.Client(base_url=stand.url, verify=victim.trust.context, headers=headers, timeout=60) as client:
        model = client.post("/api/v1/models", content=package("private", weights=b"private")).json()
    with stand.client() as client:
        client.set_desired("victim", {"models": {"m": "private"}})
    path = f"/api/v1/device/objects/{model['digest']}"
    with victim.client() as http, thief.client() as stranger:
        assert http.get(path).status_code == 200
        answer = stranger.get(path)
        assert (answer.status_code, answer.json()["reason"]) == (403, "not-allowed")
    with thief.mqtt() as mqtt, victim.mqtt() as owner:
        for topic in (owner.topics.desired, owner.topics.commands, "outrider/#", "#"):
            mqtt.subscribe(topic)
        for topic in (owner.topics.reported, owner.topics.desired, owner.topics.command("ping")):
            assert mqtt.publish(topic, {"revision": 666}, retain=True) >= 128
        assert owner.publish(owner.topics.conn, {"state": "online"}, retain=True) < 128
        with stand.client() as client:
            client.set_desired("victim", {})
            client.set_desired("thief", {})
        # Its own state was published last, so whatever it may hear of the other one's has come by then.
        seen = {mqtt.next_message()[0]}
        while not mqtt.received.empty():
            seen.add(mqtt.next_message()[0])
        assert seen == {mqtt.topics.desired}
