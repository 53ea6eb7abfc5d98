"""How well each stage orders the candidates of one request, against the truth, which no stage and no ranker sees.

    python experiments/mmoe_stage/within.py outputs/ab_test      writes within.md, within.csv, day_after.csv

For the worlds of the A/B tests at eta = 1; their stages come from the cache. Mean over 1,000 requests (one of each of
the experiment's users, not tired of anything) of the Spearman correlation over the request's candidates.
day_after.csv: what each trained stage's quality.json says, on the exposures of the day after its training.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from scipy.stats import rankdata
from table import HERE, Row, stage_of, write_csv

from emer.files import write_text
from emer.instantiation import instantiate
from emer.online.setting import Setting
from emer.pxtr.platform_model import TrainedMMoE
from emer.world.candidates import draw_candidates
from emer.world.hashing import Stream, hash_keys
from emer.world.responses import OBJECTIVES, affinity, expected_rates

USERS = 1000
PVTR, PLTR = OBJECTIVES.index("pvtr"), OBJECTIVES.index("pltr")


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over rows of the rank correlation of (B, n) arrays."""
    a, b = (rankdata(x, axis=1) - (x.shape[1] + 1) / 2 for x in (first, second))
    return float(((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))).mean())


def measured(setting: Setting) -> dict[str, float]:
    """Correlations in one world."""
    world, users = setting.world, np.arange(USERS)
    request = hash_keys(world.seed, Stream.CANDIDATES, users, 50_000)
    videos = draw_candidates(world, users, setting.candidates, request)
    z = affinity(world, users, videos, np.zeros((USERS, world.parameters.categories)))
    truth = expected_rates(world, users, videos, z)
    pxtr = setting.multi_task.predict(users, videos, truth, request).astype(np.float64)
    return {
        "pltr with true like rate": spearman(pxtr[..., PLTR], truth[..., PLTR]),
        "pvtr with true watch time": spearman(pxtr[..., PVTR], truth[..., PVTR]),
        "pltr with pvtr": spearman(pxtr[..., PLTR], pxtr[..., PVTR]),
        "pltr / pvtr with truth's": spearman(pxtr[..., PLTR] / pxtr[..., PVTR], truth[..., PLTR] / truth[..., PVTR]),
        "true like rate with true watch time": spearman(truth[..., PLTR], truth[..., PVTR]),
    }


def day_after(setting: Setting) -> list[Row]:
    """A row per pxtr of a trained stage."""
    assert isinstance(setting.multi_task, TrainedMMoE)
    quality = json.loads(setting.multi_task.path.with_name("quality.json").read_text(encoding="utf-8"))
    own = {"exposures": quality["exposures"], "seed": setting.seed}
    return [
        {**own, "pxtr": name, **quality["pooled"][name]}
        | {"ratio": quality["pooled"][name]["mean_predicted"] / quality["pooled"][name]["mean_actual"]}
        for name in OBJECTIVES
    ]


def main() -> None:
    rows: list[Row] = []
    after: list[Row] = []
    for path in sorted(Path(sys.argv[1]).glob("*/config.yaml")):
        cfg = OmegaConf.load(path)
        if cfg.world.parameters.eta == 1:
            setting = instantiate(cfg.world)
            rows.append(
                {"stage": stage_of(OmegaConf.to_container(cfg.world)), "seed": setting.seed, **measured(setting)}
            )
            after += [] if setting.stage is None else day_after(setting)
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    lines += [
        "| " + " | ".join(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()) + " |" for row in rows
    ]
    write_csv(HERE / "within.csv", rows)
    write_csv(HERE / "day_after.csv", after)
    write_text(HERE / "within.md", "# Order within a request\n\n" + "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
