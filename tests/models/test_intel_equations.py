"""The network against its equations, one candidate at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from emer.models.intel import Intel

VARIANTS = [
    {},
    {"intent_category": "topic"},
    {"intent_mode": "cross_attention"},
    {"intent": False},
    {"item_weights": False},
    {"weight_norm": "none", "intent_category": "topic"},
    {"intent": False, "item_weights": False, "weight_norm": "none"},
]


def by_the_equations(model: Intel, batch, b: int, options: dict) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores (n,), s and w (n, K) and the intent (I,) of one request's valid candidates, one at a time in float64."""
    option = {"intent": True, "intent_mode": "hadamard", "weight_norm": "softmax", "item_weights": True, **options}
    valid = [i for i in range(batch.mask.shape[1]) if batch.mask[b, i]]
    n, K = len(valid), batch.pxtr.shape[2]
    f = model.features

    def lin(layer: nn.Linear, x: Tensor) -> Tensor:
        out = layer.weight.double() @ x
        return out if layer.bias is None else out + layer.bias.double()

    def embedded(tables, ids) -> list[Tensor]:
        return [table.weight[int(i)].double() for table, i in zip(tables, ids, strict=True)]

    def attend(query: list[Tensor], key: list[Tensor], value: list[Tensor]) -> list[Tensor]:
        D, H = len(query[0]), 2
        heads = [slice(h * D // H, (h + 1) * D // H) for h in range(H)]
        out = []
        for q in query:
            parts = []
            for h in heads:
                share = torch.stack([q[h] @ k[h] / math.sqrt(D / H) for k in key]).softmax(0)
                parts.append(sum(a * v[h] for a, v in zip(share, value, strict=True)))
            out.append(torch.cat(parts))
        return out

    def encode(encoder, xs: list[Tensor]) -> list[Tensor]:
        hs = [lin(encoder.token, x) for x in xs]
        D = len(hs[0])
        for block in encoder.blocks:
            qkv = [lin(block.query_key_value, h) for h in hs]
            attended = attend([x[:D] for x in qkv], [x[D : 2 * D] for x in qkv], [x[2 * D :] for x in qkv])
            grown = [
                h + lin(block.mlp[2], lin(block.mlp[0], a).clamp(min=0)) for h, a in zip(hs, attended, strict=True)
            ]
            norm = block.norm
            hs = [
                (g - g.mean()) / (g.var(correction=0) + norm.eps).sqrt() * norm.weight.double() + norm.bias.double()
                for g in grown
            ]
        return hs

    s = []
    for i in valid:
        row = []
        for k in range(K):
            column = [float(batch.pxtr[b, j, k]) for j in valid]
            row.append((float(batch.pxtr[b, i, k]) - min(column)) / (max(column) - min(column)))
        s.append(torch.tensor(row, dtype=torch.float64))
    numbers = ((batch.item_numbers[b].double() - f.mean[K:].double()) / f.std[K:].double())[valid]
    items = [torch.cat([numbers[j], *embedded(f.item, batch.item_categories[b, i])]) for j, i in enumerate(valid)]
    user = torch.cat(embedded(f.user, batch.user_categories[b]) + embedded(f.context, batch.context_categories[b]))
    shared = [lin(model.user, user).clamp(min=0)]
    streams = {"score": encode(model.encoders["score"], s), "item": encode(model.encoders["item"], items)}
    t = torch.zeros(0)
    if option["intent"]:
        seen = f(batch)[b].double()[valid]
        t = lin(model.intent.out, sum(seen) / n).softmax(0)
        for name, hs in streams.items():
            effect = model.intent_effects[name]
            if option["intent_mode"] == "hadamard":
                scale = lin(effect.scale[2], lin(effect.scale[0], t).clamp(min=0))
                streams[name] = [h * scale for h in hs]
            else:
                kv = [lin(effect.key_value, h) for h in hs]
                D = len(hs[0])
                streams[name] = attend([lin(effect.query, t)], [x[:D] for x in kv], [x[D:] for x in kv]) * n
        shared.append(lin(model.intent_token, t).clamp(min=0))
    xs = [torch.cat([a, c]) for a, c in zip(streams["score"], streams["item"], strict=True)]
    if not option["item_weights"]:
        xs = [sum(xs) / n] * n
    w = [lin(model.weights, torch.cat([x, *shared])) for x in xs]
    if option["weight_norm"] == "softmax":
        w = [x.softmax(0) for x in w]
    scores = torch.stack([(a * c).sum() for a, c in zip(w, s, strict=True)])
    return scores, torch.stack(s), torch.stack(w), t


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_equals_the_equations_candidate_by_candidate(batch_of, options) -> None:
    batch = batch_of(B=4, N=9)
    torch.manual_seed(0)
    model = Intel(batch.schema, width=8, embedding_width=4, **options)
    with torch.no_grad():  # Larger than at the start, so that no softmax, product or relu is nearly trivial.
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.6)
    model.features.fit(batch)
    with torch.no_grad():
        scores, details = model.forward_with_details(batch)
        for b in range(4):
            valid = batch.mask[b]
            S, s, w, t = by_the_equations(model, batch, b, options)
            torch.testing.assert_close(scores[b, valid].double(), S, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(details["base_scores"][b, valid].double(), s, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(details["base_weights"][b, valid].double(), w, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(details["intent_log_probability"][b].exp(), t.float(), rtol=1e-3, atol=1e-5)
