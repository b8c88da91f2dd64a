// The lists side by side: what stands where, what moved since the last answer.

import { button, cover, duration, element } from "./shared/parts.js";
import { isShownFirst, ordinal, titleOf } from "./names.js";

export const SHOWN = 10;
// Below this a baseline's score only decides between items without one.
const TIE = 1e-5;

// Places from 1 by item, of every list.
export function placesOf(columns) {
  return new Map(
    columns.map(({ name, ids }) => [
      name,
      new Map(ids.map((id, index) => [id, index + 1])),
    ]),
  );
}

export class Lists {
  #hidden = new Set();
  #known = new Set();
  #active = { column: 0, place: 0 };

  // `describe` gives an item's words, `add` and `explain` are what is done.
  constructor({ root, chooser, add, explain, describe }) {
    Object.assign(this, { root, chooser, add, explain, describe });
    root.addEventListener("keydown", (event) => this.#key(event));
    for (const kind of ["pointerover", "focusin"]) {
      root.addEventListener(kind, ({ target }) => {
        this.#mark(target.closest("[data-item]")?.dataset.item);
      });
    }
    root.addEventListener("pointerleave", () => this.#mark());
  }

  isShown(name) {
    return this.#known.has(name) && !this.#hidden.has(name);
  }

  draw({ columns, before, targets }) {
    for (const { name } of columns) {
      if (!this.#known.has(name) && !isShownFirst(name)) this.#hidden.add(name);
      this.#known.add(name);
    }
    const had = this.root.contains(document.activeElement);
    const tops = this.#tops();
    const now = placesOf(columns);
    this.#choose(columns);
    this.root.replaceChildren(
      ...columns
        .filter(({ name }) => !this.#hidden.has(name))
        .map((column) => this.#column(column, before, now, targets)),
    );
    this.#rove(this.#active.column, this.#active.place, had);
    this.#move(tops);
    this.redraw = () => this.draw({ columns, before, targets });
  }

  #choose(columns) {
    const focused = document.activeElement?.dataset?.list;
    this.chooser.replaceChildren(
      ...columns.map(({ name }) => {
        const toggle = element("button", "toggle", titleOf(name));
        toggle.type = "button";
        toggle.dataset.list = name;
        toggle.setAttribute("aria-pressed", String(!this.#hidden.has(name)));
        toggle.addEventListener("click", () => {
          if (!this.#hidden.delete(name)) this.#hidden.add(name);
          this.redraw();
        });
        return toggle;
      }),
    );
    this.chooser.querySelector(`[data-list="${focused}"]`)?.focus();
  }

  #column(column, before, now, targets) {
    const { name, ids, error, latency_ms: latency, version } = column;
    const title = element("h3", "", titleOf(name));
    title.id = `list-${name}`;
    const about = error
      ? ""
      : [duration(latency), version ? `version ${version}` : ""]
          .filter(Boolean)
          .join(" · ");
    const list = element(
      "ol",
      "list",
      ...ids.slice(0, SHOWN).map((id, index) =>
        this.#entry(column, id, index, before, now, targets),
      ),
    );
    list.setAttribute("aria-labelledby", title.id);
    const head = element("div", "list-head", title, element("small", "", about));
    const made = element("div", "column", head, list);
    made.dataset.column = name;
    if (error) made.append(element("p", "none", error));
    else if (!ids.length) {
      made.append(element("p", "none", "Nothing is left to recommend."));
    }
    return made;
  }

  #entry(column, id, index, before, now, targets) {
    const { name } = column;
    const item = this.describe(id);
    const change = moved(before?.get(name), id, index + 1);
    const line = element("small", "", this.#line(column, index, id, now));
    if (change.text) {
      line.prepend(element("span", `change ${change.kind}`, change.text), " ");
    }
    const text = element("span", "name", element("b", "", item.title), line);
    const isTarget = targets.has(id);
    const label = [
      `Add ${item.title}`,
      `${ordinal(index + 1)} of ${titleOf(name)}`,
      change.said,
      isTarget ? "the user really took it next" : "",
    ];
    const add = button(
      "item",
      label.filter(Boolean).join(", "),
      "",
      () => this.#act(index, () => this.add(id, name)),
    );
    add.append(cover(item.title), text);
    const why = button("ask", `Why ${item.title}`, "?", () =>
      this.explain(id),
    );
    const entry = element("li", isTarget ? "target" : "", add, why);
    entry.dataset.item = id;
    return entry;
  }

  // What stands under a title: where ranking took it from, else the score.
  #line({ name, scores, version }, index, id, now) {
    const from = { two_stage: "retrieval", diverse: "two_stage" }[name];
    const place = now.get(from)?.get(id);
    if (from && place) {
      return `${from === "retrieval" ? from : "ranking"} ${ordinal(place)}`;
    }
    const score = scores[index];
    // Baselines that know nothing of an item fall back on that.
    return !version && score < TIE ? "by popularity" : score.toPrecision(3);
  }

  #act(place, act) {
    this.#active = {
      column: this.#columns().indexOf(
        document.activeElement?.closest("[data-column]"),
      ),
      place,
    };
    act();
  }

  #columns() {
    return [...this.root.children];
  }

  // One item of all lists is in the order of tabs, the others by arrow keys.
  #rove(column, place, focus) {
    const columns = this.#columns();
    for (const one of this.root.querySelectorAll("button")) one.tabIndex = -1;
    const filled = columns.filter((one) => one.querySelector("li"));
    if (!filled.length) return;
    const wanted = columns[Math.min(Math.max(column, 0), columns.length - 1)];
    const chosen = filled.includes(wanted) ? wanted : filled[0];
    const entries = chosen.querySelectorAll("li");
    const at = Math.min(Math.max(place, 0), entries.length - 1);
    this.#active = { column: columns.indexOf(chosen), place: at };
    for (const one of entries[at].querySelectorAll("button")) one.tabIndex = 0;
    if (focus) entries[at].querySelector("button").focus();
  }

  #key(event) {
    const step = {
      ArrowDown: [0, 1],
      ArrowUp: [0, -1],
      ArrowRight: [1, 0],
      ArrowLeft: [-1, 0],
    }[event.key];
    const entry = event.target.closest("li");
    if (!step || !entry) return;
    event.preventDefault();
    const column = this.#columns().indexOf(entry.closest("[data-column]"));
    const place = [...entry.parentElement.children].indexOf(entry);
    this.#rove(column + step[0], place + step[1], true);
  }

  // The same item in every list.
  #mark(item) {
    for (const one of this.root.querySelectorAll("[data-item]")) {
      one.classList.toggle("same", one.dataset.item === item);
    }
  }

  #tops() {
    return new Map(
      [...this.root.querySelectorAll("[data-item]")].map((entry) => [
        key(entry),
        entry.getBoundingClientRect().top,
      ]),
    );
  }

  // Items go from where they were to where they are.
  #move(tops) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const entry of this.root.querySelectorAll("[data-item]")) {
      const from = tops.get(key(entry));
      const by = from - entry.getBoundingClientRect().top;
      const frames =
        from === undefined
          ? { opacity: [0, 1] }
          : by && { transform: [`translateY(${by}px)`, "none"] };
      if (frames) entry.animate(frames, { duration: 260, easing: "ease-out" });
    }
  }
}

const key = (entry) =>
  `${entry.closest("[data-column]").dataset.column} ${entry.dataset.item}`;

// What happened to an item of a list since the answer before.
export function moved(before, id, place) {
  if (!before) return { kind: "", text: "", said: "" };
  const was = before.get(id);
  if (!was) return { kind: "new", text: "new", said: "new" };
  if (was === place) return { kind: "", text: "", said: "" };
  const up = was > place;
  return {
    kind: up ? "up" : "down",
    text: `${up ? "▲" : "▼"} ${Math.abs(was - place)}`,
    said: `${up ? "up" : "down"} from ${ordinal(was)}`,
  };
}
