"""What noisy gradient steps hide about the point that they start from."""

import math
from typing import NamedTuple


class Steps(NamedTuple):
    """Noisy steps ``x <- Pi(x - rate grad f_t(x) + N(0, variance))``, with Pi the projection on a ball about 0."""

    taken: int
    rate: float
    variance: float  # of the noise, in each coordinate
    radius: float  # of the ball
    convexity: float  # every f_t is m-strongly convex
    smoothness: float  # and L-smooth

    @property
    def contraction(self) -> float:
        """c: the gradient steps from two points bring these to c times their distance, or nearer."""
        return max(abs(1 - self.rate * self.convexity), abs(1 - self.rate * self.smoothness))


def renyi_rate(steps: Steps) -> float:
    """rho: the weights after the steps from two points have a Renyi divergence of at most ``rho alpha``, alpha > 1.

    ``rho = (2 R)^2 c^(2K) / (2 v sum_{k<K} c^(2k))`` for K steps of the variance v in a ball of radius R: privacy
    amplification by iteration (Feldman et al., FOCS 2018, arXiv:1808.06651, theorem 22), with the shifts of the steps
    chosen best, for two points as far apart as the ball allows. It is exact for a quadratic function.
    """
    c = steps.contraction
    noise = steps.variance * sum(c ** (2 * k) for k in range(steps.taken))
    return (2 * steps.radius) ** 2 * c ** (2 * steps.taken) / (2 * noise) if noise else math.inf


def epsilon(steps: Steps, delta: float) -> float:
    """The epsilon of the (epsilon, delta)-indistinguishability that follows.

    It is the least of ``rho alpha + log(1 / delta) / (alpha - 1)`` over alpha > 1 (Mironov, CSF 2017,
    arXiv:1702.07476, proposition 3), which is ``rho + 2 sqrt(rho log(1 / delta))``.
    """
    rho = renyi_rate(steps)
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))
