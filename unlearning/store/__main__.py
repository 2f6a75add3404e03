"""``python -m unlearning.store``."""

from ..runtime.program import program
from .command import main

program(main)
