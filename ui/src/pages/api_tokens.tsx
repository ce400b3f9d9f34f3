// Personal API tokens: what the command line and scripts sign in with.
import { useQueryClient } from "@tanstack/react-query";
import { Button, Input } from "antd";
import { useState } from "react";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useApiTokens } from "@/api/queries";
import { type Problem } from "@/base/problem";
import { ConfirmButton } from "@/widgets/confirm";
import { CodeBlock, SecretOnce } from "@/widgets/copy";
import { Empty, ProblemBox } from "@/widgets/feedback";
import { Page, Section } from "@/widgets/page";
import { Table } from "@/widgets/table";
import { Ago } from "@/widgets/time";

export default function ApiTokens() {
  const cache = useQueryClient();
  const tokens = useApiTokens(true);
  const [name, setName] = useState("");
  const [secret, setSecret] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const reload = () => cache.invalidateQueries({ queryKey: keys.apiTokens });

  const create = async () => {
    setProblem(null);
    try {
      const response = await clients.auth.createApiToken({ name });
      setSecret(response.secret);
      setName("");
      await reload();
    } catch (error) {
      setProblem(toProblem(error));
    }
  };
  return (
    <Page title="API tokens" summary="For the command line and scripts: they may do what you may do.">
      <Section title="New token">
        <form
          className="stack"
          onSubmit={(event) => {
            event.preventDefault();
            void create();
          }}
        >
          <div className="row">
            <Input
              value={name}
              onChange={(event) => setName(event.target.value)}
              placeholder="What it is for"
              aria-label="Name of the token"
              style={{ width: 280 }}
            />
            <Button type="primary" htmlType="submit" disabled={!name.trim()}>
              Create token
            </Button>
          </div>
          {problem && <ProblemBox problem={problem} />}
          {secret && <SecretOnce secret={secret} what="token" />}
          {secret && (
            <CodeBlock
              label="Example"
              text={`curl ${window.location.origin}/api/slipway.v1.RunService/ListRuns \\\n  -H "Authorization: Bearer $SLIPWAY_TOKEN" -H "Content-Type: application/json" -d '{}'`}
            />
          )}
        </form>
      </Section>
      <Section title="Your tokens" flush>
        <Table
          plain
          label="API tokens"
          rows={tokens.data ?? []}
          rowKey={(row) => row.id}
          loading={tokens.isPending}
          problem={tokens.error && toProblem(tokens.error)}
          retry={() => void tokens.refetch()}
          empty={<Empty title="No tokens yet">The command slipway login also makes one.</Empty>}
          columns={[
            { key: "name", title: "Name", render: (row) => row.name, width: "minmax(200px, 2fr)" },
            { key: "created", title: "Created", render: (row) => <Ago time={row.createdAt} /> },
            {
              key: "used",
              title: "Last used",
              render: (row) => (row.lastUsedAt ? <Ago time={row.lastUsedAt} /> : <span className="muted">never</span>),
            },
            {
              key: "act",
              title: "",
              width: "110px",
              render: (row) => (
                <ConfirmButton
                  size="small"
                  question={`Revoke the token “${row.name}”?`}
                  consequence="What uses it is signed out at once."
                  verb="Revoke"
                  toProblem={toProblem}
                  act={async () => {
                    await clients.auth.revokeApiToken({ id: row.id });
                    await reload();
                  }}
                />
              ),
            },
          ]}
        />
      </Section>
    </Page>
  );
}
