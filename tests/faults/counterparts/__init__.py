"""What counterparts and the clock do to a whole worker: real Kafka, a real process, every promise judged."""
