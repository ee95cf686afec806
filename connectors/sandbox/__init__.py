"""Providers to try things with: real servers in a process of their own, with misbehaviours that one asks for.

They speak the protocols that the connectors speak to real providers. What they took outlives a crash of ours: each
appends to `DIR/sandbox/<provider>.ndjson` before it answers (`connectors.sandbox.journal`).

| the provider | the word |
|---|---|
| takes it and answers after N ms | `slowN` |
| takes it and never answers, or only half, or a byte a second | `hang`, `stall`, `trickle` |
| takes it and breaks off | `rst`, `drop` |
| takes it and answers what nobody understands, or never comes to an end (HTTP) | `garbled`, `endless` |
| takes it and answers with megabytes of headers, or says that its plain body is packed (HTTP) | `flood`, `encoded` |
| answers 200 with an error inside (FCM, Twilio, SES, chats) | `inside` |
| ends the connection before it reads the message (GOAWAY of HTTP/2) | `goaway` |
| refuses, always or M times for each recipient | `500`, `503x2`, `429x1`; mail: `450`, `552` after DATA |
| knows no such recipient (SES: knows everybody) | `gone`, `bad` |
| calls our credential expired | `credential` |
| cannot be reached; shows an expired certificate (TLS) | `away`, `certificate` |

A word is asked for by a recipient whose name begins with it and a dash, but for the last line's: a token of APNs or
FCM, a browser, the end of a web address, the local part of a mail address (at SES also `rejected-`, `quota-` and
others). Numbers have other words (`connectors.sandbox.twilio`, `connectors.sandbox.smsc`). Or it is asked for while all
runs, for a share of everybody else's messages: `connectors.sandbox.steering`.

The directory holds what both sides need: `ca.pem` (to trust), `apns.p8`, `fcm.json` and `vapid.pem` (the credentials),
`browsers.key`, `ports.json` (kept, so that a restart serves at the same places).
"""
