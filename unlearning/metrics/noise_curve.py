"""How certain a model stays of the forget set while noise covers it."""

from collections.abc import Sequence

import torch

from ..data.noise import Noise, perturbed
from .base import Evidence, Metric

BATCH = 256


class EntropyAgainstNoise(Metric):
    """``noise/entropy_<sigma>``: mean entropy of the predictions on noisy forget images, in nats, for each ``sigma``.

    The curve of the JiT paper (Foster et al., 2024): a model is surer of images that it was trained on, and it stays
    sure of them under more noise. ``sigma`` is in units of a normalised pixel; noise as for ``method=jit``, the same
    for every model. It makes a pass over the forget set for each sigma.
    """

    directions = {"noise/entropy_*": "to-retrained"}

    def __init__(self, sigmas: Sequence[float], noise: Noise = "gaussian", seed: int = 0) -> None:
        self.sigmas, self.noise, self.seed = sigmas, noise, seed

    @torch.inference_mode()
    def __call__(self, evidence: Evidence) -> dict[str, float]:
        with torch.random.fork_rng():
            return {f"noise/entropy_{sigma:g}": self.entropy(evidence, sigma) for sigma in self.sigmas}

    def entropy(self, evidence: Evidence, sigma: float) -> float:
        torch.manual_seed(self.seed)
        network, total = evidence.model.eval(), 0.0
        like = next(network.parameters())
        for ids in evidence.split.forget.split(BATCH):
            noisy = perturbed(evidence.images(ids).to(like), sigma, self.noise)
            log_p = network(noisy).double().log_softmax(-1)
            total -= (log_p.exp() * log_p).sum().item()
        return total / len(evidence.split.forget)
