"""The closed-form exponential sum: its coefficients, its accuracy and its scan."""

from __future__ import annotations

import itertools
import math

import mpmath
import pytest
import torch
from torch import Tensor

from emer.losses import exponential_sum
from emer.losses.exponential_sum import (
    PHI,
    PSI,
    PSI_FLOAT32,
    sums_below,
    sums_in_lists,
    sums_in_segments,
    sums_in_short_segments,
)


def coefficients(n: int) -> list[float]:
    """b_1 .. b_n of the module's equation, in 60 digits."""
    with mpmath.workdps(60):
        c = mpmath.cos(mpmath.pi / (2 * n))

        def times_u(p: list[mpmath.mpf]) -> list[mpmath.mpf]:
            return [
                -a + (1 + c) * b for a, b in zip([*p, mpmath.mpf(0)], [mpmath.mpf(0), *p], strict=True)
            ]  # u = -1 + (1 + c) t

        before, chebyshev = [mpmath.mpf(1)], [mpmath.mpf(-1), 1 + c]
        for _ in range(n - 1):
            doubled = [2 * x for x in times_u(chebyshev)]
            padded = before + [mpmath.mpf(0)] * (len(doubled) - len(before))
            before, chebyshev = chebyshev, [a - b for a, b in zip(doubled, padded, strict=True)]
        at_minus_one = sum(x * (-1) ** m for m, x in enumerate(chebyshev))
        one_minus_r = [-x / at_minus_one for x in chebyshev]
        one_minus_r[0] += 1
        quotient, remainder = [], mpmath.mpf(0)
        for x in reversed(one_minus_r):  # division by t + 1 from the highest power down
            remainder = x - remainder
            quotient.append(remainder)
        assert abs(quotient.pop()) < mpmath.mpf(10) ** -50, "1 + t does not divide 1 - R"
        return [float(x) for x in reversed(quotient)]


def test_coefficients_follow_from_the_chebyshev_polynomial() -> None:
    for psi, n in ((PSI, 16), (PSI_FLOAT32, 12)):
        assert list(psi) == pytest.approx(coefficients(n), rel=1e-15, abs=0)
    assert list(PHI) == [b / m for m, b in enumerate(PSI, start=1)]


def test_the_published_coefficients_of_eight_terms() -> None:
    """Guards the recipe above against an error that the table shares."""
    expected = [0.999998413985, -0.999797354455, 0.995615668992, -0.962483584942]
    assert coefficients(8)[:4] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("coefficient", "bound"), [(PSI, 1.3e-12), (PSI_FLOAT32, 1.4e-9)])
def test_relative_error_is_below_the_bound_everywhere(coefficient: tuple[float, ...], bound: float) -> None:
    for x in [mpmath.mpf(i) / 50 for i in range(2500)]:
        t = mpmath.exp(-x)
        psi = sum(b * t**m for m, b in enumerate(coefficient, start=1))
        phi = sum(b / m * t**m for m, b in enumerate(coefficient, start=1))
        assert abs(psi * (1 + t) / t - 1) < bound
        assert abs(phi / mpmath.log1p(t) - 1) < bound


def test_half_at_distance_zero() -> None:
    for psi in (PSI, PSI_FLOAT32):
        assert sum(psi) == pytest.approx(1 / 2, abs=1e-15)


def brute_force(u: Tensor, segment: Tensor, amount: Tensor) -> Tensor:
    n = len(u)
    earlier = (torch.arange(n).unsqueeze(1) > torch.arange(n)) & (segment.unsqueeze(1) == segment)
    distance = (u.unsqueeze(1) - u).masked_fill(~earlier, 0)
    psi, phi = torch.sigmoid(-distance), torch.log1p(torch.exp(-distance))
    return torch.stack([(f * earlier * amount).sum(dim=1) for f in (psi, phi)])


@pytest.mark.parametrize("lengths", [[1], [5], [16], [17], [3, 1, 40, 2], [100, 33, 64], [1] * 20, [700], [2000, 50]])
@pytest.mark.parametrize("scale", [0.0, 0.01, 1.0, 100.0, 1e4])
def test_scan_equals_all_pairs(lengths: list[int], scale: float) -> None:
    """One list of many segments, cut into pieces."""
    g = torch.Generator().manual_seed(len(lengths))
    segment = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    u = torch.cat([(scale * torch.randn(n, generator=g, dtype=torch.float64)).sort().values for n in lengths])
    start = torch.cat([torch.tensor([True]), segment[1:] != segment[:-1]])
    decay = torch.exp(-torch.diff(u, prepend=u[:1])).masked_fill(start, 0)
    amount = torch.rand(len(u), generator=g, dtype=torch.float64)
    for a in (torch.ones_like(u), amount):
        expected = brute_force(u, segment, a).unsqueeze(1)
        given = None if a is not amount else a.unsqueeze(0)
        torch.testing.assert_close(sums_below(decay.unsqueeze(0), given), expected, rtol=3e-12, atol=1e-300)
        rough = sums_below(decay.unsqueeze(0), given, PSI_FLOAT32)
        torch.testing.assert_close(rough, expected, rtol=2e-9, atol=1e-300)


@pytest.mark.parametrize(("R", "N"), [(1, 300), (3, 50), (60, 33), (200, 40), (700, 3)])
def test_lists_side_by_side_are_lists_alone(R: int, N: int) -> None:
    g = torch.Generator().manual_seed(R)
    decay = torch.rand(R, N, generator=g, dtype=torch.float64)
    decay[:, 0] = 0
    decay[torch.rand(R, N, generator=g) < 0.05] = 0
    amount = torch.rand(R, N, generator=g, dtype=torch.float64)
    together = sums_below(decay, amount)
    alone = torch.cat([sums_below(decay[r : r + 1], amount[r : r + 1]) for r in range(R)], dim=1)
    torch.testing.assert_close(together, alone, rtol=1e-14, atol=0)


def test_memory_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    decay = torch.rand(7, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    decay[:, 0] = 0
    whole = sums_below(decay)
    monkeypatch.setattr(exponential_sum, "_CACHED", 4000)
    torch.testing.assert_close(sums_below(decay), whole, rtol=1e-14, atol=0)


def test_nothing_to_sum() -> None:
    for shape in ((0, 3), (3, 0)):
        assert sums_below(torch.zeros(shape, dtype=torch.float64)).shape == (2, *shape)
    assert torch.equal(sums_below(torch.zeros(2, 7, dtype=torch.float64)), torch.zeros(2, 2, 7, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (3, 2, 40), (70, 33)])
@pytest.mark.parametrize("scale", [0.0, 0.01, 1.0, 8.0, 25.0, 1e4])
@pytest.mark.parametrize("weighted", [True, False])
def test_sums_in_lists_equal_all_pairs(shape: tuple[int, ...], scale: float, weighted: bool) -> None:
    """Cumulated where the scores are near each other, scanned where they are not; 1e3 away from 0."""
    g = torch.Generator().manual_seed(len(shape))
    N = shape[-1]
    valid = torch.arange(N) < torch.randint(1, N + 1, (*shape[:-1], 1), generator=g)
    u = 1e3 + scale * torch.randn(shape, generator=g, dtype=torch.float64)
    u = u.masked_fill(~valid, torch.inf).sort(dim=-1).values.masked_fill(~valid, -7.0)
    amount = torch.rand(shape, generator=g, dtype=torch.float64) * valid if weighted else None
    for psi, rtol in ((PSI, 3e-12), (PSI_FLOAT32, 2e-9)):
        sums = sums_in_lists(u, valid, amount, psi)
        for index in itertools.product(*map(range, shape[:-1])):
            inside = valid[index]
            x, a = u[index][inside], (torch.ones(N, dtype=torch.float64) if amount is None else amount[index])[inside]
            segment = torch.zeros(len(x), dtype=torch.int64)
            psi_below, phi_below = brute_force(x, segment, a)
            psi_above = brute_force(-x.flip(0), segment, a.flip(0))[0].flip(0)
            for side, expected in zip(sums, (psi_below, psi_above, phi_below), strict=True):
                torch.testing.assert_close(side[index][inside], expected, rtol=rtol, atol=1e-300)
                assert (side[index][~inside] == 0).all()


def test_lists_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    u = torch.randn(7, 30, generator=g, dtype=torch.float64).sort(dim=1).values
    valid = torch.arange(30) < torch.tensor([[30], [0], [1], [12], [30], [2], [29]])
    whole = sums_in_lists(u, valid)
    monkeypatch.setattr(exponential_sum, "_LISTS", 150)
    for part, side in zip(sums_in_lists(u, valid), whole, strict=True):
        assert torch.equal(part, side)


def test_the_limit_of_cumulated_sums_overflows_nothing() -> None:
    """Scores as far apart as they may be, at either end of their range."""
    for psi in (PSI, PSI_FLOAT32):
        spread = exponential_sum._SPREAD / len(psi)
        u = torch.cat([torch.zeros(500), torch.full((500,), spread)]).double().unsqueeze(0)
        sums = sums_in_lists(u, torch.ones_like(u, dtype=torch.bool), psi=psi)
        far = 500 * math.exp(-spread)
        expected = torch.arange(500).double() / 2
        torch.testing.assert_close(sums.below[0], torch.cat([expected, expected + far]), rtol=1e-8, atol=0)
        torch.testing.assert_close(sums.below[0, 500], torch.tensor(far, dtype=torch.float64), rtol=1e-8, atol=0)
        torch.testing.assert_close(sums.above[0, 499], torch.tensor(far, dtype=torch.float64), rtol=1e-8, atol=0)


@pytest.mark.parametrize("lengths", [[], [1], [2, 1, 3], [4] * 10 + [1, 2, 7]])
def test_sums_in_short_segments_are_those_of_the_scan(lengths: list[int]) -> None:
    g = torch.Generator().manual_seed(0)
    segments = [torch.randn(n, generator=g, dtype=torch.float64).sort().values for n in lengths]
    u = torch.cat([torch.empty(0, dtype=torch.float64), *segments])
    before = torch.cat([torch.empty(0, dtype=torch.int64), *(torch.arange(n) for n in lengths)])
    pairs = sums_in_short_segments(u, before, max(lengths, default=0))
    for a, b in zip(pairs, sums_in_segments(u, before == 0), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-300)
