// A request as a program: with curl, or with OpenAI's Python client. Both read the key from SLIPWAY_KEY.

type Body = Record<string, unknown>;
export type Endpoint = "chat/completions" | "completions";

const shellQuote = (text: string) => `'${text.replace(/'/g, `'\\''`)}'`;

export function asCurl(origin: string, endpoint: Endpoint, body: Body, stream: boolean): string {
  const sent = stream ? { ...body, stream: true } : body;
  return [
    `curl ${stream ? "-N " : ""}${origin}/v1/${endpoint} \\`,
    `  -H "Authorization: Bearer $SLIPWAY_KEY" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d ${shellQuote(JSON.stringify(sent, null, 2))}`,
  ].join("\n");
}

/** A value as Python writes it. */
export function asPythonValue(value: unknown, indent = 0): string {
  const pad = " ".repeat(indent + 4);
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  // Python reads all of JSON's escapes alike.
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number") return String(value);
  const [open, close, items] = Array.isArray(value)
    ? ["[", "]", value.map((one) => asPythonValue(one, indent + 4))]
    : ["{", "}", Object.entries(value as Body).map(([key, one]) => `${JSON.stringify(key)}: ${asPythonValue(one, indent + 4)}`)];
  const flat = `${open}${items.join(", ")}${close}`;
  if (flat.length + indent < 90 && !flat.includes("\n")) return flat;
  return `${open}\n${items.map((item) => `${pad}${item},\n`).join("")}${" ".repeat(indent)}${close}`;
}

// What OpenAI's client takes by name; the rest goes through extra_body, as vLLM's documentation has it.
const known = new Set([
  "model", "messages", "prompt", "temperature", "max_tokens", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty", "logit_bias",
  "logprobs", "top_logprobs", "tools", "tool_choice", "response_format", "echo", "n",
]);

export function asPython(origin: string, endpoint: Endpoint, body: Body, stream: boolean): string {
  // Its completions.create knows no response_format.
  const named = (key: string) => known.has(key) && !(endpoint === "completions" && key === "response_format");
  const given = Object.entries(body).filter(([key]) => named(key));
  const extra = Object.fromEntries(Object.entries(body).filter(([key]) => !named(key)));
  const chat = endpoint === "chat/completions";
  const lines = [
    "import os",
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${JSON.stringify(`${origin}/v1`)}, api_key=os.environ["SLIPWAY_KEY"])`,
    `${stream ? "stream" : "answer"} = client.${chat ? "chat.completions" : "completions"}.create(`,
    ...given.map(([key, value]) => `    ${key}=${asPythonValue(value, 4)},`),
    ...(Object.keys(extra).length > 0 ? [`    extra_body=${asPythonValue(extra, 4)},`] : []),
    ...(stream ? ["    stream=True,"] : []),
    ")",
  ];
  if (!stream) {
    lines.push("for choice in answer.choices:");
    lines.push(chat ? "    print(choice.message.tool_calls or choice.message.content)" : "    print(choice.text)");
    return lines.join("\n");
  }
  lines.push(
    "for chunk in stream:",
    "    if chunk.choices:",
    `        print(${chat ? 'chunk.choices[0].delta.content or ""' : "chunk.choices[0].text"}, end="", flush=True)`,
  );
  return lines.join("\n");
}

/** How a reward model's files, downloaded to `folder`, score an answer: by the classes of transformers, or of PEFT for an adapter. */
export function rewardPython(folder: string, adapter: boolean): string {
  const [library, loader] = adapter ? ["peft", "AutoPeftModelForSequenceClassification"] : ["transformers", "AutoModelForSequenceClassification"];
  const origin = adapter ? 'model.peft_config["default"].base_model_name_or_path' : "folder";
  return [
    "import torch",
    `from ${library} import ${loader}`,
    "from transformers import AutoTokenizer",
    "",
    `folder = ${JSON.stringify(folder)}`,
    `model = ${loader}.from_pretrained(folder, num_labels=1)`,
    `tokenizer = AutoTokenizer.from_pretrained(${origin})`,
    "",
    "# As the dataset's rows were: plain texts that end with the end token ...",
    'inputs = tokenizer("How do I sort a hash?" + "Sort its keys." + tokenizer.eos_token, return_tensors="pt")',
    "# ... or messages by the chat template:",
    '# inputs = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)',
    "with torch.no_grad():",
    "    print(model(**inputs).logits[0, 0].item())",
  ].join("\n");
}
