"""The candidate stage of the simulated world, request by request; its formulas stand in :mod:`emer.world`.

Ids and affinities are the NumPy version's bit for bit: integers, and sums in the same order. Rates and pxtrs are
float64 by other approximations of exp, log and the normal distribution, each within a few units of the last place.

A request passes through loops over its candidates, which vectorise; nothing reaches from one request to another.
"""

from __future__ import annotations

import numpy as np

from emer.kernels.runtime import compiled_in_order, inlined

_GOLDEN, _FIRST, _SECOND = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_HALF_WORD = np.uint64(32)
_LOG2_HIGH, _LOG2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_ROUND = 1.5 * 2.0**52  # added to a double, it leaves the nearest whole number in the lower bits
_ROUND_BITS, _ROOT_HALF_BITS = (int(np.float64(x).view(np.int64)) for x in (_ROUND, 0.5**0.5))

RATES = 8  # P(click), E[W], P(long view), P(complete), and four interactions


@compiled_in_order
def propose_rows(w, users, request, fatigue, ids, z):  # type: ignore[no-untyped-def]
    """Candidates and their affinity.

    Args:
        w: an :class:`emer.world.backend.Platform`; so in the other kernels.
        users: (B,) int64.
        request: (B,) uint64.
        fatigue: (B, categories).
        ids: out, (B, C) int64, ascending and distinct.
        z: out, (B, C).
    """
    spare, count = np.empty(ids.shape[1], np.int64), np.empty(256, np.int64)
    for b, u in enumerate(users):
        _draw(w, u, request[b], ids[b], spare, count)
        for i in range(ids.shape[1]):
            v = ids[b, i]
            total = w.video_number[v, 0] - w.fatigue * fatigue[b, w.category[v]]
            for axis in range(w.video_vector.shape[1]):
                total += w.user_vector[u, axis] * w.video_vector[v, axis]
            z[b, i] = total


@compiled_in_order
def rate_rows(w, users, ids, z, rates):  # type: ignore[no-untyped-def]
    """Fill ``rates`` (B, C, 8) with what :func:`emer.world.responses.expected_rates` gives."""
    C = ids.shape[1]
    log_rate, own, expected = np.empty((4, C)), np.empty((5, C)), np.empty((RATES, C))
    level = np.empty(C, np.uint32)
    for b in range(len(users)):
        _rates(w, users[b], ids[b], z[b], log_rate, own, level, expected)
        for task in range(RATES):
            for i in range(C):
                value = expected[task, i]
                rates[b, i, task] = value / (1 + value) if task >= 4 else value


@compiled_in_order
def pxtr_rows(w, users, request, ids, z, pxtr):  # type: ignore[no-untyped-def]
    """Fill ``pxtr`` (B, C, 8) float32 with what :meth:`emer.world.pxtr.PxtrStage.predict` gives on the true rates."""
    C = ids.shape[1]
    log_rate, own, expected = np.empty((4, C)), np.empty((5, C)), np.empty((RATES, C))
    error, level = np.empty((RATES, C)), np.empty(C, np.uint32)
    slope = w.pxtr[0]
    for b in range(len(users)):
        _rates(w, users[b], ids[b], z[b], log_rate, own, level, expected)
        _errors(w, users[b], request[b], ids[b], error)
        for task in range(RATES):
            x, e, scale = expected[task], error[task], w.scale[task]
            if task == 1:
                for i in range(C):
                    e[i] = scale * _exp(slope * _log(x[i]) + e[i])
            elif task < 4:
                for i in range(C):
                    e[i] = min(scale / (1 + _exp(-(slope * _log(x[i] / (1 - x[i])) + e[i]))), 1.0)
            else:
                for i in range(C):
                    e[i] = min(scale / (1 + _exp(-(slope * _log(x[i]) + e[i]))), 1.0)
        for i in range(C):
            for task in range(RATES):
                pxtr[b, i, task] = error[task, i]


@compiled_in_order
def _draw(w, user, request, ids, spare, count):  # type: ignore[no-untyped-def]
    """One request's candidates; ``spare`` (C,) and ``count`` (256,) are memory."""
    C, videos, topics = len(ids), len(w.category), len(w.topic_start) - 1
    start = (np.float64(_fold(request, 0) >> np.uint64(11)) + 0.5) * 2.0**-53
    runs = _fold(request, 1)
    topic, last = 0, -1
    first = size = offset = 0
    for i in range(w.by_topic):
        # Quotas ascend, and so do the places.
        place = (start + i) / w.by_topic
        while topic < topics - 1 and place > w.topic_quota[user, topic]:
            topic += 1
        if topic != last:
            last = topic
            first = w.topic_start[topic]
            size = max(w.topic_start[topic + 1] - first, 1)
            offset = _integer(_fold(runs, topic), size)
        ids[i] = w.topic_videos[(first + (offset + i) % size) % videos]
    slots = _fold(request, 2)
    for i in range(w.by_fame):
        ids[w.by_topic + i] = w.popular[_integer(_fold(slots, i), len(w.popular))]
    for i in range(w.by_fame, C - w.by_topic):
        ids[w.by_topic + i] = _integer(_fold(slots, i), videos)

    state = _fold(request, 3)
    attempt, repeated = 0, True
    while repeated:
        _sort(ids, spare, count, videos)
        repeated = False
        for place in range(C - 1):
            if ids[place] == ids[place + 1]:
                ids[place] = _integer(_fold(_fold(state, attempt), place), videos)
                repeated = True
        attempt += 1


@compiled_in_order
def _sort(values, spare, count, high):  # type: ignore[no-untyped-def]
    """Sort integers of 0 .. high - 1, byte by byte from the lowest."""
    source, target = values, spare
    shift = 0
    while (high - 1) >> shift:
        count[:] = 0
        for v in source:
            count[(v >> shift) & 255] += 1
        place = 0
        for digit in range(256):
            place, count[digit] = place + count[digit], place
        for v in source:
            digit = (v >> shift) & 255
            target[count[digit]] = v
            count[digit] += 1
        source, target = target, source
        shift += 8
    if shift & 8:
        values[:] = spare


@compiled_in_order
def _rates(w, user, ids, z, log_rate, own, level, expected):  # type: ignore[no-untyped-def]
    """Fill ``expected`` (8, C): rates; for interactions the odds of one. The other arrays are memory."""
    C = len(ids)
    mean, engaged = own[3], own[4]
    patience, sd = w.user_number[user, 0], w.watch[3]
    for i in range(C):
        v = ids[i]
        level[i] = w.level[v]
        mean[i] = w.watch[0] + w.watch[1] * z[i] + w.watch[2] * w.video_number[v, 1] + patience
        for k in range(4):
            fixed = w.video_number[v, 2 + k] + w.user_number[user, 2 + k] + w.interaction[0, k]
            log_rate[k, i] = fixed + w.interaction[1, k] * z[i]
    for i in range(C):
        engaged[i] = 1 / (1 + _exp(-(w.engaged[0] + w.engaged[1] * z[i])))
    for task in range(RATES):
        threshold, cap, skipping, out = own[0], own[1], own[2], expected[task]
        # Looked up beforehand: a loop that looks up does not vectorise.
        for i in range(C):
            threshold[i], cap[i] = w.threshold[task, level[i]], w.cap[task, level[i]]
            skipping[i] = w.skipping[task, level[i]]
        if task in (0, 2, 3):
            for i in range(C):
                watching = _ndtr((mean[i] - threshold[i]) / sd)
                out[i] = engaged[i] * watching + (1 - engaged[i]) * skipping[i]
        else:
            for i in range(C):
                place = (threshold[i] - mean[i]) / sd
                watching = _exp(mean[i] + sd * sd / 2) * _ndtr(place - sd) + cap[i] * _ndtr(-place)
                out[i] = engaged[i] * watching + (1 - engaged[i]) * skipping[i]
    for k in range(4):
        rate, out = log_rate[k], expected[4 + k]
        for i in range(C):
            out[i] = _expm1(_exp(rate[i]) * out[i])


@compiled_in_order
def _errors(w, user, request, ids, error):  # type: ignore[no-untyped-def]
    """Fill ``error`` (8, C): errors of the video and the pair, the request's offset, the duration's bias."""
    offset = np.empty(RATES)
    state = _fold(w.request_state, request)
    for task in range(RATES):
        offset[task] = w.pxtr[3] * w.quantile[_field(_fold(state, task & 4), task & 3)]
    state = _fold(w.pair_state, user)
    for i in range(len(ids)):
        v = ids[i]
        size = w.user_number[user, 1] * (w.pxtr[2] if w.cold[v] else 1.0)
        pair = _fold(state, v)
        word = _fold(pair, 0)
        common = w.pxtr[4] * w.quantile[_field(word, 0)]
        for task in range(RATES):
            draw = task + 1
            if draw & 3 == 0:
                word = _fold(pair, draw)
            own = common + w.pxtr[5] * w.quantile[_field(word, draw & 3)]
            error[task, i] = size * (w.video_number[v, 6 + task] + w.pair_sd[task] * own) + offset[task]
        error[1, i] += w.pxtr[1] * w.video_number[v, 1]


@inlined
def _mix(x):  # type: ignore[no-untyped-def]
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


@inlined
def _fold(state, key):  # type: ignore[no-untyped-def]
    return _mix((state ^ np.uint64(key)) + _GOLDEN)


@inlined
def _integer(state, high):  # type: ignore[no-untyped-def]
    return np.int64(((state >> _HALF_WORD) * np.uint64(high)) >> _HALF_WORD)


@inlined
def _field(word, place):  # type: ignore[no-untyped-def]
    return (word >> (np.uint64(16) * np.uint64(place))) & np.uint64(0xFFFF)


@inlined
def _bits(x):  # type: ignore[no-untyped-def]
    return np.float64(x).view(np.int64)


@inlined
def _double(bits):  # type: ignore[no-untyped-def]
    return np.int64(bits).view(np.float64)


@inlined
def _exp(x):  # type: ignore[no-untyped-def]
    """e^x; x beyond +-708 counts as that."""
    n, r = _reduced(x)
    return _double(_bits(_expm1_near_0(r) + 1) + (n << 52))


@inlined
def _expm1(x):  # type: ignore[no-untyped-def]
    """e^x - 1 without cancellation, for x >= 0."""
    n, r = _reduced(x)
    scale = _double((n + 1023) << 52)
    return scale * _expm1_near_0(r) + (scale - 1)


@inlined
def _reduced(x):  # type: ignore[no-untyped-def]
    """(n, r): x = n log 2 + r, |r| <= log(2) / 2."""
    x = min(max(x, -708.0), 708.0)
    shifted = x * 1.4426950408889634 + _ROUND
    whole = shifted - _ROUND
    return _bits(shifted) - _ROUND_BITS, (x - whole * _LOG2_HIGH) - whole * _LOG2_LOW


@inlined
def _expm1_near_0(r):  # type: ignore[no-untyped-def]
    """The Taylor series as far as r^13."""
    p = 1 / 479001600 + r * (1 / 6227020800)
    p = 1 / 362880 + r * (1 / 3628800 + r * (1 / 39916800 + r * p))
    p = 1 / 720 + r * (1 / 5040 + r * (1 / 40320 + r * p))
    return r + r * r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * p))))


@inlined
def _log(x):  # type: ignore[no-untyped-def]
    """log(x) of a normal x > 0: e log 2 + 2 artanh(s), x = 2^e (1 + s) / (1 - s), as far as s^21; some -709 for 0."""
    e = (_bits(x) - _ROOT_HALF_BITS) >> 52
    f = _double(_bits(x) - (e << 52)) - 1
    s = f / (2 + f)
    q = s * s
    p = 1 / 15 + q * (1 / 17 + q * (1 / 19 + q * (1 / 21)))
    p = 1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13 + q * p)))))
    return e * _LOG2_HIGH + (e * _LOG2_LOW + 2 * s * q * p + 2 * s)


@inlined
def _ndtr(x):  # type: ignore[no-untyped-def]
    """The normal distribution function: exp(-t^2) / (t + 7/2) times a polynomial of u, with t = |x| / sqrt(2) and
    u = (t - 7/2) / (t + 7/2). The polynomial interpolates in 23 Chebyshev nodes, to 3e-16."""
    t = abs(x) * 0.7071067811865476
    reciprocal = 1 / (t + 3.5)
    u = (t - 3.5) * reciprocal
    p = -7.655583058506971e-09 + u * (5.978136459117194e-09 + u * (7.238282880675115e-10 - u * 5.065680689913899e-10))
    p = 2.763679028617486e-07 + u * (5.3143868007051225e-08 + u * (-4.349519377235065e-08 + u * p))
    p = 3.619678381060385e-06 + u * (-1.6964040288949572e-06 + u * (-3.938621990914636e-07 + u * p))
    p = -3.738767589517772e-05 + u * (9.3236661817593e-06 + u * p)
    p = -6.526773466326293e-04 + u * (3.572656403312705e-04 + u * (-2.103108593705771e-05 + u * p))
    p = 1.3259309940920685e-02 + u * (-1.588525142305587e-03 + u * p)
    p = 0.11286931082370567 + u * (-0.04615935332157224 + u * p)
    p = 0.347056823317322 + u * (-0.21762801335835738 + u * p)
    p = 0.54352779463113 + u * (-0.46889986228355696 + u * p)
    tail = _exp(-t * t) * p * reciprocal
    return 1 - tail if x > 0 else tail
