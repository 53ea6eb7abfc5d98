"""A log on disk holds what the log in memory holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.data.in_memory import load_log
from tests.data.official_files import write_kuairec, write_recflow, write_tenrec

from emer.data.adapter import Adapter
from emer.data.kuairec import KuaiRec
from emer.data.log_store import LogStore, store_log
from emer.data.recflow import RecFlow
from emer.data.tenrec import Tenrec
from emer.errors import DataError

SORTED = ["user_id", "day", "time_ms", "item_id"]
DATA: dict[str, Any] = {
    "recflow": (write_recflow, RecFlow),
    "kuairec": (write_kuairec, KuaiRec),
    "tenrec": (write_tenrec, Tenrec),
}


@pytest.fixture(scope="module", params=list(DATA))
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    write, make = DATA[request.param]
    return make(write(tmp_path_factory.mktemp(request.param)))


def everything(store: LogStore) -> pl.DataFrame:
    return pl.concat([store.rows(b, store.days, candidates=True) for b in range(store.buckets)])


@pytest.mark.parametrize("per_bucket", [500, 1_000_000])
@pytest.mark.slow
def test_the_store_holds_the_log(adapter: Adapter, tmp_path: Path, per_bucket: int) -> None:
    log, counts = load_log(adapter)
    store = store_log(adapter, tmp_path, per_bucket=per_bucket)
    assert (store.buckets > 3) == (per_bucket == 500)
    assert everything(store).sort(SORTED).equals(log.exposures.sort(SORTED))
    assert store.days == log.days and store.has_watch_time == log.has_watch_time
    assert store.counts.items() >= counts.items()
    last = log.days[-1]
    shown = log.exposures.filter("exposed") if "exposed" in log.exposures.columns else log.exposures
    assert store.counts["users"] == shown["user_id"].n_unique()
    for label in log.labels:
        assert store.positives(label, last - 1, last) == shown.filter(pl.col("day") >= last - 1)[label].sum()
    assert store.last_time(last) == log.exposures["time_ms"].max()


def test_buckets_hold_whole_users_in_order_of_time(adapter: Adapter, tmp_path: Path) -> None:
    store = store_log(adapter, tmp_path, per_bucket=500)
    users = [set(store.rows(b, store.days)["user_id"]) for b in range(store.buckets)]
    assert sum(map(len, users)) == len(set.union(*users))
    rows = store.rows(0, store.days)
    assert rows.equals(rows.sort("day", "time_ms", maintain_order=True))
    assert store.rows(0, []).is_empty() and store.rows(0, []).columns == rows.columns


def test_what_was_not_shown_is_left_out_unless_it_is_asked_for(tmp_path: Path) -> None:
    store = store_log(RecFlow(write_recflow(tmp_path / "files")), tmp_path)
    every, shown = everything(store), store.rows(0, store.days)
    assert not every["exposed"].all() and shown["exposed"].all()
    assert shown.height == every["exposed"].sum() == store.scan(store.days).select(pl.len()).collect().item()


def test_a_day_on_which_nothing_was_shown_is_no_day_of_the_log(tmp_path: Path) -> None:
    root = write_recflow(tmp_path / "files", users=9, days=4)
    path = root / "all_stage" / "2024-01-14.feather"
    pl.read_ipc(path.read_bytes()).with_columns(realshow=pl.lit(0, pl.Int64)).write_ipc(path)
    store = store_log(RecFlow(root), tmp_path)
    assert [day - store.days[0] for day in store.days] == [0, 2, 3]
    shown = sum(bucket["days"][str(store.days[0])]["shown"] for bucket in store.index)
    assert shown == store.scan(store.days[:1]).select(pl.len()).collect().item()


def test_the_rows_as_they_were_read_are_removed_once_they_are_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = Tenrec(write_tenrec(tmp_path / "files", users=9))
    whole = everything(store_log(adapter, tmp_path / "store", per_bucket=100))
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["log"]
    monkeypatch.setattr("emer.data.log_store.read_part", None)
    assert everything(store_log(adapter, tmp_path / "store", per_bucket=100)).equals(whole)


def test_a_share_of_the_users(adapter: Adapter, tmp_path: Path) -> None:
    whole = everything(store_log(adapter, tmp_path / "all"))
    some = everything(store_log(adapter, tmp_path / "some", user_share=0.5))
    users = some["user_id"].unique()
    assert 15 < len(users) < 45
    assert some.sort(SORTED).equals(whole.filter(pl.col("user_id").is_in(users.implode())).sort(SORTED))
    with pytest.raises(DataError, match=r"user_share is 1.5; it must lie in \(0, 1\]"):
        store_log(adapter, tmp_path / "none", user_share=1.5)


@dataclass
class Counting:
    """An adapter that is interrupted at its ``stop``-th bucket."""

    inner: Any
    stop: int
    mapped: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def exposures(self, raw: pl.DataFrame) -> Any:
        self.mapped.append(raw.height)
        if len(self.mapped) == self.stop:
            raise KeyboardInterrupt
        return self.inner.exposures(raw)


def test_an_interrupted_store_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = Tenrec(write_tenrec(tmp_path / "files"))
    whole = everything(store_log(adapter, tmp_path / "whole", per_bucket=500))
    first = Counting(adapter, stop=3)
    with pytest.raises(KeyboardInterrupt):
        store_log(first, tmp_path / "again", per_bucket=500)
    monkeypatch.setattr("emer.data.log_store.read_part", None)  # the files are not read again
    second = Counting(adapter, stop=-1)
    store = store_log(second, tmp_path / "again", per_bucket=500)
    assert everything(store).equals(whole)
    assert len(second.mapped) == store.buckets - 2 and second.mapped[0] == first.mapped[-1]


def test_no_exposure_at_all(tmp_path: Path) -> None:
    write_tenrec(tmp_path, users=1, days=3)
    path = tmp_path / "ctr_data_1M.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match=r"ctr_data_1M\.csv: no exposure to read"):
        store_log(Tenrec(tmp_path), tmp_path / "store")
