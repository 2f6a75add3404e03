"""Many finished runs -> one table a setting: mean and 95 % interval over seeds, and what the interval is over."""

from .command import main, show
from .groups import aggregate
from .runs import collect

__all__ = ["aggregate", "collect", "main", "show"]
