"""What every loss of the room must hold, run over one table of losses.

A loss that is not in the table fails the first test. Values by hand and oracles stand in each loss's own file.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

import emer.losses
from emer.losses.arguments import reduce_objectives
from emer.losses.auc_pairs import auc_pair_loss
from emer.losses.aucm import aucm_loss, aucm_min_max_loss
from emer.losses.bce import multi_objective_bce_loss, reconstruction_loss
from emer.losses.candidate_weighted import candidate_weighted_pairwise_loss
from emer.losses.graded import graded_pairwise_loss
from emer.losses.intel import intel_bpr_loss, intel_mse_loss, intel_pl_loss
from emer.losses.label_aggregation import label_aggregation_loss
from emer.losses.listwise import lambdarank_loss, listnet_loss
from emer.losses.pairwise import pairwise_logistic_loss
from emer.losses.pairwise_square import pairwise_square_loss
from emer.losses.soft_rank import rank_sum_auc_loss
from emer.losses.urem import urem_similarity_loss


@dataclass(frozen=True)
class Row:
    """One loss under some options, and what is not true of it."""

    function: Callable[..., Tensor]
    targets: Literal["pxtr", "labels", "grades"]
    options: dict[str, Any] = field(default_factory=dict)
    needs_contrast: bool = True
    """0, without gradient, where all targets are equal."""
    needs_two: bool = True
    """0, without gradient, for a single candidate."""
    requests_apart: bool = True
    """A request's loss does not depend on the others of its batch."""
    objectives_apart: bool = True
    """A loss per objective, linear in the weights; else one loss in all."""
    whole_gradient: bool = True
    """The gradient is the derivative of the value; else some scale is held constant."""

    @property
    def name(self) -> str:
        return "-".join([self.function.__name__, *(f"{k}={v}" for k, v in self.options.items() if k not in PARAMETERS)])

    def __call__(self, scores: Tensor, targets: Tensor, **arguments: Any) -> Tensor:
        return ADAPTERS.get(self.function, self.function)(scores, targets, **self.options, **arguments)


def same_logit_for_all(scores: Tensor, targets: Tensor, **arguments: Any) -> Tensor:
    return reconstruction_loss(scores.unsqueeze(-1).expand(*scores.shape, targets.shape[-1]), targets, **arguments)


def column_by_column(
    scores: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    where: Tensor | None = None,
    reduction: Any = "mean",
) -> Tensor:
    columns = [graded_pairwise_loss(scores, column, where=where, reduction="none") for column in targets.unbind(dim=-1)]
    return reduce_objectives(torch.stack(columns, dim=-1), weights, reduction)


def equally_weighted(scores: Tensor, targets: Tensor, **arguments: Any) -> Tensor:
    return candidate_weighted_pairwise_loss(scores, targets, torch.full_like(scores, 0.7), **arguments)


ADAPTERS: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    reconstruction_loss: same_logit_for_all,
    graded_pairwise_loss: column_by_column,
    candidate_weighted_pairwise_loss: equally_weighted,
}
"""For losses with other arguments than (..., N) scores and (..., N, K) targets."""


PARAMETERS = {"a": torch.tensor(0.6), "b": torch.tensor(0.3), "alpha": torch.tensor(0.4)}

POINTWISE: dict[str, Any] = dict(needs_contrast=False, needs_two=False)

TABLE = [
    Row(pairwise_logistic_loss, "pxtr"),
    Row(pairwise_logistic_loss, "pxtr", {"ties": "half"}, needs_contrast=False),
    Row(pairwise_logistic_loss, "pxtr", {"method": "near_linear"}),
    Row(pairwise_logistic_loss, "pxtr", {"method": "dense"}),
    Row(candidate_weighted_pairwise_loss, "pxtr"),
    Row(auc_pair_loss, "labels"),
    Row(auc_pair_loss, "labels", {"method": "near_linear"}),
    Row(auc_pair_loss, "labels", {"method": "compact"}),
    Row(graded_pairwise_loss, "grades"),
    Row(pairwise_square_loss, "pxtr"),
    Row(pairwise_square_loss, "grades", {"squash": False}),
    Row(aucm_loss, "labels"),
    Row(aucm_loss, "labels", {"squash": False, "margin": 0.5}),
    Row(aucm_min_max_loss, "labels", PARAMETERS),
    Row(aucm_min_max_loss, "labels", {**PARAMETERS, "prior_weighted": True, "squash": False}),
    Row(rank_sum_auc_loss, "labels", whole_gradient=False),
    Row(rank_sum_auc_loss, "labels", {"squash": False, "method": "torch"}, whole_gradient=False),
    Row(multi_objective_bce_loss, "labels", **POINTWISE),
    Row(reconstruction_loss, "pxtr", **POINTWISE),
    Row(label_aggregation_loss, "labels", objectives_apart=False, **POINTWISE),
    Row(urem_similarity_loss, "pxtr", requests_apart=False, whole_gradient=False),
    Row(urem_similarity_loss, "pxtr", {"scope": "request"}, whole_gradient=False),
    Row(listnet_loss, "pxtr", needs_contrast=False),
    Row(lambdarank_loss, "grades", {"k": 4}),
    Row(intel_mse_loss, "grades", **POINTWISE),
    Row(intel_bpr_loss, "grades"),
    Row(intel_pl_loss, "grades"),
]

over_all_losses = pytest.mark.parametrize("loss", TABLE, ids=lambda row: row.name)


def test_every_loss_is_in_the_table() -> None:
    public = set()
    for module in pkgutil.walk_packages(emer.losses.__path__, "emer.losses."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if name.endswith("_loss") and not name.startswith("_") and inspect.isfunction(inspect.unwrap(value)):
                public.add(name)
    assert len(public) > 10
    assert public == {row.function.__name__ for row in TABLE}


def example(loss: Row, B: int = 4, N: int = 9, K: int = 3, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Scores that ask for a gradient, targets and mask; each request has contrast in all its objectives."""
    g = torch.Generator().manual_seed(0)
    scores = torch.randn(B, N, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    grades = torch.randint(0, 4, (B, N, K), generator=g)
    grades[:, 0], grades[:, 1] = 0, 2
    targets = {
        "labels": (grades > 1).to(dtype),
        "grades": grades.to(dtype),
        # Some pxtrs are tied.
        "pxtr": torch.where(grades == 3, 0.5, torch.rand(B, N, K, generator=g)).to(dtype),
    }[loss.targets]
    where = torch.rand(B, N, generator=g) < 0.8
    where[:, :2] = True
    return [scores, targets, where]


def gradient(value: Tensor, scores: Tensor) -> Tensor:
    """Of a sum with different factors, so that nothing cancels; the loss must depend on the scores."""
    factor = torch.linspace(1, 2, value.numel(), dtype=value.dtype).view(value.shape)
    return torch.autograd.grad((value * factor).sum(), scores)[0]


def assert_same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@over_all_losses
def test_the_example_has_a_loss_in_every_objective(loss: Row) -> None:
    """Else the tests below would compare zeros."""
    s, t, where = example(loss)
    per_objective = loss(s, t, where=where, reduction="per_objective")
    assert (per_objective != 0).all()
    assert (gradient(per_objective, s) != 0).any(dim=-1).all()


@over_all_losses
def test_mask_is_deletion(loss: Row) -> None:
    s, t, where = example(loss)
    for b in range(len(s)):
        kept = where[b]
        masked = loss(s[b], t[b], where=kept, reduction="per_objective")
        deleted = loss(s[b, kept], t[b, kept], reduction="per_objective")
        assert_same(masked, deleted)
        assert_same(gradient(masked, s), gradient(deleted, s))


@over_all_losses
@pytest.mark.parametrize("filler", [torch.nan, torch.inf, -torch.inf])
def test_what_stands_on_padding_is_not_read(loss: Row, filler: float) -> None:
    s, t, where = example(loss)
    before = loss(s, t, where=where, reduction="per_objective")
    dirty = s.detach().masked_fill(~where, filler).requires_grad_()
    after = loss(dirty, t.masked_fill(~where.unsqueeze(-1), filler), where=where, reduction="per_objective")
    assert torch.equal(before, after)
    assert torch.equal(gradient(before, s), gradient(after, dirty))
    assert (gradient(loss(s, t, where=where, reduction="none"), s)[~where] == 0).all()


@over_all_losses
def test_order_of_candidates_does_not_matter(loss: Row) -> None:
    s, t, where = example(loss)
    order = torch.randperm(s.shape[1], generator=torch.Generator().manual_seed(1))
    base = loss(s, t, where=where, reduction="per_objective")
    moved_scores = s.detach()[:, order].requires_grad_()
    moved = loss(moved_scores, t[:, order], where=where[:, order], reduction="per_objective")
    assert_same(moved, base)
    assert_same(gradient(moved, moved_scores), gradient(base, s)[:, order])


@over_all_losses
def test_order_of_objectives_does_not_matter(loss: Row) -> None:
    s, t, where = example(loss)
    base = loss(s, t, where=where, reduction="per_objective")
    moved = loss(s, t.flip(-1), where=where, reduction="per_objective")
    assert_same(moved, base.flip(-1))


@over_all_losses
@pytest.mark.parametrize("filler", [1.0, torch.nan])
def test_all_masked_is_nothing(loss: Row, filler: float) -> None:
    s, t, where = example(loss)
    s = torch.full_like(s, filler).requires_grad_()
    value = loss(s, torch.full_like(t, filler), where=torch.zeros_like(where))
    value.backward()
    assert value.item() == 0
    assert s.grad is not None
    assert torch.equal(s.grad, torch.zeros_like(s))


@over_all_losses
def test_a_request_without_candidates_leaves_the_others_alone(loss: Row) -> None:
    s, t, where = example(loss)
    where[1] = False
    kept = [0, 2, 3]
    value = loss(s, t, where=where, reduction="none")
    assert value[1].item() == 0
    assert_same(value[kept], loss(s[kept], t[kept], where=where[kept], reduction="none"))


@over_all_losses
def test_one_candidate(loss: Row) -> None:
    s, t, _ = example(loss, N=2)
    s, t = s[:, 1:], t[:, 1:]
    value = loss(s, t, reduction="none")
    slope = gradient(value, s)
    assert value.isfinite().all()
    assert slope.isfinite().all()
    assert bool((value == 0).all()) == loss.needs_two
    assert bool((slope == 0).all()) == loss.needs_two


@over_all_losses
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_targets_give_exactly_nothing_to_compare(loss: Row, dtype: torch.dtype) -> None:
    s, t, where = example(loss, dtype=dtype)
    for constant in (0.0, 1.0):
        value = loss(s, torch.full_like(t, constant), where=where, reduction="none")
        if loss.needs_contrast:
            assert (value == 0).all()
            assert (gradient(value, s) == 0).all()
        else:
            assert (value != 0).all()


@over_all_losses
def test_any_leading_axes(loss: Row) -> None:
    s, t, where = example(loss, B=6)
    flat = loss(s, t, where=where, reduction="per_objective")
    deep = loss(s.view(2, 3, -1), t.view(2, 3, *t.shape[1:]), where=where.view(2, 3, -1), reduction="per_objective")
    assert torch.equal(deep.flatten(0, 1), flat)
    assert_same(gradient(deep, s), gradient(flat, s))
    lists = [loss(s[b], t[b], where=where[b], reduction="per_objective") for b in range(6)]
    if loss.requests_apart:
        assert_same(torch.stack(lists), flat)
    else:
        alone = [loss(s[b : b + 1], t[b : b + 1], where=where[b : b + 1]) for b in range(6)]
        assert_same(torch.stack([x.mean() for x in lists]), torch.stack(alone))


@over_all_losses
def test_repeating_the_requests_leaves_the_mean(loss: Row) -> None:
    s, t, where = example(loss)
    twice = loss(s.repeat(2, 1), t.repeat(2, 1, 1), where=where.repeat(2, 1))
    assert_same(twice, loss(s, t, where=where))


@over_all_losses
def test_reductions_agree(loss: Row) -> None:
    s, t, where = example(loss)
    per_objective = loss(s, t, where=where, reduction="per_objective")
    assert per_objective.shape == (4, 3 if loss.objectives_apart else 1)
    assert_same(loss(s, t, where=where, reduction="none"), per_objective.mean(dim=-1))
    assert_same(loss(s, t, where=where), per_objective.mean())
    weights = torch.rand(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    per_objective = loss(s, t, where=where, weights=weights, reduction="per_objective")
    assert_same(loss(s, t, where=where, weights=weights, reduction="none"), per_objective.mean(dim=-1))
    assert_same(gradient(loss(s, t, where=where, weights=weights), s), gradient(per_objective.mean(), s))


@over_all_losses
@pytest.mark.parametrize("shape", [(3,), (4, 3)])
def test_weights_act_linearly(loss: Row, shape: tuple[int, ...]) -> None:
    if not loss.objectives_apart:
        pytest.skip("its weights make the target")
    s, t, where = example(loss)
    g = torch.Generator().manual_seed(1)
    one, other = (torch.rand(shape, dtype=torch.float64, generator=g) for _ in range(2))

    def weighted(weights: Tensor) -> tuple[Tensor, Tensor]:
        value = loss(s, t, where=where, weights=weights, reduction="none")
        return value, gradient(value, s)

    plain = loss(s, t, where=where, reduction="per_objective")
    assert_same(loss(s, t, where=where, weights=one, reduction="per_objective"), one * plain)
    for both, a, b in zip(weighted(2 * one + 3 * other), weighted(one), weighted(other), strict=True):
        assert_same(both, 2 * a + 3 * b)
    one.requires_grad_()
    (of_weights,) = torch.autograd.grad(loss(s, t, where=where, weights=one), one)
    assert_same(of_weights, (plain / plain.numel()).sum_to_size(shape))


EXTREMES: dict[str, Callable[[Tensor], Tensor]] = {
    "large": lambda x: 1e4 * x,
    "tiny": lambda x: 1e-6 * x,
    "offset": lambda x: x + 1e3,
    "offset and large": lambda x: 1e4 * x - 1e3,
    "equal": lambda x: torch.full_like(x, 0.1),
    "zero": lambda x: torch.zeros_like(x),
    "two values": lambda x: x.sign() * 1e4,
    "Cauchy": lambda x: torch.tan(torch.pi * (torch.special.ndtr(x) - 0.5)),
}


def extreme_cases() -> list[Any]:
    return [pytest.param(row, name, id=f"{name}-{row.name}") for row in TABLE for name in EXTREMES]


@pytest.mark.parametrize(("loss", "extreme"), extreme_cases())
def test_extreme_scores_in_float32(loss: Row, extreme: str) -> None:
    s, t, where = example(loss, B=3, N=40, dtype=torch.float32)
    s = EXTREMES[extreme](s.detach()).requires_grad_()
    value = loss(s, t, where=where, reduction="per_objective")
    slope = gradient(value, s)
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    assert slope.isfinite().all()
    exact_scores = s.detach().double().requires_grad_()
    exact = loss(exact_scores, t.double(), where=where, reduction="per_objective")
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)
    exact_slope = gradient(exact, exact_scores)
    scale = exact_slope.abs().max().item()
    torch.testing.assert_close(slope.double(), exact_slope, rtol=1e-4, atol=1e-5 * scale + 1e-9)


@over_all_losses
def test_float32_and_float64_agree(loss: Row) -> None:
    values, slopes = [], []
    for dtype in (torch.float32, torch.float64):
        s, t, where = example(loss, N=60, dtype=dtype)
        # The same numbers in both.
        s = s.detach().float().to(dtype).requires_grad_()
        value = loss(s, t.float().to(dtype), where=where, reduction="per_objective")
        assert value.dtype == dtype
        values.append(value.double())
        slopes.append(gradient(value, s).double())
    torch.testing.assert_close(*values, rtol=2e-6, atol=2e-7)
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6 * slopes[1].abs().max().item())


@over_all_losses
def test_half_precision_is_computed_in_float32(loss: Row) -> None:
    s, t, where = example(loss, dtype=torch.float32)
    half = s.detach().bfloat16().requires_grad_()
    full = half.detach().float().requires_grad_()
    value = loss(half, t, where=where, reduction="per_objective")
    assert value.dtype == torch.float32
    expected = loss(full, t, where=where, reduction="per_objective")
    assert torch.equal(value, expected)
    # The gradient is in the scores' own type.
    slope = gradient(expected, full)
    torch.testing.assert_close(gradient(value, half).float(), slope, rtol=0.02, atol=0.01 * slope.abs().max().item())


@over_all_losses
def test_autocast_changes_nothing(loss: Row) -> None:
    s, t, where = example(loss, dtype=torch.float32)
    weights = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    outside = loss(s, t, where=where, weights=weights, reduction="per_objective")
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(s, t, where=where, weights=weights, reduction="per_objective")
        slope = gradient(inside, s)
    assert torch.equal(inside, outside)
    assert torch.equal(slope, gradient(outside, s))


@over_all_losses
def test_swapping_a_misordered_pair_lowers_the_loss(loss: Row) -> None:
    targets = {"labels": [1.0, 0.0, 1.0, 0.0], "grades": [3.0, 0.0, 2.0, 1.0], "pxtr": [0.9, 0.1, 0.6, 0.2]}
    t = torch.tensor(targets[loss.targets]).unsqueeze(-1)
    wrong = loss(torch.tensor([0.1, 0.7, 0.4, 0.2]), t)
    right = loss(torch.tensor([0.7, 0.1, 0.4, 0.2]), t)
    assert right < wrong


@over_all_losses
def test_a_step_against_the_gradient_lowers_the_loss(loss: Row) -> None:
    s, t, where = example(loss)
    value = loss(s, t, where=where)
    (slope,) = torch.autograd.grad(value, s)
    step = 1e-3 / slope.abs().max()
    assert loss(s - step * slope, t, where=where) < value


@over_all_losses
def test_gradcheck(loss: Row) -> None:
    s, t, where = example(loss, B=2, N=6)
    if not loss.whole_gradient:
        pytest.skip("the standard deviation is a constant to the gradient")
    weights = torch.rand(3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.5
    function = functools.partial(loss, where=where, weights=weights, reduction="none")
    assert torch.autograd.gradcheck(lambda x: function(x, t), s)


@over_all_losses
def test_no_gradient_is_asked_for_in_an_evaluation(loss: Row) -> None:
    s, t, where = example(loss)
    value = loss(s.detach(), t, where=where)
    assert not value.requires_grad
    assert_same(value, loss(s, t, where=where).detach())
    with torch.no_grad():
        assert_same(loss(s, t, where=where), value)


@over_all_losses
def test_arguments_stay_as_they_were(loss: Row) -> None:
    s, t, where = example(loss)
    weights = torch.rand(4, 3, dtype=torch.float64)
    before = [x.clone() for x in (s, t, where, weights)]
    loss(s, t, where=where, weights=weights).backward()
    assert all(torch.equal(x, y) for x, y in zip(before, (s, t, where, weights), strict=True))


@over_all_losses
def test_an_unknown_reduction_is_refused(loss: Row) -> None:
    s, t, where = example(loss)
    with pytest.raises(ValueError, match="reduction"):
        loss(s, t, where=where, reduction="sum")


@over_all_losses
def test_wrong_shapes_are_refused(loss: Row) -> None:
    s, t, where = example(loss)
    for bad in (t[:, :-1], t[:-1], t[..., 0], t.unsqueeze(0)):
        with pytest.raises(ValueError, match="shape"):
            loss(s, bad, where=where)
    for mask in (where[:, :-1], where[0], where.unsqueeze(-1)):
        with pytest.raises(ValueError, match="shape"):
            loss(s, t, where=mask)


@over_all_losses
def test_weights_of_another_shape_are_refused(loss: Row) -> None:
    s, t, where = example(loss)
    for shape in ((7, 4, 3), (2,), (4,), (3, 1, 3)):
        with pytest.raises(ValueError, match="weights of shape"):
            loss(s, t, where=where, weights=torch.ones(shape, dtype=torch.float64))
