"""The room that knows Kafka: nothing outside it imports aiokafka or FastStream."""
