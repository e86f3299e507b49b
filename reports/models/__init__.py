"""The page about one model."""
