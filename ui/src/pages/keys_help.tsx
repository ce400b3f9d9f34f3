// What the keys do; shown on "?".
import { Modal } from "antd";
import { places } from "@/pages/places";

const keys: [string[], string][] = [
  [["Ctrl", "K"], "Search and commands"],
  [["/"], "Filter the list, search the log"],
  [["?"], "These keys"],
  ...places.map((place): [string[], string] => [["g", place.key], `Go to ${place.label}`]),
];

export default function KeysHelp({ close }: { close: () => void }) {
  return (
    <Modal open title="Keys" footer={null} onCancel={close} width={420}>
      <table className="keys-table">
        <tbody>
          {keys.map(([parts, what]) => (
            <tr key={what}>
              <td>{what}</td>
              <td style={{ textAlign: "right" }}>
                {parts.map((part) => (
                  <kbd key={part} style={{ marginLeft: 4 }}>
                    {part}
                  </kbd>
                ))}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Modal>
  );
}
