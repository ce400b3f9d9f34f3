// Catches what a page throws while rendering, so that the navigation around it stays usable.
import { Component, type ReactNode } from "react";
import { ProblemBox } from "@/widgets/feedback";

export class ErrorBoundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    // A chunk that is gone: the console was replaced by a newer build while this page was open.
    const outdated = /dynamically imported module|Importing a module/i.test(error.message);
    return (
      <div className="page">
        <ProblemBox
          title="This page could not be shown"
          problem={{
            message: outdated ? "A part of the console could not be loaded." : error.message,
            advice: outdated ? "Reload to get the current version." : "Reload the page; if it stays, report it with this code.",
            code: outdated ? "CONSOLE_OUTDATED" : "CONSOLE_ERROR",
            field: "",
            violations: [],
            transient: outdated,
          }}
          retry={() => window.location.reload()}
        />
      </div>
    );
  }
}
