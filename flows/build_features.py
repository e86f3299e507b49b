"""Apply the SQL, check the data, export one immutable data set, publish the read copy."""

from __future__ import annotations

import flows  # noqa: F401  # first, so that Ctrl-C ends in one line while the rest is imported

# isort: split
from prefect import flow

from core.dataset_files import DatasetRef
from core.settings import load_settings
from tasks.command_line import run_from_shell
from tasks.features import apply_schema, check_quality, export_dataset
from tasks.market_data import publish_market


@flow(name="build-features")
def build_features(products: str | list[str] | None = None) -> DatasetRef:
    """Turn stored candles into a checked data set with features and labels.

    Args:
        products: Product ids or short names; all configured ones when left out.
    """
    apply_schema()
    check_quality()
    dataset = export_dataset(load_settings().resolve_products(products))
    publish_market()
    return dataset


if __name__ == "__main__":
    run_from_shell(build_features)
