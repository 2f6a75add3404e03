"""Fine-tuning on the retain set, the simplest baseline: forgetting by neglect."""

from ..data.feed import Feed
from .base import Method


class FineTune(Method):
    """Minimise cross-entropy on the retain set, from the original weights; never look at the forget set."""

    feed = Feed(streams=("retain",))
