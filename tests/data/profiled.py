"""Small logs to profile: one whose every number is known by hand, and one in which nothing is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emer.data.parquet import write_requests
from emer.data.table import RequestTable
from emer.requests import Category, Feedback, Objective, Role, Satisfaction, Schema, Unit

SMALL = Schema(
    objectives=(
        Objective("pctr", feedback="click"),
        Objective("pvtr", unit=Unit.SECONDS),
        Objective("pltr", role=Role.INTERACTION, feedback="like"),
    ),
    feedback=(Feedback("click"), Feedback("like", Satisfaction.POSITIVE)),
    user_categories=(Category("age", 3),),
    item_categories=(Category("topic", 4),),
    item_numbers=("duration",),
)


def write_log(root: Path, tables: Mapping[str, RequestTable], row_group_size: int = 1024) -> Path:
    for split, table in tables.items():
        write_requests(table, root / split / "part-0.parquet", row_group_size)
    return root


def by_hand() -> dict[str, RequestTable]:
    """Three requests of 3, 2 and 1 candidates to train with, and one of a single candidate in each other split."""
    train = RequestTable.build(
        schema=SMALL,
        offsets=[0, 3, 5, 6],
        request_id=[1, 2, 3],
        user_id=[7, 8, 7],
        time_ms=[1000, 2000, 3000],
        user_categories=[[1], [2], [1]],
        item_id=[11, 12, 13, 12, 14, 15],
        pxtr=[[0.9, 20, 0.08], [0.5, 10, 0.08], [0.1, 5, 0.04], [0.4, 3, 0.01], [0.4, 0, 0.02], [0.0, 1, 0.0]],
        exposed=[True, False, True, True, True, False],
        explored=[False, False, True, False, False, False],
        label=[[1, 0], [0, 0], [0, 0], [0, 0], [1, 0], [0, 0]],
        watch_time=[18, 0, 2, 0, 4, 0],
        negative=[0, 0, 2, 0, 0, 0],
        previous_score=[0, 1, 2, 3, 3, 5],
        item_categories=[[0], [1], [2], [1], [2], [0]],
        item_numbers=[[1], [2], [3], [2], [4], [0]],
    )
    return {"train": train, "validation": _single(4, 7, 3000, 11), "test": _single(5, 9, 5000, 16)}


def _single(request_id: int, user: int, time_ms: int, item: int) -> RequestTable:
    return RequestTable.build(
        schema=SMALL,
        offsets=[0, 1],
        request_id=[request_id],
        user_id=[user],
        time_ms=[time_ms],
        user_categories=[[1]],
        item_id=[item],
        pxtr=[[0.5, 2, 0.5]],
        exposed=[True],
        explored=[False],
        label=[[1, 0]],
        watch_time=[3],
        negative=[0],
        previous_score=[1],
        item_categories=[[1]],
        item_numbers=[[2]],
    )


def sound_columns(split: int, R: int = 80, N: int = 8) -> dict[str, Any]:
    """Arguments of ``RequestTable.build`` of a split in which nothing is wrong: every pxtr is the outcome's chance."""
    g = np.random.default_rng(split)
    T = R * N
    pctr, pvtr, pltr = g.uniform(0.1, 0.9, T), g.uniform(2, 20, T), g.uniform(0.2, 0.6, T)
    exposed = np.arange(T) % N < N - 1
    return {
        "schema": SMALL,
        "offsets": np.arange(R + 1) * N,
        "request_id": split * R + np.arange(R),
        "user_id": np.arange(R) % 20,
        "time_ms": (split * R + np.arange(R)) * 1000,
        "user_categories": g.integers(0, 3, (R, 1)),
        "item_id": split * T + np.arange(T),
        "pxtr": np.stack([pctr, pvtr, pltr], axis=1).astype(np.float32),
        "exposed": exposed,
        "label": (g.random((T, 2)) < np.stack([pctr, pltr], axis=1)) & exposed[:, None],
        "watch_time": (g.exponential(pvtr) * exposed).astype(np.float32),
        "previous_score": g.normal(size=T).astype(np.float32),
        "item_categories": g.integers(0, 4, (T, 1)),
        "item_numbers": g.normal(size=(T, 1)).astype(np.float32),
    }


def sound() -> dict[str, dict[str, Any]]:
    """:func:`sound_columns` of the three splits."""
    return {name: sound_columns(i) for i, name in enumerate(("train", "validation", "test"))}


def leaves(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Every value of JSON-like content with the keys that lead to it."""
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in leaves(value, (*path, key))]
    if isinstance(node, list):
        return [leaf for i, value in enumerate(node) for leaf in leaves(value, (*path, i))]
    return [(path, node)]
