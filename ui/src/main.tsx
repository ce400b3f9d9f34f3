// Composition root of the console: theme, cache, routes. The only file that sees everything.
import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BrowserRouter } from "react-router-dom";
import { createCache, prefetchUser } from "@/api/queries";
import { App } from "@/pages/app";
import { ErrorBoundary } from "@/widgets/error_boundary";
import { ThemeProvider } from "@/widgets/theme";
import "@/widgets/styles.css";

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");

const cache = createCache();
if (!["/sign-in", "/setup"].includes(window.location.pathname)) prefetchUser(cache);

createRoot(root).render(
  <StrictMode>
    <ThemeProvider>
      <ErrorBoundary>
        <QueryClientProvider client={cache}>
          <BrowserRouter future={{ v7_startTransition: true, v7_relativeSplatPath: true }}>
            <App />
          </BrowserRouter>
        </QueryClientProvider>
      </ErrorBoundary>
    </ThemeProvider>
  </StrictMode>,
);
