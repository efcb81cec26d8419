"""A stand-in for the payment side, and a local Apache Kafka, for the demo and for tests."""
