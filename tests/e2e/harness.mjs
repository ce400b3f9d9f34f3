// Starts what an end-to-end test needs: a backend with an empty data folder, its agent, and a Chromium; ends it all after.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const required = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run this test by ctest -R e2e_console`);
  return value;
};
export const source = required("SLIPWAY_SOURCE");
export const binaries = required("SLIPWAY_BIN");
export const sitePackages = required("SLIPWAY_SITE_PACKAGES");
export const screenshots = process.env.SLIPWAY_SCREENSHOTS ?? join(binaries, "../screenshots");

export const python = join(sitePackages, "../../../bin/python");

const { chromium } = createRequire(join(source, "ui/package.json"))("playwright-core");

/** Polls `find` until it answers something; fails with what was waited for. */
export async function until(what, find, timeoutMs = 30_000) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const found = await find();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited ${timeoutMs / 1000} s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function assertBuilt() {
  if (!existsSync(join(source, "ui/dist/index.html"))) throw new Error("ui/dist is missing: run packaging/build-ui.sh");
}

/** Plays a test on its stage, whose backend, agent and browser it starts; says where it failed, with all logs, and leaves. */
export async function play(stage, journey) {
  let failed = false;
  try {
    stage.say("start slipwayd, slipway-agent and Chromium");
    await stage.startBackend();
    stage.startAgent();
    await stage.startBrowser();
    await journey();
    assert.deepEqual(stage.browserProblems, [], "the browser reported problems");
    stage.say("passed");
  } catch (error) {
    failed = true;
    console.error(`FAILED at: ${stage.step}\n${error.stack}`);
    await stage.page?.screenshot({ path: join(screenshots, "failure.png") }).catch(() => undefined);
    if (stage.page) console.error(`address: ${stage.page.url()}\nbrowser: ${JSON.stringify(stage.browserProblems)}`);
    console.error(stage.logs());
  }
  await stage.end(failed && process.env.SLIPWAY_KEEP);
  process.exit(failed ? 1 : 0);
}

export class Stage {
  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), "slipway-e2e-"));
    this.data = join(this.folder, "data");
    this.children = [];
    this.began = performance.now();
    mkdirSync(screenshots, { recursive: true });
  }

  /** What is done now. */
  say(text) {
    this.step = text;
    console.log(`[${((performance.now() - this.began) / 1000).toFixed(1)} s] ${text}`);
  }

  start(name, args) {
    const log = join(this.folder, `${name}.log`);
    const out = openSync(log, "a");
    const child = spawn(join(binaries, name), args, { stdio: ["ignore", out, out] });
    child.on("exit", (code, signal) => {
      child.ended = `${name} ended with ${signal ?? code}`;
    });
    this.children.push({ name, child, log });
    return child;
  }

  /** On free ports, or again on those it had. */
  async startBackend(web = "127.0.0.1:0", grpc = "127.0.0.1:0") {
    assertBuilt();
    this.backend = this.start("slipwayd", [
      ...["--data", this.data],
      ...["--grpc-listen", grpc, "--web-listen", web],
      ...["--web-root", join(source, "ui/dist"), "--workflows", join(source, "workflows")],
    ]);
    const ready = join(this.data, "slipwayd.json");
    await until("slipwayd", () => {
      if (this.backend.ended) throw new Error(this.backend.ended);
      return existsSync(ready) && JSON.parse(readFileSync(ready, "utf8")).pid === this.backend.pid;
    });
    const listening = JSON.parse(readFileSync(ready, "utf8"));
    this.web = `http://${listening.web.replace(/^http:\/\//, "")}`;
    this.grpc = listening.grpc;
    const link = join(this.data, "setup-link");
    if (existsSync(link)) this.setupLink = readFileSync(link, "utf8").trim();
  }

  /** kill -9, as a crash does it. */
  async killBackend() {
    const gone = new Promise((resolve) => this.backend.once("exit", resolve));
    this.backend.kill("SIGKILL");
    await gone;
  }

  startAgent() {
    this.start("slipway-agent", [
      ...["--backend", this.grpc, "--data", join(this.folder, "agent")],
      ...["--join-file", join(this.data, "local-join-token")],
    ]);
  }

  async startBrowser() {
    this.context = await chromium.launchPersistentContext(join(this.folder, "browser"), {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      headless: true,
      viewport: { width: 1440, height: 900 },
      reducedMotion: "reduce",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    });
    this.context.setDefaultTimeout(30_000);
    this.page = this.context.pages()[0] ?? (await this.context.newPage());
    this.browserProblems = [];
    this.page.on("pageerror", (error) => this.browserProblems.push(`page: ${error.message}`));
    this.page.on("console", (message) => {
      // A refused sign-in or a broken upload is answered by a status that Chromium also logs.
      if (message.type() === "error" && !/Failed to load resource/.test(message.text())) {
        this.browserProblems.push(`console: ${message.text()}`);
      }
    });
  }

  /** Ant Design's select: open, pick by text in its own list, see it close. Opened again when a list before took its focus. */
  async choose(input, text) {
    const isOpen = async () => (await input.getAttribute("aria-expanded")) === "true";
    for (let attempt = 1; ; attempt += 1) {
      if (!(await isOpen())) await input.click({ force: true }); // what is chosen lies over the input
      const list = await input.getAttribute("aria-controls");
      try {
        await this.page
          .locator(".ant-select-dropdown", { has: this.page.locator(`[id="${list}"]`) })
          .locator(".ant-select-item-option", { hasText: text })
          .first()
          .click({ timeout: 2000 });
        break;
      } catch (error) {
        if (attempt === 10) throw error;
      }
    }
    await until("the list to close", async () => !(await isOpen()));
  }

  async screenshot(name) {
    await this.page.waitForTimeout(400); // charts draw, fonts settle
    await this.page.screenshot({ path: join(screenshots, `${name}.png`) });
  }

  /** The command line; signed in by whoever called `login` first. */
  cli(...args) {
    return this.cliWith("", ...args);
  }

  /** The same, with a text on its standard input. */
  cliWith(input, ...args) {
    return execFileSync(join(binaries, "slipway"), ["--backend", this.grpc, ...args.map(String)], {
      encoding: "utf8",
      input,
      env: { ...process.env, SLIPWAY_CONFIG: join(this.folder, "config.json") },
    });
  }

  /** The last lines of every program's log. */
  logs(lines = 25) {
    return this.children
      .map(({ name, log }) => `--- ${name}\n${readFileSync(log, "utf8").split("\n").slice(-lines).join("\n")}`)
      .join("\n");
  }

  /** Engines outlive their agent by design: those that work in this stage's folder end here. */
  endEngines() {
    for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      let command = "";
      try {
        command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      } catch {
        continue; // gone meanwhile
      }
      if (!command.includes(`${this.folder}/agent/`) || Number(pid) === process.pid) continue;
      try {
        process.kill(Number(pid), "SIGKILL");
      } catch {
        // gone meanwhile
      }
    }
  }

  async end(keep) {
    await this.context?.close().catch(() => undefined);
    for (const { child } of this.children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 15_000);
      await gone;
      clearTimeout(timer);
    }
    this.endEngines();
    if (!keep) rmSync(this.folder, { recursive: true, force: true });
  }
}
