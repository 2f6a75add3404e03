"""The text of `python run.py --help`, from the configuration folder; it imports nothing that takes time."""

import os
from pathlib import Path

CONF = Path(__file__).resolve().parents[1] / "conf"
GROUPS = {
    "method": "how to forget",
    "addon": "changes the steps of a first-order method; addon=[a,b] stacks",
    "scenario": "what is forgotten",
    "dataset": "sets a fitting model= and pretrain=, too",
    "model": "timm takes any model of that library: model=timm model.name=NAME",
    "pretrain": "the recipe of the original and the retrained model",
    "evaluation": "the metrics",
    "trainer": "where it runs",
    "tracking": "where MLflow writes",
    "experiment": "whole studies",
}


def guide() -> str:
    """The help text."""
    lines = [
        "Make a trained classifier forget, and see how well that went beside the original and the retrained model.",
        "",
        "  python run.py                                        forget a class of scikit-learn's digits",
        "  python run.py method=ssd method.alpha=50             another method, another setting of it",
        "  python run.py dataset=cifar100 scenario.classes=[rocket]",
        "  python run.py scenario=random scenario.fraction=0.1  forget samples instead of classes",
        "  python run.py method=neggrad_plus addon=[saliency,l1]",
        "  python run.py dataset=image_folder dataset.root=DIR  your own images: DIR/{train,test}/<class>/*",
        "  python run.py pretrain.checkpoint=FILE retrained=false  your own model, no retraining",
        "  python run.py -m 'method=glob(*)' seed=0,1,2         a sweep; finished runs are not repeated",
        "",
        "Groups, chosen by group=name:",
    ]
    for group, what in GROUPS.items():
        names = (
            sorted(f[:-5] for f in os.listdir(CONF / group) if f.endswith(".yaml")) if (CONF / group).is_dir() else []
        )
        lines += [f"  {group:11}{what}", *wrapped(names, 13)]
    lines += [
        "",
        "Keys, set by key=value (python run.py --cfg job prints them all):",
        "  seed, split.seed, scenario.seed, pretrain.seed   the last three follow seed unless set",
        "  scenario.classes=[name or number, ...]  scenario.count=N  scenario.fraction=F",
        "  scenario=saved scenario.file=FILE   the split.safetensors of an earlier run, whatever the seeds",
        "  scenario.known=G (of the samples that poison, confusion, label_shuffle and data_entry manipulate)",
        "  dataset.root=DIR  pretrain.checkpoint=FILE  retrained=false (no oracle)  force=true (run again)",
        "  paths.data  paths.store (models, predictions)  paths.runs (results)  tracking.uri",
        "",
        "Results: a table, multirun/<run>/results.json, MLflow (make ui); make report averages over seeds.",
    ]
    return "\n".join(lines)


def wrapped(names: list[str], indent: int, width: int = 100) -> list[str]:
    """The names, a space apart, in lines of at most ``width``."""
    lines, line = [], " " * indent
    for name in names:
        if len(line) + len(name) + 1 > width:
            lines.append(line)
            line = " " * indent
        line += name + " "
    return [*lines, line]
