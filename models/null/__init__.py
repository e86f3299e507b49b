"""Small universes with and without an edge: what the whole training and judging makes of them."""
