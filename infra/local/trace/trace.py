"""Prints every record of one order as JSON lines, as `mambogo replay --topic all --key ORDER` does, sharing no code
with it: the Kafka protocol by kafka-python, Avro by fastavro, the schemas by their files.

usage: trace.py ORDER_ID       with KAFKA_BROKERS and TOPIC_PREFIX in the environment
       trace.py --golden       the golden example of every schema instead, by file name

It joins no group, commits nothing, and ends where the log ended when it began. What it cannot read is an error: a
trace with a hole is none.
"""

import heapq
import io
import json
import os
import struct
import sys
import time
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

import fastavro
from kafka import KafkaConsumer, TopicPartition

# What an order passes through, in the order in which records of the same millisecond are shown.
TOPICS = ["order.commands", "inventory.commands", "payment.commands", "order.events", "payment.events"]
SCHEMAS = Path(__file__).resolve().parents[3] / "schemas"

ENVELOPE = "mb"
ENVELOPE_VERSION = 1
NO_DEADLINE = 2**63 - 1
PATIENCE_S = 30


def trace(key: str) -> None:
    prefix = os.environ.get("TOPIC_PREFIX", "")
    schemas = Schemas()
    consumer = KafkaConsumer(
        bootstrap_servers=os.environ["KAFKA_BROKERS"].split(","),
        group_id=None,
        enable_auto_commit=False,
        allow_auto_create_topics=False,
    )
    try:
        of_partition = read(consumer, prefix, str(uuid.UUID(key)).encode())
    finally:
        consumer.close()

    def place(record):
        return record.timestamp, TOPICS.index(record.topic.removeprefix(prefix)), record.partition

    # Always the oldest of the partitions' heads; within a partition the log's own order stands.
    for record in heapq.merge(*of_partition, key=place):
        say(line(record, prefix, schemas))


def golden() -> None:
    schemas = Schemas()
    for file in sorted((SCHEMAS / "golden").glob("*.hex")):
        schema, value = schemas.decode(bytes.fromhex(file.read_text()))
        say({"file": file.stem, "schema": schema["id"], "record": schema["record"], "value": value})


def read(consumer: KafkaConsumer, prefix: str, key: bytes) -> list[list]:
    """The records of `key` in every partition, from the first there is to the end as it is now."""
    partitions = []
    for name in TOPICS:
        of_topic = consumer.partitions_for_topic(prefix + name)
        if not of_topic:
            sys.exit(f"there is no topic {prefix}{name}; is TOPIC_PREFIX right?")
        partitions += [TopicPartition(prefix + name, number) for number in sorted(of_topic)]
    ends = consumer.end_offsets(partitions)
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)

    found = {partition: [] for partition in partitions}
    last_news = time.monotonic()
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        news = consumer.poll(timeout_ms=500)
        for partition, records in news.items():
            found[partition] += [r for r in records if r.key == key and r.offset < ends[partition]]
        if news:
            last_news = time.monotonic()
        elif time.monotonic() - last_news > PATIENCE_S:
            sys.exit(f"no record came for {PATIENCE_S} s, though there are some; are the brokers up?")
    return list(found.values())


class Schemas:
    """The schemas by id. `ids.json` says which file an id stands for."""

    def __init__(self) -> None:
        self._files = json.loads((SCHEMAS / "avro" / "ids.json").read_text())
        self._parsed: dict[int, dict] = {}

    def by_id(self, number: int) -> dict:
        if number not in self._parsed:
            written = json.loads((SCHEMAS / "avro" / self._files[str(number)]).read_text())
            self._parsed[number] = fastavro.parse_schema(written)
        return self._parsed[number]

    def decode(self, payload: bytes) -> tuple[dict, dict]:
        """Schema and value of a payload in the Confluent wire format: magic byte 0, schema id, body."""
        magic, number = struct.unpack_from(">BI", payload)
        if magic != 0:
            raise ValueError(f"the payload begins with byte {magic}, not with 0")
        schema = self.by_id(number)
        body = io.BytesIO(payload[5:])
        value = fastavro.schemaless_reader(body, schema)
        if left := body.read():
            raise ValueError(f"{len(left)} bytes are left over")
        return {"id": number, "record": schema["name"].removeprefix("mambogo.")}, value


def line(record, prefix: str, schemas: Schemas) -> dict:
    """One record as `mambogo replay` prints it. Of the body's types, `plain` shows those that JSON lacks."""
    schema, value = schemas.decode(record.value)
    return {
        "topic": record.topic.removeprefix(prefix),
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": at(record.timestamp),
        "key": record.key.decode(),
        "correlationId": value.get("orderId") or value["order"]["orderId"],
        **envelope(dict(record.headers)[ENVELOPE]),
        **{name: value.decode() for name, value in record.headers if name == "traceparent"},
        "schema": schema,
        "value": value,
    }


def envelope(header: bytes) -> dict:
    """The binary header: version, message, causation, occurred-at, deadline; from a lane also lane, number, floor."""
    version, message, causation, occurred_at, deadline = struct.unpack_from(">B16s16sqq", header)
    if version != ENVELOPE_VERSION:
        raise ValueError(f"header version {version} is not known here")
    fields = {
        "messageId": uuid.UUID(bytes=message),
        "causationId": uuid.UUID(bytes=causation),
        "occurredAt": at(occurred_at),
    }
    if deadline != NO_DEADLINE:
        fields["deadline"] = at(deadline)
    if rest := header[struct.calcsize(">B16s16sqq") :]:
        lane, n, floor = struct.unpack(">16sQQ", rest)
        fields["source"] = {"lane": uuid.UUID(bytes=lane), "n": n, "floor": floor}
    return fields


def at(millis: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=millis)


def say(value: dict) -> None:
    print(json.dumps(value, default=plain))


def plain(value):
    """What JSON has no form for: times as RFC 3339 in UTC with milliseconds, ids as text, bytes as digits."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value)} has no form in JSON")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--golden":
        golden()
    else:
        trace(sys.argv[1])
