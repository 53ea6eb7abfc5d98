"""Trains a linear scorer with 1 process, then with 2: ddp_training.py <log folder> <output folder>."""

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.distributed as dist

from emer.data.module import RequestDataModule
from emer.requests import RequestBatch


class Linear(pl.LightningModule):
    def __init__(self, out: Path) -> None:
        super().__init__()
        self.out = out
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.evaluated: list[int] = []

    def training_step(self, batch: RequestBatch) -> torch.Tensor:
        score = (batch.pxtr * self.weight).sum(-1)
        return ((score - batch.exposed.float()) ** 2 * batch.mask).sum(-1).mean()

    def test_step(self, batch: RequestBatch) -> None:
        self.evaluated += batch.row.tolist()

    def on_test_end(self) -> None:
        parts = [self.evaluated]
        if self.trainer.world_size > 1:
            parts = [[] for _ in range(self.trainer.world_size)]
            dist.all_gather_object(parts, self.evaluated)
        if self.trainer.is_global_zero:
            rows = sorted(row for part in parts for row in part)
            torch.save({"weight": self.weight.detach().clone(), "evaluated": rows}, self.out)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-4)


def train(folder: Path, out: Path, devices: int) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=out.parent,
    )
    model, data = Linear(out), RequestDataModule(root=folder, batch_size=8)
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for devices in (1, 2):
        train(Path(sys.argv[1]), Path(sys.argv[2]) / f"{devices}.pt", devices)
