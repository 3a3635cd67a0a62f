"""The real engine process with real models: same answers, and what happens when something ends, hangs or is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.model.attachment import AttachedEngine
from runtime.model.inprocess import InProcessEngine
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions
from runtime.results import Answer, Image, NoAnswer, Result
from tests.integration.engine_child import EngineChild, engine_child, until
from wire import local
from wire.reasons import Reason

WAIT_S = 30.0
"""For an answer of a healthy engine, on a machine that may be very busy."""
YOLOX, NANODET = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture(scope="module")
def pictures(assets: Path) -> list[Image]:
    found = sorted((assets / "images" / "coco_val_ccby").rglob("*.jpg"))[:4]
    if not found:
        pytest.skip("no pictures in the assets folder")
    return [np.asarray(cv2.imread(str(path))) for path in found]


@pytest.fixture(scope="module")
def packages(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("packages")
    golden = str(min((assets / "images" / "coco_val_ccby").rglob("*.jpg")))
    made = {}
    for digest, name in ((YOLOX, "yolox_nano_416"), (NANODET, "nanodet_m_320")):
        source = assets / "detectors" / f"{name}.onnx"
        if not source.is_file():
            pytest.skip(f"no {source}")
        options = PackOptions(name=name, labels="coco80", golden=golden)
        made[digest] = pack(source, root / name, options, LoadOptions(threads=1)).directory
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine"


@pytest.fixture
def child(path: Path, packages: dict[str, Path]) -> Iterator[EngineChild]:
    with engine_child(path, {YOLOX: packages[YOLOX]}) as running:
        yield running


@pytest.fixture
def engine(child: EngineChild) -> Iterator[AttachedEngine]:
    attached = AttachedEngine(child.path, YOLOX, slots=4)
    assert attached.connect(WAIT_S), attached.problem
    yield attached
    attached.close()


def in_process(package: Path, images: list[Image]) -> list[Answer]:
    engine = InProcessEngine(package, LoadOptions(threads=1))
    try:
        return engine.submit(images).wait(WAIT_S)
    finally:
        engine.close()


def assert_same(found: Answer, expected: Answer) -> None:
    assert isinstance(expected, Result)
    assert isinstance(found, Result), found
    assert found.image_wh == expected.image_wh
    assert found.class_names == expected.class_names
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.scores, expected.scores)


def reasons(answers: list[Answer]) -> list[Reason | None]:
    return [answer.reason if isinstance(answer, NoAnswer) else None for answer in answers]


@pytest.mark.parametrize("digest", [YOLOX, NANODET])
def test_answers_are_those_of_the_same_model_in_process(
    digest: str, path: Path, packages: dict[str, Path], pictures: list[Image]
) -> None:
    expected = in_process(packages[digest], pictures)
    assert any(isinstance(answer, Result) and len(answer) for answer in expected)
    with engine_child(path, {digest: packages[digest]}):
        engine = AttachedEngine(str(path), digest, slots=len(pictures))
        assert engine.connect(WAIT_S), engine.problem
        for found, wanted in zip(engine.submit(pictures).wait(WAIT_S), expected, strict=True):
            assert_same(found, wanted)
        engine.close()


def test_more_images_than_slots_are_all_answered_in_order(
    engine: AttachedEngine, packages: dict[str, Path], pictures: list[Image]
) -> None:
    expected = in_process(packages[YOLOX], pictures)
    found = engine.submit(pictures * 3).wait(WAIT_S)
    assert len(found) == 12
    for answer, wanted in zip(found, expected * 3, strict=True):
        assert_same(answer, wanted)


def test_one_process_serves_two_models_to_two_pipelines(
    path: Path, packages: dict[str, Path], pictures: list[Image]
) -> None:
    expected = {digest: in_process(package, pictures) for digest, package in packages.items()}
    with engine_child(path, packages) as child:
        engines = {digest: AttachedEngine(str(path), digest) for digest in packages}
        assert all(engine.connect(WAIT_S) for engine in engines.values())
        tickets = [(digest, engines[digest].submit(pictures)) for digest in packages for _ in range(2)]
        for digest, ticket in tickets:
            for found, wanted in zip(ticket.wait(WAIT_S), expected[digest], strict=True):
                assert_same(found, wanted)
        stats = child.expect(local.EngineStats)
        while stats.requests < 16:
            stats = child.expect(local.EngineStats)
        assert (stats.attached, stats.errors, stats.requests) == (2, 0, 16)
        assert stats.infer_p95_ms >= stats.infer_p50_ms > 0
        for engine in engines.values():
            engine.close()


def test_killed_engine_is_down_and_answers_again_after_its_restart(
    child: EngineChild, engine: AttachedEngine, packages: dict[str, Path], pictures: list[Image]
) -> None:
    before = engine.submit(pictures[:1]).wait(WAIT_S)
    child.signal(signal.SIGSTOP)
    ticket = engine.submit(pictures[:2])
    child.kill()
    assert reasons(ticket.wait(WAIT_S)) == [Reason.ENGINE_DOWN] * 2
    assert reasons(engine.submit(pictures[:1]).wait(WAIT_S)) == [Reason.ENGINE_DOWN]
    with engine_child(Path(child.path), {YOLOX: packages[YOLOX]}):
        assert until(lambda: engine.pump() is None and engine.attached)
        assert_same(engine.submit(pictures[:1]).wait(WAIT_S)[0], before[0])


def test_hung_engine_times_out_and_no_stale_answer_is_handed_out_when_it_wakes(
    child: EngineChild, engine: AttachedEngine, packages: dict[str, Path], pictures: list[Image]
) -> None:
    expected = in_process(packages[YOLOX], pictures)
    child.signal(signal.SIGSTOP)
    late = engine.submit(pictures[:2])
    assert reasons(late.wait(0.05)) == [Reason.ENGINE_TIMEOUT] * 2
    assert engine.quarantined == 2
    assert reasons(engine.submit(pictures[2:]).wait(0.05)) == [Reason.ENGINE_TIMEOUT] * 2
    assert reasons(engine.submit(pictures[:1]).wait(WAIT_S)) == [Reason.ENGINE_BUSY]
    child.signal(signal.SIGCONT)
    assert until(lambda: engine.pump() is None and engine.quarantined == 0, WAIT_S)
    assert engine.late_answers == 4
    for found, wanted in zip(engine.submit(pictures).wait(WAIT_S), expected, strict=True):
        assert_same(found, wanted)
    assert reasons(late.wait(0)) == [Reason.ENGINE_TIMEOUT] * 2


def test_fifty_pipelines_come_and_go_without_a_descriptor_left(
    child: EngineChild, pictures: list[Image]
) -> None:
    def visit() -> None:
        engine = AttachedEngine(child.path, YOLOX, slots=2)
        assert engine.connect(WAIT_S), engine.problem
        assert reasons(engine.submit(pictures[:1]).wait(WAIT_S)) == [None]
        engine.close()

    def stats() -> tuple[int, int]:
        newest = child.expect(local.EngineStats)
        return newest.requests, newest.attached

    visit()
    assert until(lambda: stats() == (1, 0))
    theirs, ours = child.open_files, len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        visit()
    assert len(os.listdir("/proc/self/fd")) == ours
    assert until(lambda: stats() == (51, 0))
    assert child.open_files == theirs
    maps = Path(f"/proc/{child.process.pid}/maps").read_text()
    assert "outrider-slots" not in maps


def test_pipeline_that_is_killed_leaves_nothing_in_the_engine(child: EngineChild) -> None:
    code = (
        "import sys, time\n"
        "from runtime.model.attachment import AttachedEngine\n"
        "engine = AttachedEngine(sys.argv[1], sys.argv[2])\n"
        "print(engine.connect(30), flush=True)\n"
        "time.sleep(60)\n"
    )
    before = child.open_files
    command = [sys.executable, "-c", code, child.path, YOLOX]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pipeline:
        assert pipeline.stdout is not None
        assert pipeline.stdout.readline() == "True\n"
        assert child.open_files > before
        pipeline.kill()
    assert until(lambda: child.open_files == before)


def test_unknown_model_is_refused_with_what_is_served(child: EngineChild) -> None:
    engine = AttachedEngine(child.path, NANODET)
    assert until(lambda: not engine.connect(0.05) and YOLOX in engine.problem), engine.problem
    assert NANODET in engine.problem
    assert reasons(engine.submit([np.zeros((4, 4, 3), np.uint8)]).wait(1)) == [Reason.ENGINE_DOWN]
    engine.close()


def test_bytes_that_are_no_packet_cost_their_sender_only_its_connection(
    child: EngineChild, engine: AttachedEngine, pictures: list[Image]
) -> None:
    import socket

    for raw in (b"x", b"\1\4\1\0", os.urandom(4096)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.connect(child.path)
            stranger.send(raw)
            stranger.settimeout(WAIT_S)
            assert stranger.recv(10) == b""
    assert reasons(engine.submit(pictures[:1]).wait(WAIT_S)) == [None]


def test_stop_answers_what_is_under_way_and_ends(
    child: EngineChild, engine: AttachedEngine, pictures: list[Image]
) -> None:
    child.signal(signal.SIGSTOP)
    ticket = engine.submit(pictures)
    child.link.send(local.Stop())
    child.signal(signal.SIGCONT)
    assert reasons(ticket.wait(WAIT_S)) == [None] * 4
    assert child.process.wait(WAIT_S) == 0
    assert not os.path.exists(child.path)


@pytest.mark.parametrize("way", ["SIGTERM", "link"])
def test_engine_ends_when_it_is_told_to_or_the_agent_is_gone(child: EngineChild, way: str) -> None:
    if way == "SIGTERM":
        child.signal(signal.SIGTERM)
    else:
        child.link.close()
    assert child.process.wait(WAIT_S) == (0 if way == "SIGTERM" else 1)


def test_death_of_the_parent_ends_even_a_stopped_engine(path: Path, packages: dict[str, Path]) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.integration.engine_child import EngineChild\n"
        "from wire import local\n"
        "child = EngineChild(Path(sys.argv[1]), {sys.argv[2]: Path(sys.argv[3])})\n"
        "child.expect(local.EngineUp)\n"
        "print(child.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(path), YOLOX, str(packages[YOLOX])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
    assert until(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_model_of_a_shared_process_goes_once_its_last_pipeline_has_gone(
    path: Path, packages: dict[str, Path], pictures: list[Image]
) -> None:
    with engine_child(path, packages) as child:
        leaving = AttachedEngine(str(path), NANODET)
        assert leaving.connect(WAIT_S)
        child.link.send(local.Unload(NANODET))
        late = AttachedEngine(str(path), NANODET)
        assert until(lambda: not late.connect(0.05))
        assert reasons(leaving.submit(pictures[:1]).wait(WAIT_S)) == [None]
        leaving.close()
        staying = AttachedEngine(str(path), YOLOX)
        assert staying.connect(WAIT_S)
        assert reasons(staying.submit(pictures[:1]).wait(WAIT_S)) == [None]
        staying.close()
        late.close()


def test_serving_process_has_loaded_neither_mqtt_nor_validation_libraries(child: EngineChild) -> None:
    assert "pydantic_core" not in Path(f"/proc/{child.process.pid}/maps").read_text()
    code = (
        "import sys, runtime.model.process, runtime.model.session, runtime.model.golden\n"
        "print([name for name in ('pydantic', 'paho') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_pipelines_side_loads_no_inference_library() -> None:
    code = (
        "import sys, runtime.model.attachment\n"
        "print([name for name in ('onnxruntime', 'pydantic', 'paho') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_engine_goes_before_the_agent_when_memory_is_short(child: EngineChild) -> None:
    score = int(Path(f"/proc/{child.process.pid}/oom_score_adj").read_text())
    assert score > int(Path("/proc/self/oom_score_adj").read_text())


def test_child_whose_parent_is_gone_does_not_begin() -> None:
    code = "import runtime.lifeline as lifeline; lifeline.tie_to_parent(2**22 + 1)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "is gone" in ended.stderr


def test_wrong_golden_result_refuses_the_model(path: Path, packages: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    package = tmp_path / "wrong"
    shutil.copytree(packages[YOLOX], package)
    (promise,) = (package / "golden").glob("*.json")
    picture = next(p for p in (package / "golden").iterdir() if p.suffix != ".json")
    image = cv2.imread(str(picture))
    cv2.imwrite(str(picture), np.zeros_like(image))
    assert promise.is_file()
    child = EngineChild(path, {YOLOX: package})
    try:
        refused = child.expect(local.EngineRefused)
        assert refused.reason == Reason.GOLDEN_MISMATCH.value
        assert refused.digest == YOLOX
        assert child.process.wait(WAIT_S) == 3
        assert not path.exists()
    finally:
        child.kill()


def test_socket_that_cannot_be_made_is_said(packages: dict[str, Path], tmp_path: Path) -> None:
    child = EngineChild(tmp_path / ("x" * 120), {YOLOX: packages[YOLOX]})
    try:
        refused = child.expect(local.EngineRefused)
        assert refused.transient
        assert "shorter" in refused.message
    finally:
        child.kill()


def test_package_that_is_not_there_refuses_the_model(path: Path, tmp_path: Path) -> None:
    child = EngineChild(path, {YOLOX: tmp_path / "absent"})
    try:
        refused = child.expect(local.EngineRefused)
        assert refused.reason == Reason.PACKAGE_INVALID.value
        assert "absent" in refused.message
    finally:
        child.kill()
