"""One agent with many cameras of real RTSP servers, and a bystander: the set-up the camera faults share."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fleet.ports import free_port
from tests.fakes.agent_rig import Rig, rig, until
from tests.fakes.updates import AT_ONCE

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_programs.py")
PROBE = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
FPS = 10
CLIP = [
    "-an",
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-g",
    "10",
    "-bf",
    "0",
    "-sc_threshold",
    "0",
    "-pix_fmt",
    "yuv420p",
]
CARE = {
    "deadlines": {"open_s": 3, "read_s": 3, "hang_s": 2},
    "checks": {"every_s": 0.5, "frozen_s": 4, "black_s": 2, "blurred_s": 0, "moved_s": 0},
}
NO_MODEL = {
    "version": "1.0",
    "inputs": [{"type": "WorkflowImage", "name": "image"}],
    "steps": [],
    "outputs": [],
}
WORD = "hidden-word"


def why_not() -> str:
    """What the faults need and is not here; empty where all is."""
    if shutil.which("ffmpeg") is None:
        return "ffmpeg is not installed"
    if not Path(SYSTEM_PYTHON).exists():
        return "no system Python"
    if subprocess.run([SYSTEM_PYTHON, "-c", PROBE], capture_output=True).returncode:
        return "GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0)"
    return ""


def programmes(video: Path, into: Path) -> dict[str, Path]:
    """What the cameras show: people walking by, one still of it, blackness, the same at half the size."""
    sources = {
        "live": ["-ss", "6", "-t", "12", "-i", str(video), "-vf", "scale=320:180"],
        "frozen": ["-loop", "1", "-t", "4", "-i", str(into / "still.png"), "-vf", "scale=320:180"],
        "black": ["-f", "lavfi", "-t", "3", "-i", f"color=black:s=320x180:r={FPS}"],
        "small": ["-ss", "6", "-t", "12", "-i", str(video), "-vf", "scale=160:90"],
    }
    _ffmpeg("-ss", "10", "-i", str(video), "-frames:v", "1", str(into / "still.png"))
    for name, source in sources.items():
        _ffmpeg(*source, *CLIP, "-r", str(FPS), str(into / f"{name}.mp4"))
    return {name: into / f"{name}.mp4" for name in sources}


def _ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True)


class Server:
    """A real RTSP server as a child; `namespace` is the network namespace it runs in."""

    def __init__(
        self, files: dict[str, Path], host: str = "127.0.0.1", namespace: str = "", word: str = WORD
    ) -> None:
        self.port = free_port()
        self._host = host
        self._inside = ["ip", "netns", "exec", namespace] if namespace else []
        self._files = [f"{name}={path}" for name, path in files.items()]
        self.word = word
        self._child: subprocess.Popen[str] | None = None

    def url(self, mount: str = "a", word: str = "") -> str:
        return f"rtsp://viewer:{word or self.word}@{self._host}:{self.port}/{mount}"

    def start(self) -> None:
        command = [*self._inside, SYSTEM_PYTHON, str(SERVER), self._host, str(self.port), str(FPS)]
        command += [f"viewer:{self.word}", *self._files]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert "rtsp://" in self._line()

    def tell(self, words: str) -> None:
        """`MOUNT PROGRAMME`."""
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(words + "\n")
        self._child.stdin.flush()
        assert self._line().strip() == "done"

    def signal(self, number: int) -> None:
        assert self._child is not None
        self._child.send_signal(number)

    def kill(self) -> None:
        if self._child is not None:
            self._child.send_signal(signal.SIGCONT)
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _line(self) -> str:
        assert self._child is not None
        assert self._child.stdout is not None
        return self._child.stdout.readline()


class BadPort:
    """Accepts connections to a port and answers as told: `answer` bytes again and again, or nothing for ever."""

    def __init__(self, port: int, answer: bytes = b"") -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._answer = answer
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name="bad port", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            if self._answer:
                with contextlib.suppress(OSError):
                    connection.sendall(self._answer)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for connection in self._open:
            connection.close()


class Outage:
    """What a fault came to, as the agent tells it."""

    def __init__(self, detected_s: float, cause: str) -> None:
        self.detected_s = detected_s
        self.cause = cause
        self.recovered_s = 0.0
        self.blind_s = 0.0


class Yard:
    """The agent and its cameras; `define` pushes the next revision."""

    def __init__(self, made: Rig, model: str, labels: dict[str, str], video: Path) -> None:
        self.rig = made
        self._model = model
        self._workflows = labels
        self._video = video
        self._revision = 0
        self.cameras: dict[str, dict[str, Any]] = {}

    def define(self, **cameras: dict[str, Any] | None) -> None:
        """Add or change cameras, take out those that are None, and wait until the agent has done so."""
        self.cameras = {name: c for name, c in (self.cameras | cameras).items() if c is not None}
        self._revision += 1
        bystander = {"source": str(self._video), "loop": True, "pace": "realtime"}
        watched = {"camera": "bystander", "workflow": "count", "models": {"people/1": "m"}}
        self.rig.push(
            self._revision,
            cameras={"bystander": bystander, **{n: {**CARE, **c} for n, c in self.cameras.items()}},
            models={"m": {"digest": self._model, "engine": {"threads": 1}}},
            workflows={name: {"digest": digest} for name, digest in self._workflows.items()},
            pipelines={"bystander": watched, **{n: {"camera": n, "workflow": "plain"} for n in self.cameras}},
            settings={"health_s": 1.0, "update": AT_ONCE},
        )
        self.rig.observer.reported("COMMITTED", self._revision, 60.0)

    def health(self, name: str) -> dict[str, Any]:
        return dict(self.rig.status()["health"]["cameras"][name])

    def reported(self, name: str) -> dict[str, Any]:
        return dict(self.rig.status()["reported"]["cameras"][name])

    def watched(self, name: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait until the camera is truly watched."""

        def found() -> dict[str, Any] | None:
            health = self.health(name)
            good = health["state"] == "streaming" and not health["blind_now"] and health["results"] > 0
            return health if good else None

        return dict(until(found, timeout_s))

    def outage(
        self, name: str, break_: Callable[[], object], mend: Callable[[], object], hold_s: float = 1.0
    ) -> Outage:
        """Break a watched camera, wait until that is told, mend it, wait until it is watched again."""
        before = self.watched(name)["blind_s"]
        broken_mono = time.monotonic()
        break_()
        # On a busy machine the breaking itself takes its time, in which frames still come.
        wholly_broken_mono = time.monotonic()
        blind = until(lambda: self.health(name)["blind_now"], 30.0)
        found = Outage(time.monotonic() - broken_mono, blind["cause"])
        time.sleep(hold_s)
        mended_mono = time.monotonic()
        mend()
        after = self.watched(name, 60.0)["blind_s"]
        found.recovered_s = time.monotonic() - mended_mono
        found.blind_s = after.get(found.cause, 0.0) - before.get(found.cause, 0.0)
        self.true_blind_s = mended_mono - wholly_broken_mono
        return found

    def bystander_whole(self) -> None:
        """Every frame of the bystander has its result, or is on its way to it."""
        health = self.health("bystander")
        assert health["no_answer"] == {}
        assert health["skipped"] == {}
        assert 0 <= health["frames"] - health["results"] <= 8
        assert health["restarts"] == 0


@contextlib.contextmanager
def yard(directory: Path, package: Path, video: Path, workflow: Path) -> Iterator[Yard]:
    """A running agent with real children that watches the bystander."""
    with rig(directory, real=True, silent_s=10.0, switch_deadline_s=20.0) as made:
        files = {p.relative_to(package).as_posix(): p.read_bytes() for p in package.rglob("*") if p.is_file()}
        model = made.plane.add_model(files)
        workflows = {
            "count": made.plane.add(workflow.read_bytes()),
            "plain": made.plane.add(json.dumps(NO_MODEL).encode()),
        }
        made.start()
        yield Yard(made, model, workflows, video)


@contextlib.contextmanager
def network(name: str) -> Iterator[tuple[str, Callable[[bool], None]]]:
    """A network namespace with one cable to here: the address inside, and a switch for the cable.

    :raises OSError: namespaces are not allowed here
    """
    ours, theirs = f"{name}0", f"{name}1"
    third = 200 + free_port() % 50
    steps = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs],
        ["ip", "link", "set", theirs, "netns", name],
        ["ip", "addr", "add", f"10.213.{third}.1/24", "dev", ours],
        ["ip", "link", "set", ours, "up"],
        ["ip", "-n", name, "addr", "add", f"10.213.{third}.2/24", "dev", theirs],
        ["ip", "-n", name, "link", "set", theirs, "up"],
        ["ip", "-n", name, "link", "set", "lo", "up"],
    ]
    try:
        for step in steps:
            _run(step)
        yield (
            f"10.213.{third}.2",
            lambda up: _run(["ip", "-n", name, "link", "set", theirs, "up" if up else "down"]),
        )
    finally:
        subprocess.run(["ip", "link", "del", ours], capture_output=True)
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as e:
        raise OSError(f"{command[0]} is not installed") from e
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
