"""``python -m unlearning.tune``."""

from ..runtime.program import program
from .command import main

program(main)
