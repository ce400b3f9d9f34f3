// A link that looks like a button: goes within the console on a plain click, opens a tab with the usual keys.
import { Button, type ButtonProps } from "antd";
import { useNavigate } from "react-router-dom";

export function LinkButton({ to, ...button }: ButtonProps & { to: string }) {
  const navigate = useNavigate();
  return (
    <Button
      {...button}
      href={to}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
        event.preventDefault();
        navigate(to);
      }}
    />
  );
}
