"""The schema refuses what later code could not make sense of, and survives JSON."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from emer.errors import DataError
from emer.files import write_json
from emer.requests import Category, Feedback, Objective, Role, Satisfaction, Schema, Unit

PVTR = Objective("pvtr", unit=Unit.SECONDS)


def test_indices_follow_names_not_positions(schema: Schema) -> None:
    assert schema.objective_names == ("pctr", "pvtr", "pltr", "pcmtr")
    assert schema.watch_index == 1
    assert schema.interaction_indices == (2, 3)
    assert schema.feedback_names == ("click", "long_view", "like")
    assert schema.positive_indices == (1, 2)
    assert Schema(objectives=(Objective("pctr"),)).watch_index is None


def test_round_trips_through_json_with_sorted_keys(schema: Schema, tmp_path: Path) -> None:
    # Categories out of alphabetical order: their order is the order of columns.
    schema = Schema(
        objectives=(*schema.objectives, Objective("pprofile", role=Role.INTERACTION, noisy=True)),
        feedback=schema.feedback,
        user_categories=(Category("zone", 3), Category("age", 9)),
        item_numbers=("width", "duration"),
    )
    write_json(tmp_path / "schema.json", schema.to_dict())
    assert Schema.from_dict(json.loads((tmp_path / "schema.json").read_text())) == schema


def test_defaults_of_a_written_schema() -> None:
    read = Schema.from_dict({"objectives": [{"name": "pctr"}], "feedback": [{"name": "click"}]})
    assert read.objectives == (Objective("pctr", Unit.PROBABILITY, Role.CONSUMPTION, None, False),)
    assert read.feedback == (Feedback("click", Satisfaction.IGNORED),)
    assert read.user_categories == ()


def test_is_hashable_and_picklable_after_use(schema: Schema) -> None:
    copy = pickle.loads(pickle.dumps(schema))
    assert copy == schema and hash(copy) == hash(schema)
    assert copy.interaction_indices == schema.interaction_indices


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"objectives": ()}, "at least one objective"),
        ({"objectives": (Objective("pctr"), Objective("pctr"))}, "objective pctr more than once"),
        ({"objectives": (PVTR, Objective("watch", unit=Unit.SECONDS))}, "at most one objective"),
        ({"objectives": (Objective("pltr", role=Role.INTERACTION),)}, "no objective in seconds"),
        ({"objectives": (Objective("pvtr", Unit.SECONDS, Role.INTERACTION),)}, "in seconds is a consumption"),
        ({"objectives": (Objective("pctr", feedback="click"),)}, "feedback click"),
        ({"objectives": (Objective("p ctr"),)}, "'p ctr' is not a name"),
        ({"objectives": (Objective("a/b"),)}, "'a/b' is not a name"),
        ({"objectives": (PVTR,), "user_categories": (Category("id", 3),)}, "user_id"),
        ({"objectives": (PVTR,), "item_categories": (Category("id", 3),)}, "item_id"),
        ({"objectives": (PVTR,), "item_categories": (Category("tag", 0),)}, "tag the size 0"),
        ({"objectives": (PVTR,), "context_categories": (Category("hour", 2.5),)}, "hour the size 2.5"),
        ({"objectives": (PVTR,), "item_numbers": ("a", "a")}, "item number a more than once"),
    ],
)
def test_refuses(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Schema(**arguments)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "is a list, not a mapping"),
        ({}, "no key objectives"),
        ({"objectives": [{"name": "pctr"}], "objectivs": []}, "unknown keys objectivs"),
        ({"objectives": {"pctr": {}}}, "objectives is a dict, not a list"),
        ({"objectives": ["pctr"]}, "cannot be read"),
        ({"objectives": [{"name": "pctr", "unit": "minutes"}]}, "minutes"),
        ({"objectives": [{"name": "pctr", "rol": "interaction"}]}, "rol"),
        ({"objectives": [{"unit": "seconds"}]}, "name"),
        ({"objectives": [{"name": "pctr"}], "feedback": [{"name": "a", "satisfied": 1}]}, "satisfied"),
        ({"objectives": [{"name": "pctr"}], "item_numbers": "duration"}, "item_numbers is a str"),
        ({"objectives": [{"name": "pctr"}], "user_categories": {"age": 8}}, "user_categories is a dict"),
        ({"objectives": [{"name": "pctr"}], "user_categories": [{"name": "age"}]}, "size"),
        ({"objectives": [{"name": ["pctr"]}]}, "is not a name"),
    ],
)
def test_refuses_to_read(content: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Schema.from_dict(content)
