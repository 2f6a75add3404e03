"""Projected noisy SGD, Langevin dynamics in the weights.

Chien et al., "Certified Machine Unlearning via Noisy Stochastic Gradient Descent", NeurIPS 2024, arXiv:2403.17105.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..data.feed import Feed
from ..errors import UserError
from ..gradients.iteration_privacy import Steps, epsilon
from ..gradients.vectors import assign, trainable, weights_of
from ..runtime.common_random import CommonRandom
from ..types import NonNegative, PartialFraction, Positive, Task
from .base import Method

log = logging.getLogger("unlearning")
MEANINGFUL = 20.0  # an epsilon at which two models may differ by a factor of e^20 in the odds of any observation
PLAIN = ("momentum", "dampening", "nesterov")  # of SGD; with any of them a step is not the one that is accounted for


class NoisySGD(Method):
    """Go on with the training on the retain set, with noise in every step, until the start is forgotten.

    ``x <- Pi(x - lr (grad f_B(x) + weight_decay x) + sqrt(2 lr) sigma z)`` with f_B the cross-entropy of a retain
    batch, z standard normal and Pi the projection on the ball of the radius R about 0, in which the run begins, too.

    With ``delta`` the run gives the epsilon for which the unlearned weights are (epsilon, delta)-indistinguishable from
    those that the same run makes of any other model, such as the retrained one; see ``iteration_privacy``. It is
    logged, and is the curve ``epsilon``. This holds where every f_B, with its decay, is strongly convex and smooth, and
    is given for logistic regression alone: with ``weight_decay`` m it is m-strongly convex, and smooth with
    ``L = (max |x|^2 + 1) / 2 + m``, since no softmax has a curvature above 1/2.

    The paper bounds how far apart two noisy trainings end whose data differ in one sample, by 2R at most, and then how
    much of that distance the steps leave. The original here may be any model, so the bound is the general case, which
    starts from 2R.

    Args:
        model: as in ``Method``, like the other options.
        sigma: see above.
        radius: R; None for no projection.
        delta: see above; None for no guarantee.

    Raises ``UserError`` where a guarantee is asked for and none can be given.
    """

    feed = Feed(streams=("retain",))

    def __init__(
        self,
        model: nn.Module,
        sigma: NonNegative = 0.01,
        radius: Positive | None = None,
        delta: PartialFraction | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.sigma, self.radius, self.delta = sigma, radius, delta
        self.random = CommonRandom("noisy_sgd")  # processes must take the same steps
        self.taken = 0

    def check(self, task: Task) -> None:
        super().check(task)
        layers = [module for module in self.model.modules() if not list(module.children())]
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        logistic = len(linear) == 1 and all(isinstance(layer, nn.Linear | nn.Flatten) for layer in layers)
        fits = {
            "model": logistic,
            "dataset": not task.augmented,
            "method.radius": self.radius is not None,
            "method.sigma": self.sigma > 0,
            "method.schedule": self.schedule is None,
            "method.keep": self.guard is None,
            "method.retain_weight": self.weights["retain"] == 1,
            "addon": not self.addons,
        }
        for key in (key for key, fit in fits.items() if self.delta is not None and not fit):
            raise UserError(
                f"method.delta asks for a guarantee, and {key} rules it out: it is given for logistic regression "
                "(model=mlp model.hidden=[]), samples without augmentation, a method.radius, a method.sigma above 0, "
                "method.schedule=null, method.keep=null, method.retain_weight=1 and no add-ons",
                key=key,
                kind="conflict",
            )

    @staticmethod
    def remarks(last: Mapping[str, float], options: Mapping[str, Any], sizes: Mapping[str, int]) -> Iterator[str]:
        if (reached := last.get("epsilon")) is not None:
            promise = "" if reached <= MEANINGFUL else "; so large an epsilon promises next to nothing: take more steps"
            yield (
                f"noisy_sgd: the weights are ({reached:.3g}, {options['delta']:g})-indistinguishable from those that "
                f"the same run makes of any other model{promise}"
            )

    def configure_optimizers(self) -> Any:
        found = super().configure_optimizers()
        if self.delta is not None:
            self.account(found)
        return found

    def account(self, optimizer: torch.optim.Optimizer) -> None:
        """Find what the guarantee depends on; ``UserError`` for steps that do not contract."""
        (group,) = optimizer.param_groups
        m, rate = float(group["weight_decay"]), float(group["lr"])
        if type(optimizer) is not torch.optim.SGD or any(group[name] for name in PLAIN) or m == 0:
            raise UserError(
                "method.delta asks for a guarantee, which needs SGD without momentum and with weight decay: set "
                "optimizer@method=sgd and method.optimizer.weight_decay",
                key="method.optimizer",
                kind="conflict",
            )
        if self.trainer.gradient_clip_val is not None:
            raise UserError(
                "method.delta asks for a guarantee, which needs gradients as they are: remove "
                "trainer.gradient_clip_val",
                key="trainer.gradient_clip_val",
                kind="conflict",
            )
        largest = max(float(batch.images.flatten(1).square().sum(1).max()) for batch in self.look("retain"))
        smooth = (largest + 1) / 2 + m
        assert self.radius is not None, "checked"
        self.steps = Steps(0, rate, 2 * rate * self.sigma**2, self.radius, m, smooth)
        if self.steps.contraction >= 1:
            raise UserError(
                f"method.delta asks for a guarantee, and at method.optimizer.lr={rate:g} steps need not bring two "
                f"models nearer to each other: set it above 0 and below {2 / smooth:.3g}, which is 2 / L",
                key="method.optimizer.lr",
            )

    def on_train_start(self) -> None:
        if not self.resumed:
            assign(trainable(self.model), self.projected(weights_of(self.model)))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["noisy_sgd"] = {"taken": self.taken, **self.random.state_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.taken = checkpoint["noisy_sgd"]["taken"]
        self.random.load_state_dict(checkpoint["noisy_sgd"])

    def after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        weights = weights_of(self.model)
        noise = torch.randn(weights.shape, generator=self.random.on(weights.device), device=weights.device)
        size = math.sqrt(2 * optimizer.param_groups[0]["lr"]) * self.sigma
        assign(trainable(self.model), self.projected(weights + size * noise.to(weights)))
        self.taken += 1
        super().after_step(optimizer)  # last, so that weights that add-ons hold are restored

    def projected(self, weights: Tensor) -> Tensor:
        """The nearest point of the ball."""
        return weights if self.radius is None else weights * (self.radius / weights.norm()).clamp(max=1)

    def on_train_end(self) -> None:
        super().on_train_end()
        if self.delta is None:
            return
        found = epsilon(self.steps._replace(taken=self.taken), self.delta)
        self.curves["epsilon"].append(torch.tensor(found))
        log.info("NoisySGD: (%.4g, %g)-indistinguishable from any other start, %d steps", found, self.delta, self.taken)
