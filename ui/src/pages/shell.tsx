// The frame around every page: navigation, account menu, the watch stream, keys, the command palette.
import { MenuOutlined, SearchOutlined, UserOutlined } from "@ant-design/icons";
import { useQueryClient } from "@tanstack/react-query";
import { Button, Dropdown } from "antd";
import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { Link, NavLink, Outlet, useLocation, useNavigate } from "react-router-dom";
import { clients, onSignedOut } from "@/api/clients";
import { useUser } from "@/api/queries";
import { useWatchState, WatchProvider } from "@/api/watch_context";
import { places } from "@/pages/places";
import { ErrorBoundary } from "@/widgets/error_boundary";
import { Skeleton } from "@/widgets/feedback";
import { type ThemeChoice, useTheme } from "@/widgets/theme";

const Palette = lazy(() => import("@/pages/palette"));
const KeysHelp = lazy(() => import("@/pages/keys_help"));

export default function Shell() {
  const user = useUser();
  const navigate = useNavigate();
  const cache = useQueryClient();

  useEffect(
    () =>
      onSignedOut(() => {
        const here = window.location.pathname + window.location.search;
        if (window.location.pathname === "/sign-in") return;
        cache.clear();
        navigate(here === "/" ? "/sign-in" : `/sign-in?next=${encodeURIComponent(here)}`, { replace: true });
      }),
    [navigate, cache],
  );
  if (!user.data) return user.isError ? <Unreachable retry={() => void user.refetch()} /> : <Skeleton />;
  return (
    <WatchProvider>
      <Frame userName={user.data.name} />
    </WatchProvider>
  );
}

function Unreachable({ retry }: { retry: () => void }) {
  useEffect(() => {
    const timer = setInterval(retry, 3000);
    return () => clearInterval(timer);
  }, [retry]);
  return (
    <div className="empty" role="alert">
      <h3>The backend cannot be reached</h3>
      <p>Check that slipwayd runs. This page goes on by itself when it is back.</p>
    </div>
  );
}

function Frame({ userName }: { userName: string }) {
  const [paletteOpen, setPaletteOpen] = useState(false);
  const [keysOpen, setKeysOpen] = useState(false);
  const [menuOpen, setMenuOpen] = useState(false);
  const location = useLocation();
  useKeys(() => setPaletteOpen(true), () => setKeysOpen(true));
  useEffect(() => setMenuOpen(false), [location.pathname]);

  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <div className="topbar">
        <Button
          type="text"
          icon={<MenuOutlined />}
          aria-label="Navigation"
          aria-expanded={menuOpen}
          onClick={() => setMenuOpen(!menuOpen)}
        />
        <strong>Slipway</strong>
      </div>
      <nav className={menuOpen ? "nav open" : "nav"} aria-label="Places">
        <Link to="/" className="brand">
          <img src="/favicon.svg" width={22} height={22} alt="" />
          Slipway
        </Link>
        <Button className="search" icon={<SearchOutlined />} onClick={() => setPaletteOpen(true)} aria-label="Search and commands">
          <span className="grow" style={{ textAlign: "left" }}>
            Search
          </span>
          <kbd>Ctrl K</kbd>
        </Button>
        {places.map((place) => {
          const within = place.also !== undefined && location.pathname.startsWith(place.also);
          return (
            <NavLink
              key={place.path}
              to={place.path}
              end={place.path === "/"}
              className={({ isActive }) => (isActive || within ? "place active" : "place")}
            >
              <span aria-hidden="true">{place.icon}</span>
              {place.label}
            </NavLink>
          );
        })}
        <span className="spring" />
        <AccountMenu userName={userName} showKeys={() => setKeysOpen(true)} />
      </nav>
      <main id="main" tabIndex={-1}>
        <ErrorBoundary key={location.pathname}>
          <Suspense fallback={<Skeleton />}>
            <Outlet />
          </Suspense>
        </ErrorBoundary>
      </main>
      <WatchNote />
      <Suspense fallback={null}>
        {paletteOpen && <Palette close={() => setPaletteOpen(false)} showKeys={() => setKeysOpen(true)} />}
        {keysOpen && <KeysHelp close={() => setKeysOpen(false)} />}
      </Suspense>
    </div>
  );
}

/** Said only when the stream has been broken for a while: a short gap heals unseen. */
function WatchNote() {
  const state = useWatchState();
  const [shown, setShown] = useState(false);
  const broken = state !== "live";
  useEffect(() => {
    if (!broken) {
      setShown(false);
      return;
    }
    const timer = setTimeout(() => setShown(true), 2500);
    return () => clearTimeout(timer);
  }, [broken]);
  return (
    <div className="watch" aria-live="polite">
      {shown && <div className="watch-note">Not connected to the backend. What is shown may be old; trying again…</div>}
    </div>
  );
}

function AccountMenu({ userName, showKeys }: { userName: string; showKeys: () => void }) {
  const navigate = useNavigate();
  const cache = useQueryClient();
  const { choice, choose } = useTheme();
  const signOut = async () => {
    await clients.auth.signOut({});
    cache.clear();
    navigate("/sign-in");
  };
  const themes: { key: ThemeChoice; label: string }[] = [
    { key: "system", label: "As the system" },
    { key: "light", label: "Light" },
    { key: "dark", label: "Dark" },
  ];
  return (
    <Dropdown
      trigger={["click"]}
      placement="topLeft"
      menu={{
        selectable: true,
        selectedKeys: [`theme-${choice}`],
        items: [
          { key: "tokens", label: "API tokens", onClick: () => navigate("/account/tokens") },
          { key: "password", label: "Change password", onClick: () => navigate("/account/password") },
          { type: "divider" },
          {
            type: "group",
            label: "Theme",
            children: themes.map(({ key, label }) => ({ key: `theme-${key}`, label, onClick: () => choose(key) })),
          },
          { type: "divider" },
          { key: "keys", label: "Keys", onClick: showKeys },
          { key: "sign-out", label: "Sign out", onClick: () => void signOut() },
        ],
      }}
    >
      <Button type="text" className="account" icon={<UserOutlined />} aria-label={`Account: ${userName}`}>
        <span className="cut">{userName}</span>
      </Button>
    </Dropdown>
  );
}

/** Ctrl+K anywhere; ?, / and g followed by a place's letter outside of inputs. */
function useKeys(openPalette: () => void, openKeys: () => void): void {
  const navigate = useNavigate();
  const latest = useRef({ openPalette, openKeys });
  latest.current = { openPalette, openKeys };
  useEffect(() => {
    let going = 0;
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        latest.current.openPalette();
        return;
      }
      const target = event.target as HTMLElement;
      const typing = target.closest("input,textarea,select,[contenteditable],[role=combobox]") !== null;
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      if (Date.now() - going < 1200) {
        going = 0;
        const place = places.find((one) => one.key === event.key);
        if (place) {
          event.preventDefault();
          navigate(place.path);
          return;
        }
      }
      if (event.key === "g") going = Date.now();
      else if (event.key === "?") latest.current.openKeys();
      else if (event.key === "/") {
        const filter = document.querySelector<HTMLElement>("input[data-shortcut=filter], [data-shortcut=filter] input");
        if (filter) {
          event.preventDefault();
          filter.focus();
        }
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [navigate]);
}
