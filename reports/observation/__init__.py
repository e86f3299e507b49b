"""Day reports, evidence and the verdict."""
