"""A real server of the S3 protocol (moto's) as a child process, with buckets in its memory."""

from __future__ import annotations

import subprocess
import sys
import time

import httpx
import obstore
from obstore.store import S3Store

from fleet.ports import free_port

ACCESS_KEY, SECRET_KEY = "AKIDTEST", "s3cret-of-a-test"


class BucketServer:
    """`start` it, `make` buckets, look at their `keys`, `stop` it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "moto.server",
            "-H",
            "127.0.0.1",
            "-p",
            str(self.port),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline_mono = time.monotonic() + 60
        while True:
            try:
                httpx.get(self.url, timeout=5)
                return
            except httpx.HTTPError:
                assert time.monotonic() < deadline_mono, "the bucket server does not start"
                assert self._process.poll() is None, "the bucket server has ended"
                time.sleep(0.1)

    def make(self, bucket: str) -> None:
        httpx.put(f"{self.url}/{bucket}", timeout=30).raise_for_status()

    def put(self, bucket: str, key: str, content: bytes) -> None:
        obstore.put(self._store(bucket), key, content)

    def get(self, bucket: str, key: str) -> tuple[bytes, str]:
        """An object's content and media type."""
        found = obstore.get(self._store(bucket), key)
        return bytes(found.bytes()), str(found.attributes.get("Content-Type", ""))

    def _store(self, bucket: str) -> S3Store:
        keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "region": "us-east-1"}
        return S3Store(bucket, config={**keys, "endpoint": self.url}, client_options={"allow_http": True})

    def keys(self, bucket: str) -> list[str]:
        """The keys of a bucket's objects, at most 1,000."""
        listed = httpx.get(f"{self.url}/{bucket}", params={"list-type": "2"}, timeout=30).text
        return [part.partition("</Key>")[0] for part in listed.split("<Key>")[1:]]

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None
