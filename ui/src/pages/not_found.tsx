// For an address that names nothing.
import { Link } from "react-router-dom";
import { Empty } from "@/widgets/feedback";
import { Page } from "@/widgets/page";

export default function NotFound() {
  return (
    <Page title="Not found">
      <Empty title="There is no such page" action={<Link to="/">Go to Home</Link>}>
        The address may be from another version of the console, or what it named was deleted.
      </Empty>
    </Page>
  );
}
