"""Composition from frames gives what Hydra's own loader gives."""

import pickle

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from unlearning.config.compose import isolated
from unlearning.config.frames import FrameLoader
from unlearning.config.schema import register


def everything(config: DictConfig) -> tuple[str, str]:
    """A configuration with Hydra's own node, interpolations as they are written."""
    return OmegaConf.to_yaml(config), repr(OmegaConf.to_container(config.hydra))


@pytest.mark.parametrize(
    "words",
    [
        ["method.alpha=3", "method=ssd", "scenario.classes=[4]"],
        ["method=finetune", "addon=[l1,sam]", "++pretrain.x={a: 1}", "+method.foo=2", "hydra.verbose=true"],
        ["method={a: 1}"],
        ["method.nope=1"],
    ],
)
def test_frames_compose_as_hydra_does(words: list[str]) -> None:
    register()
    with isolated():
        own = getattr(GlobalHydra.instance().config_loader(), "own")  # noqa: B009
        loader = FrameLoader(own)
        master = own.load_configuration("config", [], RunMode.MULTIRUN)
        for again in range(2):  # the second time from the frame, which the first has not changed
            found = []
            for one in (own, loader):
                try:
                    found.append(everything(one.load_sweep_config(master, [*words, f"seed={again}"])))
                except Exception as error:
                    found.append((type(error).__name__, str(error)))
            assert found[0] == found[1]
        assert len(loader.frames) == 1
        assert type(pickle.loads(pickle.dumps(loader))) is type(own)  # for the processes of a launcher
