"""Bytes named by their SHA-256: on a disk, or in a bucket of S3, GCS or Azure."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import obstore
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from fleet.config import ObjectStore
from fleet.errors import Misconfigured, Transient
from fleet.files import sync_directory
from fleet.references import resolve
from wire.reasons import Reason

CHUNK_BYTES = 256 * 1024
PREFIX = "sha256"


class Objects(Protocol):
    """Where artifacts lie. Every call may take as long as a disk or a network; each raises Transient where it fails."""

    async def put(self, digest: str, content: bytes) -> None:
        """Store bytes; what is there already stays. Durable when it returns."""

    async def put_file(self, digest: str, path: Path) -> None:
        """Store a file, streamed; what is there already stays. Durable when it returns."""

    async def holds(self, digest: str) -> bool:
        """Whether the object is there."""

    async def remove(self, digest: str) -> None:
        """Forget an object; one that is not there is forgotten already."""

    def stream(self, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`."""

    async def address(self, digest: str) -> str | None:
        """A URL that gives the object to anybody who has it, for a while; None where the store has none."""


def key_of(digest: str) -> str:
    """`sha256/ab/abcdef…`: a prefix folder keeps directories small."""
    algorithm, _, digits = digest.partition(":")
    return f"{algorithm}/{digits[:2]}/{digits}"


def open_objects(config: ObjectStore, folder: Path, environment: Mapping[str, str]) -> Objects:
    """The store the configuration names; the directory where it names none.

    :raises Misconfigured: it cannot be used
    """
    if not config.url:
        return LocalObjects(folder)
    return BucketObjects(_bucket(config, environment, config.endpoint), _signing(config, environment), config)


class BucketObjects:
    """Objects in a bucket. `signing` is the bucket as devices reach it; None where they get no addresses."""

    def __init__(self, store: Any, signing: Any | None, config: ObjectStore) -> None:
        self._store = store
        self._signing = signing
        self._name = config.url
        self._lifetime = timedelta(seconds=config.presigned_s)

    async def put(self, digest: str, content: bytes) -> None:
        if not await self.holds(digest):
            await self._asked(obstore.put_async(self._store, key_of(digest), content))

    async def put_file(self, digest: str, path: Path) -> None:
        if not await self.holds(digest):
            await self._asked(obstore.put_async(self._store, key_of(digest), path))

    async def holds(self, digest: str) -> bool:
        try:
            await self._asked(obstore.head_async(self._store, key_of(digest)))
        except FileNotFoundError:
            return False
        return True

    async def remove(self, digest: str) -> None:
        try:
            await self._asked(obstore.delete_async(self._store, key_of(digest)))
        except FileNotFoundError:
            return

    async def stream(self, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        if start == end:
            return
        answer = await self._asked(
            obstore.get_async(self._store, key_of(digest), options={"range": (start, end)})
        )
        async for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
            yield bytes(chunk)

    async def address(self, digest: str) -> str | None:
        if self._signing is None:
            return None
        return str(
            await self._asked(obstore.sign_async(self._signing, "GET", key_of(digest), self._lifetime))
        )

    async def _asked(self, call: Any) -> Any:
        try:
            return await call
        except FileNotFoundError:
            raise
        except obstore.exceptions.BaseError as e:
            raise Transient(
                Reason.STORE_UNAVAILABLE, f"the object store {self._name} does not serve: {str(e)[:300]}"
            ) from e


class LocalObjects(BucketObjects):
    """Objects in a directory."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        super().__init__(LocalStore(root, mkdir=True), None, ObjectStore(url=str(root)))

    async def put(self, digest: str, content: bytes) -> None:
        if not await self.holds(digest):
            await super().put(digest, content)
            await asyncio.to_thread(self._sync, digest)

    async def put_file(self, digest: str, path: Path) -> None:
        if not await self.holds(digest):
            await super().put_file(digest, path)
            await asyncio.to_thread(self._sync, digest)

    def _sync(self, digest: str) -> None:
        """The store renames into place without fsync; a row must never name bytes that a power cut can take."""
        path = self._root / key_of(digest)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        for folder in (path.parent, path.parent.parent, self._root):
            sync_directory(folder)


def _signing(config: ObjectStore, environment: Mapping[str, str]) -> Any | None:
    if not config.presigned:
        return None
    return _bucket(config, environment, config.device_endpoint or config.endpoint)


def _bucket(config: ObjectStore, environment: Mapping[str, str], endpoint: str) -> Any:
    """The store of a URL: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://ACCOUNT/CONTAINER/PREFIX`."""
    parts = urlsplit(config.url)
    if not parts.netloc:
        raise _wrong(f"{config.url!r} names no bucket")
    prefix = parts.path.strip("/") or None
    secret = resolve(config.secret_key, environment, "objects.secret_key")
    client = {"allow_http": endpoint.startswith("http://"), "timeout": "60s", "connect_timeout": "10s"}
    common: dict[str, Any] = {"client_options": client, "retry_config": {"max_retries": 4}}
    try:
        if parts.scheme == "s3":
            return S3Store(parts.netloc, prefix=prefix, config=_s3(config, secret, endpoint), **common)
        if parts.scheme == "gs":
            keys = {"service_account_path": config.credentials} if config.credentials else {}
            return GCSStore(parts.netloc, prefix=prefix, config=keys, **common)
        if parts.scheme == "az":
            container, _, rest = parts.path.strip("/").partition("/")
            keys = {"account_name": parts.netloc}
            keys |= {"account_key": secret} if secret else {}
            keys |= {"endpoint": endpoint} if endpoint else {}
            return AzureStore(container, prefix=rest or None, config=keys, **common)
    except (obstore.exceptions.BaseError, ValueError, TypeError) as e:
        raise _wrong(f"{config.url!r} cannot be opened: {str(e)[:300]}") from e
    raise _wrong(f"{config.url!r} is of no known kind")


def _s3(config: ObjectStore, secret: str, endpoint: str) -> dict[str, Any]:
    """Keys that are not given come from the environment or the machine's role, as with every tool of S3."""
    keys: dict[str, Any] = {"region": config.region or "us-east-1"}
    if endpoint:
        keys |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    if config.access_key:
        keys |= {"access_key_id": config.access_key, "secret_access_key": secret}
    return keys


def _wrong(what: str) -> Misconfigured:
    return Misconfigured(
        Reason.CONFIG_INVALID,
        f"objects.url {what}; expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://ACCOUNT/CONTAINER/PREFIX",
    )
