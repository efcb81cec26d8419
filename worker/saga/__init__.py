"""The saga's rules: pure, without clock, chance or I/O."""
