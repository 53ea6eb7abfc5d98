"""The ledger of claims: what the papers say, and what our measurements say to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from emer.reports.papers.definitions import Claim, Experiment, experiments
from emer.reports.papers.numbers import Number, Numbers
from emer.reports.papers.text import difference_cell, log_name
from emer.reports.papers.verdicts import Judgement, Verdict, judge

NAME = "CLAIMS.md"
_MARK = {
    Verdict.SUPPORTED: "✔ supported",
    Verdict.NOT_SUPPORTED: "○ not supported",
    Verdict.CONTRADICTED: "✘ contradicted",
    Verdict.UNTESTABLE: "– cannot be tested here",
}


def said(claim: Claim) -> str:
    """The claim, and what of it is tested where that needs saying."""
    return claim.says + (f" *Tested: {claim.tested}*" if claim.tested else "")


def judgement_cell(judged: Judgement, definition: Experiment) -> str:
    """Verdict and figure in one cell."""
    if judged.verdict is Verdict.UNTESTABLE:
        return f"{_MARK[judged.verdict]}: {why_untested(judged, definition)}"
    return f"**{_MARK[judged.verdict]}**; {our_figure(judged, definition)}"


def why_untested(judged: Judgement, definition: Experiment) -> str:
    """Why a claim cannot be tested on a log, with the comparisons whose runs are missing."""
    if judged.claim.why_not:
        return judged.claim.why_not
    pairs = dict.fromkeys((part.variant, part.against) for part in judged.lacking)
    names = ", ".join(" – ".join(definition.heading(name) for name in pair if name) for pair in pairs)
    return "not all that it compares was measured on this log" + (f" ({names})" if names else "")


def our_figure(judged: Judgement, definition: Experiment) -> str:
    """Our number: the difference itself, or for a claim of several how many hold and what speaks most against it."""
    parts = list(zip(judged.claim.components, judged.found, strict=True))
    there = [(part, number) for part, number in parts if number is not None]
    if not there:
        return "–"
    if len(there) == 1:
        [(part, number)] = there
        return difference_cell(number, definition.kind, part.metric)
    part, worst = min(there, key=lambda pair: (pair[0].margin + pair[0].sign * pair[1].value) / _size(pair[1]))
    metrics = {**definition.metrics, **definition.also}
    what = metrics.get(part.metric, part.metric)
    one, other = (definition.heading(name) for name in (part.variant, part.against))
    cell = difference_cell(worst, definition.kind, part.metric)
    text = f"{judged.held} of {len(there)} as claimed, beyond the interval"
    text += f", {judged.against} on the other side" if judged.against else ""
    return f"{text}; weakest: {what}, {one} – {other} {cell}"


def _size(number: Number) -> float:
    half = (number.high - number.low) / 2
    return half if half > 0 else abs(number.value) or 1.0


def ledger(found: Mapping[str, tuple[Experiment, Numbers]]) -> str:
    """The text of ``CLAIMS.md``.

    Args:
        found: name -> an experiment and its numbers, for every experiment that has results.
    """
    rows: list[tuple[Claim, Experiment, Judgement | None]] = []
    order = {name: place for place, name in enumerate(experiments())}
    for definition, numbers in sorted(found.values(), key=lambda pair: order.get(pair[0].name, len(order))):
        for claim in definition.claims:
            logs = [data for data in numbers.logs if not claim.logs or data in claim.logs]
            if claim.why_not:
                rows.append((claim, definition, None))
                continue
            rows += [(claim, definition, judge(claim, numbers, data)) for data in logs]
    counts = Counter(Verdict.UNTESTABLE if judged is None else judged.verdict for _, _, judged in rows)
    claims = len({claim.key for claim, _, _ in rows})
    lines = [
        "# Claims of the papers, and what we measure",
        "",
        f"{claims} claims, {len(rows)} verdicts (a claim is judged on every log that it can be tested on): "
        + ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)
        + ".",
        "",
        "A claim is **supported** if every difference it states lies beyond its 95 % interval in the stated direction, "
        "**contradicted** if one of them lies beyond it in the other direction, corrected for their number (Holm), and "
        "**not supported** otherwise, which may be our noise or size. p-values are not corrected over the whole "
        "ledger: of forty claims without any truth about two would come out one way or the other. Our logs, sizes and "
        "budgets are not the papers'; what each comparison is worth stands in its README. This file is made by "
        "`emer paper ledger=experiments`, never by hand.",
        "",
    ]
    for paper in dict.fromkeys(definition.paper for _, definition, _ in rows):
        lines += [f"## {paper.split(',')[0]}", "", "| | claim | where | verdict | our figure | seeds | |"]
        lines.append("|---|---|---|---|---|---:|---|")
        for claim, definition, judged in rows:
            if definition.paper != paper:
                continue
            link = f"[{definition.name}]({definition.name}/README.md)"
            if judged is None:
                cells = ["–", _MARK[Verdict.UNTESTABLE], claim.why_not, "–"]
            else:
                untested = judged.verdict is Verdict.UNTESTABLE
                told = why_untested(judged, definition) if untested else our_figure(judged, definition)
                cells = [log_name(judged.data), _MARK[judged.verdict], told, str(judged.seeds or "–")]
            lines.append(f"| {claim.key} | {said(claim)} | {' | '.join(cells)} | {link} |")
        lines.append("")
    return "\n".join(lines)


def results_folders(root: Path) -> list[Path]:
    """Folders below ``root`` that hold the results of an experiment."""
    return sorted(path.parent for path in root.glob("*/results.csv") if (path.parent / "results.json").is_file())
