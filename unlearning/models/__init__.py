"""Backbones: a factory ``f(input_shape, num_classes, **options)`` makes an ``nn.Module`` with ordered ``blocks``.

``input_shape`` is that of one sample, (C, H, W) or (F,); the network maps (B, *input_shape) to logits (B, num_classes).
"""
