"""Train one model, every choice of it open."""

from __future__ import annotations

import flows  # noqa: F401  # first, so that Ctrl-C ends in one line while the rest is imported

# isort: split
from prefect import flow

from tasks.command_line import Architecture, Count, NaturalNumber, NotNegative, PartialShare, Positive, run_from_shell
from tasks.features import latest_dataset, products_in
from tasks.runner import threads
from tasks.train import plan_training, require_all, train_models


@flow(name="train-one", task_runner=threads())
def train_one(
    product: str | None = None,
    architecture: Architecture = "lstm",
    epochs: Count | None = None,
    seed: NaturalNumber | None = None,
    members: Count | None = None,
    stride: Count | None = None,
    batch_size: Count | None = None,
    learning_rate: Positive | None = None,
    weight_decay: NotNegative | None = None,
    dropout: PartialShare | None = None,
    patience: NaturalNumber | None = None,
    budget_seconds: NotNegative | None = None,
) -> str:
    """Train one model on the newest data set in a process of its own; promote nothing.

    Args:
        product: The coin, such as BTC or BTC-USD. The transformer and boosting learn all coins of the data set when it is left out, or those named: BTC,ETH.
        architecture: lstm reads a coin's last hour both ways, lstm_one_way forwards only; transformer and boosting learn all coins together.
        epochs: Most epochs, of boosting its rounds; EPOCHS when left out, of boosting its preset's. Early stopping usually needs fewer.
        seed: Seed of every random choice; TRAIN_SEED when left out.
        members: Networks of neighbouring seeds, averaged into one model; TRAIN_MEMBERS when left out.
        stride: Train on every n-th minute; TRAIN_STRIDE or TRANSFORMER_STRIDE when left out.
        batch_size: Windows of one step; the preset's when left out.
        learning_rate: Largest step of the optimiser; the preset's when left out.
        weight_decay: Pull of the weights towards zero; the preset's when left out.
        dropout: Share of units silenced while training; the preset's when left out.
        patience: Checks without a better one after which training ends; 0 never ends it.
        budget_seconds: Stop after the check that passes this; 0 is no limit. TRAIN_BUDGET_SECONDS when left out.
    """
    dataset = latest_dataset()
    spec = plan_training(
        architecture,
        products_in(dataset, product),
        epochs=epochs,
        seed=seed,
        members=members,
        stride=stride,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        dropout=dropout,
        patience=patience,
        budget_seconds=budget_seconds,
    )
    (candidate,) = require_all(train_models([spec], dataset))
    return candidate


if __name__ == "__main__":
    run_from_shell(train_one)
