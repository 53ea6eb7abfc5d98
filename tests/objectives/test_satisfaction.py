from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from emer.objectives.satisfaction import satisfaction_level


@pytest.fixture
def batch(batch_of):
    """One request: click only, long view, long view + like, long view + like + dislike."""
    base = batch_of(B=1, N=4, full=True)
    label = torch.tensor([[[1.0, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]])
    return replace(
        base, exposed=torch.ones(1, 4, dtype=torch.bool), label=label, negative=torch.tensor([[0.0, 0, 0, 1]])
    )


def test_three_levels_and_dislike(batch) -> None:
    assert satisfaction_level(batch).tolist() == [[0, 1, 2, 0]]


def test_net_count(batch) -> None:
    assert satisfaction_level(batch, "net_count").tolist() == [[0, 1, 2, 1]]


def test_many_is_not_finer_than_two(batch, schema) -> None:
    """Resolution A7: three positives rank with two."""
    from emer.requests import Satisfaction

    feedback = tuple(replace(f, satisfaction=Satisfaction.POSITIVE) for f in schema.feedback)
    assert satisfaction_level(replace(batch, schema=replace(schema, feedback=feedback))).tolist() == [[1, 2, 2, 0]]


def test_without_logged_negatives(batch) -> None:
    assert satisfaction_level(replace(batch, negative=None)).tolist() == [[0, 1, 2, 2]]


def test_unknown_rule(batch) -> None:
    with pytest.raises(ValueError, match="three_level"):
        satisfaction_level(batch, "five_level")
