"""On eight requests each network comes close to what free scores, one per candidate, reach on its own loss."""

from __future__ import annotations

import pytest
import torch
from tests.methods.conftest import RANKERS

STEPS = 500

OVERRIDES = {"intel": ["method.model.weight_norm=none"]}
"""Softmax weights keep IntEL's score gaps within [-1, 1], so that no pair loss can come near its optimum."""

NETWORKS = [method for method in RANKERS if method not in ("linear", "grade")]
"""A linear layer cannot learn by heart; GRADE's loss is one of K weights per request, and not of free scores."""


def loss_of_free_scores(module, batch) -> tuple[float, float]:
    """Loss of constant scores, and the least over free scores, with the model's details as they are."""
    details = []
    if module.details:
        _, given = module.model.forward_with_details(batch)
        details = [{name: value.detach() for name, value in given.items()}]
    free = torch.zeros(batch.mask.shape, requires_grad=True)
    optimiser = torch.optim.Adam([free], lr=0.1)
    start = best = float("inf")
    for step in range(500):
        optimiser.zero_grad()
        loss = module.objective(free, batch, None, *details).loss
        start = loss.item() if step == 0 else start
        best = min(best, loss.item())
        loss.backward()
        optimiser.step()
    return start, best


@pytest.mark.slow
@pytest.mark.parametrize("method", NETWORKS)
def test_eight_requests_are_learned_by_heart(method, build, tables) -> None:
    batch = tables["train"].batch(range(8))
    module = build(batch.schema, f"method={method}", *OVERRIDES.get(method, []))
    fit = getattr(getattr(module.model, "features", None), "fit", None)
    if fit is not None:
        fit(batch)
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(STEPS):
        optimiser.zero_grad()
        _, output = module.evaluate_objective(batch)
        output.loss.backward()
        optimiser.step()
    with torch.no_grad():
        _, output = module.evaluate_objective(batch)
    start, best = loss_of_free_scores(module, batch)
    print(f"{method}: constant {start:.4f}, free {best:.4f}, network {output.loss.item():.4f}")
    assert output.loss.item() <= best + 0.05 * max(abs(best), start - best)
