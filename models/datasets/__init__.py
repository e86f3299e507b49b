"""Data sets: reading, windows, scaling, folds, and copies on shared folders."""
