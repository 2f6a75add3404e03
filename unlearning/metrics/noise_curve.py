"""The certainty of a model about the forget set as its images are covered by noise."""

from collections.abc import Sequence

import torch

from ..data.noise import Noise, perturbed
from ..types import NonNegative
from .base import Evidence, Metric, given

BATCH = 256


class EntropyAgainstNoise(Metric):
    """``noise/entropy_<sigma>``: mean entropy of the predictions on noisy forget images, in nats, for each ``sigma``.

    A model is more certain about images that it was trained on, and stays so under more noise; closer to the retrained
    model is better. The curve is that of the JiT paper (Foster et al., 2024).

    Args:
        sigmas: amounts of noise, in units of a normalised pixel. Each costs one pass over the forget set.
        noise: its kind, as for ``method=jit``.
        seed: of the noise, which is the same for every model.
    """

    directions = {"noise/entropy_*": "to-retrained"}

    def __init__(self, sigmas: Sequence[NonNegative], noise: Noise = "gaussian", seed: int = 0) -> None:
        self.sigmas, self.noise, self.seed = sigmas, noise, seed

    @torch.inference_mode()
    def __call__(self, evidence: Evidence) -> dict[str, float]:
        with torch.random.fork_rng():
            return {f"noise/entropy_{sigma:g}": self.entropy(evidence, sigma) for sigma in self.sigmas}

    def entropy(self, evidence: Evidence, sigma: float) -> float:
        """Mean entropy under one amount of noise."""
        torch.manual_seed(self.seed)
        network, images, total = given(evidence.model).eval(), given(evidence.images), 0.0
        like = next(network.parameters())
        for ids in evidence.split.forget.split(BATCH):
            noisy = perturbed(images(ids).to(like), sigma, self.noise)
            log_p = network(noisy).double().log_softmax(-1)
            total -= (log_p.exp() * log_p).sum().item()
        return total / len(evidence.split.forget)
