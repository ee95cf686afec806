/**
 * <carillon-inbox>: a bell with the number of unread notifications, and the list behind it.
 *
 * One module without dependencies or build, served by the gateway; docs/frontend.md says how to use it. Nothing in it
 * needs an exception from a strict Content-Security-Policy or from Trusted Types: styles are constructed sheets, nodes
 * are made one by one, and texts of notifications are only ever text.
 */

const PATH = "/v1/notifications/inbox";
const SILENCE_MS = 40_000; // the gateway says something every 15 s: who hears nothing for so long has no network
const WAIT_MS = 1_000;
const WAIT_MAX_MS = 30_000;
const EDGE_PX = 8; // the list keeps so far from the window's edges
const WOKEN = new Error("a new connection was asked for");
const WORDS = {
  en: {
    title: "Notifications", unread: "{n} unread", isUnread: "Unread", all: "Mark all as read", older: "Show older",
    none: "Nothing here yet.", trouble: "Not up to date. Trying again …",
  },
  de: {
    title: "Benachrichtigungen", unread: "{n} ungelesen", isUnread: "Ungelesen", all: "Alle als gelesen markieren",
    older: "Ältere anzeigen", none: "Noch nichts da.", trouble: "Nicht auf dem neuesten Stand. Neuer Versuch …",
  },
  fr: {
    title: "Notifications", unread: "Non lues : {n}", isUnread: "Non lue", all: "Tout marquer comme lu",
    older: "Afficher les plus anciennes", none: "Rien pour le moment.", trouble: "Pas à jour. Nouvel essai…",
  },
  es: {
    title: "Notificaciones", unread: "No leídas: {n}", isUnread: "No leída", all: "Marcar todo como leído",
    older: "Mostrar anteriores", none: "Todavía no hay nada.", trouble: "No está actualizado. Reintentando…",
  },
  pt: {
    title: "Notificações", unread: "Não lidas: {n}", isUnread: "Não lida", all: "Marcar tudo como lido",
    older: "Mostrar anteriores", none: "Ainda não há nada.", trouble: "Não está atualizado. A tentar de novo…",
  },
  it: {
    title: "Notifiche", unread: "Non lette: {n}", isUnread: "Non letta", all: "Segna tutto come letto",
    older: "Mostra precedenti", none: "Ancora nulla.", trouble: "Non aggiornato. Nuovo tentativo…",
  },
  tr: {
    title: "Bildirimler", unread: "Okunmamış: {n}", isUnread: "Okunmamış", all: "Tümünü okundu say",
    older: "Daha eskileri göster", none: "Henüz bir şey yok.", trouble: "Güncel değil. Yeniden deneniyor…",
  },
  ru: {
    title: "Уведомления", unread: "Непрочитанных: {n}", isUnread: "Не прочитано", all: "Отметить всё прочитанным",
    older: "Показать более ранние", none: "Пока ничего нет.", trouble: "Данные устарели. Повторяем попытку…",
  },
  hi: {
    title: "सूचनाएँ", unread: "अपठित: {n}", isUnread: "अपठित", all: "सभी को पढ़ा हुआ चिह्नित करें",
    older: "पुरानी दिखाएँ", none: "अभी कुछ नहीं है।", trouble: "अद्यतन नहीं। फिर कोशिश हो रही है…",
  },
  id: {
    title: "Notifikasi", unread: "Belum dibaca: {n}", isUnread: "Belum dibaca", all: "Tandai semua sudah dibaca",
    older: "Tampilkan yang lebih lama", none: "Belum ada apa-apa.", trouble: "Belum terbaru. Mencoba lagi…",
  },
  zh: {
    title: "通知", unread: "{n} 条未读", isUnread: "未读", all: "全部标为已读",
    older: "显示更早的", none: "暂无通知。", trouble: "内容不是最新的，正在重试…",
  },
  ja: {
    title: "通知", unread: "未読 {n} 件", isUnread: "未読", all: "すべて既読にする",
    older: "以前のものを表示", none: "まだ何もありません。", trouble: "最新ではありません。再試行中…",
  },
  ko: {
    title: "알림", unread: "읽지 않음 {n}개", isUnread: "읽지 않음", all: "모두 읽음으로 표시",
    older: "이전 알림 보기", none: "아직 알림이 없습니다.", trouble: "최신 상태가 아닙니다. 다시 시도하는 중…",
  },
  ar: {
    title: "الإشعارات", unread: "غير مقروءة: {n}", isUnread: "غير مقروء", all: "تعليم الكل كمقروء",
    older: "عرض الأقدم", none: "لا توجد إشعارات.", trouble: "تعذّر التحديث، جارٍ إعادة المحاولة…",
  },
};

const STYLE = `
:host {
  --_accent: var(--carillon-accent, #0b57a4);
  --_badge: var(--carillon-badge, #b3261e);
  --_on-badge: var(--carillon-on-badge, #fff);
  --_surface: var(--carillon-surface, #fff);
  --_text: var(--carillon-text, #1b1b1b);
  --_muted: var(--carillon-muted, #5a5a5a);
  --_border: var(--carillon-border, #d4d4d4);
  --_unread: var(--carillon-unread, #eef4fb);
  display: inline-block; position: relative;
  font: var(--carillon-font, 0.9375rem/1.4 system-ui, sans-serif); text-align: start;
}
@supports (color: light-dark(red, red)) {
  :host {
    --_accent: var(--carillon-accent, light-dark(#0b57a4, #9cc7f7));
    --_surface: var(--carillon-surface, light-dark(#fff, #1d1d1f));
    --_text: var(--carillon-text, light-dark(#1b1b1b, #ececec));
    --_muted: var(--carillon-muted, light-dark(#5a5a5a, #b4b4b4));
    --_border: var(--carillon-border, light-dark(#d4d4d4, #47474a));
    --_unread: var(--carillon-unread, light-dark(#eef4fb, #22303f));
  }
}
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; text-align: inherit; }
:focus-visible { outline: 3px solid var(--_accent); outline-offset: -3px; border-radius: 6px; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.bell { position: relative; padding: 0.5rem; border-radius: 50%; line-height: 0; color: inherit; }
.bell svg { width: 1.5rem; height: 1.5rem; fill: none; stroke: currentColor; stroke-width: 1.8; }
.badge {
  position: absolute; inset-block-start: 0; inset-inline-start: 1.35rem; min-width: 1.25rem; padding: 0 0.3rem;
  border-radius: 1rem; border: 1px solid transparent; background: var(--_badge); color: var(--_on-badge);
  font: 600 0.75rem/1.15rem system-ui, sans-serif; text-align: center; white-space: nowrap;
}
.panel {
  display: flex; flex-direction: column; position: absolute; inset-block-start: 100%; inset-inline-end: 0;
  z-index: var(--carillon-layer, 1000); width: var(--carillon-width, 24rem); max-width: 92vw;
  max-height: var(--carillon-height, min(32rem, 80vh)); overflow: hidden; color: var(--_text);
  background: var(--_surface); border: 1px solid var(--_border); border-radius: var(--carillon-radius, 12px);
  box-shadow: var(--carillon-shadow, 0 8px 28px rgb(0 0 0 / 0.18));
}
:host([align="start"]) .panel { inset-inline: 0 auto; }
:host([inline]) { display: block; }
:host([inline]) .panel { position: static; width: auto; max-width: none; box-shadow: none; }
.header { display: flex; gap: 1rem; align-items: baseline; justify-content: space-between; padding: 0.75rem 1rem; }
.title { margin: 0; font-size: 1.125em; }
.read-all, .older { color: var(--_accent); }
.older { display: block; width: 100%; padding: 0.75rem 1rem; text-align: center; }
.trouble { margin: 0; padding: 0.4rem 1rem; border-block: 1px solid var(--_border); color: var(--_muted); }
.scroll { overflow-y: auto; overscroll-behavior: contain; border-block-start: 1px solid var(--_border); }
.list { list-style: none; margin: 0; padding: 0; }
.row { border-block-end: 1px solid var(--_border); }
.row.unread { background: var(--_unread); }
.link {
  display: block; position: relative; width: 100%; padding: 0.65rem 1rem; padding-inline-start: 1.75rem;
  color: inherit; text-decoration: none; overflow-wrap: anywhere;
}
.link:hover { text-decoration: underline; text-decoration-color: var(--_accent); }
.unread .link::before {
  content: ""; position: absolute; inset-inline-start: 0.7rem; inset-block-start: 1.1rem; width: 0.5rem;
  height: 0.5rem; border-radius: 50%; background: var(--_accent); border: 1px solid var(--_accent);
}
.row-title, .row-body, .row-time { display: block; }
.unread .row-title { font-weight: 600; }
.row-time { color: var(--_muted); font-size: 0.875em; }
.none { margin: 0; padding: 1.5rem 1rem; color: var(--_muted); text-align: center; }
`;

const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60]];

/** The answer was no success; `status` says which. */
export class RefusedError extends Error {
  constructor(answer) {
    super(`the gateway answered ${answer.status}`);
    this.status = answer.status;
    this.waitMs = 1000 * (Number(answer.headers.get("retry-after")) || 0);
  }
}

/** What a JWT says of its user; another token is its own user. */
function userOf(token) {
  try {
    const claims = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(claims).sub;
  } catch {
    return token;
  }
}

/** The events of an answer with Server-Sent Events, as they come; `heard` is called for whatever comes. */
async function* eventsOf(answer, heard) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = {};
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        yield event;
        event = {};
      }
      const [, name, text] = /^([^:]*)(?:: ?)?(.*)$/s.exec(line);
      event[name] = name === "data" && "data" in event ? `${event.data}\n${text}` : text;
    }
  }
}

/**
 * A user's inbox as one page of the browser knows it. All pages of a browser share one stream: who holds the lock
 * listens and tells the others.
 */
class Inbox {
  rows = [];
  unread = 0;
  cursor = null;
  known = false;
  #ended = new AbortController();
  #channel = null;
  #version = 0;
  #lastId = "";
  #retryMs = 3_000;
  #failed = false;
  #wake = () => {};

  constructor(api, limit, tokenProvider, told) {
    Object.assign(this, { api, limit, tokenProvider, told });
  }

  async start() {
    const token = await this.#firstToken();
    if (!token || this.#ended.signal.aborted) return;
    const name = `carillon-inbox ${this.api} ${this.limit} ${userOf(token)}`;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data: { page, id, read } }) => {
      if (read) this.#markRead(read);
      if (page) this.#take(page, id);
      else this.refresh();
    };
    this.refresh();
    const listen = () => this.#listen();
    const signal = this.#ended.signal;
    if (navigator.locks) navigator.locks.request(name, { signal }, listen).catch(() => {}); // ended while it waited
    else listen();
  }

  async #firstToken() {
    for (let waitMs = WAIT_MS; !this.#ended.signal.aborted; waitMs = Math.min(waitMs * 2, WAIT_MAX_MS)) {
      try {
        return await this.tokenProvider({ refused: false });
      } catch (error) {
        this.#fail(error);
        await this.#pause(waitMs);
      }
    }
    return null;
  }

  end() {
    this.#ended.abort();
    this.#wake();
    this.#channel?.close();
  }

  /** Nobody is signed in any more: what was shown to somebody goes. */
  #forget() {
    Object.assign(this, { rows: [], unread: 0, cursor: null, known: false });
    this.end();
    this.told.changed([]);
  }

  /** The network may be back, or the page was not looked at for long. */
  async wake() {
    this.#wake();
    await this.refresh();
  }

  /** The newest page, unless a newer one came in the meantime. */
  async refresh() {
    try {
      for (let version = -1; version !== this.#version; ) {
        version = this.#version;
        const page = await this.#page(`?limit=${this.limit}`);
        if (version === this.#version) return this.#take(page);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** One more page of older rows. */
  async older() {
    const { cursor } = this;
    if (cursor === null) return;
    const page = await this.#page(`?limit=${this.limit}&cursor=${encodeURIComponent(cursor)}`);
    if (cursor !== this.cursor) return; // the list began anew
    const there = new Set(this.rows.map(nameOf));
    this.rows = [...this.rows, ...page.items.filter((row) => !there.has(nameOf(row)))];
    this.cursor = page.cursor;
    this.told.changed([]);
  }

  /** Everything that this page shows is read, here and everywhere. */
  async readAll() {
    if (this.rows.length) await this.#read({ up_to: this.rows[0].at });
  }

  /** This row is read, unless more has joined it. */
  async readRow(row) {
    await this.#read({ ids: [nameOf(row)], up_to: row.at });
  }

  async #read(read) {
    await this.#call("/read", { method: "POST", keepalive: true, body: JSON.stringify(read) }); // a link may be followed
    this.#markRead(read);
    this.#channel?.postMessage({ read });
    await this.refresh();
  }

  #markRead({ ids, up_to: upTo }) {
    const isMeant = (row) => row.at <= upTo && (!ids || ids.includes(nameOf(row)));
    this.rows = this.rows.map((row) => (isMeant(row) ? { ...row, read: true } : row));
    this.#version++; // a page that is under way may not know it
  }

  async #page(query) {
    return (await this.#call(query)).json();
  }

  /** A call with the user's token; a fresh one is asked for where it was refused. */
  async #call(path, init = {}) {
    for (let refused = false; ; refused = true) {
      const token = await this.tokenProvider({ refused });
      if (!token) this.#forget();
      const headers = { ...init.headers, authorization: `Bearer ${token}` };
      if (init.body) headers["content-type"] = "application/json";
      const answer = await fetch(this.api + PATH + path, {
        cache: "no-store", credentials: "omit", signal: this.#ended.signal, ...init, headers,
      });
      if (answer.ok) return answer;
      if (answer.status !== 401 || refused) throw new RefusedError(answer);
    }
  }

  async #listen() {
    let waitMs = WAIT_MS;
    while (!this.#ended.signal.aborted) {
      let pauseMs = this.#retryMs * Math.random();
      try {
        await this.#stream(() => (waitMs = WAIT_MS)); // it ends as it should every ten minutes
      } catch (error) {
        if (error === WOKEN) continue;
        this.#fail(error);
        pauseMs = Math.max(waitMs * (0.5 + Math.random()), error.waitMs || 0);
        waitMs = Math.min(waitMs * 2, WAIT_MAX_MS);
      }
      await this.#pause(pauseMs);
    }
  }

  #pause(ms) {
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, ms);
    });
  }

  async #stream(heard) {
    const silent = new AbortController();
    let timer = setTimeout(() => silent.abort(), SILENCE_MS);
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENCE_MS);
      heard();
    };
    this.#wake = () => silent.abort(WOKEN); // the network came back: this connection may be one of before
    try {
      const headers = { accept: "text/event-stream", ...(this.#lastId && { "last-event-id": this.#lastId }) };
      const signal = AbortSignal.any([this.#ended.signal, silent.signal]);
      for await (const event of eventsOf(await this.#call(`/stream?limit=${this.limit}`, { headers, signal }), alive)) {
        this.#recover();
        if (event.retry) this.#retryMs = Number(event.retry) || this.#retryMs;
        if (event.event !== "inbox") continue;
        const page = JSON.parse(event.data);
        this.#channel?.postMessage({ page, id: event.id });
        this.#take(page, event.id);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #fail(error) {
    if (this.#ended.signal.aborted) return;
    this.#failed = true;
    this.told.trouble(error);
  }

  /** The stream is there again; the other tabs may have failed at the same time. */
  #recover() {
    if (this.#failed) this.#channel?.postMessage({});
    this.#failed = false;
    this.told.trouble(null);
  }

  /** The newest page is as it says; of older rows those stay that still follow it without a gap. */
  #take(page, id) {
    if (this.#ended.signal.aborted) return;
    this.#version++;
    if (id) this.#lastId = id;
    const before = new Map(this.rows.map((row) => [nameOf(row), row]));
    const names = new Set(page.items.map(nameOf));
    const joined = page.items.some((row) => before.get(nameOf(row))?.at === row.at);
    const end = page.items.at(-1)?.at;
    const older = joined && page.cursor ? this.rows.filter((row) => row.at <= end && !names.has(nameOf(row))) : [];
    const unreadHere = page.items.filter((row) => !row.read).length;
    const allRead = unreadHere >= page.unread; // then none of the older ones is unread
    this.rows = [...page.items, ...older.map((row) => (allRead && !row.read ? { ...row, read: true } : row))];
    if (!older.length) this.cursor = page.cursor;
    this.unread = page.unread;
    const fresh = page.items.filter((row) => !row.read && before.get(nameOf(row))?.at !== row.at);
    const first = !this.known;
    this.known = true;
    this.told.trouble(null);
    this.told.changed(first ? [] : fresh); // what was there before is no news
  }
}

const nameOf = (row) => row.first_event_id;

/** An element with attributes and children. */
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function slot(name, ...children) {
  return make("slot", { name }, ...children);
}

/** A part of the shadow tree that a page may style from outside. */
function part(tag, name, attributes, ...children) {
  return make(tag, { class: name, part: name, ...attributes }, ...children);
}

function bellIcon() {
  const [icon, line] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  line.setAttribute("d", "M6 17V11a6 6 0 0 1 12 0v6l1.5 2h-15zM10 21.5h4M12 5V3");
  icon.append(line);
  return icon;
}

/** A web address that may become a link of the page; nothing else does. */
function linkOf({ url }) {
  return /^https?:\/\//.test(url ?? "") ? url : null;
}

export class CarillonInbox extends HTMLElement {
  static observedAttributes = ["api", "limit", "lang", "dir", "open", "inline"];
  #inbox = null;
  #tokenProvider = null;
  #renderRow = null;
  #words = {};
  #items = new Map();
  #trouble = null;
  #loading = false;
  #clock = 0;
  #announced = -1;
  #hiddenSince = 0;
  #parts = {};

  constructor() {
    super();
    this.attachShadow({ mode: "open", delegatesFocus: false });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    this.shadowRoot.adoptedStyleSheets = [sheet];
    this.#build();
    this.#handle();
  }

  #build() {
    const parts = this.#parts;
    parts.badge = part("span", "badge", { "aria-hidden": "true", hidden: "" });
    const opens = { type: "button", "aria-haspopup": "dialog", "aria-expanded": "false" };
    parts.bell = part("button", "bell", opens, slot("bell", bellIcon()), parts.badge);
    parts.status = make("span", { class: "spoken", role: "status" });
    parts.title = slot("title");
    parts.all = part("button", "read-all", { type: "button", hidden: "" });
    parts.trouble = part("p", "trouble", { hidden: "" });
    parts.list = part("ul", "list", { role: "list" });
    parts.none = slot("empty");
    parts.empty = part("p", "none", { hidden: "" }, parts.none);
    parts.older = part("button", "older", { type: "button", hidden: "" });
    parts.scroll = part("div", "scroll", {}, parts.list, parts.empty, parts.older);
    const heading = part("h2", "title", { id: "title" }, parts.title);
    parts.panel = part(
      "section", "panel", { role: "dialog", "aria-labelledby": "title", tabindex: "-1", hidden: "" },
      part("header", "header", {}, heading, parts.all), parts.trouble, parts.scroll, slot("footer"),
    );
    parts.root = make("div", {}, parts.bell, parts.status, parts.panel);
    this.shadowRoot.append(parts.root);
  }

  #handle() {
    const { bell, all, older, list, panel, scroll } = this.#parts;
    bell.addEventListener("click", () => (this.open = !this.open));
    all.addEventListener("click", () => this.markAllRead());
    older.addEventListener("click", () => this.#loadOlder());
    list.addEventListener("click", (event) => this.#select(event));
    list.addEventListener("keydown", (event) => this.#move(event));
    list.addEventListener("focusin", (event) => this.#rove(event.target));
    panel.addEventListener("keydown", (event) => event.key === "Escape" && this.#leave(event));
    this.addEventListener("focusout", ({ relatedTarget: to }) => to && !this.contains(to) && this.#close());
    new IntersectionObserver(this.#fit, { threshold: 1 }).observe(panel); // what the page moves out, comes back
    const near = (seen) => seen.at(-1).isIntersecting && this.#loadOlder();
    new IntersectionObserver(near, { root: scroll, rootMargin: "200px" }).observe(older);
  }

  connectedCallback() {
    for (const name of ["tokenProvider", "renderRow", "words", "open"]) {
      if (!Object.hasOwn(this, name)) continue; // set before the module was there
      const value = this[name];
      delete this[name];
      this[name] = value;
    }
    document.addEventListener("pointerdown", this.#outside);
    document.addEventListener("visibilitychange", this.#seen);
    window.addEventListener("online", this.#online);
    window.addEventListener("resize", this.#fit);
    this.#clock = setInterval(() => this.#showTimes(), 60_000);
    this.#speak();
    this.#restart();
  }

  disconnectedCallback() {
    document.removeEventListener("pointerdown", this.#outside);
    document.removeEventListener("visibilitychange", this.#seen);
    window.removeEventListener("online", this.#online);
    window.removeEventListener("resize", this.#fit);
    clearInterval(this.#clock);
    this.#inbox?.end();
    this.#inbox = null;
  }

  attributeChangedCallback(name, before, now) {
    if (before === now || !this.isConnected) return;
    if (name === "api" || name === "limit") this.#restart();
    else if (name === "open" || name === "inline") this.#showPanel();
    else this.#speak();
  }

  /** `async ({refused}) => token`: the user's JWT, or null. `refused`: the last one is not taken. Set: begin anew. */
  get tokenProvider() {
    return this.#tokenProvider;
  }
  set tokenProvider(value) {
    this.#tokenProvider = value;
    this.#restart();
  }

  /** `(row) => Element | null`: what stands in a row instead of title, body and time. Null: these. */
  get renderRow() {
    return this.#renderRow;
  }
  set renderRow(value) {
    this.#renderRow = value;
    this.#forgetRows();
    this.#show();
  }

  /** Words that differ from those of the language. */
  get words() {
    return this.#words;
  }
  set words(value) {
    this.#words = value ?? {};
    this.#speak();
  }

  get open() {
    return this.hasAttribute("open");
  }
  set open(value) {
    this.toggleAttribute("open", Boolean(value));
  }

  /** Unread rows of the whole inbox. */
  get unread() {
    return this.#inbox?.unread ?? 0;
  }

  /** The rows loaded so far, as the API gives them, newest first. */
  get rows() {
    return this.#inbox?.rows ?? [];
  }

  /** Ask for the newest page now. */
  async refresh() {
    await this.#inbox?.wake();
  }

  async markAllRead() {
    if (await this.#attempt(() => this.#inbox?.readAll())) this.#tell("read", { rows: this.rows });
  }

  async markRead(row) {
    if (await this.#attempt(() => this.#inbox?.readRow(row))) this.#tell("read", { rows: [row] });
  }

  #restart() {
    if (!this.isConnected) return;
    this.#inbox?.end();
    this.#inbox = null;
    this.#announced = -1;
    if (this.#tokenProvider) {
      const api = (this.getAttribute("api") ?? new URL("..", import.meta.url).href).replace(/\/+$/, "");
      const told = { changed: (fresh) => this.#changed(fresh), trouble: (error) => this.#say(error) };
      const limit = Math.min(Number(this.getAttribute("limit")) || 20, 100);
      this.#inbox = new Inbox(api, limit, this.#tokenProvider, told);
      this.#attempt(() => this.#inbox.start());
    }
    this.#show();
  }

  async #attempt(action) {
    try {
      await action();
      return true;
    } catch (error) {
      if (error.name !== "AbortError") this.#say(error);
      return false;
    }
  }

  #tell(name, detail, more = {}) {
    return this.dispatchEvent(new CustomEvent(`carillon-${name}`, { detail, bubbles: true, composed: true, ...more }));
  }

  #say(error) {
    if (error && error !== this.#trouble) this.#tell("trouble", { error });
    this.#trouble = error;
    this.#parts.trouble.hidden = !error;
  }

  #changed(fresh) {
    this.#show();
    const { unread, rows } = this;
    if (unread !== this.#announced) this.#tell("unread", { unread });
    this.#announced = unread;
    this.#tell("rows", { rows });
    if (fresh.length) this.#parts.status.textContent = `${this.#count()}. ${fresh[0].body}`;
  }

  #language() {
    return this.closest("[lang]")?.lang || navigator.language || "en";
  }

  #word(name) {
    const language = this.#language().split("-")[0];
    return this.#words[name] ?? (WORDS[language] ?? WORDS.en)[name];
  }

  #count() {
    return this.#word("unread").replace("{n}", this.unread.toLocaleString(this.#language()));
  }

  /** All fixed words, in the language of now and in its direction. */
  #speak() {
    const { title, all, trouble, none, older, root } = this.#parts;
    const language = this.#language();
    root.lang = this.#words.title ? language : language.split("-")[0] in WORDS ? language : "en";
    if (this.closest("[dir]")) root.removeAttribute("dir");
    else root.dir = /^(ar|dv|fa|he|ps|sd|ug|ur|yi)\b/.test(language) ? "rtl" : "ltr";
    title.textContent = this.#word("title");
    all.textContent = this.#word("all");
    trouble.textContent = this.#word("trouble");
    none.textContent = this.#word("none");
    older.textContent = this.#word("older");
    this.#forgetRows();
    this.#show();
    this.#showPanel();
  }

  #show() {
    const { badge, bell, all, empty, older } = this.#parts;
    const focused = this.shadowRoot.activeElement;
    badge.hidden = !this.unread;
    badge.textContent = this.unread.toLocaleString(this.#language());
    bell.setAttribute("aria-label", `${this.#word("title")}, ${this.#count()}`);
    all.hidden = !this.unread;
    empty.hidden = !this.#inbox?.known || this.rows.length > 0;
    older.hidden = !this.#inbox?.cursor;
    this.#showRows();
    if (focused?.hidden) this.#focusAgain(focused); // its work is done
  }

  /** The list as the rows are, with as few moves as can be: a row that has the focus keeps it. */
  #showRows() {
    const { list } = this.#parts;
    const focused = this.shadowRoot.activeElement;
    const gone = new Set(this.#items.keys());
    let next = list.firstElementChild;
    for (const row of this.rows) {
      const item = this.#item(row);
      gone.delete(nameOf(row));
      if (item === next) next = next.nextElementSibling;
      else list.insertBefore(item, next);
    }
    for (const name of gone) this.#forget(name);
    if (focused !== this.shadowRoot.activeElement) this.#focusAgain(focused);
    if (!list.querySelector("[tabindex='0']")) this.#rove(this.#controls()[0]);
  }

  #focusAgain(control) {
    const { list, panel } = this.#parts;
    (list.contains(control) ? control : (this.#controls()[0] ?? panel)).focus();
  }

  #item(row) {
    const name = nameOf(row);
    const said = JSON.stringify(row);
    let known = this.#items.get(name);
    if (known?.said === said) return known.item;
    const item = known?.item ?? make("li", {});
    const link = linkOf(row);
    let control = item.firstElementChild;
    if (!control || (control.tagName === "A") !== Boolean(link)) {
      control = part(link ? "a" : "button", "link", { tabindex: "-1", ...(!link && { type: "button" }) });
      item.replaceChildren(control);
    }
    if (link) control.href = link;
    item.className = row.read ? "row" : "row unread";
    item.setAttribute("part", item.className);
    control.dataset.name = name;
    control.replaceChildren(...this.#content(row));
    known?.own?.remove();
    this.#items.set(name, { said, item, own: this.#ownContent(row) });
    return item;
  }

  #content(row) {
    const { title, body } = row;
    const time = part("time", "row-time", { datetime: new Date(row.at).toISOString() });
    this.#showTime(time);
    const [first, then] = [["row-title", title], ["row-body", body]].map(([name, text]) =>
      part("span", name, { dir: "auto" }, text),
    );
    const own = slot(`row-${nameOf(row)}`, first, then, time);
    return row.read ? [own] : [make("span", { class: "spoken" }, `${this.#word("isUnread")}. `), own];
  }

  /** The page's own rendering stands in the page's own tree, so that its styles apply. */
  #ownContent(row) {
    const own = this.#renderRow?.(row);
    if (!own) return null;
    own.slot = `row-${nameOf(row)}`;
    this.append(own);
    return own;
  }

  #forget(name) {
    const { item, own } = this.#items.get(name);
    item.remove();
    own?.remove();
    this.#items.delete(name);
  }

  #forgetRows() {
    for (const known of this.#items.values()) known.said = "";
  }

  #showTimes() {
    for (const time of this.#parts.list.querySelectorAll("time")) this.#showTime(time);
  }

  #showTime(time) {
    const at = new Date(time.dateTime);
    const seconds = Math.min((at - Date.now()) / 1000, 0);
    const [unit, length] = UNITS.find(([, one]) => seconds <= -one) ?? UNITS[2];
    const language = this.#language();
    time.textContent =
      seconds < -604_800
        ? at.toLocaleDateString(language, { dateStyle: "medium" })
        : new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(Math.trunc(seconds / length), unit);
    time.title = at.toLocaleString(language);
  }

  #controls() {
    return [...this.#parts.list.querySelectorAll(".link")];
  }

  /** One row of the list takes the Tab key, the arrows go to the others. */
  #rove(control) {
    if (!control?.classList.contains("link")) return;
    for (const other of this.#parts.list.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
    control.tabIndex = 0;
  }

  #move(event) {
    const controls = this.#controls();
    const at = controls.indexOf(this.shadowRoot.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: controls.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    controls[to]?.focus();
    if (to >= controls.length - 1) this.#loadOlder();
  }

  async #loadOlder() {
    if (this.#loading || this.#parts.panel.hidden) return;
    this.#loading = true;
    this.#parts.list.setAttribute("aria-busy", "true");
    await this.#attempt(() => this.#inbox?.older());
    this.#loading = false;
    this.#parts.list.removeAttribute("aria-busy");
  }

  #select(event) {
    const control = event.composedPath().find((node) => node.dataset?.name);
    const row = this.rows.find((one) => nameOf(one) === control?.dataset.name);
    if (!row) return;
    if (!this.#tell("select", { row }, { cancelable: true })) event.preventDefault();
    if (!row.read) this.markRead(row);
  }

  #showPanel() {
    const { panel, bell } = this.#parts;
    const inline = this.hasAttribute("inline");
    const shown = this.open || inline;
    bell.hidden = inline;
    if (shown === !panel.hidden) return;
    panel.hidden = !shown;
    bell.setAttribute("aria-expanded", String(shown));
    if (shown) this.#showTimes();
    this.#fit();
    if (inline) return;
    if (shown) (this.#controls()[0] ?? panel).focus();
    this.#tell("toggle", { open: shown });
  }

  /** Into the window, as far as the list would stand out of it at the edge where the bell is. */
  #fit = () => {
    const { panel } = this.#parts;
    panel.style.translate = "";
    if (panel.hidden || this.hasAttribute("inline")) return;
    const { left, right } = panel.getBoundingClientRect();
    const room = document.documentElement.clientWidth;
    const shift = left < EDGE_PX ? EDGE_PX - left : Math.min(0, room - EDGE_PX - right);
    panel.style.translate = `${shift}px`;
  };

  #leave(event) {
    if (!this.open) return;
    event.stopPropagation();
    this.#close();
    this.#parts.bell.focus();
  }

  #close() {
    this.open = false;
  }

  #outside = (event) => event.composedPath().includes(this) || this.#close();
  #online = () => this.#inbox?.wake();
  #seen = () => {
    if (document.hidden) this.#hiddenSince = Date.now();
    else if (Date.now() - this.#hiddenSince > 60_000) this.#inbox?.wake(); // it may have been frozen
  };
}

if (!customElements.get("carillon-inbox")) customElements.define("carillon-inbox", CarillonInbox);
