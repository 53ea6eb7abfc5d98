"""Training and prediction of the MMoE."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from emer.pxtr.features import Encoded
from emer.pxtr.mmoe import MMoE
from emer.pxtr.module import PxtrModule

WATCH = 1


def rows(n: int = 200, seed: int = 0) -> tuple[Encoded, np.ndarray]:
    rng = np.random.default_rng(seed)
    encoded = Encoded(rng.integers(0, 4, (n, 2)).astype(np.int32), rng.normal(size=(n, 3)).astype(np.float32))
    targets = np.stack([rng.random(n) < 0.1, rng.exponential(20, n), rng.random(n) < 0.5], axis=1)
    return encoded, targets.astype(np.float32)


def module(steps: int = 100) -> PxtrModule:
    torch.manual_seed(0)
    return PxtrModule(MMoE((4, 4), 3, 3), WATCH, learning_rate=1e-2, weight_decay=0.0, steps=steps)


def test_loss_is_the_sum_of_cross_entropies_and_the_error_of_log_seconds() -> None:
    m = module()
    encoded, targets = rows()
    m.start_from_base_rates([targets])
    tensors = (torch.from_numpy(encoded.categories), torch.from_numpy(encoded.numbers), torch.from_numpy(targets))
    logit = m.model(*tensors[:2]).logit
    seconds = torch.log1p(tensors[2][:, WATCH].double())
    expected = F.mse_loss(logit[:, WATCH].double(), (seconds - seconds.mean()) / seconds.std(correction=0))
    for k in (0, 2):
        p = torch.sigmoid(logit[:, k].double())
        y = tensors[2][:, k].double()
        expected = expected - (y * p.log() + (1 - y) * (1 - p).log()).mean()
    assert m.training_step(tensors, 0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_training_starts_from_base_rates() -> None:
    m = module()
    encoded, targets = rows()
    with torch.no_grad():
        m.model.heads.zero_()
    m.start_from_base_rates([targets])
    predicted = m.predict(encoded).pxtr
    assert predicted[:, 0] == pytest.approx(np.full(200, targets[:, 0].mean()), abs=1e-6)
    # Without the factor, the watch head's 0 is the mean of log(1 + seconds): a geometric mean.
    geometric = np.expm1(np.log1p(targets[:, WATCH].astype(np.float64)).mean())
    assert predicted[:, WATCH] == pytest.approx(np.full(200, geometric), rel=1e-5)


def test_calibrated_seconds_have_the_right_mean_and_keep_their_order() -> None:
    m = module()
    encoded, targets = rows()
    m.start_from_base_rates([targets])
    before = m.predict(encoded).pxtr[:, WATCH]
    m.calibrate_watch([(encoded, targets[:, WATCH])])
    after = m.predict(encoded).pxtr[:, WATCH]
    assert before.mean() < 0.9 * targets[:, WATCH].mean()  # what the factor is for
    assert after.mean() == pytest.approx(targets[:, WATCH].mean(), rel=1e-4)
    assert (np.argsort(before) == np.argsort(after)).all()
    m.calibrate_watch([(encoded, targets[:, WATCH])])  # a second time changes nothing
    assert m.predict(encoded).pxtr[:, WATCH] == pytest.approx(after, rel=1e-5)


def test_predictions_are_probabilities_and_seconds_in_any_batching() -> None:
    m = module()
    encoded, targets = rows()
    m.start_from_base_rates([targets])
    m.watch_factor.fill_(1e-6)
    predicted = m.predict(encoded).pxtr
    assert predicted.dtype == np.float32 and predicted.shape == (200, 3)
    assert ((predicted[:, [0, 2]] > 0) & (predicted[:, [0, 2]] < 1)).all()
    assert (predicted[:, WATCH] == 0).all()  # never negative
    np.testing.assert_allclose(m.predict(encoded, batch_size=7).pxtr, predicted, atol=1e-6)


def test_what_is_learnt_from_pieces_is_learnt_from_the_whole() -> None:
    one, two = module(), module()
    encoded, targets = rows()
    cuts = [slice(0, 30), slice(30, 31), slice(31, 200)]
    one.start_from_base_rates([targets])
    two.start_from_base_rates([targets[cut] for cut in cuts])
    torch.testing.assert_close(one.model.head_bias, two.model.head_bias)
    torch.testing.assert_close(one.watch_scale, two.watch_scale)
    one.calibrate_watch([(encoded, targets[:, WATCH])])
    two.calibrate_watch((Encoded(encoded.categories[c], encoded.numbers[c]), targets[c, WATCH]) for c in cuts)
    torch.testing.assert_close(one.watch_factor, two.watch_factor)


def test_hidden_states_are_what_the_heads_weigh() -> None:
    m = module()
    encoded, _ = rows(20)
    pxtr, hidden = m.predict(encoded, batch_size=6)
    assert hidden.shape == (20, 3, 32)
    logit = (torch.from_numpy(hidden) * m.model.heads).sum(-1) + m.model.head_bias
    torch.testing.assert_close(torch.sigmoid(logit[:, 0]), torch.from_numpy(pxtr[:, 0]))


@pytest.mark.parametrize("steps", [1, 2, 10, 57])
def test_learning_rate_rises_to_its_peak_and_falls_to_zero(steps: int) -> None:
    m = module(steps)
    configured = m.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(1e-2)
    assert optimizer.param_groups[0]["lr"] == 0
    assert rates.index(max(rates)) <= max(1, steps // 10)
