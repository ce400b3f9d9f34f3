// Search and commands on Ctrl+K: type, arrows, Enter. What can be done comes from the shell.
import { Input, Modal } from "antd";
import { useEffect, useMemo, useState } from "react";
import { rank } from "@/base/fuzzy";

export interface Command {
  id: string;
  label: string;
  note: string;
  run: () => void;
}

interface CommandPaletteProps {
  open: boolean;
  close: () => void;
  commands: Command[];
}

const most = 50;

export function CommandPalette({ open, close, commands }: CommandPaletteProps) {
  const [query, setQuery] = useState("");
  const [at, setAt] = useState(0);
  const found = useMemo(() => rank(query, commands, (one) => `${one.label} ${one.note}`).slice(0, most), [query, commands]);
  useEffect(() => setAt(0), [query]);
  useEffect(() => {
    if (open) setQuery("");
  }, [open]);
  const run = (command: Command | undefined) => {
    if (!command) return;
    close();
    command.run();
  };
  return (
    <Modal open={open} onCancel={close} footer={null} closable={false} width={560} destroyOnHidden styles={{ body: { padding: 0 } }}>
      <Input
        autoFocus
        size="large"
        placeholder="Go to a page, run, model, dataset, deployment or node"
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={found[at] ? `palette-${at}` : undefined}
        aria-label="Search and commands"
        value={query}
        onChange={(event) => setQuery(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") setAt(Math.min(at + 1, found.length - 1));
          else if (event.key === "ArrowUp") setAt(Math.max(at - 1, 0));
          else if (event.key === "Enter") run(found[at]);
          else return;
          event.preventDefault();
        }}
      />
      <ul className="palette-list" id="palette-list" role="listbox" aria-label="Results">
        {found.map((command, index) => (
          <li
            key={command.id}
            id={`palette-${index}`}
            role="option"
            aria-selected={index === at}
            ref={(element) => {
              if (index === at) element?.scrollIntoView({ block: "nearest" });
            }}
            onMouseMove={() => setAt(index)}
            onClick={() => run(command)}
          >
            <span className="cut">{command.label}</span>
            <span className="muted small">{command.note}</span>
          </li>
        ))}
        {found.length === 0 && <li className="muted">Nothing found.</li>}
      </ul>
    </Modal>
  );
}
