"""What loss, weights and metrics cost in EMER's training step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.report import Goal, Section, Table
from benchmarks.timing import Setting, Timing, measure, three_digits
from emer.log_schema import Category, Feedback, Objective, Role, Satisfaction, Schema, Unit
from emer.metrics.request_metrics import request_values
from emer.models.fusion import FusionFormula
from emer.models.ranker import EmerRanker
from emer.objectives.emer import EmerObjective
from emer.ranking import rank_gap
from emer.requests import RequestBatch
from emer.training.previous import PreviousModel

SHAPE, QUICK_SHAPE = (64, 500), (2, 30)
EXPOSED = 10
MOST_PERCENT = 15.0

NETWORK, PREVIOUS, OPTIMIZER = "network, forward and backward", "previous model, forward", "AdamW"
LOSS, METRICS = "loss and weights", "metrics"

SCHEMA = Schema(
    objectives=(
        Objective("pctr", feedback="click"),
        Objective("plvtr", feedback="long_view"),
        Objective("pvtr", unit=Unit.SECONDS),
        Objective("pcptr"),
        *(Objective(name, role=Role.INTERACTION) for name in ("pltr", "pwtr", "pcmtr", "pftr")),
    ),
    feedback=(
        Feedback("click"),
        Feedback("long_view", Satisfaction.POSITIVE),
        Feedback("like", Satisfaction.POSITIVE),
    ),
    user_categories=(Category("activity", 8),),
    context_categories=(Category("hour", 24),),
    item_categories=(Category("topic", 64),),
    item_numbers=("duration",),
)


def request_batch(B: int, N: int, seed: int = 0) -> RequestBatch:
    """B random requests of N candidates, :data:`EXPOSED` of them exposed."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.ones(B, N, dtype=torch.bool)
    K, M = len(SCHEMA.objectives), len(SCHEMA.feedback)
    pxtr = torch.rand(B, N, K, generator=g)
    pxtr[..., 2] *= 60
    exposed = torch.rand(B, N, generator=g).argsort(dim=1) < min(EXPOSED, N)
    batch = RequestBatch(
        schema=SCHEMA,
        pxtr=pxtr,
        rank_gap=rank_gap(pxtr, mask).to(torch.int16),
        iput_rank_gap=rank_gap(pxtr, mask).to(torch.int16),
        iput_floor=1.0,
        mask=mask,
        exposed=exposed,
        label=((torch.rand(B, N, M, generator=g) < 0.3) & exposed.unsqueeze(-1)).float(),
        user_categories=torch.randint(8, (B, 1), generator=g),
        context_categories=torch.randint(24, (B, 1), generator=g),
        item_categories=torch.randint(64, (B, N, 1), generator=g),
        item_numbers=torch.rand(B, N, 1, generator=g),
        item_id=torch.arange(B * N).view(B, N),
        request_id=torch.arange(B),
        user_id=torch.arange(B),
        time_ms=torch.arange(B) * 60_000,
        row=torch.arange(B),
    )
    return replace(batch, iput_rank_gap=rank_gap(batch.iput_pxtr(), mask).to(torch.int16)).validate()


def run(setting: Setting) -> Section:
    """Section G of the report."""
    B, N = QUICK_SHAPE if setting.quick else SHAPE
    K = len(SCHEMA.objectives)
    section = Section(
        "step",
        "EMER's training step",
        f"{B} requests of {N} candidates, {K} objectives, {EXPOSED} exposed each; two layers of width 64, float32. The "
        "previous model is a snapshot, and counts as network. Metrics are all of an evaluation, which training itself "
        "computes on validation requests only.",
    )
    for threads in setting.threads:
        timed = measure(_parts(request_batch(B, N)), setting, threads, "step")
        section.keep(f"({B}, {N}, {K}) threads {threads}", timed)
        total = sum(t.seconds for t in timed.values())
        share = 100 * (timed[LOSS].seconds + timed[METRICS].seconds) / total
        rows = [(part, str(t), f"{three_digits(100 * t.seconds / total)} %") for part, t in timed.items()]
        rows.append(("**loss, weights and metrics**", "", f"**{three_digits(share)} %**"))
        rows.append(("sum", str(Timing(total, setting.rounds)), "100 %"))
        clock = "1 thread, CPU time" if threads == 1 else f"{threads} threads, wall time"
        section.tables.append(Table(clock, ("part of the step", "time", "share"), rows))
        if not setting.quick:
            at = f"{threads} thread{'s' * (threads > 1)}"
            goal = Goal(f"loss, weights and metrics of a step, {at}", share, MOST_PERCENT, unit="%", at_most=True)
            section.goals.append(goal)
    return section


def _parts(batch: RequestBatch) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    model = EmerRanker(SCHEMA)
    model.features.fit(batch)
    objective = EmerObjective()
    previous = PreviousModel(model, FusionFormula.hand_set(SCHEMA), source="snapshot")
    previous.after_epoch(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    slope = torch.randn(batch.mask.shape) / batch.mask.numel()
    scores = model(batch).detach()
    previous_scores = scores + 0.1 * torch.randn(scores.shape)

    def network() -> None:
        optimizer.zero_grad()
        model(batch).backward(slope)

    def loss() -> None:
        s = scores.detach().requires_grad_()
        objective(s, batch, previous_scores).loss.backward()

    return {
        NETWORK: network,
        PREVIOUS: functools.partial(previous, batch),
        OPTIMIZER: optimizer.step,
        LOSS: loss,
        METRICS: functools.partial(request_values, scores, batch),
    }
