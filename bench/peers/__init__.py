"""The servers that Strongroom is compared with: the same routes, shapes, rows and durability."""
