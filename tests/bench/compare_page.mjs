// How the compare page copes with hundreds of runs: 300 runs of 500 points each are put into a store, and a real Chromium is
// timed while it opens the page, scrolls and sorts the table, and points at runs. No test: it prints a line of JSON.
//   SLIPWAY_BIN=build/bin SLIPWAY_SOURCE=. SLIPWAY_SITE_PACKAGES=… node tests/bench/compare_page.mjs [RUNS] [POINTS]
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { play, python, Stage } from "../e2e/harness.mjs";

const [runs = 300, points = 500] = process.argv.slice(2).map(Number);
const password = "correct-horse-battery";
const stage = new Stage();

/** Rows as the backend writes them, of a sweep over learning rate and rank. */
const seed = `
import json, math, random, sqlite3, sys, time
path, runs, points = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = sqlite3.connect(path)
now = int(time.time() * 1000)
rng = random.Random(1)
for i in range(runs):
    rate, rank = 10 ** rng.uniform(-5, -2), rng.choice([4, 8, 16, 32, 64])
    run, task = f"run-seed{i:04}", f"task-seed{i:04}"
    parameters = {"learning_rate": json.dumps(rate), "r": json.dumps(rank), "seed": json.dumps(i), "model": json.dumps("tiny@1")}
    results = {"base_perplexity": 12.5, "tuned_perplexity": 8 + rng.random()}
    store.execute("INSERT INTO runs (id, name, workflow, state, parameters, values_json, results_plan, results, created_by, request_hash, "
                  "created_at_ms, started_at_ms, finished_at_ms, sweep_id) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                  (run, f"seeded-{i}", "fine-tune-and-deploy", "succeeded", json.dumps(parameters), "{}", "{}", json.dumps(results), "captain", "",
                   now + i, now + i, now + i + 60000 + rng.randrange(60000), "sweep-seed"))
    plan = {"name": "train", "title": "Train", "kind": "train", "needs": [], "spec": {}, "with": {}, "upload_artifacts": [], "return_files": [],
            "inputs": [], "results": []}
    store.execute("INSERT INTO tasks (id, run_id, position, name, title, kind, state, plan) VALUES (?,?,?,?,?,?,?,?)",
                  (task, run, 0, "train", "Train", "train", "succeeded", json.dumps(plan)))
    loss = lambda step: 2 + 3 * math.exp(-step * (0.01 + rate * 5)) + rng.gauss(0, 0.05)
    store.executemany("INSERT INTO metric_points (task_id, name, step, value, time_ms) VALUES (?,?,?,?,?)",
                      [(task, "loss", step, loss(step), now + step) for step in range(1, points + 1)])
store.commit()
`;

/** The longest and the 95th percentile of the times between frames, in ms, while something is done. */
async function framesDuring(page, act) {
  await page.evaluate(() => {
    window.frames_ = [];
    window.counting = true;
    let last = performance.now();
    const tick = (now) => {
      window.frames_.push(now - last);
      last = now;
      if (window.counting) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  await act();
  const times = await page.evaluate(() => {
    window.counting = false;
    return window.frames_.slice(2).sort((a, b) => a - b);
  });
  const at = (share) => Math.round(times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0);
  return { frames: times.length, p95_ms: at(0.95), longest_ms: at(1) };
}

await play(stage, async () => {
  stage.cliWith(`${password}\n`, "login", "--user", "captain", "--password-stdin", "--setup-token", stage.setupLink);
  execFileSync(python, ["-c", seed, join(stage.data, "slipway.db"), String(runs), String(points)]);
  const { page } = stage;
  await page.goto(`${stage.web}/train`);
  await page.getByLabel("User name").fill("captain");
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Train", exact: true }).waitFor();

  const figures = { runs, points };
  const ids = Array.from({ length: runs }, (_, i) => `run-seed${String(i).padStart(4, "0")}`).join(".");
  for (const [name, address] of Object.entries({ sweep: "sweep=sweep-seed", ids: `runs=${ids}` })) {
    const begin = performance.now();
    await page.goto(`${stage.web}/train/compare?${address}`);
    await page.getByRole("figure", { name: /^Loss/ }).locator("canvas").waitFor();
    await page.getByRole("table", { name: "Runs compared" }).getByText("seeded-").first().waitFor();
    figures[`open_by_${name}_ms`] = Math.round(performance.now() - begin);
  }
  const api = performance.now();
  const answer = await page.evaluate(async (runIds) => {
    const response = await fetch("/api/slipway.v1.RunService/CompareMetrics", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ runIds, name: "loss", maxPoints: 200 }) });
    return (await response.text()).length;
  }, ids.split("."));
  figures.metrics_call = { ms: Math.round(performance.now() - api), kib: Math.round(answer / 1024) };
  const table = page.getByRole("table", { name: "Runs compared" });
  await table.scrollIntoViewIfNeeded();
  const box = await table.boundingBox();
  await page.mouse.move(box.x + 100, box.y + 120);
  figures.scroll = await framesDuring(page, async () => {
    for (let i = 0; i < 60; i += 1) {
      await page.mouse.wheel(0, 120);
      await page.waitForTimeout(16);
    }
  });
  figures.sort = await framesDuring(page, async () => {
    for (const title of ["Learning rate", "Loss, last", "Run"]) await table.getByRole("columnheader", { name: title }).first().click();
    await page.waitForTimeout(300);
  });
  figures.point_at_runs = await framesDuring(page, async () => {
    await page.mouse.wheel(0, -20000);
    await table.scrollIntoViewIfNeeded();
    const now = await table.boundingBox();
    for (let i = 0; i < 20; i += 1) {
      await page.mouse.move(now.x + 120, now.y + 60 + 15 * i);
      await page.waitForTimeout(30);
    }
  });
  await stage.screenshot("light-compare-300");
  console.log(JSON.stringify(figures));
});
