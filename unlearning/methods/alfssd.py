"""Adaptive loss-free selective synaptic dampening: LFSSD's importance (arXiv:2402.19308), ASSD's threshold."""

from .assd import ASSD


class ALFSSD(ASSD):
    """ASSD without labels: the importance is ``|d mean_x ||f(x)||_2^2 / d w|``, averaged over batches."""

    measure = "squared_norm"
    sees_labels = False
