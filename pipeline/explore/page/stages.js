// A table of who answered: version, latency, how they are set.

import { titleOf } from "./names.js";
import { duration, element } from "./shared/parts.js";

const $ = (id) => document.getElementById(id);

function settingsOf(name, about) {
  const given = about.settings[name];
  if (given) {
    const pairs = Object.entries(given).map(
      ([key, value]) => `${key.replaceAll("_", " ")} ${value}`,
    );
    return pairs.join(", ");
  }
  const { encoder, precision, model_bytes: bytes } = about.student;
  return name === "student" && bytes
    ? `${encoder}, ${precision}, ${(bytes / 1000).toFixed(0)} kB`
    : "";
}

function row(kind, cells) {
  return element(
    "tr",
    "",
    ...cells.map((text, place) => {
      const cell = element(place ? kind : "th", "", text);
      if (!place || kind === "th") cell.scope = kind === "th" ? "col" : "row";
      return cell;
    }),
  );
}

export function drawStages(about, columns) {
  const head = row("th", ["asked", "version", "latency", "set to"]);
  const rows = columns.map(({ name, version, latency_ms, error }) =>
    row("td", [
      titleOf(name),
      version ? String(version) : "–",
      error ? "no answer" : duration(latency_ms),
      settingsOf(name, about),
    ]),
  );
  $("stages").replaceChildren(
    element("thead", "", head),
    element("tbody", "", ...rows),
  );
  const found = Object.fromEntries(columns.map((one) => [one.name, one.ids]));
  const exact = found.retrieval_exact ?? [];
  const same = exact.filter((id) => found.retrieval?.includes(id)).length;
  const missing = Object.entries(about.left_out).map(
    ([name, reason]) => `${titleOf(name)} is left out: ${reason}`,
  );
  $("stages-note").textContent = [
    exact.length
      ? `The index finds ${same} of the ${exact.length} items that exact ` +
        "search finds."
      : "",
    "Latency is that of this one question, as the page's server saw it.",
    // A server elsewhere may serve either.
    about.published && about.published !== about.bundle_id
      ? `Published here is bundle ${about.published}; vectors and baselines ` +
        `are of the run's latest, ${about.bundle_id}.`
      : "",
    ...missing,
  ]
    .filter(Boolean)
    .join(" ");
}

// Versions in one line; below it those that are not served, and why.
export function drawVersions(versions) {
  const isLive = ({ state }) => state === "AVAILABLE";
  const live = versions.filter(isLive).map((v) => `${v.model} ${v.version}`);
  const others = versions
    .filter((one) => !isLive(one) && (one.error || one.state !== "END"))
    .map(({ model, version, state, error }) =>
      [`${model} ${version} is ${state.toLowerCase()}`, error]
        .filter(Boolean)
        .join(": "),
    );
  const lines = live.length ? [`Served: ${live.join(", ")}.`] : [];
  $("versions").replaceChildren(
    ...[...lines, ...others].map((text) => element("li", "", text)),
  );
}
