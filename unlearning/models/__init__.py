"""Backbones: each is built by ``f(input_shape, num_classes, **options)`` and has ordered ``blocks``.

``input_shape`` is the shape of one sample, (C, H, W) or (F,). The network maps (B, *input_shape) to logits
(B, num_classes).
"""
