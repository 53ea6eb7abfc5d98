from __future__ import annotations

import pytest
import torch

from emer.errors import EmerError
from emer.models.score_calibration import calibrate_mean_var, mean_var_map

WHERE = torch.tensor([[True, True, False], [True, True, False]])
NEW = torch.tensor([[1.0, 3.0, 9.0], [5.0, 7.0, 9.0]])
OLD = torch.tensor([[10.0, 10.0, -9.0], [14.0, 14.0, 77.0]])


def test_by_hand() -> None:
    """Mean 4 and variance 5 become mean 12 and variance 4."""
    scale = (4 / 5) ** 0.5
    found = mean_var_map(NEW, OLD, where=WHERE)
    assert found == pytest.approx((scale, 12 - 4 * scale))
    expected = torch.tensor([[12 - 3 * scale, 12 - scale, 0], [12 + scale, 12 + 3 * scale, 0]])
    torch.testing.assert_close(calibrate_mean_var(NEW, OLD, where=WHERE), expected)
    torch.testing.assert_close(found(torch.tensor([4.0])), torch.tensor([12.0]))


def test_the_order_stays_and_mean_and_variance_match() -> None:
    g = torch.Generator().manual_seed(0)
    new, old = torch.randn(4, 8, generator=g), torch.rand(4, 8, generator=g) * 3
    found = calibrate_mean_var(new, old)
    assert torch.equal(found.argsort(dim=1), new.argsort(dim=1))
    torch.testing.assert_close(found.mean(), old.mean())
    torch.testing.assert_close(found.var(), old.var())


def test_a_constant_reference_gives_its_mean_and_keeps_the_spread() -> None:
    found = calibrate_mean_var(NEW, torch.full_like(NEW, 2.0))
    torch.testing.assert_close(found.mean(), torch.tensor(2.0))
    torch.testing.assert_close(found.var(), NEW.var())


@pytest.mark.parametrize(
    ("new", "where", "message"),
    [
        (torch.ones(2, 3), WHERE, "all equal"),
        (NEW, torch.zeros_like(WHERE), "no valid candidates"),
        (NEW * torch.inf, WHERE, "not finite"),
    ],
)
def test_what_cannot_be_matched_is_refused(new, where, message) -> None:
    with pytest.raises(EmerError, match=message):
        calibrate_mean_var(new, OLD, where=where)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shape"):
        mean_var_map(NEW, OLD[:1])
