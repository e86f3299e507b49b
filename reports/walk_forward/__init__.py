"""The page about a walk-forward run."""
