"""How the numbers of metrics are read. Imports no torch: tables and catalogue must start at once."""

from collections.abc import Mapping
from typing import Literal

Direction = Literal["up", "down", "to-retrained"]
ARROWS: dict[Direction, str] = {"up": "↑", "down": "↓", "to-retrained": "→"}
LEGEND = "better is: ↑ more · ↓ less · → the nearer to the retrained model"
TAUGHT = (
    "unknown manipulated samples are in the retain set: retain/acc and the gaps go by the labels as taught, "
    "corrective/... by the right ones"
)
CORRECTED = ("corrective/acc_seen", "corrective/acc_retain")  # what corrective unlearning is after
MEAN_OVER = ("forget/acc", "retain/acc", "test/acc", "mia/loss_auc")  # the avg gap of the field: UA, RA, TA, MIA
AVERAGE_GAPS = {  # of absolute gaps; the second has the attack of the papers on sparse unlearning and feasible updates
    "gap/mean": MEAN_OVER,
    "gap/mean_svc": (*MEAN_OVER[:3], "mia/svc_entropy_nonmember"),
}


def taught_wrong(sizes: Mapping[str, int]) -> bool:
    """Whether manipulated samples are left in the retain set, by the sizes of the index sets: what TAUGHT tells."""
    return sizes.get("manipulated", 0) > sizes.get("forget", 0)
