from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch.distributions import Dirichlet

from emer.errors import EmerError
from emer.losses.listwise import lambdarank_loss
from emer.models.grade import GradeRanker
from emer.models.harmonrank import HarmonRank
from emer.objectives.base import details_needed
from emer.objectives.draws import Draws
from emer.objectives.grade import GradeObjective
from emer.objectives.satisfaction import satisfaction_level
from emer.requests import RequestBatch

B, N, K = 5, 9, 4


@pytest.fixture
def batch(batch_of) -> RequestBatch:
    return batch_of(B=B, N=N, seed=2)


@pytest.fixture
def details() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(5)
    return {
        "concentration": 1 + torch.rand(B, K, generator=g) * 2,
        "values": torch.randn(B, N, K, generator=g),
        "anchor_concentration": 1 + torch.rand(B, K, generator=g) * 2,
    }


def scores_of(details) -> torch.Tensor:
    alpha = details["concentration"]
    return ((alpha / alpha.sum(dim=1, keepdim=True)).unsqueeze(1) * details["values"]).sum(dim=-1)


def parts(s: np.ndarray, w: np.ndarray, batch: RequestBatch, b: int, low: float, high: float, k: int):
    """AUC (None without both classes), NDCG@k and penalty of one request, by loops."""
    aucs = []
    shown = [i for i in range(N) if batch.exposed[b, i]]
    for m in range(3):
        positive = [s[i] for i in shown if batch.label[b, i, m] == 1]
        negative = [s[i] for i in shown if batch.label[b, i, m] == 0]
        if positive and negative:
            wins = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
            aucs.append(sum(wins) / len(wins))
    valid = [i for i in range(N) if batch.mask[b, i]]
    order = sorted(valid, key=lambda i: -s[i])[:k]
    shares = []
    for j in range(K):
        p = batch.pxtr[b, :, j].double().numpy()
        best = sorted((p[i] for i in valid), reverse=True)[:k]
        dcg, ideal = (sum(x / math.log2(r + 2) for r, x in enumerate(xs)) for xs in ([p[i] for i in order], best))
        shares.append(dcg / ideal)
    penalty = sum(max(0, low - x) + max(0, x - high) for x in w)
    return (sum(aucs) / len(aucs) if aucs else None), sum(shares) / K, penalty


SETTINGS = dict(
    auc_weight=0.8, dcg_weight=0.6, range_weight=2.0, weight_low=0.15, weight_high=0.3, k=3, seed=7
)  # fmt: skip


def warmed_up(**options) -> GradeObjective:
    """The objective behind a warm start of one batch; without any there is no KL."""
    objective = GradeObjective(warm_start_steps=1, **options)
    objective.steps.fill_(1)
    return objective


def test_the_value_is_that_of_the_served_weights(batch, details) -> None:
    objective = warmed_up(**SETTINGS, kl_weight=0.4).eval()
    s = scores_of(details)
    output = objective(s, batch, None, details)
    alpha, beta = details["concentration"].double(), details["anchor_concentration"].double()
    w = (alpha / alpha.sum(dim=1, keepdim=True)).numpy()
    found = [parts(s[b].numpy(), w[b], batch, b, 0.15, 0.3, 3) for b in range(B)]
    aucs = [auc for auc, _, _ in found if auc is not None]
    a0, b0 = alpha.sum(dim=1), beta.sum(dim=1)
    kl = torch.lgamma(a0) - torch.lgamma(alpha).sum(1) - torch.lgamma(b0) + torch.lgamma(beta).sum(1)
    kl = kl + ((alpha - beta) * (torch.digamma(alpha) - torch.digamma(a0).unsqueeze(1))).sum(1)
    expected = [
        1 - sum(aucs) / len(aucs),
        1 - sum(dcg for _, dcg, _ in found) / B,
        sum(x for _, _, x in found) / B,
        kl.mean().item(),
    ]
    assert tuple(output.terms) == objective.term_names(batch.schema)
    assert [x.item() for x in output.terms.values()] == pytest.approx(expected, rel=1e-5)
    assert output.counts["label_auc_loss"].item() == len(aucs)
    # Without the KL, which only the gradient has.
    total = 0.8 * expected[0] + 0.6 * expected[1] + 2 * expected[2]
    assert objective.total(output.terms).item() == output.loss.item()
    assert output.loss.item() == pytest.approx(total, rel=1e-5)
    assert int(objective.steps) == 1


def test_the_gradient_is_that_of_the_group_relative_policy_loss(batch, details) -> None:
    objective = warmed_up(**SETTINGS, group_size=6, kl_weight=0.4)
    alpha = details["concentration"].clone().requires_grad_()
    given = {**details, "concentration": alpha}
    output = objective(scores_of(given), batch, None, given)
    output.loss.backward()
    with torch.random.fork_rng():
        torch.manual_seed(Draws(7).next(torch.device("cpu")).initial_seed())
        w = Dirichlet(details["concentration"].double()).sample((6,))
    twin = details["concentration"].clone().requires_grad_()
    a = twin.double()
    losses = []
    for b in range(B):
        rewards = []
        for g in range(6):
            s = (details["values"][b].double() @ w[g, b]).numpy()
            auc, dcg, penalty = parts(s, w[g, b].numpy(), batch, b, 0.15, 0.3, 3)
            rewards.append(0.8 * (auc or 0.0) + 0.6 * dcg - 2 * penalty)
        r = np.array(rewards)
        advantage = (r - r.mean()) / (r.std() + 1e-8)
        constant = torch.lgamma(a[b].sum()) - torch.lgamma(a[b]).sum()
        for g in range(6):
            losses.append(-advantage[g] * (constant + ((a[b] - 1) * w[g, b].log()).sum()) / 6)
    policy = torch.stack(losses).sum() / B
    anchor = Dirichlet(details["anchor_concentration"].double())
    kl = torch.distributions.kl_divergence(Dirichlet(a), anchor).mean()
    (policy + 0.4 * kl).backward()
    torch.testing.assert_close(alpha.grad, twin.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        output.loss.item(), objective.eval()(scores_of(details), batch, None, details).loss.item()
    )


def test_the_warm_start_is_lambda_loss_and_ends(batch, details) -> None:
    objective = GradeObjective(warm_start_steps=2, k=3)
    s = scores_of(details).requires_grad_()
    level = satisfaction_level(batch)
    of_requests = []
    for b in range(B):
        shown = batch.exposed[b]
        if shown.any() and level[b, shown].unique().numel() > 1:
            of_requests.append(lambdarank_loss(s[b, shown], level[b, shown].unsqueeze(-1), k=3))
    expected = torch.stack(of_requests).mean()
    for _ in range(2):
        torch.testing.assert_close(objective(s, batch, None, details).loss, expected)
        objective.eval()
        objective(s, batch, None, details)  # validation does not count
        objective.train()
    third = objective(s, batch, None, details)
    assert abs(third.loss - expected) > 1e-3
    assert not third.loss.requires_grad  # the scores no longer matter, only the concentrations


def test_without_kl_or_warm_start_the_anchor_does_not_matter(batch, details) -> None:
    """Without a warm start the anchor is a network as it was drawn: nothing to stay near to."""

    def gradient(objective: GradeObjective, anchor: torch.Tensor) -> torch.Tensor:
        alpha = details["concentration"].clone().requires_grad_()
        given = {**details, "concentration": alpha, "anchor_concentration": anchor}
        objective(scores_of(given), batch, None, given).loss.backward()
        return alpha.grad

    one, other = details["anchor_concentration"], details["anchor_concentration"] * 3
    for make in (lambda: warmed_up(kl_weight=0.0), lambda: GradeObjective(warm_start_steps=0, kl_weight=0.3)):
        assert torch.equal(gradient(make(), one), gradient(make(), other))
    assert (gradient(warmed_up(kl_weight=0.3), one) - gradient(warmed_up(kl_weight=0.3), other)).abs().max() > 1e-3


@pytest.mark.parametrize(("batches", "warned"), [(0, True), (200, True), (201, False), (math.inf, False)])
def test_a_plan_without_policy_gradient_is_warned_about(batches, warned, caplog) -> None:
    GradeObjective(warm_start_steps=200).check_plan(batches)
    assert ("method.objective.warm_start_steps is 200" in caplog.text) == warned


def test_the_policy_finds_the_objective_that_the_labels_follow(batch_of) -> None:
    """Value 2 is the label itself; the others are noise."""
    batch = batch_of(B=16, N=12, seed=1, full=True)
    values = torch.randn(16, 12, K, generator=torch.Generator().manual_seed(0))
    values[..., 2] = 3 * batch.label.sum(dim=-1)
    raw = torch.zeros(16, K, requires_grad=True)
    objective = GradeObjective(warm_start_steps=0, dcg_weight=0.0, kl_weight=0.0)
    optimiser = torch.optim.Adam([raw], lr=0.05)
    for _ in range(150):
        alpha = 1 + torch.nn.functional.softplus(raw)
        given = {"concentration": alpha, "values": values, "anchor_concentration": alpha.detach()}
        optimiser.zero_grad()
        objective(scores_of(given), batch, None, given).loss.backward()
        optimiser.step()
    weights = (1 + torch.nn.functional.softplus(raw)).detach().mean(dim=0)
    assert weights[2] > 2 * weights[[0, 1, 3]].max()


def test_draws_are_reproducible_resume_and_leave_the_global_ones_alone(batch, details) -> None:
    def gradient(objective: GradeObjective) -> torch.Tensor:
        alpha = details["concentration"].clone().requires_grad_()
        given = {**details, "concentration": alpha}
        objective(scores_of(given), batch, None, given).loss.backward()
        return alpha.grad

    one = GradeObjective(warm_start_steps=0, seed=3)
    torch.manual_seed(11)
    first = gradient(one)
    after = torch.rand(3)
    torch.manual_seed(11)
    assert torch.equal(after, torch.rand(3))
    saved = copy.deepcopy(one.state_dict())
    second = gradient(one)
    assert not torch.equal(first, second)
    again, resumed = GradeObjective(warm_start_steps=0, seed=3), GradeObjective(warm_start_steps=0, seed=3)
    assert torch.equal(gradient(again), first)
    resumed.load_state_dict(saved)
    assert torch.equal(gradient(resumed), second)
    assert int(resumed.steps) == 2


def test_nothing_exposed_and_pxtrs_of_zero_are_finite(batch, details) -> None:
    batch.exposed.zero_()
    batch.pxtr.zero_()
    for warm_start_steps in (0, 1):
        alpha = details["concentration"].clone().requires_grad_()
        given = {**details, "concentration": alpha}
        output = GradeObjective(warm_start_steps=warm_start_steps)(scores_of(given), batch, None, given)
        output.loss.backward()
        assert output.loss.isfinite()
        assert alpha.grad.isfinite().all()
        assert output.terms["label_auc_loss"].item() == 0
        assert output.terms["pxtr_dcg_loss"].item() == 0
        assert output.counts["label_auc_loss"].item() == 0


def test_needs_a_model_with_concentrations(schema, batch, details) -> None:
    assert details_needed(GradeObjective(), GradeRanker(schema)) == GradeRanker.gives
    with pytest.raises(EmerError, match=r"GradeObjective needs concentration, values.*HarmonRank.*method=grade"):
        details_needed(GradeObjective(), HarmonRank(schema))
    del details["values"]
    for given in (None, details):
        with pytest.raises(EmerError, match="needs concentration, values, anchor_concentration"):
            GradeObjective()(torch.zeros(B, N), batch, None, given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warm_start_steps": -1}, "warm_start_steps is -1"),
        ({"group_size": 1}, "group_size is 1; it must be at least 2"),
        ({"k": 0}, "k is 0"),
        ({"kl_weight": -0.1}, "kl_weight is -0.1"),
        ({"dcg_weight": math.nan}, "dcg_weight is nan"),
        ({"auc_weight": 0.0, "dcg_weight": 0.0}, "both 0"),
        ({"weight_low": 0.9}, "weight_low and weight_high are 0.9 and 0.8"),
        ({"weight_high": 1.5}, "weight_high are 0.01 and 1.5"),
        ({"seed": -2}, "seed is -2"),
    ],
)
def test_bad_settings_are_refused(arguments, message) -> None:
    with pytest.raises(EmerError, match=f"method.objective.*{message}"):
        GradeObjective(**arguments)
