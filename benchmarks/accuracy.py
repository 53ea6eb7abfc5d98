"""Errors of the pairwise loss against all pairs in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.report import Section, Table
from benchmarks.timing import Setting
from emer.losses.pairwise import Method, Ties, pairwise_logistic_loss
from emer.ranking import rank_gap

ENGINES: tuple[Method, ...] = tuple(m for m in get_args(Method) if m != "auto")
SHAPE, QUICK_SHAPE = (2, 3, 500), (2, 2, 30)

DISTRIBUTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "N(0, 1)": lambda z: z,
    "5 N(0, 1)": lambda z: 5 * z,
    "30 N(0, 1)": lambda z: 30 * z,
    "1e4 N(0, 1)": lambda z: 1e4 * z,
    "1000 + N(0, 1)": lambda z: 1000 + z,
    "Cauchy": lambda z: torch.tan(math.pi * (torch.special.ndtr(z) - 0.5)),
    "lognormal(2)": lambda z: torch.exp(2 * z),
    "all equal": lambda z: torch.full_like(z, 0.3),
    "half tied": lambda z: torch.where(torch.arange(z.shape[-1]) % 2 == 0, (2 * z).round() / 2, z),
    "3 clusters, gap 50": lambda z: 0.3 * z + 50 * (torch.arange(z.shape[-1]) % 3 - 1),
}


def oracle(scores: Tensor, targets: Tensor, where: Tensor, ties: Ties) -> tuple[Tensor, Tensor]:
    """Loss per objective (B, K), and gradient (B, N) of its mean, pair by pair in float64.

    softplus and its derivative are written out: those of torch lose digits in the tail, and the derivatives of abs and
    clamp are wrong at ties.
    """
    s = scores.double()
    B, N, K = targets.shape
    d = s.unsqueeze(2) - s.unsqueeze(1)
    phi = torch.log1p(torch.exp(-d.abs()))
    loss, gradient = torch.zeros(B, K, dtype=torch.float64), torch.zeros_like(s)
    both = where.unsqueeze(2) & where.unsqueeze(1) & ~torch.eye(N, dtype=torch.bool)
    for k in range(K):
        t = targets[..., k]
        better = (t.unsqueeze(2) > t.unsqueeze(1)) & both
        share = better.double()
        if ties == "half":
            share += 0.5 * ((t.unsqueeze(2) == t.unsqueeze(1)) & both)
        pairs = share.sum(dim=(1, 2)).clamp(min=1)
        loss[:, k] = (share * (torch.clamp(-d, min=0) + phi)).sum(dim=(1, 2)) / pairs
        slope = share * torch.sigmoid(-d) / (pairs.view(-1, 1, 1) * B * K)
        gradient += slope.sum(dim=1) - slope.sum(dim=2)
    return loss, gradient


def examples(shape: tuple[int, int, int], dtype: torch.dtype, name: str) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Scores, targets and mask: targets random or in the order of the scores, without and with ties; 10 % masked."""
    B, K, N = shape
    g = torch.Generator().manual_seed(1)
    z = torch.randn(B, N, generator=g, dtype=torch.float64)
    scores = DISTRIBUTIONS[name](z).to(dtype)
    where = torch.rand(B, N, generator=g) >= 0.1
    where[:, :2] = True
    random = torch.rand(B, N, K, generator=g, dtype=torch.float64)
    aligned = torch.special.ndtr(scores.argsort(dim=1).argsort(dim=1).double() / N * 4 - 2)
    aligned = aligned.unsqueeze(2).expand(-1, -1, K).contiguous()
    return [
        (scores, targets, where)
        for base in (random, aligned)
        for targets in (base, (base * 20).floor() / 20)
    ]  # fmt: skip


def run(setting: Setting) -> Section:
    """Section C of the report."""
    shape = QUICK_SHAPE if setting.quick else SHAPE
    section = Section(
        "accuracy",
        "Accuracy",
        f"Largest relative error of an objective's loss / largest error of the gradient over its largest element, "
        f"against all pairs in float64, at {shape} with 10 % of the candidates masked; the worst of targets random and "
        "in the order of the scores, continuous and of 20 levels. The peers, float32, are without mask or ties, and "
        "their loss is the mean over everything.",
    )
    for dtype in (torch.float32, torch.float64):
        bits = str(dtype).removeprefix("torch.")
        columns: dict[str, dict[str, tuple[float, float]]] = {}
        for name in DISTRIBUTIONS:
            setting.tell(f"accuracy {bits}: {name}")
            for engine, error in _errors(shape, dtype, name).items():
                columns.setdefault(engine, {})[name] = error
        rows = [(name, *(_pair(column[name]) for column in columns.values())) for name in DISTRIBUTIONS]
        worst = {e: (max(x for x, _ in c.values()), max(y for _, y in c.values())) for e, c in columns.items()}
        rows.append(("**worst**", *map(_pair, worst.values())))
        section.tables.append(Table(f"{bits}: loss / gradient", ("scores", *columns), rows))
        section.raw[bits] = {e: {n: list(pair) for n, pair in c.items()} for e, c in columns.items()}
    return section


def _errors(shape: tuple[int, int, int], dtype: torch.dtype, name: str) -> dict[str, tuple[float, float]]:
    errors: dict[str, list[tuple[float, float]]] = {}
    drawn = examples(shape, dtype, name)
    for scores, targets, where in drawn:
        loss, gradient = oracle(scores, targets, where, "exclude")
        ranks = rank_gap(targets, where)
        for engine in ENGINES:
            s = scores.clone().requires_grad_()
            value = pairwise_logistic_loss(s, None, ranks=ranks, where=where, reduction="per_objective", method=engine)
            value.mean().backward()
            errors.setdefault(engine, []).append(_error(value.detach(), s.grad, loss, gradient))  # type: ignore[arg-type]
    if dtype == torch.float32:
        for scores, targets, where in drawn[::2]:
            everyone = torch.ones_like(where)
            loss, gradient = oracle(scores, targets, everyone, "half")
            ranks, weights = rank_gap(targets, everyone), torch.ones(shape[0], shape[1])
            for peer, (value, grad) in {
                "printed formula": peers.printed_formula(scores, targets),
                "collapsed, dense": peers.collapsed(scores, ranks, weights),
            }.items():
                errors.setdefault(peer, []).append(_error(value, grad, loss.mean(), gradient))
    return {engine: (max(x for x, _ in found), max(y for _, y in found)) for engine, found in errors.items()}


def _error(loss: Tensor, gradient: Tensor, true_loss: Tensor, true_gradient: Tensor) -> tuple[float, float]:
    tiny = torch.finfo(torch.float32).tiny  # what float32 cannot tell from 0 has no relative error
    of_loss = ((loss.double() - true_loss).abs() / true_loss.abs().clamp(min=tiny)).max()
    of_gradient = (gradient.double() - true_gradient).abs().max() / true_gradient.abs().max().clamp(min=tiny)
    return float(of_loss), float(of_gradient)


def _pair(errors: tuple[float, float]) -> str:
    return " / ".join(f"{error:.0e}" for error in errors)
