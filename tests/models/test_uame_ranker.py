from __future__ import annotations

import math
from dataclasses import replace

import torch

from emer.models.ranker import EmerRanker
from emer.models.uame import UameRanker


def test_the_ranker_without_variance_keeps_its_parameters_and_draws(schema, batch_of) -> None:
    """EMER's head is (head_width, 1), drawn last; all before it are drawn as in the ranker with two outputs."""
    torch.manual_seed(3)
    emer = EmerRanker(schema)
    torch.manual_seed(3)
    uame = UameRanker(schema)
    one, two = emer.state_dict(), uame.state_dict()
    assert list(one) == list(two)
    assert [name for name in one if one[name].shape != two[name].shape] == ["head.2.weight", "head.2.bias"]
    assert one["head.2.weight"].shape == (1, 32)
    assert all(torch.equal(one[name], two[name]) for name in one if not name.startswith("head.2"))
    weight, bias = one["head.2.weight"].repeat(2, 1), one["head.2.bias"].repeat(2)
    uame.load_state_dict({**one, "head.2.weight": weight, "head.2.bias": bias})
    batch = batch_of()
    torch.testing.assert_close(uame(batch), emer(batch))


def test_details_are_the_mean_and_a_bounded_log_variance(schema, batch_of) -> None:
    torch.manual_seed(0)
    model, batch = UameRanker(schema, width=16, heads=2), batch_of(B=4)
    with torch.no_grad():
        model.head[2].weight.mul_(300)
    scores, details = model.forward_with_details(batch)
    assert tuple(details) == model.gives
    assert torch.equal(scores, model(batch))
    raw = model.head_outputs(batch)[..., 1]
    for value, z in zip(details["log_variance"].flatten().tolist(), raw.flatten().tolist(), strict=True):
        assert math.isclose(value, 5 * math.tanh(z / 5), rel_tol=1e-4, abs_tol=1e-6)
    assert raw.abs().max() > 10 > 5 >= details["log_variance"].abs().max()
    assert torch.equal(details["log_variance"][~batch.mask], torch.zeros(int((~batch.mask).sum())))


def test_padding_and_order_of_candidates_do_not_matter(schema, batch_of) -> None:
    torch.manual_seed(0)
    model, batch = UameRanker(schema, width=16, heads=2).eval(), batch_of(B=4)
    shorter = batch.select(torch.tensor([1]))
    n = int(shorter.lengths)
    assert n < 9
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    names = ("pxtr", "rank_gap", "mask", "item_numbers", "item_categories")
    cut = replace(shorter, **{name: getattr(shorter, name)[:, order] for name in names})
    whole, part = (model.forward_with_details(b)[1]["log_variance"] for b in (batch, cut))
    torch.testing.assert_close(part[0], whole[1, order], rtol=1e-4, atol=1e-6)


def test_gradient_reaches_every_parameter(schema, batch_of) -> None:
    torch.manual_seed(0)
    model, batch = UameRanker(schema, width=16, heads=2), batch_of(B=30)
    _, details = model.forward_with_details(batch)
    (details["log_variance"] * torch.randn(30, 9)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
