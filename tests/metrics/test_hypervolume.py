"""Fronts and hypervolume: by hand, and against counting cells of a grid."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emer.errors import EmerError
from emer.metrics.hypervolume import hypervolume, non_dominated


def test_two_boxes_overlap_once() -> None:
    points, reference = np.array([[0.7, 0.9], [0.8, 0.6]]), np.array([0.5, 0.5])
    assert hypervolume(points, reference) == pytest.approx(0.2 * 0.4 + 0.3 * 0.1 - 0.2 * 0.1)


def test_three_coordinates_by_inclusion_and_exclusion() -> None:
    points = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 1.0]])
    assert hypervolume(points, np.zeros(3)) == pytest.approx(1 * 2 * 3 + 2 * 3 * 1 - 1 * 2 * 1)


def test_what_is_not_above_the_reference_adds_nothing() -> None:
    reference = np.array([0.5, 0.5])
    assert hypervolume(np.array([[0.9, 0.5], [0.4, 0.9], [0.5, 0.5]]), reference) == 0
    assert hypervolume(np.empty((0, 2)), reference) == 0
    assert hypervolume(np.array([[0.6, 0.7], [0.4, 0.9]]), reference) == pytest.approx(0.1 * 0.2)


def test_dominated_and_equal_points() -> None:
    points = np.array([[1, 3], [2, 2], [3, 1], [2, 1], [2, 2], [1, 2]])
    assert non_dominated(points).tolist() == [True, True, True, False, True, False]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda D: st.lists(st.lists(st.integers(-1, 5), min_size=D, max_size=D), min_size=1, max_size=6)
    )
)
def test_volume_counts_the_cells_below_a_point(points: list[list[int]]) -> None:
    D = len(points[0])
    cells = sum(
        any(all(c < p for c, p in zip(cell, point, strict=True)) for point in points)
        for cell in itertools.product(range(5), repeat=D)
    )
    array = np.array(points, dtype=float)
    assert hypervolume(array, np.zeros(D)) == cells
    front = array[non_dominated(array)]
    assert hypervolume(front, np.zeros(D)) == cells
    dominated = [any(all(q >= p for q, p in zip(b, a, strict=True)) and b != a for b in points) for a in points]
    assert non_dominated(array).tolist() == [not one for one in dominated]


@pytest.mark.parametrize(
    ("points", "reference"), [([[1.0, np.nan]], [0.0, 0.0]), ([1.0, 2.0], [0.0]), ([[1.0, 2.0]], [0.0])]
)
def test_what_is_no_set_of_points_is_refused(points: list[object], reference: list[float]) -> None:
    with pytest.raises(EmerError):
        hypervolume(np.array(points, dtype=float), np.array(reference))
