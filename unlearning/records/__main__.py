"""``python -m unlearning.records``."""

from ..runtime.program import program
from .push import main

program(main)
