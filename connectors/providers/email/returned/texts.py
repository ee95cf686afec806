"""What a notice for people says: who was not reached, and why. Nothing obliges servers to any form; habits are few.

Servers name a recipient on a line of its own, in angle brackets at the begin of a line, after a label ("To:",
"Recipient"), or in the refusal that they quote; below it stands why. Below that, or anywhere, may stand the mail that
was sent, which is full of addresses that are none of our business: it is cut off where it begins.
"""

from __future__ import annotations

import html
import re
from typing import NamedTuple

from connectors.providers.email.returned.addresses import ADDRESS, addresses_in, tidy

TEXT_MAX = 60_000
"""Characters of a notice that are looked at."""
RECIPIENTS_MAX = 200
"""Of one mail."""
_LINES_MAX = 2000
_LINE_MAX = 1000
_RETURNED = re.compile(
    r"(?:[-=_*#\s]{2,}.{0,40}(?:copy of|original|unsent|returned|your (?:mail|message)|"
    r"message header|failed message|undelivered|header of|headers of|first lines|ursprüngliche|"
    r"mensaje original|message d'origine)"
    r".{0,80})|.{0,60}(?:this line is a copy|copy of (?:the|your) (?:original )?(?:message|mail)|"
    r"(?:original|your|returned|unsent|failed) (?:message|mail)(?: text| body)? (?:follows|"
    r"is below|was:|below|headers?|is (?:included|attached|returned))"
    r"|message headers? (?:follow|below)|included (?:below|here) is|"
    r"header(?:s)? of the (?:original|message)|le message original|the first \d+ lines|"
    r"text of the message|message text follows|--- ?the message|kopfzeilen|intestazion|"
    r"original-nachricht|received: from |received: by ).{0,80}",
    re.IGNORECASE,
)
_COPY = re.compile(
    r"[-=*#>|\s]*(?:below this line is a copy|this is a copy of (?:the|your)|original (?:message|"
    r"mail) follows|returned message follows|unsent message|a copy of the original message below|"
    r"original message headers|message header follows|start of returned message|"
    r"your original message).{0,80}",
    re.IGNORECASE,
)
"""What is said of nothing else; the other lines count only where a mail's fields come below."""
_ANNOUNCED = re.compile(
    r"(?:following|these|this|below|above)\b.{0,30}(?:recipient|address|e-?mail|user|people|"
    r"destination|mailbox|person|subscriber)|did not reach|(?:not|n't|un)(?: be|"
    r" been)? ?(?:deliver\w*|sent|reach\w*|send)(?: \w+){0,3} to\b|permanent fatal errors|"
    r"unable to deliver|folgende|empfänger|destinataire|destinatari|destinatári|ontvanger|"
    r"delivery (?:has )?failed|failed addresses|fail\w* to deliver|undeliverable (?:to|address|"
    r"recipient)|受信者|收件人|получател",
    re.IGNORECASE,
)
_WENT_TO = re.compile(
    r"(?:\b(?:the|this|your) (?:e-?mail|mail|message)\b[^.\n]{0,80}|not (?:be )?(?:delivered|sent) )"
    r"\bto:?[ \n]{1,3}[<\"']?[^\s<>@]{1,64}@",
    re.IGNORECASE,
)
_SESSION = re.compile(r"transcript|session follows|errors follow|said:|delivery attempt", re.IGNORECASE)
_ALONE = re.compile(
    r"[\s>*•\-]{0,40}(?:<|&lt;|\"|'|\(|smtp:|mailto:|"
    r"\[?rfc822;)?[^\s<>@]{1,64}@[^\s<>@]{1,253}[>\"').,:;\s]{0,20}(?:\.\.\.|\(.{0,200}\)|-+|"
    r":.{0,300})?\s*"
)
_BRACKETED = re.compile(r"\s{0,12}<[^<>\s]{3,300}>(?::|\.\.\.|\s*\(|,?\s*$|\s).{0,600}")
_LABELLED = re.compile(
    r"[\s>*•\-]{0,20}(?:(?:final|failed|invalid|original|intended|e-?mail|unknown|"
    r"undeliver\w+)?[ -]*(?:recipients?|addresse?e?s?|rcpt|user|to|mailbox|empfänger|destinataire|"
    r"destinatario|destinatário|cc|an|a|para|à)(?:\(s\))?(?: to| address| name|"
    r" e-?mail)?)\s{0,5}[:=>]\s{0,20}.{0,400}",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"\b[45]\d\d[ \-#]|rcpt to|\b[45]\.\d{1,3}\.\d{1,3}\b|unknown|undeliver|"
    r"could ?n[o']t be (?:delivered|found)|not (?:be )?deliver|fail|reject|no such|not found|"
    r"does(?:n't| not)|refus|"
    r"unable|invalid|delivery|unzustellbar|zugestellt|exist|quota|full\b|disabled|returned|"
    r"recipient|deliver|inconnu|distribu|remis|consegn|entreg",
    re.IGNORECASE,
)
_PASSED_ON = re.compile(
    r"[>:\s.]{0,20}\((?:ultimately )?(?:expanded|generated|forwarded) from:?\s{1,3}<?([^\s<>()]{3,320})>?\)",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(?!(?:[^<>\s@]{1,64}@))[^<>]{0,500}>")
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/li|/h\d|/td|p)\b[^<>]{0,200}>", re.IGNORECASE)
_HIDDEN = ("head", "style", "script")


_MAIL_FIELD = re.compile(
    r"[>| \t]*(?:received|return-path|from|date|to|subject|message-id|dkim-signature|x-[\w-]+|"
    r"mime-version|content-type):",
    re.IGNORECASE,
)


class Named(NamedTuple):
    """Somebody whom a notice names, with what it says of him."""

    address: str
    words: str


def plain_text(source: str) -> str:
    """What a reader sees of HTML."""
    shown = source[: 2 * TEXT_MAX]
    for name in _HIDDEN:
        shown = _without(shown, name)
    shown = _BREAK.sub("\n", shown)
    return html.unescape(_TAG.sub(" ", shown))


def _without(source: str, name: str) -> str:
    """HTML without one kind of element."""
    pieces, lowered, at = [], source.lower(), 0
    while (begin := lowered.find(f"<{name}", at)) >= 0 and (end := lowered.find(f"</{name}", begin)) >= 0:
        pieces.append(source[at:begin])
        at = end
    return "".join([*pieces, source[at:]])


def before_returned(text: str) -> tuple[str, str]:
    """A notice, and the mail behind it."""
    lines = text[:TEXT_MAX].replace("\r\n", "\n").split("\n")[:_LINES_MAX]
    for number, whole in enumerate(lines):
        line = whole[:_LINE_MAX]
        if number and (_COPY.fullmatch(line) or _begins(lines, number, line)):
            return "\n".join(lines[:number]), "\n".join(lines[number + 1 :])
    return "\n".join(lines), ""


def _begins(lines: list[str], number: int, line: str) -> bool:
    """Whether this line says that the mail comes below, and it does."""
    if not _RETURNED.fullmatch(line) or _SESSION.search(line):
        return False
    return any(_MAIL_FIELD.match(below[:100]) for below in lines[number : number + 12])


def named_in(notice: str, ours: frozenset[str]) -> list[Named]:
    """Who was not reached, best known first; `ours`: addresses that are senders' or servers'."""
    lines = [line[:_LINE_MAX] for line in notice.split("\n")[:_LINES_MAX]]
    begin = next((number for number, line in enumerate(lines) if _ANNOUNCED.search(line)), 0)
    named = _named(lines, begin, ours) or (_named(lines, 0, ours) if begin else [])
    meant = {each.address: each for each in (each._replace(address=_meant(each)) for each in reversed(named))}
    return [*reversed(meant.values())]


def named_apart(notice: str) -> list[Named]:
    """Those whom a notice names each with words of its own; none, where it says the same of all."""
    named = named_in(notice, frozenset())
    return named if len({each.words for each in named}) == len(named) > 1 else []


def _meant(named: Named) -> str:
    """To whom the mail was sent that a server passed on to another address, which its sender does not know."""
    after = named.words.partition(named.address)[2][:400]
    found = _PASSED_ON.match(after)
    return tidy(found[1]) if found and ADDRESS.fullmatch(found[1]) else named.address


def lists_anybody(notice: str) -> bool:
    """Whether an address stands by itself below words that announce who was not reached, or a mail went to it."""
    if _WENT_TO.search(notice):
        return True
    lines = [line[:_LINE_MAX] for line in notice.split("\n")[:_LINES_MAX]]
    begin = next((number for number, line in enumerate(lines) if _ANNOUNCED.search(line)), len(lines))
    return any(_at_begin(line) or _labelled(line) for line in lines[begin:])


def _named(lines: list[str], begin: int, ours: frozenset[str]) -> list[Named]:
    """By the surest habit that names anybody."""
    for wanted in (_at_begin, _labelled, _refused, _anywhere):
        found: dict[str, int] = {}
        for number in range(begin, len(lines)):
            for address in wanted(lines[number]) if len(found) < RECIPIENTS_MAX else ():
                if address.lower() not in ours and not _of_server(address):
                    found.setdefault(address, number)
        if found:
            chosen = found if wanted is not _anywhere else dict([next(iter(found.items()))])
            return _with_words(chosen, lines)
    return []


def _with_words(found: dict[str, int], lines: list[str]) -> list[Named]:
    if len(found) == 1:
        return [Named(next(iter(found)), "\n".join(lines))]
    begins = sorted(found.values())
    named = []
    for address, number in found.items():
        after = [begin for begin in begins if begin > number]
        words = lines[number : after[0] if after else None]
        if not any(_REFUSED.search(line) for line in words) and not after:
            words = lines
        quoted = [line for line in lines if address in line]
        named.append(Named(address, "\n".join([*words, *quoted])))
    whole = "\n".join(lines)
    return [each if _REFUSED.search(each.words) else Named(each.address, whole) for each in named]


def _at_begin(line: str) -> list[str]:
    if _BRACKETED.fullmatch(line) or _ALONE.fullmatch(line):
        return addresses_in(line)[:1]
    return []


def _labelled(line: str) -> list[str]:
    return addresses_in(line) if _LABELLED.fullmatch(line) else []


def _refused(line: str) -> list[str]:
    return addresses_in(line)[:1] if _REFUSED.search(line) else []


def _anywhere(line: str) -> list[str]:
    return [tidy(found) for found in ADDRESS.findall(line)]


def _of_server(address: str) -> bool:
    local, _, domain = address.lower().rpartition("@")
    return not local or local.strip('"') in SERVERS or ("." not in domain.strip(".") and domain != "localhost")


DESKS = frozenset({"abuse", "exchange", "helpdesk", "hostmaster", "mailadmin", "noc"})
"""Of people and of their ticket systems, who report, too."""
SERVERS = DESKS | frozenset(
    {
        "postmaster",
        "mailer-daemon",
        "mailerdaemon",
        "mailer_daemon",
        "mail-daemon",
        "maildaemon",
        "mdaemon",
        "daemon",
        "double-bounce",
        "microsoftexchange329e71ec88ae4615bbc36ab6ce41109e",
        "symantec_antivirus",
    }
)
"""Local parts of those who report, in lower case."""
BOUNCE_SUBJECT = re.compile(
    r"undeliver|returned (?:mail|to sender|e-?mail)|(?:delivery|mail|message|"
    r"e-?mail)\b.{0,20}(?:status|fail|report|notif|problem|error|returned|delayed|subsystem|"
    r"could ?n[o']t)|fail\w* (?:notice|delivery|mail|to deliver|message)|non-?deliver|nondeliver"
    r"|unzustellbar|nicht zugestellt|zustell|unable to deliver|not (?:be )?delivered|user unknown|"
    r"bounced?\b|[ée]chec|non remis|impossible de remettre|no se (?:puede|ha podido)|no entregad|"
    r"mancat[ao] (?:consegna|recapito)|n[aã]o (?:entregue|foi)|onbestelbaar|rejected|"
    r"warning.{0,40}(?:mail|message)"
    r"|配信|送信できません|未配達|退信|系统退信|niet bezorgd|ikke leveres|недоставлен|не доставлен|delayed mail|"
    r"mail delayed|can(?:no|')t (?:be )?(?:deliver|sen[dt])",
    re.IGNORECASE,
)
REPLY_SUBJECT = re.compile(r"\s*(?:re|aw|sv|antw|odp|vs|fwd?|wg|tr|rv)\s*:", re.IGNORECASE)
