"""The ground floor: errors, settings, candles, locks, files; it imports no other room."""
