"""Reports and the verdict, computed from what was recorded."""
