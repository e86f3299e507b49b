"""How a person steers Candledesk: one module a command, mounted by `desk.__main__`."""

from core.interruption import end_while_importing

end_while_importing("desk")
