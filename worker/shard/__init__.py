"""A shard: one input partition's sagas, timers and transactions; the shell around the pure saga."""
