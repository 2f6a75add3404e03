"""Fine-tuning on the retain set, the simplest baseline: forgetting by neglect."""

from .base import Method


class FineTune(Method):
    """Minimise cross-entropy on the retain set, from the original weights; never look at the forget set."""

    streams = ("retain",)
