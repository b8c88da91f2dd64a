// Who asks, with which history, without what: the panel on the left.

import * as ask from "./ask.js";
import { known, learn, named, titleOfItem } from "./items.js";
import { Only } from "./only.js";
import { standing } from "./reasons.js";
import { button, cover, element } from "./shared/parts.js";
import { Picker } from "./shared/picker.js";

// Of what a user took next.
const TOLD = 3;
const NOBODY = { user: "", features: {}, history: [], targets: [] };
// Numbers come back from 32 bits.
const plain = (value) =>
  typeof value === "number" ? Number(value.toPrecision(5)) : value;
const $ = (id) => document.getElementById(id);

export class Question {
  #about;

  // `changed` hears what happened, which item was added, and whether the lists
  // have nothing to be compared with; `tried` gives undefined for a failure.
  constructor({ about, changed, tried, announce }) {
    Object.assign(this, { changed, tried, announce });
    this.only = new Only({ about, changed, tried, announce });
    this.#about = about;
    this.#become(NOBODY);
    this.#connect();
    this.#suggest();
  }

  #become({ user, features, history, targets }) {
    Object.assign(this, { user, features, targets });
    this.history = [...history];
    this.excluded = [];
  }

  get diversity() {
    return Number($("diversity").value);
  }

  // As the server takes it.
  get asked() {
    return {
      user_id: this.user,
      history: this.history,
      excluded_ids: this.excluded,
      diversity: this.diversity,
      filters: this.only.filters,
    };
  }

  isTaken(id) {
    return !this.#about.repeats && this.history.includes(id);
  }

  add(id) {
    if (this.isTaken(id)) return;
    this.history.push(id);
    this.excluded = this.excluded.filter((other) => other !== id);
    this.changed(`Added ${titleOfItem(id)}`, id);
  }

  exclude(id) {
    if (!this.excluded.includes(id)) this.excluded.push(id);
    this.changed(`${titleOfItem(id)} is never recommended`);
  }

  #allow(id) {
    this.excluded = this.excluded.filter((other) => other !== id);
    this.changed(`${titleOfItem(id)} may be recommended again`);
  }

  #drop(place) {
    const [id] = this.history.splice(place, 1);
    this.changed(`Removed ${titleOfItem(id)}`);
    const left = $("history").querySelectorAll("button");
    (left[Math.min(place, left.length - 1)] ?? $("search")).focus();
  }

  async #choose(id) {
    const found = await this.tried(ask.user(id));
    if (!found) return;
    learn(Object.values(found.items));
    this.#become({ ...found.user, user: id });
    this.changed(`User ${id}`, undefined, true);
  }

  // The address holds the question, so that a reload asks it again.
  keep() {
    const kept = new URLSearchParams();
    if (this.user) kept.append("user", this.user);
    for (const id of this.history) kept.append("item", id);
    for (const id of this.excluded) kept.append("without", id);
    for (const text of this.only.kept) kept.append("only", text);
    if (this.diversity) kept.append("diversity", this.diversity);
    history.replaceState(null, "", `#${kept}`);
  }

  async restore() {
    const kept = new URLSearchParams(location.hash.slice(1));
    const user = kept.get("user");
    const found = user && (await this.tried(ask.user(user)));
    if (found) {
      learn(Object.values(found.items));
      this.#become({ ...found.user, user });
    }
    // Whoever names a user alone means their history.
    if (!found || kept.has("item")) this.history = kept.getAll("item");
    this.excluded = kept.getAll("without");
    this.only.restore(kept.getAll("only"));
    $("diversity").value = kept.get("diversity") ?? 0;
  }

  #connect() {
    const { tried, announce } = this;
    new Picker({
      noun: "user",
      input: $("user"),
      list: $("users"),
      search: async (text) => (await tried(ask.users(text)))?.users ?? [],
      describe: (id) => [cover(id), element("span", "name", id)],
      pick: (id) => this.#choose(id),
      undo: () => {},
      announce,
    });
    new Picker({
      input: $("search"),
      list: $("options"),
      search: async (text) => {
        const found = (await tried(ask.search(text)))?.items ?? [];
        learn(found);
        return found.map(({ id }) => id).filter((id) => !this.isTaken(id));
      },
      describe: (id) => [cover(titleOfItem(id)), named(known(id))],
      pick: (id) => this.add(id),
      undo: () => {
        if (this.history.length) this.#drop(this.history.length - 1);
      },
      announce,
    });
    $("clear").addEventListener("click", () => {
      this.#become(NOBODY);
      this.only.restore([]);
      this.changed("Started over", undefined, true);
      $("search").focus();
    });
    $("diversity").addEventListener("input", () => {
      const { diversity } = this;
      this.changed(diversity ? `Diversity ${diversity}` : "Diversity is off");
    });
    for (const id of ["user", "search", "diversity"]) $(id).disabled = false;
  }

  #suggest() {
    const { popular, some_users: users } = this.#about;
    learn(popular);
    const ids = popular.map(({ id }) => id);
    this.#chips("popular", ids, "Add", (id) => this.add(id));
    $("some-users").append(
      ...users
        .slice(0, 4)
        .map((id) => button("chip", `User ${id}`, id, () => this.#choose(id))),
    );
    $("user").placeholder = `Such as ${users[0] ?? "none"}`;
  }

  #chips(where, ids, label, press) {
    $(`${where}-list`).replaceChildren(
      ...ids.map((id) =>
        button("chip", `${label} ${titleOfItem(id)}`, titleOfItem(id), () => {
          press(id);
          $("search").focus();
        }),
      ),
    );
    $(where).hidden = !ids.length;
  }

  draw() {
    const { user, excluded } = this;
    const isEmpty = !this.history.length;
    const words = Object.entries(this.features)
      .filter(([, value]) => value !== "" && value !== null)
      .map(([name, value]) => ` · ${name.replace("user_", "")} ${plain(value)}`);
    $("who").replaceChildren(element("b", "", `User ${user}`), ...words);
    $("who").hidden = !user;
    $("some-users").hidden = Boolean(user);
    $("clear").hidden =
      isEmpty && !user && !excluded.length && this.only.isEmpty;
    $("popular").hidden = !isEmpty;
    $("diversity-value").textContent = this.diversity || "off";
    this.only.draw();
    this.#drawHistory();
    this.#chips("targets", this.#missing(), "Add", (id) => this.add(id));
    this.#chips("excluded", excluded, "Allow again", (id) => this.#allow(id));
  }

  #drawHistory() {
    const items = this.history;
    $("history").replaceChildren(
      ...items.map((id, place) => {
        const item = known(id);
        const remove = button("remove", `Remove ${item.title}`, "", () =>
          this.#drop(place),
        );
        const entry = element("li", "", cover(item.title), named(item), remove);
        entry.dataset.item = id;
        return entry;
      }),
    );
    // The newest is the last.
    $("history").scrollTop = $("history").scrollHeight;
    const length = this.#about.history_length;
    const count = `${items.length} ${items.length > 1 ? "items" : "item"}`;
    $("history-note").textContent = !items.length
      ? "Empty: the lists are what the models offer to anyone."
      : items.length > length
        ? `${count}; the models read the latest ${length}.`
        : `${count}, the latest last.`;
  }

  #missing() {
    return this.targets.filter((id) => !this.history.includes(id));
  }

  // How near the lists come to what the user did.
  drawTargets(places) {
    $("targets-note").textContent = this.#missing()
      .slice(0, TOLD)
      .map((id) => `${titleOfItem(id)} stands ${standing(id, places)}.`)
      .join(" ");
  }
}
