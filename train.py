"""``python train.py key=value ...`` is ``emer train key=value ...``; conf/train.yaml shows what can be set."""

import sys

from emer.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
