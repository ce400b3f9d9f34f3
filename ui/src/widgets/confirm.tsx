// A button whose action destroys: asks once, names the thing and what else it takes along, shows what went wrong.
import { Button, type ButtonProps, Modal } from "antd";
import { type ReactNode, useState } from "react";
import { type Problem } from "@/base/problem";
import { ProblemBox } from "@/widgets/feedback";

interface ConfirmButtonProps extends Omit<ButtonProps, "onClick" | "title"> {
  /** "Delete the model perl-faq?" */
  question: string;
  /** What happens then, and what it takes along. */
  consequence: ReactNode;
  /** The verb of the button that does it. */
  verb: string;
  act: () => Promise<unknown>;
  toProblem: (error: unknown) => Problem;
}

export function ConfirmButton({ question, consequence, verb, act, toProblem, children, ...button }: ConfirmButtonProps) {
  const [open, setOpen] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const confirm = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await act();
      setOpen(false);
    } catch (error) {
      setProblem(toProblem(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <Button {...button} onClick={() => setOpen(true)}>
        {children ?? verb}
      </Button>
      <Modal
        open={open}
        title={question}
        okText={verb}
        okButtonProps={{ danger: true, loading: busy }}
        cancelText="Keep"
        onOk={() => void confirm()}
        onCancel={() => setOpen(false)}
        afterClose={() => setProblem(null)}
      >
        <div className="stack">
          <div>{consequence}</div>
          {problem && <ProblemBox problem={problem} />}
        </div>
      </Modal>
    </>
  );
}
