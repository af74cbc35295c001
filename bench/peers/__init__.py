"""The servers to compare with Strongroom: the same routes, shapes, rows and durability."""
