"""The preparation on Spark, in local mode, against the one of this machine: the same files, row for row."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from emer.data import long_build, spark_session
from emer.data.long_source import LongSource
from emer.data.spark import _check_written
from emer.data.validation import validate_folder
from emer.errors import DataError, EmerError

MAPPING = """\
request_id: {column: session, text: true}
user_id: user
item_id: video
time_ms: {column: at, unit: iso}
exposed: shown
watch_time: {column: watched, unit: ms}
objectives:
  pctr: {column: p_click, feedback: click}
  pvtr: {column: p_watch, unit: s}
feedback:
  click: clicked
user_categories:
  city: {column: city, buckets: 50}
item_categories:
  topic: {column: topic, size: 5}
item_numbers:
  age: age
"""


@pytest.fixture(scope="module")
def running() -> Iterator[None]:
    pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
    try:
        spark_session.check_java()
    except EmerError as error:
        pytest.skip(str(error))
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").config("spark.sql.shuffle.partitions", 2)
    for key, value in spark_session._LOCAL.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    yield
    session.stop()


def table(requests: int = 60, seed: int = 0) -> pl.DataFrame:
    """Rows of all requests in random order, with texts that are hard for a CSV reader."""
    draw = np.random.default_rng(seed)
    request = np.repeat(np.arange(requests), draw.integers(1, 8, requests))
    rows = request.size
    order = draw.permutation(rows)
    names = np.array([f' s-{i}, "é" \\ {i % 7}' for i in range(requests)])
    cities = np.array(["Łódź", "", 'a "b"', " x ", None, "NA", "null"])
    seconds = 1_700_000_000 + draw.permutation(requests) * 37
    first = np.flatnonzero(np.diff(request, prepend=-1))
    return pl.DataFrame(
        {
            "session": pl.Series(names[request], dtype=pl.String),
            "user": request // 3 - 5,
            "video": np.arange(rows) - np.repeat(first, np.diff([*first, rows])) + 2**53 + 1,
            "at": pl.Series(seconds[request] * 1000 + 7).cast(pl.Datetime("ms")).dt.to_string("%Y-%m-%dT%H:%M:%S%.3fZ"),
            "shown": draw.random(rows) < 0.5,
            "watched": draw.random(rows) * 1e5,
            "p_click": draw.random(rows),
            "p_watch": draw.random(rows) * 100,
            "clicked": draw.integers(0, 2, rows),
            "city": pl.Series(cities[request % 7].tolist(), dtype=pl.String),
            "topic": draw.integers(0, 5, rows),
            "age": draw.normal(size=rows),
            "unused": ["x, y"] * rows,
        }
    )[order]


def write(folder: Path, rows: pl.DataFrame, kind: str) -> Path:
    """Three files; columns in another order and Parquet types of another width in the second."""
    folder.mkdir(parents=True)
    thirds = [rows[: rows.height // 3], rows[rows.height // 3 : -20], rows[-20:]]
    thirds[1] = thirds[1].select(reversed(rows.columns))
    for number, part in enumerate(thirds):
        path = folder / f"day {number} [%20].{kind}"
        if kind == "csv":
            part.write_csv(path, include_bom=number == 2, line_terminator="\r\n" if number == 0 else "\n")
        else:
            narrow = {"topic": pl.Int8, "clicked": pl.UInt32, "p_click": pl.Float32, "city": pl.Categorical}
            (part.cast(narrow) if number == 1 else part).write_parquet(path, row_group_size=50)  # type: ignore[arg-type]
    return folder


def prepare(folder: Path, engine: str, mapping: str = MAPPING) -> Path:
    """What the engine makes of the files in ``folder``."""
    (folder.parent / "map.yaml").write_text(mapping)
    source = LongSource(root=str(folder), mapping=str(folder.parent / "map.yaml"), engine=engine)
    return source.prepare(folder.parent / engine)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_spark_makes_the_same_files(running: None, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from emer.data import spark

    for module in (long_build, spark):  # several buckets, although rows are few
        monkeypatch.setattr(module, "buckets_for", lambda rows: 3)
    folder = write(tmp_path / "log", table(), kind)
    here, there = prepare(folder, "polars"), prepare(folder, "spark")
    files = sorted(path.relative_to(here) for path in here.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(there) for path in there.rglob("*") if path.is_file())
    assert len(files) > 6  # some split has requests in several buckets
    for file in files:
        if file.suffix == ".parquet":
            assert pq.read_table(here / file).equals(pq.read_table(there / file), check_metadata=True), file
        else:
            one, other = (json.loads((folder / file).read_text()) for folder in (here, there))
            assert {one["settings"].pop("engine"), other["settings"].pop("engine")} == {"polars", "spark"}
            assert one == other
    assert validate_folder(there).problems == ()
    assert not list((tmp_path / "spark").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "zone"), [("ms", None), ("us", "UTC"), ("us", "Asia/Shanghai")])
def test_timestamps_are_the_same_moments(running: None, tmp_path: Path, unit: Any, zone: str | None) -> None:
    rows = table(20)
    moments = rows["at"].str.to_datetime("%+", time_unit=unit, time_zone="UTC")
    (tmp_path / "log").mkdir()
    at = moments.dt.replace_time_zone(None) if zone is None else moments.dt.convert_time_zone(zone)
    rows.with_columns(at).write_parquet(tmp_path / "log" / "a.parquet")
    found = [
        pl.concat(pl.read_parquet(path) for path in sorted(prepare(tmp_path / "log", engine).rglob("*.parquet")))
        for engine in ("polars", "spark")
    ]
    assert found[0].equals(found[1])
    assert found[0]["time_ms"].sort().to_list() == sorted(set(moments.dt.epoch("ms")))


def message(folder: Path, engine: str, mapping: str = MAPPING) -> str:
    with pytest.raises(DataError) as caught:
        prepare(folder, engine, mapping)
    assert not any((folder.parent / engine).iterdir())
    return str(caught.value)


def spoiled(rows: pl.DataFrame, column: str, value: Any, row: int = 25) -> pl.DataFrame:
    """``rows`` with one other value."""
    given = rows.cast({column: pl.String}) if isinstance(value, str) else rows
    return given.with_columns(
        pl.when(pl.int_range(pl.len()) == row).then(pl.lit(value)).otherwise(column).alias(column)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("p_click", 1.5, "1.5 is not possible; pxtr_pctr must"),
        ("user", None, "the cell is empty; user_id must"),
        ("at", "yesterday", "'yesterday' is not possible; time_ms must"),
        ("topic", 5, "5 is not possible; item_topic must"),
    ],
)
def test_spark_names_the_same_row_of_parquet(running: None, tmp_path: Path, column: str, value: Any, said: str) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    table(20).write_parquet(folder / "a.parquet")
    spoiled(table(20, seed=1), column, value).write_parquet(folder / "b.parquet")
    texts = [message(folder, engine) for engine in ("polars", "spark")]
    assert texts[0] == texts[1]
    assert texts[0].startswith(f"{folder / 'b.parquet'}, row 25, column {column}: {said}")


@pytest.mark.slow
def test_spark_names_the_request_of_a_fault_in_csv(running: None, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    rows = spoiled(table(20).with_columns(session=pl.lit("s7")), "user", "u1")
    rows.write_csv(folder / "a.csv")
    said = "'u1' is not a value of type Int64; user_id must be a whole number"
    assert f"{folder / 'a.csv'}, line 27, column user: the cell is 'u1', not a value" in message(folder, "polars")
    assert message(folder, "spark").startswith(f"{folder / 'a.csv'}, session s7, column user: {said}")
    with (folder / "a.csv").open("ab") as file:
        file.write(b"1,2\n")
    assert "a.csv: the line 1,2 has more or fewer cells than the header" in message(folder, "spark")


@pytest.mark.slow
def test_spark_refuses_csv_in_another_encoding(running: None, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    rows = table(200).with_columns(session=pl.lit("a"), city=pl.lit("b"))  # the fault is far from the header
    text = spoiled(rows, "session", "café", row=rows.height - 1).write_csv()
    (tmp_path / "log" / "a.csv").write_bytes(text.encode("latin-1"))
    assert "a.csv, session caf\ufffd, column session: this is not UTF-8" in message(tmp_path / "log", "spark")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_both_engines_say_the_same_of_requests_and_columns(running: None, tmp_path: Path, kind: str) -> None:
    rows = table(20)
    twice = rows.filter(pl.col("session") == rows["session"][0])[:1].with_columns(
        user=pl.lit(99, pl.Int64), video=pl.lit(1, pl.Int64)
    )
    lacking = rows.drop("video")
    for name, wrong, reason in [
        ("users", pl.concat([rows, twice]), "one request has one user_id"),
        ("items", pl.concat([rows, rows[:1]]), "is twice in the request"),
        ("lacking", lacking, "lacks the column video"),
    ]:
        folder = write(tmp_path / name / "log", wrong, kind)
        texts = [message(folder, engine) for engine in ("polars", "spark")]
        if name == "lacking":
            assert texts[0] == texts[1]
        else:  # the lines or rows of two, before the reason; of CSV, Spark knows the request's id in the file only
            places, said = zip(*(text.split(": request_id ") for text in texts), strict=True)
            assert said[0] == said[1]
            each = [f"{folder}/day {day} [%20].{kind}, " for day in (0, 2)]
            assert [sum(place.count(one) for one in each) for place in places] == [2, 2]
            assert kind == "parquet" or places[1].count(f", session {rows['session'][0]}") == 2
        assert reason in texts[0]


@pytest.mark.slow
def test_spark_refuses_what_it_would_read_otherwise(running: None, tmp_path: Path) -> None:
    rows = table(20)
    folder = tmp_path / "log"
    folder.mkdir()
    rows.with_columns(pl.lit(b"x").alias("age")).write_parquet(folder / "a.parquet")
    assert "column age: the type is large_binary; on Spark it must be" in message(folder, "spark")
    (folder / "a.parquet").unlink()
    rows.write_ipc(folder / "a.feather", compat_level=pl.CompatLevel.oldest())
    assert "a.feather: Spark reads CSV and Parquet" in message(folder, "spark")


def test_executors_that_write_elsewhere_are_found_out(tmp_path: Path) -> None:
    nothing = {"requests": 0, "candidates": 0}
    counts = {"part-00000": {"train": {"requests": 2, "candidates": 9}, "validation": nothing, "test": nothing}}
    with pytest.raises(EmerError, match=r"wrote part-00000\.parquet to a \S+/train that is not the driver's"):
        _check_written(counts, tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "part-00000.parquet").touch()
    _check_written(counts, tmp_path)


@pytest.mark.parametrize(
    ("prints", "reason"),
    [
        ('openjdk version "11.0.2" 2019-01-15', "needs Java 17 or later, and .* is 11; install a JDK 17"),
        ('java version "1.8.0_202"', "is 8"),
        ("", "is none"),
        (None, "there is none in JAVA_HOME"),
    ],
)
def test_an_old_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prints: str | None, reason: str) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if prints is not None:
        java = tmp_path / "bin" / "java"
        java.write_text(f"#!/bin/sh\necho '{prints}' >&2\n")
        java.chmod(0o755)
    with pytest.raises(EmerError, match=reason):
        spark_session.check_java()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py4j", None)
    monkeypatch.setitem(sys.modules, "py4j.protocol", None)
    with pytest.raises(EmerError, match=r"pip install 'emer\[spark\]', with a JDK 17"), spark_session.session():
        pass


def test_failures_of_spark_become_one_line() -> None:
    data = spark_session.told("Traceback\nemer.errors.DataError: a.csv, id 7: no\n\tat java.base")
    assert isinstance(data, DataError)
    assert str(data) == "a.csv, id 7: no"
    other = spark_session.told("o1.getResult\nCaused by: A\n\tat b\nCaused by: java.io.IOException: disk full\n")
    assert not isinstance(other, DataError)
    assert str(other) == "Spark failed: java.io.IOException: disk full"
    assert "install it in their Python" in str(spark_session.told("ModuleNotFoundError: No module named 'emer'"))
