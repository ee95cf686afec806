/**
 * <carillon-preferences>: what a person gets, by which channel and when, to see and to change.
 *
 * One module without dependencies or build, served by the gateway; docs/frontend.md says how to use it. What is changed
 * is stored at once, as a merge patch of that alone, for the version that is shown (If-Match). Styles are constructed
 * sheets and texts are only ever text, so a strict Content-Security-Policy with Trusted Types needs no exception.
 */

const START = "22:00";
const END = "08:00";
const AGAIN_MS = 5_000;
const TROUBLE = {
  en: "Your settings cannot be shown now. Trying again …",
  de: "Ihre Einstellungen sind gerade nicht zu sehen. Neuer Versuch …",
  fr: "Vos réglages ne peuvent être affichés pour le moment. Nouvel essai…",
  es: "Sus ajustes no se pueden mostrar ahora. Reintentando…",
  pt: "As suas definições não podem ser mostradas agora. A tentar de novo…",
  it: "Al momento le impostazioni non si possono mostrare. Nuovo tentativo…",
  tr: "Ayarlarınız şu anda gösterilemiyor. Yeniden deneniyor…",
  ru: "Сейчас ваши настройки показать не удаётся. Повторяем попытку…",
  hi: "आपकी सेटिंग अभी दिखाई नहीं जा सकतीं। फिर कोशिश हो रही है…",
  id: "Pengaturan Anda tidak dapat ditampilkan sekarang. Mencoba lagi…",
  zh: "暂时无法显示您的设置，正在重试…",
  ja: "現在、設定を表示できません。再試行中…",
  ko: "지금은 설정을 표시할 수 없습니다. 다시 시도하는 중…",
  ar: "لا يمكن عرض إعداداتك الآن، جارٍ إعادة المحاولة…",
}; // before the gateway gave words
const CAPS = { max_per_hour: 10, max_per_day: 50 };
const STYLE = `
:host {
  --_accent: var(--carillon-accent, #0b57a4);
  --_text: var(--carillon-text, inherit);
  --_muted: var(--carillon-muted, #5a5a5a);
  --_border: var(--carillon-border, #767676);
  --_wrong: var(--carillon-badge, #b3261e);
  --_surface: var(--carillon-surface, Canvas);
  display: block; color: var(--_text); font: var(--carillon-font, 1rem/1.5 system-ui, sans-serif); text-align: start;
}
@supports (color: light-dark(red, red)) {
  :host {
    --_accent: var(--carillon-accent, light-dark(#0b57a4, #9cc7f7));
    --_muted: var(--carillon-muted, light-dark(#5a5a5a, #b4b4b4));
    --_wrong: var(--carillon-badge, light-dark(#b3261e, #ffb4ab));
  }
}
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
section { border: 1px solid var(--_border); border-radius: var(--carillon-radius, 8px); padding: 1rem; margin: 0 0 1rem; }
h2 { font-size: 1.2em; margin: 0 0 0.5rem; }
.row { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; padding: 0.4rem 0; border-block-start: 1px solid var(--_border); }
.row > :first-child { flex: 1 0 12rem; }
.ways { display: flex; flex-wrap: wrap; gap: 0 1rem; }
label { display: inline-flex; flex-wrap: wrap; max-width: 100%; gap: 0 0.5rem; align-items: center; min-height: 2rem; margin-inline-end: 1rem; }
label:has([type="checkbox"]) { flex-wrap: nowrap; }
input, select, button { font: inherit; color: inherit; max-width: 100%; }
input[type="checkbox"] { width: 1.25rem; height: 1.25rem; flex: none; accent-color: var(--_accent); }
input:not([type="checkbox"]), select { padding: 0.3rem; border: 1px solid var(--_border); border-radius: 4px; background: transparent; }
option { color: #1b1b1b; background: #fff; }
button { padding: 0.3rem 0.8rem; border: 1px solid var(--_border); border-radius: 4px; background: none; cursor: pointer; }
:focus-visible { outline: 3px solid var(--_accent); outline-offset: 2px; }
.hint { color: var(--_muted); margin: 0.25rem 0; }
.note { min-height: 1.5em; margin: 0 0 0.5rem; position: sticky; inset-block-start: 0; z-index: 1; background: var(--_surface); }
.wrong { color: var(--_wrong); }
ul { padding-inline-start: 1.2rem; overflow-wrap: anywhere; }
`;

/** The answer was no success; `status` says which. */
export class RefusedError extends Error {
  constructor(answer) {
    super(`the gateway answered ${answer.status}`);
    this.status = answer.status;
  }
}

/** RFC 7396, as the gateway merges. */
function merged(target, patch) {
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return patch;
  const result = { ...target };
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = merged(result[name], value);
  }
  return result;
}

/** An element with attributes and children. */
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** What is in the node is of this language, whatever the page's is. */
function written(node, language) {
  node.lang = language;
  node.dir = language === "ar" ? "rtl" : "ltr";
}

const listed = (value) => (Array.isArray(value) ? value : []);

export class CarillonPreferences extends HTMLElement {
  static observedAttributes = ["api", "lang"];
  #tokenProvider = null;
  #offer = null;
  #document = {};
  #version = "";
  #devices = [];
  #last = Promise.resolve();
  #waiting = 0;
  #failures = 0;
  #begun = 0;
  #again;
  #shows = [];
  #note;
  #root;

  constructor() {
    super();
    this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    this.shadowRoot.adoptedStyleSheets = [sheet];
    this.#note = make("p", { class: "note", part: "note", role: "status" });
    this.#root = make("div", {});
    this.shadowRoot.append(this.#note, this.#root);
  }

  connectedCallback() {
    if (Object.hasOwn(this, "tokenProvider")) {
      const value = this.tokenProvider; // set before the module was there
      delete this.tokenProvider;
      this.#tokenProvider = value;
    }
    window.addEventListener("online", this.#online);
    this.refresh();
  }

  disconnectedCallback() {
    clearTimeout(this.#again);
    window.removeEventListener("online", this.#online);
  }

  #online = () => this.#offer || this.refresh();

  attributeChangedCallback(name, before, now) {
    if (before !== now) this.refresh();
  }

  /** `async ({refused}) => token`: the user's JWT, or null. `refused`: the last one is not taken. Set: begin anew. */
  get tokenProvider() {
    return this.#tokenProvider;
  }
  set tokenProvider(value) {
    this.#tokenProvider = value;
    this.refresh();
  }

  /** The preferences as they are stored. */
  get preferences() {
    return structuredClone(this.#document);
  }

  /** Show what is stored now; tried again until the gateway answers. */
  async refresh() {
    if (!this.isConnected || !this.#tokenProvider) return;
    const turn = ++this.#begun;
    const language = this.closest("[lang]")?.lang || navigator.language || "en";
    clearTimeout(this.#again);
    try {
      const paths = [`/v1/preferences/types?locale=${encodeURIComponent(language)}`, "/v1/preferences", "/v1/devices"];
      const answers = await Promise.all(paths.map((path) => this.#call(path)));
      const [offer, stored, devices] = await Promise.all(answers.map((answer) => answer?.json()));
      if (turn !== this.#begun) return; // begun anew meanwhile
      this.#offer = offer ?? null;
      this.#document = stored ?? {};
      this.#version = answers[1]?.headers.get("etag") ?? "";
      this.#devices = devices?.endpoints ?? [];
      this.#build();
    } catch (error) {
      if (turn !== this.#begun) return;
      this.#tell("trouble", { error });
      if (!this.#offer) this.#excuse(language.split("-")[0]);
      if (error.status < 500) return; // it would be refused again
      this.#again = setTimeout(() => this.refresh(), AGAIN_MS * (1 + Math.random()));
    }
  }

  #excuse(language) {
    const spoken = language in TROUBLE ? language : "en";
    written(this.#note, spoken);
    this.#say(TROUBLE[spoken], true);
  }

  /** A call with the user's token; a fresh one is asked for where it was refused. Nobody signed in: undefined. */
  async #call(path, init = {}) {
    const api = (this.getAttribute("api") ?? new URL("..", import.meta.url).href).replace(/\/+$/, "");
    for (let refused = false; ; refused = true) {
      const token = await this.#tokenProvider({ refused });
      if (!token) return undefined;
      const headers = { ...init.headers, authorization: `Bearer ${token}` };
      const answer = await fetch(api + path, { cache: "no-store", credentials: "omit", ...init, headers });
      if (answer.ok) return answer;
      if (answer.status !== 401 || refused) throw new RefusedError(answer);
    }
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(`carillon-${name}`, { detail, bubbles: true, composed: true }));
  }

  #text(key, values = {}) {
    return this.#offer.texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  }

  #say(text, wrong = false) {
    this.#note.className = wrong ? "note wrong" : "note";
    this.#note.setAttribute("role", wrong ? "alert" : "status");
    this.#note.textContent = text;
  }

  /**
   * Store a change, after those before it. `patchOf` says what of the document as it is then, `done` what to say. The
   * fields show what is stored when nothing waits any more. What waited behind one that failed is not stored either.
   */
  #save(patchOf, done = "") {
    const failures = this.#failures;
    this.#waiting++;
    this.#last = this.#last
      .then(() => failures === this.#failures && this.#store(patchOf(), done))
      .catch((error) => this.#failed(error))
      .finally(() => {
        this.#waiting--;
        this.#show();
      });
    return this.#last;
  }

  async #store(patch, done) {
    if (patch === null) return this.#say(this.#text("error_channels"), true);
    const headers = { "content-type": "application/merge-patch+json", "if-match": this.#version };
    const answer = await this.#call("/v1/preferences", { method: "PATCH", headers, body: JSON.stringify(patch) });
    if (!answer) return;
    this.#document = merged(this.#document, patch);
    this.#version = answer.headers.get("etag");
    this.#stored(done);
    this.#tell("preferences", { preferences: this.preferences });
  }

  #stored(done) {
    const at = new Date().toLocaleTimeString(this.#offer.language);
    this.#say(`${this.#text("stored")}. ${done} ${this.#text("from_then", { at })}`);
  }

  async #failed(error) {
    this.#failures++;
    if (error.status === 412) {
      await this.refresh();
      this.#say(this.#text("conflict"), true);
    } else {
      this.#say(this.#text("unsure"), true);
      this.#tell("trouble", { error });
    }
  }

  /** Every field says what the document says, but for one that is being typed in. */
  #show() {
    if (this.#waiting) return;
    for (const [field, value] of this.#shows) {
      if (field.type === "checkbox") field.checked = value();
      else if (field !== this.shadowRoot.activeElement) field.value = value();
    }
  }

  #build() {
    const focused = this.shadowRoot.activeElement?.id;
    this.#shows = [];
    this.#root.replaceChildren();
    this.#say("");
    if (!this.#offer) return;
    for (const node of [this.#note, this.#root]) written(node, this.#offer.language);
    const named = Object.keys(this.#offer.categories).map((name) => this.#category(name));
    const [master, quiet, caps] = [this.#master(), this.#quiet(), this.#caps()];
    this.#root.append(master, ...named, quiet, caps, this.#muted(), this.#reached());
    this.#show();
    if (focused) this.shadowRoot.getElementById(focused)?.focus();
  }

  #section(title, ...children) {
    return make("section", { part: "section", "aria-label": title }, make("h2", { part: "title" }, title), ...children);
  }

  /** A box; `patchOf` gives what its change means, or null where nothing would say how it comes. */
  #box(id, title, value, patchOf) {
    const box = make("input", { type: "checkbox", id });
    this.#shows.push([box, value]);
    box.addEventListener("change", () => {
      const on = box.checked;
      this.#save(() => patchOf(on), `${this.#text(on ? "now_on" : "now_off")} ${box.ariaLabel ?? title}.`);
    });
    return make("label", {}, box, make("span", {}, title));
  }

  /** A way of a type or of a category; read out and confirmed with what it is a way of. */
  #way(id, of, channel, value, patchOf) {
    const label = this.#box(id, this.#offer.channels[channel], value, patchOf);
    label.firstChild.ariaLabel = `${of}: ${this.#offer.channels[channel]}`;
    return label;
  }

  #master() {
    const box = this.#box(
      "master", this.#text("master_label"), () => this.#document.master !== false, (on) => ({ master: on }),
    );
    return this.#section(this.#text("master"), box, this.#hint("master_hint"));
  }

  #hint(key, values) {
    return make("p", { class: "hint" }, this.#text(key, values));
  }

  #category(name) {
    const title = this.#offer.categories[name];
    const types = this.#offer.types.filter((type) => type.category === name);
    const free = types.filter((type) => !type.mandatory);
    const fixed = types.filter((type) => type.mandatory);
    const channels = [...new Set(free.flatMap((type) => type.channels))];
    const rows = free.map((type) => this.#type(type));
    if (free.length) rows.unshift(this.#row(this.#text("ways"), channels.map((way) => this.#open(name, title, way))));
    if (fixed.length) {
      const items = fixed.map((type) => make("li", {}, type.title));
      rows.push(this.#hint(name === "security" ? "mandatory" : "mandatory_other"), make("ul", {}, ...items));
    }
    return this.#section(title, ...rows);
  }

  #row(first, ways) {
    return make("div", { class: "row", part: "row" }, make("span", {}, first), make("span", { class: "ways" }, ...ways));
  }

  /** Whether a category may come by a channel: whole lists are stored, so names that are not shown are kept. */
  #open(category, title, channel) {
    const off = () => listed(this.#document.unsubscribed?.[channel]);
    const list = (on) => (on ? off().filter((name) => name !== category) : [...off(), category]);
    const patchOf = (on) => ({ unsubscribed: { [channel]: list(on).length ? list(on) : null } });
    const whole = this.#text("whole", { category: title });
    return this.#way(`may ${category} ${channel}`, whole, channel, () => !off().includes(category), patchOf);
  }

  #type(type) {
    const setting = () => this.#document.types?.[type.name] ?? {};
    const channels = () => setting().channels ?? type.channels;
    const changed = (more) => ({ types: { [type.name]: more } });
    const switched = (on) => changed(on && !channels().length ? { enabled: on, channels: null } : { enabled: on });
    const with_ = (channel, on) => {
      if (!on) return channels().filter((each) => each !== channel);
      const own = channels().some((each, at) => at && type.channels.indexOf(each) < type.channels.indexOf(channels()[at - 1]));
      const more = [...channels(), channel];
      return own ? more : more.sort((one, other) => type.channels.indexOf(one) - type.channels.indexOf(other));
    };
    const ways = type.channels.map((channel) => {
      const patchOf = (on) => {
        const list = with_(channel, on);
        return list.length ? changed({ channels: list }) : null;
      };
      return this.#way(`by ${type.name} ${channel}`, type.title, channel, () => channels().includes(channel), patchOf);
    });
    return this.#row(this.#box(`on ${type.name}`, type.title, () => setting().enabled ?? type.enabled, switched), ways);
  }

  /** A field with a label, stored when it is left; `read` gives its value, or undefined where that is wrong. */
  #field(id, field, value, read, patchOf, error) {
    field.id = id;
    this.#shows.push([field, value]);
    field.addEventListener("change", () => {
      const given = read(field);
      field.ariaInvalid = String(given === undefined);
      if (given === undefined) this.#say(`${this.#text(id)}: ${this.#text(error)}`, true);
      else this.#save(() => patchOf(given));
    });
    return make("label", {}, this.#text(id), field);
  }

  #quiet() {
    const quiet = () => this.#document.quiet_hours ?? {};
    const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const zones = new Set(["UTC", ...Intl.supportedValuesOf("timeZone"), here, quiet().timezone ?? here]);
    const change = (more) => ({ quiet_hours: { ...(quiet().timezone ? {} : { timezone: here }), ...more } });
    const time = (id, standard) =>
      this.#field(
        id, make("input", { type: "time" }), () => quiet()[id] ?? standard, ({ value }) => value || undefined,
        (value) => change({ [id]: value }), "error_time",
      );
    const zone = make("select", {}, ...[...zones].sort().map((name) => make("option", { value: name }, name)));
    const zoned = () => quiet().timezone ?? here;
    return this.#section(
      this.#text("quiet"),
      this.#box("quiet", this.#text("quiet_label"), () => quiet().enabled === true, (on) => change({ enabled: on })),
      this.#hint("quiet_hint"),
      make("div", {}, time("start", START), time("end", END)),
      this.#field("zone", zone, zoned, ({ value }) => value, (value) => change({ timezone: value }), "error_zone"),
    );
  }

  #caps() {
    const fields = Object.entries(CAPS).map(([name, standard]) => {
      const field = make("input", { type: "number", min: "0", step: "1", inputmode: "numeric", placeholder: standard });
      const read = ({ value, validity }) => (validity.valid ? (value === "" ? null : Number(value)) : undefined);
      const value = () => this.#document.frequency_cap?.[name] ?? "";
      const patchOf = (given) => ({ frequency_cap: { [name]: given } });
      return make("div", {}, this.#field(name, field, value, read, patchOf, "error_number"));
    });
    const [hour, day] = Object.values(CAPS);
    return this.#section(this.#text("caps"), ...fields, this.#hint("caps_hint", { hour, day }));
  }

  /** A list with a button for each, which goes when it is pressed. */
  #list(entries) {
    if (!entries.length) return make("p", {}, this.#text("none"));
    const items = entries.map(([text, label, act]) => {
      const item = make("li", {}, text);
      if (!act) return item;
      const button = make("button", { type: "button" }, label);
      button.addEventListener("click", async () => (await act()) && item.remove());
      item.append(" ", button);
      return item;
    });
    return make("ul", {}, ...items);
  }

  #muted() {
    const names = (kind) => listed(this.#document.muted?.[kind]);
    const entries = ["actors", "objects"].flatMap((kind) =>
      names(kind).map((name) => {
        const unmute = async () => {
          const rest = () => names(kind).filter((other) => other !== name);
          await this.#save(() => ({ muted: { [kind]: rest().length ? rest() : null } }));
          return !names(kind).includes(name);
        };
        return [name, this.#text("unmute", { name }), unmute];
      }),
    );
    return this.#section(this.#text("muted"), this.#list(entries));
  }

  #reached() {
    const entries = this.#devices.map(({ channel, id, platform, registered_at: at }) => {
      const day = new Date(at).toLocaleDateString(this.#offer.language);
      const title = [this.#offer.channels[channel], platform, id].filter(Boolean).join(" · ");
      const forget = async () => {
        try {
          await this.#call(`/v1/devices/${encodeURIComponent(id)}`, { method: "DELETE" });
        } catch (error) {
          if (error.status !== 404) return this.#failed(error); // gone already is as well
        }
        this.#stored(`${this.#text("removed")} ${id}.`);
        return true;
      };
      const text = `${title}, ${this.#text("since", { day })}`;
      return [text, this.#text("forget", { name: id }), channel === "push" && forget];
    });
    return this.#section(this.#text("devices"), this.#list(entries));
  }
}

if (!customElements.get("carillon-preferences")) customElements.define("carillon-preferences", CarillonPreferences);
