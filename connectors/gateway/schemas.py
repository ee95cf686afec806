"""JSON Schemas of what calls take and give, for the OpenAPI document. All are closed."""

from __future__ import annotations

from typing import Any

from state.model.event import CHANNELS, INTERRUPTIVE

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 256}
OPTIONAL_TEXT: Schema = {"type": ["string", "null"], "minLength": 1, "maxLength": 256}
MILLISECONDS: Schema = {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}
OPTIONAL_MILLISECONDS: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": 2**53 - 1}
BOOLEAN: Schema = {"type": "boolean"}
OPTIONAL_BOOLEAN: Schema = {"type": ["boolean", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}


def closed(properties: dict[str, Schema], *, required: tuple[str, ...] | None = None) -> Schema:
    """An object with these members and no others; all required unless said otherwise."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    return {"oneOf": [schema, {"type": "null"}]}


def list_of(items: Schema, **limits: int) -> Schema:
    """A list."""
    return {"type": "array", "items": items, **limits}


EVENT = closed(
    {
        "type": TEXT,
        "event_id": OPTIONAL_TEXT,
        "idempotency_key": OPTIONAL_TEXT,
        "priority": {"enum": ["P0", "P1", "P2", None]},
        "fan_out_type": {"enum": ["DIRECT", "FOLLOWERS", "SEGMENT", "BROADCAST", None]},
        "actor": OPTIONAL_TEXT,
        "target": OPTIONAL_TEXT,
        "object": OPTIONAL_TEXT,
        "segment": OPTIONAL_TEXT,
        "payload": {"type": ["object", "null"], "description": "at most 16 KiB of JSON, depth 8"},
        "ttl_ms": OPTIONAL_MILLISECONDS,
        "created_at": OPTIONAL_MILLISECONDS,
        "deliver_at": OPTIONAL_MILLISECONDS,
        "to": {
            "type": ["object", "null"],
            "properties": {
                channel: {"type": ["string", "null"], "minLength": 1, "maxLength": 4096} for channel in CHANNELS
            },
            "additionalProperties": False,
        },
        "sender_id": OPTIONAL_TEXT,
        "schema_version": {"type": ["integer", "null"], "minimum": 1, "maximum": 2**53 - 1},
        "retracts": OPTIONAL_BOOLEAN,
        "parent_event_id": OPTIONAL_TEXT,
    },
    required=("type",),
)
"""What a producer sends. With a `schema_version` newer than 1 unknown members are ignored."""

FIELD_ERROR = closed({"path": {"type": "string"}, "problem": {"type": "string"}, "remedy": {"type": "string"}})
PROBLEM = closed(
    {
        "type": {"const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "errors": list_of(FIELD_ERROR),
        "event_id": TEXT,
        "retry_after_ms": {"type": "integer", "minimum": 1},
    },
    required=("type", "title", "status", "detail"),
)
ACCEPTED = closed({"status": {"enum": [200, 202]}, "event_id": TEXT})
BATCH_ANSWER = list_of({"oneOf": [ACCEPTED, {"$ref": "#/components/schemas/Problem"}]})
PROGRESS = closed(
    {
        "event_id": TEXT,
        "state": {"enum": ["pending", "accepted"]},
        "deliver_at": OPTIONAL_MILLISECONDS,
        "recipients": COUNT,
        "outcomes": {"type": "object", "additionalProperties": COUNT},
    }
)

ENDPOINT = closed(
    {
        "channel": {"enum": [*INTERRUPTIVE]},
        "platform": OPTIONAL_TEXT,
        "address": {"type": "string", "minLength": 1, "maxLength": 4096},
        "state": {"enum": ["active", "invalid", None]},
    },
    required=("address",),
)
REGISTERED = closed({"id": TEXT, "registered_at": MILLISECONDS, "removed": list_of(TEXT)})
PROFILE = closed({"locale": {"type": ["string", "null"]}, "name": OPTIONAL_TEXT}, required=())
PROFILE_ANSWER = closed({"user": TEXT, "locale": {"type": ["string", "null"]}, "name": OPTIONAL_TEXT})
FOLLOW = closed({"followee": TEXT, "follower": TEXT, "on": OPTIONAL_BOOLEAN}, required=("followee", "follower"))
STORED = closed({"stored": COUNT})
SEGMENT_LIST: Schema = {"oneOf": [list_of(TEXT), closed({"users": list_of(TEXT)})]}
SEGMENT_ANSWER = closed({"segment": TEXT, "version": MILLISECONDS, "users": COUNT})

DEVICE = closed({"device_id": TEXT, "platform": TEXT, "token": {"type": "string", "minLength": 1, "maxLength": 4096}})
DEVICE_ANSWER = closed({"device_id": TEXT, "registered_at": MILLISECONDS, "removed": list_of(TEXT)})
PREFERENCES = closed(
    {
        "master": OPTIONAL_BOOLEAN,
        "quiet_hours": nullable(
            closed(
                {
                    "enabled": OPTIONAL_BOOLEAN,
                    "start": {"type": ["string", "null"], "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"},
                    "end": {"type": ["string", "null"], "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"},
                    "timezone": {"type": ["string", "null"], "description": "IANA name"},
                },
                required=(),
            )
        ),
        "frequency_cap": nullable(
            closed({"max_per_hour": OPTIONAL_MILLISECONDS, "max_per_day": OPTIONAL_MILLISECONDS}, required=())
        ),
        "types": {
            "type": ["object", "null"],
            "additionalProperties": nullable(
                closed({"enabled": OPTIONAL_BOOLEAN, "channels": nullable(list_of({"enum": [*CHANNELS]}))}, required=())
            ),
        },
        "unsubscribed": nullable(closed({name: nullable(list_of(TEXT)) for name in CHANNELS}, required=())),
        "muted": nullable(closed({"actors": nullable(list_of(TEXT)), "objects": nullable(list_of(TEXT))}, required=())),
    },
    required=(),
)
INBOX_PAGE = closed(
    {
        "items": list_of(
            closed(
                {
                    "type": TEXT,
                    "object": OPTIONAL_TEXT,
                    "first_event_id": TEXT,
                    "count": COUNT,
                    "actors": list_of(TEXT, maxItems=3),
                    "at": MILLISECONDS,
                    "read": BOOLEAN,
                    "payload": {"type": ["object", "null"]},
                }
            )
        ),
        "unread": COUNT,
        "up_to": OPTIONAL_MILLISECONDS,
        "cursor": {"type": ["string", "null"]},
    }
)
READ = closed({"up_to": OPTIONAL_MILLISECONDS}, required=())
KILL = closed(
    {
        "scope": {"enum": ["all", "sender", "type", "channel", "campaign", "door"]},
        "value": OPTIONAL_TEXT,
        "on": OPTIONAL_BOOLEAN,
        "reason": OPTIONAL_TEXT,
    },
    required=("scope",),
)
KILL_ANSWER = closed(
    {"scope": {"type": "string"}, "value": {"type": ["string", "null"]}, "on": BOOLEAN, "offset": COUNT}
)
HEALTH = closed({"status": {"const": "ok"}})
READY = closed({"ready": BOOLEAN, "checks": {"type": "object", "additionalProperties": BOOLEAN}})
