"""Bad input at each door: a fixed part of it in CI, and as much as wanted by `make fuzz`."""
