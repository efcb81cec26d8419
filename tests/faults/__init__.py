"""Real workers on a real Apache Kafka, hurt on purpose; afterwards a checker proves that nothing was lost."""
