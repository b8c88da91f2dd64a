// A bundle in the browser: loaded, checked against its digests, replayed, run.

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

const BUNDLE = "bundle/";
const WASM = "packages/@litertjs/core/wasm/";
const PADDING = 0;
const UNKNOWN = 1;

// What the page shows: `message` in plain words, `advice` what to do.
export class BundleError extends Error {
  constructor(message, advice, cause) {
    super(message, { cause });
    this.advice = advice;
  }
}

const AGAIN = "Copy the whole bundle folder again, then reload this page.";

async function read(name) {
  let response;
  try {
    response = await fetch(BUNDLE + name, { cache: "no-store" });
  } catch (error) {
    throw new BundleError(
      "The page cannot reach the server it came from.",
      "Start it again with make ondevice-demo, then reload.",
      error,
    );
  }
  if (!response.ok) {
    throw new BundleError(
      `The bundle has no readable file “${name}”.`,
      AGAIN,
      new Error(`${response.status} ${response.statusText}`),
    );
  }
  return new Uint8Array(await response.arrayBuffer());
}

function parse(name, bytes) {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new BundleError(`The file “${name}” is damaged.`, AGAIN, error);
  }
}

async function verified(name, digest, bundle) {
  const bytes = await read(name);
  const hash = await crypto.subtle.digest("SHA-256", bytes);
  const found = Array.from(new Uint8Array(hash), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
  if (found !== digest) {
    throw new BundleError(
      `The file “${name}” is damaged, or belongs to another version.`,
      AGAIN,
      new Error(
        `Bundle ${bundle} wants a digest of ${digest.slice(0, 12)}…, ` +
          `this file has ${found.slice(0, 12)}….`,
      ),
    );
  }
  return bytes;
}

export class Model {
  static async load() {
    const config = parse("config.json", await read("config.json"));
    if (!config.files || !config.history_length) {
      throw new BundleError(
        "The file “config.json” does not describe a bundle.",
        AGAIN,
      );
    }
    const names = Object.keys(config.files);
    const contents = await Promise.all(
      names.map((name) => verified(name, config.files[name], config.bundle_id)),
    );
    const files = Object.fromEntries(
      names.map((name, index) => [name, contents[index]]),
    );
    for (const name of ["model.tflite", "vocabulary.json", "golden.json"]) {
      if (!files[name]) {
        throw new BundleError(`The bundle does not list “${name}”.`, AGAIN);
      }
    }
    const vocabulary = parse("vocabulary.json", files["vocabulary.json"]);
    const golden = parse("golden.json", files["golden.json"]);
    let compiled;
    try {
      await loadLiteRt(WASM);
    } catch (error) {
      throw new BundleError(
        "This browser could not start the model runtime.",
        "Use a current browser with WebAssembly SIMD, and make sure that " +
          "npm ci was run in serving/ondevice/web.",
        error,
      );
    }
    try {
      compiled = await loadAndCompile(files["model.tflite"], {
        accelerator: "wasm",
      });
    } catch (error) {
      throw new BundleError(
        "The file “model.tflite” is not a model this browser can run.",
        AGAIN,
        error,
      );
    }
    const model = new Model(config, vocabulary, compiled);
    await model.#replay(golden);
    return model;
  }

  #compiled;
  #rows;

  constructor(config, vocabulary, compiled) {
    this.config = config;
    this.ids = vocabulary.ids;
    this.titles = vocabulary.titles;
    this.counts = vocabulary.counts ?? [];
    this.features = vocabulary.features ?? {};
    this.#compiled = compiled;
    this.#rows = new Map(this.ids.map((id, row) => [id, row]));
  }

  row(id) {
    return this.#rows.get(id) ?? UNKNOWN;
  }

  title(row) {
    return this.titles[row] || this.ids[row];
  }

  // Words that describe an item, such as its genres.
  words(row) {
    return Object.values(this.features).flatMap((column) => column[row] ?? []);
  }

  // Whether what was picked may be recommended again.
  get repeats() {
    return this.config.repeat_consumption ?? false;
  }

  // Rows and scores, best first, for rows from old to new.
  async recommend(history) {
    const { ids, scores } = await this.run(this.#padded(history));
    const seen = new Set(this.repeats ? [] : history);
    const gone = new Set(this.config.gone_items ?? []);
    return Array.from(ids, (row, place) => ({ row, score: scores[place] })).filter(
      ({ row }) => row > UNKNOWN && !seen.has(row) && !gone.has(this.ids[row]),
    );
  }

  #padded(history) {
    const length = this.config.history_length;
    const padded = new Int32Array(length).fill(PADDING);
    const end = history.slice(-length);
    padded.set(end, length - end.length);
    return padded;
  }

  async run(padded) {
    const input = new Tensor(padded, [padded.length]);
    let output;
    try {
      output = await this.#compiled.run({ history: input });
      const { ids, scores } = output;
      return {
        ids: Int32Array.from(ids.toTypedArray()),
        scores: Float32Array.from(scores.toTypedArray()),
      };
    } finally {
      // Tensors live outside of JavaScript's memory.
      input.delete();
      Object.values(output ?? {}).forEach((tensor) => tensor.delete());
    }
  }

  // Files that fit their digests may still not fit each other.
  async #replay({ vocabulary, cases, tolerance }) {
    // The cases are in rows: another vocabulary would not change them.
    if (vocabulary !== this.config.files["vocabulary.json"]) {
      throw new BundleError(
        "The titles are not those that the model was made with.",
        `The bundle's files come from different versions. ${AGAIN}`,
      );
    }
    for (const [number, expected] of cases.entries()) {
      let found;
      try {
        found = await this.run(Int32Array.from(expected.history));
      } catch (error) {
        throw new BundleError(
          "The model does not take what its bundle describes.",
          AGAIN,
          error,
        );
      }
      if (!agrees(found, expected, tolerance)) {
        throw new BundleError(
          "The model does not answer as its bundle says it must.",
          `Its files come from different versions. ${AGAIN}`,
          new Error(
            `Golden case ${number} must give ${expected.ids.join(", ")}. ` +
              `Received: ${found.ids.join(", ")}.`,
          ),
        );
      }
    }
    this.replayed = cases.length;
  }
}

// Runtimes round differently: what is within the tolerance may change places,
// or leave at the end of the list.
function agrees({ ids, scores }, expected, tolerance) {
  const found = new Map(Array.from(ids, (row, place) => [row, scores[place]]));
  const last = scores[scores.length - 1];
  return (
    ids.length === expected.ids.length &&
    expected.ids.every((row, place) => {
      const wanted = expected.scores[place];
      return found.has(row)
        ? Math.abs(found.get(row) - wanted) <= tolerance
        : wanted - last <= tolerance;
    })
  );
}
