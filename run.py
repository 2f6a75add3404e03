"""Make a model forget: `python run.py method=jit dataset=cifar100`. `python run.py --help` explains the words."""

import sys
from pathlib import Path

from unlearning.cli import main

if __name__ == "__main__":
    sys.exit(main(root=Path(__file__).resolve().parent))
