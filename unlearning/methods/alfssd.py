"""Adaptive loss-free selective synaptic dampening: LFSSD's importance (arXiv:2402.19308) with ASSD's threshold."""

from dataclasses import replace

from .assd import ASSD


class ALFSSD(ASSD):
    """ASSD without labels: the importance is ``|d mean_x ||f(x)||_2^2 / d w|``, averaged over batches.

    The batches are shuffled; see ``LFSSD``.
    """

    feed = replace(ASSD.feed, labels=False)
    measure = "squared_norm"
