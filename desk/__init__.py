"""How a person steers Candledesk: one module a command, mounted by `desk.__main__`."""
