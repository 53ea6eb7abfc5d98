"""Attention over a list through a few learned points: linear in the number of candidates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_POINTS_STD = 5.0
_PUBLISHED_DIVISOR = 8.0


class InducingPointAttention(nn.Module):
    """IPA(X; L) of UREM (Yu et al., KDD 2024): P learned points read the list, then the list reads the points.

    With A(Q, K, V) an attention whose three projections have no bias, and no projection after it:

        H_0 = A(I, X, X),   H_l = LN(G_l + Dense(relu(G_l))),   G_l = LN(H_{l-1} + A(H_{l-1}, H_{l-1}, H_{l-1})),
        Y = A(X, H, H),   H = H_0 + ... + H_L.

    O(N P) instead of the O(N^2) of attention among N candidates. There is no residual to X: what a candidate gets is
    a mixture of the points. Permuting the candidates permutes the output.

    Args:
        width: size of a candidate's vector.
        out_width: size of the output and of the points' inner states; a multiple of ``heads``.
        points: P, the number of learned points.
        heads: attention heads.
        layers: L, the layers among the points.
        published_divisor: divide the attention's logits by 8, as the public code does whatever the size, instead of
            by the root of a head's size.

    Raises:
        ValueError: a size is below 1, ``layers`` below 0, or ``out_width`` not a multiple of ``heads``.
    """

    def __init__(
        self,
        width: int,
        out_width: int,
        *,
        points: int = 32,
        heads: int = 1,
        layers: int = 0,
        published_divisor: bool = False,
    ) -> None:
        super().__init__()
        for name, size in (("width", width), ("out_width", out_width), ("points", points), ("heads", heads)):
            if size < 1:
                raise ValueError(f"{name} of the inducing-point attention is {size}; it must be at least 1")
        if layers < 0:
            raise ValueError(f"layers of the inducing-point attention is {layers}; it must be 0 or more")
        if out_width % heads:
            raise ValueError(f"out_width ({out_width}) of the inducing-point attention is no multiple of heads {heads}")
        scale = 1 / _PUBLISHED_DIVISOR if published_divisor else (out_width // heads) ** -0.5
        # Far apart, as published: with points near 0 every logit is about 0 and all points read the same mean.
        self.points = nn.Parameter(nn.init.trunc_normal_(torch.empty(points, width), std=_POINTS_STD, a=-10, b=10))
        self.read = _Attention(width, width, out_width, heads, scale)
        self.layers = nn.ModuleList(_PointLayer(out_width, heads, scale) for _ in range(layers))
        self.write = _Attention(width, out_width, out_width, heads, scale)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Mix a list.

        Args:
            x: (B, N, width).
            mask: (B, N) bool, the valid candidates; the others are not read.

        Returns:
            (B, N, out_width); what stands on masked places has no meaning.
        """
        h = self.read(self.points.expand(len(x), -1, -1), x, mask[:, None, None, :])
        total = h
        for layer in self.layers:
            h = layer(h)
            total = total + h
        return self.write(x, total)


class _Attention(nn.Module):
    """A(Q, K, V) with V = K: (B, n, out_width) from queries (B, n, query_width) and keys (B, m, key_width)."""

    def __init__(self, query_width: int, key_width: int, out_width: int, heads: int, scale: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale
        self.query = nn.Linear(query_width, out_width, bias=False)
        self.key = nn.Linear(key_width, out_width, bias=False)
        self.value = nn.Linear(key_width, out_width, bias=False)
        for projection in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(projection.weight)

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.query(queries), self.key(keys), self.value(keys))
        )
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale).transpose(1, 2).flatten(-2)


class _PointLayer(nn.Module):
    """Post-norm attention among the points, then a layer on each alone."""

    def __init__(self, width: int, heads: int, scale: float) -> None:
        super().__init__()
        self.attention = _Attention(width, width, width, heads, scale)
        self.norm_attention = nn.LayerNorm(width)
        self.dense = nn.Linear(width, width)
        self.norm_dense = nn.LayerNorm(width)

    def forward(self, h: Tensor) -> Tensor:
        h = self.norm_attention(h + self.attention(h, h))
        return self.norm_dense(h + self.dense(F.relu(h)))
