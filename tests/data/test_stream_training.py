"""Streams and tables under a real trainer whose schedule asks for the number of steps before training begins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from emer.data.module import RequestDataModule
from emer.data.parquet import write_requests
from emer.data.table import RequestTable
from emer.requests import RequestBatch

Make = Callable[..., RequestTable]


class Scheduled(pl.LightningModule):
    """A linear scorer with a learning rate that falls to 0 over the run; notes the requests that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.trained: list[list[int]] = []
        self.validated: list[int] = []

    def training_step(self, batch: RequestBatch) -> torch.Tensor:
        self.trained.append(batch.row.tolist())
        score = (batch.pxtr * self.weight).sum(-1)
        return ((score - batch.exposed.float()) ** 2 * batch.mask).sum(-1).mean()

    def validation_step(self, batch: RequestBatch) -> None:
        self.validated += batch.row.tolist()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@pytest.fixture
def log_folder(table_of: Make, tmp_path: Path) -> Path:
    """23 training requests in two files, 7 to validate, 9 to test."""
    files = (("train/a", 0, 14), ("train/b", 14, 9), ("validation/a", 50, 7), ("test/a", 80, 9))
    for name, first, count in files:
        write_requests(table_of(count, first_id=first), tmp_path / f"{name}.parquet", row_group_size=4)
    return tmp_path


def fit(data: RequestDataModule, folder: Path, *callbacks: pl.Callback, **options: Any) -> Scheduled:
    model = Scheduled()
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, default_root_dir=folder, num_sanity_val_steps=0,
        callbacks=list(callbacks), enable_checkpointing=bool(callbacks), max_epochs=options.pop("max_epochs", 3),
        **{name: value for name, value in options.items() if name != "ckpt_path"},
    )  # fmt: skip
    trainer.fit(model, data, ckpt_path=options.get("ckpt_path"))
    return model


@pytest.mark.parametrize(("stream", "workers"), [(False, 0), (True, 0), (True, 2)])
@pytest.mark.parametrize("step", [4, 8, 12])  # 6 steps per epoch: the middle of two epochs, the end of one
@pytest.mark.slow
def test_a_scheduled_run_resumes_anywhere(log_folder: Path, stream: bool, workers: int, step: int) -> None:
    def data() -> RequestDataModule:
        options: dict[str, Any] = {"batch_size": 4, "seed": 5, "num_workers": workers}
        return RequestDataModule(root=log_folder, stream=stream, buffer=8, **options)

    keep = ModelCheckpoint(log_folder, filename="{step}", save_top_k=-1, every_n_train_steps=step)
    whole = fit(data(), log_folder, keep)
    assert len(whole.trained) == 18
    for epoch in range(3):
        rows = [row for batch in whole.trained[6 * epoch : 6 * epoch + 6] for row in batch]
        assert sorted(rows) == list(range(23))
    again = fit(data(), log_folder, ckpt_path=log_folder / f"step={step}.ckpt")
    assert again.trained == whole.trained[step:]
    assert again.weight.equal(whole.weight)


def test_a_second_run_of_one_data_module_begins_anew(log_folder: Path) -> None:
    data = RequestDataModule(root=log_folder, stream=True, batch_size=4)
    keep = ModelCheckpoint(log_folder, filename="{step}", save_top_k=-1, every_n_train_steps=4)
    first = fit(data, log_folder, keep)
    fit(data, log_folder, ckpt_path=log_folder / "step=4.ckpt")
    assert fit(data, log_folder).trained == first.trained


def test_a_stream_overfits_the_same_batches_and_validates_all(log_folder: Path) -> None:
    data = RequestDataModule(root=log_folder, stream=True, batch_size=4, eval_batch_size=3)
    model = fit(data, log_folder, max_epochs=2)
    assert model.validated == [*range(7), *range(7)]
    few = fit(RequestDataModule(root=log_folder, stream=True, batch_size=4), log_folder, overfit_batches=2)
    assert few.trained == [[0, 1, 2], [3, 4, 5, 6]] * 3
