"""UMRE as it is trained: the label weights follow the validation's GAUCs, and go on where a checkpoint stopped."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from emer.data.module import RequestDataModule
from emer.data.simulated import SimulatedSource, simulate_requests
from emer.metrics.concordance import concordance_auc
from emer.models.umre import UmreRanker
from emer.objectives.umre import UmreObjective
from emer.training.ranker_module import RankerModule

ETA = 20.0


@pytest.fixture(scope="module")
def tables():
    source = SimulatedSource(
        users=40, videos=1000, candidates=10, slate=5, train_requests=60, validation_requests=60, test_requests=8
    )
    return simulate_requests(source)


class LabelGaucs(pl.Callback):
    """Of each epoch, by another way than the module's: (M,) GAUCs and requests that have one, on the whole split."""

    def __init__(self, table) -> None:
        self.batch = table.batch(range(len(table)))
        self.gaucs: list[np.ndarray] = []
        self.requests = np.zeros(0)

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer, module) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        auc = concordance_auc(module(self.batch), self.batch.label, where=self.batch.exposed).numpy()
        weight = self.batch.exposed.sum(dim=1).numpy()[:, None] * ~np.isnan(auc)
        self.gaucs.append((weight * np.nan_to_num(auc)).sum(axis=0) / weight.sum(axis=0).clip(min=1))
        self.requests = (weight > 0).sum(axis=0)


def run(tables, folder, epochs: int, *, resume=None, sanity: int = 0, **options):
    torch.manual_seed(0)
    module = RankerModule(
        tables["train"].schema,
        model=partial(UmreRanker, width=8, hidden=4, nodes=8, embedding_width=4),
        objective=UmreObjective(step_size=ETA, **options),
        optimizer=partial(torch.optim.AdamW, lr=2e-2),
        final_lr_factor=1.0,
    )
    watch = LabelGaucs(tables["validation"])
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, max_epochs=epochs,
        enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=sanity, callbacks=[watch],
        default_root_dir=str(folder),
    )  # fmt: skip
    trainer.fit(module, RequestDataModule(**tables, batch_size=20, eval_batch_size=16), ckpt_path=resume)
    return module, trainer, watch


def test_the_weights_follow_the_validation(tables, tmp_path) -> None:
    """By the rule, epoch by epoch; labels with few requests stay; other looks at the requests move nothing."""
    module, trainer, watch = run(tables, tmp_path, 3, sanity=1)
    assert len(watch.gaucs) == 3
    enough = watch.requests >= 30
    assert 2 <= enough.sum() < enough.size, "the log has labels of either kind"
    omega = np.ones(enough.size)
    for before, now in zip(watch.gaucs, watch.gaucs[1:], strict=False):
        raised = omega * np.exp(-ETA * np.where(enough, now - before, 0))
        omega = np.where(enough, raised * omega[enough].sum() / raised[enough].sum(), omega)
    assert np.abs(omega - 1).max() > 0.01
    found = module.objective.omega.clone()
    np.testing.assert_allclose(found.numpy(), omega, rtol=1e-5)
    trainer.validate(module, RequestDataModule(**tables, batch_size=20, eval_batch_size=60), verbose=False)
    assert torch.equal(module.objective.omega, found)
    still, _, _ = run(tables, tmp_path, 3, reweight=False)
    assert (still.objective.omega == 1).all()


def test_a_resumed_run_has_the_weights_of_one_that_was_never_stopped(tables, tmp_path) -> None:
    whole, _, _ = run(tables, tmp_path, 3)
    stopped, trainer, _ = run(tables, tmp_path, 2)
    trainer.save_checkpoint(tmp_path / "stopped.ckpt")
    resumed, _, watch = run(tables, tmp_path, 3, resume=tmp_path / "stopped.ckpt")
    assert len(watch.gaucs) == 1, "the change is since an epoch that only the checkpoint knows"
    assert not torch.equal(stopped.objective.omega, resumed.objective.omega)
    assert torch.equal(whole.objective.omega, resumed.objective.omega)
    for mine, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(mine, other)
