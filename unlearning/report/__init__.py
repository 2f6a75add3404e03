"""Tables over many finished runs: mean and 95 % interval over seeds, and what the interval is over."""

from .command import main, show_runs
from .groups import aggregate
from .runs import collect

__all__ = ["aggregate", "collect", "main", "show_runs"]
