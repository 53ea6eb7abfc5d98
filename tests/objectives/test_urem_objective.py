from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch

from emer.errors import EmerError
from emer.losses import urem_similarity_loss
from emer.objectives.urem import UremObjective, UremObjectiveConfig


@pytest.fixture
def batch(batch_of):
    return batch_of(B=5, N=9, seed=2)


def drawn(*shape, seed: int = 5) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def scores() -> torch.Tensor:
    return drawn(5, 9)


@pytest.fixture
def logits() -> torch.Tensor:
    return drawn(5, 9, 4, seed=6)


def only(term: str, **options) -> UremObjective:
    """The objective with one term, at the factor 1."""
    switches = {name: name == term for name in ("exposure", "similarity", "reconstruction")}
    return UremObjective(**{**switches, "pairs": "all", f"{term}_weight": 1.0, **options})


def bce(z: float, y: float) -> float:
    p = 1 / (1 + math.exp(-z))
    return -y * math.log(p) - (1 - y) * math.log(1 - p)


def test_exposure_is_a_mean_of_candidates_then_of_requests(batch, scores) -> None:
    means = []
    for b in range(5):
        places = [i for i in range(9) if batch.mask[b, i]]
        means.append(sum(bce(float(scores[b, i]), float(batch.exposed[b, i])) for i in places) / len(places))
    output = only("exposure")(scores, batch)
    assert float(output.loss) == pytest.approx(sum(means) / 5)
    assert int(output.counts["exposure"]) == 5


def test_a_label_for_exposure_reads_exposed_candidates_only(batch, scores) -> None:
    exposed = batch.exposed.clone()
    exposed[3] = False
    label = batch.label * exposed.unsqueeze(-1)
    batch = replace(batch, exposed=exposed, label=label)
    means = []
    for b in range(5):
        places = [i for i in range(9) if exposed[b, i]]
        if places:
            means.append(sum(bce(float(scores[b, i]), float(label[b, i, 2])) for i in places) / len(places))
    output = only("exposure", exposure_label="like")(scores, batch)
    assert len(means) == 4
    assert float(output.loss) == pytest.approx(sum(means) / 4)
    assert int(output.counts["exposure"]) == 4


def test_an_unknown_label_for_exposure_is_refused(batch, scores) -> None:
    with pytest.raises(EmerError, match=r"method\.objective\.exposure_label.*click"):
        only("exposure", exposure_label="gift")(scores, batch)


@pytest.mark.parametrize("scope", ["batch", "request"])
def test_similarity_by_brute_force(scope, batch, scores) -> None:
    """The weighted sum over objectives of the mean over requests of the mean over pairs."""
    factors = {"pctr": 1.0, "pvtr": 0.0, "pltr": 2.5, "pcmtr": 1.0}
    total = 0.0
    expected = {}
    for k, name in enumerate(batch.schema.objective_names):

        def standardised(values, b):
            of = values[batch.mask] if scope == "batch" else values[b, batch.mask[b]]
            return (values[b, batch.mask[b]] - of.mean()) / of.std(correction=0)

        losses = []
        for b in range(5):
            z, p = standardised(scores, b), standardised(batch.pxtr[..., k].double(), b)
            pairs = [(i, j) for i in range(len(z)) for j in range(i)]
            gaps = [math.tanh((z[i] - z[j]) / 2) * math.tanh((p[i] - p[j]) / 2) for i, j in pairs]
            losses.append(-sum(gaps) / len(pairs))
        expected[name] = sum(losses) / 5
        total += factors[name] * expected[name]
    objective = only("similarity", scope=scope, objective_weights={"pltr": 2.5, "pvtr": 0.0})
    output = objective(scores, batch)
    assert float(output.loss) == pytest.approx(total, rel=1e-5)
    for name, value in expected.items():
        assert float(output.terms[f"similarity/{name}"]) == pytest.approx(value, rel=1e-5)


def test_similarity_rewards_the_pxtrs_order_and_has_a_sign(batch, scores) -> None:
    objective = only("similarity", objective_weights={"pvtr": 0, "pltr": 0, "pcmtr": 0})
    best = float(objective(batch.pxtr[..., 0], batch).loss)
    assert best < float(objective(scores, batch).loss)
    assert float(objective(-batch.pxtr[..., 0], batch).loss) == pytest.approx(-best)


def test_reconstruction_of_probabilities_and_squeezed_seconds(batch, scores, logits) -> None:
    means = []
    for b in range(5):
        for k in range(4):
            losses = []
            for i in range(9):
                if batch.mask[b, i]:
                    p = float(batch.pxtr[b, i, k])
                    target = p / (p + 20) if k == batch.schema.watch_index else p
                    losses.append(bce(float(logits[b, i, k]), target))
            means.append(sum(losses) / len(losses))
    output = UremObjective(
        exposure=True, similarity=False, exposure_weight=1e-9, reconstruction_weight=3.0, watch_scale=20.0
    )(scores, batch, None, {"reconstruction": logits})
    expected = sum(means) / len(means)
    assert float(output.terms["reconstruction"]) == pytest.approx(expected, rel=1e-5)
    assert float(output.loss) == pytest.approx(3 * expected, rel=1e-5)


def test_the_loss_is_the_weighted_sum_of_its_terms_and_so_is_total(batch, scores, logits) -> None:
    objective = UremObjective(exposure_weight=0.5, similarity_weight=3.0, reconstruction_weight=7.0, pairs="all")
    output = objective(scores, batch, None, {"reconstruction": logits})
    t = {name: float(value) for name, value in output.terms.items()}
    expected = 0.5 * t["exposure"] + 3.0 * t["similarity"] + 7.0 * t["reconstruction"]
    assert float(output.loss) == pytest.approx(expected)
    assert float(objective.total(output.terms)) == pytest.approx(expected)
    assert t["similarity"] == pytest.approx(sum(t[f"similarity/{name}"] for name in batch.schema.objective_names))
    assert tuple(output.terms) == objective.term_names(batch.schema)
    assert not objective.needs_previous


@pytest.mark.parametrize("off", [{"reconstruction": False}, {"reconstruction": False, "reconstruction_weight": 0.0}])
def test_without_reconstruction_any_scorer_will_do(off, batch, scores) -> None:
    objective = UremObjective(**off, pairs="all")
    assert objective.needs == ()
    output = objective(scores, batch)
    assert "reconstruction" not in output.terms
    assert tuple(output.terms) == objective.term_names(batch.schema)
    with_nan = objective(scores, batch, None, {"reconstruction": torch.full((5, 9, 4), torch.nan)})
    assert torch.equal(with_nan.loss, output.loss)


def test_reconstruction_that_the_model_does_not_give_is_refused(batch, scores) -> None:
    objective = UremObjective()
    assert objective.needs == ("reconstruction",)
    with pytest.raises(EmerError, match=r"method\.objective\.reconstruction.*decoder"):
        objective(scores, batch)


@pytest.mark.parametrize("term", ["exposure", "similarity"])
def test_a_term_that_is_off_is_gone(term, batch, scores, logits) -> None:
    objective = UremObjective(**{term: False}, pairs="all")
    output = objective(scores, batch, None, {"reconstruction": logits})
    assert not any(name.startswith(term) for name in output.terms)
    assert tuple(output.terms) == objective.term_names(batch.schema)
    full = UremObjective(pairs="all")(scores, batch, None, {"reconstruction": logits})
    weight = {"exposure": 1.0, "similarity": 2.0}[term]
    assert float(full.loss - output.loss) == pytest.approx(weight * float(full.terms[term]))


@pytest.mark.parametrize("quirks", [False, True])
def test_padding_is_not_read(quirks, batch, scores, logits) -> None:
    options = {"reference_quirks": True, "pairs": 50} if quirks else {"pairs": "all"}
    objective = UremObjective(reconstruction=quirks is False, **options).eval()
    output = objective(scores, batch, None, {"reconstruction": logits})
    hole = ~batch.mask
    changed = objective(
        scores.masked_fill(hole, torch.nan),
        replace(batch, pxtr=batch.pxtr.masked_fill(hole.unsqueeze(-1), torch.nan)),
        None,
        {"reconstruction": logits.masked_fill(hole.unsqueeze(-1), torch.nan)},
    )
    torch.testing.assert_close(changed.loss, output.loss)


def test_drawn_pairs_are_fixed_in_evaluation_and_new_in_training(batch, scores) -> None:
    objective = only("similarity", pairs=10)
    torch.manual_seed(0)
    training = [float(objective(scores, batch).loss) for _ in range(3)]
    assert len(set(training)) == 3
    objective.eval()
    state = torch.get_rng_state()
    assert len({float(objective(scores, batch).loss) for _ in range(3)}) == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_many_draws_come_near_to_all_pairs(batch, scores) -> None:
    everything = float(only("similarity")(scores, batch).loss)
    torch.manual_seed(0)
    assert float(only("similarity", pairs=20_000)(scores, batch).loss) == pytest.approx(everything, abs=0.02)


def test_gradient_is_that_of_the_losses_and_none_reaches_the_pxtrs(batch, scores) -> None:
    s = scores.clone().requires_grad_()
    only("similarity")(s, batch).loss.backward()
    t = scores.clone().requires_grad_()
    (4 * urem_similarity_loss(t, batch.pxtr, where=batch.mask)).backward()
    torch.testing.assert_close(s.grad, t.grad)


def test_single_candidates_and_nothing_exposed_are_finite(batch_of) -> None:
    batch = batch_of(B=3, N=1, full=True)
    batch = replace(batch, exposed=torch.zeros_like(batch.exposed), label=torch.zeros_like(batch.label))
    for options in ({}, {"exposure_label": "click"}, {"reference_quirks": True}):
        s = torch.randn(3, 1).requires_grad_()
        output = UremObjective(**options)(s, batch, None, {"reconstruction": torch.zeros(3, 1, 4)})
        output.loss.backward()
        assert torch.isfinite(output.loss)
        assert torch.isfinite(s.grad).all()
        assert float(output.terms["similarity"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exposure": False, "similarity": False, "reconstruction": False}, "nothing is left"),
        ({"exposure_weight": 0, "similarity_weight": 0, "reconstruction_weight": 0}, "nothing is left"),
        ({"exposure": False, "similarity": False}, "does not train the score"),
        ({"reconstruction_weight": 0}, r"reconstruction_weight is 0, .*set method\.objective\.reconstruction=false"),
        ({"exposure_weight": -1.0}, "exposure_weight"),
        ({"similarity_weight": math.nan}, "similarity_weight"),
        ({"reconstruction_weight": math.inf}, "reconstruction_weight"),
        ({"scope": "user"}, "scope"),
        ({"pairs": 0}, "pairs"),
        ({"pairs": "some"}, "pairs"),
        ({"pairs": True}, "pairs"),
        ({"watch_scale": 0.0}, "watch_scale"),
        ({"reference_quirks": True, "pairs": "all"}, "pairs"),
        ({"reference_quirks": True, "scope": "request"}, "scope"),
    ],
)
def test_wrong_options_are_refused_by_their_key(options, message) -> None:
    with pytest.raises(EmerError, match=rf"method\.objective.*{message}"):
        UremObjective(**options)


def test_an_unknown_objective_is_refused(batch, scores) -> None:
    with pytest.raises(EmerError, match=r"objective_weights names pgtr.*pctr"):
        only("similarity", objective_weights={"pgtr": 1.0})(scores, batch)


def test_the_config_has_every_argument() -> None:
    arguments = UremObjective.__init__.__kwdefaults__
    assert {f.name for f in fields(UremObjectiveConfig)} - {"_target_"} == set(arguments)
