// The calls of the HTTP API, what it takes and gives. Written by `make sdk` from the OpenAPI document.
/** The event with an idempotency key: kept so and sent again within an hour, it is the same event. */
export function keyed(event: NewEvent): NewEvent;

/** The gateway refused, or gave no answer while the budget lasted: then `problem.status` is 0. */
export class CarillonError extends Error {
  problem: Problem;
}

export class Client {
  /**
   * `url` ends with /v1; `key` is a service's, or a user's token. `budgetMs`: how long a call is repeated without
   * progress; `timeoutMs`: how long an answer may take.
   */
  constructor(url: string, key: string, options?: { budgetMs?: number; timeoutMs?: number });
  /** Send one event. Two calls are two events, unless they bear the same idempotency_key or event_id. */
  send(event: NewEvent): Promise<Accepted>;
  /** Send many events. An answer for each, in order: 200 or 202, or the problem for which it was not accepted. */
  sendBatch(events: Iterable<NewEvent>): Promise<Array<Accepted | Problem>>;
  /**
   * How far an event is. Of the sender's own events, for 24 hours after acceptance or, if it was kept, after its
   * release.
   */
  progress(event_id: string): Promise<EventProgress>;
  /**
   * Cancel an event kept for later. Its event_id and key are free again. 409: it was released already, or never
   * kept. Of an event that goes in stages, nothing more goes; its event_id and key are not free.
   */
  cancel(event_id: string): Promise<Cancelled>;
  /** Pause, resume, advance stages. Of an event that was posted with `rollout`. 409 says why it does not count. */
  turnRollout(event_id: string, document: RolloutTurn): Promise<RolloutProgress>;
  /**
   * Set an address of a user. Registered again, it is replaced. A push token that another user had moves to this
   * one.
   */
  putEndpoint(user: string, channel: string, id: string, document: NewEndpoint): Promise<EndpointStored>;
  /** Remove an address. Nothing goes there any more. */
  deleteEndpoint(user: string, channel: string, id: string): Promise<void>;
  /** Where a user is reached. His addresses in use, by channel and id. The addresses themselves are never shown. */
  endpoints(user: string): Promise<Endpoints>;
  /**
   * Erase a user. His addresses, name, locale, inbox and preferences go, and what waits for him ends unsent. What
   * he unsubscribed from is kept, with everything switched off. Take him out of follows and segments as well.
   */
  deleteUser(user: string): Promise<void>;
  /**
   * Set a user's locale and name. As a whole: what is absent is forgotten. Texts are in the language of the locale,
   * or in English.
   */
  putUser(user: string, document: Profile): Promise<ProfileStored>;
  /** Say who follows whom. Gives how many were stored. Said again, it is the same. */
  putFollows(follows: Iterable<Follow>): Promise<number>;
  /** Replace the members of a segment. It counts as a whole, for events accepted from then on. */
  putSegment(segment: string, users: Iterable<string>): Promise<SegmentStored>;
  /**
   * Make a link to a user's preferences. Whoever has it sees and changes them on a page, until it ends. Give it to
   * this user only.
   */
  linkPreferences(user: string, document?: NewPageLink): Promise<PageLinkMade>;
  /** A page of one's inbox. Rows newest first, and how many of the whole inbox are unread. */
  inbox(query?: { limit?: number; cursor?: string; archived?: boolean }): Promise<InboxPage>;
  /**
   * A ticket for one's inbox, live. For a minute, `stream?ticket=` opens this user's stream without a header. It
   * does nothing else.
   */
  streamTicket(): Promise<StreamTicket>;
  /**
   * Mark one's inbox as read. Up to the position of a page that was shown, or everything, or some rows. The next
   * page shows it.
   */
  read(document?: ReadUpTo): Promise<ReadStored>;
  /** Mark rows as unread. Archived ones are back in the inbox then. What comes later does not join such a row. */
  unreadInbox(document: MarkedRows): Promise<RowsMarked>;
  /**
   * Put rows away. Some, or all that are read. They are read then, and neither shown nor counted but with
   * `archived=true`.
   */
  archiveInbox(document?: ArchivedRows): Promise<RowsMarked>;
  /**
   * Say what one did with a notification. That it was opened, followed or put away, each once for an event and a
   * channel. 404: the event is in none of one's inbox rows.
   */
  postFeedback(document: NewFeedback): Promise<FeedbackStored>;
  /** One's preferences. The document as it is stored: what is absent has its default. */
  preferences(): Promise<PreferenceDocument>;
  /** Replace one's preferences. As a whole. To change a part of them, patch them. */
  putPreferences(document: PreferenceDocument): Promise<PreferencesStored>;
  /**
   * Merge into one's preferences (RFC 7396). An object of what changes; null removes. What comes out must be valid
   * as a whole.
   */
  patchPreferences(document: PreferenceDocument): Promise<PreferencesStored>;
  /**
   * What one may choose. Types with their titles, and all words of a page of preferences, in English, French or
   * German.
   */
  preferenceTypes(query?: { locale?: string }): Promise<PreferenceTypes>;
  /**
   * Make a link to one's preferences. A page on which to see and change them, for 15 minutes. No token of the
   * session is in it.
   */
  linkOwnPreferences(document?: NewOwnPageLink): Promise<PageLinkMade>;
  /**
   * Register a push token. The device is the session's user's from then on, and nobody else's. The oldest of more
   * than ten goes.
   */
  registerDevice(document: NewDevice): Promise<DeviceStored>;
  /** Where one is reached. One's addresses in use, on all channels. The addresses themselves are never shown. */
  devices(): Promise<Endpoints>;
  /** Remove a device. Nothing goes there any more. */
  deleteDevice(device_id: string): Promise<void>;
}

export type Text = string;
export type TimeZone = string;

/** An event that will not be lost. */
export interface Accepted {
  /** 202: new. 200: a repeat, of which nothing is recorded. */
  status: 200 | 202;
  /** Of a repeat: that of the original, also where another one was sent. */
  event_id: Text;
  /** Of a repeat: the event_id of the original. */
  repeat_of?: Text;
  /** What it repeats. Content: that of the latest event of its kind, where no key was sent. */
  reason?: "content" | "event_id" | "key";
  /** The first moment at which the same would be a new event. */
  until?: number;
}

/** Where a P0 event goes, whatever is on file: exactly the channels that are named. */
export interface Addresses {
  push?: string | null;
  sms?: string | null;
  email?: string | null;
  webhook?: string | null;
  chat?: string | null;
  in_app?: string | null;
}

/** Rows that are done with. */
export interface ArchivedRows {
  /** Absent: all that are read. */
  ids?: Array<Text> | null;
  /** `up_to` of the page shown: later rows stay. */
  up_to?: number | null;
}

/** An event kept for later that will not be released. */
export interface Cancelled {
  status: 200;
  event_id: Text;
}

/** A device as it was registered. */
export interface DeviceStored {
  device_id: Text;
  registered_at: number;
  /** Devices of this user that had to go: he may have ten. */
  removed: Array<Text>;
}

/** Where a user is reached; the address itself is never shown. */
export interface EndpointEntry {
  channel: Text;
  id: Text;
  platform: Text | null;
  registered_at: number;
}

/** An address as it was registered. */
export interface EndpointStored {
  id: Text;
  registered_at: number;
  /** Devices of this user that had to go: he may have ten. */
  removed: Array<Text>;
}

/** All that are in use, the oldest first. */
export interface Endpoints {
  endpoints: Array<EndpointEntry>;
  /** Those that are not any more, and were not registered since. */
  retired?: Array<RetiredEntry>;
}

/** How far an event is. */
export interface EventProgress {
  event_id: Text;
  /**
   * pending: the log has not acknowledged it. kept: until deliver_at. accepted: nobody is decided. waiting:
   * somebody's decision waits for the end of a hold or of a window. decided: everybody is, so far; deliveries may
   * be under way. delivered: all of them have ended, and a provider took one at least. failed: all of them have
   * ended, and no provider took one.
   */
  state: "accepted" | "decided" | "delivered" | "failed" | "kept" | "pending" | "waiting";
  /** When it is released, if it is kept for later. */
  deliver_at: number | null;
  /** Whom it reaches. */
  audience: string | null;
  recipients: number;
  /** Recipients by the outcome of their decision. */
  outcomes: Record<string, number>;
  /** What has been handed out, by the outcome of the delivery. */
  deliveries: Record<string, number>;
  /**
   * What was heard afterwards, each once for a delivery or an item. Of providers: delivered, undelivered, failed,
   * bounced, soft_bounced, complained, withdrawn. Of people: opened, clicked, dismissed.
   */
  heard: Record<string, number>;
  /** Parts of text messages that providers took. */
  segments: number;
  /** What these parts cost, by the prices of `[sms]`. */
  cost: number;
  /** Null: it goes to one person, or nobody has been decided yet. */
  fan_out: FanOutProgress | null;
  /** Null: it goes in no stages, or was over a day ago. */
  rollout: RolloutProgress | null;
}

/** How far a fan-out is. A planned group in which nobody is left to notify is never decided. */
export interface FanOutProgress {
  /** Key groups, of 240, in which somebody may be a recipient. */
  planned: number;
  /** Those in which somebody has been decided. */
  decided: number;
}

/** What counts from now on; again, it changes nothing. */
export interface FeedbackStored {
  event_id: Text;
  outcome: Text;
  channel: Text;
}

/** One thing wrong with a document; it never repeats a value, which could be a secret. */
export interface FieldError {
  path: string;
  problem: string;
  remedy: string;
}

/** That a user follows another one, or no longer. */
export interface Follow {
  followee: Text;
  follower: Text;
  /** absent: true */
  on?: boolean | null;
}

/** The most notifications that interrupt; 0: none. */
export interface FrequencyCap {
  /** Absent: 10. */
  max_per_hour?: number | null;
  /** Absent: 50. */
  max_per_day?: number | null;
}

/** A row of an inbox. */
export interface InboxItem {
  type: Text;
  object: Text | null;
  /** The event that began the row; the row's name. */
  first_event_id: Text;
  /** Events in it. */
  count: number;
  /** The latest distinct ones, newest first. */
  actors: Array<Text>;
  /** Of its latest event. */
  at: number;
  read: boolean;
  archived: boolean;
  /** Plain text, in the language that the user had when the event came. */
  title: string;
  /** What happened, as plain text of at most 240 characters. */
  body: string;
  /** The payload's, if it is a web address. */
  url: string | null;
  payload: unknown;
}

/** Rows, newest first. */
export interface InboxPage {
  items: Array<InboxItem>;
  /** Unread rows of the whole inbox. */
  unread: number;
  /** What to say when this page was read. */
  up_to: number | null;
  /** Of the next page; null: this is the last one. */
  cursor: string | null;
}

/** Rows of one's inbox. */
export interface MarkedRows {
  /** `first_event_id` of each row; unknown ones are ignored. */
  ids: Array<Text>;
}

/** Whom and what the user does not want to hear of. */
export interface Muted {
  actors?: Array<Text> | null;
  objects?: Array<Text> | null;
}

/** A push token of the session's user, or a browser's subscription. */
export interface NewDevice {
  /** The installation; registered again, it is replaced. */
  device_id: Text;
  platform: Text;
  token: string | Subscription;
}

/** An address of a user on a channel. */
export interface NewEndpoint {
  /** Token, phone number, mail address, web address or subscription. */
  address: string | Subscription;
  /** The one of the path, or absent. */
  channel?: "chat" | "email" | "push" | "sms" | "webhook" | null;
  /** Of a push token. */
  platform?: Text | null;
  /** Absent: active. */
  state?: "active" | "invalid" | null;
}

/** An event as a producer sends it. With a `schema_version` above 1 unknown members are ignored. */
export interface NewEvent {
  /** A registered type that this sender owns. */
  type: Text;
  /** The event's name, for 24 hours. Absent: one is made. */
  event_id?: Text | null;
  /** A repeat under it is answered with the original event_id; another body is 409. */
  idempotency_key?: Text | null;
  /** Never more urgent than the type's. Absent: the type's. */
  priority?: "P0" | "P1" | "P2" | null;
  /**
   * Whom it reaches: target, the followers of actor, the members of segment, or everyone whom a preference or an
   * endpoint has named. One of those that the type allows. Absent: DIRECT.
   */
  fan_out_type?: "BROADCAST" | "DIRECT" | "FOLLOWERS" | "SEGMENT" | null;
  /** The user who did it. */
  actor?: Text | null;
  /** The user who is told. DIRECT needs it. */
  target?: Text | null;
  /** What it is about. */
  object?: Text | null;
  /** A segment that was defined before. SEGMENT needs it. */
  segment?: Text | null;
  /** Values for the type's texts: at most 16 KiB of JSON, 8 levels deep. */
  payload?: Record<string, unknown> | null;
  /** How long it is worth sending. Absent: the type's. */
  ttl_ms?: number | null;
  /** For display; decides nothing. */
  created_at?: number | null;
  /** When to release it. Past by more than the type's ttl, or more than a year ahead, is an error. */
  deliver_at?: number | null;
  /** Of class P0 and DIRECT only. */
  to?: Addresses | null;
  /** Of an event to many: it goes in stages. */
  rollout?: NewRollout | null;
  /** That of the credential, or absent. */
  sender_id?: Text | null;
  schema_version?: number | null;
  /** Takes back what the same fields without it have sent. */
  retracts?: boolean | null;
  /** Of a retraction: only items of this event. */
  parent_event_id?: Text | null;
}

/** What the user did with a notification or an item of his inbox. */
export interface NewFeedback {
  /** Of an event whose item is in the inbox. */
  event_id: Text;
  outcome: "clicked" | "dismissed" | "opened";
  /** Where he met it. Absent: in the app. */
  channel?: "in_app" | "push" | null;
}

/** A link to one's page of preferences. */
export interface NewOwnPageLink {
  /** Of the page. Absent: the browser's. */
  locale?: string | null;
}

/** A link to a user's page of preferences. */
export interface NewPageLink {
  /** Of the page. Absent: the browser's. */
  locale?: string | null;
  /** Seconds, to 30 days. Absent: an hour. */
  lifetime_s?: number | null;
}

/** That a fan-out goes in stages: to the first so many percent of its recipients, in the order of their hashes. */
export interface NewRollout {
  stages: Array<number>;
  /** How long after a stage the next one goes. Absent: when it is told to. */
  hold_ms?: number | null;
  /** The throttle: all of it takes at least so long, percent by percent. Absent: a stage at once. */
  spread_ms?: number | null;
}

/** Where a user's page of preferences is, for a while. */
export interface PageLinkMade {
  /** Where gateway.public_url is not set, its path only. */
  url: string;
  /** The first moment at which it opens nothing any more. */
  ends_at: number;
}

/** A user's preferences, as a whole; whatever is absent has its default. */
export interface PreferenceDocument {
  /** False: nothing but class P0. */
  master?: boolean | null;
  quiet_hours?: QuietHours | null;
  frequency_cap?: FrequencyCap | null;
  types?: Record<string, TypeSetting | null> | null;
  unsubscribed?: Unsubscribed | null;
  muted?: Muted | null;
}

/** A type of events, as people see it. */
export interface PreferenceType {
  name: Text;
  /** What people call it. */
  title: string;
  category: Text;
  /** Among which one may choose, in the type's order. */
  channels: Array<Text>;
  /** Whether it is on where the preferences say nothing of it. */
  enabled: boolean;
  /** It cannot be switched off. */
  mandatory: boolean;
}

/** What a user may choose. */
export interface PreferenceTypes {
  /** Of all titles and texts. */
  language: string;
  /** Their titles, by name. In the order to show them. */
  categories: Record<string, string>;
  /** Their titles, by name. */
  channels: Record<string, string>;
  types: Array<PreferenceType>;
  /** What a page of preferences says besides, by key. */
  texts: Record<string, string>;
}

/** The document as it is stored, and what in it has no effect today. */
export interface PreferencesStored {
  /** False: nothing but class P0. */
  master?: boolean | null;
  quiet_hours?: QuietHours | null;
  frequency_cap?: FrequencyCap | null;
  types?: Record<string, TypeSetting | null> | null;
  unsubscribed?: Unsubscribed | null;
  muted?: Muted | null;
  /** Types and categories that the registry does not know. */
  warnings?: Array<FieldError>;
}

/** RFC 9457: why there is no success. */
export interface Problem {
  type: "about:blank";
  title: string;
  status: number;
  /** What is wrong, and what to do. */
  detail: string;
  /** Every wrong member. */
  errors?: Array<FieldError>;
  /** Of a conflict or a cancellation: the event meant. */
  event_id?: Text;
  retry_after_ms?: number;
  /** Why this sender's door is closed. */
  reason?: string;
  /** Since when it is. */
  closed_at?: number;
}

/** Locale and display name of a user, as a whole. */
export interface Profile {
  locale?: string | null;
  name?: Text | null;
}

/** The profile as it is now. */
export interface ProfileStored {
  user: Text;
  locale: string | null;
  name: Text | null;
}

/** When P1 waits and P2 is not sent, on the user's local clock. */
export interface QuietHours {
  /** Only true switches them on. */
  enabled?: boolean | null;
  /** Absent: 22:00. */
  start?: string | null;
  /** Absent: 08:00. Equal to start: never. */
  end?: string | null;
  /** IANA name. Absent: UTC. */
  timezone?: TimeZone | null;
}

/** Up to when it was read; null: everything. */
export interface ReadStored {
  up_to: number | null;
  /** Of single rows: those that there are. */
  ids?: Array<Text>;
}

/** What the user has seen. */
export interface ReadUpTo {
  /** `up_to` of the page shown. Absent: everything. */
  up_to?: number | null;
  /** These rows alone. */
  ids?: Array<Text> | null;
}

/** Where a user was reached until it was found to be out of use. */
export interface RetiredEntry {
  channel: Text;
  id: Text;
  platform: Text | null;
  registered_at: number;
  /** gone: a provider or a mail that came back said so. expired: no app registered it for long. */
  cause: Text;
}

/** How far an event is that goes in stages. */
export interface RolloutProgress {
  state: "cancelled" | "done" | "paused" | "running";
  /** Percents of the recipients, each with those before it. */
  stages: Array<number>;
  /** The furthest that may go. */
  stage: number;
  /** How many of the recipients have had their turn. */
  percent: number;
  /** When more goes. Null: not before somebody says so, or never. */
  next_at: number | null;
}

/** What a fan-out in stages is to do. */
export interface RolloutTurn {
  /** advance: the next stage goes too, whatever is left of the one before. */
  verb: "advance" | "pause" | "resume";
}

/** Rows that were marked. */
export interface RowsMarked {
  /** Null: all that are read. Otherwise those that there are. */
  ids: Array<Text> | null;
}

/** The version of a segment that counts from now on. */
export interface SegmentStored {
  segment: Text;
  version: number;
  users: number;
}

/** What opens the stream of one's inbox without a header. */
export interface StreamTicket {
  /** For the query of the stream's address. It opens nothing else. */
  ticket: string;
  /** The first moment at which it opens nothing any more. */
  expires_at: number;
}

/** A browser's push subscription, as `subscription.toJSON()` gives it (W3C Push API). */
export interface Subscription {
  /** At a push service that the operator allows. */
  endpoint: string;
  keys: SubscriptionKeys;
  /** Has no effect: the push service says when the subscription is over. */
  expirationTime?: unknown;
}

/** The keys of a push subscription, in base64url. */
export interface SubscriptionKeys {
  /** The browser's public key, a point on P-256. */
  p256dh: string;
  /** 16 bytes. */
  auth: string;
}

/** What the user wants of one type. */
export interface TypeSetting {
  /** Absent: as the type's default. */
  enabled?: boolean | null;
  /** In the order of his choice. Absent: the type's. */
  channels?: Array<"chat" | "email" | "in_app" | "push" | "sms" | "webhook"> | null;
}

/** Categories of types that a channel must not be used for. */
export interface Unsubscribed {
  push?: Array<Text> | null;
  sms?: Array<Text> | null;
  email?: Array<Text> | null;
  webhook?: Array<Text> | null;
  chat?: Array<Text> | null;
  in_app?: Array<Text> | null;
}
