// Lints of the console, and its import edges: pages -> widgets, api -> base, gen; never upward.
import js from "@eslint/js";
import hooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

const relative = { group: ["./*", "../*"], message: "Import from the root (@/room/file), so that the edge is seen." };
const edge = (room, forbidden) => ({
  files: [`src/${room}/**/*.{ts,tsx}`],
  rules: {
    "no-restricted-imports": [
      "error",
      {
        patterns: [
          relative,
          ...forbidden.map((other) => ({
            group: [`@/${other}`, `@/${other}/**`],
            message: `${room} may not import ${other}: edges go pages -> widgets, api -> base, gen.`,
          })),
        ],
      },
    ],
  },
});

export default tseslint.config(
  { ignores: ["dist", "src/gen", "node_modules"] },
  js.configs.recommended,
  ...tseslint.configs.recommended,
  {
    files: ["src/**/*.{ts,tsx}"],
    plugins: { "react-hooks": hooks },
    rules: {
      ...hooks.configs.recommended.rules,
      eqeqeq: "error",
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "inline-type-imports" }],
      "@typescript-eslint/no-explicit-any": "error",
      "max-lines": ["error", 400],
    },
  },
  { files: ["**/*.mjs", "*.js", "*.ts"], languageOptions: { globals: { console: "readonly", process: "readonly" } } },
  edge("base", ["gen", "api", "widgets", "pages"]),
  edge("api", ["widgets", "pages"]),
  edge("widgets", ["api", "pages"]),
  edge("pages", []),
);
