"""Providers to try things with: real servers in a process of their own, with misbehaviours chosen by the recipient.

They speak the protocols that the connectors speak to real providers. What they took outlives a crash of ours: each
appends to `DIR/sandbox/<provider>.ndjson` before it answers (`connectors.sandbox.journal`).

| the provider | token, browser (webpush), end of the path (webhook, chat) | mail, local part | number (twilio) |
|---|---|---|---|
| takes it and answers after N ms | `slowN-` | `slowN-` | |
| takes it and never answers | `hang-` | `hang-` | +1999000 |
| takes it and breaks off | `rst-` | `drop-` | +1999001 |
| refuses, always or M times | `500-`, `503x2-`, `429x1-` | `450x1-`, `552-` | +1999 status M (0: always) |
| as SES refuses | | `rejected-`, `quota-` and others (`connectors.sandbox.ses`) | |
| knows no such recipient | `gone-`, `bad-` | `550-` (5.1.1) | +15005550001 and Twilio's others |

The directory holds what both sides need: `ca.pem` (to trust), `apns.p8`, `fcm.json` and `vapid.pem` (the credentials),
`browsers.key`, `ports.json` (kept, so that a restart serves at the same places).
"""
