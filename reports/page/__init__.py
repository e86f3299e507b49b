"""The parts every page is built of."""
