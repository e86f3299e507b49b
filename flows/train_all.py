"""Train every coin in parallel, the transformer beside them, and judge what came out."""

from __future__ import annotations

from prefect import flow

from desk.config import load_settings
from tasks.command_line import run_from_shell
from tasks.features import latest_dataset, products_in
from tasks.runner import threads
from tasks.train import plan_trainings, require_candidates, train_model


@flow(name="train-all", task_runner=threads())
def train_all(
    products: str | list[str] | None = None, epochs: int | None = None, lstm: bool = True, transformer: bool = True
) -> list[str]:
    """Train on the newest data set, each model in a process of its own; what is trained already is kept.

    Args:
        products: Coins to train; all of the data set when left out.
        epochs: Most epochs; EPOCHS when left out. Early stopping usually needs fewer.
        lstm: Train the per-coin LSTMs.
        transformer: Train the multi-coin transformer.
    """
    settings = load_settings()
    dataset = latest_dataset()
    specs = plan_trainings(settings, products_in(dataset, products), epochs, lstm=lstm, transformer=transformer)
    runs = [train_model.submit(spec, dataset) for spec in specs]
    candidates = require_candidates([run.result(raise_on_failure=False) for run in runs])
    return [candidate.candidate_id for candidate in candidates]


if __name__ == "__main__":
    run_from_shell(train_all)
