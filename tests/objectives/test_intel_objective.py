from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch

from emer.errors import EmerError
from emer.models.intel import Intel
from emer.objectives.intel import IntelObjective, IntelObjectiveConfig
from emer.requests import Feedback, Satisfaction

RANK_LOSSES = ("mse", "bpr", "plackett_luce")
every_loss = pytest.mark.parametrize("rank_loss", RANK_LOSSES)


@pytest.fixture
def batch(batch_of):
    """Request 3 has shown nothing, request 4 got no positive feedback, request 5 one grade only."""
    batch = batch_of(B=6, N=9, seed=2)
    exposed, label = batch.exposed.clone(), batch.label.clone()
    exposed[3] = False
    label[3], label[4] = 0, 0
    label[5, :, 1:] = exposed[5].unsqueeze(-1).float()
    assert exposed[4].any()
    assert exposed[5].any()
    return replace(batch, exposed=exposed, label=label, negative=None)


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(6, 9, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.fixture
def details() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(7)
    return {
        "base_scores": torch.rand(6, 9, 4, generator=g, dtype=torch.float64),
        "base_weights": torch.rand(6, 9, 4, generator=g, dtype=torch.float64).softmax(-1),
        "intent_log_probability": torch.randn(6, 14, generator=g, dtype=torch.float64).log_softmax(-1),
        "intent_group": torch.randint(7, (6, 9), generator=g),
    }


def softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def per_request(rank_loss: str, b: int, batch, scores, details, cap: int = 3) -> tuple[float, float] | None:
    """(rank loss, ambiguity) of one request by scanning, None if there is nothing to compare."""
    shown = [n for n in range(9) if batch.exposed[b, n]]
    grade = {n: min(int(batch.label[b, n, 1] + batch.label[b, n, 2]), cap) for n in shown}
    S, K = scores[b].tolist(), range(4)
    s, w = details["base_scores"][b].tolist(), details["base_weights"][b].tolist()
    if rank_loss == "mse":
        if not shown:
            return None
        error = [(S[n] - grade[n] / cap) ** 2 for n in shown]
        spread = [sum(w[n][k] * (s[n][k] - S[n]) ** 2 for k in K) for n in shown]
        return sum(error) / len(shown), sum(spread) / len(shown)
    losses, spreads = [], []
    for n in shown:
        below = [m for m in shown if grade[m] < grade[n]]
        if not below:
            continue

        def gap(k: int, m: int, n: int = n) -> float:
            return (s[n][k] - s[m][k]) - (S[n] - S[m])

        if rank_loss == "bpr":
            nearest = [m for m in below if grade[m] == max(grade[x] for x in below)]
            losses.append(sum(softplus(S[m] - S[n]) for m in nearest) / len(nearest))
            terms = [
                sigmoid(S[n] - S[m]) * sigmoid(S[m] - S[n]) * sum(w[n][k] * gap(k, m) ** 2 for k in K) for m in nearest
            ]
            spreads.append(sum(terms) / len(nearest))
        else:
            e = {m: math.exp(S[m] - S[n]) for m in below}
            losses.append(math.log(1 + sum(e.values())))
            pull = [sum(e[m] * gap(k, m) for m in below) ** 2 for k in K]
            spreads.append(sum(w[n][k] * pull[k] for k in K) / (2 * (1 + sum(e.values())) ** 2))
    if not losses:
        return None
    return sum(losses) / len(losses), sum(spreads) / len(losses)


def intent_of(b: int, batch, details) -> float | None:
    counts = [0.0] * 14
    for n in range(9):
        for p in range(2):
            if batch.exposed[b, n] and batch.label[b, n, 1 + p]:
                counts[7 * p + int(details["intent_group"][b, n])] += 1
    if not sum(counts):
        return None
    t = [c / sum(counts) for c in counts]
    log_p = details["intent_log_probability"][b].tolist()
    ce = -sum(x * y for x, y in zip(t, log_p, strict=True))
    ce -= sum(math.log(1 - math.exp(y)) for x, y in zip(t, log_p, strict=True) if x == 0)
    smooth = [(1 - 1e-3) * x + 1e-3 / 14 for x in t]
    kl = sum(x * (math.log(x) - y) for x, y in zip(smooth, log_p, strict=True))
    return 0.5 * ce + 2 * kl


@every_loss
def test_equals_the_definition_by_scanning(batch, scores, details, rank_loss) -> None:
    objective = IntelObjective(rank_loss=rank_loss, ambiguity_weight=0.3, intent_weight=0.7)
    output = objective(scores, batch, None, details)
    pairs = [x for b in range(6) if (x := per_request(rank_loss, b, batch, scores, details)) is not None]
    intents = [x for b in range(6) if (x := intent_of(b, batch, details)) is not None]
    rank, ambiguity = (sum(x[i] for x in pairs) / len(pairs) for i in range(2))
    intent = sum(intents) / len(intents)
    assert len(pairs) == (5 if rank_loss == "mse" else 3)
    assert len(intents) == 4
    assert list(output.terms) == list(output.counts) == ["rank", "ambiguity", "intent"]
    assert float(output.terms["rank"]) == pytest.approx(rank, rel=1e-6)
    assert float(output.terms["ambiguity"]) == pytest.approx(ambiguity, rel=1e-6)
    assert float(output.terms["intent"]) == pytest.approx(intent, rel=1e-6)
    assert [int(n) for n in output.counts.values()] == [len(pairs), len(pairs), len(intents)]
    assert float(output.loss) == pytest.approx(rank - 0.3 * ambiguity + 0.7 * intent, rel=1e-6)
    assert float(objective.total(output.terms)) == pytest.approx(float(output.loss), rel=1e-6)


def test_the_grade_is_the_number_of_positive_types_up_to_the_cap(batch_of, schema) -> None:
    names = ("click", "long_view", "like", "follow", "comment")
    feedback = tuple(Feedback(n, Satisfaction.POSITIVE if n != "click" else Satisfaction.IGNORED) for n in names)
    batch = batch_of(B=1, N=6, full=True, schema=replace(schema, feedback=feedback))
    rows = [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 0, 1, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
    negative = torch.tensor([[0.0, 0, 0, 0, 0, 2]])
    batch = replace(batch, label=torch.tensor([rows]).float(), exposed=batch.mask, negative=negative)
    assert IntelObjective().grades(batch).tolist() == [[0, 1, 2, 3, 3, 0]]
    assert IntelObjective(grade_cap=2).grades(batch).tolist() == [[0, 1, 2, 2, 2, 0]]
    assert IntelObjective().grades(replace(batch, negative=None)).tolist() == [[0, 1, 2, 3, 3, 3]]


def test_mse_regresses_on_unit_or_on_whole_grades(batch_of) -> None:
    batch = batch_of(B=1, N=3, full=True)
    label = torch.tensor([[[0.0, 1, 1], [0, 1, 0], [0, 0, 0]]])
    batch = replace(batch, exposed=batch.mask, label=label, negative=None)
    s = torch.tensor([[0.9, 0.5, 0.2]])
    off = dict(rank_loss="mse", ambiguity=False, intent_weight=0.0)
    unit = ((0.9 - 2 / 3) ** 2 + (0.5 - 1 / 3) ** 2 + 0.2**2) / 3
    whole = ((0.9 - 2) ** 2 + (0.5 - 1) ** 2 + 0.2**2) / 3
    assert float(IntelObjective(**off)(s, batch).loss) == pytest.approx(unit, rel=1e-5)
    assert float(IntelObjective(**off, unit_grades=False)(s, batch).loss) == pytest.approx(whole, rel=1e-5)


@every_loss
def test_unexposed_candidates_and_order_do_not_matter(batch, scores, details, rank_loss) -> None:
    objective = IntelObjective(rank_loss=rank_loss, ambiguity_weight=1.0, intent_weight=1.0)
    before = objective(scores, batch, None, details).loss
    hidden = ~batch.exposed
    others = {**details, "base_scores": details["base_scores"] + 9.0 * hidden.unsqueeze(-1)}
    noisy = replace(batch, label=torch.where(hidden.unsqueeze(-1), 1.0, batch.label))
    after = objective(scores + 50 * hidden, noisy, None, others).loss
    torch.testing.assert_close(after, before)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    moved = replace(batch, **{n: getattr(batch, n)[:, order] for n in ("mask", "exposed", "label")})
    shuffled = {n: x if n == "intent_log_probability" else x[:, order] for n, x in details.items()}
    torch.testing.assert_close(objective(scores[:, order], moved, None, shuffled).loss, before)


@every_loss
def test_ambiguity_is_rewarded_and_gradient_reaches_the_weights(batch, scores, details, rank_loss) -> None:
    def with_gradient() -> dict[str, torch.Tensor]:
        return {n: x.clone().requires_grad_() if x.is_floating_point() else x for n, x in details.items()}

    inputs, s = with_gradient(), scores.clone().requires_grad_()
    on = IntelObjective(rank_loss=rank_loss, ambiguity_weight=0.5)(s, batch, None, inputs)
    off = IntelObjective(rank_loss=rank_loss, ambiguity=False)(s, batch, None, inputs)
    assert float(on.terms["ambiguity"]) > 0
    assert (off.loss - on.loss).item() == pytest.approx(0.5 * float(on.terms["ambiguity"]), rel=1e-5)
    on.loss.backward()
    for name in ("base_scores", "base_weights", "intent_log_probability"):
        assert inputs[name].grad.abs().max() > 1e-4, name
    assert not s.grad[~batch.exposed].any()
    assert s.grad[batch.exposed].abs().max() > 1e-3


@every_loss
def test_terms_that_are_off_ask_for_nothing(batch, scores, details, rank_loss) -> None:
    plain = IntelObjective(rank_loss=rank_loss, ambiguity=False, intent_weight=0.0)
    assert plain.needs == ()
    assert plain.term_names(batch.schema) == ("rank",)
    output = plain(scores, batch)
    assert list(output.terms) == ["rank"]
    full = IntelObjective(rank_loss=rank_loss)(scores, batch, None, details)
    assert float(output.terms["rank"]) == pytest.approx(float(full.terms["rank"]))
    assert IntelObjective(intent_weight=0.0).needs == ("base_scores", "base_weights")
    assert IntelObjective(ambiguity_weight=0.0).needs == ("intent_log_probability", "intent_group")
    assert IntelObjective(ambiguity_weight=0.0).term_names(batch.schema) == ("rank", "intent")


@pytest.mark.parametrize("there", [None, {"base_scores": torch.zeros(6, 9, 4)}])
def test_a_model_that_gives_too_little_is_refused_with_the_reason(batch, scores, there) -> None:
    with pytest.raises(EmerError, match=r"needs base_weights|needs base_scores, base_weights") as error:
        IntelObjective()(scores, batch, None, there)
    assert "method=intel" in str(error.value)


@every_loss
def test_batches_without_anything_to_learn_are_0(batch, scores, details, rank_loss) -> None:
    empty = replace(batch, exposed=torch.zeros_like(batch.exposed), label=torch.zeros_like(batch.label))
    s = scores.clone().requires_grad_()
    output = IntelObjective(rank_loss=rank_loss)(s, empty, None, details)
    output.loss.backward()
    assert float(output.loss) == 0
    assert [int(n) for n in output.counts.values()] == [0, 0, 0]
    assert not s.grad.any()


@pytest.mark.parametrize("options", [{}, {"intent_category": "topic"}, {"intent": False}, {"item_weights": False}])
@every_loss
def test_the_model_gives_what_the_objective_needs(batch_of, rank_loss, options) -> None:
    batch = batch_of(B=8)
    torch.manual_seed(0)
    model = Intel(batch.schema, **options)
    objective = IntelObjective(rank_loss=rank_loss)
    assert set(objective.needs) <= set(model.gives)
    scores, details = model.forward_with_details(batch)
    output = objective(scores, batch, None, details)
    output.loss.backward()
    assert tuple(output.terms) == objective.term_names(batch.schema)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    has_intent = options.get("intent", True)
    assert (int(output.counts["intent"]) > 0) is has_intent
    assert (float(output.terms["intent"]) > 0) is has_intent


def test_training_together_orders_the_feedback_and_finds_the_intent(batch_of) -> None:
    batch = batch_of(B=8, N=6, full=True)
    likes = (batch.pxtr[..., 2] > 0.5).float()
    label = torch.stack([torch.zeros_like(likes), torch.zeros_like(likes), likes], dim=-1)
    batch = replace(batch, exposed=batch.mask, label=label, negative=None)
    torch.manual_seed(0)
    model, objective = Intel(batch.schema), IntelObjective()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        scores, details = model.forward_with_details(batch)
        output = objective(scores, batch, None, details)
        output.loss.backward()
        optimizer.step()
    scores, details = model.forward_with_details(batch)
    better = likes.unsqueeze(2) > likes.unsqueeze(1)
    assert (scores.unsqueeze(2) > scores.unsqueeze(1))[better].float().mean() > 0.95
    assert details["intent_log_probability"].exp()[likes.any(dim=1), 1].min() > 0.9


def test_a_log_without_positive_feedback_is_refused(schema) -> None:
    neutral = replace(schema, feedback=(Feedback("click"), Feedback("like")))
    with pytest.raises(EmerError, match=r"method\.objective .*positive"):
        IntelObjective().term_names(neutral)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rank_loss", "list"),
        ("ambiguity_weight", -1e-4),
        ("ambiguity_weight", math.nan),
        ("intent_weight", math.inf),
        ("intent_weight", -0.1),
        ("intent_smoothing", 0.0),
        ("intent_smoothing", 1.0),
        ("grade_cap", 0),
    ],
)
def test_bad_options_are_refused_by_their_key(key, value) -> None:
    with pytest.raises(EmerError, match=rf"method\.objective\.{key}"):
        IntelObjective(**{key: value})


def test_the_config_has_every_argument() -> None:
    assert {f.name for f in fields(IntelObjectiveConfig)} - {"_target_"} == set(IntelObjective.__init__.__kwdefaults__)
