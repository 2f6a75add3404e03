"""``python -m unlearning.requests``."""

from ..runtime.program import program
from .command import main

program(main)
