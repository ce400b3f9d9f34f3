// Where files and folders are dropped or chosen. The desktop's import menus press its first button.
import { InboxOutlined } from "@ant-design/icons";
import { Button } from "antd";
import { useRef, useState } from "react";

export interface DroppedFile {
  /** Relative path with '/', as inside the dropped folder. */
  path: string;
  file: File;
}

interface DropZoneProps {
  title: string;
  hint: string;
  accept?: string;
  multiple?: boolean;
  folders?: boolean;
  onFiles: (files: DroppedFile[]) => void;
}

export function DropZone({ title, hint, accept, multiple = false, folders = false, onFiles }: DropZoneProps) {
  const [over, setOver] = useState(false);
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);

  const chosen = (list: FileList | null) => {
    const found = Array.from(list ?? []).map((file) => ({
      path: withoutTop(file.webkitRelativePath) || file.name,
      file,
    }));
    if (found.length > 0) onFiles(found);
  };
  return (
    <div
      className={over ? "drop over" : "drop"}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        void readDropped(event.dataTransfer).then((found) => found.length > 0 && onFiles(found));
      }}
    >
      <InboxOutlined style={{ fontSize: 32 }} aria-hidden="true" />
      <strong style={{ color: "var(--text)" }}>{title}</strong>
      <span>{hint}</span>
      <div className="row">
        <Button type="primary" data-choose-files onClick={() => files.current?.click()}>
          Choose {multiple ? "files" : "a file"}
        </Button>
        {folders && <Button onClick={() => folder.current?.click()}>Choose a folder</Button>}
      </div>
      <input
        ref={files}
        type="file"
        hidden
        multiple={multiple}
        aria-label={title}
        {...(accept ? { accept } : {})}
        onChange={(event) => {
          chosen(event.target.files);
          event.target.value = "";
        }}
      />
      {folders && (
        <input
          ref={folder}
          type="file"
          hidden
          aria-label={`${title}: folder`}
          {...{ webkitdirectory: "" }}
          onChange={(event) => {
            chosen(event.target.files);
            event.target.value = "";
          }}
        />
      )}
    </div>
  );
}

const withoutTop = (path: string) => path.split("/").slice(1).join("/");

async function readDropped(transfer: DataTransfer): Promise<DroppedFile[]> {
  const entries = Array.from(transfer.items)
    .map((item) => item.webkitGetAsEntry())
    .filter((entry): entry is FileSystemEntry => entry !== null);
  if (entries.length === 0) return Array.from(transfer.files).map((file) => ({ path: file.name, file }));
  const found: DroppedFile[] = [];
  for (const entry of entries) await walk(entry, "", found);
  // One folder alone is the thing itself: its name is no part of the paths.
  return entries.length === 1 && entries[0]?.isDirectory
    ? found.map(({ path, file }) => ({ path: withoutTop(path), file }))
    : found;
}

async function walk(entry: FileSystemEntry, base: string, found: DroppedFile[]): Promise<void> {
  const path = base ? `${base}/${entry.name}` : entry.name;
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    if (!entry.name.startsWith(".")) found.push({ path, file });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return;
    for (const one of part) await walk(one, path, found);
  }
}
