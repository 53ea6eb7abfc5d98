"""Single-task networks: each is an MLP, and none knows of the others."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from emer.pxtr.single_task import SingleTask

SIZES, NUMBERS, K, H, T, D = (5, 3), 4, 3, 6, 7, 8


def networks() -> SingleTask:
    torch.manual_seed(0)
    return SingleTask(SIZES, NUMBERS, K, H, T, D)


def batch(n: int = 9) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    categories = torch.stack([torch.randint(s, (n,), generator=g) for s in SIZES], dim=1)
    return categories.int(), torch.randn(n, NUMBERS, generator=g)


def parts(net: SingleTask, k: int, *, of_gradient: bool = False) -> dict[str, Tensor]:
    """Objective k's share of each parameter, or of its gradient."""
    values = {name: p.grad if of_gradient else p.detach() for name, p in net.named_parameters()}
    table = values.pop("embedding.weight")
    return {name: value[k].clone() for name, value in values.items()} | {"embedding": table[:, k * D : (k + 1) * D]}


def test_single_task_is_one_mlp_per_objective() -> None:
    net = networks()
    categories, numbers = batch()
    out = net(categories, numbers)
    for k in range(K):
        p = {name: value.double().numpy() for name, value in parts(net, k).items()}
        table = np.split(p["embedding"], [SIZES[0]])
        for i in range(len(numbers)):
            x = np.concatenate([table[0][categories[i, 0]], table[1][categories[i, 1]], numbers[i].double().numpy()])
            first = np.maximum(x @ p["layer.weight"] + p["layer.bias"], 0)
            hidden = np.maximum(first @ p["towers"] + p["tower_bias"], 0)
            np.testing.assert_allclose(out.hidden[i, k].detach(), hidden, rtol=1e-5, atol=1e-5)
            logit = hidden @ p["heads"] + p["head_bias"]
            np.testing.assert_allclose(out.logit[i, k].detach(), logit, rtol=1e-5, atol=1e-5)


def test_single_task_objectives_share_no_parameter() -> None:
    net = networks()
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for k in range(K) for p in parts(net, k).values())
    net(*batch()).logit[:, 1].square().sum().backward()
    assert all(gradient.abs().sum() > 0 for gradient in parts(net, 1, of_gradient=True).values())
    for other in (0, 2):
        assert all(gradient.abs().sum() == 0 for gradient in parts(net, other, of_gradient=True).values())


def test_training_all_objectives_is_training_each_alone() -> None:
    together, alone = networks(), networks()
    target = torch.randn(9, K, generator=torch.Generator().manual_seed(2))
    for net, learnt in ((together, [0, 1, 2]), (alone, [1])):
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
        for _ in range(5):
            optimizer.zero_grad()
            (net(*batch()).logit - target)[:, learnt].square().mean(0).sum().backward()
            optimizer.step()
    for one, other in zip(parts(together, 1).values(), parts(alone, 1).values(), strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(parts(together, 0)["towers"], parts(alone, 0)["towers"])
