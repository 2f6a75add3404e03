"""Noise images on which a model errs as much, or as little, as possible, and methods that train on them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import Method


def learned_noise(
    model: nn.Module, labels: Tensor, shape: tuple[int, ...], steps: int, maximise: bool, rate: float = 0.1
) -> Tensor:
    """Inputs (len(labels), *shape) on which the model errs as much, or as little, as possible.

    Starting from ``N(0, 1)``, Adam minimises ``CE(f(N), labels) + 0.1 mean_b sum N_b^2``, with the cross-entropy
    negated where the error is maximised (Tarun et al., 2023, arXiv:2111.08947, eq. 2; Chundawat et al., 2023,
    arXiv:2201.05629, eq. 3).
    """
    noise = torch.randn(len(labels), *shape, device=labels.device, requires_grad=True)
    optimizer = torch.optim.Adam([noise], rate)
    for _ in range(steps):
        error = F.cross_entropy(model(noise), labels)
        loss = (-error if maximise else error) + 0.1 * noise.square().flatten(1).sum(1).mean()
        (noise.grad,) = torch.autograd.grad(loss, noise)
        optimizer.step()
    return noise.detach()


class FromNoise(Method):
    """A method that first learns noise images, to train on; a resumed run goes on with the same images."""

    noise: Tensor
    noise_labels: Tensor  # the class of each image

    def classes_of_noise(self) -> Tensor:
        """The class of each image to be learned."""
        raise NotImplementedError

    def learned(self) -> Tensor:
        """The images of ``noise_labels``, (len(noise_labels), *input_shape), learned from the model in eval mode."""
        raise NotImplementedError

    def on_train_start(self) -> None:
        self.noise_labels = self.classes_of_noise().to(self.device)
        if self.resumed:
            self.noise = self.noise.to(self.device)
            return
        self.model.eval()
        with self.meter.item("noise"):
            self.noise = self.learned()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["noise"] = self.noise

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.noise = checkpoint["noise"]
