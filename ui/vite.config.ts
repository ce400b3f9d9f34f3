// Build of the web console: ui/dist, for the Chromium in Debian 12's Qt WebEngine and newer.
import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const backend = process.env.SLIPWAY_WEB ?? "http://127.0.0.1:7878";
const source = fileURLToPath(new URL("./src", import.meta.url));

export default defineConfig({
  plugins: [react()],
  resolve: { alias: { "@": source } },
  build: {
    target: "chrome102",
    cssTarget: "chrome102",
    manifest: true,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 900,
  },
  server: {
    proxy: Object.fromEntries(["/api", "/artifacts", "/v1", "/healthz"].map((path) => [path, { target: backend }])),
  },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
});
