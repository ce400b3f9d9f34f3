// Further ways through the console in a real Chromium, with a model of a moment: quantize and evaluate, how a deployment
// serves and its change, several answers, samples, stop and keep, resume, train again, several ranks and the loss of one,
// prompt tuning, preference tuning, a reward model. Run by ctest.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { play, python, Stage, until } from "./harness.mjs";
import { writeTinyModel } from "./tiny_model.mjs";

const password = "correct-horse-battery";
const stage = new Stage();
const say = (text) => stage.say(text);
const state = () => stage.page.locator(".page-header [data-state]").first();
const reaches = (wanted) =>
  until(
    `the state ${wanted}`,
    async () => {
      const now = (await state().getAttribute("data-state")) ?? "";
      if (now === "Failed") throw new Error(`failed: ${await stage.page.getByRole("alert").allTextContents()}`);
      return now === wanted;
    },
    120_000,
  );

/** A random model with its tokenizer, and rows. */
function makeFiles() {
  writeTinyModel(join(stage.folder, "model"));
  const things = ["anchor", "rope", "sail", "hull", "mast", "keel", "rudder", "deck", "crew", "tide"];
  const rows = Array.from({ length: 80 }, (_, i) => ({ question: `Where is the ${things[i % 10]} ${i}?`, answer: `The ${things[(i + 3) % 10]} is in the harbour, north of the ${things[(i + 5) % 10]}.` }));
  const asLines = (items) => items.map((item) => JSON.stringify(item)).join("\n") + "\n";
  writeFileSync(join(stage.folder, "rows.jsonl"), asLines(rows));
  writeFileSync(join(stage.folder, "tasks.jsonl"), asLines(rows.map((row, i) => ({ ...row, task_id: i % 2 }))));
  const pairs = rows.map(({ question, answer }) => ({ prompt: question, chosen: answer, rejected: "I do not know the sea." }));
  writeFileSync(join(stage.folder, "pairs.jsonl"), asLines(pairs));
}

function setUp() {
  say("an administrator, a model and data, by the command line");
  stage.cliWith(`${password}\n`, "login", "--user", "captain", "--password-stdin", "--setup-token", stage.setupLink);
  makeFiles();
  stage.cli("model", "import", join(stage.folder, "model"), "--name", "tiny");
  for (const name of ["rows", "tasks"]) {
    stage.cli("dataset", "import", join(stage.folder, `${name}.jsonl`), "--name", name, "--format", "prompt_completion", "--map", "prompt=question", "--map", "completion=answer");
  }
  stage.cli("dataset", "import", join(stage.folder, "pairs.jsonl"), "--name", "pairs", "--format", "preference");
}

async function signIn() {
  const { page } = stage;
  await page.goto(`${stage.web}/models`);
  await page.getByLabel("User name").fill("captain");
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Models" }).waitFor();
}

async function open(list, name) {
  await stage.page.goto(`${stage.web}${list}`);
  await stage.page.getByRole("link", { name, exact: true }).first().click();
  await stage.page.getByRole("heading", { name, exact: true }).waitFor();
}

/** To the wizard's last step, and off. */
async function startRun(buttonName = "Start run") {
  const { page } = stage;
  await page.getByRole("button", { name: "Review", exact: true }).last().click();
  const start = page.getByRole("button", { name: buttonName });
  await until("the review to be free of violations", () => start.isEnabled());
  await start.click();
  await page.waitForURL(/\/runs\//);
}

async function quantize() {
  const { page } = stage;
  say("quantize a model from its page, measured before and after");
  await open("/models", "tiny");
  await page.getByRole("link", { name: "Quantize" }).click();
  await page.getByText("tiny@1").first().waitFor();
  await stage.choose(page.getByLabel(/^Weights/), "int4");
  await page.getByText(/half a byte|a third of the size/i).first().waitFor();
  await stage.screenshot("light-quantize-wizard");
  await page.getByRole("button", { name: "Next" }).click();
  await stage.choose(page.getByLabel(/^Dataset/), "rows@1");
  await startRun();
  await reaches("Succeeded");
  await page.getByRole("region", { name: "Results" }).waitFor();
  await stage.screenshot("light-quantize-run");
  const run = page.url().split("/runs/")[1].split("?")[0];
  const results = JSON.parse(stage.cli("--json", "run", "show", run)).results;
  assert.ok(results.perplexity_after > 0 && results.perplexity_before > 0 && results.bytes > 0, JSON.stringify(results));

  say("what came of it: its format, its metrics, what it came from; no training from it");
  await open("/models", "tiny-int4");
  await page.getByText("slipway int4 gptq").first().waitFor();
  assert.equal(await page.getByRole("link", { name: "Quantize" }).count(), 0);
  assert.equal(await page.getByRole("link", { name: "Fine-tune and deploy" }).count(), 0);
  await page.getByRole("tab", { name: "Lineage" }).click();
  await page.getByText("tiny@1").first().waitFor();
  await stage.screenshot("light-quantized-lineage");

  say("the file itself, imported under another name, and evaluated");
  const artifact = JSON.parse(stage.cli("--json", "model", "show", "tiny-int4")).artifact;
  const file = join(stage.folder, "copy.slipway");
  const cookie = (await stage.context.cookies()).map((one) => `${one.name}=${one.value}`).join("; ");
  const bytes = await fetch(`${stage.web}/artifacts/${artifact.id}/files/model.slipway`, { headers: { cookie } });
  writeFileSync(file, Buffer.from(await bytes.arrayBuffer()));
  await page.goto(`${stage.web}/models/import`);
  await page.locator("input[type=file]").first().setInputFiles(file);
  await page.getByLabel("Name").fill("packed");
  await page.getByRole("button", { name: "Import model" }).click();
  await page.getByText("slipway int4 gptq").first().waitFor();
  const evaluation = JSON.parse(stage.cli("--json", "run", "start", "held-out-evaluation", "--model", "packed", "--dataset", "rows"));
  stage.cli("run", "watch", evaluation.id);
  assert.ok(JSON.parse(stage.cli("--json", "run", "show", evaluation.id)).results.perplexity > 1);
}

async function deploy() {
  const { page } = stage;
  say("deploy with number formats and limits; what each costs is said");
  await open("/models", "tiny");
  await page.getByRole("button", { name: "Deploy" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name", { exact: true }).fill("served");
  await stage.choose(dialog.getByLabel("Weights"), "int8");
  await dialog.getByText(/Perplexity grows by less than 1 %/).waitFor();
  await stage.choose(dialog.getByLabel("KV cache", { exact: true }), "int8");
  await dialog.getByText("Limits").click();
  await dialog.getByLabel("Context").fill("128");
  await dialog.getByLabel("Threads").fill("1");
  await stage.screenshot("light-deploy-dialog");
  await page.emulateMedia({ colorScheme: "dark" });
  await stage.screenshot("dark-deploy-dialog");
  await page.emulateMedia({ colorScheme: "light" });
  await dialog.getByRole("button", { name: "Deploy" }).click();
  await page.waitForURL(/deployments\//);
  await reaches("Ready");
  await page.getByText("128 tokens").waitFor();
  await page.getByText(/^int8, [\d,]+ tokens$/).waitFor();

  say("changed while it serves");
  await page.getByRole("button", { name: "Change" }).click();
  assert.equal(await page.getByRole("dialog").getByLabel("Context").inputValue(), "128", "the dialog has what is in force");
  await page.getByRole("dialog").getByLabel("Context").fill("96");
  await page.getByRole("dialog").getByRole("button", { name: "Change" }).click();
  await page.getByText("96 tokens").waitFor({ timeout: 60_000 });
  await reaches("Ready");
  await stage.screenshot("light-deployment-changed");

  say("several answers to the same words");
  await page.goto(`${stage.web}/deployments/playground?a=served`);
  await page.getByLabel("Longest answer").fill("8");
  await page.getByText("More", { exact: true }).click();
  await page.getByLabel("Answers", { exact: true }).fill("3");
  await page.getByLabel("Message").fill("Where is the mast?");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("Answer 3 of 3").waitFor();
  await page.locator(".foot", { hasText: /first after/ }).waitFor();
  const second = await page.locator(".chat-other").first().textContent();
  await page.getByRole("button", { name: "Go on from this one" }).first().click();
  const taken = (second ?? "").replace(/^Answer 2 of 3Go on from this one/, "");
  assert.ok(((await page.locator('[data-role="assistant"]').first().textContent()) ?? "").startsWith(taken), "the talk goes on from it");
  await stage.screenshot("light-playground-answers");
}

async function train() {
  const { page } = stage;
  say("a long training: samples while it runs, cancel, resume, stop and keep");
  await page.goto(`${stage.web}/train/new/fine-tune-and-deploy?model=tiny%401`);
  await page.getByText("tiny@1").first().waitFor();
  const next = page.getByRole("button", { name: "Next" });
  await next.click();
  await stage.choose(page.getByLabel(/^Dataset/), "rows@1");
  await next.click();
  await next.click();
  await page.getByLabel(/^Steps at most/).fill("100000");
  await page.getByText("Advanced").first().click();
  await page.getByLabel(/^Measure every/).fill("20");
  await page.getByLabel(/^Sample prompt/).fill("Where is the keel?");
  await next.click();
  await page.getByLabel(/^Only when it is better/).click();
  await page.getByLabel(/^Deploy it/).click();
  await startRun();
  const run = page.url().split("?")[0];
  await page.goto(`${run}?tab=samples`);
  const samples = page.getByRole("table", { name: "Where is the keel?" }).getByRole("row");
  await until("two measurements", async () => (await samples.count()) >= 3, 120_000);
  await stage.screenshot("light-run-samples");

  await page.getByRole("button", { name: "Cancel run" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel run" }).click();
  await reaches("Cancelled");
  const stepOf = async () => {
    const shown = await page.locator(".figure .value", { hasText: /\/ 100,000/ }).first().textContent().catch(() => "");
    return parseInt((shown ?? "0").replace(/,/g, ""), 10) || 0;
  };
  await page.getByRole("button", { name: "Resume" }).click();
  await reaches("Running");
  await until("steps after the resume", async () => (await stepOf()) > 40, 120_000);
  const told = stage.cli("run", "logs", run.split("/").pop(), "--task", "train");
  assert.match(told, /step-\d+|resum|goes on/i, "it went on from its checkpoint");
  await page.getByRole("button", { name: "Stop and keep" }).click();
  await reaches("Succeeded");
  await open("/models", "rows-on-tiny");
  await page.getByText("peft lora r=16").first().waitFor();

  say("train again with changes: the same values, one of them changed");
  await page.goto(run);
  await page.getByRole("link", { name: "Train again with changes" }).click();
  await page.waitForURL(/from=/);
  await page.getByText("tiny@1").first().waitFor();
  await next.click();
  await next.click();
  await next.click();
  assert.equal((await page.getByLabel(/^Steps at most/).inputValue()).replace(/,/g, ""), "100000");
  await page.getByLabel(/^Steps at most/).fill("3");
  await startRun();
  await reaches("Succeeded");
}

/** The process of a rank that this stage's trainer started. */
function pidOfRank(rank) {
  return readdirSync("/proc").find((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const told = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
      return told.includes(`RANK=${rank}`) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`${stage.folder}/agent/`);
    } catch {
      return false; // gone meanwhile
    }
  });
}

async function ranks() {
  const { page } = stage;
  say("two ranks; one is killed twice: the page says so, and the training goes on");
  const run = JSON.parse(stage.cli("--json", "run", "start", "fine-tune-and-deploy", "--model", "tiny", "--dataset", "rows", "--name", "twins", "--ranks", 2, "--max-steps", 100000, "--per-device-train-batch-size", 1, "--max-length", 128, "--save-steps", 200, "--no-deploy", "--no-require-improvement"));
  await page.goto(`${stage.web}/runs/${run.id}`);
  const figure = (text) => page.locator(".figure .value", { hasText: text });
  await figure("2 of 2").waitFor({ timeout: 60_000 });
  await stage.screenshot("light-run-ranks");
  // Once it comes back at once; again at once, the other goes on alone.
  const killed = pidOfRank(1);
  process.kill(Number(killed), "SIGKILL");
  const again = () => [pidOfRank(1)].find((pid) => pid && pid !== killed);
  for (let waited = 0; !again(); waited += 50) {
    assert.ok(waited < 60_000, "rank 1 has not come back");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  process.kill(Number(again()), "SIGKILL");
  const warnings = page.getByRole("region", { name: "Warnings" });
  await warnings.getByText("Rank 1 of 2 was killed by signal 9").waitFor({ timeout: 60_000 });
  await figure("1 of 2").waitFor();
  await stage.screenshot("light-run-rank-lost");
  await figure("2 of 2").waitFor({ timeout: 120_000 }); // at the next checkpoint, 200 short steps after the last one
  await page.getByRole("button", { name: "Stop and keep" }).click();
  await reaches("Succeeded");
  await warnings.getByText("RANK_LOST").waitFor();
}

async function promptTuning() {
  const { page } = stage;
  say("prompt tuning: its own settings alone; measured, registered, served");
  await page.goto(`${stage.web}/train/new/fine-tune-and-deploy?model=tiny%401&dataset=rows%401&step=method`);
  await page.getByLabel(/^Adapter rank/).waitFor();
  await stage.choose(page.getByRole("combobox", { name: "Method" }), "Prompt tuning");
  await page.getByLabel(/^Virtual tokens/).fill("4");
  assert.equal(await page.getByLabel(/^Adapter rank/).count(), 0);
  await stage.screenshot("light-prompt-wizard");
  const next = page.getByRole("button", { name: "Next" });
  await next.click();
  await page.getByLabel(/^Steps at most/).fill("3");
  await page.getByLabel(/^Sequence length/).fill("128"); // the model has 256 positions, for both
  await next.click();
  await page.getByLabel(/^Name of the tuned model/).fill("prompted");
  await page.getByLabel(/^Only when it is better/).click();
  await startRun();
  await reaches("Succeeded");
  const perplexity = JSON.parse(stage.cli("--json", "run", "show", page.url().split("/runs/")[1].split("?")[0])).results.tuned_perplexity;
  assert.ok(perplexity > 1);
  await open("/models", "prompted");
  await page.getByText("peft prompt tokens=4").first().waitFor();
  await stage.screenshot("light-prompt-model");
  assert.ok(stage.cliWith("Where is the keel?\n", "deployment", "chat", "prompted").length > 0);

  say("several tasks: each row says its own, each is served under its own name");
  const start = (dataset) =>
    JSON.parse(stage.cli("--json", "run", "start", "fine-tune-and-deploy", "--model", "tiny", "--dataset", dataset, "--name", "duties", "--method", "multitask_prompt_tuning", "--num-tasks", 2, "--num-virtual-tokens", 4, "--max-steps", 3, "--max-length", 128, "--no-require-improvement")).id;
  await page.goto(`${stage.web}/runs/${start("rows")}`);
  await page.getByText(/rows\.jsonl line 1 has no column "task_id"/).first().waitFor();
  await page.goto(`${stage.web}/runs/${start("tasks")}`);
  await reaches("Succeeded");
  await open("/models", "duties");
  await page.getByText("peft prompt tokens=4 tasks=2").first().waitFor();
  await until("the deployment", () => /ready/i.test(stage.cli("deployment", "show", "duties")));
  const served = JSON.parse(stage.cli("--json", "deployment", "show", "duties"));
  const names = served.servedNames ?? served.served_names;
  assert.deepEqual(names, ["duties", "duties-task-1", "duties-base"]);
  const statusOf = (model) => {
    const body = JSON.stringify({ model, messages: [{ role: "user", content: "Where is the keel?" }], max_tokens: 4 });
    return page.evaluate(async (text) => (await fetch("/v1/chat/completions", { method: "POST", headers: { "Content-Type": "application/json" }, body: text })).status, body);
  };
  for (const model of names) assert.equal(await statusOf(model), 200, model);

  say("its tasks have their names in a running deployment, too, and go together");
  await open("/deployments", "duties");
  await page.getByRole("button", { name: "Load an adapter" }).click();
  await stage.choose(page.getByRole("combobox", { name: "Adapter" }), "duties@1");
  await page.getByRole("textbox", { name: "Name", exact: true }).fill("later");
  await page.getByRole("button", { name: "Load", exact: true }).click();
  const row = page.getByRole("row", { name: /later to -task-1/ });
  await row.getByText("Loaded").waitFor();
  await stage.screenshot("light-adapter-of-tasks");
  for (const model of ["later", "later-task-1"]) assert.equal(await statusOf(model), 200, model);
  await row.getByRole("button", { name: "Unload" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Unload" }).click(); // it was called just now
  await row.waitFor({ state: "detached" });
  for (const model of ["later", "later-task-1"]) assert.equal(await statusOf(model), 404, model);
}

/** Runs a program that a model's page shows, beside the folder of the model's files that it names; it prints a score. */
async function runProgram(text, model) {
  const { artifact } = JSON.parse(stage.cli("--json", "model", "show", model));
  const cookie = (await stage.context.cookies()).map((one) => `${one.name}=${one.value}`).join("; ");
  const folder = join(stage.folder, "programs", model);
  mkdirSync(folder, { recursive: true });
  for (const { path } of artifact.files) {
    const answer = await fetch(`${stage.web}/artifacts/${artifact.id}/files/${path}`, { headers: { cookie } });
    writeFileSync(join(folder, basename(path)), Buffer.from(await answer.arrayBuffer()));
  }
  const printed = execFileSync(python, ["-c", text], { cwd: join(folder, ".."), encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  assert.ok(Number.isFinite(Number(printed.trim().split("\n").at(-1))), printed);
}

async function preferences() {
  const { page } = stage;
  say("preference tuning");
  await page.goto(`${stage.web}/train/new/preference-tune?model=tiny%401`);
  await page.getByText("tiny@1").first().waitFor();
  await page.getByRole("button", { name: "Next" }).click();
  await stage.choose(page.getByLabel(/^Dataset/), "pairs@1");
  await stage.screenshot("light-preference-wizard");
  for (const method of ["dpo", "orpo", "kto"]) {
    const run = JSON.parse(stage.cli("--json", "run", "start", "preference-tune", "--model", "tiny", "--dataset", "pairs", "--name", method, "--objective", method, "--max-steps", 3, "--no-deploy"));
    await page.goto(`${stage.web}/runs/${run.id}`);
    await reaches("Succeeded");
  }
  await page.getByRole("figure", { name: /^Loss/ }).locator("canvas").waitFor();
  await stage.screenshot("light-preference-run");

  say("a reward model: its own settings alone, nothing that would deploy it, its files");
  await page.goto(`${stage.web}/train/new/preference-tune?model=tiny%401&dataset=pairs%401&step=method`);
  await page.getByLabel(/^Strength/).waitFor();
  await stage.choose(page.getByLabel(/^Objective/), "Reward model");
  await page.getByLabel(/^Strength/).waitFor({ state: "detached" });
  await stage.screenshot("light-reward-wizard");
  await page.getByRole("button", { name: "Next" }).click();
  await page.getByLabel(/^Steps at most/).fill("3");
  await page.getByRole("button", { name: "Next" }).click();
  await page.getByLabel(/^Name of the tuned model/).fill("judge");
  assert.equal(await page.getByLabel(/^Deploy it/).count(), 0);
  await startRun();
  await reaches("Succeeded");
  await page.getByRole("region", { name: "Results" }).getByText("Held out accuracy").waitFor();
  await open("/models", "judge");
  await page.getByText("Reward model").first().waitFor();
  await page.getByRole("tab", { name: "How to use it" }).click();
  const program = await page.locator("pre", { hasText: "AutoModelForSequenceClassification" }).first().textContent();
  for (const name of ["Deploy", "Quantize", "Fine-tune and deploy"]) {
    assert.equal(await page.getByRole("button", { name, exact: true }).or(page.getByRole("link", { name, exact: true })).count(), 0, name);
  }
  await stage.screenshot("light-reward-model");
  await page.getByRole("tab", { name: "Files" }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "config.json", exact: true }).click()]);
  assert.match(JSON.parse(readFileSync(await download.path(), "utf8")).architectures[0], /ForSequenceClassification$/);
  await runProgram(program, "judge");
  assert.throws(() => stage.cli("deployment", "create", "judge", "--model", "judge"), /reward model/);
}

await play(stage, async () => {
  setUp();
  await signIn();
  await quantize();
  await deploy();
  await train();
  await ranks();
  await promptTuning();
  await preferences();
});
