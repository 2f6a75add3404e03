"""``python -m unlearning.report``."""

from ..runtime.program import program
from .command import main

program(main)
