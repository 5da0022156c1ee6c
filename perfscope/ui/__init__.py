"""How a diagnosis is shown: terminal, report and dashboard. Nothing is computed here."""
