"""Commands of Apache Kafka's own tools that put right what was found, ready to be typed."""

from supervisor.core.spec import GroupSpec


def create_topic(spec: GroupSpec, topic: str, partitions: int) -> str:
    """Return the command that creates a topic."""
    return f"{_tool('kafka-topics', spec)} --create --topic {topic} --partitions {partitions}"


def add_partitions(spec: GroupSpec, topic: str, partitions: int) -> str:
    """Return the command that gives a topic more partitions."""
    return f"{_tool('kafka-topics', spec)} --alter --topic {topic} --partitions {partitions}"


def allow(spec: GroupSpec, operation: str, *, topic: str = "", group: str = "") -> str:
    """Return the command that gives our user a right; READ and WRITE bring DESCRIBE with them."""
    resource = f"--topic {topic}" if topic else f"--group {group}"
    return f"{_tool('kafka-acls', spec)} --add --allow-principal User:NAME --operation {operation} {resource}"


def _tool(name: str, spec: GroupSpec) -> str:
    command = f"{name} --bootstrap-server {spec.kafka.get('bootstrap.servers', 'HOST:PORT')}"
    is_plain = str(spec.kafka.get("security.protocol", "plaintext")).lower() == "plaintext"
    return command if is_plain else f"{command} --command-config FILE"
