"""Run-length masks, compared with the coder whose form it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runtime import masks

coco = pytest.importorskip("pycocotools.mask")
BITMAPS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def reference(bitmap):
    return coco.encode(np.asfortranarray(bitmap, np.uint8))["counts"].decode()


@given(BITMAPS)
def test_a_bitmap_is_coded_as_the_coco_api_codes_it_and_comes_back(bitmap):
    rle = masks.encode(bitmap)
    assert rle["counts"] == reference(bitmap)
    assert (masks.decode(rle) == bitmap).all()
    assert masks.area(rle) == bitmap.sum()


@given(BITMAPS, st.tuples(*[st.integers(0, 3)] * 4))
def test_a_window_is_coded_as_the_whole_mask_around_it(bitmap, rims):
    left, right, top, bottom = rims
    whole = np.pad(bitmap, ((top, bottom), (left, right)))
    assert masks.encode(bitmap, size_hw=whole.shape, at_xy=(left, top))["counts"] == reference(whole)


@given(BITMAPS)
def test_bounds_are_those_of_the_pixels_inside(bitmap):
    x1, y1, x2, y2 = masks.bounds(masks.encode(bitmap))
    rows, columns = np.nonzero(bitmap)
    outer = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if bitmap.any() else [0] * 4
    assert [x1, y1, x2, y2] == outer


def test_long_runs_need_several_characters():
    bitmap = np.zeros((1500, 1500), np.bool_)
    bitmap[3:1400, 700:702] = True
    assert masks.encode(bitmap)["counts"] == reference(bitmap)
    assert (masks.decode(masks.encode(bitmap)) == bitmap).all()


def test_a_window_outside_of_its_mask_is_refused():
    with pytest.raises(ValueError, match="does not lie"):
        masks.encode(np.ones((2, 2)), size_hw=(4, 4), at_xy=(3, 0))


@pytest.mark.parametrize("counts", ["", "P", "0`", "\x01", "4", "9999", "Z" * 40])
def test_text_that_is_no_mask_of_this_size_is_refused(counts):
    with pytest.raises(ValueError):
        masks.decode({"size": [3, 3], "counts": counts})
