"""Whether a backdoor still opens."""

import torch

from .base import Evidence, Metric

BATCH = 256


class BackdoorAttack(Metric):
    """``backdoor/attack``: share of test images with the trigger that are given the class that it stands for.

    Images of that class itself are left out (Gu et al., 2017, arXiv:1708.06733). A model that never saw the trigger is
    above 0 by what it gets wrong, so the number is read against the retrained model. There is none for scenarios
    without a trigger. It makes a pass over the test set.
    """

    directions = {"backdoor/attack": "to-retrained"}
    needs_attack = True

    @torch.inference_mode()
    def __call__(self, evidence: Evidence) -> dict[str, float]:
        images, target = evidence.attack
        test = evidence.split.test
        others = test[evidence.labels[test] != target]
        if len(others) == 0:
            raise ValueError(f"all test images are of the target class, {evidence.classes[target]}")
        network = evidence.model.eval()
        like = next(network.parameters())
        found = [(network(images(ids).to(like)).argmax(-1) == target).cpu() for ids in others.split(BATCH)]
        return {"backdoor/attack": torch.cat(found).double().mean().item()}
