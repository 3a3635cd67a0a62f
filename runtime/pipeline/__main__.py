"""`python -m runtime.pipeline --link-fd N`: a camera's process, started by the agent."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
import uuid
from pathlib import Path

import cv2

from runtime.camera.opening import open_camera
from runtime.camera.reader import CameraReader
from runtime.errors import RuntimeFault
from runtime.lifeline import Termination, hold
from runtime.link import Link
from runtime.model.attachment import AttachedEngine
from runtime.pipeline.active import SLOTS, activate
from runtime.pipeline.chores import Chores, refusal
from runtime.pipeline.compare import ANSWER_S, Aside
from runtime.pipeline.events import Held
from runtime.pipeline.loop import ANSWER_DEADLINE_S, PipelineLoop
from runtime.pipeline.privacy import veil_of
from runtime.pipeline.recorder import Recorder
from runtime.pipeline.sampler import Sampler
from runtime.pipeline.uplink import Provenance
from runtime.sinks.desk import Desk
from runtime.sinks.pictures import Pictures
from runtime.sinks.vault import Vault
from runtime.workflow.permits import Code
from wire import local
from wire.reasons import Reason

START_DEADLINE_S = 30.0
ATTACH_DEADLINE_S = 10.0
SINK_PATIENCE_S = 0.05
"""How long a frame waits for a sink whose step asks for the outcome."""
SINKS_DEADLINE_S = 1.5
"""For what sinks have accepted and not yet delivered, when the process ends; the agent waits longer."""
CRASHED_STATUS = 70
REFUSED_STATUS = 3
"""Exit status of a pipeline that cannot work with what it was given; starting it again would not help."""


def attach(model: local.ModelBinding) -> AttachedEngine:
    return AttachedEngine(model.socket, model.digest, slots=SLOTS, answer_timeout_s=ANSWER_DEADLINE_S)


def attach_aside(model: local.ModelBinding) -> AttachedEngine:
    return AttachedEngine(model.socket, model.digest, slots=1, answer_timeout_s=ANSWER_S)


def receive_start(link: Link) -> local.Start | None:
    """The first message, or None when the agent goes away or stays silent. What came with it is left for the loop."""
    deadline_mono = time.monotonic() + START_DEADLINE_S
    while not link.closed and time.monotonic() < deadline_mono:
        messages = link.wait(0.5)
        for index, message in enumerate(messages):
            if isinstance(message, local.Start):
                link.put_back(messages[index + 1 :])
                return message
    return None


def work(link: Link, termination: Termination) -> int:
    """The whole life of the process; its exit status."""
    start = receive_start(link)
    if start is None:
        return 1
    camera = start.camera
    code = Code.RUN if start.allow_code else Code.REFUSE
    held = Held(uuid.uuid4().hex[:16], camera.name)
    provenance = Provenance(start, held)
    recorder = Recorder(camera.care.clips, camera.care.privacy, start.run_dir)
    desk = open_desk(start, provenance, recorder)
    try:
        active = activate(start.binding, camera, attach, 0.0, code, desk)
        reader = CameraReader(camera, open_camera)
    except RuntimeFault as e:
        link.send(refusal("", e))
        link.flush(deadline_s=1.0)
        return REFUSED_STATUS
    except Exception as e:  # the boundary: a plug-in block may raise anything
        logging.exception("pipeline cannot start")
        link.send(local.NotPrepared("", Reason.INTERNAL.value, f"{type(e).__name__}: {e}"))
        link.flush(deadline_s=1.0)
        return REFUSED_STATUS
    chores = Chores(
        lambda binding: activate(binding, camera, attach, ATTACH_DEADLINE_S, code, desk),
        start.run_dir,
        camera.care.privacy,
        recorder,
        Sampler(
            camera.name,
            start.pipeline,
            camera.care.sampling,
            camera.care.privacy,
            start.run_dir,
            time.monotonic(),
        ),
    )
    link.send(local.PipelineUp(os.getpid()))
    loop = PipelineLoop(
        start, link, reader, active, chores, held, termination, provenance, desk, Aside(attach_aside)
    )
    try:
        return loop.run()
    finally:
        desk.close(SINKS_DEADLINE_S)


def open_desk(start: local.Start, provenance: Provenance, recorder: Recorder) -> Desk:
    """Where the sinks of this process deliver: files in the device's folder, pictures as the camera's policy has it."""
    privacy = start.camera.care.privacy
    return Desk(
        patience_s=SINK_PATIENCE_S,
        files=Path(start.files_dir or start.run_dir),
        vault=Vault.of_process(start.secrets_dir, start.fleet_secrets_dir),
        uplink=provenance,
        # Sinks have no model of their own to ask for faces.
        pictures=Pictures("none" if privacy.faces else privacy.pictures, veil_of(privacy)),
        clips=recorder,
    )


def crash(failed: threading.ExceptHookArgs) -> None:
    """A thread that died of a defect takes the process with it: the agent reports it and starts a new one."""
    sys.__excepthook__(failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback)
    sys.stderr.flush()
    os._exit(CRASHED_STATUS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m runtime.pipeline", description="one camera's process")
    parser.add_argument("--link-fd", type=int, required=True, help="inherited socket to the agent")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    threading.excepthook = crash
    # The engine has the other cores; OpenCV's own threads would only steal from it.
    cv2.setNumThreads(1)
    link = Link(arguments.link_fd)
    return work(link, hold(link.socket))


if __name__ == "__main__":
    status = main()
    # A reader that hangs in a native call cannot be joined; the process must end all the same.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
