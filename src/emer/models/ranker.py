"""EMER's request-level network (arXiv 2508.05093): every candidate sees all others, and gets one score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from omegaconf import MISSING
from torch import Tensor, nn

from emer.models.features import CandidateFeatures
from emer.requests import RequestBatch, Schema


@dataclass
class EmerRankerConfig:
    """Schema of ``method.model``; what the values mean stands in conf/method/emer.yaml."""

    _target_: str = "emer.models.ranker.EmerRanker"
    width: int = MISSING
    layers: int = MISSING
    heads: int = MISSING
    feedforward: int = MISSING
    head_width: int = MISSING
    dropout: float = MISSING
    embedding_width: int = MISSING
    comparison: bool = MISSING
    use_pxtr: bool = MISSING
    use_rank: bool = MISSING


class AttentionBlock(nn.Module):
    """Pre-norm transformer encoder block over the candidates of a request, without positions."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = MlpBlock(width, feedforward, dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        B, N, D = x.shape
        qkv = self.query_key_value(self.norm_attention(x)).view(B, N, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask.view(B, 1, 1, N), dropout_p=self.dropout if self.training else 0.0
        )
        x = x + F.dropout(self.out(attended.transpose(1, 2).reshape(B, N, D)), self.dropout, self.training)
        return self.mlp(x, mask)


class MlpBlock(nn.Module):
    """Pre-norm residual MLP on each candidate alone."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.layers(self.norm(x))


class BlockRanker(nn.Module):
    """A token per candidate, blocks over the candidates of a request, and an MLP to each candidate's score.

    Args:
        features: the input of a candidate's token.
        width: size of a token.
        block: makes a block, which maps (x (B, N, width), mask (B, N)) to a new x.
        layers: number of blocks.
        head_width: hidden size of the scoring MLP.
    """

    outputs = 1
    """Numbers that the head makes of each candidate; the first is the score."""

    def __init__(
        self,
        features: CandidateFeatures,
        *,
        width: int,
        block: Callable[[], nn.Module],
        layers: int,
        head_width: int,
    ) -> None:
        super().__init__()
        self.features = features
        self.token = nn.Linear(features.width, width)
        self.blocks = nn.ModuleList(block() for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, head_width), nn.GELU(), nn.Linear(head_width, self.outputs))

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores; 0 on padding. Permuting the candidates permutes the scores."""
        return self.head_outputs(batch)[..., 0]

    def head_outputs(self, batch: RequestBatch) -> Tensor:
        """(B, N, :attr:`outputs`) of the head; 0 on padding."""
        # Half precision is for the blocks: neighbouring ranks, and neighbouring scores, would become equal in it.
        device = batch.pxtr.device.type
        with torch.autocast(device, enabled=False):
            x = self.token(self.features(batch))
        for block in self.blocks:
            x = block(x, batch.mask)
        with torch.autocast(device, enabled=False):
            outputs = self.head(self.norm(x.to(self.norm.weight.dtype)))
        return outputs.masked_fill(~batch.mask.unsqueeze(-1), 0.0)


class EmerRanker(BlockRanker):
    """Transformer over the candidates, then an MLP to one unbounded score each (methods: EMER 1.3, A10, A12).

    Args:
        schema: the request log's columns.
        width: size of a candidate's token; a multiple of ``heads``.
        layers: number of blocks.
        heads: attention heads.
        feedforward: hidden size of each block's MLP.
        head_width: hidden size of the scoring MLP.
        dropout: dropout rate inside the blocks.
        embedding_width: size of each categorical feature's embedding.
        comparison: False is the ablation NoComp: no attention and no rank features, so that a candidate's
            score depends on that candidate alone. Each block becomes an MLP as large as the block it replaces.
        use_pxtr, use_rank: feed the pxtr values, feed the NormalizedRanks.

    Raises:
        ValueError: a size is below 1, ``width`` is not a multiple of ``heads``, or nothing is left as input.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 256,
        head_width: int = 32,
        dropout: float = 0.0,
        embedding_width: int = 8,
        comparison: bool = True,
        use_pxtr: bool = True,
        use_rank: bool = True,
    ) -> None:
        sizes = {"width": width, "layers": layers, "heads": heads, "feedforward": feedforward, "head_width": head_width}
        for name, size in {**sizes, "embedding_width": embedding_width}.items():
            if size < 1:
                raise ValueError(f"model.{name} is {size}; it must be at least 1")
        if not 0 <= dropout < 1:
            raise ValueError(f"model.dropout is {dropout}; it must be in [0, 1)")
        if width % heads:
            raise ValueError(f"model.width ({width}) must be a multiple of model.heads ({heads})")
        features = CandidateFeatures(
            schema, use_pxtr=use_pxtr, use_rank=use_rank and comparison, embedding_width=embedding_width
        )
        block: Callable[[], nn.Module]
        if comparison:
            block = partial(AttentionBlock, width, heads, feedforward, dropout)
        else:
            # What the attention would have held goes into the hidden layer: 4 width^2 + 6 width parameters
            # at 2 width + 1 each.
            wider = feedforward + round((4 * width * width + 6 * width) / (2 * width + 1))
            block = partial(MlpBlock, width, wider, dropout)
        super().__init__(features, width=width, block=block, layers=layers, head_width=head_width)
        self.comparison = comparison
