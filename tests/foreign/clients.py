"""Clients that others wrote: each sends a message that is taken and one that is refused, and prints what it was told.

Runs in an environment of its own, with the libraries of `requirements.lock`, and imports nothing of ours. Its standard
input is what a user of such a library would configure. Where a library has no setting for the provider's address, the
address that it has built in is replaced.
"""

import asyncio
import json
import ssl
import sys
from typing import Any

Told = list[str]
"""An answer in the words of the client: `taken`, or the error that it made of it."""


def aioapns(given: dict[str, Any]) -> Told:
    from aioapns import APNs, NotificationRequest
    from aioapns.connection import APNsProductionClientProtocol

    APNsProductionClientProtocol.APNS_SERVER, APNsProductionClientProtocol.APNS_PORT = given["host"], given["port"]

    async def run() -> Told:
        trust = ssl.create_default_context(cafile=given["ca"])
        client = APNs(
            key=given["key"], key_id=given["key_id"], team_id=given["team_id"], topic=given["topic"],
            ssl_context=trust, max_connections=1, max_connection_attempts=1, err_func=silent,
        )  # fmt: skip
        told = []
        for token in given["to"]:
            message = {"aps": {"alert": {"title": "Carillon", "body": "Hello"}}}
            answer = await client.send_notification(NotificationRequest(device_token=token, message=message))
            told.append("taken" if answer.is_successful else f"{answer.status} {answer.description}")
        return told

    return asyncio.run(run())


async def silent(_request: object, _answer: object) -> None:
    """Instead of a line on the screen."""


def firebase_admin(given: dict[str, Any]) -> Told:
    import firebase_admin as firebase
    from firebase_admin import credentials, messaging

    firebase.initialize_app(credentials.Certificate(given["account"]))
    messaging._MessagingService.FCM_URL = given["origin"] + "/v1/projects/{0}/messages:send"
    told = []
    shown = messaging.Notification("Carillon", "Hello")
    messages = [messaging.Message(fid=fid, notification=shown) for fid in given["fids"]]
    for message in messages + [messaging.Message(token=token, notification=shown) for token in given["to"]]:
        try:
            told.append("taken" if messaging.send(message).startswith("projects/") else "no name of a message")
        except firebase.exceptions.FirebaseError as error:
            told.append(type(error).__name__)
    return told


def pywebpush(given: dict[str, Any]) -> Told:
    from pywebpush import WebPushException, webpush

    told = []
    for browser in given["to"]:
        try:
            answer = webpush(
                json.loads(browser), "Hello", vapid_private_key=given["key"], vapid_claims={"sub": given["subject"]},
                ttl=60, timeout=20,
            )  # fmt: skip
            told.append("taken" if answer.status_code == 201 else str(answer.status_code))
        except WebPushException as error:
            told.append(str(error.response.status_code))
    return told


def twilio(given: dict[str, Any]) -> Told:
    from twilio.base.exceptions import TwilioRestException
    from twilio.rest import Client

    client = Client(given["account"], given["token"])
    client.api.base_url = given["origin"]
    told = []
    for number in given["to"]:
        try:
            message = client.messages.create(to=number, from_=given["sender"], body="Hello")
            told.append("taken" if message.sid.startswith("SM") and message.num_segments == "1" else str(message))
        except TwilioRestException as error:
            told.append(f"{error.status} {error.code}")
    return told


def boto3(given: dict[str, Any]) -> Told:
    import boto3 as amazon
    from botocore.exceptions import ClientError

    client = amazon.client(
        "sesv2", region_name=given["region"], endpoint_url=given["endpoint"], verify=given["ca"],
        aws_access_key_id=given["key_id"], aws_secret_access_key=given["secret"],
    )  # fmt: skip
    told = []
    for address in given["to"]:
        text = {"Subject": {"Data": "Carillon"}, "Body": {"Text": {"Data": "Hello"}}}
        try:
            answer = client.send_email(
                FromEmailAddress=given["sender"], Destination={"ToAddresses": [address]}, Content={"Simple": text}
            )
            told.append("taken" if answer["MessageId"] else "no identity")
        except ClientError as error:
            told.append(error.response["Error"]["Code"])
    return told


CLIENTS = {each.__name__: each for each in (aioapns, firebase_admin, pywebpush, twilio, boto3)}

if __name__ == "__main__":
    print(json.dumps(CLIENTS[sys.argv[1]](json.load(sys.stdin))))
