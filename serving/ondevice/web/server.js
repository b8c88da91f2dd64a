// The answer of a running server, through the page's own address.

const MODEL = "v1/models/recommender";

// Placeholders for every input but the history, by what the server says of
// itself; undefined where no server answers.
export async function connect() {
  try {
    const response = await fetch(`${MODEL}/metadata`);
    if (response.status !== 200) return undefined;
    const { metadata } = await response.json();
    const { inputs } = metadata.signature_def.signature_def.serving_default;
    return new Server(inputs);
  } catch {
    // No server: the page works without one.
    return undefined;
  }
}

// JavaScript's JSON has no word for it, TensorFlow Serving's has.
const NAN = "\uE000NaN";
const MISSING = { DT_FLOAT: NAN, DT_DOUBLE: NAN };

class Server {
  #inputs;

  constructor(inputs) {
    this.#inputs = inputs;
  }

  async recommend(history) {
    const body = {};
    for (const [name, { dtype, tensor_shape: shape }] of Object.entries(
      this.#inputs,
    )) {
      // A number that is missing is NaN to the models, and 0 is a number.
      let value = dtype === "DT_STRING" ? "" : MISSING[dtype] ?? 0;
      for (const _ of shape.dim ?? []) value = [value];
      body[name] = value;
    }
    body.history = [history.length ? history : [""]];
    const started = performance.now();
    const response = await fetch(`${MODEL}:predict`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ inputs: body }).replaceAll(`"${NAN}"`, "NaN"),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    const { item_ids: ids } = answer.outputs;
    return {
      ids: ids[0].filter(Boolean),
      milliseconds: performance.now() - started,
    };
  }
}
