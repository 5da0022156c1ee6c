"""Programs that do odd things beside the probe; the tests above start them."""
