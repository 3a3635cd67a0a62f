import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.model.geometry import Geometry, place
from runtime.model.spec import InputSpec


def spec(**changes):
    return InputSpec("images", 640, 640, **changes)


def test_centred_letterbox_puts_the_odd_pixel_at_the_bottom():
    geometry = place(spec(), 640, 449)
    assert (geometry.left_px, geometry.top_px) == (0, 95)
    assert (geometry.resized_width_px, geometry.resized_height_px) == (640, 449)


def test_resized_size_rounds_half_to_even():
    assert place(spec(), 1280, 849).resized_height_px == 424
    assert place(spec(), 1280, 851).resized_height_px == 426


def test_stretch_fills_the_input_and_has_a_gain_for_each_axis():
    geometry = place(spec(resize="stretch"), 1280, 320)
    assert (geometry.gain_x, geometry.gain_y) == (0.5, 2.0)


def test_centre_crop_has_negative_offsets_on_the_longer_axis():
    geometry = place(InputSpec("x", 224, 224, resize="centre-crop"), 448, 224)
    assert (geometry.left_px, geometry.top_px) == (-112, 0)


def test_boxes_outside_the_image_are_clipped():
    geometry = place(spec(), 640, 320)
    boxes = geometry.to_image(np.array([[-50, 0, 700, 640]], np.float32))
    assert boxes.tolist() == [[0, 0, 640, 320]]


def test_packed_geometry_comes_back():
    geometry = place(spec(resize="centre-crop"), 1920, 1080)
    assert Geometry.unpack(geometry.pack()) == geometry


@given(
    st.integers(16, 4000),
    st.integers(16, 4000),
    st.sampled_from(["letterbox", "stretch", "centre-crop"]),
    st.sampled_from(["centre", "top-left"]),
)
def test_a_box_in_the_tensor_returns_to_its_place_in_the_image(width, height, resize, anchor):
    geometry = place(spec(resize=resize, anchor=anchor), width, height)
    wanted = np.array([[width * 0.25, height * 0.25, width * 0.75, height * 0.75]], np.float32)
    gain = np.array([geometry.gain_x, geometry.gain_y] * 2, np.float32)
    offset = np.array([geometry.left_px, geometry.top_px] * 2, np.float32)
    assert geometry.to_image(wanted * gain + offset) == pytest.approx(wanted, abs=1e-3 * max(width, height))


@given(st.integers(2, 4000), st.integers(2, 4000), st.sampled_from(["centre", "top-left"]))
def test_a_letterboxed_image_lies_within_the_input(width, height, anchor):
    geometry = place(spec(anchor=anchor), width, height)
    assert 0 <= geometry.left_px <= 640 - geometry.resized_width_px
    assert 0 <= geometry.top_px <= 640 - geometry.resized_height_px
