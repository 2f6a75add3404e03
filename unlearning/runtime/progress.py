"""A progress bar over a whole fit."""

import sys

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

UNLEARNING, OBSERVING, REPAIRING, DECODING = "Unlearning", "Observing", "Repairing", "Decoding images"  # titles


def training(name: str) -> str:
    """The title of the training of a model by that name."""
    return f"Training the {name} model"


class Progress(L.Callback):
    """One bar for all epochs, on stderr, gone when the work is done; silent where stderr is not a terminal."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: Bar | None = None

    def on_train_start(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        if not (sys.stderr.isatty() and trainer.is_global_zero):
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[epoch]}"),
            TimeRemainingColumn(),
        )
        self.bar = Bar(*columns, console=Console(stderr=True), transient=True)
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
