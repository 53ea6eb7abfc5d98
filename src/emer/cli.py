"""The command ``emer <job> key=value ...``."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

JOBS = {
    "train": "train a method on a request log, evaluate it, leave a run folder",
    "evaluate": "reload a run and evaluate it again: emer evaluate run=outputs/train/...",
    "prepare": "turn a real or simulated log into request Parquet: emer prepare data=kuairand data.root=...",
    "ab-test": "simulate an A/B test: emer ab-test arms=[fusion_formula,outputs/train/...] world=small",
    "ab-worlds": "the same test in every world of a sweep, with intervals over worlds: emer ab-worlds runs=...",
    "calibrate": "fit a simulated world to published marginals, and write its card: emer calibrate world=small",
    "mechanism": "when dividing by watch time pays, over how sessions end: emer mechanism world=small",
    "online": "serve, log, train and publish hour by hour: emer online method=emer world=small",
    "paper": "a paper's table or figure from the runs of its sweep, or the ledger of claims: emer paper ledger=...",
    "report": "many runs in one page of tables and pictures: emer report runs=outputs/multirun/...",
    "validate": "check request Parquet files: emer validate data.root=/my/requests",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job; returns the exit status (2 for a command line that names no job)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    job, rest = arguments[0], arguments[1:]
    if job not in JOBS:
        close = difflib.get_close_matches(job, JOBS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        print(f"error: there is no job {job!r}.{hint}\n\n{usage()}", file=sys.stderr)
        return 2
    # Imported late: listing the jobs must not wait for torch.
    app, name = import_module("emer.jobs.app"), job.replace("-", "_")
    module = import_module(f"emer.jobs.{name}")
    return app.run(getattr(module, name), name, rest)


def usage() -> str:
    lines = ["usage: emer <job> key=value ...", "", "jobs:"]
    lines += [f"  {name:<11}{text}" for name, text in JOBS.items()]
    lines += ["", "emer <job> --help shows a job's configuration."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
