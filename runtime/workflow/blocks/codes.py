"""QR codes and barcodes, found and read by OpenCV."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.workflow.block import Block
from runtime.workflow.fields import gives, image, kinds
from runtime.workflow.values import Array, Detections, ImageValue, objects


class _Codes(Block):
    """Each code a box and its text (`data`); what was found but could not be read has an empty text."""

    class_name = ""
    fields = (image("images"),)

    def run(self, images: ImageValue) -> Detections:
        texts, corners = self.read(np.ascontiguousarray(images.image))
        count = len(texts)
        boxes = self.boxes(np.asarray(corners, np.float64).reshape(-1, 4, 2)[:count])
        return Detections(
            boxes,
            np.ones(count),
            np.zeros(count, np.int64),
            objects([self.class_name] * count),
            self.around.ids.take(count),
            images.wh,
            origin=images.origin,
            data={"data": objects([str(text) for text in texts])},
            prediction_type=f"{self.class_name.replace('_', '')}-detection",
        )

    def boxes(self, corners: Array) -> Array:
        """x1 y1 x2 y2 around the corners (N, 4, 2)."""
        return np.hstack([corners.min(axis=1), corners.max(axis=1)]) if len(corners) else np.zeros((0, 4))

    def read(self, pixels: Any) -> tuple[list[str], Any]:
        """Texts, and corners (N, 4, 2)."""
        raise NotImplementedError


class QrCodes(_Codes):
    types = ("roboflow_core/qr_code_detector@v1", "QRCodeDetector", "QRCodeDetection")
    title = "QR code detection"
    outputs = gives(predictions=kinds("qr_code_detection"))
    class_name = "qr_code"

    def boxes(self, corners: Array) -> Array:
        """From the first corner to the third."""
        return corners[:, [0, 2]].reshape(-1, 4)

    def read(self, pixels: Any) -> tuple[list[str], Any]:
        import cv2

        _, texts, corners, _ = cv2.QRCodeDetector().detectAndDecodeMulti(pixels)
        return list(texts or ()), () if corners is None else corners


class Barcodes(_Codes):
    """EAN-8, EAN-13, UPC-A and UPC-E. The original reads more kinds, with another library."""

    types = ("roboflow_core/barcode_detector@v1", "BarcodeDetector", "BarcodeDetection")
    title = "Barcode detection"
    outputs = gives(predictions=kinds("bar_code_detection"))
    class_name = "barcode"

    def read(self, pixels: Any) -> tuple[list[str], Any]:
        import cv2

        _, texts, corners, _ = cv2.barcode.BarcodeDetector().detectAndDecodeMulti(pixels)
        read = [i for i, text in enumerate(texts or ()) if text]
        return [texts[i] for i in read], np.asarray(corners)[read] if read else ()


BLOCKS: tuple[type[Block], ...] = (QrCodes, Barcodes)
