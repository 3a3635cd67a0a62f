"""Sources that are no streams: a folder of images, snapshots fetched over HTTP, a made picture."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import cv2
import numpy as np

from runtime.camera.source import PlainSource, Properties, file_path
from runtime.errors import SourceRefused, Transient
from runtime.results import Image
from wire.local import CameraSource
from wire.reasons import Reason
from wire.redact import redact

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
SNAPSHOT = "snapshot+"
SYNTHETIC = re.compile(r"^synthetic://(?:(\d{2,4})x(\d{2,4}))?(?:@(\d{1,3}))?$")
MAX_PICTURE_BYTES = 32 * 1024 * 1024
FOLDER_FPS = 1.0


class FolderSource(PlainSource):
    """The images of a folder by name, each a frame; one that cannot be read is skipped as undecodable."""

    def __init__(self, camera: CameraSource) -> None:
        """:raises SourceRefused: there are none"""
        folder = file_path(camera)
        self._paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not self._paths:
            raise SourceRefused(
                Reason.CAMERA_UNREACHABLE,
                f"camera {camera.name!r}: no image in {str(folder)!r}; expected {', '.join(sorted(SUFFIXES))}",
            )
        self._next = -1
        fps = float(camera.options.get("fps", FOLDER_FPS))
        first = self._read(0)
        height, width = first.shape[:2] if first is not None else (0, 0)
        self.properties = Properties(width, height, fps, "software")

    def advance(self) -> bool:
        self._next += 1
        return self._next < len(self._paths)

    def image(self) -> Image | None:
        return self._read(self._next)

    def _read(self, index: int) -> Image | None:
        image: Image | None = cv2.imread(str(self._paths[index]), cv2.IMREAD_COLOR)
        return image


class SnapshotSource(PlainSource):
    """Pictures fetched one by one from an address, `fps` times a second (1 where the camera names no rate)."""

    def __init__(self, camera: CameraSource) -> None:
        """:raises Transient: the first cannot be had"""
        self._name = camera.name
        self._timeout_s = camera.care.deadlines.read_s
        self._period_s = 1.0 / (camera.fps or 1.0)
        url, self._open = _opener(camera.source.strip().removeprefix(SNAPSHOT))
        self._url = url
        self._bytes = self._fetch()
        self._due_mono = time.monotonic()
        self._fresh = True
        first = self.image()
        if first is None:
            raise Transient(
                Reason.CAMERA_NONSENSE, f"camera {self._name!r}: {redact(url)} answers no picture"
            )
        self.properties = Properties(first.shape[1], first.shape[0], 1.0 / self._period_s, "software")

    def advance(self) -> bool:
        if self._fresh:
            self._fresh = False
            return True
        self._due_mono = max(self._due_mono + self._period_s, time.monotonic() - self._period_s)
        time.sleep(max(0.0, min(self._due_mono - time.monotonic(), self._period_s)))
        try:
            self._bytes = self._fetch()
        except Transient:
            return False
        return True

    def image(self) -> Image | None:
        encoded = np.frombuffer(self._bytes, np.uint8)
        image: Image | None = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
        return image

    def _fetch(self) -> bytes:
        try:
            with self._open(self._url, self._timeout_s) as answer:
                content: bytes = answer.read(MAX_PICTURE_BYTES + 1)
        except urllib.error.HTTPError as e:
            reason = Reason.CAMERA_PASSWORD if e.code in (401, 403) else Reason.CAMERA_UNREACHABLE
            raise Transient(reason, f"camera {self._name!r}: {redact(self._url)} answers {e.code}") from None
        except (OSError, ValueError) as e:
            words = redact(str(getattr(e, "reason", e)))
            raise Transient(
                Reason.CAMERA_UNREACHABLE, f"camera {self._name!r}: {redact(self._url)}: {words}"
            ) from None
        if len(content) > MAX_PICTURE_BYTES:
            raise Transient(Reason.TOO_LARGE, f"camera {self._name!r}: more than {MAX_PICTURE_BYTES} bytes")
        return content


def _opener(url: str) -> tuple[str, Callable[[str, float], Any]]:
    """The address without user and password, and what opens it: Basic and Digest, no proxy of the environment."""
    parts: SplitResult = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    bare = urlunsplit(parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host))
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if parts.username:
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, bare, unquote(parts.username), unquote(parts.password or ""))
        handlers += [
            urllib.request.HTTPDigestAuthHandler(passwords),
            urllib.request.HTTPBasicAuthHandler(passwords),
        ]
    opener = urllib.request.build_opener(*handlers)
    return bare, lambda target, timeout_s: opener.open(target, timeout=timeout_s)


class SyntheticSource(PlainSource):
    """A made picture in which something moves, at its own rate: `synthetic://640x360@10`."""

    def __init__(self, camera: CameraSource) -> None:
        """:raises SourceRefused: not of that form"""
        found = SYNTHETIC.match(camera.source.strip())
        if found is None:
            raise SourceRefused(
                Reason.CAMERA_SOURCE_INVALID,
                f"camera {camera.name!r}: {camera.source!r}; expected e.g. synthetic://640x360@10",
            )
        width, height, fps = int(found[1] or 640), int(found[2] or 360), int(found[3] or 10)
        self.properties = Properties(width, height, float(max(1, fps)), "software")
        self._period_s = 1.0 / max(1, fps)
        self._due_mono = time.monotonic()
        self._number = -1
        across = np.linspace(40, 200, width, dtype=np.float32)
        self._ground = np.repeat(np.tile(across, (height, 1))[:, :, None], 3, axis=2).astype(np.uint8)
        self._random = np.random.default_rng(1)

    def advance(self) -> bool:
        self._due_mono = max(self._due_mono + self._period_s, time.monotonic() - 1.0)
        time.sleep(max(0.0, self._due_mono - time.monotonic()))
        self._number += 1
        return True

    def image(self) -> Image | None:
        image: Image = self._ground.copy()
        height, width = image.shape[:2]
        noise = self._random.integers(0, 8, (height, width, 1), np.uint8)
        np.add(image, noise, out=image)
        side = height // 4
        left = self._number * 4 % max(1, width - side)
        cv2.rectangle(image, (left, height // 3), (left + side, height // 3 + side), (40, 60, 220), -1)
        return image

    def position_s(self) -> float | None:
        return self._number * self._period_s
