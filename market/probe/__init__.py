"""What `desk probe` asks of an exchange, and what it makes of the answers."""
