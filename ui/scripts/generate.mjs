// Generates src/gen (messages and service descriptors) from backend/proto with protoc and protoc-gen-es.
// Called by every npm script; does nothing while the protos are unchanged.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ui = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const protoRoot = resolve(ui, "../backend/proto");
const folder = "slipway/v1";
const out = join(ui, "src/gen");
const stamp = join(out, ".stamp");

const files = readdirSync(join(protoRoot, folder))
  .filter((name) => name.endsWith(".proto"))
  .sort()
  .map((name) => `${folder}/${name}`);
const hash = createHash("sha256");
hash.update(readFileSync(join(ui, "package.json")));
for (const file of files) hash.update(file).update(readFileSync(join(protoRoot, file)));
const digest = hash.digest("hex");

if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== digest) {
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  try {
    execFileSync(
      process.env.PROTOC ?? "protoc",
      [
        `-I${protoRoot}`,
        `--plugin=protoc-gen-es=${join(ui, "node_modules/.bin/protoc-gen-es")}`,
        `--es_out=${out}`,
        "--es_opt=target=ts",
        ...files,
      ],
      { stdio: "inherit" },
    );
  } catch (error) {
    console.error(`generate: protoc failed: ${error.message}; is the Debian package protobuf-compiler installed?`);
    process.exit(1);
  }
  writeFileSync(stamp, digest);
}
