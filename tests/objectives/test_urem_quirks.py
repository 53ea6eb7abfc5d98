"""The public code's draws, pools and padding, which UremObjective follows on demand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from emer.losses import reconstruction_loss
from emer.objectives.urem import UremObjective


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


def test_quirks_read_the_first_candidates_only(batch, scores) -> None:
    """The public code draws among as many places as the shortest request has."""
    shortest = int(batch.lengths.min())
    assert shortest < 9
    objective = only("similarity", pairs=200, reference_quirks=True).eval()
    loss = objective(scores, batch).loss
    beyond = scores.clone()
    beyond[:, shortest:] += 100
    assert torch.equal(objective(beyond, batch).loss, loss)
    assert not torch.equal(only("similarity", pairs=200).eval()(beyond, batch).loss, loss)
    within = scores.clone()
    within[:, shortest - 1] += 100
    assert not torch.equal(objective(within, batch).loss, loss)


def test_quirks_draw_the_same_places_in_every_request(batch_of) -> None:
    """Request 1 has the scores of request 0 mirrored: only with equal draws do its pair terms mirror too."""
    batch = batch_of(B=2, N=6, full=True)
    pxtr = batch.pxtr[:1].expand(2, -1, -1).contiguous()
    s = drawn(1, 6)
    mirrored = torch.cat([s, -s])
    output = only("similarity", pairs=30, reference_quirks=True).eval()(mirrored, replace(batch, pxtr=pxtr))
    # z is centred on 0 by the mirror, so that tanh of its gaps in request 1 is the negative of request 0's.
    assert float(output.loss) == pytest.approx(0, abs=1e-9)


def test_quirks_pair_an_item_with_itself(batch_of, scores) -> None:
    """Two candidates: half of the pairs are one item twice, so the similarity is about half of the true pair's."""
    batch = batch_of(B=1, N=2, full=True)
    s = torch.tensor([[1.0, -1.0]])
    names = batch.schema.objective_names
    exact = only("similarity")(s, batch).terms
    published = only("similarity", pairs=20_000, reference_quirks=True).eval()(s, batch).terms
    for name in names:
        true = float(exact[f"similarity/{name}"])
        assert float(published[f"similarity/{name}"]) == pytest.approx(true / 2, abs=0.02)


def test_quirks_pool_exposure_and_count_padding(batch, scores, logits) -> None:
    objective = UremObjective(similarity=False, reference_quirks=True)
    output = objective(scores, batch, None, {"reconstruction": logits})
    rows = [bce(float(s), float(y)) for s, y in zip(scores[batch.mask], batch.exposed[batch.mask], strict=True)]
    assert float(output.terms["exposure"]) == pytest.approx(sum(rows) / len(rows))
    assert int(output.counts["exposure"]) == len(rows)
    target = batch.pxtr.clone()
    seconds = batch.schema.watch_index
    target[..., seconds] = target[..., seconds] / (target[..., seconds] + 10)
    everywhere = float(reconstruction_loss(logits, target))
    assert float(output.terms["reconstruction"]) == pytest.approx(everywhere)
    assert float(reconstruction_loss(logits, target, where=batch.mask)) != pytest.approx(everywhere, rel=1e-3)
