"""A device without an identity: which order it follows, under which name, and that it never gives up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent import first_boot, identity
from agent.config import Config
from agent.errors import ConfigRefused, EnrolRefused
from agent.first_boot import Order
from agent.identity import Identity
from agent.notify import Notifier
from tests.unit.agent.clocks import ManualClock
from wire.enrol import Broker
from wire.reasons import Reason

TEXT = 'url = "https://plane"\ntoken = "secret-of-12"\ndevice = "cam-{machine}"\n'


def test_an_image_goes_before_a_credential_and_none_is_no_order(tmp_path: Path) -> None:
    credentials = tmp_path / "c"
    credentials.mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert first_boot.find_order(tmp_path, environment) is None
    (credentials / "enrol-token").write_text("none")
    assert first_boot.find_order(tmp_path, environment) is None
    (credentials / "enrol-token").write_text(TEXT.replace("plane", "credential"))
    order = first_boot.find_order(tmp_path, environment)
    assert order is not None
    assert order.url == "https://credential"
    (tmp_path / "enrol.toml").write_text(TEXT)
    order = first_boot.find_order(tmp_path, environment)
    assert order is not None
    assert (order.url, "secret-of-12" in repr(order)) == ("https://plane", False)


@pytest.mark.parametrize(
    "text", ["token = 5", 'url = "https://x"', "][", 'url = "https://p"\ntoken = "short"']
)
def test_an_order_that_makes_no_sense_names_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "enrol.toml").write_text(text)
    with pytest.raises(ConfigRefused, match=r"enrol\.toml is no order to enrol"):
        first_boot.find_order(tmp_path, {})


def test_devices_of_one_image_get_names_of_their_own() -> None:
    known = {"machine": "0a1b2c3d", "hostname": "Line 4"}
    assert first_boot.named("cam-{machine}", known) == "cam-0a1b2c3d"
    assert first_boot.named("{hostname}", known) == "line-4"
    for template in ("{serial}", "{machine.x}", "{", "{0}"):
        with pytest.raises(ConfigRefused, match="this machine tells hostname, machine"):
            first_boot.named(template, known)


def test_it_waits_over_refusals_and_uses_the_order_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "enrol.toml").write_text(TEXT)
    clock, asked = ManualClock(), []
    monkeypatch.setattr(first_boot, "MACHINE_ID", tmp_path / "machine-id")
    (tmp_path / "machine-id").write_text("5\n")

    async def enrol(order: Order, name: str | None) -> Identity:
        asked.append((order.url, name, clock.mono()))
        if len(asked) < 3:
            raise EnrolRefused(Reason.TOKEN_INVALID, "no such token")
        who = Identity("https://plane", "f", "d", "", Broker(host="h", port=1, username="u", password=""), {})
        identity.save(who, tmp_path)
        return who

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    monkeypatch.setattr(first_boot.asyncio, "sleep", sleep)
    config = Config(state_dir=tmp_path, run_dir=tmp_path)
    who = asyncio.run(first_boot.await_identity(config, clock, {}, Notifier({}), enrol))
    assert who.device == "d"
    assert len({name for _, name, _ in asked}) == 1
    assert asked[0][1] is not None
    assert asked[0][1].startswith("cam-")
    assert asked[2][2] - asked[1][2] > asked[1][2] - asked[0][2] >= 1.0
    assert not (tmp_path / "enrol.toml").exists()
