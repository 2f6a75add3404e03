"""Whether a backdoor still opens."""

from .base import Evidence, Metric
from .corrective import share


class BackdoorAttack(Metric):
    """What is said to test images with the trigger.

    ``backdoor/attack`` is the share that is given the class that the trigger stands for, images of that class itself
    left out (Gu et al., 2017, arXiv:1708.06733). It should fall, whatever the retrained model shows, for that one
    learned the poison that is not known; a model that never saw the trigger is above 0 by what it gets wrong.

    ``corrective/acc_unseen`` is the share that is given the right class, ``corrective/acc_unseen_others`` that among
    images of the other classes (Acc_corr unseen; Goel et al., 2024, arXiv:2402.14015). There is none for scenarios
    without a trigger.
    """

    directions = {
        "backdoor/attack": "down",
        "corrective/acc_unseen": "up",
        "corrective/acc_unseen_others": "up",
    }
    needs_attack = True

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        target, labels = evidence.attack.target, evidence.labels[evidence.split.test]
        others = (labels != target).nonzero().flatten()
        if len(others) == 0:
            raise ValueError(f"all test images are of the target class, {evidence.classes[target]}")
        said = evidence.triggered.argmax(-1)
        return {
            "backdoor/attack": share(said == target, others),
            "corrective/acc_unseen": (said == labels).double().mean().item(),
            "corrective/acc_unseen_others": share(said == labels, others),
        }
