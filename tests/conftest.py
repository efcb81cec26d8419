"""Makes the fixtures of a real Apache Kafka known to all tests."""

pytest_plugins = ["tests.brokers.fixtures"]
