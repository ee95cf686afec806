"""What a simulated provider does wrong: one list of words, and two ways to ask for them.

A recipient asks for himself: his name begins with the word and a dash, which no token has. Whoever steers the sandbox
asks for a share of a provider's messages (`connectors.sandbox.steering`). The recipient's own word goes first. Of a
share, chance decides by seed, word, recipient and how often he was written to: the same calls meet the same answers.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, get_args

import msgspec

from state.model.errors import CarillonError

Misdeed = Literal[
    "take", "refuse", "gone", "bad", "credential", "hang", "rst", "drop", "stall", "trickle", "garbled", "inside",
    "endless", "flood", "encoded", "goaway", "away", "certificate",
]  # fmt: skip
_OF_MESSAGES: frozenset[Misdeed] = frozenset({"refuse", "gone", "bad", "credential", "take", "hang", "rst", "drop"})
"""What every provider can do about a message; `take` is a late answer."""
OF_ADDRESSES: frozenset[Misdeed] = frozenset({"gone", "bad"})
"""Of a recipient once and for all: chance does not ask how often he was written to."""
OF_CONNECTIONS: frozenset[Misdeed] = frozenset({"away", "certificate"})
"""No recipient can ask for them: they come before his name is known."""
EVERY: frozenset[Misdeed] = _OF_MESSAGES | {"stall", "trickle", "garbled", "away"}
OF_TLS: frozenset[Misdeed] = EVERY | {"certificate"}
OF_HTTP: frozenset[Misdeed] = EVERY | {"endless", "flood", "encoded"}
OF_HTTPS: frozenset[Misdeed] = OF_TLS | OF_HTTP
OF_HTTP2: frozenset[Misdeed] = OF_HTTPS | {"goaway"}
WORDS = "500, 503x2 (twice), slow800 (ms), " + ", ".join(
    each for each in get_args(Misdeed) if each not in ("take", "refuse")
)
"""For messages to people."""

_NAMED = re.compile(
    r"(gone|bad|credential|hang|rst|drop|stall|trickle|garbled|endless|flood|encoded|goaway|away|certificate)"
)
_SLOW = re.compile(r"slow([0-9]{1,5})")
_STATUS = re.compile(r"([345][0-9]{2})(?:x([0-9]{1,3}))?")
_FIRST_LETTERS = "abcdefghirst345"


class SteeringError(CarillonError):
    """What was asked of the sandbox cannot be; the text names the field and what it may be."""

    def __init__(self, field_name: str, detail: str) -> None:
        super().__init__(f"{field_name}: {detail}")
        self.field, self.detail = field_name, detail


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What to do with one message."""

    kind: Misdeed
    status: int = 0
    """Of a refusal."""
    delay_ms: int = 0
    """Before the answer."""
    times: int = 0
    """How often the same recipient is refused; 0: always."""
    retry_after_s: int | None = None
    """What a refusal asks to wait; None: what this provider says by itself."""

    @property
    def refuses(self) -> bool:
        """Whether its answer is an error, whatever its status says."""
        return self.kind in ("refuse", "inside")

    def wait_s(self, own: int) -> str:
        """For the header of that name; `own` is what the provider says by itself."""
        return str(own if self.retry_after_s is None else self.retry_after_s)


class Steered(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """What whoever steers asked of a provider."""

    provider: str
    name: str
    """The word, as before the dash of a recipient's name."""
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """Of the messages; of the recipients for `gone` and `bad`, of the connections for `certificate`."""
    seed: int = 0
    retry_after_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] | None = None


TAKE = Behaviour("take")


def named_behaviour(word: str) -> Behaviour | None:
    """What a word means; None: nothing."""
    if named := _NAMED.fullmatch(word):
        return Behaviour(named[1])  # type: ignore[arg-type]  # the expression has these words only
    if slow := _SLOW.fullmatch(word):
        return Behaviour("take", delay_ms=int(slow[1]))
    if word == "inside":
        return Behaviour("inside", 500)
    if status := _STATUS.fullmatch(word):
        return Behaviour("refuse", int(status[1]), times=int(status[2] or 0))
    return None


@dataclass(slots=True)
class _Wish:
    """A steered misbehaviour, and who met it how often."""

    steered: Steered
    behaviour: Behaviour
    met: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def meets(self, recipient: str) -> bool:
        """Whether chance gives it to the recipient now; counts that he came."""
        again = 0 if self.behaviour.kind in OF_ADDRESSES else self.met[recipient]
        self.met[recipient] += 1
        if self.steered.share >= 1:
            return True
        text = f"{self.steered.seed}/{self.steered.name}/{recipient}/{again}"
        drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return drawn < self.steered.share * 2**64


@dataclass(slots=True)
class Misbehaviours:
    """Those of one provider, and what it remembers of recipients on their account."""

    possible: frozenset[Misdeed] = EVERY
    _asked: dict[str, _Wish] = field(default_factory=dict)
    """By word, in the order in which they are looked at."""
    _refused: Counter[str] = field(default_factory=Counter)
    """By recipients that ask for themselves."""

    def of(self, name: str, recipient: str = "") -> Behaviour:
        """What to do with the next message: what its name asks for, otherwise what is steered.

        `recipient`: who it is for, where that is no name that asks.
        """
        own = self._own(name)
        if own is not None:
            return _counted(own, name, self._refused)
        for asked in self._asked.values():
            if asked.behaviour.kind not in OF_CONNECTIONS and asked.meets(recipient or name):
                return _counted(asked.behaviour, recipient or name, asked.refused)
        return TAKE

    def refusal(self, recipient: str, status: int, times: int) -> Behaviour:
        """For a recipient who asks in another way than by a word: refused so often (0: always)."""
        return _counted(Behaviour("refuse", status, times=times), recipient, self._refused)

    def _own(self, name: str) -> Behaviour | None:
        if not name or name[0] not in _FIRST_LETTERS:
            return None
        word, dash, _ = name.partition("-")
        behaviour = named_behaviour(word) if dash else None
        is_possible = behaviour is not None and behaviour.kind in self.possible - OF_CONNECTIONS
        return behaviour if is_possible else None

    def meets(self, kind: Misdeed, connection: str = "") -> bool:
        """Whether a connection meets this."""
        return any(each.behaviour.kind == kind and each.meets(connection) for each in self._asked.values())

    def steered(self) -> list[Steered]:
        """All that is asked for, in the order in which it is looked at."""
        return [asked.steered for asked in self._asked.values()]

    def steer(self, steered: Steered) -> None:
        """Do this from now on, in place of what the same word asked for before.

        :raises SteeringError: this provider cannot.
        """
        behaviour = named_behaviour(steered.name)
        if behaviour is None:
            raise SteeringError("name", f"{steered.name!r} is no misbehaviour; there are {WORDS}")
        if behaviour.kind not in self.possible:
            raise SteeringError(
                "name", f"{steered.provider} cannot do {steered.name!r}; choose another word or provider"
            )
        if behaviour.kind == "away" and steered.share != 1:
            raise SteeringError("share", "who is away is away for everybody; leave the share out")
        if steered.retry_after_s is not None and behaviour.kind != "refuse":
            raise SteeringError("retry_after_s", "belongs to a status, such as 429 or 503; leave it out")
        self._asked.pop(steered.name, None)
        self._asked[steered.name] = _Wish(steered, replace(behaviour, retry_after_s=steered.retry_after_s))

    def lift(self, name: str | None = None) -> int:
        """Forget what was asked for by this word, or by any; gives how many."""
        names = [each for each in self._asked if name in (None, each)]
        for each in names:
            del self._asked[each]
        return len(names)


def _counted(behaviour: Behaviour, recipient: str, refused: Counter[str]) -> Behaviour:
    """The behaviour, or none once the recipient was refused as often as it says."""
    if not behaviour.times:
        return behaviour
    refused[recipient] += 1
    return behaviour if refused[recipient] <= behaviour.times else TAKE
