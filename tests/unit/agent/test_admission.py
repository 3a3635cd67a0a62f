"""What a revision needs against what the device has; every refusal with figure and limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.judgement.admission import ENGINE_BYTES, MIB, Means, Wanted, fits_beside, memory_of, refusals
from wire import manifest
from wire.manifest import FileEntry, Manifest, Needs
from wire.reasons import Reason

FILES = (FileEntry(path="model.onnx", sha256="sha256:" + "0" * 64, size=10 * MIB),)
PLAIN = Manifest(files=FILES)
MEANS = Means(1000 * MIB, 1000 * MIB, 64 * MIB, 256 * MIB, frozenset({"onnxruntime", "onnxruntime-cpu"}))
MODEL = Wanted("detector", PLAIN, 10 * MIB)


def needing(**needs: object) -> Wanted:
    return replace(MODEL, manifest=Manifest(files=FILES, needs=Needs.model_validate(needs)))


def found(model: Wanted, means: Means = MEANS, missing: int = 10 * MIB) -> list[tuple[Reason, str]]:
    return [(problem.reason, problem.message) for problem in refusals([model], missing, means)]


def test_a_model_that_fits_is_not_refused() -> None:
    assert found(MODEL) == []
    assert found(needing(memory_bytes=500 * MIB, engines=["onnxruntime"], width=640, height=640)) == []


def test_memory_is_told_with_what_is_needed_and_what_there_is() -> None:
    ((reason, message),) = found(needing(memory_bytes=950 * MIB))
    assert reason is Reason.OUT_OF_MEMORY
    assert "detector 950 MiB" in message
    assert "936 MiB are available" in message


def test_several_new_models_have_to_fit_together() -> None:
    each = needing(memory_bytes=500 * MIB)
    assert [p.reason for p in refusals([each, replace(each, name="b")], 0, MEANS)] == [Reason.OUT_OF_MEMORY]


def test_disk_keeps_its_reserve() -> None:
    ((reason, message),) = found(MODEL, missing=800 * MIB)
    assert reason is Reason.DISK_FULL
    assert "800 MiB are to be fetched" in message
    assert "744 MiB are free" in message


def test_the_stores_quota_counts_too() -> None:
    assert found(MODEL, replace(MEANS, quota_left_bytes=10 * MIB)) == []
    ((reason, message),) = found(MODEL, replace(MEANS, quota_left_bytes=4 * MIB))
    assert reason is Reason.STORE_QUOTA
    assert "4 MiB are left" in message


@pytest.mark.parametrize(
    ("asked", "engines", "refused"),
    [
        ("auto", [], False),
        ("auto", ["tensorrt"], True),
        ("auto", ["tensorrt", "onnxruntime"], False),
        ("tensorrt", [], True),
        ("onnxruntime", ["openvino"], True),
        ("onnxruntime", ["onnxruntime"], False),
    ],
)
def test_an_engine_that_is_not_there_or_not_the_models(asked: str, engines: list[str], refused: bool) -> None:
    reasons = [reason for reason, _ in found(replace(needing(engines=engines), engine=asked))]
    assert reasons == ([Reason.ENGINE_UNAVAILABLE] if refused else [])


def test_a_gpu_too_old_or_absent() -> None:
    model = needing(engines=["tensorrt"], compute_capability="8.6")
    able = replace(MEANS, engines=frozenset({"tensorrt"}))
    assert [reason for reason, _ in found(model, able)] == [Reason.DRIVER_ABSENT]
    ((reason, message),) = found(model, replace(able, compute_capability=(7, 2)))
    assert reason is Reason.ENGINE_UNAVAILABLE
    assert "this GPU has 7.2" in message
    assert found(model, replace(able, compute_capability=(10, 0))) == []


def test_memory_follows_the_engine_that_is_replaced_and_else_the_files() -> None:
    assert memory_of(MODEL) == ENGINE_BYTES + 30 * MIB
    measured = replace(MODEL, running_bytes=ENGINE_BYTES + 100 * MIB, running_weights=5 * MIB)
    assert memory_of(measured) == ENGINE_BYTES + 200 * MIB
    assert memory_of(needing(memory_bytes=MIB, width=1024, height=1024)) == MIB + 12 * MIB


def test_a_package_that_declares_nothing_keeps_its_digest() -> None:
    assert b"needs" not in PLAIN.encode()
    declared = needing(memory_bytes=MIB).manifest
    assert declared.digest != PLAIN.digest
    assert manifest.decode(declared.encode()) == declared


def test_what_fits_only_without_the_engines_it_replaces_is_taken_and_told_apart() -> None:
    big = needing(memory_bytes=950 * MIB)
    freeing = replace(MEANS, freed_bytes=100 * MIB)
    assert found(big, freeing) == []
    assert not fits_beside([big], freeing)
    assert fits_beside([needing(memory_bytes=900 * MIB)], MEANS)
    ((reason, message),) = found(needing(memory_bytes=1100 * MIB), freeing)
    assert reason is Reason.OUT_OF_MEMORY
    assert "even without those they replace" in message
    assert "1036 MiB are available" in message
