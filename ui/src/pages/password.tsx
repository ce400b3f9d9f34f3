// Change of the caller's own password.
import { Button, Input } from "antd";
import { useState } from "react";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { type Problem } from "@/base/problem";
import { Field } from "@/widgets/field";
import { ProblemBox } from "@/widgets/feedback";
import { Page, Section } from "@/widgets/page";

const shortestPassword = 10;

export default function Password() {
  const [oldPassword, setOld] = useState("");
  const [newPassword, setNew] = useState("");
  const [again, setAgain] = useState("");
  const [busy, setBusy] = useState(false);
  const [done, setDone] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);

  const change = async () => {
    setBusy(true);
    setProblem(null);
    setDone(false);
    try {
      await clients.auth.changePassword({ oldPassword, newPassword });
      setDone(true);
      setOld("");
      setNew("");
      setAgain("");
    } catch (error) {
      setProblem(toProblem(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Page title="Change password">
      <Section>
        <form
          className="form"
          style={{ maxWidth: 360 }}
          onSubmit={(event) => {
            event.preventDefault();
            void change();
          }}
        >
          <Field label="Current password">
            <Input.Password autoComplete="current-password" value={oldPassword} onChange={(e) => setOld(e.target.value)} />
          </Field>
          <Field
            label="New password"
            help={`At least ${shortestPassword} characters.`}
            wrong={newPassword !== "" && newPassword.length < shortestPassword ? "Too short." : ""}
          >
            <Input.Password autoComplete="new-password" value={newPassword} onChange={(e) => setNew(e.target.value)} />
          </Field>
          <Field label="New password again" wrong={again !== "" && again !== newPassword ? "The two differ." : ""}>
            <Input.Password autoComplete="new-password" value={again} onChange={(e) => setAgain(e.target.value)} />
          </Field>
          {problem && <ProblemBox problem={problem} />}
          <div role="status" className="tone-ok">
            {done && "The password is changed."}
          </div>
          <div>
            <Button
              type="primary"
              htmlType="submit"
              loading={busy}
              disabled={!oldPassword || newPassword.length < shortestPassword || again !== newPassword}
            >
              Change password
            </Button>
          </div>
        </form>
      </Section>
    </Page>
  );
}
