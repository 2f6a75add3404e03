"""``python -m unlearning.verify``."""

from ..runtime.program import program
from .command import main

program(main)
