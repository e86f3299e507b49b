"""What `desk null-check` does: build small worlds, try training and gating in each, keep what came of it."""
