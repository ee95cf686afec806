"""What happens on the site, and what Carillon is told of it: the part to copy into a service of your own."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import deque
from typing import Any
from urllib.parse import urlencode

import jwt
from carillon_client import Client
from carillon_client.types import NewEvent, Subscription

PEOPLE = {"ada": "Ada", "bo": "Bo", "cleo": "Cleo"}
FRIENDS = ("Dan", "Eve", "Finn", "Gus")
PHOTOS = {"harbour": "ada", "rooftops": "bo"}
"""Photo to owner."""
SESSION_S = 300


class Photos:
    """Likes and comments, in memory, and the events that came of them."""

    def __init__(self, carillon: Client, gateway: str, support_key: str, user_secret: str) -> None:
        """`carillon` has the key of a producer."""
        self._carillon, self._gateway, self._support_key, self._user_secret = (
            carillon,
            gateway,
            support_key,
            user_secret,
        )
        self._likes: dict[str, set[str]] = {photo: set() for photo in PHOTOS}
        self._comments: dict[str, list[str]] = {photo: [] for photo in PHOTOS}
        self._told = deque[dict[str, str]](maxlen=8)
        self._homes = dict[str, str]()

    def sign_in(self, person: str, origin: str) -> None:
        """Carillon learns what he is called and where mails reach him. Links to him begin with `origin`."""
        self._homes[person] = origin
        self._carillon.put_user(person, {"name": PEOPLE[person], "locale": "en"})
        self._carillon.put_endpoint(person, "email", "home", {"address": f"{person}@photos.example"})

    def add_browser(self, person: str, subscription: Subscription) -> None:
        """Carillon learns that pushes reach him there."""
        self._carillon.put_endpoint(person, "push", "browser", {"platform": "web", "address": subscription})

    def token(self, person: str) -> str:
        """With which the components in his browser call the gateway as him."""
        return jwt.encode({"sub": person, "exp": int(time.time()) + SESSION_S}, self._user_secret, "HS256")

    def like(self, person: str, photo: str) -> None:
        """He likes it or, the second time, no longer."""
        again = person in self._likes[photo]
        self._likes[photo] ^= {person}
        self._tell({**_event("like", person, photo, self._homes), "retracts": again}, "unlikes" if again else "likes")

    def like_by_friends(self, photo: str) -> None:
        """Four others like it at once: one call, and in the end one notification."""
        self._likes[photo] |= {*FRIENDS}
        self._carillon.send_batch([_event("like", friend, photo, self._homes) for friend in FRIENDS])

    def comment(self, person: str, photo: str, text: str) -> None:
        """He says something about it."""
        self._comments[photo].append(f"{PEOPLE[person]}: {text}")
        self._tell(_event("comment", person, photo, self._homes, text=text), "comments on")

    def why(self, event: str, user: str) -> list[str]:
        """What became of an event, in words: by support's key and for a reason that is noted. No real site shows it."""
        query = urlencode({"event": event, "user": user, "reason": "a look at the example"})
        authorization = {"authorization": f"Bearer {self._support_key}"}
        request = urllib.request.Request(f"{self._gateway}/v1/explain?{query}", headers=authorization)  # noqa: S310  # ours
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # as above
            return [record["explanation"] for record in json.load(answer)["records"]]

    def shown(self, person: str | None) -> dict[str, Any]:
        """What the page shows to him; None: to somebody who is not signed in."""
        photos = {
            photo: {"owner": PEOPLE[owner], "likes": len(self._likes[photo]), "comments": self._comments[photo]}
            for photo, owner in PHOTOS.items()
        }
        return {"me": person, "people": PEOPLE, "photos": photos, "told": list(self._told)}

    def _tell(self, event: NewEvent, verb: str) -> None:
        actor, owner = str(event.get("actor")), str(event.get("target"))
        text = f"{PEOPLE[actor]} {verb} {PEOPLE[owner]}'s photo"
        self._told.appendleft({"event": self._carillon.send(event)["event_id"], "user": owner, "text": text})


def _event(kind: str, actor: str, photo: str, homes: dict[str, str], **more: str) -> NewEvent:
    owner = PHOTOS[photo]
    payload = {"actor_name": PEOPLE.get(actor, actor), "object_label": "photo", **more}
    if owner in homes:
        payload["url"] = f"{homes[owner]}/#{photo}"
    return {"type": kind, "actor": actor, "target": owner, "object": photo, "payload": payload}
