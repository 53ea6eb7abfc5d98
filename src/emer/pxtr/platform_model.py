"""Training and serving of the simulated platform's MMoE. It knows a log and public features, never a world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from emer.data.log import InteractionLog
from emer.pxtr.calibration import calibration
from emer.pxtr.features import Columns, Encoded, Encoder, feature_columns, feature_frame, past_features
from emer.pxtr.forward_chain import ChainSettings, ForwardChain
from emer.pxtr.history import History
from emer.pxtr.mmoe import MMoE
from emer.pxtr.module import PxtrModule
from emer.pxtr.targets import WATCH, choose_objectives, target_matrix
from emer.world.hashing import Floats, Hash, Ints
from emer.world.responses import OBJECTIVES

_LEAST = (1e-7, 1e-3)
"""Probability and seconds: what a float32 would round to 0 still has a logarithm."""

_PVTR = OBJECTIVES.index(WATCH)


def train(
    log: InteractionLog,
    smoothing: float,
    settings: ChainSettings,
    seed: int,
    on_step: Callable[[float], None] = lambda share: None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A stage that learns from all days of a log but the first and the last, on which it is tested.

    Features of a row are ids, the users' and items' columns, and past rates by user, item and category as of the day
    before. The first day has no past, and a model that never saw one would misread it. At serving time these are the
    rates as of the log's end, and stay so.

    Args:
        log: at least three days.
        smoothing: see :class:`emer.pxtr.history.History`.
        settings: size and training of the model.
        seed: of starting weights, dropout and shuffling.
        on_step: called after each step with its share of the training.

    Returns:
        What :meth:`TrainedMMoE.load` reads; and ``days``, ``exposures`` (both of training), ``test_exposures``, and
        ``pooled`` of :func:`emer.pxtr.calibration.calibration` on the last day.
    """
    last = log.days[-1]
    objectives = choose_objectives(log, OBJECTIVES, watch=True, positives=lambda label: 0, noisy_below=0)
    targets = target_matrix(log.exposures, objectives)
    history = History(log, [o.feedback for o in objectives if o.feedback is not None], smoothing)
    columns = feature_columns(log, history)
    shown = log.exposures["day"].to_numpy() > log.days[0]
    frame, targets = past_features(log, history).filter(shown), targets[shown]
    test = frame["day"].to_numpy() == last
    once = replace(settings, min_train_days=1, retrain_days=1)
    chain = ForwardChain(columns, len(objectives), _PVTR, once, seed)
    predicted = chain.run(frame, targets, frame.filter(test), on_step=on_step)
    assert chain.module is not None

    def table(column: str, ids: pl.Series) -> Encoded:
        """All users or all items as of the day after, with 0 in the columns of the other side."""
        other = "item_id" if column == "user_id" else "user_id"
        rows = pl.DataFrame({column: ids}).with_columns(
            pl.lit(ids[0], pl.Int64).alias(other), pl.lit(last + 1, pl.Int32).alias("day")
        )
        return _side(chain.encoder, columns, feature_frame(log, history, rows), log, of_user=column == "user_id")

    user, video = table("user_id", log.users["user_id"]), table("item_id", log.items["item_id"])
    names = ("experts", "expert_size", "tower_size", "embedding_size")
    content = {
        "sizes": list(chain.encoder.sizes),
        "numbers": len(columns.numbers),
        "model": {name: getattr(settings, name) for name in names},
        "state": chain.module.state_dict(),
        "user": [torch.from_numpy(user.categories), torch.from_numpy(user.numbers)],
        "video": [torch.from_numpy(video.categories), torch.from_numpy(video.numbers)],
    }
    quality = {
        "days": len(log.days) - 2,
        "exposures": int((~test).sum()),
        "test_exposures": int(test.sum()),
        "pooled": calibration(predicted, targets[test], frame["day"].to_numpy()[test], objectives)["pooled"],
    }
    return content, quality


def _side(encoder: Encoder, columns: Columns, frame: pl.DataFrame, log: InteractionLog, *, of_user: bool) -> Encoded:
    encoded = encoder.transform(frame)
    theirs = ("user_id", *log.user_categories, *log.user_numbers)
    for names, values in ((columns.categories, encoded.categories), (columns.numbers, encoded.numbers)):
        mine = np.array([(name in theirs or name.startswith("past_user_")) == of_user for name in names])
        values[:, ~mine] = 0
    return encoded


@dataclass(frozen=True)
class TrainedMMoE:
    """A trained multi-task stage: a network, and tables of public features. Nothing else of a world is in it.

    Attributes:
        path: of the file it was loaded from; a pickled stage is this path, so that processes load it.
        module: the network.
        user, video: encoded features of all users (U rows) and all videos (V rows); each is 0 where the other is not,
            so that their sum is the network's input.
    """

    path: Path
    module: PxtrModule
    user: Encoded
    video: Encoded

    @classmethod
    def load(cls, path: Path) -> TrainedMMoE:
        """The stage of a file that holds what :func:`train` returned."""
        content = torch.load(path, map_location="cpu", weights_only=True)
        model = MMoE(content["sizes"], content["numbers"], len(OBJECTIVES), **content["model"])
        module = PxtrModule(model, _PVTR, learning_rate=0.0, weight_decay=0.0, steps=1)
        module.load_state_dict(content["state"])
        user, video = (Encoded(*(t.numpy() for t in content[side])) for side in ("user", "video"))
        return cls(path, module.eval(), user, video)

    def predict(self, users: Ints, videos: Ints, truth: Floats, request: Hash) -> np.ndarray:
        """As :class:`emer.world.stage.MultiTaskStage` says, without a look at ``truth`` or ``request``.

        A request's predictions are the same to the rounding of float32 whatever other requests come along: a matrix
        product may round differently for another number of rows.
        """
        rows = Encoded(
            *(
                (own[users][:, None] + other[videos]).reshape(videos.size, -1)
                for own, other in (
                    (self.user.categories, self.video.categories),
                    (self.user.numbers, self.video.numbers),
                )
            )
        )
        pxtr = self.module.predict(rows).pxtr.reshape(*videos.shape, -1)
        least = np.where(np.arange(len(OBJECTIVES)) == _PVTR, _LEAST[1], _LEAST[0]).astype(np.float32)
        return np.maximum(pxtr, least)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).load, (self.path,)
