"""Errors that are of one record, by Kafka's and librdkafka's names; all others are of the cluster or the settings."""

REFUSALS = frozenset(
    {
        "MSG_SIZE_TOO_LARGE",
        "TOPIC_EXCEPTION",
        "INVALID_MSG_SIZE",
        "RECORD_LIST_TOO_LARGE",
        "INVALID_RECORD",
        "INVALID_MSG",
        "INVALID_TIMESTAMP",
        "_INVALID_ARG",
        "_UNKNOWN_PARTITION",
    }
)
"""No patience helps a record that gets one of them."""

TOO_LARGE = frozenset({"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"})
"""Of them: errors that a shorter record may not get; of the client's own limit and of brokers'."""

SHARED = frozenset({"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD", "_INVALID_DIFFERENT_RECORD"})
"""Errors that a broker gives to a whole batch for one record's sake: librdkafka does not tell which, nor splits it."""
