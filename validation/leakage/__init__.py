"""What `desk leak-check` does: audit what is there, try every planted leak, run clean markets."""
