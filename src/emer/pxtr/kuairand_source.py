"""KuaiRand as a data set: official CSV files -> requests with out-of-sample pxtrs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emer.data.assemble import RequestSettings
from emer.data.cache import build_once, config_hash, file_fingerprint
from emer.data.kuairand import find_files, read_log
from emer.pxtr.build import NEEDED, PxtrSettings, build_requests
from emer.pxtr.forward_chain import ChainSettings

_VERSION = 1
"""Part of the cache key: raise it whenever the code would make other requests of the same input."""

ABOUT = {
    "name": "KuaiRand",
    "licence": "CC BY-SA 4.0",
    "citation": (
        "Chongming Gao, Shijun Li, Yuan Zhang, Jiawei Chen, Biao Li, Wenqiang Lei, Peng Jiang, Xiangnan He. "
        "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos. CIKM 2022. "
        "doi 10.1145/3511808.3557624"
    ),
    "home": "https://kuairand.com, https://zenodo.org/records/10439422",
    "pxtrs": (
        "MMoE, retrained along the days; every pxtr is predicted by a model of earlier days only. pvtr is the "
        "expected watch time in seconds: φ exp(predicted log(1 + seconds)) - 1, with φ such that the mean is "
        "right on the last training day."
    ),
    "known_faults": [
        "Requests are pseudo-requests: the log does not say what was ranked together. Times, contexts and "
        "the choice of candidates within one are not those of a served request.",
        "Candidates that were not exposed are sampled; their feedback is unknown and masked, not 0.",
        "Pure keeps only the exposures of a pool of some 7,500 videos, so a user's day is incomplete.",
        "Repeated (user_id, video_id, time_ms) rows were dropped; of an item shown twice in one request the "
        "first exposure is kept.",
        "Rows with duration_ms = 0 have no watch ratio: complete is False there.",
        "click depends on the user interface (tab): in two-column tabs it is a click, else a valid play.",
        "date is when a video was watched, time_ms when it was delivered, up to some ten minutes earlier.",
        "follow, forward and comment are rare: figures on objectives marked noisy are noise.",
        "User features are one snapshot; when it was taken is not documented.",
    ],
}


@dataclass(frozen=True, kw_only=True)
class KuaiRandSource:
    """Makes request Parquet of KuaiRand Pure, 1K or 27K.

    Attributes:
        root: the unpacked archive, or its ``data`` folder.
        version: ``pure``, ``1k`` or ``27k``; ``auto`` takes the one that is there.
        include_random: add the exposures that were drawn at random.
        user_share: keep this share of the users; for the sizes of 27K.
        objectives, positive, noisy_below, smoothing, seed: see :class:`emer.pxtr.build.PxtrSettings`.
        requests: how exposures become requests, and the dates of the splits.
        model: the pxtr model and its schedule.
        reference: also fit gradient-boosted trees on the same days and features, and print their AUC.
    """

    root: str | None
    requests: RequestSettings
    model: ChainSettings
    objectives: Sequence[str] = ("pctr", "pvtr", "plvtr", "pcpr", "pltr", "pprofile", "pcstay")
    positive: Sequence[str] = ("long_view", "like", "follow", "comment", "forward")
    noisy_below: int = 200
    smoothing: float = 20.0
    seed: int = 1
    version: str = "auto"
    include_random: bool = False
    user_share: float = 1.0
    reference: bool = False

    def prepare(self, cache_dir: Path) -> Path:
        """The folder ``kuairand-<hash>`` below ``cache_dir``; the hash covers settings and input files.

        Raises:
            DataError: the files are missing or faulty, or the settings do not fit them.
        """
        files = find_files(self.root, self.version)
        pxtr = PxtrSettings(
            objectives=tuple(self.objectives),
            positive=tuple(self.positive),
            noisy_below=self.noisy_below,
            smoothing=self.smoothing,
            chain=self.model,
            seed=self.seed,
        )
        reading: dict[str, Any] = {"include_random": self.include_random, "user_share": self.user_share}
        paths = (*files.standard, *(files.random if self.include_random else ()), *files.users, *files.videos)
        key = [_VERSION, asdict(pxtr), asdict(self.requests), reading, file_fingerprint(paths)]

        def build(folder: Path) -> None:
            log, counts = read_log(files, **reading)
            about = {**ABOUT, "version": files.version, "reading": reading, "counts": counts}
            build_requests(log, folder, self.requests, pxtr, about=about, reference=self.reference)

        needed = (*NEEDED, "reference.json") if self.reference else NEEDED
        return build_once(Path(cache_dir) / f"kuairand-{config_hash(key)}", needed, build)

    def describe(self) -> str:
        """One line for people."""
        days = f"{self.requests.train[0]} to {self.requests.test[1]}"
        return f"KuaiRand in {self.root}: {self.requests.grouping} requests, {days}"
