"""The page about stored candles, features and data sets."""
