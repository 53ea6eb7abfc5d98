"""What every adapter of a public data set must do, on small files in its official layout."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.feather
import pytest
from tests.data.in_memory import load_log

from emer.data.adapter import Adapter
from emer.data.kuairec import KuaiRec
from emer.data.kuaisar import KuaiSAR
from emer.data.raw import read_part
from emer.data.recflow import RecFlow
from emer.data.stable_hash import bucket_of
from emer.data.tenrec import Tenrec
from emer.data.wechat import WeChat
from emer.errors import DataError

from .official_files import write_kuairec, write_kuaisar, write_recflow, write_tenrec, write_wechat

USERS, DAYS = 7, 4


@dataclass(frozen=True)
class Case:
    """One data set: its writer, its adapter, the column of users and a column that must be there."""

    write: Callable[..., Path]
    adapter: Callable[[Path | None], Any]
    column: str


CASES = {
    "recflow": Case(write_recflow, RecFlow, "rank_index"),
    "recflow_shown": Case(write_recflow, lambda root: RecFlow(root, stages=()), "long_view"),
    "kuairec": Case(write_kuairec, KuaiRec, "play_duration"),
    "kuairec_small": Case(
        lambda *a, **k: write_kuairec(*a, **k, matrix="small"),
        lambda root: KuaiRec(root, matrix="small", proxy_like=True),
        "watch_ratio",
    ),
    "tenrec": Case(write_tenrec, lambda root: Tenrec(root, periods=4), "watching_times"),
    "tenrec_qk": Case(
        lambda *a, **k: write_tenrec(*a, **k, file="QK-video"), lambda root: Tenrec(root, file="QK-video"), "share"
    ),
    "kuaisar": Case(write_kuaisar, KuaiSAR, "search"),
    "wechat": Case(write_wechat, WeChat, "read_comment"),
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def official(case: Case, tmp_path: Path) -> Adapter:
    """The adapter of a toy data set."""
    return case.adapter(case.write(tmp_path, users=USERS, days=DAYS))


def raw_rows(adapter: Adapter) -> pl.DataFrame:
    parts = enumerate(adapter.parts())
    return pl.concat([b.with_columns(part=pl.lit(n, pl.Int32)) for n, part in parts for b in read_part(part)])


def fails(adapter: Adapter) -> str:
    """What is said of faulty files."""
    with pytest.raises(DataError) as caught:
        load_log(adapter)
    return str(caught.value)


def test_an_adapter_maps_its_toy_files(official: Adapter) -> None:
    log, counts = load_log(official)
    assert log.exposures["user_id"].n_unique() == USERS
    shown = log.exposures.filter(pl.col("exposed")) if "exposed" in log.exposures.columns else log.exposures
    assert shown.height == USERS * DAYS * 8
    assert counts["rows"] == log.exposures.height
    assert shown.select(pl.col(log.labels).mean()).min_horizontal().item() >= 0
    assert len(log.days) == (10 if log.name == "Tenrec QK-video" else DAYS)
    assert shown["item_id"].is_in(log.items["item_id"].implode()).all()
    order = log.exposures.select("day", "time_ms")
    assert order.equals(order.sort("day", "time_ms"))
    times_of_users = log.exposures.group_by("user_id", maintain_order=True).agg("time_ms")["time_ms"]
    assert all(times.is_sorted() for times in times_of_users)


def test_an_adapter_says_what_its_data_are(official: Adapter) -> None:
    about = official.about
    assert all((about.name, about.licence, about.citation, about.home, about.requests, about.known_faults))
    assert about.home.startswith("https://") or "https://" in about.home
    assert official.user in official.parts()[0].columns
    assert all(path.is_file() for path in official.files())


@pytest.mark.parametrize("buckets", [2, 5])
def test_users_do_not_depend_on_who_shares_their_bucket(official: Adapter, buckets: int) -> None:
    raw = raw_rows(official)
    whole, counts = official.exposures(raw)
    cut = raw.with_columns(bucket_of(official.user, buckets).alias("bucket"))
    parts = [official.exposures(rows.drop("bucket")) for rows in cut.partition_by("bucket", maintain_order=True)]
    assert len(parts) > 1
    order = ["day", "time_ms", "user_id", "item_id"]
    assert pl.concat([exposures for exposures, _ in parts]).sort(order).equals(whole.sort(order))
    assert {name: sum(c[name] for _, c in parts) for name in counts} == counts


def test_a_missing_place_says_where_to_download(case: Case, tmp_path: Path) -> None:
    for root, reason in ((None, "data.root is not set"), (tmp_path / "no", "is not a folder"), (tmp_path, "")):
        message = fails(case.adapter(root))
        assert reason in message and "ownload" in message and "https://" in message


def test_every_missing_file_is_named(official: Adapter) -> None:
    files = list(official.files())
    for path in files[1:-1] if files[0].suffix == ".feather" else files:  # a log of daily files may begin later
        content = path.read_bytes()
        path.unlink()
        message = fails(type(official)(**vars_of(official)))
        assert path.name in message and "ownload" in message
        path.write_bytes(content)


def vars_of(adapter: Any) -> dict[str, Any]:
    """Arguments of a fresh adapter, without what the other remembers of its files."""
    return {name: getattr(adapter, name) for name in adapter.__dataclass_fields__}


def test_a_missing_column_is_named(official: Adapter, case: Case) -> None:
    path = official.parts()[0].path
    if path.suffix == ".feather":
        pyarrow.feather.write_feather(pyarrow.feather.read_table(path).drop_columns([case.column]), path)
    else:
        header, rest = path.read_text().split("\n", 1)
        path.write_text(header.replace(case.column, "other") + "\n" + rest)
    assert re.search(rf"{re.escape(path.name)} lacks the column {case.column}; it has ", fails(official))


def test_a_file_cut_short_is_refused(official: Adapter) -> None:
    path = official.parts()[-1].path
    content = path.read_bytes()
    if path.suffix == ".feather":
        path.write_bytes(content[: len(content) // 2])
        assert f"{path} is not a Feather (Arrow IPC) file, or one that was cut short" in fails(official)
    else:
        lines = content.splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:9]) + lines[9][:3])
        assert f"{path}, line 10, column " in fails(official)


@pytest.mark.parametrize("wrong", ["utf-16", "gzip", "empty"])
def test_a_file_that_is_not_read_as_it_is_is_refused(official: Adapter, wrong: str) -> None:
    for path in official.files():
        content = path.read_bytes()
        bad = {"utf-16": b"\xff\xfe" + content[:1000], "gzip": gzip.compress(content), "empty": b""}[wrong]
        path.write_bytes(bad)
        message = fails(type(official)(**vars_of(official)))
        assert str(path) in message
        if path.suffix == ".csv":
            assert ("is empty" if wrong == "empty" else "not a UTF-8 text file") in message
        else:
            assert "not a Feather" in message
        path.write_bytes(content)


def test_files_without_rows_hold_no_exposure(official: Adapter) -> None:
    for part in official.parts():
        if part.path.suffix == ".feather":
            pyarrow.feather.write_feather(pyarrow.feather.read_table(part.path).slice(0, 0), part.path)
        else:
            part.path.write_text(part.path.read_text().split("\n", 1)[0] + "\n")
    assert "no exposure" in fails(official)
    assert official.tables().name
