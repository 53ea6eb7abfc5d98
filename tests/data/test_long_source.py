"""A long table becomes the right requests, whatever its form, or is refused with the place of the fault."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emer.data import buckets, cache, long_source, raw
from emer.data.long_source import LongSource, total
from emer.data.stable_hash import hash_bucket
from emer.data.validation import validate_folder
from emer.errors import DataError

from .long_tables import (
    COLUMNS,
    by_hand,
    candidate,
    changed,
    log_of,
    prepared,
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
IN_ORDER = [candidate(r, v) for r in range(8) for v in range(3)]
"""Row 3 r + v is candidate v of request r, on line 3 r + v + 2."""


def without_split(requests: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {key: {k: v for k, v in request.items() if k != "split"} for key, request in requests.items()}


def refusal(folder: Path, root: Path, mapping: Path | None = None, **options: Any) -> str:
    """What is said of a faulty table, below ``folder``; and nothing may be left of the attempt."""
    with pytest.raises(DataError) as caught:
        prepared(folder, root, mapping, **options)
    assert not list((folder / "cache").glob("**/*"))
    return str(caught.value)


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


def as_text(rows: list[Row], separator: str = ",", newline: str = "\n", quote: str = "") -> str:
    lines = [list(rows[0]), *([("" if v is None else str(v)) for v in row.values()] for row in rows)]
    return "".join(separator.join(f"{quote}{cell}{quote}" for cell in line) + newline for line in lines)


PLAIN, SIMPLE = ([row | {"topic": "t"} for row in rows] for rows in (ROWS, IN_ORDER))
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "log.csv is empty"),
        ("\n", "log.csv is empty"),
        (",".join(COLUMNS), "log.csv: no rows below the names of the columns"),
        (as_text(PLAIN, ";"), "lacks the column request, .* separated by semicolons: write it with commas"),
        (as_text(PLAIN, "\t"), "separated by tabs: write it with commas"),
        (as_text(PLAIN).replace("video", "item", 1), "lacks the column video; it has request, user, item, time"),
        (as_text(PLAIN).replace("video", " video", 1), "lacks the column video; .* spaces around them: remove these"),
        (as_text(PLAIN).replace("length", "video", 1), "has the column video twice; rename one of them"),
        (as_text(PLAIN) + "\n", f"line {len(PLAIN) + 2}, column request: the cell is empty"),
        (as_text(PLAIN) + "1,2", f"line {len(PLAIN) + 2}, column time: the cell is empty"),
        (as_text(changed(SIMPLE, 4, topic="a,b")), "line 6: 19 cells, and the header has 18; a cell with a comma"),
        (as_text(changed(SIMPLE, 4, topic='"a')), r"line 6: this is no CSV .* is a quote not closed\?"),
        (as_text(changed(SIMPLE, 4, topic='a"b')), "line 6: a quote inside a cell; put the cell in quotes"),
    ],
)  # fmt: skip
def test_faulty_csv_is_explained(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(text)
    mapping = write_mapping(tmp_path, item_numbers=None) if "twice" in said else None
    with pytest.raises(DataError, match=said):
        prepared(tmp_path, tmp_path / "log.csv", mapping)
    assert not list((tmp_path / "cache").glob("**/*"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_another_encoding_is_refused(encoding: str, tmp_path: Path) -> None:
    late = changed([SIMPLE[0]] * 4000, 3999, topic="Ä")
    for rows in ([row | {"topic": "Ä"} for row in IN_ORDER], late):
        (tmp_path / "log.csv").write_bytes(as_text(rows).encode(encoding))
        with pytest.raises(DataError, match=r"log\.csv(, line 4001)?.*UTF-8"):
            prepared(tmp_path, tmp_path / "log.csv")


# Faulty values


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("column", "value", "advice"),
    [
        ("request", None, "request_id must be a whole number; ids that are texts have `text: true`"),
        ("request", "r-1", "request_id must be a whole number; ids that are texts have `text: true`"),
        ("video", 1.5, "item_id must be a whole number"),
        ("user", None, "user_id must be a text in every row"),
        ("user", "", "user_id must be a text in every row"),
        ("time", None, "time_ms must be a whole number of s; dates and timestamps have `unit: iso`"),
        ("time", "2024-05-31", "dates and timestamps have `unit: iso`"),
        ("time", 10**17, "time_ms must be a whole number of s"),
        ("score_click", float("nan"), r"pxtr_pctr must be a probability in \[0, 1\]; .* `unit: s`"),
        ("score_click", float("inf"), r"pxtr_pctr must be a probability in \[0, 1\]"),
        ("score_click", -0.25, r"pxtr_pctr must be a probability in \[0, 1\]"),
        ("score_like", 1.5, r"pxtr_pltr must be a probability in \[0, 1\]"),
        ("score_watch", -1.0, "pxtr_pvtr must be a finite number, 0 or more"),
        ("score_watch", 1e39, "pxtr_pvtr must be a finite number, 0 or more"),
        ("shown", None, "exposed must be 0 or 1"),
        ("clicked", 2, "label_click must be 0 or 1"),
        ("clicked", None, "label_click must be 0 or 1"),
        ("random", -1, "explored must be 0 or 1, and 0 where shown is 0"),
        ("watched_ms", -7, "watch_time must be a finite number, 0 or more"),
        ("watched_ms", None, "watch_time must be a finite number, 0 or more"),
        ("dislikes", -1, "negative must be a finite number, 0 or more"),
        ("old_score", float("-inf"), "previous_score must be a finite number$"),
        ("age", 9, "user_age must be a whole number from 0, unknown, to 8; raise its `size`"),
        ("age", -1, "user_age must be a whole number from 0"),
        ("hour", None, "context_hour must be a whole number from 0"),
        ("length", float("nan"), "number_length must be a finite number$"),
    ],
)
def test_a_bad_value_is_located_with_advice(kind: str, column: str, value: Any, advice: str, tmp_path: Path) -> None:
    rows = changed([row | {"shown": 1} for row in IN_ORDER], 7, **{column: value})
    if isinstance(value, str) and kind == "parquet":
        rows = [row | {column: str(row[column])} for row in rows]
    with pytest.raises(DataError, match=rf"log\.{kind}, (line 9|row 7), column {column}: .*; {advice}"):
        prepared(tmp_path, write_long(tmp_path / f"log.{kind}", rows))
    assert not list((tmp_path / "cache").glob("**/*"))


def test_explored_is_of_what_was_shown(tmp_path: Path) -> None:
    rows = changed(IN_ORDER, 4, shown=0, random=1)
    said = refusal(tmp_path, write_long(tmp_path / "log.csv", rows))
    assert "line 6, column random: '1' is not possible; explored must be 0 or 1, and 0 where shown is 0" in said


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("video", [2.0**53 + 2 * i for i in range(24)], "row 0, column video: 9007199254740992.0 is not a value"),
        ("video", [float("nan") if i == 5 else float(i % 3) for i in range(24)], "row 5, column video: nan is not"),
        ("video", [{"id": i} for i in range(24)], r"row 0, column video: Struct\(.*\) is not a value of type Int64"),
        ("score_click", [[0.5]] * 24, r"row 0, column score_click: List\(.*\) is not a value of type Float32"),
        ("time", [datetime(2024, 5, 1)] * 24, "row 0, column time: datetime.* have `unit: iso`"),
        ("time", [date(2024, 5, 1)] * 24, "row 0, column time: datetime.date.* have `unit: iso`"),
        ("video", [datetime(2024, 5, 1)] * 24, "row 0, column video: datetime.* is not a value of type Int64"),
        ("clicked", ["yes"] * 24, "row 0, column clicked: 'yes' is not .*; label_click must be 0 or 1"),
    ],
)
def test_parquet_types_that_would_be_misread(column: str, values: list[Any], said: str, tmp_path: Path) -> None:
    frame = pl.DataFrame(IN_ORDER, infer_schema_length=None).with_columns(pl.Series(column, values))
    frame.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=said):
        prepared(tmp_path, tmp_path / "log.parquet")


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    sound = write_long(tmp_path / "sound.parquet", ROWS).read_bytes()
    upper = tmp_path / "log.PARQUET"
    upper.write_bytes(sound)
    assert without_split(requests_in(prepared(tmp_path / "upper", upper, write_mapping(tmp_path)))) == EXPECTED
    for content in (b"", sound[: len(sound) // 2], sound[:300] + bytes(300) + sound[600:], as_text(ROWS).encode()):
        (tmp_path / "log.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"log\.parquet is not a Parquet file, or one that was cut short"):
            prepared(tmp_path, tmp_path / "log.parquet")
    (tmp_path / "log.csv").write_bytes(sound)
    with pytest.raises(DataError, match=r"log\.csv is not a UTF-8 text file"):
        prepared(tmp_path, tmp_path / "log.csv")
    table = pl.DataFrame(ROWS, infer_schema_length=None).to_arrow()
    pq.write_table(table.append_column("user", pa.nulls(len(ROWS), pa.string())), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"log\.parquet.* '?user'? "):
        prepared(tmp_path, tmp_path / "log.parquet")


# Faulty requests


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user": "user-9"}, f"column user_id: its rows say {text_id('user-2')} and {text_id('user-9')}"),
        ({"time": 1_700_009_999}, "column time_ms: its rows say 1700000060000 and 1700009999000; one request has one"),
        ({"age": 7}, "column user_age: its rows say 2 and 7; one request has one user_age"),
        ({"hour": 23}, "column context_hour: its rows say 2 and 23; one request has one context_hour"),
        ({"video": 1}, "column item_id: the item 1 is twice in the request; leave one out"),
    ],
)
def test_rows_that_do_not_go_together_are_located(changes: Row, said: str, tmp_path: Path) -> None:
    rows = changed(IN_ORDER, 8, **changes)
    request = IN_ORDER[8]["request"]
    first = 9 if "video" in changes else 8
    found = refusal(tmp_path, write_long(tmp_path / "log.csv", rows))
    assert found.startswith(f"{tmp_path}/log.csv, line {first} and {tmp_path}/log.csv, line 10: request_id {request}, ")
    assert said in found
    root = tmp_path / "log"
    write_long(root / "a.parquet", rows[:8])
    write_long(root / "b.csv", rows[8:])
    assert f"{root}/a.parquet, row {first - 2} and {root}/b.csv, line 2: " in refusal(tmp_path, root)


def test_a_list_that_is_too_long_is_refused(tmp_path: Path) -> None:
    mapping = {"request_id": "r", "user_id": "u", "item_id": "i", "time_ms": "t", "objectives": {"pctr": "p"}}
    path = write_mapping(tmp_path, mapping)
    n = 32_769
    frame = pl.DataFrame({"r": [*[1] * n, 2, 3], "u": 1, "i": range(n + 2), "t": [*[1] * n, 2, 3], "p": 0.5})
    frame.head(n - 1).vstack(frame.tail(2)).write_parquet(tmp_path / "log.parquet")
    assert len(requests_in(prepared(tmp_path, tmp_path / "log.parquet", path))[1]["item_id"]) == 32_768
    shutil.rmtree(tmp_path / "cache")
    frame.write_parquet(tmp_path / "log.parquet")
    said = refusal(tmp_path, tmp_path / "log.parquet", path)
    assert "row 0: request_id 1, column item_id: the request has 32,769 candidates, more than the 32,768" in said


@pytest.mark.parametrize("requests", [1, 2])
def test_a_split_along_time_needs_three_times(requests: int, tmp_path: Path) -> None:
    rows = [row | {"time": row["request"] % (requests * 7) // 7} for row in IN_ORDER]
    said = refusal(tmp_path, write_long(tmp_path / "log.csv", rows))
    assert f"the log has {requests} distinct times; a split along time into train, validation and test needs 3" in said


def test_a_split_without_requests_is_refused() -> None:
    one = {"requests": 1, "candidates": 3}
    counts = {"train": one, "validation": one, "test": {"requests": 0, "candidates": 0}}
    assert total([counts, {**counts, "test": one}]) == {
        "train": {"requests": 2, "candidates": 6}, "validation": {"requests": 2, "candidates": 6}, "test": one
    }  # fmt: skip
    with pytest.raises(DataError, match="no request falls into the test split"):
        total([counts])


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
    monkeypatch.setattr(long_source, "build_here", None)
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
