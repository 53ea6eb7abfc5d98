"""Whether our numbers support what a paper claims."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from emer.online.multiplicity import holm
from emer.reports.papers.definitions import Claim, Component
from emer.reports.papers.numbers import Number, Numbers

LEVEL = 0.05


class Verdict(StrEnum):
    """Of one claim on one log.

    A claim that joins several statements is supported if each is beyond its interval: if all must hold, no correction
    for their number is needed. It is contradicted if one of them is beyond its interval on the other side, with its
    p-value corrected for their number (Holm). Everything else is *not supported*, which may be our noise.
    """

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    CONTRADICTED = "contradicted"
    UNTESTABLE = "cannot be tested here"


@dataclass(frozen=True)
class Judgement:
    """Attributes:
    claim, data: what was judged and where.
    verdict: the outcome.
    found: our number for each component, in order; None where it could not be measured.
    seeds: the fewest runs or worlds that one of the numbers rests on; 0 if there is none.
    lacking: components that the log could tell, but whose runs are missing.
    """

    claim: Claim
    data: str
    verdict: Verdict
    found: tuple[Number | None, ...]
    seeds: int
    lacking: tuple[Component, ...] = ()

    @property
    def held(self) -> int:
        """Components beyond their interval in the claimed direction."""
        return sum(number is not None and _low(part, number) > 0 for part, number in self._parts())

    @property
    def against(self) -> int:
        """Components whose interval lies on the other side."""
        return sum(number is not None and _high(part, number) < 0 for part, number in self._parts())

    def _parts(self) -> list[tuple[Component, Number | None]]:
        return list(zip(self.claim.components, self.found, strict=True))


def judge(claim: Claim, numbers: Numbers, data: str) -> Judgement:
    """The verdict on a claim on one log."""
    found = tuple(numbers.difference(data, part.variant, part.against, part.metric) for part in claim.components)
    pairs = list(zip(claim.components, found, strict=True))
    there = [(part, number) for part, number in pairs if number is not None]
    # A log that has no such pxtr or label at all is judged on the others.
    lacking = tuple(part for part, number in pairs if number is None and numbers.knows(data, part.metric))
    seeds = min((number.seeds for _, number in there), default=0)
    if claim.why_not or lacking or not there:
        return Judgement(claim, data, Verdict.UNTESTABLE, found, seeds, lacking)
    if all(_low(part, number) > 0 for part, number in there):
        return Judgement(claim, data, Verdict.SUPPORTED, found, seeds)
    adjusted = holm([_p(part, number) for part, number in there])
    wrong = [
        p < LEVEL and _high(part, number) < 0 for (part, number), p in zip(there, adjusted, strict=True)
    ]  # fmt: skip
    verdict = Verdict.CONTRADICTED if any(wrong) else Verdict.NOT_SUPPORTED
    return Judgement(claim, data, verdict, found, seeds)


def _low(part: Component, number: Number) -> float:
    """Lower end of how far the claim is true; NaN without an interval."""
    return part.margin + (number.low if part.sign > 0 else -number.high)


def _high(part: Component, number: Number) -> float:
    return part.margin + (number.high if part.sign > 0 else -number.low)


def _p(part: Component, number: Number) -> float:
    """Two-sided p-value of the claim's boundary.

    That of a margin follows from the interval's width and has one degree of freedom less than there are seeds: never
    more than the interval has, so never too small where the interval lies beyond the boundary.
    """
    if not part.margin:
        return 1.0 if np.isnan(number.p) else number.p
    half = (number.high - number.low) / 2
    if np.isnan(half):
        return 1.0
    freedom = max(number.seeds - 1, 1)
    distance = abs(part.margin + part.sign * number.value)
    halves = distance / half if half > 0 else np.inf
    return float(2 * stats.t.sf(halves * stats.t.ppf(0.975, freedom), freedom))
