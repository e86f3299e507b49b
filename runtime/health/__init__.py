"""What others may see of a running runtime: status, health and metrics on loopback, and a heartbeat."""
