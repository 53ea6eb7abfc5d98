"""Pareto fronts, and the volume that they dominate."""

from __future__ import annotations

import numpy as np

from emer.errors import EmerError


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Which points no other dominates; higher is better in every coordinate.

    A point dominates another if it is nowhere lower and somewhere higher. Equal points do not dominate each other.

    Args:
        points: (P, D) finite.

    Returns:
        (P,) bool.
    """
    points = _checked(points)
    nowhere_lower = (points[:, None] >= points[None]).all(axis=-1)
    somewhere_higher = (points[:, None] > points[None]).any(axis=-1)
    dominated = np.logical_and(nowhere_lower, somewhere_higher).any(axis=0)
    return np.logical_not(dominated)


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Volume of what ``points`` dominate above ``reference``: the union of the boxes from it to each point.

    Exact, by slices along the last coordinate; the time grows as P^D. What is not above the reference in every
    coordinate adds nothing.

    Args:
        points: (P, D) finite; P may be 0.
        reference: (D,) the corner that the boxes share.

    Raises:
        EmerError: a shape is wrong or a number is not finite.
    """
    points, reference = _checked(points), np.asarray(reference, dtype=np.float64)
    if reference.shape != points.shape[1:] or not np.isfinite(reference).all():
        raise EmerError(f"the reference point is {reference}; give {points.shape[1]} finite numbers")
    return _union(points[(points > reference).all(axis=1)] - reference)


def _union(sizes: np.ndarray) -> float:
    """Volume of the union of boxes from the origin with these sizes (P, D) > 0."""
    if not sizes.size:
        return 0.0
    if sizes.shape[1] == 1:
        return float(sizes.max())
    heights = np.unique(sizes[:, -1])
    lower = np.concatenate([[0.0], heights[:-1]])
    return sum(float(h - low) * _union(sizes[sizes[:, -1] >= h, :-1]) for low, h in zip(lower, heights, strict=True))


def _checked(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or not points.shape[1] or not np.isfinite(points).all():
        raise EmerError(f"points have shape {points.shape} or are not finite; give (P, D) finite numbers")
    return points
