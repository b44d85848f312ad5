"""Matrices as a picture: every one of them visible, places of a strip above the columns that belong to them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from guardrail.run.heatmap import LINE, MARGIN, MOST_SIDE, heatmap_png


def drawn(**matrices: np.ndarray) -> np.ndarray:
    with Image.open(io.BytesIO(heatmap_png(matrices))) as picture:
        return np.asarray(picture.convert("L"))


def test_a_matrix_with_a_row_per_place_lies_under_its_strip():
    """Five places, eight states; the third place is in the last state, and nowhere else anything is dark."""
    path, posterior = np.array([0, 0, 7, 0, 0]), np.zeros((5, 8))
    posterior[2, 7] = 1
    scale, top = MOST_SIDE // 8, MARGIN + LINE
    picture = drawn(path=path, posterior=posterior)
    under = top + scale + MARGIN + LINE
    dark = np.argwhere(picture[top : top + scale] < 60), np.argwhere(picture[under:] < 60)
    for places in dark:
        assert places[:, 1].min() == MARGIN + 2 * scale and places[:, 1].max() == MARGIN + 3 * scale - 1
    assert dark[1][:, 0].min() == 7 * scale


def test_heads_lie_side_by_side_and_no_matrix_is_too_small_to_see():
    heads, constant = np.zeros((2, 3, 3)), np.ones((4, 4))
    heads[1, 0, 0] = 1
    picture = drawn(attention=heads, constant=constant, long=np.arange(2000.0))
    assert picture.shape[1] > 2000 and picture.shape[0] > 3 * LINE
    scale = MOST_SIDE // 7  # two heads and the gap between them
    assert picture[MARGIN + LINE, MARGIN + 4 * scale] < 60 and picture[MARGIN + LINE, MARGIN] > 200
