"""What happens to Kafka itself: brokers that die, freeze, move, refuse or slow down, and cut cables."""
