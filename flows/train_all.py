"""Train every coin in parallel, the transformer beside them, and judge what came out."""

from __future__ import annotations

import flows  # noqa: F401  # first, so that Ctrl-C ends in one line while the rest is imported

# isort: split
from prefect import flow

from core.settings import load_settings
from tasks.command_line import run_from_shell
from tasks.features import latest_dataset, products_in
from tasks.runner import threads
from tasks.train import plan_trainings, require_all, train_models


@flow(name="train-all", task_runner=threads())
def train_all(
    products: str | list[str] | None = None,
    epochs: int | None = None,
    lstm: bool = True,
    transformer: bool = True,
    boosting: bool | None = None,
) -> list[str]:
    """Train on the newest data set, each model in a process of its own; what is trained already is kept.

    One that fails leaves the others; the run then ends as failed and names it.

    Args:
        products: Coins to train; all of the data set when left out.
        epochs: Most epochs; EPOCHS when left out. Early stopping usually needs fewer.
        lstm: Train the per-coin LSTMs.
        transformer: Train the multi-coin transformer.
        boosting: Train the boosting member of all coins; TRAIN_BOOSTING when left out, and not with the preset demo.
    """
    settings = load_settings()
    dataset = latest_dataset()
    coins = products_in(dataset, products)
    specs = plan_trainings(settings, coins, epochs, lstm=lstm, transformer=transformer, boosting=boosting)
    return require_all(train_models(specs, dataset))


if __name__ == "__main__":
    run_from_shell(train_all)
