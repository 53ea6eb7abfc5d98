"""Pantheon's ensemble head (arXiv 2505.13894): one score of a candidate from the hidden states of task towers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.expert_towers import ExpertTowers
from emer.models.pantheon_features import PantheonFeatures
from emer.models.ranker import AttentionBlock
from emer.requests import RequestBatch, Schema

Inputs = Literal["hidden", "pxtr"]
Encoder = Literal["mlp", "transformer"]


@dataclass
class PantheonConfig:
    """Schema of ``method.model``; what the values mean stands in conf/method/pantheon.yaml."""

    _target_: str = "emer.models.pantheon.Pantheon"
    inputs: str = MISSING
    encoder: str = MISSING
    width: int = MISSING
    feedforward: int = MISSING
    layers: int = MISSING
    heads: int = MISSING
    experts: int = MISSING
    expert_size: int = MISSING
    tower_size: int = MISSING
    embedding_width: int = MISSING


class TokenProjection(nn.Module):
    """A linear map of its own for each of T vectors: (..., T, d) -> (..., T, width)."""

    def __init__(self, tokens: int, size: int, width: int) -> None:
        super().__init__()
        bound = size**-0.5
        self.weight = nn.Parameter(torch.empty(tokens, size, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(tokens, width).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("...td,tdw->...tw", x, self.weight) + self.bias


class MlpEncoder(nn.Module):
    """The concatenated tokens of a candidate through an MLP: T width -> feedforward -> width -> 1."""

    def __init__(self, tokens: int, width: int, feedforward: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(tokens * width, feedforward),
            nn.GELU(),
            nn.Linear(feedforward, width),
            nn.GELU(),
            nn.Linear(width, 1),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N) for ``tokens`` (B, N, T, width)."""
        # All of it in full precision: neighbouring scores would become equal in half precision.
        with torch.autocast(tokens.device.type, enabled=False):
            return self.layers(tokens.flatten(-2)).squeeze(-1)


class TransformerEncoder(nn.Module):
    """Attention among the tokens of one candidate, not among candidates; then their mean to one score."""

    def __init__(self, width: int, feedforward: int, layers: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AttentionBlock(width, heads, feedforward, dropout=0.0) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N) for ``tokens`` (B, N, T, width)."""
        x = tokens.flatten(0, 1)
        everywhere = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        for block in self.blocks:
            x = block(x, everywhere)
        with torch.autocast(x.device.type, enabled=False):
            scores = self.out(self.norm(x.to(self.norm.weight.dtype)).mean(dim=1))
        return scores.view(tokens.shape[:2])


class Pantheon(nn.Module):
    """s = Encoder(ItemFea, sg(t^1), ..., sg(t^M), UserFea) of each candidate alone (docs/rivals.md).

    s is a logit: the score is sigmoid(s), and orders as s does.

    t^m is the hidden state of the tower of feedback label m. In the paper the towers belong to the ranking model, whose
    hidden states a request log does not have; here they are an MMoE inside the model
    (:class:`emer.models.expert_towers.ExpertTowers`) on the pxtrs, item, user and context features. An objective trains
    them by their logits (:meth:`forward_with_details`). sg stops gradients: what trains the score trains neither
    towers, gates and experts nor their embeddings. ItemFea and UserFea are embeddings of the head's own; a kind of
    feature that the log lacks gives no token.

    No rank and no other candidate is read, so a candidate's score is the same in every request of the same user and
    context.

    Args:
        schema: the request log's columns.
        inputs: ``hidden``; or ``pxtr``, the paper's ablation without hidden states: the scaled pxtrs take the place of
            the t^m, and there are no towers.
        encoder: ``mlp`` over the concatenated tokens, or ``transformer`` over the tokens of one candidate.
        width: of a token; for the transformer a multiple of ``heads``.
        feedforward: hidden size of the MLP, and of each block's MLP.
        layers, heads: of the transformer; not used by ``mlp``.
        experts, expert_size, tower_size: of the towers; not used with ``inputs=pxtr``.
        embedding_width: size of each categorical feature's embedding.

    Raises:
        EmerError: a choice is unknown, a size is below 1, ``width`` is not a multiple of ``heads``, or the towers have
            no feedback label to learn.
    """

    candidates_alone = True

    gives = ("tower_logits",)
    must_train_hint = "take objective=pantheon, or method.model.inputs=pxtr, which has no towers"

    def __init__(
        self,
        schema: Schema,
        *,
        inputs: Inputs = "hidden",
        encoder: Encoder = "mlp",
        width: int = 64,
        feedforward: int = 256,
        layers: int = 2,
        heads: int = 4,
        experts: int = 6,
        expert_size: int = 64,
        tower_size: int = 32,
        embedding_width: int = 8,
    ) -> None:
        super().__init__()
        for key, value, allowed in (("inputs", inputs, get_args(Inputs)), ("encoder", encoder, get_args(Encoder))):
            if value not in allowed:
                raise EmerError(f"method.model.{key} is {value!r}; it must be one of {', '.join(allowed)}")
        for key, size in (
            ("width", width),
            ("feedforward", feedforward),
            ("layers", layers),
            ("heads", heads),
            ("experts", experts),
            ("expert_size", expert_size),
            ("tower_size", tower_size),
            ("embedding_width", embedding_width),
        ):
            if size < 1:
                raise EmerError(f"method.model.{key} is {size}; it must be at least 1")
        if encoder == "transformer" and width % heads:
            raise EmerError(f"method.model.width ({width}) must be a multiple of method.model.heads ({heads})")
        hidden = inputs == "hidden"
        self.must_train = self.gives if hidden else ()
        if hidden and not schema.feedback:
            raise EmerError(
                "method.model.inputs is hidden, and the request log has no feedback labels that towers could learn; "
                "set it to pxtr"
            )
        self.features = PantheonFeatures(schema, towers=hidden, embedding_width=embedding_width)
        states, size = (len(schema.feedback), tower_size) if hidden else (len(schema.objectives), 1)
        self.towers: ExpertTowers | None = None
        if self.features.towers is not None:
            self.towers = ExpertTowers(
                self.features.towers.width, states, experts=experts, expert_size=expert_size, tower_size=tower_size
            )
        self.states = TokenProjection(states, size, width)
        self.item = nn.Linear(self.features.item_width, width) if self.features.item_width else None
        self.user = nn.Linear(self.features.user_width, width) if self.features.user_width else None
        tokens = states + (self.item is not None) + (self.user is not None)
        if encoder == "mlp":
            self.encoder: nn.Module = MlpEncoder(tokens, width, feedforward)
        else:
            self.encoder = TransformerEncoder(width, feedforward, layers, heads)

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) logits of the score; 0 on padding. Permuting the candidates permutes them."""
        return self.forward_with_details(batch)[0]

    def forward_with_details(self, batch: RequestBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, N) logits of the score, and ``tower_logits`` (B, N, M), M = 0 without towers; all 0 on padding."""
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            x = self.features(batch)
            logits, states = batch.pxtr.new_zeros(*batch.mask.shape, 0), x.pxtr.unsqueeze(-1)
            if self.towers is not None:
                logits, hidden = self.towers.outputs(x.towers)
                states = hidden.detach()
            tokens = [self.states(states)]
            if self.item is not None:
                tokens.append(self.item(x.item).unsqueeze(-2))
            if self.user is not None:
                tokens.append(self.user(x.user).unsqueeze(-2))
        padding = ~batch.mask
        scores = self.encoder(torch.cat(tokens, dim=-2)).masked_fill(padding, 0.0)
        return scores, {"tower_logits": logits.masked_fill(padding.unsqueeze(-1), 0.0)}
