"""Starts jobs as forks of a process that has imported them and done nothing else.

Every job then has a process, an environment, a working folder and streams of its own, as from a shell, but does not
spend ten seconds on importing torch and pytorch_lightning. Reads one JSON request a line, answers with the process's
id when it has started and with its exit status when it has ended.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
from importlib import import_module
from typing import Any

PRELOAD = ("emer.jobs.app", "emer.jobs.train", "emer.jobs.evaluate", "emer.jobs.prepare", "emer.jobs.validate")


def enter(request: dict[str, Any]) -> None:
    """Make this fork what a shell would have started: folder, environment, streams, signals, randomness."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        file = os.open(path, flags)
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    sys.modules["numpy"].random.seed()


def serve() -> int:
    """Until the other side closes the pipe; in a fork, the job's exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.set_inheritable(answers.fileno(), False)
    for name in PRELOAD:
        import_module(name)
    main = import_module("emer.cli").main
    # Otherwise every fork's collector visits, and so copies, all that was imported.
    gc.collect()
    gc.freeze()
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            enter(request)
            return main(request["arguments"])
        answers.write(f"{process}\n")
        _, status = os.waitpid(process, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(serve())
