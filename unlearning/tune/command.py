"""Choose a method's settings on validation data: `python -m unlearning.tune method=ssd dataset=digits trials=30`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..config.arguments import read
from ..errors import UserError
from ..runtime.threads import wait_passively

GUIDE = """\
Choose a method's settings on validation data, and write them as a row of a table of your own.

  python -m unlearning.tune method=ssd dataset=digits trials=30
  python -m unlearning.tune method=scrub dataset=image_folder dataset.root=DIR pretrain.checkpoint=FILE \\
      scenario.classes=[cat] rule=no_oracle              your own images and model, no retraining
  python -m unlearning.tune method=ssd seed=100,101 'scenario.classes=[3],[7]'   judged by the mean over four draws
  python -m unlearning.tune 'method=glob(*)' trials=30   every method in turn, with as many trials each
  python -m unlearning.tune method=jit 'method.optimizer.lr=tag(log,interval(1e-6,1e-2))' method.sigma=0.1,0.5

The words are those of `python run.py`, which composes every trial, and these:

  trials=30     settings that are tried, of each method; trials that fail count
  rule=gap      what makes a setting good, see below
  pareto=true   forgetting against retention instead of one number: prints the front, and writes no row
  out=DIR       where tables and studies are written (tuned/ below paths.root)

Options of the method with several values are searched: interval(a, b), int(interval(a, b)),
tag(log, interval(a, b)), choice(a, b). Without any, the search space of the method is used: the rows of
conf/search/METHOD.yaml, or search/METHOD.yaml in the folder of --config-dir, without the options that the command line
sets. Where all values are named and trials suffice, each combination is tried once. All else with several values is a
draw, and a setting is judged by its mean over the draws.

A rule says what forget/acc, retain/acc, val/acc and the loss-based attack val/loss_auc should be; the score is the mean
distance from that. No rule looks at a test sample.

  gap         what the retrained model has: the score is gap/mean_val
  no_oracle   without a retrained model: a class that is forgotten whole is not recognised, other forgotten samples as
              often as validation samples of their classes were, an attack guesses, and the rest is as it was
  corrected   where samples are manipulated: known samples and validation samples have their correct labels

The result is a row of DIR/table/METHOD.yaml, which says why it is there, unless the settings as they are were best:

  python run.py --config-dir tuned method=ssd dataset=digits seed=1    uses it; --explain shows it

It holds for the data sets, models and scenarios that were searched; its reason has all other settings. The seeds of the
search had a part in the choice, so judge it by others. With add-ons, which are no condition of a row, none is written.

What says nothing about a setting, such as too little memory, ends the search, and its trial is made again.
The same command goes on where it was stopped; with more trials it makes those that are missing. Started several times,
its processes share the trials. What a trial makes is kept in the store, so runs with its settings are found there.

exit code: 0 with a choice for each method, 1 otherwise"""


def main(argv: Sequence[str] | None = None, root: Path | None = None) -> int:
    """The command line; returns the exit code.

    ``root`` is the folder below which results are written: the current one where it is None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or {"-h", "--help"} & set(words):
        print(GUIDE)
        return 0
    try:
        return call(words, root)
    except UserError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        return complain("interrupted: the same command goes on with the trials that are left")


def call(words: Sequence[str], root: Path | None = None) -> int:
    """``main`` without its handling of errors."""
    wait_passively()  # before torch is imported
    arguments = read(words)
    flags = {flag for flag in arguments.flags if flag.startswith("-")}
    if arguments.sweep or arguments.explain or flags - {"--config-dir"}:
        raise UserError("only settings, --config-dir and --help are taken; --help explains them", kind="key")
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError("the search needs one more library: pip install 'optuna>=5,<6'", kind="missing") from None
    from .plan import Options
    from .run import tune

    options, settings = Options.read(arguments.settings)
    return tune(arguments._replace(settings=settings), options, root)


def complain(line: str) -> int:
    """Print an error as one line; returns the exit code."""
    print(f"tune: {' '.join(line.split())}", file=sys.stderr)
    return 1
