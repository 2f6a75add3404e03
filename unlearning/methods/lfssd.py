"""Loss-free selective synaptic dampening (Foster et al., 2024, arXiv:2402.19308)."""

from dataclasses import replace

from .ssd import SSD


class LFSSD(SSD):
    """SSD without labels: the importance is ``|d mean_x ||f(x)||_2^2 / d w|``, averaged over batches.

    The batches are shuffled: those of the authors' code, which are sorted by class, tell which samples share a label.
    """

    feed = replace(SSD.feed, labels=False)
    measure = "squared_norm"
