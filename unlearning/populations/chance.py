"""What two populations of one distribution have in each score of a request that all runs share, by simulation."""

from __future__ import annotations

import numpy as np

from .challenge import forgetting_quality, null_epsilons
from .klom import Direction, js_divergence, ks_distance, null_floor

SAMPLES = 1000


def chance(models: int, others: int, direction: Direction = "unlearned||retrained") -> dict[str, float]:
    """The level of each score by chance, for so many unlearned models and so many retrained ones.

    Scores of which the level depends on the distribution (KLoM, JS) have that of normal margins. That of the challenge
    is for accuracies that are the retrained model's.
    """
    random = np.random.default_rng(0)
    pair = random.normal(size=(models, SAMPLES)), random.normal(size=(others, SAMPLES))
    mean, high = null_floor(models, others=others, direction=direction)
    found = {f"klom/{name}_mean": mean for name in ("forget", "retain", "validation")}
    found |= {name.replace("mean", "p95"): high for name in found}
    epsilons = null_epsilons(models, others=others)
    quality = forgetting_quality(epsilons)
    return found | {
        "ks/forget": float(ks_distance(*pair).mean()),
        "js/forget": float(js_divergence(*pair).mean()),
        "challenge/epsilon": float(np.median(epsilons)),
        "challenge/f": quality,
        "challenge/score": quality,
    }
