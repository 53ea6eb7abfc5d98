from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from emer.errors import EmerError
from emer.models.harmonrank import HarmonRank
from emer.models.objective_relations import objective_relations


def test_attention_is_the_mean_over_exposed_rows(batch_of, schema) -> None:
    torch.manual_seed(0)
    model, batches = HarmonRank(schema), [batch_of(B=3, seed=1), batch_of(B=5, N=7, seed=2)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    rows = []
    for batch in batches:
        E = model.features(batch).embedding.detach().double()
        for b, n in batch.exposed.nonzero().tolist():
            q, k = (
                E[b, n] @ projection.weight.double().T + projection.bias.double()
                for projection in (model.attention.query, model.attention.key)
            )
            logits = [[sum(q[m] * k[other]).item() / math.sqrt(8) for other in range(4)] for m in range(4)]
            rows.append([[math.exp(x) / sum(map(math.exp, row)) for x in row] for row in logits])
    relations = objective_relations(model, batches)
    np.testing.assert_allclose(relations.attention.numpy(), np.mean(rows, axis=0), rtol=1e-4)
    np.testing.assert_allclose(relations.attention.sum(dim=1).numpy(), 1, rtol=1e-6)
    assert (relations.attention - relations.attention.T).abs().max() > 1e-3
    assert relations.rows == len(rows)
    assert relations.objective_names == schema.objective_names


def test_label_relation_is_spearman_with_average_ranks(batch_of, schema) -> None:
    batches = [batch_of(B=3, seed=1), batch_of(B=5, N=7, seed=2)]
    labels = torch.cat([b.label[b.exposed] for b in batches]).numpy()
    relations = objective_relations(HarmonRank(schema), batches)
    np.testing.assert_allclose(relations.label.numpy(), spearmanr(labels).statistic, rtol=1e-10, atol=1e-12)
    assert relations.feedback_names == ("click", "long_view", "like")


def test_a_label_that_never_varies_has_no_relation(batch_of, schema) -> None:
    batch = batch_of(B=4)
    label = batch.label.clone()
    label[..., 1] = 0
    relation = objective_relations(HarmonRank(schema), [replace(batch, label=label)]).label
    assert relation.isnan().tolist() == [[False, True, False], [True, True, True], [False, True, False]]


def test_relations_need_exposures_and_attention(batch_of, schema) -> None:
    batch = batch_of()
    with pytest.raises(EmerError, match="exposed"):
        objective_relations(HarmonRank(schema), [])
    with pytest.raises(EmerError, match="exposed"):
        objective_relations(HarmonRank(schema), [replace(batch, exposed=torch.zeros_like(batch.exposed))])
    with pytest.raises(EmerError, match=r"method\.model\.self_attention"):
        objective_relations(HarmonRank(schema, self_attention=False), [batch])
