"""The groups of the configuration: the one list that everything else is derived from. Imports nothing."""

from typing import NamedTuple


class Group(NamedTuple):
    """A folder of choices under ``conf/``."""

    help: str
    decides: bool = True  # whether its settings decide the result of a run


GROUPS: dict[str, Group] = {
    "method": Group("how to forget"),
    "addon": Group("changes the steps of a first-order method; addon=[a,b] stacks"),
    "scenario": Group("what is forgotten"),
    "dataset": Group("also chooses a suitable model= and pretrain="),
    "model": Group("timm provides any model of that library: model=timm model.name=NAME"),
    "pretrain": Group("the recipe of the original and the retrained model"),
    "evaluation": Group("the metrics"),
    "trainer": Group("where the run computes, and in which precision"),
    "tracking": Group("where MLflow writes", decides=False),
    "experiment": Group("whole studies", decides=False),
    "debug": Group("short trials and profiles", decides=False),
}
NODES = tuple(name for name in GROUPS if name not in ("experiment", "debug"))  # those that are keys of a configuration
REFERENCE_FREE = ("method", "addon")  # the original and the retrained model do not depend on these


def addon_names(choice: str) -> list[str]:
    """The add-ons of a choice such as ``[saliency,l1]`` or ``saliency,l1``."""
    return [name for part in choice.strip("[]").split(",") if (name := part.strip(" '"))]


def label(choices: dict[str, str]) -> str:
    """The method and its add-ons as tables name them: ``neggrad_plus+focus+l1``."""
    return "+".join([choices["method"], *addon_names(choices.get("addon", ""))])
