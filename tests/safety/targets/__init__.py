"""Programs that do unusual things while perfscope is attached; tests/safety starts them."""
