// Tabs whose choice lives in the address. Only the chosen one is mounted.
import { Tabs } from "antd";
import { type ReactNode } from "react";
import { useUrlState } from "@/widgets/url_state";

export interface Tab {
  key: string;
  label: ReactNode;
  content: () => ReactNode;
}

export function UrlTabs({ tabs, name = "tab" }: { tabs: Tab[]; name?: string }) {
  const [active, setActive] = useUrlState(name, tabs[0]?.key ?? "");
  return (
    <Tabs
      activeKey={tabs.some((tab) => tab.key === active) ? active : (tabs[0]?.key ?? "")}
      onChange={setActive}
      destroyOnHidden
      items={tabs.map((tab) => ({
        key: tab.key,
        label: tab.label,
        children: tab.key === active ? tab.content() : null,
      }))}
    />
  );
}
