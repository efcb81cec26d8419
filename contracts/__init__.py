"""The public words of the project: topics, events, headers, commands; this package knows no other."""
