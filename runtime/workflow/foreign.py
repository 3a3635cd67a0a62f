"""Blocks of the language that do not run on a device, by name, with what to use instead.

They ask a hosted model, keep data in somebody's cloud, or need a model of many gigabytes. A definition that holds one is refused,
unless its user has it passed over: then the step gives None, and so does what hangs on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from runtime.workflow.block import Block
from runtime.workflow.definition import is_selector
from runtime.workflow.fields import ANY, Anything, Field, kinds

_HOSTED = (
    "it asks a hosted language model: decide with a detection or classification model and an `expression`, "
    "or call your service with `webhook_sink@v1`"
)
_DETECT = "pack a detector as ONNX (`outrider model pack`) and use `roboflow_object_detection_model@v3`"
_SEGMENT = (
    "pack a segmentation model (`outrider model pack`) and use `roboflow_instance_segmentation_model@v3`"
)
_CLASSIFY = "pack a classifier as ONNX (`outrider model pack`) and use `roboflow_classification_model@v3`"
_READ = "pack a text model as ONNX (`outrider model pack`) and bind it to a text step of the pipeline"
_EMBED = "train a classifier for the classes you compare, and use `roboflow_classification_model@v3`"
_UPLOAD = (
    "keep pictures with `local_file_sink@v1`, or send events with a crop under a policy that allows pictures"
)
_MONITOR = (
    "health and results reach the control plane by themselves; put what you want to see into the outputs"
)
_NOTIFY = "send it with `webhook_sink@v1` to the service's own address, or with `email_notification@v2`"
_PAINT = "pictures are not made up on a device; draw with the visualisation blocks"
_CODE = (
    "make a block of your own for it: a plug-in of the entry-point group outrider.blocks (docs/workflows.md)"
)

_INSTEAD: dict[str, str] = {
    **dict.fromkeys(
        (
            *("lmm", "lmm_for_classification", "cog_vlm", "open_ai", "openai_compatible", "openrouter"),
            *("anthropic_claude", "google_gemini", "google_gemma", "kimi_openrouter", "llama_3_2_vision"),
            *("llama_vision", "meta_vlm", "mistral_vlm", "qwen3_5_openrouter", "qwen3_6_openrouter"),
            *("qwen_vlm", "qwen25vl", "qwen3vl", "qwen3_5vl", "smolvlm2", "spacexai", "zai_vlm"),
            *("moondream2", "florence_2", "cosmos3_edge"),
        ),
        _HOSTED,
    ),
    **dict.fromkeys(("yolo_world_model", "gaze"), _DETECT),
    **dict.fromkeys(
        (
            *("segment_anything", "segment_anything_2_video", "sam3", "sam3_interactive", "sam3_video"),
            "seg-preview",
        ),
        _SEGMENT,
    ),
    **dict.fromkeys(("roboflow_action_recognition_model", "anomaly_detection_model"), _CLASSIFY),
    **dict.fromkeys(("glm_ocr", "google_vision_ocr"), _READ),
    **dict.fromkeys(
        (
            *("clip", "clip_comparison", "perception_encoder", "embedding_model", "identify_changes"),
            *("identify_outliers", "visual_search", "visual_search_classifier"),
        ),
        _EMBED,
    ),
    **dict.fromkeys(
        (
            "roboflow_dataset_upload",
            "asset_library_attributes",
            "roboflow_vision_events",
            "event_writer_sink",
        ),
        _UPLOAD,
    ),
    **dict.fromkeys(
        ("roboflow_custom_metadata", "model_monitoring_inference_aggregator"),
        _MONITOR,
    ),
    "twilio_sms_notification": _NOTIFY,
    **dict.fromkeys(
        ("stability_ai_image_gen", "stability_ai_inpainting", "stability_ai_outpainting"), _PAINT
    ),
    **dict.fromkeys(("kafka_consumer", "kafka_producer_sink", "depth_estimation"), _CODE),
}
_ALIASES = {
    "LMM": "lmm",
    "LMMForClassification": "lmm_for_classification",
    "CogVLM": "cog_vlm",
    "OpenAI": "open_ai",
    "YoloWorldModel": "yolo_world_model",
    "YoloWorld": "yolo_world_model",
    "ClipComparison": "clip_comparison",
    "RoboflowDatasetUpload": "roboflow_dataset_upload",
    "RoboflowCustomMetadata": "roboflow_custom_metadata",
}
_IDENTIFIER = re.compile(r"roboflow_(?:core|enterprise)/([A-Za-z0-9_\-]{1,64})@v\d{1,3}\Z")


def instead_of(kind: str) -> str:
    """What to use in place of a block that does not run on a device; empty for every other identifier."""
    match = _IDENTIFIER.match(kind)
    return _INSTEAD.get(match[1] if match else _ALIASES.get(kind, ""), "")


def passed_over(kind: str, raw: Mapping[str, Any], outputs: frozenset[str]) -> type[Block]:
    """A block in its place that takes whatever the step has and gives None under the names that others ask for."""
    fields = tuple(_fields(raw))
    made = {name: kinds(ANY) for name in sorted(outputs)}
    return type("PassedOver", (_PassedOver,), {"types": (kind,), "fields": fields, "outputs": made})


def _fields(raw: Mapping[str, Any]) -> Iterator[Field]:
    for name, value in raw.items():
        if name in ("type", "name"):
            continue
        shape = "value"
        if isinstance(value, (list, dict)):
            entries = value if isinstance(value, list) else list(value.values())
            if any(is_selector(entry) for entry in entries):
                shape = "list" if isinstance(value, list) else "dict"
        yield Field(name, kinds(ANY), Anything(), required=False, shape=shape)


class _PassedOver(Block):
    def run(self, **values: Any) -> None:
        return None
