import cv2
import numpy as np
import pytest

from runtime.model import preprocess
from runtime.model.preprocess import antialiased, normalise, preprocessor
from runtime.model.spec import InputSpec

RANDOM = np.random.default_rng(7)


def picture(width, height):
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def letterboxed(image, spec, left, top, width, height):
    canvas = np.full((spec.height, spec.width, 3), spec.pad, np.uint8)
    canvas[top : top + height, left : left + width] = cv2.resize(image, (width, height))
    return canvas


@pytest.mark.parametrize("colour", ["BGR", "RGB"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_letterbox_writes_image_and_padding_in_the_models_order(layout, colour):
    spec = InputSpec("x", 64, 48, layout=layout, colour=colour, pad=99)
    image = picture(100, 50)
    tensor = np.empty(spec.tensor_shape, np.uint8)
    preprocessor(spec).into(image, tensor)
    wanted = letterboxed(image, spec, 0, 8, 64, 32)
    wanted = wanted if colour == "BGR" else wanted[:, :, ::-1]
    assert np.array_equal(tensor if layout == "NHWC" else tensor.transpose(1, 2, 0), wanted)


def test_a_second_image_of_another_size_leaves_nothing_of_the_first():
    spec = InputSpec("x", 64, 64, colour="BGR", layout="NHWC")
    used, fresh = preprocessor(spec), preprocessor(spec)
    first, second = np.empty((2, *spec.tensor_shape), np.uint8)
    image = picture(128, 32)
    used.into(picture(64, 64), first)
    used.into(image, first)
    fresh.into(image, second)
    assert np.array_equal(first, second)


def test_writes_into_a_slot_of_a_batch():
    spec = InputSpec("x", 32, 32, resize="stretch")
    batch = np.zeros((2, *spec.tensor_shape), np.uint8)
    preprocessor(spec).into(picture(50, 40), batch[1])
    assert batch[1].any()
    assert not batch[0].any()


def test_an_image_that_is_a_view_is_taken_as_it_looks():
    spec = InputSpec("x", 40, 40, resize="stretch", colour="BGR", layout="NHWC")
    image = picture(80, 40)[:, ::-1][:, :40]
    tensor = np.empty(spec.tensor_shape, np.uint8)
    preprocessor(spec).into(image, tensor)
    assert np.array_equal(tensor, image)


def test_centre_crop_takes_the_middle():
    spec = InputSpec("x", 20, 20, resize="centre-crop", colour="BGR", layout="NHWC")
    image = picture(60, 20)
    tensor = np.empty(spec.tensor_shape, np.uint8)
    preprocessor(spec).into(image, tensor)
    assert np.array_equal(tensor, image[:, 20:40])


def test_exact_path_of_floats_keeps_fractions():
    spec = InputSpec("x", 24, 24, resize="stretch", exact="float", colour="BGR", layout="NHWC")
    image = picture(50, 50)
    tensor = np.empty(spec.tensor_shape, np.float32)
    exact = preprocessor(spec, exact=True)
    exact.into(image, tensor)
    assert exact.dtype is np.float32
    assert np.allclose(tensor, cv2.resize(image.astype(np.float32), (24, 24)), atol=1e-4)
    assert not np.array_equal(tensor, np.round(tensor))


def test_live_path_is_bytes_even_where_the_exact_one_is_floats():
    assert preprocessor(InputSpec("x", 24, 24, exact="float")).dtype is np.uint8


def test_antialiased_resize_averages_when_it_shrinks():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, ::2] = 200
    assert np.allclose(antialiased(image, 2, 2), 100, atol=13)
    assert np.array_equal(antialiased(image, 8, 8), image)


def test_normalise_follows_the_formula_by_channel():
    spec = InputSpec("x", 1, 1, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    tensor = np.array([51, 102, 255], np.uint8).reshape(3, 1, 1)
    assert normalise(tensor, spec).ravel() == pytest.approx([0.2, 0.2, 0.35])


@pytest.mark.parametrize("size", [(31, 17), (60, 80), (12, 90)])
def test_the_antialiased_resize_is_pillows_in_every_byte(size):
    pillow = pytest.importorskip("PIL.Image")
    image = np.random.default_rng(7).integers(0, 256, (45, 64, 3), np.uint8)
    expected = np.asarray(pillow.fromarray(image).resize(size, pillow.Resampling.BILINEAR))
    assert (antialiased(image, *size) == expected).all()


def test_a_part_of_the_antialiased_resize_is_that_of_the_whole():
    image = np.random.default_rng(3).integers(0, 256, (9, 40, 3), np.uint8)
    part = antialiased(image, 60, 21, slice(17, 33), slice(4, 9))
    assert np.array_equal(part, antialiased(image, 60, 21)[4:9, 17:33])


def test_a_narrow_picture_is_cropped_without_making_the_whole_of_it():
    """Whole it would be 4 million pixels wide, and its weights more than any memory."""
    image = np.full((1, 20_000, 3), 77, np.uint8)
    spec = InputSpec("x", 224, 224, resize="centre-crop", colour="BGR", layout="NHWC", exact="pil")
    tensor = np.zeros((224, 224, 3), np.float32)
    preprocessor(spec, exact=True).into(image, tensor)
    assert (tensor == 77).all()


@pytest.mark.parametrize(("height", "width"), [(6, 900), (900, 6)])
def test_on_the_live_path_the_crop_of_a_narrow_picture_is_that_of_the_whole(height, width, monkeypatch):
    image = np.random.default_rng(4).integers(0, 256, (height, width, 3), np.uint8)
    spec = InputSpec("x", 64, 64, resize="centre-crop", colour="BGR", layout="NHWC")
    whole, part = np.zeros((2, 64, 64, 3), np.uint8)
    preprocessor(spec).into(image, whole)
    monkeypatch.setattr(preprocess, "_MAX_WHOLE_PX", 1)
    preprocessor(spec).into(image, part)
    assert np.abs(whole.astype(int) - part.astype(int)).max() <= 1
