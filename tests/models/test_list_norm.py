from __future__ import annotations

import torch

from emer.models.list_norm import ListNorm


def norm_of(**options) -> ListNorm:
    norm = ListNorm(2, **options).double()
    norm.gain.data = torch.tensor([2.0, 3.0], dtype=torch.float64)
    norm.bias.data = torch.tensor([10.0, 20.0], dtype=torch.float64)
    return norm


def test_statistics_are_over_candidates_and_channels_of_the_valid() -> None:
    """Values 1, 3, 5, 7: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5. The 99 is padding."""
    x = torch.tensor([[[1.0, 3.0], [5.0, 7.0], [99.0, 99.0]]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False]])
    scale = (5 + 1e-6) ** -0.5
    expected = [
        [10 + 2 * (1 - 4) * scale, 20 + 3 * (3 - 4) * scale],
        [10 + 2 * (5 - 4) * scale, 20 + 3 * (7 - 4) * scale],
        [0.0, 0.0],
    ]
    torch.testing.assert_close(norm_of()(x, mask)[0], torch.tensor(expected, dtype=torch.float64))


def test_over_padding_reads_every_place() -> None:
    """Values 1, 3, 5, 7, 0, 2: mean 3, variance (4 + 0 + 4 + 16 + 9 + 1) / 6 = 34 / 6."""
    x = torch.tensor([[[1.0, 3.0], [5.0, 7.0], [0.0, 2.0]]], dtype=torch.float64)
    y = norm_of(over_padding=True)(x, torch.tensor([[True, True, False]]))
    scale = (34 / 6 + 1e-6) ** -0.5
    expected = torch.tensor([10 + 2 * (0 - 3) * scale, 20 + 3 * (2 - 3) * scale], dtype=torch.float64)
    torch.testing.assert_close(y[0, 2], expected)


def test_requests_are_apart() -> None:
    x = torch.randn(2, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(norm_of()(x, mask)[:1], norm_of()(x[:1], mask[:1]))


def test_equal_values_and_padding_of_nan_are_finite() -> None:
    x = torch.full((1, 3, 2), 0.3).requires_grad_()
    mask = torch.tensor([[True, True, False]])
    norm = ListNorm(2)
    filled = torch.where(mask.unsqueeze(-1), x, torch.nan)
    y = norm(filled, mask)
    (y * torch.tensor([1.0, 2.0])).sum().backward()
    assert torch.equal(y, torch.zeros(1, 3, 2))
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
