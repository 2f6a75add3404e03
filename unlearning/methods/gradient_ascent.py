"""Gradient ascent on the forget set (Thudi et al., 2022, arXiv:2109.13398)."""

from .neggrad_plus import NegGradPlus


class GradientAscent(NegGradPlus):
    """Minimise ``-CE(f(x), y)`` on the forget set. It sees no retain data, so nothing holds the model together."""

    streams = ("forget",)
