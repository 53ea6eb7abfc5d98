"""A public data set as a source: official files -> requests with out-of-sample pxtrs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from emer.data.adapter import Adapter
from emer.data.assemble import RequestSettings
from emer.data.cache import config_hash, file_fingerprint, resume_once
from emer.data.log_store import check_share, store_log
from emer.data.setting_checks import at_least, names, yes_or_no
from emer.errors import DataError
from emer.pxtr.build import NEEDED, PxtrSettings, build_requests
from emer.pxtr.calibration import calibration_tables
from emer.pxtr.forward_chain import ChainSettings
from emer.pxtr.targets import WATCH

_VERSION = 3
"""Part of the cache key: raise it whenever the code would make other requests of the same input."""

_SPACE = 6
"""Bytes written between, for each byte read, about: rows in buckets, the log, features, candidates."""

_PXTRS = (
    "Predicted by a model ({kind}) that learns along the days; every pxtr is predicted by a model of earlier days only."
)
_PVTR = (
    " pvtr is the expected watch time in seconds: φ exp(predicted log(1 + seconds)) - 1, with φ such that the mean is "
    "right on the last training day."
)


@dataclass(frozen=True, kw_only=True)
class LogSource:
    """Makes request Parquet of a log of exposures.

    Attributes:
        name: begins the folder's name.
        adapter: of the data set, such as :class:`emer.data.kuairand.KuaiRand`.
        user_share: keep this share of the users.
        rows_per_bucket: rows of whole users that are held at once, about; the log is cut into as many buckets.
        objectives, positive, noisy_below, smoothing, seed, hidden: see :class:`emer.pxtr.build.PxtrSettings`.
        requests: how exposures become requests, and the days of the splits.
        model: the pxtr model and its schedule.
        reference: also fit gradient-boosted trees on the same days and features, and print their AUC.
    """

    name: str
    adapter: Adapter
    requests: RequestSettings
    model: ChainSettings
    objectives: Sequence[str]
    positive: Sequence[str]
    noisy_below: int = 200
    smoothing: float = 20.0
    seed: int = 1
    hidden: bool = False
    user_share: float = 1.0
    rows_per_bucket: int = 1_000_000
    reference: bool = False

    def __post_init__(self) -> None:
        for name, smallest in {"rows_per_bucket": 1, "noisy_below": 0, "seed": 0}.items():
            at_least(name, getattr(self, name), smallest)
        if not isinstance(self.smoothing, int | float) or not 0 < self.smoothing < math.inf:
            raise DataError(f"smoothing is {self.smoothing!r}; it must be a number above 0")
        check_share(self.user_share)
        for name in ("objectives", "positive"):
            names(name, getattr(self, name))
        for name in ("hidden", "reference"):
            yes_or_no(name, getattr(self, name))

    def prepare(self, cache_dir: Path) -> Path:
        """The folder ``<name>-<hash>`` below ``cache_dir``; the hash covers settings and input files.

        Prints the quality of the pxtrs, if they are made now.

        Raises:
            DataError: the files are missing or faulty, the settings do not fit them, or the disk is too small.
        """
        files = self.adapter.files()
        pxtr = PxtrSettings(
            objectives=tuple(self.objectives),
            positive=tuple(self.positive),
            noisy_below=self.noisy_below,
            smoothing=self.smoothing,
            chain=self.model,
            seed=self.seed,
            hidden=self.hidden,
        )
        reading = {
            "adapter": {k: v for k, v in asdict(self.adapter).items() if k != "root"},  # type: ignore[call-overload]
            "user_share": self.user_share,
            "rows_per_bucket": self.rows_per_bucket,
        }
        key = [_VERSION, asdict(pxtr), asdict(self.requests), reading, file_fingerprint(files)]

        def build(between: Path, result: Path) -> None:
            store = store_log(self.adapter, between, user_share=self.user_share, per_bucket=self.rows_per_bucket)
            pxtrs = _PXTRS.format(kind=self.model.kind) + (_PVTR if WATCH in self.objectives else "")
            about: dict[str, Any] = {**asdict(self.adapter.about), "pxtrs": pxtrs, "reading": reading}
            about["counts"] = store.counts
            build_requests(store, between, result, self.requests, pxtr, about=about, reference=self.reference)

        needed = (*NEEDED, "reference.json") if self.reference else NEEDED
        root = Path(cache_dir) / f"{self.name}-{config_hash(key)}"
        there = all((root / name).is_file() for name in needed)
        space = int(_SPACE * self.user_share * sum(path.stat().st_size for path in files))
        resume_once(root, needed, build, space)
        if not there:
            _show_quality(root)
        return root

    def describe(self) -> str:
        """One line for people."""
        days = f"{self.requests.train[0]} to {self.requests.test[1]}"
        return f"{self.adapter.about.name}: {self.requests.grouping} requests, {days}"


def _show_quality(folder: Path) -> None:
    quality = json.loads((folder / "calibration.json").read_text())
    names = json.loads((folder / "source.json").read_text())["settings"]["pxtr"]["objectives"]
    for place, key in ((quality, "pooled"), *((quality["by_day"], day) for day in quality["by_day"])):
        place[key] = {name: place[key][name] for name in names}  # the file sorts them
    reference = folder / "reference.json"
    auc = json.loads(reference.read_text())["auc"] if reference.is_file() else None
    for table in calibration_tables(quality, auc):
        Console().print(table)
