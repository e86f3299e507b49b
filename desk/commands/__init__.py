"""What a person types: one module a group of commands, mounted by `desk.__main__`."""
