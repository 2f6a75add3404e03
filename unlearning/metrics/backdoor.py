"""The remaining success of the backdoor of a poisoned model."""

from .base import Evidence, Metric, given
from .corrective import fraction


class BackdoorAttack(Metric):
    """The predictions of a model for test images with the trigger, as fractions of these images.

    * ``backdoor/attack``: given the class that the trigger stands for, among images of the other classes; lower is
      better, whatever the retrained model shows, because that one learned the poison that is not known (Gu et al.,
      2017, arXiv:1708.06733). A model that never saw the trigger is above 0 by its ordinary errors.
    * ``corrective/acc_unseen``: given the correct class; higher is better (Acc_corr unseen; Goel et al., 2024,
      arXiv:2402.14015).
    * ``corrective/acc_unseen_others``: given the correct class, among images of the other classes; higher is better.

    Raises ``ValueError`` where all test images belong to the target class.
    """

    directions = {
        "backdoor/attack": "down",
        "corrective/acc_unseen": "up",
        "corrective/acc_unseen_others": "up",
    }
    needs = ("attack",)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        target, labels = given(evidence.attack).target, evidence.labels[evidence.split.test]
        others = (labels != target).nonzero().flatten()
        if len(others) == 0:
            raise ValueError(f"all test images are of the target class, {evidence.classes[target]}")
        predicted = given(evidence.triggered).argmax(-1)
        return {
            "backdoor/attack": fraction(predicted == target, others),
            "corrective/acc_unseen": (predicted == labels).double().mean().item(),
            "corrective/acc_unseen_others": fraction(predicted == labels, others),
        }
