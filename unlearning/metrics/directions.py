"""How the numbers of metrics are read. Imports no torch, so that tables and the catalogue start at once."""

from collections.abc import Mapping
from typing import Literal

Direction = Literal["up", "down", "to-retrained"]
CORRECTED = ("corrective/acc_seen", "corrective/acc_retain")  # the two aims of corrective unlearning
MEAN_OVER = ("forget/acc", "retain/acc", "test/acc", "mia/loss_auc")  # the field's average gap: UA, RA, TA and MIA
VALIDATED = ("forget/acc", "retain/acc", "val/acc", "val/loss_auc")  # the same without a test sample: for choices
AVERAGE_GAPS = {  # means of absolute gaps; the second has the attack of the papers on sparse and on feasible unlearning
    "gap/mean": MEAN_OVER,
    "gap/mean_svc": (*MEAN_OVER[:3], "mia/svc_entropy_nonmember"),
    "gap/mean_val": VALIDATED,
}


def taught_wrong(sizes: Mapping[str, int]) -> bool:
    """Whether manipulated samples are left in the retain set, given the sizes of the index sets."""
    return sizes.get("manipulated", 0) > sizes.get("forget", 0)
