"""State that is lost, moved or exported: prepare, restore, rebuild, export, replay."""
