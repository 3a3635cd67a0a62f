"""Bytes named by their SHA-256. The seam behind which a disk, S3, GCS or Azure may be."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import obstore
from obstore.store import LocalStore

from fleet.files import sync_directory

CHUNK_BYTES = 256 * 1024


class Objects(Protocol):
    """Where artifacts lie. Every call may take as long as a disk or a network."""

    async def put(self, digest: str, content: bytes) -> None:
        """Store bytes; what is there already stays. Durable when it returns."""

    async def put_file(self, digest: str, path: Path) -> None:
        """Store a file, streamed; what is there already stays. Durable when it returns."""

    async def holds(self, digest: str) -> bool:
        """Whether the object is there."""

    def stream(self, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`."""


def key_of(digest: str) -> str:
    """`sha256/ab/abcdef…`: a prefix folder keeps directories small."""
    algorithm, _, digits = digest.partition(":")
    return f"{algorithm}/{digits[:2]}/{digits}"


class LocalObjects:
    """Objects in a directory."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._store: Any = LocalStore(root, mkdir=True)

    async def put(self, digest: str, content: bytes) -> None:
        if not await self.holds(digest):
            await obstore.put_async(self._store, key_of(digest), content)
            await asyncio.to_thread(self._sync, digest)

    async def put_file(self, digest: str, path: Path) -> None:
        if not await self.holds(digest):
            await obstore.put_async(self._store, key_of(digest), path)
            await asyncio.to_thread(self._sync, digest)

    async def holds(self, digest: str) -> bool:
        try:
            await obstore.head_async(self._store, key_of(digest))
        except FileNotFoundError:
            return False
        return True

    async def stream(self, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        if start == end:
            return
        answer = await obstore.get_async(self._store, key_of(digest), options={"range": (start, end)})
        async for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
            yield bytes(chunk)

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
