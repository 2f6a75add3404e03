"""Make a model forget: `python run.py method=jit dataset=cifar100`. `python run.py --help` explains the words."""

from pathlib import Path

from unlearning.cli import process

if __name__ == "__main__":
    process(root=Path(__file__).resolve().parent)
