// The dialog about one item.

import { similar } from "./ask.js";
import { moved } from "./lists.js";
import { ordinal, titleOf } from "./names.js";
import { reasonsFor } from "./reasons.js";
import { button, element } from "./shared/parts.js";

const $ = (id) => document.getElementById(id);

export class Why {
  #item;

  constructor({ add, exclude }) {
    this.add = add;
    $("why-close").addEventListener("click", () => $("why").close());
    $("why-add").addEventListener("click", () => this.#done(add));
    $("why-exclude").addEventListener("click", () => this.#done(exclude));
    // A click beside the dialog is one on its backdrop.
    $("why").addEventListener("click", (event) => {
      if (event.target === $("why")) $("why").close();
    });
  }

  #done(act) {
    $("why").close();
    act(this.#item.id);
  }

  open(item, answer, isTaken) {
    this.#item = item;
    $("why-title").textContent = item.title;
    $("why-features").textContent = [
      item.id,
      ...Object.entries(item.features).map(
        ([name, value]) => `${name} ${value}`,
      ),
    ].join(" · ");
    $("why-add").hidden = isTaken;
    $("why-reasons").replaceChildren(
      ...reasonsFor(item, answer).map((text) => element("li", "", text)),
    );
    $("why-places").replaceChildren(...this.#places(item, answer));
    this.#similar(item);
    if (!$("why").open) $("why").showModal();
  }

  #places({ id }, { columns, places, before }) {
    const head = element(
      "tr",
      "",
      ...["list", "place", "before"].map((text) => {
        const cell = element("th", "", text);
        cell.scope = "col";
        return cell;
      }),
    );
    const rows = columns.map(({ name }) => {
      const place = places.get(name).get(id);
      const was = before?.get(name)?.get(id);
      const title = element("th", "", titleOf(name));
      title.scope = "row";
      const { kind } = place ? moved(before?.get(name), id, place) : {};
      return element(
        "tr",
        "",
        title,
        element("td", kind ?? "", place ? ordinal(place) : "–"),
        element("td", "", was ? ordinal(was) : "–"),
      );
    });
    return [element("thead", "", head), element("tbody", "", ...rows)];
  }

  async #similar(item) {
    $("why-similar").replaceChildren(element("p", "note", "Asking…"));
    let found;
    try {
      found = (await similar(item.id)).items;
    } catch (error) {
      found = error;
    }
    if (this.#item !== item) return;
    $("why-similar").replaceChildren(
      ...(found instanceof Error
        ? [element("p", "note", found.message)]
        : found.map(({ id, title }) =>
            button("chip", `Add ${title}`, title, () => {
              $("why").close();
              this.add(id);
            }),
          )),
    );
  }
}
