"""Networks, training, judging, export, registry, scoring."""
