"""Objects in Azure, spoken to by Microsoft's own emulator where it is installed (`azurite-blob`)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import shutil
import subprocess
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from fleet.config import ObjectStore
from fleet.objects import Objects, open_objects
from fleet.ports import free_port
from tests.integration.fleet_stand import eventually

PROGRAM = shutil.which("azurite-blob")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="azurite-blob is not installed")
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's account and key, which everybody knows."""


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Objects]:
    port, folder = free_port(), tmp_path_factory.mktemp("azurite")
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    process = subprocess.Popen(
        [PROGRAM or "", *options, "--skipApiVersionCheck"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    try:
        eventually(lambda: _answers(endpoint))
        _make_container(endpoint)
        config = ObjectStore(url=f"az://{ACCOUNT}/models/outrider", secret_key=KEY, endpoint=endpoint)
        yield open_objects(config, folder, os.environ)
    finally:
        process.terminate()
        process.wait(20)


def _answers(endpoint: str) -> bool:
    try:
        return bool(httpx.get(endpoint, timeout=5).status_code)
    except httpx.HTTPError:
        return False


def _make_container(endpoint: str) -> None:
    """The client of the control plane makes none: the operator does. Signed as "Authorize with Shared Key" of the service's manual says."""
    date = formatdate(usegmt=True)
    version = "2023-11-03"
    lines = ["PUT", *[""] * 11, f"x-ms-date:{date}", f"x-ms-version:{version}"]
    text = "\n".join([*lines, f"/{ACCOUNT}/{ACCOUNT}/models", "restype:container"])
    signature = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": version,
        "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(signature).decode()}",
    }
    httpx.put(f"{endpoint}/models", params={"restype": "container"}, headers=headers).raise_for_status()


def test_objects_are_kept_read_in_parts_addressed_and_removed(objects: Objects, tmp_path: Path) -> None:
    content = os.urandom(12_000_000)  # in several parts
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    (tmp_path / "weights").write_bytes(content)

    async def work() -> None:
        assert not await objects.holds(digest)
        await objects.put_file(digest, tmp_path / "weights")
        assert await objects.holds(digest)
        assert b"".join([part async for part in objects.stream(digest, 0, len(content))]) == content
        assert b"".join([part async for part in objects.stream(digest, 500, 900)]) == content[500:900]
        address = await objects.address(digest)
        assert address is not None
        async with httpx.AsyncClient() as client:
            answer = await client.get(address, headers={"Range": "bytes=10-19"})
            assert (answer.status_code, answer.content) == (206, content[10:20])
            assert (await client.get(address.partition("?")[0])).status_code == 403
        await objects.remove(digest)
        await objects.remove(digest)
        assert not await objects.holds(digest)

    asyncio.run(work())
