"""The demo workspace *Northwind Cloud*, made by doing what users do: through services, on the clock of the past months (CONTRACTS 2)."""
