// Sign-in, and the way back to where one was.
import { useQueryClient } from "@tanstack/react-query";
import { Button, Input } from "antd";
import { useEffect, useState } from "react";
import { useNavigate, useSearchParams } from "react-router-dom";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useSetupState } from "@/api/queries";
import { type Problem } from "@/base/problem";
import { Field } from "@/widgets/field";
import { ProblemBox } from "@/widgets/feedback";

export default function SignIn() {
  const navigate = useNavigate();
  const cache = useQueryClient();
  const [params] = useSearchParams();
  const setup = useSetupState();
  const [userName, setUserName] = useState("");
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    document.title = "Sign in · Slipway";
  }, []);

  const signIn = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const { user } = await clients.auth.signIn({ userName, password });
      cache.clear();
      cache.setQueryData(keys.user, user);
      const next = params.get("next") ?? "/";
      // Only within this console.
      navigate(next.startsWith("/") && !next.startsWith("//") ? next : "/", { replace: true });
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  };
  return (
    <main className="sign-in">
      <form
        className="card"
        onSubmit={(event) => {
          event.preventDefault();
          void signIn();
        }}
      >
        <div className="row">
          <img src="/favicon.svg" width={28} height={28} alt="" />
          <h1>Sign in to Slipway</h1>
        </div>
        {setup.data?.needsAdministrator && (
          <div className="problem soft">
            <span>
              There is no administrator yet. Open the one-time link that slipwayd printed at its first start; it is also in the
              file <code>setup-link</code> of its data folder.
            </span>
          </div>
        )}
        <Field label="User name">
          <Input autoFocus autoComplete="username" value={userName} onChange={(event) => setUserName(event.target.value)} />
        </Field>
        <Field label="Password">
          <Input.Password
            autoComplete="current-password"
            value={password}
            onChange={(event) => setPassword(event.target.value)}
          />
        </Field>
        {problem && <ProblemBox problem={problem} />}
        <Button type="primary" htmlType="submit" loading={busy} disabled={!userName || !password}>
          Sign in
        </Button>
        {setup.data && <span className="muted small">Version {setup.data.version}</span>}
      </form>
    </main>
  );
}
