// The frame of every page: breadcrumb, name, state, one line of what matters, one main action; and sections below.
import { type ReactNode, useEffect } from "react";
import { Link } from "react-router-dom";

export interface Crumb {
  label: string;
  to: string;
}

interface PageProps {
  title: string;
  crumbs?: Crumb[];
  state?: ReactNode;
  summary?: ReactNode;
  action?: ReactNode;
  children: ReactNode;
}

export function Page({ title, crumbs, state, summary, action, children }: PageProps) {
  useEffect(() => {
    document.title = title === "Slipway" ? title : `${title} · Slipway`;
  }, [title]);
  return (
    <div className="page">
      <div className="page-header">
        <div className="stack tight grow">
          {crumbs && crumbs.length > 0 && (
            <nav aria-label="Breadcrumb">
              <ol className="crumbs">
                {crumbs.map((crumb) => (
                  <li key={crumb.to}>
                    <Link to={crumb.to}>{crumb.label}</Link>
                  </li>
                ))}
              </ol>
            </nav>
          )}
          <div className="row">
            <h1>{title}</h1>
            {state}
          </div>
          {summary && <div className="muted">{summary}</div>}
        </div>
        {action && <div className="row">{action}</div>}
      </div>
      {children}
    </div>
  );
}

interface SectionProps {
  title?: ReactNode;
  extra?: ReactNode;
  flush?: boolean;
  children: ReactNode;
  label?: string;
}

export function Section({ title, extra, flush = false, children, label }: SectionProps) {
  return (
    <section className="section" aria-label={label ?? (typeof title === "string" ? title : undefined)}>
      {(title || extra) && (
        <header>
          <h2>{title}</h2>
          {extra}
        </header>
      )}
      <div className={flush ? "body flush" : "body"}>{children}</div>
    </section>
  );
}

export type Fact = [label: string, value: ReactNode] | null | false | undefined;

/** Facts about a thing; those without a value are left out. */
export function Facts({ facts }: { facts: Fact[] }) {
  return (
    <dl className="facts">
      {facts.map(
        (fact) =>
          fact &&
          fact[1] !== undefined &&
          fact[1] !== null &&
          fact[1] !== false &&
          fact[1] !== "" && (
            <div key={fact[0]} style={{ display: "contents" }}>
              <dt>{fact[0]}</dt>
              <dd>{fact[1]}</dd>
            </div>
          ),
      )}
    </dl>
  );
}

export function Figure({ label, value }: { label: string; value: ReactNode }) {
  return (
    <div className="figure">
      <div className="value">{value}</div>
      <div className="label">{label}</div>
    </div>
  );
}
