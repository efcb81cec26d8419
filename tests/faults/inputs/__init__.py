"""Bad input and refused writes, on a real Apache Kafka with real workers."""
