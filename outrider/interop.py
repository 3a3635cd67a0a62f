"""Results as values of the library supervision, which is imported when it is asked for. Owns no model."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.results import Result


def to_supervision(result: Result) -> Any:
    """`Classifications` for the classes of a whole image, else `Detections`; see `Prediction.to_supervision`."""
    import supervision

    if result.classes is not None:
        return supervision.Classifications(
            class_id=np.arange(len(result.classes)), confidence=result.classes.copy()
        )
    if result.semantic is not None:
        return _regions(result)
    metadata = {} if result.embedding is None else {"embedding": result.embedding.copy()}
    return supervision.Detections(
        xyxy=result.boxes.copy(),
        mask=result.bitmaps(),
        confidence=result.scores.copy(),
        class_id=result.class_ids.astype(int),
        data=_data(result),
        metadata=metadata,
    )


def _data(result: Result) -> dict[str, Any]:
    data: dict[str, Any] = {"class_name": np.array(result.class_names, dtype=str)}
    if (corners := result.corners) is not None:
        data["xyxyxyxy"] = corners
    if result.keypoints is not None:
        data["keypoints_xy"] = result.keypoints[:, :, :2].copy()
        data["keypoints_confidence"] = result.keypoints[:, :, 2].copy()
    if result.texts is not None:
        data["text"] = np.array(result.texts, dtype=str)
    return data


def _regions(result: Result) -> Any:
    """One detection for each class of a class map but the background, class 0."""
    import supervision

    assert result.semantic is not None, "the caller has looked"
    classes = [int(i) for i in np.unique(result.semantic) if i]
    masks = np.stack([result.semantic == i for i in classes]) if classes else None
    names = np.array([result.label(i) for i in classes], dtype=str)
    return supervision.Detections(
        xyxy=supervision.mask_to_xyxy(masks) if masks is not None else np.zeros((0, 4), np.float32),
        mask=masks,
        class_id=np.array(classes, int),
        data={"class_name": names},
    )


def to_keypoints(result: Result) -> Any:
    """`supervision.KeyPoints`.

    :raises ValueError: the result has none
    """
    import supervision

    if result.keypoints is None:
        raise ValueError("the model gives no keypoints; ask one whose task is keypoints")
    return supervision.KeyPoints(
        xy=result.keypoints[:, :, :2].copy(),
        keypoint_confidence=result.keypoints[:, :, 2].copy(),
        class_id=result.class_ids.astype(int),
        data={"class_name": np.array(result.class_names, dtype=str)},
    )
