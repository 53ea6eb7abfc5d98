"""Neural controls of a claim about attention: linear, pointwise and mean-pool scorers (docs/rivals.md)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.features import CandidateFeatures
from emer.models.ranker import BlockRanker
from emer.requests import RequestBatch, Schema


@dataclass
class LinearScorerConfig:
    """Schema of ``method.model``."""

    _target_: str = "emer.models.neural_controls.LinearScorer"
    embedding_width: int = MISSING
    use_pxtr: bool = MISSING
    use_rank: bool = MISSING


@dataclass
class PointwiseMlpConfig:
    """Schema of ``method.model``."""

    _target_: str = "emer.models.neural_controls.PointwiseMlp"
    width: int = MISSING
    hidden: int = MISSING
    layers: int = MISSING
    dropout: float = MISSING
    embedding_width: int = MISSING


@dataclass
class MeanPoolEncoderConfig:
    """Schema of ``method.model``."""

    _target_: str = "emer.models.neural_controls.MeanPoolEncoder"
    width: int = MISSING
    layers: int = MISSING
    hidden: int = MISSING
    head_width: int = MISSING
    dropout: float = MISSING
    embedding_width: int = MISSING
    use_pxtr: bool = MISSING
    use_rank: bool = MISSING


class LinearScorer(nn.Module):
    """One weight per feature: s = w x + b. With ranks, it sees as much of the other candidates as they tell.

    User and context features shift all scores of a request alike, so that they matter to losses that compare requests
    only.

    Args:
        schema: the request log's columns.
        embedding_width: size of each categorical feature's embedding.
        use_pxtr, use_rank: feed the pxtr values, feed the NormalizedRanks.

    Raises:
        EmerError: ``embedding_width`` is below 1.
        ValueError: nothing is left as input.
    """

    def __init__(
        self, schema: Schema, *, embedding_width: int = 8, use_pxtr: bool = True, use_rank: bool = True
    ) -> None:
        super().__init__()
        _check_sizes({"embedding_width": embedding_width})
        self.features = CandidateFeatures(schema, use_pxtr=use_pxtr, use_rank=use_rank, embedding_width=embedding_width)
        self.out = nn.Linear(self.features.width, 1)

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores, 0 on padding."""
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            scores = self.out(self.features(batch)).squeeze(-1)
        return scores.masked_fill(~batch.mask, 0.0)


class PointwiseMlp(nn.Module):
    """A plain MLP on each candidate alone, without ranks: nothing of the other candidates enters.

    By default as many parameters as EMER's NoComp at its default, for every schema. Unlike NoComp it has neither
    residual connections nor norms.

    Args:
        schema: the request log's columns.
        width: size of the first layer.
        hidden: size of the further layers.
        layers: number of further layers.
        dropout: dropout rate after each activation but the first.
        embedding_width: size of each categorical feature's embedding.

    Raises:
        EmerError: a size is below 1, or ``dropout`` is outside [0, 1).
    """

    candidates_alone = True

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 64,
        hidden: int = 288,
        layers: int = 2,
        dropout: float = 0.0,
        embedding_width: int = 8,
    ) -> None:
        super().__init__()
        _check_sizes({"width": width, "hidden": hidden, "layers": layers, "embedding_width": embedding_width}, dropout)
        self.features = CandidateFeatures(schema, use_pxtr=True, use_rank=False, embedding_width=embedding_width)
        self.token = nn.Linear(self.features.width, width)
        further: list[nn.Module] = [nn.GELU()]
        for size in [width, *[hidden] * (layers - 1)]:
            further += [nn.Linear(size, hidden), nn.GELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*further)
        self.head = nn.Linear(hidden, 1)

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores, 0 on padding."""
        device = batch.pxtr.device.type
        with torch.autocast(device, enabled=False):
            x = self.token(self.features(batch))
        x = self.layers(x)
        with torch.autocast(device, enabled=False):
            scores = self.head(x.to(self.head.weight.dtype)).squeeze(-1)
        return scores.masked_fill(~batch.mask, 0.0)


class MeanPoolBlock(nn.Module):
    """Pre-norm residual MLP on [z_i, mean_j z_j] with z = LayerNorm(x) and j over the valid candidates."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(
            nn.Linear(2 * width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        z = self.norm(x)
        n = mask.sum(dim=1).clamp(min=1).view(-1, 1, 1)
        mean = z.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=1, keepdim=True) / n
        return x + self.layers(torch.cat([z, mean.expand_as(z)], dim=-1))


class MeanPoolEncoder(BlockRanker):
    """EMER's ranker with a mean over the candidates in place of attention (Deep Sets, Zaheer et al. 2017, eq. 4).

    Token, head and inputs are EMER's, and so is the number of parameters at both defaults. A gain of EMER over this
    is one of attention; a gain of this over :class:`PointwiseMlp` is one of any set context.

    Args:
        schema: the request log's columns.
        width: size of a candidate's token.
        layers: number of blocks.
        hidden: hidden size of each block.
        head_width: hidden size of the scoring MLP.
        dropout: dropout rate inside the blocks.
        embedding_width: size of each categorical feature's embedding.
        use_pxtr, use_rank: feed the pxtr values, feed the NormalizedRanks.

    Raises:
        EmerError: a size is below 1, or ``dropout`` is outside [0, 1).
        ValueError: nothing is left as input.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 64,
        layers: int = 2,
        hidden: int = 258,
        head_width: int = 32,
        dropout: float = 0.0,
        embedding_width: int = 8,
        use_pxtr: bool = True,
        use_rank: bool = True,
    ) -> None:
        sizes = {"width": width, "layers": layers, "hidden": hidden, "head_width": head_width}
        _check_sizes({**sizes, "embedding_width": embedding_width}, dropout)
        super().__init__(
            CandidateFeatures(schema, use_pxtr=use_pxtr, use_rank=use_rank, embedding_width=embedding_width),
            width=width,
            block=partial(MeanPoolBlock, width, hidden, dropout),
            layers=layers,
            head_width=head_width,
        )


def _check_sizes(sizes: dict[str, int], dropout: float = 0.0) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise EmerError(f"method.model.{name} is {size}; it must be at least 1")
    if not 0 <= dropout < 1:
        raise EmerError(f"method.model.dropout is {dropout}; it must be in [0, 1)")
