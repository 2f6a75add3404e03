"""``python -m unlearning.difficulty``."""

from ..runtime.program import program
from .command import main

program(main)
