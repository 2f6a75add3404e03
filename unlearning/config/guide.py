"""The text of ``python run.py --help``, from the configuration folder. Imports nothing that takes time."""

import os

from .groups import GROUPS
from .paths import CONF

OPENING = """\
Make a trained classifier forget, and compare it with the original and the retrained model.

  python run.py                                        forget a class of scikit-learn's digits
  python run.py method=ssd method.alpha=50             another method, and one of its settings
  python run.py dataset=cifar100 scenario.classes=[rocket]
  python run.py scenario=random scenario.fraction=0.1  forget samples instead of classes
  python run.py method=neggrad_plus addon=[saliency,l1]
  python run.py dataset=image_folder dataset.root=DIR  your own images: DIR/{train,test}/<class>/*
  python run.py pretrain.checkpoint=FILE retrained=false  your own model, no retraining
  python run.py -m 'method=glob(*,exclude=sisa)' seed=0,1,2  a sweep; finished runs are not repeated

Where the package is installed, `unlearn` stands for `python run.py`; it writes below the current folder.

Groups, chosen by group=name:"""

CLOSING = """\

Keys, set by key=value (--cfg job prints them all):
  seed, split.seed, scenario.seed, pretrain.seed   the last three follow seed unless set
  scenario.classes=[name or number, ...]  scenario.count=N  scenario.fraction=F
  scenario=list scenario.file=FILE    forget what a file lists: paths or names of images, or ids
  scenario=saved scenario.file=FILE   the split.safetensors of an earlier run, whatever the seeds
  scenario=difficulty scenario.file=FILE   by the scores that python -m unlearning.difficulty wrote
  scenario.known=G   known fraction of the samples that poison, confusion, label_shuffle and data_entry manipulate
  optimizer@method=adam, schedule@method=none   another optimiser or schedule, whole; likewise @pretrain
  after=FOLDER     a later request: begin with the unlearned model of an earlier run, and check its forgetting again
  check=0.934      compare the accuracy of your own model with that of your own evaluation, and stop
  dataset.root=DIR  pretrain.checkpoint=FILE  retrained=false (no retrained model)  force=true (run again)
  paths.data  paths.store (models, predictions)  paths.runs (results)  tracking.uri

Options:
  --explain      print which row of the settings' tables sets what, and why; nothing is run
  -v             show on the screen what is written to the log of the run (verbose=true)
  debug=fast     two steps of everything, to see that a run works; debug=profile shows where its time goes
  -m             a sweep: every combination of comma-separated values
  --cfg job      print the configuration; nothing is run

Results: a table, multirun/<run>/ with results.json and log.txt, MLflow (make ui); make report averages over seeds."""


def guide() -> str:
    """The help text."""
    lines = [OPENING]
    for group, about in GROUPS.items():
        lines += [f"  {group:11}{about.help}", *wrapped(choices(group), 13)]
    return "\n".join([*lines, CLOSING])


def choices(group: str) -> list[str]:
    """The names that a group can be set to."""
    folder = CONF / group
    return sorted(file[:-5] for file in os.listdir(folder) if file.endswith(".yaml")) if folder.is_dir() else []


def wrapped(names: list[str], indent: int, width: int = 100) -> list[str]:
    """The names, separated by spaces, in lines of at most ``width`` characters."""
    lines, line = [], " " * indent
    for name in names:
        if len(line) + len(name) + 1 > width:
            lines.append(line.rstrip())
            line = " " * indent
        line += name + " "
    return [*lines, line.rstrip()]
