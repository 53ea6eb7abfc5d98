"""The first places, found by selection, by sorting and by torch."""

from __future__ import annotations

import pytest
import torch

from emer.metrics import places
from emer.metrics.places import first_places, values_at
from emer.ranking import descending_order


@pytest.mark.parametrize("longest", [0, 64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 4, 30])
def test_selection_and_sort_break_ties_by_position(monkeypatch, longest: int, dtype: torch.dtype, k: int) -> None:
    monkeypatch.setattr(places, "LONGEST_SELECTION", longest)
    g = torch.Generator().manual_seed(k)
    values = (torch.randint(-4, 5, (5, 20, 3), generator=g) / 2).to(dtype)
    where = torch.rand(5, 20, generator=g) < 0.7
    where[0] = False
    position, placed = first_places(values, k, where)
    order = descending_order(values.transpose(1, 2), where.unsqueeze(1)).transpose(1, 2)[:, :k]
    assert position.shape == order.shape and placed.shape == (5, min(k, 20), 1)
    assert placed.sum(dim=(1, 2)).tolist() == where.sum(dim=1).clamp(max=k).tolist()
    assert torch.equal(position.masked_fill(~placed, 0), order.masked_fill(~placed, 0))


@pytest.mark.parametrize("longest", [0, 64])
def test_neighbouring_doubles_are_not_ties(monkeypatch, longest: int) -> None:
    monkeypatch.setattr(places, "LONGEST_SELECTION", longest)
    one = torch.tensor(1.0, dtype=torch.float64)
    values = torch.stack([one, torch.nextafter(one, 2 * one)]).view(1, 2, 1)
    assert first_places(values, 1, torch.ones(1, 2, dtype=torch.bool))[0].item() == 1


def test_values_past_the_last_candidate_are_zero() -> None:
    values = torch.tensor([[[torch.nan], [3.0], [5.0]]])
    position, placed = first_places(values[..., 0].unsqueeze(-1), 3, torch.tensor([[False, True, True]]))
    assert values_at(values, position, placed)[0, :, 0].tolist() == [5.0, 3.0, 0.0]


def test_any_number_of_threads(monkeypatch) -> None:
    g = torch.Generator().manual_seed(0)
    values, where = torch.randn(64, 300, 3, generator=g), torch.rand(64, 300, generator=g) < 0.9
    found = {}
    for longest in (0, 64):
        monkeypatch.setattr(places, "LONGEST_SELECTION", longest)
        for threads in (1, 3):
            torch.set_num_threads(threads)
            try:
                found[longest, threads] = first_places(values, 10, where)[0]
            finally:
                torch.set_num_threads(1)
    assert all(torch.equal(p, found[0, 1]) for p in found.values())
