"""What is planned: who runs what where, what it costs, and the rates behind it."""
