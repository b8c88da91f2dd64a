// What pages are put together from: elements, buttons, tiles, durations.

export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

export function button(className, label, text, press) {
  const made = element("button", className, text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", press);
  return made;
}

// A tile in place of a cover: its colour and letters follow from the title.
export function cover(title) {
  let hash = 7;
  for (const letter of title) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  const all = title.match(/[\p{L}\p{N}]+/gu) ?? [title];
  const telling = all.filter((word) => !/^(the|an?|of|and|\d+)$/i.test(word));
  const [first, second] = telling.length ? telling : all;
  const letters = second ? first[0] + second[0] : first.slice(0, 2);
  const tile = element("span", "cover", letters.toUpperCase());
  tile.setAttribute("aria-hidden", "true");
  tile.style.setProperty("--hue", hash % 360);
  return tile;
}

export function duration(milliseconds) {
  return milliseconds < 10
    ? `${milliseconds.toFixed(2)} ms`
    : `${Math.round(milliseconds)} ms`;
}
