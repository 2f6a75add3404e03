"""Gradient ascent on the forget set (Thudi et al., 2022, arXiv:2109.13398)."""

from ..data.feed import Feed
from .neggrad_plus import NegGradPlus


class GradientAscent(NegGradPlus):
    """Minimise ``-CE(f(x), y)`` on the forget set. Without retain data nothing preserves the rest of the model."""

    feed = Feed(streams=("forget",))
