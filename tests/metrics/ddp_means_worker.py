"""One of two gloo processes of test_means: sees its share of each case and saves what the metrics compute."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import torch
import torch.distributed

from emer.metrics.means import DCG, GAUC, MAP, NDCG, HitRate, MeanAtK

folder, rank = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
scores, labels, values, where, cases = pickle.loads((folder / "input.pickle").read_bytes())
K = labels.shape[-1]
results = {}
for case, shares in cases.items():
    metrics = {
        "gauc": GAUC(K),
        "dcg": DCG(K, k=4),
        "ndcg": NDCG(K, k=4),
        "map": MAP(K, k=4),
        "hit_rate": HitRate(K, k=4),
        "mean": MeanAtK(K, k=4),
    }
    results[case] = {}
    for name, metric in metrics.items():
        for rows in shares[rank]:
            metric.update(scores[rows], (labels if name in ("ndcg", "map") else values)[rows], where[rows])
        results[case][name] = metric.compute()
(folder / f"output_{rank}.pickle").write_bytes(pickle.dumps(results))
torch.distributed.destroy_process_group()
