"""What an A/B test leaves: tables, the raw totals, and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emer.files import atomic_path, write_json, write_text
from emer.online import consistency
from emer.online.ab_test import Outcome
from emer.online.experiment import Effect
from emer.online.report import as_csv, as_markdown, days_csv, draw, health_markdown
from emer.online.totals import Totals


def summary(outcome: Outcome) -> str:
    """Differences, offline GAUC beside them, and the checks, in Markdown."""
    parts = [as_markdown(outcome.effects, outcome.base)]
    if outcome.consistency is not None:
        parts.append("## Offline and online\n\n" + consistency.as_markdown(outcome.consistency))
    parts.append("## Checks\n\n" + health_markdown(outcome.health))
    return "\n".join(parts)


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Fill an existing folder: ``effects.{md,csv,json,png}``, ``days.csv``, ``user_days.parquet``, and
    ``consistency.csv`` where GAUC was measured."""
    totals = outcome.simulated.totals
    write_text(folder / "effects.csv", as_csv(outcome.effects))
    write_text(folder / "effects.md", summary(outcome))
    write_json(folder / "effects.json", [plain(effect) for effect in outcome.effects])
    write_text(folder / "days.csv", days_csv(totals, outcome.base))
    if outcome.consistency is not None:
        write_text(folder / "consistency.csv", consistency.as_csv(outcome.consistency))
    parts = [_columns(arm, of_arm) for arm, of_arm in totals.items()]
    with atomic_path(folder / "user_days.parquet") as temporary:
        pq.write_table(pa.concat_tables(parts), temporary, compression="zstd")
    draw(outcome.effects, totals, outcome.base, folder / "effects.png")


def plain(effect: Effect) -> dict[str, object]:
    """An effect as plain numbers, None where there is none."""
    flat = {k: v for k, v in vars(effect).items() if k != "difference"} | vars(effect.difference)
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in flat.items()}


def _columns(arm: str, totals: Totals) -> pa.Table:
    users, days = totals.users.size, totals.days
    columns = {"arm": np.full(users * days, arm), "user_id": np.repeat(totals.users, days)}
    columns |= {"day": np.tile(np.arange(days), users)}
    return pa.table(columns | {name: value.reshape(-1) for name, value in totals.values.items()})
