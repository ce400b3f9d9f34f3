// The first administrator, made with the one-time link of the first start.
import { useQueryClient } from "@tanstack/react-query";
import { Button, Input } from "antd";
import { useEffect, useState } from "react";
import { Link, useNavigate, useSearchParams } from "react-router-dom";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useSetupState } from "@/api/queries";
import { type Problem } from "@/base/problem";
import { Field } from "@/widgets/field";
import { ProblemBox } from "@/widgets/feedback";

const shortestPassword = 10;

export default function Setup() {
  const navigate = useNavigate();
  const cache = useQueryClient();
  const [params] = useSearchParams();
  const setup = useSetupState();
  const [userName, setUserName] = useState("");
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const token = params.get("token") ?? "";
  useEffect(() => {
    document.title = "Set up · Slipway";
  }, []);

  const differs = again !== "" && again !== password;
  const create = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const { user } = await clients.auth.completeSetup({ setupToken: token, userName, password });
      cache.clear();
      cache.setQueryData(keys.user, user);
      navigate("/", { replace: true });
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  };
  if (setup.data && !setup.data.needsAdministrator) {
    return (
      <main className="sign-in">
        <div className="card">
          <h1>Slipway is set up</h1>
          <p>The one-time link was used. Sign in with your user name and password.</p>
          <Link to="/sign-in">Sign in</Link>
        </div>
      </main>
    );
  }
  return (
    <main className="sign-in">
      <form
        className="card"
        onSubmit={(event) => {
          event.preventDefault();
          void create();
        }}
      >
        <div className="row">
          <img src="/favicon.svg" width={28} height={28} alt="" />
          <h1>Welcome to Slipway</h1>
        </div>
        <p className="muted">Make the first administrator. This link works once.</p>
        {token === "" && (
          <div className="problem soft">
            The address holds no token: open the whole link that slipwayd printed at its first start.
          </div>
        )}
        <Field label="User name">
          <Input autoFocus autoComplete="username" value={userName} onChange={(event) => setUserName(event.target.value)} />
        </Field>
        <Field
          label="Password"
          help={`At least ${shortestPassword} characters.`}
          wrong={password !== "" && password.length < shortestPassword ? "Too short." : ""}
        >
          <Input.Password
            autoComplete="new-password"
            value={password}
            onChange={(event) => setPassword(event.target.value)}
          />
        </Field>
        <Field label="Password again" wrong={differs ? "The two differ." : ""}>
          <Input.Password autoComplete="new-password" value={again} onChange={(event) => setAgain(event.target.value)} />
        </Field>
        {problem && <ProblemBox problem={problem} />}
        <Button
          type="primary"
          htmlType="submit"
          loading={busy}
          disabled={!token || !userName || password.length < shortestPassword || again !== password}
        >
          Create the administrator
        </Button>
      </form>
    </main>
  );
}
