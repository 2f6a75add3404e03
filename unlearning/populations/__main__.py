"""``python -m unlearning.populations``."""

from ..runtime.program import program
from .command import main

program(main)
