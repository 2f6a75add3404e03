"""Numbers as the studies' own tables have them."""

from collections.abc import Sequence

from unlearning.report.groups import spread


def plus_minus(values: Sequence[float]) -> str:
    """Mean and half the 95 % interval over draws, to three decimals: what these tables hold are rates."""
    mean, _, half = spread(values)
    return f"{mean:.3f} ±{half:.3f}" if len(values) > 1 else f"{mean:.3f}" if values else "-"
