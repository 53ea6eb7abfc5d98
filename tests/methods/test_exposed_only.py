"""Where training leaves out what was not exposed, it trains as if it did not."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from .conftest import RANKERS

ALONE = ("harmonrank", "pantheon", "pointwise_mlp")
OBJECTIVES = ("rank_sum", "bce", "label_aggregation", "policy_gradient", "pairwise_logistic", "pairwise_square", "aucm")
PAIRS = [*product(ALONE, OBJECTIVES), ("pantheon", "pantheon"), ("harmonrank", "umre")]


def settings(method: str, objective: str) -> list[str]:
    pxtr = ["method.model.inputs=pxtr"] if method == "pantheon" != objective else []
    return [f"method={method}", f"objective={objective}", *pxtr]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "objective"), PAIRS)
def test_leaving_out_the_unexposed_changes_no_gradient(method, objective, build, tables) -> None:
    batch = tables["train"].batch(range(24))
    few = batch.exposed_only()
    assert few.mask.shape[1] < batch.mask.shape[1]
    found = []
    for given in (batch, few):
        module = build(batch.schema, *settings(method, objective))
        assert module.trains_on_exposed
        module.train()
        torch.manual_seed(1)
        loss = module.evaluate_objective(given)[1].loss
        loss.backward()
        found.append((loss.detach(), {name: p.grad for name, p in module.named_parameters() if p.grad is not None}))
    (loss, gradients), (same_loss, same_gradients) = found
    torch.testing.assert_close(same_loss, loss, rtol=1e-5, atol=1e-6)
    assert gradients.keys() == same_gradients.keys() and gradients
    for name, gradient in gradients.items():
        assert torch.allclose(same_gradients[name], gradient, rtol=1e-4, atol=5e-6), name


@pytest.mark.parametrize("method", sorted(set(RANKERS) - set(ALONE)))
def test_models_that_look_at_the_list_train_on_all_of_it(method, build, tables) -> None:
    more = {"urem": ["objective=bce", "method.model.decoder=false"], "grade": []}.get(method, ["objective=bce"])
    module = build(tables["train"].schema, f"method={method}", *more)
    assert not module.trains_on_exposed


def test_the_training_step_takes_the_exposed_alone(build, tables) -> None:
    module = build(tables["train"].schema, "method=harmonrank")
    seen = []
    module.log_dict = lambda *_, **__: None
    module.model.register_forward_pre_hook(lambda _, given: seen.append(given[0].mask.shape[1]))
    batch = tables["train"].batch(range(8))
    module.training_step(batch, 0)
    module.evaluate_objective(batch)
    assert seen == [int(batch.exposed.sum(dim=1).max()), batch.mask.shape[1]]
