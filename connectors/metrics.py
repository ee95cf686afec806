"""All metrics of the system, declared once: name, kind, unit, what makes it move. Label sets are closed.

Names end in their unit or in `_total`. What may be retried is no failure and is counted apart.
"""

from bisect import bisect_left
from collections import Counter as Counts
from importlib.metadata import version

from prometheus_client import Counter, Gauge, Histogram

PROGRAM_VERSION = version("carillon")
BUILD_INFO = Gauge("carillon_build_info", "1: the process runs this version of Carillon", ["version"])
BUILD_INFO.labels(PROGRAM_VERSION).set(1)
LOAD_SCORE = Gauge(
    "carillon_load_score",
    "How loaded a place is: the largest of its lanes' lag over what is allowed, and fullness",
    ["place"],
)
LOAD_LEVEL = Gauge(
    "carillon_load_level", "What that asks of others: 0 nothing, 1 P2 waits, 2 half of P1, 3 all", ["place"]
)
INBOX_OPERATIONS = Counter(
    "carillon_inbox_operations_total",
    "Operations on inbox rows, by result: applied, or repeated and dropped",
    ["result"],
)
INBOX_COMMIT_SECONDS = Histogram(
    "carillon_inbox_commit_seconds",
    "Time from taking a batch of inbox operations to its durable commit",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
INBOX_AUDIT_MISMATCHES = Counter(
    "carillon_inbox_audit_mismatches_total", "Key groups whose rows, counted one by one, differ from the running totals"
)
DEAD_LETTERS = Counter("carillon_dead_letters_total", "Records that could not be handled and were set aside", ["stage"])
EXPORTS = Counter(
    "carillon_exports_total",
    "Exports of a store, by result: written, current (nothing had changed), or failed",
    ["store", "result"],
)
EXPORT_SECONDS = Histogram(
    "carillon_export_seconds",
    "Time that an export of a store took, giving way to the flow",
    ["store"],
    buckets=(0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800),
)
ARCHIVE_PARTS = Counter("carillon_archive_parts_total", "Parquet parts of the archive, by event", ["event"])
ARCHIVE_ROWS = Counter("carillon_archive_rows_total", "Records written to the archive")
ARCHIVE_DAMAGE = Counter("carillon_archive_damage_total", "Damaged files of the archive that were met")
ARCHIVE_BEHIND_SECONDS = Gauge(
    "carillon_archive_behind_seconds", "Age of the oldest record of a topic that is read and not archived", ["topic"]
)

GATEWAY_REQUESTS = Counter(
    "carillon_gateway_requests_total",
    "Answered requests, by operation of the OpenAPI document and status",
    ["operation", "status"],
)
GATEWAY_STREAMS = Gauge("carillon_gateway_streams", "Open streams of inboxes")
GATEWAY_REQUEST_SECONDS = Histogram(
    "carillon_gateway_request_seconds",
    "Time from the head of a request to its answer",
    ["operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
ADMISSIONS = Counter(
    "carillon_gateway_admissions_total",
    "Events by what became of them: new, repeat, conflict, or unavailable: the log did not acknowledge",
    ["lane", "verdict"],
)
ADMISSIONS_LIMITED = Counter(
    "carillon_gateway_limited_total", "Events answered with 429: above the sender's limit", ["lane"]
)
FAN_OUTS_LIMITED = Counter(
    "carillon_gateway_fan_outs_limited_total", "Fan-outs answered with 429: above what an actor may send in an hour"
)
SENDER_EVENTS = Counter(
    "carillon_gateway_sender_events_total",
    "Events of a sender by what was answered: accepted, repeated, or why not; a batch refused unread counts as one",
    ["sender", "answer"],
)
SENDER_SECONDS = Histogram(
    "carillon_gateway_sender_seconds",
    "Time from the head of a sender's post to its answer",
    ["sender"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
SENDER_FULLEST = Gauge(
    "carillon_gateway_sender_fullest_second",
    "Events that a sender was granted within one second, at most, in the last minute: its limit is for these",
    ["sender"],
)
ADMISSIONS_SHED = Counter(
    "carillon_gateway_shed_total", "Events answered with 429: the system is loaded, by class", ["priority"]
)
ADMISSION_STORE_UNAVAILABLE = Counter(
    "carillon_gateway_store_unavailable_total",
    "Requests that went on without a store: admission (repeats are caught later) or limit (a lower one holds)",
    ["store"],
)
GATEWAY_DOOR_REFUSED = Counter(
    "carillon_gateway_door_refused_total", "Posts answered with 403: the sender's door is closed", ["lane"]
)
DOORS_CLOSED = Counter(
    "carillon_doors_closed_total", "Senders closed by this process, for records that nothing can process"
)
PREFERENCE_FLOODS = Counter(
    "carillon_preference_floods_total", "Addresses from which the preferences of 100 users were changed in one hour"
)
TOKENS_EXPIRED = Counter(
    "carillon_tokens_expired_total", "Push tokens that this gateway retired since no app had registered them for long"
)
CALLBACKS_REFUSED = Counter(
    "carillon_callbacks_refused_total",
    "Callbacks of providers that changed nothing: signature, old (signed longer ago than Amazon repeats a message), "
    "topic (of another than providers.ses.events_topic), or form (no message of Amazon SNS)",
    ["provider", "reason"],
)
GATEWAY_FOLLOW_ERRORS = Counter(
    "carillon_gateway_follow_errors_total",
    "Reads of a followed topic that failed and are retried, and its records that do not decode and are passed over",
    ["kind"],
)

DELIVERIES = Counter(
    "carillon_deliveries_total", "Deliveries that ended, by channel and outcome of RULES 5", ["channel", "outcome"]
)
DELIVERY_ATTEMPTS = Counter(
    "carillon_delivery_attempts_total",
    "Tries at a provider, by result: sent, rejected, throttled, failed, or ambiguous: failed, and maybe taken",
    ["provider", "result"],
)
SMS_PARTS = Counter(
    "carillon_sms_parts_total",
    "Parts of text messages that a provider took, by destination of [sms] (a text of up to 160 letters has one)",
    ["provider", "destination"],
)
SMS_COST = Counter(
    "carillon_sms_cost_total", "What these parts cost, by the prices of [sms]", ["provider", "destination"]
)
SMS_REFUSED = Counter(
    "carillon_sms_refused_total",
    "Text messages that were not sent, by destination and reason: sms_destination (shut), sms_limit (of the hour)",
    ["destination", "reason"],
)
TEMPLATES_FAILED = Counter(
    "carillon_templates_failed_total",
    "Messages whose published text did not render, so that the built-in one went out",
    ["type"],
)
DELIVERY_SEND_SECONDS = Histogram(
    "carillon_delivery_send_seconds",
    "Time from handing a message to a provider's connector to its result",
    ["provider"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
NEW_ADDRESSES = Counter(
    "carillon_new_addresses_total",
    "Addresses registered for the first time, by this gateway; and those called gone within their first day, by any",
    ["channel", "result"],
)
VERDICTS = Counter(
    "carillon_verdicts_total",
    "Providers' word that an address is gone, by result: believed, or withheld: too many in an hour to be true",
    ["provider", "result"],
)
CREDENTIAL_REFUSED = Gauge(
    "carillon_credential_refused", "1 while the provider refuses our credential: nothing goes out by it", ["provider"]
)
CREDENTIAL_EXPIRES = Gauge(
    "carillon_credential_expires_in_days",
    "Days until a credential ends, looked at once an hour; below 0: it has ended",
    ["credential"],
)
CLOCK_SET_SECONDS = Gauge(
    "carillon_clock_set_seconds",
    "By how much the machine's clock was set while the process ran, as long as that is not believed; else 0",
)
CLOCK_OFF_SECONDS = Gauge(
    "carillon_clock_off_seconds",
    "By how much the machine's clock was ahead of the brokers' when they had stored a record; below 0: behind",
)
DECISIONS_AHEAD_SECONDS = Gauge(
    "carillon_decisions_ahead_seconds",
    "By how much the time of decisions is ahead of the machine's clock, which was ahead and was set right; else 0",
)
DELIVERIES_IN_FLIGHT = Gauge("carillon_deliveries_in_flight", "Requests at a provider right now", ["provider"])
BREAKER_STATE = Gauge(
    "carillon_breaker_state",
    "A provider's breaker: 0 closed, 1 reduced (a fifth of the rate), 2 half-open (a tenth), 3 open (only probes)",
    ["provider"],
)
RATE_SHARED = Gauge(
    "carillon_rate_shared",
    "Whether processes share a provider's rate through Redis: 1, or 0 while Redis is away and each has its own part",
    ["provider"],
)
DELIVERIES_WAITING = Gauge(
    "carillon_deliveries_waiting", "Deliveries that wait for their turn at a provider, its backlog too", ["provider"]
)
DELIVERIES_OPEN = Gauge("carillon_deliveries_open", "Deliveries accepted and not ended, by lane", ["lane"])
P0_ACCEPTED_TO_PROVIDER_SECONDS = Histogram(
    "carillon_p0_accepted_to_provider_seconds",
    "Time from the acceptance of a P0 event to the first provider's answer that it took it",
    buckets=(0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
DECIDED_TO_PROVIDER_SECONDS = Histogram(
    "carillon_decided_to_provider_seconds",
    "Time from when a delivery of P1 or P2 was put in order, or its wait was over, to a provider's answer that took it",
    ["priority"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
DECIDE_WAITING = Gauge(
    "carillon_decide_waiting",
    "Notifications that wait for their time, by outcome: HELD (quiet hours, a cap, a mail's time) or AGGREGATING",
    ["outcome"],
)


def observe_all(histogram: Histogram, values: list[float]) -> None:
    """What `observe` does with each of them, but the locks are taken once for all that share a bucket."""
    bounds, buckets = histogram._upper_bounds, histogram._buckets  # noqa: SLF001 - the library has no such call
    for place, count in Counts(bisect_left(bounds, value) for value in values).items():
        buckets[place].inc(count)
    histogram._sum.inc(sum(values))  # noqa: SLF001 - as above
