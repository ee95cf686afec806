"""Every exception that Carillon raises on purpose, as one tree.

CarillonError
├── ConfigurationError        a key of the configuration is wrong; the message names it and the remedy
├── WildClockError            the machine's clock is years later than the newest decision; nothing starts
├── MalformedRecordError      a record that cannot be read; it goes to dead letters, the flow goes on
├── PoisonedError             what ended the process five times is not handled again; it goes to dead letters too
├── LogError
│   ├── LogUnavailableError   an append or read did not succeed within its deadline; nothing was acknowledged
│   ├── UnknownTopicError     the topic does not exist; `carillon topics create` makes it
│   └── OffsetOutOfRangeError the offset asked for is older than what the log retains
├── StateError
│   ├── StateLockedError      another live process owns the state directory
│   ├── StateFencedError      another process took this one's place over; it may write and send nothing more
│   ├── StateDamagedError     stored bytes do not decode or fall short of what was acknowledged
│   └── StateVersionError     stored bytes of a version this program does not know
├── StoreUnavailableError     a cache or store did not answer within its deadline
├── AuditFaultError           what people did was changed after it was noted; the text says where
├── TemplateError             a template does not render; the message names it
└── UnsendableError           a message cannot be put into its provider's form; nothing of it was sent
"""

import msgspec

UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding bytes from outside may raise; all of it becomes a MalformedRecordError."""


class CarillonError(Exception):
    """Root of all errors raised on purpose; its text is safe to log (no token, address or content)."""


class ConfigurationError(CarillonError):
    """A configuration key is missing, unknown or has a bad value."""


class WildClockError(CarillonError):
    """The machine's clock is much later than the newest decision of the log: it must be set right."""


class MalformedRecordError(CarillonError):
    """A record cannot be decoded or lacks a field; the text names the field and what is expected."""


class PoisonedError(CarillonError):
    """Handling it has ended the process five times in a row (`state.disk.poison`)."""


class LogError(CarillonError):
    """The log refused or failed."""


class LogUnavailableError(LogError):
    """The log did not acknowledge within its deadline; the caller must not assume that anything was stored."""


class UnknownTopicError(LogError):
    """The topic does not exist in the log."""


class OffsetOutOfRangeError(LogError):
    """The offset is older than the retained records (or beyond the end)."""


class StateError(CarillonError):
    """The state directory cannot be used."""


class StateLockedError(StateError):
    """Another live process owns the state directory."""


class StateFencedError(StateError):
    """Another process took this one's place over: whatever this one still does would be done twice."""


class StateDamagedError(StateError):
    """Stored state does not decode, or is behind what was acknowledged."""


class StateVersionError(StateError):
    """Stored bytes carry a version that this program does not know."""


class StoreUnavailableError(CarillonError):
    """A store (Redis or embedded) did not answer within its deadline."""


class RefusedActError(CarillonError):
    """A person's act does not count, for what is true now; the text says why."""


class AuditFaultError(CarillonError):
    """A record of the audit was changed, removed, added or moved; the text says between which offsets."""


class TemplateError(CarillonError):
    """A template does not exist or does not render with the payload given."""


class UnsendableError(CarillonError):
    """A message cannot be put into the form that its provider takes; certainly nothing of it was sent."""
