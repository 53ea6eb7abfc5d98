"""docs/request_format.md is true: its own example is written, read and compared, its lists are complete."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from emer.data.columns import rank_columns, request_columns
from emer.data.metadata import SIDECAR
from emer.data.parquet import read_requests
from emer.data.validation import validate_folder
from emer.requests import Role, Unit

DOC = (Path(__file__).parents[2] / "docs" / "request_format.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOC, flags=re.DOTALL)
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    exec(block("python"), {})
    (tmp_path / SIDECAR).write_text(block("json"))
    return tmp_path


def test_the_example_reads_back(folder: Path) -> None:
    table = read_requests(folder)
    schema = table.schema
    assert schema.objective_names == ("pctr", "pvtr", "pltr") and schema.feedback_names == ("click", "like")
    assert schema.objectives[1].unit is Unit.SECONDS and schema.objectives[2].role is Role.INTERACTION
    assert schema.positive_indices == (1,)
    batch = table.batch([0, 1]).validate()
    assert batch.item_id.tolist() == [[11, 12, 13], [12, 14, 0]]
    assert batch.pxtr[0, :, 1].tolist() == [20, 10, 5]
    # IPUT by hand: .08 / 20 < .07 / 10 < .04 / 5; below the floor of 1 s, .02 / 1 > .01 / 3.5.
    assert batch.iput_rank_gap[0, :, 2].tolist() == [-2, 0, 2]
    assert batch.iput_rank_gap[1, :2, 2].tolist() == [-1, 1]
    assert batch.exposed.tolist() == [[True, False, True], [False, True, False]]
    assert batch.watch_time is not None and batch.watch_time[0].tolist() == pytest.approx([18.5, 0, 1.2])
    assert batch.negative is None and batch.previous_score is None
    assert batch.item_categories[..., 0].tolist() == [[4, 39, 0], [39, 7, 0]]
    assert batch.user_categories.tolist() == [[3], [0]] and batch.context_categories.tolist() == [[9], [9]]


def test_the_example_is_a_valid_folder(folder: Path) -> None:
    report = validate_folder(folder)
    assert report.ok and report.requests == 2 and report.candidates == 5


def test_every_kind_of_column_is_described(folder: Path) -> None:
    schema = read_requests(folder).schema
    table = DOC.split("## Columns")[1].split("##")[0]
    names = {*schema.objective_names, *schema.feedback_names, "age", "hour", "topic", "duration"}
    for column in request_columns(schema) + rank_columns(schema):
        stem, _, name = column.name.rpartition("_")
        forms = {column.name, f"{stem}_<name>", f"{stem}_<objective>"} if name in names else {column.name}
        assert any(f"`{form}`" in table for form in forms), column.name


def test_the_sql_gives_the_columns_of_the_schema(folder: Path) -> None:
    sql = block("sql")
    written = set(re.findall(r"\bAS (\w+),?\n", sql.split("\nFROM")[0] + "\n"))
    written |= {"request_id", "user_id", "time_ms", "user_age", "context_hour"}
    assert written == set(pq.read_schema(folder / "requests.parquet").names)
