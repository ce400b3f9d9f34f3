// The one theme: colours and sizes for Ant Design, for our own styles and for charts, light and dark.
import { ConfigProvider, theme as antTheme } from "antd";
import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from "react";
import { readStored, writeStored } from "@/base/storage";

export type ThemeChoice = "system" | "light" | "dark";

interface Palette {
  background: string;
  surface: string;
  raised: string;
  line: string;
  text: string;
  muted: string;
  accent: string;
  accentSoft: string;
  onAccent: string;
  ok: string;
  warn: string;
  bad: string;
  info: string;
  /** Colours of lines that stay apart for colour-blind eyes (after Okabe and Ito, 2008). */
  series: readonly string[];
}

const light: Palette = {
  background: "#f5f7f8",
  surface: "#ffffff",
  raised: "#eef1f3",
  line: "#dbe0e4",
  text: "#1a2226",
  muted: "#56636b",
  accent: "#0b6b75",
  accentSoft: "#e2f0f1",
  onAccent: "#ffffff",
  ok: "#1a7538",
  warn: "#8a5700",
  bad: "#b3261e",
  info: "#175cb0",
  series: ["#0072b2", "#c65100", "#00835f", "#b0568a", "#7a6000", "#2f8fc4", "#6a51a3", "#3d474d"],
};
const dark: Palette = {
  background: "#11161a",
  surface: "#181f23",
  raised: "#222b30",
  line: "#2e393f",
  text: "#e5eaed",
  muted: "#9dabb3",
  accent: "#54b9c5",
  accentSoft: "#16343a",
  onAccent: "#06262a",
  ok: "#5cc480",
  warn: "#e3b252",
  bad: "#f48a82",
  info: "#7fb4f4",
  series: ["#56b4e9", "#e69f00", "#35c49a", "#d88fba", "#f0e442", "#8fa6ff", "#ef7f3c", "#c3ccd1"],
};

interface ThemeState {
  choice: ThemeChoice;
  dark: boolean;
  palette: Palette;
  choose(choice: ThemeChoice): void;
}
const Context = createContext<ThemeState | null>(null);

export function useTheme(): ThemeState {
  const state = useContext(Context);
  if (!state) throw new Error("useTheme outside of ThemeProvider");
  return state;
}

function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => window.matchMedia(query).matches);
  useEffect(() => {
    const media = window.matchMedia(query);
    const update = () => setMatches(media.matches);
    update();
    media.addEventListener("change", update);
    return () => media.removeEventListener("change", update);
  }, [query]);
  return matches;
}

export function ThemeProvider({ children }: { children: ReactNode }) {
  const [choice, setChoice] = useState<ThemeChoice>(() => readStored<ThemeChoice>("theme", "system"));
  const systemDark = useMedia("(prefers-color-scheme: dark)");
  const calm = useMedia("(prefers-reduced-motion: reduce)");
  const isDark = choice === "system" ? systemDark : choice === "dark";
  const palette = isDark ? dark : light;

  // Before the first paint of the children: set while rendering, since styles.css reads nothing else.
  useMemo(() => {
    const root = document.documentElement;
    root.dataset["theme"] = isDark ? "dark" : "light";
    root.style.colorScheme = isDark ? "dark" : "light";
    for (const [name, value] of Object.entries(palette)) {
      if (typeof value === "string") root.style.setProperty(`--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`, value);
    }
  }, [isDark, palette]);

  const state = useMemo<ThemeState>(
    () => ({
      choice,
      dark: isDark,
      palette,
      choose: (next) => {
        writeStored("theme", next);
        setChoice(next);
      },
    }),
    [choice, isDark, palette],
  );

  const config = useMemo(
    () => ({
      algorithm: isDark ? antTheme.darkAlgorithm : antTheme.defaultAlgorithm,
      token: {
        colorPrimary: palette.accent,
        colorLink: palette.accent,
        colorBgLayout: palette.background,
        colorBgContainer: palette.surface,
        colorBgElevated: isDark ? palette.raised : palette.surface,
        colorBorder: palette.line,
        colorBorderSecondary: palette.line,
        colorText: palette.text,
        colorTextSecondary: palette.muted,
        colorTextDescription: palette.muted,
        colorTextPlaceholder: palette.muted,
        colorSuccess: palette.ok,
        colorWarning: palette.warn,
        colorError: palette.bad,
        colorInfo: palette.info,
        controlItemBgActive: palette.accentSoft,
        borderRadius: 4,
        fontSize: 13,
        controlHeight: 30,
        wireframe: false,
        motion: !calm,
        fontFamily: "var(--sans)",
        fontFamilyCode: "var(--mono)",
      },
      components: {
        Button: { primaryColor: palette.onAccent, primaryShadow: "none", defaultShadow: "none", dangerShadow: "none" },
        Tabs: { horizontalMargin: "0 0 12px 0", horizontalItemPadding: "8px 0" },
      },
    }),
    [isDark, palette, calm],
  );

  return (
    <Context.Provider value={state}>
      <ConfigProvider theme={config} wave={{ disabled: true }}>
        {children}
      </ConfigProvider>
    </Context.Provider>
  );
}
