"""All of confluent-kafka is here. No process that forks may import and use it: librdkafka does not survive fork."""
