"""A mapping file says which columns mean what: every key, every unit, and what is wrong with a faulty one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from emer.data.long_columns import LongColumn
from emer.data.long_mapping import CATEGORIES, IDS, OPTIONAL, LongMapping
from emer.data.stable_hash import hash_bucket, hash_text
from emer.errors import DataError
from emer.requests import Category, Feedback, Objective, Role, Satisfaction, Schema, Unit

from .long_tables import MAPPING, write_mapping

LEAST: dict[str, Any] = {"request_id": "r", "user_id": "u", "item_id": "i", "time_ms": "t", "objectives": {"pctr": "p"}}


def column_of(name: str, **changes: Any) -> LongColumn:
    """Column ``name`` of the least mapping with changed keys."""
    return next(c for c in LongMapping.parse(LEAST | changes).columns if c.name == name)


def applied(column: LongColumn, values: list[Any]) -> list[Any]:
    """What becomes of cells of a CSV file."""
    frame = pl.DataFrame({column.column: values}, schema={column.column: column.type(csv=True)})
    check = column.check(csv=True)
    if check is not None and column.buckets is None:
        assert frame.filter(check).height == len(values)
    return column.values(frame).to_list()


def test_every_key_goes_into_the_schema(tmp_path: Path) -> None:
    mapping = LongMapping.read(write_mapping(tmp_path))
    assert mapping.schema == Schema(
        objectives=(
            Objective("pctr", feedback="click"),
            Objective("pvtr", unit=Unit.SECONDS),
            Objective("pltr", role=Role.INTERACTION),
        ),
        feedback=(Feedback("click"), Feedback("long", Satisfaction.POSITIVE)),
        user_categories=(Category("age", 9),),
        context_categories=(Category("hour", 24),),
        item_categories=(Category("topic", 51),),  # 50 buckets and 0
        item_numbers=("length",),
    )
    assert {c.name: c.column for c in mapping.columns} == {
        "request_id": "request", "user_id": "user", "time_ms": "time", "user_age": "age", "context_hour": "hour",
        "item_id": "video", "pxtr_pctr": "score_click", "pxtr_pvtr": "score_watch", "pxtr_pltr": "score_like",
        "exposed": "shown", "explored": "random", "label_click": "clicked", "label_long": "long_view",
        "watch_time": "watched_ms", "negative": "dislikes", "previous_score": "old_score", "item_topic": "topic",
        "number_length": "length",
    }  # fmt: skip
    noisy = LongMapping.parse(MAPPING | {"objectives": {"p": {"column": "x", "noisy": True}}})
    assert noisy.schema.objectives == (Objective("p", noisy=True),)


def test_a_short_entry_is_a_column_alone() -> None:
    short, long = (LongMapping.parse(LEAST | {"user_id": u}) for u in ("u", {"column": "u"}))
    assert short == long and short.columns[1].column == "u"
    assert LongMapping.parse(LEAST | {"feedback": None}) == LongMapping.parse(LEAST)


@pytest.mark.parametrize(
    ("unit", "values", "wanted"),
    [
        (None, ["7", "-3"], [7, -3]),
        ("ms", ["1714550400123"], [1714550400123]),
        ("s", ["1714550400", "-1"], [1714550400000, -1000]),
        ("min", ["3"], [3 * 60 * 1000]),
        ("h", ["5"], [5 * 60 * 60 * 1000]),
        ("day", ["2"], [2 * 24 * 60 * 60 * 1000]),
    ],
)
def test_a_number_of_a_unit_becomes_milliseconds(unit: str | None, values: list[str], wanted: list[int]) -> None:
    column = column_of("time_ms", time_ms="t" if unit is None else {"column": "t", "unit": unit})
    assert applied(column, [int(v) for v in values]) == wanted


def test_a_time_that_does_not_fit_is_refused() -> None:
    column = column_of("time_ms", time_ms={"column": "t", "unit": "day"})
    limit = (2**63 - 1) // 86_400_000
    check = column.check(csv=True)
    assert check is not None
    days = pl.DataFrame({"t": [limit, -limit, limit + 1, -limit - 1]})
    assert days.select(check).to_series().to_list() == [True, True, False, False]
    assert column.values(days.head(2)).to_list() == [limit * 86_400_000, -limit * 86_400_000]


DAY_MS = 86_400_000
NOON = 19_844 * DAY_MS + DAY_MS // 2
"""2024-05-01 12:00 UTC: 54 years of 365 days, 13 leap days before 2024, and 121 days from its first of January."""


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-01T12:00:00Z", NOON),
        ("2024-05-01 12:00", NOON),
        ("2024-05-01", NOON - DAY_MS // 2),
        ("2024-05-01T20:00:00+08:00", NOON),
        ("2024-05-01T08:30:00-0330", NOON),
        ("2024-05-01T12:00Z", NOON),
        ("2024-05-01 12:00:00.5", NOON + 500),
        ("2024-05-01T12:00:00.123456789+00:00", NOON + 123),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1970-01-01", 0),
    ],
)
def test_iso_times_are_utc_unless_they_say_otherwise(text: str, moment: int) -> None:
    assert NOON == (54 * 365 + 13 + 31 + 29 + 31 + 30) * DAY_MS + DAY_MS // 2
    column = column_of("time_ms", time_ms={"column": "t", "unit": "iso"})
    for others in ([], ["2023-01-01"], ["2023-01-01T00:00:00.25-05:00"]):  # how one is read tells nothing of the next
        assert applied(column, [*others, text])[-1] == moment


@pytest.mark.parametrize(
    "text",
    ["", "01/02/2024", "2024-13-01", "2024-02-30", "2024-05-01T24:00", "2024-05-01T12", "20240501T120000Z",
     "2024-05-01T12:00:00 +08:00", " 2024-05-01", "1714550400", "2024-05-01T12:00:00 CET"],
)  # fmt: skip
def test_other_times_are_no_iso_times(text: str) -> None:
    check = column_of("time_ms", time_ms={"column": "t", "unit": "iso"}).check(csv=True)
    assert check is not None
    assert pl.DataFrame({"t": [text]}).filter(check).is_empty()


@pytest.mark.parametrize(("unit", "wanted"), [("s", 90.0), ("seconds", 90.0), ("ms", 0.09), ("min", 5400.0)])
def test_a_duration_of_a_unit_becomes_seconds(unit: str, wanted: float) -> None:
    watch = {"column": "w", "unit": unit}
    assert applied(column_of("watch_time", watch_time=watch), [90.0]) == pytest.approx([wanted])
    pvtr = column_of("pxtr_pvtr", objectives={"pvtr": watch})
    assert applied(pvtr, [90.0]) == pytest.approx([wanted]) and pvtr.seconds and not pvtr.probability


def test_texts_become_ids_and_buckets() -> None:
    texts = ["ü", "7", "7.0", "-7.00", "7.5", "v1.0"]
    plain = ["ü", "7", "7", "-7", "7.5", "v1.0"]
    assert applied(column_of("item_id", item_id={"column": "i", "text": True}), texts) == hash_text(
        pl.Series(plain)
    ).to_list()  # fmt: skip
    topic, other = (
        column_of(f"item_{n}", item_categories={n: {"column": "k", "buckets": 1000}}) for n in ("topic", "tag")
    )
    buckets = hash_bucket(pl.Series(plain), 1000, "item_topic").to_list()
    assert applied(topic, [*texts, None, ""]) == [*buckets, 0, 0]
    assert applied(other, texts) != buckets  # salted with the name: other values collide
    assert topic.values(pl.DataFrame({"k": ["7"]})).dtype == pl.Int64


def test_ids_of_a_category_of_known_size_stay() -> None:
    column = column_of("user_age", user_categories={"age": {"column": "a", "size": 4}})
    assert applied(column, [0, 3]) == [0, 3]
    check = column.check(csv=True)
    assert check is not None and pl.DataFrame({"a": [-1, 4]}).filter(check).is_empty()


def test_what_may_be_empty(tmp_path: Path) -> None:
    mapping = LongMapping.parse(MAPPING)
    part = mapping.part(tmp_path / "log.csv")
    assert set(part.optional) == {"topic", "random", "clicked", "long_view", "watched_ms", "dislikes"}
    assert set(part.columns) == set(part.advice) == {c.column for c in mapping.columns}
    all_shown = LongMapping.parse({k: v for k, v in MAPPING.items() if k not in ("exposed", "explored")})
    assert set(all_shown.part(tmp_path / "log.csv").optional) == {"topic"}


def test_flags_are_texts_in_csv_alone(tmp_path: Path) -> None:
    mapping = LongMapping.parse(MAPPING)
    for name, kind in {"a.csv": pl.String, "a.parquet": pl.Float32, "a.PARQUET": pl.Float32}.items():
        assert mapping.part(tmp_path / name).columns["shown"] == kind


TOPIC = {"column": "k", "buckets": 5}
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"click": "c"}, "unknown key click; known are request_id, .*, feedback, .*, item_numbers"),
    ({"request_id": None}, "the key request_id is missing; name the column that holds it"),
    ({"time_ms": None}, "the key time_ms is missing"),
    ({"objectives": None}, "the key objectives is missing; name the columns of the pxtrs"),
    ({"objectives": {}}, "the key objectives is missing"),
    ({"objectives": ["p"]}, r"objectives must map names to columns, such as \{pctr: click_score\}"),
    ({"feedback": "c"}, "feedback must map names to columns"),
    ({"item_numbers": []}, "item_numbers must map names to columns"),
    ({"user_id": 3}, r"user_id must be the name of a column, or \{column: name, \.\.\.\}"),
    ({"user_id": {"text": True}}, "user_id must be the name of a column"),
    ({"user_id": {"column": ""}}, "user_id must be the name of a column"),
    ({"user_id": {"column": 3}}, "column of user_id is 3; it must be a text"),
    ({"objectives": {"pctr": ["p"]}}, "objectives.pctr must be the name of a column"),
    ({"user_id": {"column": "u", "txt": True}}, "user_id has the unknown option txt; known are column, text"),
    ({"exposed": {"column": "x", "text": True}}, "exposed has the unknown option text; known are column$"),
    ({"feedback": {"c": {"column": "x", "unit": "s"}}}, "feedback.c has the unknown option unit; known are column, sa"),
    ({"user_id": {"column": "u", "text": "yes"}}, "text of user_id is 'yes'; it must be true or false"),
    ({"time_ms": {"column": "t", "unit": "us"}}, "unit of time_ms is 'us'; known are ms, s, min, h, day, iso"),
    ({"time_ms": {"column": "t", "unit": None}}, "unit of time_ms is None; it must be a text"),
    ({"watch_time": {"column": "w", "unit": "iso"}}, "unit of watch_time is 'iso'; known are s, seconds, ms, min"),
    ({"objectives": {"pctr": {"column": "p", "unit": "%"}}}, "unit of objectives.pctr is '%'; known are probability"),
    ({"objectives": {"pctr": {"column": "p", "role": "x"}}}, "role of objectives.pctr is 'x'; known are consum"),
    ({"objectives": {"pctr": {"column": "p", "feedback": "c"}}}, "objective pctr predicts the feedback c, which the"),
    ({"objectives": {"pctr": {"column": "p", "noisy": 1}}}, "noisy of objectives.pctr is 1; it must be true or false"),
    ({"objectives": {n: {"column": n, "unit": "s"} for n in ("a", "b")}}, "at most one objective may be in seconds"),
    ({"objectives": {"pltr": {"column": "p", "role": "interaction"}}}, "IPUT needs a predicted watch time"),
    ({"feedback": {"c": {"column": "c", "satisfaction": "no"}}}, "satisfaction of feedback.c is 'no'; known are ignor"),
    ({"item_categories": {"topic": "k"}}, "item_categories.topic needs either size .* or buckets"),
    ({"item_categories": {"topic": TOPIC | {"size": 5}}}, "item_categories.topic needs either size .* or buckets"),
    ({"item_categories": {"topic": {"column": "k", "size": 0}}}, "from 1 to 2147483646"),
    ({"item_categories": {"topic": {"column": "k", "buckets": 2**31 - 1}}}, "from 1 to 2147483646"),
    ({"item_categories": {"topic": {"column": "k", "size": True}}}, "size of item_categories.topic is True; it must"),
    ({"item_categories": {"id": TOPIC}}, "item category 'id' would be the column item_id; rename it"),
    ({"item_numbers": {"my length": "l"}}, "item number 'my length' is not a name of letters, digits and _"),
    ({"item_numbers": {1: "l"}}, "item number '1' is not a name"),
    ({"feedback": {"mean": "c"}}, "feedback 'mean' would be taken for the metrics' own mean; rename it"),
    ({"item_id": "u"}, "user_id and item_id both take the column u; give one a copy of it"),
    ({"item_categories": {"topic": TOPIC | {"column": "u"}}}, "user_id and item_categories.topic both take the col"),
    ({"objectives": {"a": "p", "b": "p"}}, "objectives.a and objectives.b both take the column p"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), FAULTS, ids=lambda x: x[:40] if isinstance(x, str) else "")
def test_a_faulty_mapping_is_explained(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write_mapping(tmp_path, LEAST, **changes)
    with pytest.raises(DataError, match=f"^{path}: .*{said}"):
        LongMapping.read(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "must be a YAML mapping with the keys request_id, user_id, item_id, time_ms and objectives"),
        (b"- a\n- b\n", "must be a YAML mapping"),
        (b"hello\n", "unknown key hello"),
        (b"a: [1\nb: 2\n", r"line 2: this is not YAML \(expected"),
        (b"a: b\na: c\n", r"line 2: this is not YAML \(found duplicate key a\)"),
        (b"a:\n\tb: c\n", r"line 2: this is not YAML \(found character '\\t'"),
        (b"a: ${nowhere}\n", r"cannot be read as YAML \(Interpolation key 'nowhere' not found\)"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
        ("request_id: r\n".encode("utf-16"), "cannot be read as YAML"),
        (b"PAR1\x00\x01\x02", "cannot be read as YAML"),
    ],
)
def test_what_is_no_mapping_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"map\.yaml.*{said}"):
        LongMapping.read(path)


def test_a_mapping_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.mapping: .*none\.yaml does not exist"):
        LongMapping.read(tmp_path / "none.yaml")
    with pytest.raises(DataError, match=r"data\.mapping: .* cannot be read as YAML"):
        LongMapping.read(tmp_path)


def test_every_key_has_its_test() -> None:
    assert {*IDS, "time_ms", *OPTIONAL, *CATEGORIES, "objectives", "feedback", "item_numbers"} == set(MAPPING)
