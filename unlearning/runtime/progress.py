"""A progress bar over a whole fit, and one over many."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

UNLEARNING, OBSERVING, REPAIRING, DECODING = "Unlearning", "Observing", "Repairing", "Decoding images"  # titles


def columns(counted: str) -> tuple[ProgressColumn, ...]:
    """A title, a bar, what is counted, and the time that is left."""
    return TextColumn("{task.description}"), BarColumn(), TextColumn(counted), TimeRemainingColumn()


@contextmanager
def over_trials(title: str, total: int, done: int) -> Iterator[Callable[[int, str], None]]:
    """Context manager with a bar over ``total`` trials on stderr, in which the bars of single fits are not shown.

    It gives a function that takes the number of trials that are done and a remark. Silent where stderr is not a
    terminal.
    """
    if not sys.stderr.isatty():
        yield lambda done, remark: None
        return
    with Bar(*columns("{task.completed}/{task.total} {task.fields[remark]}"), console=Console(stderr=True)) as bar:
        work, before = bar.add_task(title, total=total, completed=done, remark=""), Progress.shown
        Progress.shown = False
        try:
            yield lambda done, remark: bar.update(work, completed=done, remark=remark)
        finally:
            Progress.shown = before


def training(name: str) -> str:
    """The title of the training of a model by that name."""
    return f"Training the {name} model"


class Progress(L.Callback):
    """One bar for all epochs, on stderr, gone when the work is done; silent where stderr is not a terminal."""

    shown = True  # False: no bar at all, while another one counts more

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: Bar | None = None

    def on_train_start(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        if not (self.shown and sys.stderr.isatty() and trainer.is_global_zero):
            return
        self.bar = Bar(*columns("{task.fields[epoch]}"), console=Console(stderr=True), transient=True)
        self.work = self.bar.add_task(self.title, total=trainer.max_epochs, epoch="")
        self.bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, method: L.LightningModule, _: object, __: object, step: int
    ) -> None:
        if self.bar is not None:
            done = trainer.current_epoch + (step + 1) / trainer.num_training_batches
            self.bar.update(self.work, completed=done, epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_end(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        self.close()

    def on_exception(self, trainer: L.Trainer, method: L.LightningModule, exception: BaseException) -> None:
        self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
