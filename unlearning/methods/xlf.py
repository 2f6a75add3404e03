"""The XLF importance of Potion (Schoepf et al., 2024, arXiv:2406.09173) with ASSD's threshold."""

from dataclasses import replace

from .assd import ASSD


class XLF(ASSD):
    """ASSD without labels: the importance is ``|d mean_x ||f(x)||_2 / d w|``, averaged over batches.

    The norm is not squared as it is in ALFSSD, so samples with large logits do not weigh more than others. The batches
    are shuffled; see ``LFSSD``.
    """

    feed = replace(ASSD.feed, labels=False)
    measure = "norm"
