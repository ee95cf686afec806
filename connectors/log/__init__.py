"""The log: one interface, an embedded and a Kafka implementation, and their place in a dataflow."""

from connectors.log.interface import Headers, Log, NewRecord, Reader, Record, TopicSpec

__all__ = ["Headers", "Log", "NewRecord", "Reader", "Record", "TopicSpec"]
