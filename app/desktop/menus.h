// The native menu bar and its shortcuts.
#pragma once

namespace slipway::desktop {

class MainWindow;

// Puts the menus into `window`; called once, by its constructor.
void add_menus(MainWindow& window);

}  // namespace slipway::desktop
