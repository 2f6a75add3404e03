"""Scikit-learn's digits as images of MNIST's size: ``python -m experiments.digits28 --out DIR``."""

import argparse
from pathlib import Path

from PIL import Image


def digits_at_28_pixels(folder: Path) -> None:
    """Write scikit-learn's digits as a folder of images of 28 pixels, in colour as photos are."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    for number, (image, label) in enumerate(zip(raw.images, raw.target, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray((image * (255 / 16)).round().astype("uint8"))
        small.resize((28, 28), Image.Resampling.BILINEAR).convert("RGB").save(place / f"{number}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the images; left as it is where it exists")
    out = parser.parse_args().out
    if not out.exists():
        digits_at_28_pixels(out)
