"""Everything that calls a counterpart: messages, HTTP, limits, and the tables that read the answers."""
