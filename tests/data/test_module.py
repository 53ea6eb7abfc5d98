"""The data module under a real trainer: right batches, resume at any point, processes that add up."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from emer.data.module import RequestDataModule
from emer.data.parquet import write_requests
from emer.data.table import RequestTable
from emer.errors import DataError, EmerError
from emer.requests import RequestBatch

Make = Callable[..., RequestTable]


class Recorder(pl.LightningModule):
    """A linear scorer that notes which requests it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.trained: list[tuple[int, list[int]]] = []
        self.evaluated: list[list[int]] = []

    def training_step(self, batch: RequestBatch) -> torch.Tensor:
        self.trained.append((self.current_epoch, batch.row.tolist()))
        score = (batch.pxtr * self.weight).sum(-1)
        return ((score - batch.exposed.float()) ** 2 * batch.mask).sum(-1).mean()

    def validation_step(self, batch: RequestBatch) -> None:
        if not self.trainer.sanity_checking:
            self.evaluated.append(batch.row.tolist())

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)


@pytest.fixture
def module_of(table_of: Make) -> Callable[..., RequestDataModule]:
    def make(**options: Any) -> RequestDataModule:
        tables = {
            "train": table_of(23, first_id=0),
            "validation": table_of(7, first_id=50),
            "test": table_of(9, first_id=80),
        }
        return RequestDataModule(**{**tables, "batch_size": 4, "seed": 11, **options})

    return make


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "default_root_dir": folder,
    }
    return pl.Trainer(**{**settings, **options})


def test_every_request_is_trained_on_once_per_epoch(
    module_of: Callable[..., RequestDataModule], tmp_path: Path
) -> None:
    model = Recorder()
    trainer(tmp_path, max_epochs=3).fit(model, module_of())
    for epoch in range(3):
        rows = [row for at, batch in model.trained if at == epoch for row in batch]
        assert sorted(rows) == list(range(23))
    orders = {str([batch for at, batch in model.trained if at == epoch]) for epoch in range(3)}
    assert len(orders) == 3
    assert model.evaluated[:2] == [[0, 1, 2, 3], [4, 5, 6]] and len(model.evaluated) == 6


def test_test_batches_and_their_size(module_of: Callable[..., RequestDataModule], tmp_path: Path) -> None:
    model = Recorder()
    trainer(tmp_path).test(model, module_of(eval_batch_size=5), verbose=False)
    assert model.evaluated == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]


SAVES: dict[str, dict[str, Any]] = {
    "middle of an epoch": {"every_n_train_steps": 8},  # 6 steps per epoch: the second step of epoch 1
    "last step of an epoch": {"every_n_train_steps": 12},
    "end of an epoch": {"every_n_epochs": 2, "save_on_train_epoch_end": True},
    "after validation": {"every_n_epochs": 2, "save_on_train_epoch_end": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("save", SAVES)
def test_resumed_run_sees_the_same_batches_and_ends_with_the_same_weights(
    module_of: Callable[..., RequestDataModule], tmp_path: Path, save: str, num_workers: int
) -> None:
    whole = Recorder()
    keep = ModelCheckpoint(tmp_path, filename="{epoch}-{step}", save_top_k=-1, **SAVES[save])
    options: dict[str, Any] = {"max_epochs": 4, "enable_checkpointing": True}
    data = {"num_workers": num_workers}
    trainer(tmp_path, callbacks=[keep], **options).fit(whole, module_of(**data))
    checkpoints = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.stem.split("step=")[1]))
    steps = int(checkpoints[0].stem.split("step=")[1])
    assert 0 < steps < 24 == len(whole.trained)
    again = Recorder()
    trainer(tmp_path, **{**options, "enable_checkpointing": False}).fit(
        again, module_of(**data), ckpt_path=checkpoints[0]
    )
    assert again.trained == whole.trained[steps:]
    assert again.weight.equal(whole.weight)


def test_mixed_precision_takes_the_batch_as_it_is(module_of: Callable[..., RequestDataModule], tmp_path: Path) -> None:
    model = Recorder()
    trainer(tmp_path, max_epochs=1, precision="bf16-mixed").fit(model, module_of())
    assert len(model.trained) == 6


def test_overfitting_repeats_the_same_batches(module_of: Callable[..., RequestDataModule], tmp_path: Path) -> None:
    model = Recorder()
    trainer(tmp_path, max_epochs=2, overfit_batches=2).fit(model, module_of())
    assert [batch for _, batch in model.trained[:2]] == [batch for _, batch in model.trained[2:]]


def test_processes_share_the_requests(module_of: Callable[..., RequestDataModule]) -> None:
    rows: list[list[list[int]]] = []
    tests: list[int] = []
    for rank in range(2):
        module = module_of()
        module.trainer = SimpleNamespace(global_rank=rank, world_size=2, overfit_batches=0)
        rows.append([batch.row.tolist() for batch in module.train_dataloader()])
        tests += [row for batch in module.test_dataloader() for row in batch.row.tolist()]
    alone = [batch.row.tolist() for batch in module_of().train_dataloader()]
    assert [sorted(a + b) for a, b in zip(*rows, strict=True)][:5] == [sorted(batch) for batch in alone[:5]]
    assert sorted(tests) == list(range(9))


@pytest.mark.slow
def test_two_processes_train_like_one(
    module_of: Callable[..., RequestDataModule], tmp_path: Path, table_of: Make
) -> None:
    # 24 requests: none is left over, so both runs see the same global batches and the same gradients.
    for name, first, count in (("train", 0, 24), ("validation", 50, 7), ("test", 80, 9)):
        write_requests(table_of(count, first_id=first), tmp_path / name / "a.parquet")
    subprocess.run(
        [sys.executable, Path(__file__).with_name("ddp_training.py"), tmp_path, tmp_path],
        check=True,
        timeout=180,
        capture_output=True,
    )
    weights = [torch.load(tmp_path / f"{devices}.pt") for devices in (1, 2)]
    torch.testing.assert_close(weights[0]["weight"], weights[1]["weight"], rtol=1e-5, atol=1e-6)
    assert weights[1]["evaluated"] == list(range(9))


def test_reads_a_folder_once_and_names_its_faults(table_of: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        RequestDataModule(root=tmp_path / "nowhere").setup("fit")
    table = table_of(20)
    write_requests(table, tmp_path / "a.parquet")
    module = RequestDataModule(root=tmp_path, iput_floor=30.0, fractions=(0.5, 0.25, 0.25))
    module.setup("fit")
    splits = module.splits
    (tmp_path / "a.parquet").unlink()
    module.setup("test")
    assert module.splits is splits
    assert [len(part) for part in splits] == [10, 5, 5]
    assert next(iter(module.train_dataloader())).iput_floor == 30.0
    assert module.schema == table.schema


def test_fingerprint_is_that_of_the_content(module_of: Callable[..., RequestDataModule], table_of: Make) -> None:
    fingerprint = module_of().fingerprint
    assert module_of(batch_size=8, seed=2).fingerprint == fingerprint
    assert module_of(iput_floor=30.0).fingerprint != fingerprint
    assert module_of(test=table_of(9, first_id=80, seed=1)).fingerprint != fingerprint
    swapped = module_of(validation=table_of(9, first_id=80), test=table_of(7, first_id=50))
    assert swapped.fingerprint != fingerprint


def test_tables_or_folder(table_of: Make, module_of: Callable[..., RequestDataModule], tmp_path: Path) -> None:
    for arguments in ({}, {"train": table_of()}):
        with pytest.raises(EmerError, match="not both"):
            RequestDataModule(**arguments)
    with pytest.raises(EmerError, match="not both"):
        module_of(root=tmp_path)


def test_moves_batches_to_the_device(module_of: Callable[..., RequestDataModule]) -> None:
    module = module_of()
    batch = next(iter(module.test_dataloader()))
    moved = module.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert isinstance(moved, RequestBatch) and moved.pxtr.is_meta
    plain = module.transfer_batch_to_device({"a": torch.zeros(2)}, torch.device("meta"), 0)
    assert plain["a"].is_meta
