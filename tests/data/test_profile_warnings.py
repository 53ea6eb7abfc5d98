"""Every warning of a profile: silent on a sound log, raised by one fault alone, with the number behind it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.profiled import by_hand, sound, write_log

from emer.data.profile import suspicions as s
from emer.data.profile.content import profile_folder
from emer.data.table import RequestTable

Columns = dict[str, dict[str, Any]]


def found_in(columns: Columns, root: Path) -> dict[str, dict[str, Any]]:
    """{kind: warning}; of two of a kind the first."""
    tables = {name: RequestTable.build(**of) for name, of in columns.items()}
    listed = profile_folder(write_log(root, tables))["warnings"]
    assert all(one["text"] and one["advice"] and one["numbers"] for one in listed)
    levels = [one["level"] for one in listed]
    assert levels == sorted(levels, key=lambda level: level != "serious")
    return {one["kind"]: one for one in reversed(listed)}


def test_a_sound_log_raises_none(tmp_path: Path) -> None:
    assert found_in(sound(), tmp_path) == {}


def rare(columns: Columns) -> None:
    label = columns["test"]["label"]
    label[np.flatnonzero(label[:, 1])[9:], 1] = False


def single_class(columns: Columns) -> None:
    """All of a list like, or none; and one list is mixed."""
    of = columns["train"]
    liked = np.repeat(np.arange(80) % 2 == 0, 8)
    liked[0] = False
    of["label"][:, 1] = liked & of["exposed"]


def leaking_pxtr(columns: Columns) -> None:
    of = columns["validation"]
    of["pxtr"][:, 0] = np.where(of["label"][:, 0], 0.9, 0.1)


def leaking_number(columns: Columns) -> None:
    for of in columns.values():
        of["item_numbers"][:, 0] = 0.0 - of["label"][:, 1]


def overlapping(columns: Columns) -> None:
    columns["train"]["time_ms"][:3] = columns["test"]["time_ms"][5]


def shared_id(columns: Columns) -> None:
    columns["test"]["request_id"][:2] = columns["train"]["request_id"][:2]


def shared_request(columns: Columns) -> None:
    """Two requests of train come again in validation, with the items in another order."""
    train, later = columns["train"], columns["validation"]
    for key in ("user_id", "time_ms"):
        later[key][:2] = train[key][:2]
    later["item_id"][:8], later["item_id"][8:16] = train["item_id"][7::-1], train["item_id"][8:16]


def repeated(columns: Columns) -> None:
    of = columns["train"]
    for key in ("user_id", "time_ms"):
        of[key][1] = of[key][0]


def copied(columns: Columns) -> None:
    repeated(columns)
    of = columns["train"]
    of["item_id"][8:16] = of["item_id"][:8]


def unseen(columns: Columns) -> None:
    columns["test"]["user_id"][:17] = 1000


def miscalibrated(columns: Columns) -> None:
    columns["test"]["pxtr"][:, 2] *= 0.3


def flat(columns: Columns) -> None:
    pxtr = columns["test"]["pxtr"].reshape(80, 8, 3)
    pxtr[:17, :, 2] = 0.4


def equal(columns: Columns) -> None:
    columns["train"]["pxtr"].reshape(80, 8, 3)[:4] = [0.5, 10, 0.4]


def constant_pxtr(columns: Columns) -> None:
    for of in columns.values():
        of["pxtr"][:, 2] = 0.4


def constant_number(columns: Columns) -> None:
    for of in columns.values():
        of["item_numbers"][:] = 2.5


def constant_category(columns: Columns) -> None:
    for of in columns.values():
        of["item_categories"][:] = 3


def constant_previous(columns: Columns) -> None:
    for of in columns.values():
        of["previous_score"][:] = 0


def outlier(columns: Columns) -> None:
    columns["train"]["watch_time"][0] = 100_000


def hide(columns: Columns) -> None:
    of = columns["train"]
    of["exposed"].reshape(80, 8)[:20, 1:] = False
    for key in ("label", "watch_time"):
        of[key][~of["exposed"]] = 0


def hide_all(columns: Columns) -> None:
    of = columns["test"]
    of["exposed"][:] = False
    of["label"][:] = of["watch_time"][:] = 0


def one_alone(columns: Columns) -> None:
    """Five of train's 85 requests have a single candidate."""
    of = columns["train"]
    for key, values in of.items():
        if key in ("schema", "offsets"):
            continue
        of[key] = np.concatenate([values, values[:5]])
    of["offsets"] = np.concatenate([of["offsets"], of["offsets"][-1] + 1 + np.arange(5)])
    of["request_id"][80:] += 10_000
    of["time_ms"][80:] += 1


@pytest.mark.parametrize(
    ("fault", "kind", "subject", "numbers", "level", "others"),
    [
        (rare, "rare_label", "like", {"test": 9}, "note", set()),
        (single_class, "single_class_lists", "like", {"train": 1 / 80}, "note", {"miscalibrated"}),
        (leaking_pxtr, "leaking_pxtr", "pctr", {"validation": 1.0}, "serious", set()),
        (leaking_number, "leaking_number", "duration", {"gauc": 0.0, "r": -1.0, "auc": 0.0}, "serious", set()),
        (overlapping, "time_overlap", "train, test", {"requests": 3}, "serious", set()),
        (shared_id, "shared_id", "train, test", {"requests": 2}, "serious", set()),
        (shared_request, "shared_request", "train, validation", {"requests": 2}, "serious", {"time_overlap"}),
        (repeated, "repeated_user_time", "user_time", {"train": 1}, "note", set()),
        (copied, "repeated_user_time_items", "user_time_items", {"train": 1}, "serious", {"repeated_user_time"}),
        (unseen, "unseen_users", "users", {"test": 17 / 80}, "note", set()),
        (flat, "flat_pxtr", "pltr", {"test": 17 / 80}, "note", set()),
        (equal, "equal_pxtrs", "pxtr", {"train": 4 / 80}, "serious", set()),
        (constant_pxtr, "constant_column", "pxtr_pltr", {"value": pytest.approx(0.4)}, "note", set()),
        (constant_number, "constant_column", "number_duration", {"value": 2.5}, "note", set()),
        (constant_category, "constant_column", "item_topic", {"ids": 1}, "note", set()),
        (constant_previous, "constant_column", "previous_score", {"value": 0.0}, "note", set()),
        (hide, "few_exposed", "exposed", {"train": 20 / 80}, "note", set()),
        (hide_all, "no_exposure", "exposed", {"test": 0}, "serious", set()),
        (one_alone, "short_lists", "candidates", {"train": 5 / 85}, "note", set()),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_one_fault_raises_its_warning_alone(
    fault: Callable[[Columns], None],
    kind: str,
    subject: str,
    numbers: dict[str, Any],
    level: str,
    others: set[str],
    tmp_path: Path,
) -> None:
    columns = sound()
    fault(columns)
    found = found_in(columns, tmp_path)
    assert set(found) - others == {kind}
    one = found[kind]
    assert (one["subject"], one["level"]) == (subject, level)
    assert one["numbers"] == {key: pytest.approx(value, abs=1e-6) for key, value in numbers.items()}


def test_a_pxtr_of_the_wrong_size_is_miscalibrated(tmp_path: Path) -> None:
    columns = sound()
    miscalibrated(columns)
    found = found_in(columns, tmp_path)
    assert set(found) == {"miscalibrated"} and found["miscalibrated"]["subject"] == "pltr"
    assert found["miscalibrated"]["numbers"] == {"test": pytest.approx(0.7, abs=0.06)}


def test_a_watch_time_far_out_is_told_with_its_distance(tmp_path: Path) -> None:
    columns = sound()
    outlier(columns)
    one = found_in(columns, tmp_path)["watch_outlier"]
    of = columns["train"]
    watched = of["watch_time"][of["exposed"]].astype(np.float64)
    assert one["numbers"] == {"train": pytest.approx(100_000 / np.quantile(watched, 0.99))}


def test_ids_repeated_over_row_groups_are_found(tmp_path: Path) -> None:
    """Within a row group they are refused."""
    columns = sound()
    columns["train"]["request_id"] = columns["train"]["request_id"].copy()
    tables = {name: RequestTable.build(**of) for name, of in columns.items()}
    root = write_log(tmp_path, tables, row_group_size=10)
    extra = RequestTable.build(**(columns["train"] | {"time_ms": columns["train"]["time_ms"] - 1}))
    write_log(root / "more", {"train": extra})
    (root / "more" / "train" / "part-0.parquet").rename(root / "train" / "part-1.parquet")
    (root / "more" / "train").rmdir()
    listed = profile_folder(root)["warnings"]
    assert [(one["kind"], one["numbers"]) for one in listed] == [("repeated_request_id", {"train": 80})]


def test_too_little_evidence_is_no_leak(tmp_path: Path) -> None:
    """The hand-made log has two lists with clicks and not one with likes."""
    found = found_in_tables(by_hand(), tmp_path)
    assert "leaking_pxtr" not in found and "leaking_number" not in found and "miscalibrated" not in found


def found_in_tables(tables: dict[str, RequestTable], root: Path) -> set[str]:
    return {one["kind"] for one in profile_folder(write_log(root, tables))["warnings"]}


def test_the_document_lists_every_warning_with_its_limit() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "request_format.md").read_text(encoding="utf-8").split("| warning |")[1]
    said = {
        name for row in text.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")
    }
    code = (root / "src" / "emer" / "data" / "profile" / "suspicions.py").read_text(encoding="utf-8")
    kinds = set(re.findall(r'_one\(\s*"(\w+)"', code)) | set(
        re.findall(r'^\s+"(\w+)", "\w+", "\w+", [A-Z]', code, re.M)
    )
    kinds |= {f"repeated_{key}" for key in ("request_id", "user_time", "user_time_items")}
    assert said == kinds and len(kinds) > 15
    for limit in (s.LEAK_PXTR, s.LEAK_NUMBER, s.EVIDENCE, s.RARE, s.OUTLIER):
        assert f"{limit:g}" in text
    for share in (s.UNSEEN, s.WITHOUT_PAIR, s.SHORT, s.MIXED, s.EQUAL, s.FLAT):
        assert f"{100 * share:g} %" in text
