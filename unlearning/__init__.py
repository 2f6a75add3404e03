"""Machine unlearning for image and tabular classifiers, composed with Hydra and run on PyTorch Lightning."""

__version__ = "0.1.0"
