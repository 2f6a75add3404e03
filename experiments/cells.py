"""Numbers as the studies' own tables show them."""

from collections.abc import Sequence

from unlearning.report.groups import spread


def plus_minus(values: Sequence[float]) -> str:
    """The mean and half the width of the 95 % interval over draws, both with three decimals, since they are rates."""
    mean, _, half = spread(values)
    return f"{mean:.3f} ±{half:.3f}" if len(values) > 1 else f"{mean:.3f}" if values else "-"
