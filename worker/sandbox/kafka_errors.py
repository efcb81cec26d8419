"""What can go wrong when the sandbox looks for, downloads or runs an Apache Kafka.

::

    SandboxKafkaError
    ├── JavaMissingError        no Java 17 or newer on this machine
    ├── DownloadError           a jar cannot be had, or is not the one that was pinned
    ├── BrokerStartError        a broker process ended, or was not ready in time
    └── KafkaUnavailableError   no way to an Apache Kafka is open here: lists each and what it lacks
"""


class SandboxKafkaError(Exception):
    """The sandbox has no Apache Kafka; the message says why and what to do."""


class JavaMissingError(SandboxKafkaError):
    """No Java 17 or newer was found."""


class DownloadError(SandboxKafkaError):
    """A pinned jar could not be downloaded or verified."""


class BrokerStartError(SandboxKafkaError):
    """A broker process ended early, or did not answer in time; carries the end of its log."""


class KafkaUnavailableError(SandboxKafkaError):
    """Neither a given cluster, nor Java, nor Docker is there."""
