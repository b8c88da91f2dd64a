// Only items with some values of their features: what a filter lets pass.

import * as ask from "./ask.js";
import { button, element } from "./shared/parts.js";
import { Picker } from "./shared/picker.js";

const $ = (id) => document.getElementById(id);
const textOf = ({ feature, value }) => `${feature}=${value}`;

export class Only {
  #chosen = new Map();

  // `changed` hears what happened; `tried` gives undefined for a failure.
  constructor({ about, changed, tried, announce }) {
    this.changed = changed;
    const some = about.some_values;
    $("only-search").hidden = !some.length;
    if (!some.length) return;
    $("only").placeholder = `Such as ${some[0].value}`;
    $("only").disabled = false;
    new Picker({
      noun: "value",
      input: $("only"),
      list: $("values"),
      search: async (text) => {
        const found = (await tried(ask.values(text)))?.values ?? [];
        return found.filter((one) => !this.#chosen.has(textOf(one)));
      },
      describe: ({ feature, value, items }) => [
        element("span", "name", value),
        element("small", "", `${feature}, ${items.toLocaleString("en")} items`),
      ],
      pick: (one) => {
        this.#chosen.set(textOf(one), one);
        this.#change(`Only ${one.feature} ${one.value}`);
      },
      undo: () => {
        const last = [...this.#chosen.values()].at(-1);
        if (last) this.#drop(last);
      },
      announce,
    });
  }

  get isEmpty() {
    return !this.#chosen.size;
  }

  // Values by feature, as the server takes them.
  get filters() {
    const found = {};
    for (const { feature, value } of this.#chosen.values())
      (found[feature] ??= []).push(value);
    return found;
  }

  // Each as text, for the address.
  get kept() {
    return [...this.#chosen.keys()];
  }

  restore(texts) {
    this.#chosen = new Map(
      texts.map((text) => {
        const [feature, ...value] = text.split("=");
        return [text, { feature, value: value.join("=") }];
      }),
    );
  }

  // What rises because others are gone has no other reason: nothing to compare.
  #change(what) {
    this.changed(what, undefined, true);
  }

  #drop(one) {
    this.#chosen.delete(textOf(one));
    this.#change(`No longer only ${one.feature} ${one.value}`);
    $("only").focus();
  }

  draw() {
    $("only-list").replaceChildren(
      ...[...this.#chosen.values()].map((one) => {
        const text = `${one.feature} ${one.value}`;
        return button("chip", `Remove the filter ${text}`, text, () =>
          this.#drop(one),
        );
      }),
    );
    const features = Object.keys(this.filters);
    $("only-note").textContent = !features.length
      ? ""
      : features.length > 1
        ? "Items with any of these values of every feature."
        : "Items with any of these values.";
  }
}
