from __future__ import annotations

import torch

from emer.models.min_max import min_max


def test_each_objective_and_request_has_a_range_of_its_own() -> None:
    pxtr = torch.tensor([[[0.2, 30.0], [0.6, 10.0], [0.3, 50.0]], [[0.9, 7.0], [0.5, 7.0], [0.4, 99.0]]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    expected = torch.tensor(
        [
            [[0.0, 20 / 40], [1.0, 0.0], [0.1 / 0.4, 1.0]],
            # The third is padding, and the second objective constant without it.
            [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
        ]
    )
    torch.testing.assert_close(min_max(pxtr, mask), expected)


def test_the_unit_drops_out() -> None:
    pxtr = torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 5, dtype=torch.bool)
    rare = min_max(pxtr * 2.0**-30, mask)
    assert torch.equal(rare, min_max(pxtr, mask))
    assert rare.amax() == 1
