// Who is asked, in words.

const TITLES = {
  retrieval: "Retrieval",
  two_stage: "After ranking",
  diverse: "With diversity",
  retrieval_exact: "Exact search",
  stable: "Stable",
  canary: "Canary",
  student: "On the device",
  window_markov: "Window-Markov",
  item_knn: "Item-kNN",
  ease: "EASE",
};
// Of what is not shown until it is asked for.
const HIDDEN = ["retrieval_exact", "recent_popularity"];

export function titleOf(name) {
  const words = name.replaceAll("_", " ");
  return TITLES[name] ?? words[0].toUpperCase() + words.slice(1);
}

// As part of a sentence.
export const placeIn = (name) =>
  ({
    two_stage: "after ranking",
    student: "on the device",
    diverse: "with diversity",
  })[name] ??
  `in ${name === "ease" ? "EASE" : lower(titleOf(name))}`;
const lower = (text) => text[0].toLowerCase() + text.slice(1);

export const isShownFirst = (name) => !HIDDEN.includes(name);

const ORDER = [
  "retrieval",
  "two_stage",
  "diverse",
  "stable",
  "canary",
  "student",
  "window_markov",
  "item_knn",
  "ease",
  "personal_frequency",
  "popularity",
];

// Models first, then the baselines, then variants of them.
export function inOrder(columns) {
  const place = ({ name }) =>
    ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length;
  return columns.toSorted((a, b) => place(a) - place(b));
}

export const ordinal = (place) => {
  const tens = place % 100;
  const last = tens > 10 && tens < 14 ? 0 : place % 10;
  return `${place.toLocaleString("en")}${["th", "st", "nd", "rd"][last] ?? "th"}`;
};
