"""Whether a backdoor still opens."""

import torch

from .base import Evidence, Metric
from .corrective import share

BATCH = 256


class BackdoorAttack(Metric):
    """What is said to test images with the trigger.

    ``backdoor/attack`` is the share that is given the class that the trigger stands for, images of that class itself
    left out (Gu et al., 2017, arXiv:1708.06733). It should fall, whatever the retrained model shows, for that one
    learned the poison that is not known; a model that never saw the trigger is above 0 by what it gets wrong.

    ``corrective/acc_unseen`` is the share that is given the right class, ``corrective/acc_unseen_others`` that among
    images of the other classes (Acc_corr unseen; Goel et al., 2024, arXiv:2402.14015). There is none for scenarios
    without a trigger. It makes a pass over the test set.
    """

    directions = {
        "backdoor/attack": "down",
        "corrective/acc_unseen": "up",
        "corrective/acc_unseen_others": "up",
    }
    needs_attack = True

    @torch.inference_mode()
    def __call__(self, evidence: Evidence) -> dict[str, float]:
        images, target = evidence.attack
        test = evidence.split.test
        labels = evidence.labels[test]
        others = (labels != target).nonzero().flatten()
        if len(others) == 0:
            raise ValueError(f"all test images are of the target class, {evidence.classes[target]}")
        network = evidence.model.eval()
        like = next(network.parameters())
        said = torch.cat([network(images(ids).to(like)).argmax(-1).cpu() for ids in test.split(BATCH)])
        return {
            "backdoor/attack": share(said == target, others),
            "corrective/acc_unseen": (said == labels).double().mean().item(),
            "corrective/acc_unseen_others": share(said == labels, others),
        }
