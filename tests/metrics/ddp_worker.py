"""One of two gloo processes of test_request_metrics: evaluates its share of each case, rank 0 saves the
results.
"""

import pickle
import sys
from pathlib import Path

import torch
import torch.distributed

from emer.metrics.request_metrics import RequestMetrics

folder, rank = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
table, scores, cases = pickle.loads((folder / "input.pickle").read_bytes())
metric = RequestMetrics(table.schema)
results = {}
for name, shares in cases.items():
    for rows in shares[rank]:
        batch = table.batch(rows)
        padded = torch.nn.utils.rnn.pad_sequence([scores[r] for r in rows], batch_first=True)
        metric.update(padded, batch)
    results[name] = metric.compute()
    metric.reset()
(folder / f"output_{rank}.pickle").write_bytes(pickle.dumps(results))
torch.distributed.destroy_process_group()
