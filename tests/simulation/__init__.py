"""A deterministic world for the shard: one thread, one seed, simulated time, log and hub."""
