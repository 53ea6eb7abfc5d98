"""How far the marginals of other seeds are from the published ones: python seeds.py, writes seeds.md beside this file.

The constants were fitted with seed 0 alone; another seed is another platform.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

from emer.config_files import config_dir
from emer.files import write_text
from emer.instantiation import instantiate
from emer.online.calibration import TARGETS, measure


def main() -> None:
    head = ["world", "seed", *TARGETS["standard"]]
    lines = ["Standard policy: difference from the published rate, in per cent.", ""]
    lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for world in ("small", "default"):
        for seed in range(7):
            with initialize_config_dir(str(config_dir()), version_base="1.3"):
                cfg = compose("calibrate", [f"world={world}", f"world.seed={seed}"])
            misfit = measure(instantiate(cfg.world), np.arange(2000)).misfit()["standard"]
            lines.append(f"| {world} | {seed} | " + " | ".join(f"{100 * x:+.0f}" for x in misfit.values()) + " |")
    write_text(Path(__file__).with_name("seeds.md"), "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
