"""Why a mail was not delivered, and whether the address is to blame: by status, reply code and words together. Pure.

The status alone says little: most servers send 5.0.0 or 5.1.1 for whatever they refuse, and blame the address for the
sender's reputation. So words decide where they are clear, then the detail of the status (RFC 3463 and IANA's registry),
then the reply code. What names nobody's fault counts as soft: a living address that is given up costs more than a mail
that comes back once more.

Every pattern has bounds on what may stand between its words, so that it takes time that grows with the text alone.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from connectors.providers.email.returned import foreign

TEXT_MAX = 3000
"""Characters of an explanation that are looked at."""


class Cause(NamedTuple):
    """What a refusal comes down to."""

    hard: bool
    name: str
    """`user_unknown`, `full`, ...; `other`: nothing that is known."""


HARD = frozenset({"user_unknown", "recipient_refused", "host_unknown", "moved", "takes_no_mail"})
"""Causes that are the address's own: a mail to it can never arrive. `recipient_refused` says so without a reason."""

_WHO = (
    r"(?:users?(?![ -]agent)|direcci[oó]n|correo|compte|konto|account|casella|endere[cç]o|conta\b|adres\w*|bo[iî]te|"
    r"mail ?box(?:es)?|recipients?|addressee|addresse?s?|accounts?|e-?mail|alias|local ?part|persons?|inbox|customer"
    r"|mail drop|login|utilisateur|destinataire|adresse|usuario|destinatario|utente|indirizzo|"
    r"empf(?:ä|ae)nger\w*|benutzer\w*|postfach|usu[aá]rio|gebruiker|directory entry)"
)
_UNKNOWN = r"unknown(?! (?:error|reason|problem|mailer|failure|status))"
_NOT_THERE = (
    rf"(?:{_UNKNOWN}|"
    r"unkown|not? ?found|(?:does|do|did)(?:n'?t| ?not) (?:\w+ )?(?:exist|appear)|not exist\w*|non-?exist\w*"
    r"|no such|(?:is|are|was|be) invalid|"
    r"invalid(?! (?:dns|mx|helo|ehlo|sender|content|command|header|message|certificate|response))|"
    r"not (?:a |an )?(?:\w+ )?(?:known|valid|listed|local|registered|recognized"
    r"|recognised|active)|(?:is|are)n't (?:a )?(?:known|valid|listed)|(?:could|can|was|were)(?: ?n[o']t|not) (?:be )?"
    r"(?:found|resolved|located)|no longer (?:\w+ ){0,3}?(?:valid|exists?|active|available|in use|"
    r"in service|used|here|with)|ha(?:s|ve) been (?:deleted|removed|closed|terminated|cancell?ed)|(?:is|was|"
    r"been) (?:deleted|closed|terminated)|discontinued|expired account|unrout\w+|inconnue?|n'existe pas|no existe|"
    r"desconocid[oa]|sconosciut[oa]"
    r"|non esiste|inesistente|unbekannt|nicht gefunden|existiert nicht|n[aã]o existe|inexist\w+|"
    r"n'a pas [ée]t[ée] trouv|niet gevonden|no (?:se )?encontr|non (?:è stat\w )?trovat|n[aã]o (?:foi )?encontrad"
    r"|introuvables?|n[aã]o p[oôu]de ser (?:encontrad|localizad)|(?:ikke|inte) (?:fundet|funnet|hittas?)|"
    r"(?:nie zosta\w+ |nie |nebyl\w* )(?:znaleziono|znalezion\w|nalezen\w)|ei (?:löyt\w+|ole olemassa)|"
    r"nem (?:található|létezik)|bulunamad\w|tidak ditemukan|nu (?:a fost găsit|există)|δεν (?:βρέθηκε|υπάρχει))"
)


def _any(*patterns: str) -> re.Pattern[str]:
    """Any of them; what stands between words ends with the sentence, not with a full stop inside an address."""
    return re.compile("|".join(patterns).replace(r"[^.\n]", r"(?:[^.\n]|\.(?=\w))"), re.IGNORECASE)


_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "sender_refused",
        _any(
            r"\b(?:sender|return[- ]path|envelope from|mail from|"
            r"reverse[- ]path)\b(?! to recipient)[^.\n]{0,60}?\b(?:reject|denied|unknown"
            r"|invalid|not (?:exist|found|allowed|valid|permitted)|does not|verif|refus|could not|cannot|"
            r"must|blocked|unverif)",
            r"\b(?:invalid|unknown|bad|unverifiable|forged) (?:sender|return path|from address|envelope)",
            r"domain of (?:the )?sender",
            r"\b(?:your|sender'?s|sending|smtp) (?:\w+ ){0,2}?account(?: \w+){0,3}? (?:closed|terminated|deleted)\b",
            r"cannot find your (?:hostname|domain)",
            r"sender verify failed",
            r"callback (?:setup )?failed",
            r"not (?:authori[sz]ed|allowed|permitted) to send",
            r"only (?:accepts|members)|restricted to members|authenticated senders",
            *foreign.SENDER_REFUSED,
        ),
    ),
    (
        "full",
        _any(
            r"(?:mail ?box|in-?box|mail ?folder|mail ?dir|mail ?drop|account|user|"
            r"recipient)[^.\n]{0,40}?\b(?:(?:is |are )?(?:full|over(?:flow|[ -]?quota| (?:the )?(?:limit|"
            r"size|storage)))|exceed)",
            r"over[ -]?(?:its |the |his |their )?quota",
            r"quota[^.\n]{0,40}?(?:exceed|exhaust|reached|full|violat|would)",
            r"exceed\w*[^.\n]{0,60}?(?:quota|mail ?box|storage|allocat|maximum size of)",
            r"(?:(?:not|n't)(?: have)? enough|no|insufficient|out of|low on) (?:disk |storage |system |free |"
            r"mailbox )*(?:space|storage|room)",
            r"(?:space|storage|room)(?: is)? not enough|overdrawn",
            r"mail ?box (?:size )?limit",
            r"storage (?:limit|quota|allocation)",
            r"disk ?(?:quota|full)|disk space",
            *foreign.FULL,
            r"\bmail ?box full|full mail ?box",
            r"too (?:many|much) (?:messages|mail) (?:in|on) (?:the |this )?mail ?box",
        ),
    ),
    (
        "greylisted",
        _any(r"gr[ea]y[- ]?list", r"please (?:try|retry) (?:again )?(?:later|in)[^.\n]{0,40}?(?:minutes|seconds)"),
    ),
    (
        "too_big",
        _any(
            r"(?:message|mail|size|attachment)[^.\n]{0,50}?(?:too (?:big|large)|exceed|larger than|"
            r"over (?:the )?(?:maximum|limit))",
            r"(?:exceed|larger than|max(?:imum)?)\w*[^.\n]{0,50}?(?:message|mail) ?size",
            r"too (?:big|large)\b",
            r"size limit",
            *foreign.TOO_BIG,
        ),
    ),
    (
        "takes_no_mail",
        _any(
            r"(?:does|do|will)(?: ?not|n't)(?: currently)? accept (?:any |"
            r"e-?)?(?:incoming )?(?:mails?|messages?|smtp)(?! from| with| that| larger| contain)",
            r"null ?mx",
            r"\bno (?:mail|smtp) (?:service|server) here",
            r"(?:domain|host|server)[^.\n]{0,60}?accepts no (?:e-?)?mail",
            r"(?:does|do|will) not accept (?:any )?e-?mails?(?! from| with)",
            r"no one (?:reads|is reading) (?:this|mail)",
            r"(?:not|never|no longer) (?:be )?(?:receiv(?:e|es|ing)|accept(?:s|ing)?) (?:any )?"
            r"(?:e-?)?mails?(?! from| with)",
        ),
    ),
    (
        "blocked",
        _any(
            r"\b(?:black|block|deny)[- ]?list",
            r"\b(?:rbl|dnsbl|spamhaus|spamcop|sorbs|barracuda|senderbase|senderscore|cloudmark|proofpoint)\b",
            r"\breputation\b",
            r"(?:blocked|banned|(?<!not )listed) (?:using|by|at|in|for|due|because|on|from)",
            r"(?:client|sending|connecting|your) (?:ip|host|server|network|connection|mail ?server|"
            r"domain)[^\n]{0,80}?(?:blocked|reject|refused|banned|denied|not allowed)",
            r"(?:ptr|reverse (?:dns|lookup|mapping|hostname)|rdns)",
            r"dynamic(?:ally)? (?:ip|assigned|address)",
            r"helo\b[^\n]{0,60}?(?:reject|invalid|denied)",
            r"(?:bad|invalid) helo|helo command rejected",
            r"not accept(?:ing)? (?:any )?(?:e-?)?mail from",
            *foreign.BLOCKED,
        ),
    ),
    (
        "authentication",
        _any(
            r"\b(?:spf|dkim|dmarc)\b",
            r"authentication[- ]?(?:required|results|checks|failed)|unauthenticated (?:e-?)?mail",
            r"sender policy framework",
        ),
    ),
    (
        "content",
        _any(
            r"\bspam(?:my|ming)?\b",
            r"\b(?:virus|malware|trojan|worm|phish\w*)\b",
            r"(?:content|attachment|message)[^.\n]{0,40}?(?:filter|prohibit|not allowed|denied|unacceptable|infected)",
            r"unsolicited|junk mail|bulk mail",
            r"looks like|suspicious",
            r"rejected (?:as|due to|for|because of)[^.\n]{0,40}?(?:content|policy|security|score)",
        ),
    ),
    (
        "relay_denied",
        _any(
            r"rela(?:y|ying)[^.\n]{0,30}?(?:denied|not (?:permitted|allowed)|prohibited|reject|access)(?! recipient)",
            r"(?:unable|not (?:permitted|allowed)|cannot|refus\w+|we do not) (?:to )?relay",
            r"not (?:a )?(?:gateway|relay)|isn't in my list of allowed rcpthosts",
            r"use of this (?:mail )?server as",
        ),
    ),
    (
        "rate",
        _any(
            r"too many (?:connections|recipients|messages|e-?mails|concurrent|sessions|errors|invalid)",
            r"rate[- ]?(?:limit|control|exceed)\w*|throttl|frequency limited",
            r"(?:sending|message|hourly|daily)[^.\n]{0,20}? (?:limit|quota)",
            r"receiving (?:e-?)?mail (?:at a rate|too quickly)",
        ),
    ),
    (
        "user_unknown",
        _any(
            _WHO + r"[^.\n]{0,60}?\b(?:(?:disabled|deactivated|closed|suspended) (?:permanently|for good)|"
            r"permanently (?:disabled|deactivated|closed|suspended|removed|deleted))",
        ),
    ),
    (
        "suspended",
        _any(
            _WHO + r"[^.\n]{0,60}?\b(?:suspend|temporarily|disabled|inactiv|deactivat|locked|frozen|on hold|"
            r"dormant|blocked|quarantin)",
            r"(?:suspended|disabled|inactive|deactivated|locked|frozen|dormant) (?:the )?" + _WHO,
            r"temporarily (?:disabled|inactive|suspended|unavailable|closed)",
            r"account (?:is |was )?(?:not active|expired)",
        ),
    ),
    (
        "host_unknown",
        _any(
            r"(?:host|domain|hostname)(?: name)?[^\n:<>@#]{0,50}?\b(?:not found|does(?:n't| not) exist|"
            r"unknown|no such|non-?exist|nxdomain|invalid|cannot be resolved|could ?n[o']t be (?:found|"
            r"resolved)|not resolve|isn't valid|has no (?:mx|mail|address))(?!,? try again)(?! in)"
            r"(?![^<>@]{0,200}?not found, try again)",
            r"(?:unknown|no such|bad destination|illegal|invalid|non-?existent|unable to (?:resolve|find|lookup)|"
            r"could ?n[o']t find (?:any )?|cannot (?:find|resolve)|unresolvable)(?: \w+){0,2} (?:host|"
            r"domain|destination system|server name)",
            r"unrouteable (?:mail )?domain",
            r"(?:all relevant )?mx records? (?:point|resolve)[^\n]{0,40}?(?:non-?existent|invalid|local)",
            r"\bnxdomain\b|host or domain name not found(?!.{0,200}?try again)",
            r"no (?:valid )?(?:mx|dns|mail exchange\w*)[^.\n]{0,30}?(?:records?|hosts?|found|entr)",
            r"name or service not known|(?:no|find a|find any) mail (?:hosts?|exchangers?|servers?) (?:for|found|or)",
            r"no route to (?:the )?domain",
            r"domain (?:name )?(?:is )?(?:expired|misspelled|not (?:hosted|local|handled))",
            r"(?:bad|wrong)[- ]domain",
            *foreign.HOST_UNKNOWN,
        ),
    ),
    (
        "moved",
        _any(
            r"(?:user|recipient|account|mail ?box|customer|addressee|person|i|he|she|@[\w.-]{1,253}>?)\b"
            r"[^.\n]{0,30}?(?:has|have|had)? ?moved (?:to|away|permanently|\.|;)",
            r"(?:e-?mail|mail) ?address[^.\n]{0,40}?(?:has |been )*(?:changed|moved)",
            r"changed? (?:his|her|its|their|my) (?:e-?mail )?address",
            r"new (?:e-?mail )?address (?:is|:)|recipient's (?:e-?mail )?address has changed",
            r"user not local[;,] please (?:try|forward)",
            r"has left (?:the )?(?:company|organi[sz]ation|us)|no longer (?:works|employed)",
        ),
    ),
    (
        "user_unknown",
        _any(
            _WHO + r"\b[^.\n]{0,60}?\b" + _NOT_THERE,
            _WHO + r"\b[^\n]{0,90}?" + rf"(?:{_UNKNOWN}|not found|does(?:n't| not) exist|no such|"
            r"no longer (?:exists?|valid)|has been (?:deleted|removed))",
            r"\b(?:unknown|unkown|no such|no valid|no known|invalid|incorrect|non-?exist\w*|nonexistent|"
            r"bad destination|unrout\w+|undeliverable(?= address)|illegal|wrong|unresolvable|undefined|obsolete|"
            r"not? matching)[ -](?:local |e-?mail |mail |final |virtual |destination |delivery |the )*" + _WHO,
            r"(?:not|n't) (?:\w+ ){0,3}?(?:listed in|in my|in our|in the)[^\n]{0,30}?(?:address book|"
            r"control files|directory|list of users|\w*rcptto|(?:user|recipient|address) (?:table|list|map))",
            r"recip(?:ient)?not ?found|nosuchuser|cuda_nsu|userunknown|unknown_?user|resolver\.adr\.(?:ex)?recip",
            r"no (?:\w+ ){0,2}?(?:mail ?box|account|user|person|one|body)[^\n]{0,20}?(?:by|with|of|"
            r"under) (?:that|this) name",
            r"no (?:\w+ )?(?:mail ?box|account|user|address)(?:es)? (?:here|for|found|at)",
            r"n[o']t have an? [^\n]{0,60}?account",
            r"(?:no|not) (?:such|a|our) (?:\w+ )?(?:user|person|customer|address|mail ?box|account|recipient)\b",
            r"[\w.+-]{1,64}@[\w.-]{1,253}[^\n]{0,20} (?:does(?: not|n't) exist|is (?:unknown|invalid|not known|"
            r"no longer (?:\w+ )?(?:valid|active|in (?:use|service))))",
            *foreign.USER_UNKNOWN,
            r"(?:account|mail ?box) (?:closed|terminated|deleted|removed|cancell?ed)\b(?! (?:to|for)\b)",
            r"(?:is|are) (?:unknown|not known) to this (?:mail )?(?:system|server|host)",
            r"(?:receiver|local[- ]part) (?:not found|unknown)|unknown local[- ]part",
            r"(?:bad|malformed|invalid) address|\bbad[- ](?:mail ?box|recipient|user)\b",
            r"final e-?mail delivery point|no matches to nameserver",
            r"recipient (?:is |was )?(?:not (?:accepted|ok|verified)|no longer on)",
            r"not on this (?:server|system)",
            r"address (?:couldn't|could not|wasn't|was not|cannot) be found",
            r"unable to find (?:the )?(?:recipient|user|[^\s@]{1,64}@)",
            r"not known (?:here|at this)|mail ?box[^\n]{0,30}?not here",
            r"no (?:local )?(?:user|recipient|mailbox)\b|out-?of-?date address",
        ),
    ),
    (
        "recipient_refused",
        _any(
            r"mail ?box (?:is |was )?(?:not (?:available|accessible)|unavailable)"
            r"(?![^@]{0,200}?(?:polic|restrict|\bdns\b))",
            r"recipient address rejected: access denied",
            r"(?:recipient|address|rcpt)(?: to)?:? (?:address )?reject(?:ed)?\b(?![^\n]{0,120}?polic)",
        ),
    ),
    (
        "policy",
        _any(
            r"\bpolic(?:y|ies)\b",
            r"access denied|not authori[sz]ed|permission|administrative(?:ly)? (?:prohibit|refus|denied)",
            r"prohibited",
            r"transaction failed|refused|security|message (?:was )?rejected",
        ),
    ),
    (
        "loop",
        _any(
            r"too many hops|hop count|mail ?loop|loops? (?:back|detected)|routing loop",
            r"already contains? (?:your|a) delivered-to",
        ),
    ),
    (
        "network",
        _any(
            r"connection (?:timed|refused|reset|closed|lost|dropped)|timed? ?out|unreachable",
            r"no route to host|cannot connect|could ?n[o']t (?:connect|establish)",
            r"(?:host|name)[^\n]{0,60}?(?:lookup (?:failure|failed)|try again)|lost connection",
            r"network error|not (?:respond\w*|reachable)|no answer",
        ),
    ),
    (
        "expired",
        _any(
            r"\bexpired\b|retry time(?:out)? (?:exceed|not reached)|too long",
            r"(?:for|within|after) (?:more than )?\d+ (?:hours?|days?)|message timeout|time limit",
            r"been queued",
        ),
    ),
    (
        "system",
        _any(
            r"system (?:error|failure|problem)|internal error|local (?:error|configuration)",
            r"configuration error|try again|temporar|i/o error|service (?:unavailable|not available)",
            r"unable to (?:lock|deliver to file)|resources",
        ),
    ),
)

_DETAIL = {
    "1.0": "user_unknown", "1.1": "user_unknown", "1.2": "host_unknown", "1.3": "user_unknown", "1.6": "moved",
    "1.10": "takes_no_mail", "1.7": "sender_refused", "1.8": "sender_refused", "1.9": "policy", "2.1": "suspended",
    "2.2": "full", "2.3": "too_big", "2.4": "system", "3.1": "full", "3.2": "system", "3.3": "system", "3.4": "too_big",
    "3.5": "system", "3.6": "system", "4.1": "network", "4.2": "network", "4.3": "network", "4.4": "network",
    "4.5": "rate", "4.6": "loop", "4.7": "expired", "4.8": "policy", "4.310": "host_unknown",
    "6.0": "content", "6.1": "content",
}  # fmt: skip
"""Subject and detail of RFC 3463 to what they name; of 5.7.x everything is policy."""
_UNCLEAR = (None, "policy", "system", "expired", "network")
"""Words that are said of anything; the status tells more."""
_STATUS = re.compile(r"(?<![\d.])([45]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_CODE = re.compile(r"(?<![\d.])([45]\d\d)(?=[\s\-#])")


def status_in(text: str) -> str | None:
    """The status that stands in a text, one that says something before one that does not."""
    found = _STATUS.findall(text[:TEXT_MAX])
    return next((status for status in found if not status.endswith(".0.0")), found[0] if found else None)


def code_in(text: str) -> str | None:
    """The reply code in a text."""
    found = _CODE.search(text[:TEXT_MAX])
    return None if found is None else found[1]


def find_cause(status: str | None, diagnostic: str, around: str = "") -> Cause:
    """What a refusal comes down to, by the server's words, its status, and the words of who reports it.

    :param status: RFC 3463, of the report.
    :param diagnostic: what the refusing server said.
    :param around: what the reporting server wrote for people, which may name reasons that are none.
    """
    said = status_in(diagnostic)
    detail = _detail(said) or _detail(status)
    code = code_in(diagnostic)
    words = _words(diagnostic)
    if words in _UNCLEAR and detail not in _DETAIL:
        words = _words(around) or words
    name = _judged(words, detail or "", code)
    return Cause(name in HARD and not _passing(name, said or status, code), name)


def _judged(words: str | None, detail: str, code: str | None) -> str:
    if detail.startswith("7.") and words != "user_unknown":
        return words if words not in HARD and words is not None else "policy"
    if words is not None and words not in _UNCLEAR:
        return words
    if detail in _DETAIL and not (words in ("expired", "network") and detail.startswith("1.")):
        return _DETAIL[detail]
    if code in ("521", "556"):
        return "takes_no_mail"
    if code == "551":
        return "moved"
    return words or "other"


def _passing(name: str, status: str | None, code: str | None) -> bool:
    """A server that says "not now" of an address does not say "never"; of a name that DNS does not have, it may."""
    if code is not None:
        return code.startswith("4") and name != "moved"
    return bool(status) and status is not None and status.startswith("4.") and name == "takes_no_mail"


def _detail(status: str | None) -> str | None:
    """Subject and detail of a status that says something."""
    if status is None or status.endswith(".0.0"):
        return None
    return status.split(".", 1)[1]


@lru_cache(maxsize=64)
def _words(text: str) -> str | None:
    """The cause that a text names; a notice is asked for each of its recipients."""
    text = text[:TEXT_MAX]
    return next((name for name, pattern in _WORDS if pattern.search(text)), None)
