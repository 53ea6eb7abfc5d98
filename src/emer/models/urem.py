"""UREM's scorers (Yu et al., KDD 2024, doi 10.1145/3637528.3671598): bins of pxtrs to a score, and a decoder back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.inducing import InducingPointAttention
from emer.models.list_norm import ListNorm
from emer.models.pxtr_bins import BinnedPxtrs, Binning
from emer.requests import RequestBatch, Schema

Backbone = Literal["mlp", "lr", "prm", "weights"]


@dataclass
class UremRankerConfig:
    """Schema of ``method.model``; what the values mean stands in conf/method/urem.yaml."""

    _target_: str = "emer.models.urem.UremRanker"
    backbone: str = MISSING
    bins: int = MISSING
    binning: str = MISSING
    embedding_width: int = MISSING
    token_dropout: float = MISSING
    use_features: bool = MISSING
    width: int = MISSING
    points: int = MISSING
    heads: int = MISSING
    layers: int = MISSING
    weight_scale: float = MISSING
    encoding_scale: float = MISSING
    train_weights: bool = MISSING
    decoder: bool = MISSING
    reference_quirks: bool = MISSING


class UremRanker(nn.Module):
    """A score and an encoding of each candidate, from the bins of its pxtrs; a decoder restores the pxtrs.

    With X the concatenated embeddings of the bins, LNlist the norm over a whole list and IPA the attention through
    learned points (:class:`emer.models.inducing.InducingPointAttention`):

    ======== =============================== =========================================== =====================
    backbone encoding E                      score                                       decoder's logits
    ======== =============================== =========================================== =====================
    mlp      LNlist(Dense(X))                sum_d E_id                                  LNlist(Dense(E))
    lr       X                               Dense(X)                                    LNlist(Dense(X))
    prm      LNlist(Dense(IPA(X; layers)))   sum_d E_id                                  LNlist(Dense(IPA(E; 0)))
    weights  as prm                          sum_k w_ik pxtr_ik + a sum_d E_id           as prm
    ======== =============================== =========================================== =====================

    where w = s Dense(E), s = ``weight_scale`` and a = ``encoding_scale``; seconds enter that sum squeezed into [0, 1]
    (:meth:`emer.models.pxtr_bins.BinnedPxtrs.unit_pxtr`).

    The decoder's output is the detail ``reconstruction`` of :meth:`forward_with_details`, for
    :class:`emer.objectives.urem.UremObjective`. Item ids are not read: an ensemble that knows them can become a
    recommender of its own.

    Args:
        schema: the request log's columns.
        backbone: see above. ``lr`` scores each candidate alone, ``mlp`` up to the list's norm.
        bins, binning, embedding_width, token_dropout, use_features: of :class:`emer.models.pxtr_bins.BinnedPxtrs`.
        width: size of E; of ``mlp``, ``prm`` and ``weights``. A multiple of ``heads``.
        points, heads: of the attention; of ``prm`` and ``weights``.
        layers: layers among the points, in the encoder; of ``prm`` and ``weights``.
        weight_scale, encoding_scale: s and a; of ``weights``.
        train_weights: False keeps the layer of w as it was drawn, and lets no gradient through w; of ``weights``.
        decoder: False leaves the decoder out, for objectives that do not read its reconstruction; these refuse a model
            with one, as no loss would train it.
        reference_quirks: as the public code: the list norm and the reconstruction run over padding too, the
            attention divides its logits by 8, and embeddings start at N(0.01, 0.02^2). A request's scores then depend
            on the padding of its batch.

    Raises:
        EmerError: an option is out of range or unknown.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        backbone: Backbone = "prm",
        bins: int = 200,
        binning: Binning = "quantile",
        embedding_width: int = 16,
        token_dropout: float = 0.001,
        use_features: bool = False,
        width: int = 16,
        points: int = 32,
        heads: int = 1,
        layers: int = 0,
        weight_scale: float = 1.0,
        encoding_scale: float = 0.01,
        train_weights: bool = True,
        decoder: bool = True,
        reference_quirks: bool = False,
    ) -> None:
        super().__init__()
        if backbone not in get_args(Backbone):
            raise EmerError(f"method.model.backbone is {backbone!r}; it must be one of {', '.join(get_args(Backbone))}")
        for name, size in (("width", width), ("points", points), ("heads", heads)):
            if size < 1:
                raise EmerError(f"method.model.{name} is {size}; it must be at least 1")
        if layers < 0:
            raise EmerError(f"method.model.layers is {layers}; it must be 0 or more")
        for name, scale in (("weight_scale", weight_scale), ("encoding_scale", encoding_scale)):
            if not math.isfinite(scale):
                raise EmerError(f"method.model.{name} is {scale}; it must be a finite number")
        if width % heads:
            raise EmerError(f"method.model.width ({width}) must be a multiple of method.model.heads ({heads})")
        K = len(schema.objectives)
        self.features = BinnedPxtrs(
            schema,
            bins=bins,
            binning=binning,
            embedding_width=embedding_width,
            token_dropout=token_dropout,
            use_features=use_features,
            published_init=reference_quirks,
        )

        def dense_norm(size: int, out: int, inner_layers: int) -> _DenseNorm:
            attention = None
            if backbone in ("prm", "weights"):
                attention = InducingPointAttention(
                    size, width, points=points, heads=heads, layers=inner_layers, published_divisor=reference_quirks
                )
            return _DenseNorm(size if attention is None else width, out, attention, over_padding=reference_quirks)

        self.encoder: _DenseNorm | None = None if backbone == "lr" else dense_norm(self.features.width, width, layers)
        encoded = self.features.width if self.encoder is None else width
        self.decoder = dense_norm(encoded, K, 0) if decoder else None
        self.head: nn.Module = _SumHead()
        if backbone == "lr":
            self.head = _LinearHead(encoded)
        elif backbone == "weights":
            self.head = _WeightsHead(encoded, K, weight_scale, encoding_scale, train_weights)

    must_train_hint = "set method.model.decoder=false, or take objective=urem with method.objective.reconstruction=true"

    @property
    def gives(self) -> tuple[str, ...]:
        """Names of what :meth:`forward_with_details` gives beside the scores."""
        return () if self.decoder is None else ("reconstruction",)

    @property
    def must_train(self) -> tuple[str, ...]:
        """What only an objective that reads it can train: all of :attr:`gives`."""
        return self.gives

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores, logits of being exposed; 0 on padding. Permuting the candidates permutes the scores."""
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            return self._scores(self._encoding(batch), batch)

    def forward_with_details(self, batch: RequestBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores, and what the objective reads.

        Returns:
            (B, N) scores as :meth:`forward` gives them, and with a decoder ``reconstruction`` (B, N, K): logits whose
            sigmoid is to be the pxtr, 0 on padding save with ``reference_quirks``.
        """
        # All of it in full precision: what tells neighbours apart passes through the norms, and half precision would
        # give them equal scores.
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            encoding = self._encoding(batch)
            details = {} if self.decoder is None else {"reconstruction": self.decoder(encoding, batch.mask)}
            return self._scores(encoding, batch), details

    def _encoding(self, batch: RequestBatch) -> Tensor:
        """(B, N, encoding's width)."""
        x = self.features(batch)
        return x if self.encoder is None else self.encoder(x, batch.mask)

    def _scores(self, encoding: Tensor, batch: RequestBatch) -> Tensor:
        return self.head(encoding, self.features.unit_pxtr(batch)).masked_fill(~batch.mask, 0.0)


class _DenseNorm(nn.Module):
    """LNlist(Dense(IPA(x))), or LNlist(Dense(x)) without the attention: an encoder, or a decoder."""

    def __init__(self, width: int, out: int, attention: nn.Module | None, *, over_padding: bool) -> None:
        super().__init__()
        self.attention = attention
        self.dense = nn.Linear(width, out)
        self.norm = ListNorm(out, over_padding=over_padding)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, N, out) from (B, N, width)."""
        if self.attention is not None:
            x = self.attention(x, mask)
        return self.norm(self.dense(x), mask)


class _SumHead(nn.Module):
    """sum_d E_id."""

    def forward(self, encoding: Tensor, pxtr: Tensor) -> Tensor:
        return encoding.sum(dim=-1)


class _LinearHead(nn.Module):
    """Dense(E)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, 1)

    def forward(self, encoding: Tensor, pxtr: Tensor) -> Tensor:
        return self.dense(encoding).squeeze(-1)


class _WeightsHead(nn.Module):
    """sum_k w_ik pxtr_ik + a sum_d E_id, w = s Dense(E)."""

    def __init__(self, width: int, K: int, weight_scale: float, encoding_scale: float, trained: bool) -> None:
        super().__init__()
        self.weight_scale, self.encoding_scale, self.trained = weight_scale, encoding_scale, trained
        self.dense = nn.Linear(width, K).requires_grad_(trained)

    def forward(self, encoding: Tensor, pxtr: Tensor) -> Tensor:
        weights = self.weight_scale * self.dense(encoding if self.trained else encoding.detach())
        return (weights * pxtr).sum(dim=-1) + self.encoding_scale * encoding.sum(dim=-1)
