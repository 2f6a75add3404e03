"""Folders of runs that never ran, with predictions and curves, for reports of any size."""

import json
import shlex
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.finished import result, write_finished

HOSTILE = "</script><b>$x_1$ & \"q\" 'a' |*y*| \U0001f600"  # a name that means something in each of the formats
CLASSES = (*"abcdefgh", "a class with a long name", HOSTILE)
BLOCKS = ("stem", *(f"layer{n}.{i}" for n in range(1, 5) for i in range(2)), "head")
PIXEL = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")
METRICS = ("forget/acc", "retain/acc", "test/acc", "mia/loss_auc")
DIRECTIONS = dict(zip(METRICS, ("to-retrained", "up", "to-retrained", "to-retrained"), strict=True))


def runs_of(
    root: Path, methods: int = 2, seeds: int = 2, settings: int = 1, samples: int = 60, hostile: bool = True
) -> Path:
    """Finished runs of so many methods, seeds and settings below ``root``; later methods forget less."""
    generator = np.random.default_rng(0)
    for setting in range(settings):
        scenario = [CLASSES[-1 - setting % 10] if hostile else f"class {setting}"]
        for seed in range(seeds):
            for number in range(methods):
                name = f"method_{number:02}" if number else "retrain"
                write_finished(root, fabricated(generator, name, number / max(methods, 2), seed, scenario))
                predict(max(root.iterdir(), key=lambda f: int(f.name[3:])), generator, number, samples)
    return root


def fabricated(
    generator: np.random.Generator, method: str, bad: float, seed: int, scenario: list[str]
) -> dict[str, Any]:
    """The results of one run; ``bad`` in [0, 1] is how far it is from the retrained model."""
    noise = generator.normal(0, 0.01, 4).tolist()
    retrained = dict(zip(METRICS, (0.1, 0.98, 0.9, 0.5), strict=True))
    own = dict(zip(METRICS, (0.1 + 0.8 * bad, 0.98 - 0.3 * bad * bad, 0.9 + 0.08 * bad, 0.5 + 0.4 * bad), strict=True))
    own = {name: value + e for (name, value), e in zip(own.items(), noise, strict=True)}
    classes = {f"class_acc/{name}": 0.9 for name in CLASSES}
    rows = {
        "original": retrained | {"forget/acc": 0.99, "cost/seconds": 10.0} | classes,
        "retrained": retrained | {"cost/seconds": 9.0} | classes,
        "unlearned": own | classes,
    }
    gaps = {f"gap/{name}": own[name] - retrained[name] for name in METRICS}
    gaps |= {"gap/mean": float(np.mean([abs(gap) for gap in gaps.values()]))}
    gaps |= {f"gap/{name}": float(e) for name, e in zip(classes, generator.normal(0, 0.02, len(classes)), strict=True)}
    config = {"scenario.classes": scenario, "method.alpha": 1 + bad, "method.note": HOSTILE}
    command = shlex.join(["python", "run.py", f"method={method}", f"scenario.classes=[{scenario[0]}]", f"seed={seed}"])
    parts = {"gaps": gaps, "rows": rows, "cost": {"cost/seconds": 0.5 + 10 * bad}, "directions": DIRECTIONS}
    notes = [f"left {HOSTILE} as it was"] if bad > 0.5 else []
    return result(seed=seed, method=method, config=config, notes=notes, command=command, **parts)


def add_layers(root: Path) -> None:
    """Give every run of ``root`` the similarity of its blocks to the reference models' and a picture of one pixel."""
    for folder in root.iterdir():
        found = json.loads((folder / "results.json").read_text())
        bad = found["config"]["method"]["alpha"] - 1
        for place, block in enumerate(BLOCKS):
            share = place / (len(BLOCKS) - 1)
            for part in ("forget", "retain"):
                for model, own in (("original", 1 - 0.8 * share * (1 - bad)), ("retrained", 1 - share * bad)):
                    name = f"layer_cka/{model}_{part}/{block}"
                    found["rows"]["unlearned"][name] = own
                    found["rows"]["retrained"][name] = 1.0 if model == "retrained" else 1 - 0.8 * share
                    found["directions"][name] = "up" if model == "retrained" else "to-retrained"
        (folder / "results.json").write_text(json.dumps(found))
        (folder / "embeddings.png").write_bytes(PIXEL)


def predict(folder: Path, generator: np.random.Generator, number: int, samples: int) -> None:
    """Write predictions, split and curves into a run's folder, and say so in its results."""
    labels = np.arange(samples) % len(CLASSES)
    ids = np.arange(samples)
    train, test = ids[: samples // 2], ids[samples // 2 :]
    own = labels == len(CLASSES) - 1
    sets = {"train": train, "forget": train[own[train]], "retain": train[~own[train]], "validation": ids[:0]}
    sets |= {"test": test, "test_forget": test[own[test]], "test_retain": test[~own[test]], "manipulated": ids[:0]}
    logits = generator.normal(size=(3, samples, len(CLASSES))).astype(np.float32)
    logits[:, ids, labels] += 4
    logits[1:, own, len(CLASSES) - 1] -= np.array([8, 8 - number / 8], dtype=np.float32)[:, None]
    save_file(sets, folder / "split.safetensors", {"forget_classes": json.dumps([len(CLASSES) - 1])})
    save_file(
        {"labels": labels, "logits": logits[2]}, folder / "predictions.safetensors", {"classes": json.dumps(CLASSES)}
    )
    save_file({"original logits": logits[0], "retrained logits": logits[1]}, folder / "references-0.safetensors")
    epochs = {f"unlearn/{n}_acc": [[e, v ** (e + 1)] for e in range(6)] for n, v in (("forget", 0.5), ("retain", 0.99))}
    (folder / "curves.json").write_text(json.dumps(epochs | {"unlearn/loss": [[s, 1 / (s + 1)] for s in range(90)]}))
    found = json.loads((folder / "results.json").read_text())
    found |= {"files": {"predictions.safetensors": "", "references-0.safetensors": ""}, "data": {"split": folder.name}}
    (folder / "results.json").write_text(json.dumps(found))
