"""Random legal workflows, a block at a time, in the form of the conformance cases: what the original engine is asked live.

`case(name, seed)` is the same for the same arguments. Parameters are drawn from what the blocks' manifests allow, boundaries included.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

Step = dict[str, Any]
WIDTH, HEIGHT = 160, 120
CLASSES = ("a", "b", "c")
ANCHORS = (
    *("CENTER", "CENTER_LEFT", "CENTER_RIGHT", "TOP_CENTER", "TOP_LEFT", "TOP_RIGHT"),
    *("BOTTOM_LEFT", "BOTTOM_CENTER", "BOTTOM_RIGHT", "CENTER_OF_MASS"),
)
PALETTES = ("DEFAULT", "CUSTOM", "ROBOFLOW", "Matplotlib Viridis", "Matplotlib Set1", "Matplotlib Tab20")
IMAGE, BOXES, MORE = "$inputs.image", "$inputs.p", "$inputs.q"
OBJECTS, MASKS = "object_detection_prediction", "instance_segmentation_prediction"


class Dice:
    """What a case is drawn with; `form` is what its detections have: boxes, ids, masks."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.form: set[str] = set()
        self.frames = 1
        self.moving = False
        self.parameters: dict[str, Any] = {}
        self.tags: list[str] = []
        self.prefix = ""
        self.before: list[Step] = []

    def one(self, *options: Any) -> Any:
        return self.random.choice(options)

    def some(self, **fields: Any) -> dict[str, Any]:
        """Each of the fields with a probability of two thirds; the others keep their default."""
        return {name: value for name, value in fields.items() if self.random.random() < 0.67}

    def wired(self, fields: dict[str, Any], *names: str) -> dict[str, Any]:
        """Some of the values come by a parameter of the workflow."""
        for name in names:
            if name in fields and self.random.random() < 0.3:
                self.parameters[name] = fields[name]
                fields[name] = f"$inputs.{name}"
        return fields

    def anchor(self) -> str:
        """The centre of mass needs masks."""
        return self.one(*ANCHORS if "masks" in self.form else ANCHORS[:9])

    def share(self) -> float:
        return round(self.random.random(), 2)

    def zone(self, margin: int = 0) -> list[list[int]]:
        """A polygon of three to six corners that does not cross itself."""
        count = self.random.randint(3, 6)
        angles = sorted(self.random.uniform(0, 2 * math.pi) for _ in range(count))
        x, y, r = self.random.randint(30, 130), self.random.randint(30, 90), self.random.randint(25, 70)
        return [[round(x + r * math.cos(a)) - margin, round(y + r * math.sin(a))] for a in angles]

    def detections(self, number: int = 0) -> dict[str, Any]:
        """Some boxes in the picture; those of a moving scene go on from frame to frame."""
        least = 1 if "ids" in self.form or self.random.random() < 0.8 else 0
        count = self.random.randint(least, 5)
        xyxy, names, ids = [], [], []
        for i in range(count):
            w, h = self.random.randint(12, 50), self.random.randint(12, 50)
            x, y = self.random.randint(0, WIDTH - w - 1), self.random.randint(0, HEIGHT - h - 1)
            if self.moving:
                generator = random.Random(i * 7919 + self.start)
                w, h = generator.randint(20, 40), generator.randint(20, 40)
                x = int(generator.randint(0, 100) + generator.randint(-9, 9) * number) % (WIDTH - w)
                y = int(generator.randint(0, 60) + generator.randint(-6, 6) * number) % (HEIGHT - h)
            xyxy.append([x, y, x + w, y + h])
            names.append(CLASSES[i % 3] if self.moving and self.random.random() < 0.8 else self.one(*CLASSES))
            ids.append(f"{self.prefix}{number}-{i}")
        out: dict[str, Any] = {
            "image_wh": [WIDTH, HEIGHT],
            "xyxy": xyxy,
            "class_name": names,
            "class_id": [CLASSES.index(name) for name in names],
            "confidence": [round(self.random.uniform(0.2, 0.99), 3) for _ in names],
            "tracker_id": [i + 1 for i in range(count)] if "ids" in self.form else None,
            "detection_id": ids,
        }
        if "masks" in self.form:
            out["polygon"] = [self.outline(box) for box in xyxy]
        return {"$detections": out}

    def outline(self, box: list[int]) -> list[list[int]]:
        """A polygon within a box that touches its four sides."""
        x1, y1, x2, y2 = box
        return [
            [self.random.randint(x1, x2), y1],
            [x2, self.random.randint(y1, y2)],
            [self.random.randint(x1, x2), y2],
            [x1, self.random.randint(y1, y2)],
        ]

    @property
    def start(self) -> int:
        return self._start

    def begin(self) -> None:
        self._start = self.random.randint(0, 10**6)

    def picture(self, number: int) -> dict[str, Any]:
        """A picture with rectangles, and the facts of its frame."""
        rects = []
        for _ in range(self.random.randint(1, 3)):
            x, y = self.random.randint(0, 120), self.random.randint(0, 90)
            colour = [self.random.randint(0, 255) for _ in range(3)]
            rects.append(
                {
                    "xyxy": [x, y, x + self.random.randint(5, 40), y + self.random.randint(5, 30)],
                    "color_bgr": colour,
                }
            )
        return {
            "$image": {"width": WIDTH, "height": HEIGHT, "pattern": "gradient", "rects": rects},
            "video_metadata": {
                "video_identifier": "cam0",
                "frame_number": number + 1,
                "frame_timestamp": f"2026-01-01T00:00:{(number + 1) // 10:02}.{(number + 1) % 10}00000+00:00",
                "fps": 10,
                "comes_from_video_file": True,
            },
        }


def video(dice: Dice, *form: str, frames: int = 10) -> None:
    dice.form, dice.frames, dice.moving = set(form), frames, True


def still(dice: Dice, *form: str) -> None:
    dice.form = set(form)


# --- blocks -----------------------------------------------------------------------------------------------------------


def line_counter(dice: Dice, version: int) -> Step:
    video(dice, "ids", *dice.one((), ("masks",)), frames=14)
    x = dice.random.randint(30, 130)
    where = {"image": IMAGE} if version == 2 else {"metadata": "$inputs.image.video_metadata"}
    line = dice.one([[x, 0], [x, 120]], [[0, 60], [160, 60]], [[160, 100], [0, 10]], [[x, 20], [x + 5, 90]])
    return {"type": f"roboflow_core/line_counter@v{version}", **where, "detections": BOXES,
            "line_segment": line, **dice.some(triggering_anchor=dice.anchor())}  # fmt: skip


def time_in_zone(dice: Dice, version: int) -> Step:
    video(dice, "ids", *dice.one((), ("masks",)), frames=12)
    zone: Any = dice.zone()
    if version == 3 and dice.one(True, False):
        zone = [zone, dice.zone(20)]
    flags = dice.some(
        triggering_anchor=dice.anchor(),
        remove_out_of_zone_detections=dice.one(True, False),
        reset_out_of_zone_detections=dice.one(True, False),
    )
    return {"type": f"roboflow_core/time_in_zone@v{version}", "image": IMAGE, "detections": BOXES,
            "zone": zone, **dice.wired(flags, *flags)}  # fmt: skip


def velocity(dice: Dice) -> Step:
    video(dice, "ids")
    fields = dice.some(smoothing_alpha=dice.one(0.1, 0.9, 1.0), pixels_per_meter=dice.one(0.5, 20, 100.0))
    dice.before = [{"type": "roboflow_core/per_class_confidence_filter@v1", "name": "before", "predictions": BOXES,
                    "class_thresholds": {}, "default_threshold": 0.0}]  # fmt: skip
    return {"type": "roboflow_core/velocity@v1", "image": IMAGE, "detections": "$steps.before.predictions",
            **dice.wired(fields, *fields)}  # fmt: skip


def overlap(dice: Dice) -> Step:
    still(dice, *dice.one((), ("masks",)))
    return {"type": "roboflow_core/overlap@v1", "predictions": BOXES, "overlap_class_name": dice.one(*CLASSES, "z"),
            **dice.some(overlap_type=dice.one("Center Overlap", "Any Overlap"))}  # fmt: skip


def event_log(dice: Dice) -> Step:
    video(dice, "ids", frames=16)
    fields = dice.some(
        frame_threshold=dice.random.randint(1, 4), flush_interval=dice.random.randint(1, 6),
        stale_frames=dice.random.randint(1, 6), reference_timestamp=dice.one(0, 1767225600.0),
    )  # fmt: skip
    return {"type": "roboflow_core/detection_event_log@v1", "image": IMAGE, "detections": BOXES,
            **fields}  # fmt: skip


def aggregator(dice: Dice) -> Step:
    video(dice, frames=8)
    modes = ("sum", "avg", "max", "min", "count", "values_difference")
    texts = ("count_distinct", "values_counts", "count")
    names = [{"type": "DetectionsPropertyExtract", "property_name": "class_name"}]
    return {
        "type": "roboflow_core/data_aggregator@v1",
        "data": {"n": BOXES, "names": BOXES},
        "data_operations": {"n": [{"type": "SequenceLength"}], "names": names},
        "aggregation_mode": {
            "n": dice.random.sample(modes, dice.random.randint(1, 6)),
            "names": dice.random.sample(texts, dice.random.randint(1, 3)),
        },
        "interval_unit": "runs",
        "interval": dice.random.randint(1, 5),
    }


def consensus(dice: Dice) -> Step:
    still(dice, *dice.one((), ("masks",)))
    fields = dice.some(
        class_aware=dice.one(True, False), iou_threshold=dice.share(), confidence=dice.one(0.0, 0.3, 0.6),
        classes_to_consider=dice.one(["a"], ["a", "b"]),
        required_objects=dice.one(1, 2, {"a": 1}, {"a": 1, "b": 2}),
        presence_confidence_aggregation=dice.one("average", "max", "min"),
        detections_merge_confidence_aggregation=dice.one("average", "max", "min"),
        detections_merge_coordinates_aggregation=dice.one("average", "max", "min"),
        detections_merge_mask_aggregation=dice.one("union", "intersection", "max", "min"),
    )  # fmt: skip
    return {"type": "roboflow_core/detections_consensus@v1", "predictions_batches": [BOXES, MORE],
            "required_votes": dice.one(1, 2), **dice.wired(fields, "class_aware", "iou_threshold", "confidence")}  # fmt: skip


def overlap_analysis(dice: Dice) -> Step:
    still(dice, *dice.one((), ("masks",)))
    return {"type": "roboflow_core/overlap_analysis@v1", "reference_predictions": BOXES,
            "candidate_predictions": MORE, **dice.some(min_overlap=dice.one(0.0, 0.05, 0.5, 1.0))}  # fmt: skip


def stitch(dice: Dice) -> Step:
    still(dice)
    return {"type": "roboflow_core/detections_combine@v1", "prediction_one": BOXES, "prediction_two": MORE}


def merge(dice: Dice) -> Step:
    still(dice, *dice.one((), ("masks",)))
    return {
        "type": "roboflow_core/detections_merge@v1",
        "predictions": BOXES,
        **dice.some(class_name=dice.one("all", "x")),
    }


def buffer(dice: Dice) -> Step:
    video(dice, frames=5)
    return {"type": "roboflow_core/buffer@v1", "data": BOXES, "length": dice.random.randint(1, 4),
            **dice.some(pad=dice.one(True, False))}  # fmt: skip


def frame_delay(dice: Dice) -> Step:
    video(dice, frames=6)
    return {"type": "roboflow_core/frame_delay@v1", "image": IMAGE, "data": BOXES,
            "offset": -dice.random.randint(0, 4), **dice.some(default_value=dice.one("none", 0, False))}  # fmt: skip


def offset(dice: Dice) -> Step:
    still(dice, *dice.one((), ("masks",)))
    fields = {"offset_width": dice.random.randint(1, 40), "offset_height": dice.random.randint(1, 40)}
    return {"type": "roboflow_core/detection_offset@v1", "predictions": BOXES, **dice.wired(fields, *fields),
            **dice.some(units=dice.one("Pixels", "Percent (%)"))}  # fmt: skip


def per_class(dice: Dice) -> Step:
    still(dice)
    thresholds = {name: dice.share() for name in dice.random.sample(CLASSES, dice.random.randint(0, 3))}
    return {"type": "roboflow_core/per_class_confidence_filter@v1", "predictions": BOXES,
            "class_thresholds": thresholds, **dice.some(default_threshold=dice.one(0.0, 0.5, 1.0))}  # fmt: skip


def stabilize(dice: Dice) -> Step:
    video(dice, "ids", frames=12)
    fields = dice.some(
        smoothing_window_size=dice.random.randint(1, 6), bbox_smoothing_coefficient=dice.share()
    )
    return {"type": "roboflow_core/stabilize_detections@v1", "image": IMAGE, "detections": BOXES, **fields}


def class_lock(dice: Dice) -> Step:
    video(dice, "ids", frames=20)
    fields = dice.some(
        min_votes=dice.random.randint(1, 5), vote_confidence=dice.one(0.0, 0.3, 0.6),
        lead_margin=dice.random.randint(0, 3), switch_after=dice.random.randint(1, 5),
        state_ttl=dice.random.randint(6, 12), reattach_window=dice.random.randint(0, 6), reattach_iou=dice.share(),
    )  # fmt: skip
    fields.setdefault("reattach_window", 3)
    return {"type": "roboflow_core/track_class_lock@v1", "image": IMAGE, "detections": BOXES,
            **dice.wired(fields, "min_votes", "vote_confidence")}  # fmt: skip


def absolute_crop(dice: Dice) -> Step:
    still(dice)
    return {"type": "roboflow_core/absolute_static_crop@v1", "images": IMAGE,
            "x_center": dice.random.randint(1, 170), "y_center": dice.random.randint(1, 130),
            "width": dice.random.randint(1, 120), "height": dice.random.randint(1, 90)}  # fmt: skip


def relative_crop(dice: Dice) -> Step:
    still(dice)
    return {"type": "roboflow_core/relative_statoic_crop@v1", "images": IMAGE, "x_center": dice.share(),
            "y_center": dice.share(), "width": dice.share(), "height": dice.share()}  # fmt: skip


def dynamic_crop(dice: Dice) -> Step:
    still(dice, *dice.one((), ("masks",)))
    fields = dice.some(
        mask_opacity=dice.one(0.0, 0.4, 1.0),
        background_color=dice.one("#ff0000", "(10, 200, 30)", "green", [10, 20, 30]),
    )
    return {"type": "roboflow_core/dynamic_crop@v1", "images": IMAGE, "predictions": BOXES, **fields}


def slicer(dice: Dice, version: int) -> Step:
    still(dice)
    return {"type": f"roboflow_core/image_slicer@v{version}", "image": IMAGE, **dice.some(
        slice_width=dice.random.randint(30, 200), slice_height=dice.random.randint(30, 200),
        overlap_ratio_width=dice.one(0.0, 0.1, 0.35, 0.6), overlap_ratio_height=dice.one(0.0, 0.1, 0.35, 0.6),
    )}  # fmt: skip


def perspective(dice: Dice) -> Step:
    still(dice, *dice.one((), ("masks",)))
    far, near = dice.random.randint(10, 50), dice.random.randint(90, 118)
    square = [[dice.random.randint(30, 60), far], [dice.random.randint(90, 130), far],
              [dice.random.randint(120, 158), near], [dice.random.randint(2, 30), near]]  # fmt: skip
    fields = dice.some(
        transformed_rect_width=dice.random.randint(40, 300), transformed_rect_height=dice.random.randint(40, 300),
        extend_perspective_polygon_by_detections_anchor="",
        warp_image=dice.one(True, False),
    )  # fmt: skip
    dice.tags = ["visualization"]
    return {"type": "roboflow_core/perspective_correction@v1", "images": IMAGE, "predictions": BOXES,
            "perspective_polygons": dice.one(square, [square]), **fields}  # fmt: skip


def preprocessing(dice: Dice) -> Step:
    still(dice)
    dice.tags = ["visualization"]
    task = dice.one(
        {
            "task_type": "resize",
            **dice.some(width=dice.random.randint(20, 300), height=dice.random.randint(20, 300)),
        },
        {"task_type": "rotate", "rotation_degrees": dice.one(0, 90, -90, 180, 270, 17, 360, -45)},
        {"task_type": "flip", "flip_type": dice.one("vertical", "horizontal", "both")},
    )
    return {"type": "roboflow_core/image_preprocessing@v1", "image": IMAGE, **task}


def motion(dice: Dice) -> Step:
    video(dice, frames=6)
    fields = dice.some(
        minimum_contour_area=dice.one(1, 50, 400), morphological_kernel_size=dice.one(1, 2, 3, 7),
        threshold=dice.one(1, 16, 60), history=dice.one(1, 3, 30),
        suppress_first_detections=dice.one(True, False),
    )  # fmt: skip
    return {"type": "roboflow_core/motion_detection@v1", "image": IMAGE, **fields}


def background(dice: Dice) -> Step:
    video(dice, frames=4)
    return {"type": "roboflow_core/background_subtraction@v1", "image": IMAGE,
            **dice.some(threshold=dice.one(1, 16, 80), history=dice.one(1, 3, 30))}  # fmt: skip


def focus(dice: Dice) -> Step:
    still(dice)
    dice.tags = ["visualization", "text"]
    fields = dice.some(
        underexposed_threshold_percent=dice.one(0.0, 3.0, 40.0), overexposed_threshold_percent=dice.one(60.0, 97.0, 100.0),
        show_zebra_warnings=dice.one(True, False), grid_overlay=dice.one("None", "2x2", "3x3", "4x4", "5x5"),
        show_focus_peaking=dice.one(True, False), show_center_marker=dice.one(True, False),
        detections=BOXES,
    )  # fmt: skip
    return {"type": "roboflow_core/camera_focus@v2", "image": IMAGE, "show_hud": False, **fields}


def byte_tracker(dice: Dice, version: int) -> Step:
    video(dice, frames=16)
    dice.tags = ["tracker"]
    where = {"image": IMAGE} if version > 1 else {"metadata": "$inputs.image.video_metadata"}
    fields = dice.some(
        track_activation_threshold=dice.one(0.1, 0.25, 0.6, 0.95), lost_track_buffer=dice.one(1, 5, 30),
        minimum_matching_threshold=dice.one(0.5, 0.8, 0.95), minimum_consecutive_frames=dice.one(1, 2, 3),
    )  # fmt: skip
    return {"type": f"roboflow_core/byte_tracker@v{version}", **where, "detections": BOXES, **fields}


def tracker(dice: Dice, name: str) -> Step:
    video(dice, frames=12)
    dice.tags = ["tracker"]
    fields: dict[str, Any] = {
        "minimum_iou_threshold": dice.one(0.05, 0.3, 0.6),
        "minimum_consecutive_frames": dice.one(1, 2, 3),
        "lost_track_buffer": dice.one(1, 5, 30),
        "track_activation_threshold": dice.one(0.2, 0.5, 0.8),
        "high_conf_det_threshold": dice.one(0.3, 0.6),
    }
    if name == "sort":
        del fields["high_conf_det_threshold"]
    if name == "ocsort":
        del fields["track_activation_threshold"]
        fields |= {"direction_consistency_weight": dice.one(0.0, 0.2, 0.8), "delta_t": dice.one(1, 3)}
    if name == "botsort":
        del fields["minimum_iou_threshold"]
        fields |= {
            "minimum_iou_threshold_first_assoc": dice.one(0.1, 0.3),
            "minimum_iou_threshold_second_assoc": dice.one(0.3, 0.6),
            "instant_first_frame_activation": dice.one(True, False),
        }
    return {
        "type": f"roboflow_core/trackers_{name}@v1",
        "image": IMAGE,
        "detections": BOXES,
        **dice.some(**fields),
    }


def drawn(dice: Dice, name: str, **fields: Any) -> Step:
    dice.tags = ["visualization", "text"] if "label" in name or "line" in name else ["visualization"]
    return {
        "type": f"roboflow_core/{name}",
        "image": IMAGE,
        **dice.some(copy_image=dice.one(True, False), **fields),
    }


def coloured(dice: Dice, name: str, *form: str, **fields: Any) -> Step:
    still(dice, "ids", *form)
    step = drawn(
        dice, name, color_axis=dice.one("INDEX", "CLASS", "TRACK"), palette_size=dice.one(1, 3, 10), **fields
    )
    step["color_palette"] = dice.one(*PALETTES)
    if step["color_palette"] == "CUSTOM":
        step["custom_colors"] = ["#FF0000", "#00FF00", "#0000FF"]
    return {**step, "predictions": BOXES}


def labels(dice: Dice, version: int) -> Step:
    fields: dict[str, Any] = {
        "text": dice.one(
            "Class", "Confidence", "Class and Confidence", "Index", "Dimensions", "Area", "Tracker Id"
        ),
        "text_position": dice.anchor(),
        "text_color": dice.one("WHITE", "BLACK", "#12AB34"),
        "text_scale": dice.one(0.3, 0.5),
        "text_thickness": dice.one(1, 2),
        "text_padding": dice.one(0, 3),
        "border_radius": dice.one(0, 4),
    }
    return coloured(dice, f"label_visualization@v{version}", **fields)


def trace(dice: Dice) -> Step:
    step = coloured(dice, "trace_visualization@v1", position=dice.anchor(), trace_length=dice.one(1, 3, 30),
                    thickness=dice.one(1, 3))  # fmt: skip
    video(dice, "ids", frames=6)
    return step


def simple(dice: Dice, kind: str) -> Step:
    """Drawings that take no colours by class."""
    still(dice, *dice.one((), ("masks",)))
    if kind == "blur":
        fields: dict[str, Any] = {"kernel_size": dice.one(1, 5, 15), "padding": dice.one(0, 4)}
        return {**drawn(dice, "blur_visualization@v1", **fields), "predictions": BOXES}
    paint = {"color": dice.one("#5bb573", "RED", "rgb(10, 20, 200)"), "opacity": dice.one(0.0, 0.3, 1.0)}
    if kind == "zone":
        return {**drawn(dice, "polygon_zone_visualization@v1", **paint), "zone": dice.zone()}
    fields = {
        **paint,
        "thickness": dice.one(1, 4),
        "text_scale": dice.one(0.3, 0.6),
        "count_in": 3,
        "count_out": 12,
    }
    return {**drawn(dice, "line_counter_visualization@v1", **fields), "zone": [[10, 20], [140, 100]]}


BLOCKS: dict[str, Callable[[Dice], Step]] = {
    "line_counter1": lambda d: line_counter(d, 1),
    "line_counter2": lambda d: line_counter(d, 2),
    "time_in_zone2": lambda d: time_in_zone(d, 2),
    "time_in_zone3": lambda d: time_in_zone(d, 3),
    "velocity": velocity,
    "overlap": overlap,
    "event_log": event_log,
    "aggregator": aggregator,
    "consensus": consensus,
    "overlap_analysis": overlap_analysis,
    "combine": stitch,
    "merge": merge,
    "buffer": buffer,
    "frame_delay": frame_delay,
    "offset": offset,
    "per_class": per_class,
    "stabilize": stabilize,
    "class_lock": class_lock,
    "absolute_crop": absolute_crop,
    "relative_crop": relative_crop,
    "dynamic_crop": dynamic_crop,
    "slicer1": lambda d: slicer(d, 1),
    "slicer2": lambda d: slicer(d, 2),
    "perspective": perspective,
    "preprocessing": preprocessing,
    "motion": motion,
    "background": background,
    "focus": focus,
    "byte1": lambda d: byte_tracker(d, 1),
    "byte2": lambda d: byte_tracker(d, 2),
    "byte3": lambda d: byte_tracker(d, 3),
    "sort": lambda d: tracker(d, "sort"),
    "bytetrack": lambda d: tracker(d, "bytetrack"),
    "ocsort": lambda d: tracker(d, "ocsort"),
    "botsort": lambda d: tracker(d, "botsort"),
    "boxes": lambda d: coloured(
        d, "bounding_box_visualization@v1", thickness=d.one(1, 4), roundness=d.one(0.0, 0.4, 1.0)
    ),
    "mask": lambda d: coloured(d, "mask_visualization@v1", "masks", opacity=d.one(0.0, 0.5, 1.0)),
    "labels1": lambda d: labels(d, 1),
    "labels2": lambda d: labels(d, 2),
    "trace": trace,
    "blur": lambda d: simple(d, "blur"),
    "zone": lambda d: simple(d, "zone"),
    "line": lambda d: simple(d, "line"),
}


def case(name: str, seed: int) -> dict[str, Any]:
    """A workflow of one step with its inputs."""
    dice = Dice(seed * 1009 + sum(map(ord, name)))
    dice.begin()
    step = BLOCKS[name](dice)
    kind = MASKS if "masks" in dice.form else OBJECTS
    inputs: list[dict[str, Any]] = [
        {"type": "WorkflowImage", "name": "image"},
        {"type": "WorkflowBatchInput", "name": "p", "kind": [kind]},
        {"type": "WorkflowBatchInput", "name": "q", "kind": [kind]},
        *({"type": "WorkflowParameter", "name": name} for name in dice.parameters),
    ]
    runs = []
    for number in range(dice.frames):
        dice.prefix = "p"
        values: dict[str, Any] = {"image": dice.picture(number), "p": dice.detections(number)}
        dice.prefix = "q"
        values["q"] = dice.detections(number)
        runs.append({"inputs": values | dice.parameters})
    if "$inputs.image.video_metadata" in step.values():
        step["metadata"] = "$inputs.meta"
        inputs.append({"type": "WorkflowVideoMetadata", "name": "meta"})
        for run in runs:
            run["inputs"]["meta"] = run["inputs"]["image"]["video_metadata"]
    return {
        "id": f"{name}-{seed}",
        "tags": dice.tags,
        "workflow": {
            "version": "1.0",
            "inputs": inputs,
            "steps": [*dice.before, {"name": "s", **step}],
            "outputs": [{"type": "JsonField", "name": "all", "selector": "$steps.s.*"}],
        },
        "runs": runs,
    }
