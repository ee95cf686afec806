"""What can be an address of each channel."""

import re

from state.model.documents import Complaint

_PHONE = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_MAIL = re.compile(r"[^@\s\"%!<>(),:;\\\[\]]{1,64}@[^@\s\"%!<>(),:;\\\[\]]{1,255}")
_WEB = re.compile(r"https?://[^\s/?#]+[^\s]*")
_FORMS = {
    "email": (_MAIL, "mail address"),
    "sms": (_PHONE, "phone number in international form: a plus sign and 7 to 15 digits, as +4915112345678"),
    "webhook": (_WEB, "web address"),
}


def address_complaint(channel: str, address: str) -> Complaint | None:
    """What is wrong with an address of a channel."""
    if channel not in _FORMS:
        return None
    pattern, form = _FORMS[channel]
    return None if pattern.fullmatch(address) else (f"is no {form}", f"send a {form}")
