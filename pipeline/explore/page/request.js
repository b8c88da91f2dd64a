// The request as commands, in tabs, with a button that copies.

import { element } from "./shared/parts.js";

const KINDS = [
  ["curl", "curl"],
  ["grpcurl", "grpcurl"],
  ["python", "Python"],
];
const $ = (id) => document.getElementById(id);

export class Request {
  #commands;
  #chosen = "curl";

  constructor(announce) {
    $("tabs").append(
      ...KINDS.map(([kind, title]) => {
        const tab = element("button", "tab", title);
        tab.type = "button";
        tab.id = `tab-${kind}`;
        tab.setAttribute("role", "tab");
        tab.setAttribute("aria-controls", "request");
        tab.addEventListener("click", () => this.#choose(kind));
        return tab;
      }),
    );
    $("tabs").addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const at = KINDS.findIndex(([kind]) => kind === this.#chosen);
      const [kind] = KINDS[(at + step + KINDS.length) % KINDS.length];
      this.#choose(kind);
      $(`tab-${kind}`).focus();
    });
    $("copy").addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText($("request").textContent);
        announce("Copied.");
      } catch {
        // Some browsers ask or refuse: then the text is there to be taken.
        getSelection().selectAllChildren($("request"));
        announce("Selected: copy it with the keyboard.");
      }
    });
    this.#choose(this.#chosen);
  }

  draw(commands) {
    this.#commands = commands;
    this.#choose(this.#chosen);
  }

  #choose(chosen) {
    this.#chosen = chosen;
    for (const [kind] of KINDS) {
      const tab = $(`tab-${kind}`);
      tab.setAttribute("aria-selected", String(kind === chosen));
      tab.tabIndex = kind === chosen ? 0 : -1;
    }
    $("request").setAttribute("aria-labelledby", `tab-${chosen}`);
    $("request").textContent =
      this.#commands?.[chosen] ?? "No server says what its models take.";
    $("copy").hidden = !this.#commands;
  }
}
