from __future__ import annotations

import pytest
import torch

from emer.errors import EmerError
from emer.models.fusion import FusionFormula
from emer.models.ranker import EmerRanker
from emer.training.previous import PreviousModel


@pytest.fixture
def model(schema):
    torch.manual_seed(0)
    return EmerRanker(schema, width=8, heads=2, feedforward=16, head_width=4, dropout=0.5)


@pytest.fixture
def formula(schema):
    return FusionFormula.hand_set(schema)


def step(model) -> None:
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))


def test_auto_takes_the_logged_score(model, formula, batch_of) -> None:
    batch = batch_of()
    assert torch.equal(PreviousModel(model, formula)(batch), batch.previous_score)


def test_auto_without_a_logged_score_is_the_snapshot(model, formula, batch_of) -> None:
    batch = batch_of(with_previous=False)
    previous = PreviousModel(model, formula)
    torch.testing.assert_close(previous(batch), formula(batch))
    previous.after_epoch(model)
    torch.testing.assert_close(previous(batch), model.eval()(batch))


def test_logged_without_a_logged_score_is_refused(model, formula, batch_of) -> None:
    with pytest.raises(EmerError, match=r"no previous_score column; use method.previous.source=snapshot"):
        PreviousModel(model, formula, source="logged")(batch_of(with_previous=False))


def test_a_snapshot_is_frozen_between_refreshes(model, formula, batch_of) -> None:
    batch = batch_of()
    previous = PreviousModel(model, formula, source="snapshot", refresh_steps=3)
    previous.after_step(model, 3)
    kept = previous(batch).clone()
    for number in (4, 5):
        step(model)
        previous.after_step(model, number)
        previous.after_epoch(model)
        assert torch.equal(previous(batch), kept)
    previous.after_step(model, 6)
    torch.testing.assert_close(previous(batch), model.eval()(batch))
    assert not torch.equal(previous(batch), kept)


def test_the_snapshot_follows_the_statistics(model, formula, batch_of) -> None:
    previous = PreviousModel(model, formula, source="snapshot")
    model.features.fit(batch_of(B=6))
    previous.after_epoch(model)
    assert previous.copy is not None
    torch.testing.assert_close(previous.copy.features.mean, model.features.mean)


def test_ema_by_hand(model, formula) -> None:
    previous = PreviousModel(model, formula, source="ema", ema_decay=0.9)
    first = model.token.bias.detach().clone()
    previous.after_step(model, 1)
    step(model)
    previous.after_step(model, 2)
    assert previous.copy is not None
    torch.testing.assert_close(previous.copy.token.bias, 0.9 * first + 0.1 * model.token.bias)


def test_it_never_trains(model, formula, batch_of) -> None:
    previous = PreviousModel(model, formula, source="snapshot")
    previous.after_epoch(model)
    previous.train()
    batch = batch_of()
    assert torch.equal(previous(batch), previous(batch)), "dropout must stay off"
    assert not any(p.requires_grad for p in previous.parameters())
    assert not previous(batch).requires_grad


def test_state_travels_in_the_checkpoint(model, formula, batch_of) -> None:
    previous = PreviousModel(model, formula, source="snapshot")
    previous.after_epoch(model)
    fresh = PreviousModel(model, formula, source="snapshot")
    fresh.load_state_dict(previous.state_dict())
    assert bool(fresh.filled)
    torch.testing.assert_close(fresh(batch_of()), previous(batch_of()))


@pytest.mark.parametrize("settings", [{"source": "file"}, {"refresh_steps": -1}, {"ema_decay": 1.0}])
def test_bad_settings_name_the_key(settings, model, formula) -> None:
    with pytest.raises(EmerError, match=f"method.previous.{next(iter(settings))}"):
        PreviousModel(model, formula, **settings)
