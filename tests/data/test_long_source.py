"""A long table becomes the right requests, whatever its form, or is refused with the place of the fault."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emer.data import buckets, cache, long_build, raw
from emer.data.long_source import LongSource
from emer.data.stable_hash import hash_bucket
from emer.data.validation import validate_folder
from emer.errors import DataError

from .long_tables import (
    IN_ORDER,
    as_text,
    by_hand,
    candidate,
    changed,
    log_of,
    prepared,
    refusal,
    requests_in,
    text_id,
    write_long,
    write_mapping,
)
from .toy_views import Row

ROWS = log_of(40)
KINDS = ("csv", "parquet", "arrow")


def topic_id(text: str | None) -> int:
    return hash_bucket(pl.Series([text], dtype=pl.String), 50, "item_topic").item()


EXPECTED = by_hand(ROWS, topic_id)


def without_split(requests: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {key: {k: v for k, v in request.items() if k != "split"} for key, request in requests.items()}


# Right requests


@pytest.mark.parametrize("kind", KINDS)
def test_requests_are_those_grouped_by_hand(kind: str, tmp_path: Path) -> None:
    folder = prepared(tmp_path, write_long(tmp_path / f"log.{kind}", ROWS))
    assert without_split(requests_in(folder)) == EXPECTED
    report = validate_folder(folder)
    assert report.ok and not report.warnings, str(report)
    assert (report.requests, report.candidates) == (40, len(ROWS))


def test_splits_follow_each_other_and_are_counted(tmp_path: Path) -> None:
    folder = prepared(tmp_path, write_long(tmp_path / "log.parquet", ROWS), fractions=[0.5, 0.25, 0.25])
    requests = requests_in(folder)
    times = {s: [r["time_ms"] for r in requests.values() if r["split"] == s] for s in ("train", "validation", "test")}
    assert max(times["train"]) < min(times["validation"]) <= max(times["validation"]) < min(times["test"])
    rows = Counter[str]()
    for request in requests.values():
        rows[request["split"]] += len(request["item_id"])
    for split, share in {"train": 0.5, "validation": 0.25, "test": 0.25}.items():
        assert abs(rows[split] - share * len(ROWS)) <= 12  # two requests of six share a time
    source = json.loads((folder / "source.json").read_text())
    assert source["splits"] == {s: {"requests": len(times[s]), "candidates": rows[s]} for s in times}
    assert source["files"] == ["log.parquet"]


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    batch=st.integers(10, 100),
    per_bucket=st.integers(20, 200),
)
def test_order_files_batches_and_buckets_do_not_matter(
    seed: int, kinds: list[str], batch: int, per_bucket: int
) -> None:
    g = random.Random(seed)
    rows = g.sample(ROWS, len(ROWS))
    parts: list[list[Row]] = [[] for _ in kinds]
    for row in rows:
        g.choice(parts).append(row)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        for number, (kind, part) in enumerate(zip(kinds, parts, strict=True)):
            if part:
                write_long(folder / "log" / f"{number}.{kind}", part)
        patch.setattr(raw.read_part, "__defaults__", (batch,))
        patch.setattr(buckets.buckets_for, "__defaults__", (per_bucket,))
        found = requests_in(prepared(folder, folder / "log"))
        several = [p.name for p in (folder / "cache").rglob("part-*")]
        plain = requests_in(prepared(folder, write_long(folder / "one.csv", rows)))
    assert without_split(found) == EXPECTED
    assert {k: r["split"] for k, r in found.items()} == {k: r["split"] for k, r in plain.items()}
    assert (per_bucket > 70) or len(set(several)) > 1


def test_a_mixed_folder_hashes_the_same_value_alike(tmp_path: Path) -> None:
    """Texts in CSV, whole numbers in Parquet, and floats where a column had gaps."""
    mapping = write_mapping(tmp_path, request_id={"column": "request", "text": True})
    rows = [candidate(r, v, request=r, topic=v, user=str(r % 2)) for r in range(6) for v in range(3)]
    gaps = [row | {"request": float(row["request"]), "topic": float(row["topic"])} for row in rows[6:12]]
    write_long(tmp_path / "log" / "a.csv", rows[:6])
    write_long(tmp_path / "log" / "b.parquet", [*gaps, rows[12] | {"topic": None, "request": 4.0}])
    write_long(tmp_path / "log" / "c.arrow", rows[13:])
    (tmp_path / "log" / "_SUCCESS").touch()
    (tmp_path / "log" / ".hidden.csv").write_text("not a table")
    (tmp_path / "log" / "notes.txt").write_text("nor this")
    (tmp_path / "log" / "below.parquet").mkdir()
    found = requests_in(prepared(tmp_path, tmp_path / "log", mapping))
    assert set(found) == {text_id(str(r)) for r in range(6)}
    topics = [topic_id(str(v)) for v in range(3)]
    assert {r["item_topic"] for k, r in found.items() if k != text_id("4")} == {tuple(topics)}
    assert found[text_id("4")]["item_topic"] == (0, *topics[1:])
    assert {r["user_id"] for r in found.values()} == {text_id("0"), text_id("1")}


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_no_patterns(kind: str, tmp_path: Path) -> None:
    root = write_long(tmp_path / "the log" / f"log[1] *.{kind}", ROWS)
    write_long(tmp_path / "the log" / f"log1 x.{kind}", log_of(5))
    assert without_split(requests_in(prepared(tmp_path, root))) == EXPECTED
    write_long(root, changed(IN_ORDER, 4, score_click=-1.0, shown=1))
    assert f"log[1] *.{kind}, " in refusal(tmp_path / "again", root, tmp_path / "map.yaml")


@pytest.mark.parametrize("kind", KINDS)
def test_ids_keep_every_digit(kind: str, tmp_path: Path) -> None:
    ids = [2**63 - 1, -(2**63), 2**53 + 1, -1, 0, 1]
    rows = [candidate(r, 0, request=i, video=-i - 1, user=f"{i} ü") for r, i in enumerate(ids)]
    found = requests_in(prepared(tmp_path, write_long(tmp_path / f"log.{kind}", rows)))
    assert {k: (r["item_id"], r["user_id"]) for k, r in found.items()} == {
        i: ((-i - 1,), text_id(f"{i} ü")) for i in ids
    }


def test_a_log_of_shown_items_alone_needs_few_columns(tmp_path: Path) -> None:
    mapping = {"request_id": "r", "user_id": "u", "item_id": "i", "time_ms": "t", "objectives": {"pctr": "p"}}
    rows = [{"r": r, "u": 1, "i": 5, "t": -r, "p": 0.5} for r in range(4)]
    folder = prepared(tmp_path, write_long(tmp_path / "log.csv", rows), write_mapping(tmp_path, mapping))
    found = requests_in(folder)
    assert {r["exposed"] for r in found.values()} == {(True,)}
    assert {k: r["time_ms"] for k, r in found.items()} == {0: 0, 1: -1, 2: -2, 3: -3}
    assert found[3]["split"] == "train" and found[0]["split"] == "test"
    assert "watch_time" not in found[0]


def test_what_was_not_shown_may_say_anything_of_feedback(tmp_path: Path) -> None:
    hidden = candidate(3, 7, shown=0, random=0)
    nothing = {"clicked": None, "long_view": None, "watched_ms": None, "dislikes": None, "random": None}
    odd = {"clicked": 1, "long_view": 1, "watched_ms": -5, "dislikes": 9}
    results = []
    for name, said in {"a": {}, "b": nothing, "c": odd}.items():
        for kind in ("csv", "parquet"):
            root = write_long(tmp_path / name / f"log.{kind}", [*IN_ORDER, hidden | said])
            results.append(requests_in(prepared(tmp_path / name, root)))
    assert all(result == results[0] for result in results)
    request = results[0][hidden["request"]]
    assert [request[c][3] for c in ("label_click", "watch_time", "negative", "explored")] == [False, 0, 0, False]


@pytest.mark.parametrize(
    ("value", "known"),
    [("1", True), ("TRUE", True), ("t", True), ("Yes", True), ("1.0", True), ("0", False), ("f", False), ("no", False)],
)
def test_flags_as_people_write_them_in_csv(value: str, known: bool, tmp_path: Path) -> None:
    rows = changed(IN_ORDER, 4, shown="true", random="0", clicked=value)
    found = requests_in(prepared(tmp_path, write_long(tmp_path / "log.csv", rows)))
    assert found[IN_ORDER[4]["request"]]["label_click"][1] is known


@pytest.mark.parametrize("kind", [pl.Boolean, pl.Int8, pl.UInt64, pl.Float64])
def test_flags_of_any_type_in_parquet(kind: Any, tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS, infer_schema_length=None).with_columns(
        pl.col("shown", "random", "clicked", "long_view").cast(pl.Int8).cast(kind)
    )
    frame.write_parquet(tmp_path / "log.parquet")
    assert without_split(requests_in(prepared(tmp_path, tmp_path / "log.parquet"))) == EXPECTED


def test_categories_of_pandas_are_texts(tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS, infer_schema_length=None).with_columns(
        pl.col("user", "topic").cast(pl.Categorical), pl.col("video").cast(pl.String).cast(pl.Categorical)
    )
    frame.write_parquet(tmp_path / "log.parquet")
    assert without_split(requests_in(prepared(tmp_path, tmp_path / "log.parquet"))) == EXPECTED


def test_numbers_are_kept_in_single_precision(tmp_path: Path) -> None:
    """A probability that float32 does not tell from 1 is 1; the next number above it is none."""
    mapping = write_mapping(tmp_path)
    for kind in ("csv", "parquet"):
        root = write_long(tmp_path / f"a.{kind}", changed(IN_ORDER, 3, score_click=1 + 1e-8))
        assert requests_in(prepared(tmp_path, root, mapping))[IN_ORDER[3]["request"]]["pxtr_pctr"][0] == 1
        root = write_long(tmp_path / kind / f"b.{kind}", changed(IN_ORDER, 3, score_click=1.0000001))
        said = refusal(tmp_path / kind, root, mapping)
        assert "column score_click: 1.0000001" in said and "pxtr_pctr must be a probability in [0, 1]" in said


# Forms of CSV

PLAIN = [row | {"topic": "t"} for row in ROWS]
FORMS = {
    "byte order mark": "\ufeff" + as_text(PLAIN),
    "line ends of Windows": as_text(PLAIN, newline="\r\n"),
    "everything in quotes": as_text(PLAIN, quote='"'),
    "no last line end": as_text(PLAIN).rstrip("\n"),
    "spaces before numbers": as_text([row | {"age": f" {row['age']}"} for row in PLAIN]),
    "other columns": as_text([{"note": '"a, ""b""\nc"', **row, "last": None} for row in PLAIN]),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_csv_is_read(form: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(FORMS[form], newline="")
    assert without_split(requests_in(prepared(tmp_path, tmp_path / "log.csv"))) == by_hand(PLAIN, topic_id)


# Settings and folders


def test_settings_that_are_missing_or_wrong(tmp_path: Path) -> None:
    root, mapping = str(write_long(tmp_path / "log.csv", ROWS)), str(write_mapping(tmp_path))
    (tmp_path / "empty" / "day=1").mkdir(parents=True)
    (tmp_path / "log.txt").write_text("")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.csv").symlink_to(tmp_path / "gone.csv")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"mapping": None}, "data.mapping is not set"),
        ({"mapping": "nowhere.yaml"}, "data.mapping: nowhere.yaml does not exist"),
        ({"mapping": str(tmp_path)}, "data.mapping: .* cannot be read as YAML .*directory"),
        ({"root": None}, "data.root is not set"),
        ({"root": ""}, "data.root is not set"),
        ({"root": "nowhere"}, "data.root: nowhere does not exist"),
        ({"root": str(tmp_path / "empty")}, "holds no .csv, .* file; its folder day=1 is not looked into"),
        ({"root": str(tmp_path / "log.txt")}, r"log\.txt does not end in \.csv, .*; rename it after what it is"),
        ({"root": str(tmp_path / "links")}, r"a\.csv is no file; is it a link that leads nowhere\?"),
        ({"engine": "dask"}, "data.source.engine is 'dask'; known are polars, spark"),
        ({"fractions": [0.5, 0.5]}, "data.source.fractions are"),
        ({"fractions": [0.5, 0.6, -0.1]}, "give three positive numbers that sum to 1"),
        ({"fractions": 0.5}, "give three positive numbers that sum to 1"),
        ({"fractions": ["a", "b", "c"]}, "give three positive numbers that sum to 1"),
    ]
    for settings_, said in wrong:
        with pytest.raises(DataError, match=said):
            LongSource(**({"root": root, "mapping": mapping} | settings_)).prepare(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_change_makes_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, mapping = write_long(tmp_path / "log.csv", ROWS), write_mapping(tmp_path)
    first = prepared(tmp_path, root, mapping)
    monkeypatch.setattr(long_build, "build_requests", None)
    assert prepared(tmp_path, root, mapping) == first  # nothing is made twice
    monkeypatch.undo()
    others = [prepared(tmp_path, root, mapping, fractions=(0.6, 0.2, 0.2))]
    more = write_mapping(tmp_path, item_numbers=None)
    others.append(prepared(tmp_path, root, more))
    write_long(root, [*ROWS, candidate(99, 1)])
    others.append(prepared(tmp_path, root, more))
    assert len({first, *others}) == 4
    assert len(requests_in(others[-1])) == 41 and len(requests_in(first)) == 40
    assert {p.name for p in (tmp_path / "cache").iterdir()} == {p.name for p in (first, *others)}


def test_a_disk_that_is_too_small_is_noticed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_long(tmp_path / "log.parquet", ROWS)
    needed = int(2.5 * root.stat().st_size)
    free = [needed - 1]
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, free[0]))
    said = refusal(tmp_path, root)
    assert "GB free, and this needs about" in said and "paths.cache_dir=" in said
    free[0] = needed
    assert len(requests_in(prepared(tmp_path, root))) == 40


def test_times_may_be_text_of_any_zone(tmp_path: Path) -> None:
    """The same order and the same splits as in milliseconds."""
    mapping = write_mapping(tmp_path, time_ms={"column": "time", "unit": "iso"})
    texts = ["2024-05-01T08:00:00+08:00", "2024-05-01 00:30", "2024-04-30T23:00:00-02:00"]
    rows = [candidate(r, v, time=texts[r % 3]) for r in range(9) for v in range(2)]
    found = requests_in(prepared(tmp_path, write_long(tmp_path / "log.csv", rows), mapping))
    hour = 3_600_000
    midnight = int(np.datetime64("2024-05-01").astype("datetime64[ms]").astype(int))
    wanted = {0: (midnight, "train"), 1: (midnight + hour // 2, "validation"), 2: (midnight + hour, "test")}
    assert {((k - 10**12) // 7): (r["time_ms"], r["split"]) for k, r in found.items()} == {
        r: wanted[r % 3] for r in range(9)
    }
