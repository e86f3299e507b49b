"""One page per walk-forward run, made from its record alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.page.document import Cell, Document, Figures, Section, Table, Text
from reports.page.formatting import NOT_COMPUTED, market_notice, percent
from reports.walk_forward.plots import by_fold, cumulative, luck, time_line
from reports.walk_forward.tables import (
    GAIN_UNIT,
    MODEL,
    configurations_table,
    folds_table,
    notes,
    pooled_table,
    selection_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reports.page.document import Block

    Record = Mapping[str, Any]


def walk_forward_document(record: Record) -> Document:
    """Build the report of one run from what `models.walk_forward.summary.walk_forward_record` returns."""
    folds, names = len(record["folds"]), len(record["configurations"])
    way = (
        "on all that lies before it"
        if record.get("rolling_days") is None
        else f"on the {record['rolling_days']} days before it"
    )
    tried = "" if names == 1 else f", {names} configurations"
    judged = record["folds"][0]["test"][:10], record["folds"][-1]["end"][:10]
    return Document(
        title=record["run_id"],
        kicker="Candledesk walk-forward report",
        lead=(
            f"{record['architecture']} on {', '.join(record['products'])}{tried}: trained anew for each of {folds} folds {way}, "
            f"judged from {judged[0]} to {judged[1]}. {_outcome(record)}"
        ),
        badge=Cell("failures", "bad") if record["failures"] else None,
        notices=tuple(_notices(record)),
        sections=(
            Section("Where the folds lie", (time_line(record),)),
            *(section for product in record["products"] for section in _product_sections(record, product)),
            Section("What was done", (_facts(record),)),
        ),
    )


def _outcome(record: Record) -> str:
    ahead: list[str] = []
    behind: list[str] = []
    for product in record["products"]:
        for name, one in record["results"][product]["configurations"].items():
            label = product if len(record["configurations"]) == 1 else f"{product} ({name})"
            gain = one["pooled"]["forecasters"][MODEL]["gain"] if one["pooled"] else {"low_95": None}
            (ahead if gain["low_95"] is not None and gain["low_95"] > 0 else behind).append(label)
    said = [f"It knows more than the base rate, beyond chance, on {', '.join(ahead)}."] if ahead else []
    said += [f"It does not, or not beyond chance, on {', '.join(behind)}."] if behind else []
    return " ".join(said)


def _notices(record: Record) -> list[str]:
    found = [market_notice(record["sources"])]
    found += [f"A fold failed: {failure}" for failure in record["failures"]]
    if record.get("walks_over_test_part") and len(record["configurations"]) > 1:
        found.append(
            "Several configurations were compared on the data set's test part: it is no untouched test for the one chosen here."
        )
    return [notice for notice in found if notice]


def _product_sections(record: Record, product: str) -> tuple[Section, ...]:
    sections = [
        Section(f"{product}: all folds together", (*_figures(record, product), pooled_table(record, product))),
        Section(f"{product}: fold by fold", (by_fold(record, product), folds_table(record, product))),
        Section(f"{product}: through time", (cumulative(record, product),)),
    ]
    blocks: tuple[Block, ...] = (selection_table(record, product),)
    if len(record["configurations"]) > 1:
        blocks = (
            *(Text(note) for note in notes(record, product)),
            *blocks,
            configurations_table(record, product),
            luck(record, product, "gain", "log-loss gain"),
            luck(record, product, "net_bps", "net return"),
        )
    sections.append(Section(f"{product}: how much of it is luck", blocks))
    return tuple(sections)


def _figures(record: Record, product: str) -> tuple[Figures, ...]:
    found = record["results"][product]["configurations"]
    whole = {name: one for name, one in found.items() if one["pooled"] is not None}
    if not whole:
        return ()
    best = max(whole, key=lambda name: whole[name]["pooled"]["forecasters"][MODEL]["gain"]["value"] or 0.0)
    pooled = whole[best]["pooled"]
    one = pooled["forecasters"][MODEL]
    gains = [
        fold["figures"]["forecasters"][MODEL]["gain"]["value"] for fold in whole[best]["folds"] if "figures" in fold
    ]
    better = sum(gain > 0 for gain in gains if gain is not None)
    return (
        Figures(
            (
                ("configuration", best, "the best by pooled gain" if len(found) > 1 else "the only one tried"),
                ("gain, 0.0001 nats", _scaled(one["gain"], GAIN_UNIT, 2), "log loss below the base rate's, a minute"),
                ("folds with a gain", f"{better} of {len(gains)}", "each trained anew"),
                ("accuracy", percent(one["accuracy"]["value"]), f"base rate {percent(pooled['base_rate'])}"),
                ("break-even accuracy", percent(pooled["break_even_accuracy"]), "what the costs assumed demand"),
                ("judged", f"{pooled['rows']:,} minutes", f"of {pooled['days']} days"),
            )
        ),
    )


def _scaled(figure: Mapping[str, Any], scale: float, digits: int) -> str:
    return NOT_COMPUTED if figure["value"] is None else f"{scale * figure['value']:.{digits}f}"


def _facts(record: Record) -> Table:
    spec = record["configurations"][0]["spec"]
    facts = (
        ("data set", record["dataset_digest"]),
        ("feature set", record["feature_set"]),
        ("sha256 of its SQL", record["feature_hash"]),
        ("gate profile", record["gate_profile"]),
        ("round-trip cost assumed, bps", f"{record['cost_bps']:g}"),
        ("judged on every n-th minute", str(record["judged_every_minutes"])),
        ("trained on every n-th minute", str(spec["stride"])),
        ("most epochs", str(spec["epochs"])),
        ("seed", str(spec["seed"])),
        ("models tried in this folder until now", str(record["trials"])),
        ("seconds of this run", str(record.get("seconds", NOT_COMPUTED))),
        ("commit", record["commit"]),
        ("at", record["at"]),
    )
    return Table(("what", "which"), tuple((label, Cell(value, "code")) for label, value in facts))
