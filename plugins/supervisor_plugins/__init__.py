"""First-party plugins. They use the same door as anyone's: ``supervisor.plugin`` and an entry point each."""
