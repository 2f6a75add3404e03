"""Samples that are there once more: an image is not forgotten as long as a copy of it is learned."""

from __future__ import annotations

import hashlib

import numpy as np
from torch import Tensor

PROBE = 16  # values in the middle of a sample, which tell most samples apart, so that few are read whole


def copies(inputs: Tensor, samples: Tensor) -> int:
    """The number of those of (N, ...) inputs that are equal to one of ``samples``, (N,) bool, and not among them."""
    values, listed = inputs.reshape(len(inputs), -1).numpy(), samples.numpy()
    start = max(values.shape[1] - PROBE, 0) // 2
    probes = [row.tobytes() for row in values[:, start : start + PROBE]]
    known = {probes[number] for number in np.flatnonzero(listed)}
    alike = [number for number in np.flatnonzero(~listed) if probes[number] in known]
    wanted = {probes[number] for number in alike}
    wholes = {whole(values[number]) for number in np.flatnonzero(listed) if probes[number] in wanted}
    return sum(whole(values[number]) in wholes for number in alike)


def whole(values: np.ndarray) -> bytes:
    """A digest of all values of a sample."""
    return hashlib.sha256(values.tobytes()).digest()
